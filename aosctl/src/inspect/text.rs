//! A report in words.

use std::fmt::Write;

use aos_package::contents::Format;
use aos_package::{Short, hex};
use serde_json::Value;

use super::layer::Counts;
use super::report::{Examined, Image, Report, compression_name};

/// The report as lines.
pub(super) fn of(report: &Report) -> String {
    let mut text = format!("{}\n", report.path.display());
    let format = report.format.map_or("unknown", format_name);
    line(&mut text, "format", format);
    line(
        &mut text,
        "compression",
        compression_name(report.compression),
    );
    line(&mut text, "size", &format!("{} bytes", report.package.size));
    line(&mut text, "sha3-256", &hex(&report.package.sums.sha3_256));
    line(&mut text, "sha3-512", &hex(&report.package.sums.sha3_512));
    if let Some(image) = &report.image {
        image_lines(&mut text, image);
    }
    if let Some(version) = &report.os_version {
        line(&mut text, "os version", &quoted(version));
    }
    for (key, value) in report
        .service_config
        .iter()
        .filter_map(Value::as_object)
        .flatten()
    {
        let key = Short(key.escape_debug()).to_string();
        line(&mut text, "config", &format!("{key} {}", Short(value)));
    }
    for layer in &report.layers {
        layer_lines(&mut text, layer);
    }
    for digest in &report.shared {
        line(&mut text, "shared layer", &digest.to_string());
    }
    if report.unused > 0 {
        line(
            &mut text,
            "not used",
            &format!("{} archives", report.unused),
        );
    }
    for problem in &report.problems {
        line(&mut text, "REFUSED", problem);
    }
    if report.problems.is_empty() {
        line(
            &mut text,
            "whole",
            "yes: every digest is right, and it can be unpacked",
        );
    }
    text
}

fn image_lines(text: &mut String, image: &Image) {
    let config = &image.config.config;
    let platform = format!("{}/{}", image.config.os, image.config.architecture);
    line(text, "image", &Short(platform.escape_debug()).to_string());
    let words = |words: &[String]| {
        let words = words.iter().map(|word| quoted(word));
        words.collect::<Vec<_>>().join(" ")
    };
    let env = image.env_names().into_iter();
    let env = env.map(|name| Short(name.escape_debug()).to_string());
    for (name, value) in [
        ("entrypoint", words(&config.entrypoint)),
        ("cmd", words(&config.cmd)),
        ("workdir", config.working_dir.escape_debug().to_string()),
        ("user", image.user.escape_debug().to_string()),
        ("env", env.collect::<Vec<_>>().join(" ")),
    ] {
        if !value.is_empty() {
            line(text, name, &value);
        }
    }
}

fn layer_lines(text: &mut String, examined: &Examined) {
    let layer = &examined.layer;
    line(text, "layer", &examined.own.check.digest().to_string());
    let compression = compression_name(layer.compression);
    let sizes = format!(
        "{} bytes ({compression}), {} unpacked",
        layer.size, layer.unpacked
    );
    line(text, "", &sizes);
    line(text, "", &kinds(&layer.counts));
}

fn kinds(counts: &Counts) -> String {
    let mut text = format!("{} entries", counts.entries);
    for (count, name) in [
        (counts.files, "files"),
        (counts.directories, "directories"),
        (counts.symlinks, "symbolic links"),
        (counts.hard_links, "hard links"),
        (counts.whiteouts, "whiteouts"),
        (counts.opaque, "opaque marks"),
        (counts.devices, "devices left out"),
        (counts.fifos, "FIFOs left out"),
        (counts.set_id, "setuid and setgid bits cleared"),
        (counts.attributes, "extended attributes dropped"),
    ] {
        if count > 0 {
            write!(text, ", {count} {name}").expect("writing to a string cannot fail");
        }
    }
    text
}

fn line(text: &mut String, name: &str, value: &str) {
    writeln!(text, "  {name:<12}  {value}").expect("writing to a string cannot fail");
}

fn quoted(text: &str) -> String {
    format!("{:?}", Short(text))
}

fn format_name(format: Format) -> &'static str {
    match format {
        Format::AosService => "Aos service package",
        Format::AosLayer => "Aos layer package",
        Format::OciLayout => "OCI image layout",
        Format::DockerArchive => "docker archive",
        Format::Unknown => "unknown",
    }
}
