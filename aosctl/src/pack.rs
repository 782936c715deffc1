//! `aosctl pack`: makes the packages of services and layers.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aos_package::pack::{LayerSource, PackError, Packed, ServiceSource, pack_layer, pack_service};
use aos_package::{Digest, ExecutionConfig, ImageConfig, ServiceConfig, hex};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cli::{Format, PackCommand, PackLayerArgs, PackServiceArgs};
use crate::package_file::{PackageFileError, layer_digest};

/// Why there is no package.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackingError {
    /// A configuration cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It says something else than it should.
    #[error("{}", path.display())]
    Parse {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    /// A shared layer is given as a package that is none.
    #[error("--layer {layer}: neither a digest nor the package of a layer")]
    Layer {
        layer: String,
        #[source]
        source: PackageFileError,
    },
    /// Packing has failed.
    #[error(transparent)]
    Pack(#[from] PackError),
}

/// Carries out `aosctl pack …`.
pub(crate) fn run(command: &PackCommand, format: Format) -> Result<(), PackingError> {
    let (packed, output) = match command {
        PackCommand::Service(args) => (service(args)?, &args.output),
        PackCommand::Layer(args) => (layer(args)?, &args.output),
    };
    match format {
        Format::Json => println!("{}", json_of(&packed, output)),
        Format::Text => print!("{}", text_of(&packed, output)),
    }
    Ok(())
}

fn service(args: &PackServiceArgs) -> Result<Packed, PackingError> {
    let image = match &args.image_config {
        Some(path) => parse(path, &read(path)?)?,
        None => image_config(args),
    };
    let config: Option<ServiceConfig> = match &args.service_config {
        Some(path) => {
            let text = read(path)?;
            let config = parse(path, &text)?;
            for key in unknown_keys(&parse(path, &text)?, &config) {
                eprintln!(
                    "aosctl: {}: unknown key `{key}` is left out",
                    path.display()
                );
            }
            Some(config)
        }
        None => None,
    };
    let layers = args.layers.iter().map(|layer| shared_layer(layer));
    let layers = layers.collect::<Result<Vec<_>, _>>()?;
    let source = ServiceSource {
        rootfs: &args.rootfs,
        image: &image,
        config: config.as_ref(),
        layers: &layers,
        compression: args.compression.compression(),
    };
    Ok(pack_service(&source, &args.output)?)
}

fn layer(args: &PackLayerArgs) -> Result<Packed, PackingError> {
    let source = LayerSource {
        root: &args.root,
        os_version: args.os_version.as_deref(),
        compression: args.compression.compression(),
    };
    Ok(pack_layer(&source, &args.output)?)
}

fn image_config(args: &PackServiceArgs) -> ImageConfig {
    let ports = args.expose.iter();
    ImageConfig {
        os: "linux".to_owned(),
        config: ExecutionConfig {
            env: args.env.clone(),
            entrypoint: args.entrypoint.clone(),
            cmd: args.cmd.clone(),
            working_dir: args.workdir.clone().unwrap_or_default(),
            exposed_ports: ports.map(|port| (port.clone(), json!({}))).collect(),
            stop_signal: args.stop_signal.clone().unwrap_or_default(),
        },
        ..ImageConfig::default()
    }
}

/// A layer is named by its digest, which its package knows.
fn shared_layer(layer: &str) -> Result<String, PackingError> {
    if layer.parse::<Digest>().is_ok() {
        return Ok(layer.to_owned());
    }
    layer_digest(Path::new(layer)).map_err(|source| PackingError::Layer {
        layer: layer.to_owned(),
        source,
    })
}

fn read(path: &Path) -> Result<String, PackingError> {
    fs::read_to_string(path).map_err(|source| PackingError::Read {
        path: path.to_owned(),
        source,
    })
}

fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, PackingError> {
    serde_json::from_str(text).map_err(|source| PackingError::Parse {
        path: path.to_owned(),
        source,
    })
}

/// Keys of `written` that `config` has not understood: most likely misspelt.
fn unknown_keys(written: &Value, config: &ServiceConfig) -> Vec<String> {
    let understood = serde_json::to_value(config).unwrap_or_default();
    let mut unknown = Vec::new();
    compare("", written, &understood, &mut unknown);
    unknown
}

fn compare(path: &str, written: &Value, understood: &Value, unknown: &mut Vec<String>) {
    match (written, understood) {
        (Value::Object(written), Value::Object(understood)) => {
            for (key, value) in written {
                let path = format!("{path}{key}");
                match understood.get(key) {
                    Some(understood) => compare(&format!("{path}."), value, understood, unknown),
                    None => unknown.push(path),
                }
            }
        }
        (Value::Array(written), Value::Array(understood)) => {
            for (value, understood) in written.iter().zip(understood) {
                compare(path, value, understood, unknown);
            }
        }
        _ => {}
    }
}

fn json_of(packed: &Packed, output: &Path) -> Value {
    json!({
        "path": output.to_string_lossy(),
        "size": packed.size,
        "sha3_256": hex(&packed.sha3_256),
        "sha3_512": hex(&packed.sha3_512),
        "layer_digest": packed.layer_digest,
    })
}

fn text_of(packed: &Packed, output: &Path) -> String {
    let mut text = format!(
        "{}\n  size      {}\n  sha3-256  {}\n  sha3-512  {}\n",
        output.display(),
        packed.size,
        hex(&packed.sha3_256),
        hex(&packed.sha3_512),
    );
    if let Some(digest) = &packed.layer_digest {
        text.push_str(&format!("  layer     {digest}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use aos_package::archive::Compression;
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn args(line: &[&str]) -> Result<PackCommand, clap::Error> {
        let words = ["aosctl", "pack"].iter().chain(line);
        match Cli::try_parse_from(words)?.command {
            Command::Pack(command) => Ok(command),
            _ => unreachable!(),
        }
    }

    fn service_args(line: &[&str]) -> PackServiceArgs {
        let PackCommand::Service(args) = args(line).unwrap() else {
            unreachable!()
        };
        args
    }

    #[test]
    fn options_make_the_image_config() {
        let args = service_args(&[
            "service",
            "root",
            "--output",
            "x.tar",
            "--entrypoint",
            "python3",
            "--entrypoint",
            "-u",
            "--cmd",
            "/main.py",
            "--env",
            "A=b",
            "--workdir",
            "/srv",
            "--expose",
            "80/tcp",
            "--stop-signal",
            "SIGINT",
        ]);

        let image = image_config(&args);

        assert_eq!(image.os, "linux");
        assert_eq!(image.config.entrypoint, ["python3", "-u"]);
        assert_eq!(image.config.cmd, ["/main.py"]);
        assert_eq!(image.config.env, ["A=b"]);
        assert_eq!(image.config.working_dir, "/srv");
        assert!(image.config.exposed_ports.contains_key("80/tcp"));
        assert_eq!(image.config.stop_signal, "SIGINT");
    }

    #[test]
    fn compression_is_chosen() {
        for (words, compression) in [
            (&[][..], Compression::None),
            (&["--compress"], Compression::Gzip),
            (&["--gzip"], Compression::Gzip),
            (&["--compress=gzip"], Compression::Gzip),
            (&["--compress=zstd"], Compression::Zstd),
            (&["--compress=none"], Compression::None),
        ] {
            let line = ["service", "--output", "x", "--cmd", "y"]
                .iter()
                .chain(words);
            let line: Vec<_> = line.copied().chain(["root"]).collect();

            assert_eq!(service_args(&line).compression.compression(), compression);
        }
    }

    #[test]
    fn wrong_use_is_refused() {
        let service = ["service", "root", "--output", "x"];
        for wrong in [
            &[][..],
            &["--image-config", "i.json", "--cmd", "x"],
            &["--cmd", "x", "--env", "NOVALUE"],
            &["--cmd", "x", "--expose", "http"],
            &["--cmd", "x", "--expose", "80/sctp"],
            &["--cmd", "x", "--compress=xz"],
            &["--cmd", "x", "--compress=zstd", "--gzip"],
        ] {
            let line: Vec<_> = service.iter().chain(wrong).copied().collect();

            assert_eq!(args(&line).unwrap_err().exit_code(), 2, "{line:?}");
        }
        assert!(args(&["layer", "root"]).is_err());
    }

    #[test]
    fn package_of_a_shared_layer_stands_for_its_digest() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name| dir.path().join(name).display().to_string();
        fs::create_dir(path("root")).unwrap();
        let of_layer = args(&["layer", &path("root"), "--output", &path("layer.tar")]).unwrap();
        run(&of_layer, Format::Json).unwrap();

        let digest = shared_layer(&path("layer.tar")).unwrap();

        assert_eq!(shared_layer(&digest).unwrap(), digest);
        let error = shared_layer("sha256:12").unwrap_err();
        assert!(error.to_string().contains("--layer sha256:12"), "{error}");
    }

    #[test]
    fn same_input_gives_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name| dir.path().join(name).display().to_string();
        fs::create_dir(path("root")).unwrap();
        fs::write(path("root/main.py"), "print()").unwrap();
        fs::write(path("config.json"), r#"{"hostname": "web"}"#).unwrap();
        let pack = |output: &str| {
            let command = args(&[
                "service",
                &path("root"),
                "--output",
                output,
                "--cmd",
                "/main.py",
                "--service-config",
                &path("config.json"),
                "--gzip",
            ])
            .unwrap();
            run(&command, Format::Text).unwrap();
            fs::read(output).unwrap()
        };

        let first = pack(&path("one.tar"));
        let second = pack(&path("two.tar"));

        assert!(!first.is_empty());
        assert_eq!(first, second);
    }

    #[test]
    fn misspelt_keys_of_a_service_config_are_found() {
        let written = json!({
            "hostname": "web",
            "qoutas": {},
            "quotas": {"ramLimit": 1, "ramlimit": 1},
            "devices": [{"name": "tty", "permission": "r"}],
            "allowedConnections": {"any/80": {}},
        });
        let config = serde_json::from_value(written.clone()).unwrap();

        let unknown = unknown_keys(&written, &config);

        assert_eq!(unknown, ["qoutas", "quotas.ramlimit", "devices.permission"]);
    }

    #[test]
    fn broken_config_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.json");
        fs::write(&config, "{").unwrap();
        let args = service_args(&[
            "service",
            "root",
            "--output",
            "x",
            "--cmd",
            "y",
            "--service-config",
            &config.display().to_string(),
        ]);

        let error = service(&args).unwrap_err();

        assert!(matches!(error, PackingError::Parse { path, .. } if path == config));
    }
}
