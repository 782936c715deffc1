use std::fs;
use std::path::Path;

use aos_package::archive::Compression;
use aos_package::hostile::{self, Expected};
use aos_package::pack::{LayerSource, ServiceSource, pack_layer, pack_service};
use aos_package::{ExecutionConfig, ImageConfig, Platform, Quotas, ServiceConfig, hex};
use serde_json::json;
use tempfile::TempDir;

use super::report::Report;
use super::*;

fn inspect(path: &Path) -> Report {
    pass::examine(path, &Platform::host()).unwrap()
}

/// A tree with two files, a directory and a link.
fn tree() -> TempDir {
    let root = TempDir::new().unwrap();
    fs::create_dir(root.path().join("d")).unwrap();
    fs::write(root.path().join("d/a"), "12345").unwrap();
    fs::write(root.path().join("b"), "123").unwrap();
    std::os::unix::fs::symlink("/nowhere", root.path().join("l")).unwrap();
    root
}

fn packed(out: &TempDir) -> (std::path::PathBuf, aos_package::pack::Packed) {
    let root = tree();
    let image = ImageConfig {
        os: "linux".into(),
        architecture: "arm64".into(),
        config: ExecutionConfig {
            entrypoint: vec!["python3".into(), "-u\x1b".into()],
            env: vec!["TOKEN=secret".into(), "PORT=80".into()],
            ..ExecutionConfig::default()
        },
    };
    let config = ServiceConfig {
        quotas: Quotas {
            ram_limit: Some(1000),
            ..Quotas::default()
        },
        ..ServiceConfig::default()
    };
    let shared = format!("sha256:{}", "a".repeat(64));
    let source = ServiceSource {
        rootfs: root.path(),
        image: &image,
        config: Some(&config),
        layers: std::slice::from_ref(&shared),
        compression: Compression::Zstd,
    };
    let path = out.path().join("service.tar");
    let packed = pack_service(&source, &path).unwrap();
    (path, packed)
}

#[test]
fn service_is_shown_with_all_that_it_has() {
    let out = TempDir::new().unwrap();
    let (path, packed) = packed(&out);

    let report = inspect(&path).json();

    assert_eq!(report["format"], "aos-service");
    assert_eq!(report["compression"], "none");
    assert_eq!(report["size"], packed.size);
    assert_eq!(report["sha3_256"], hex(&packed.sha3_256));
    assert_eq!(report["sha3_512"], hex(&packed.sha3_512));
    assert_eq!(report["image"]["os"], "linux");
    assert_eq!(report["image"]["architecture"], "arm64");
    assert_eq!(report["image"]["entrypoint"], json!(["python3", "-u\x1b"]));
    assert_eq!(report["image"]["env"], json!(["TOKEN", "PORT"]));
    assert_eq!(report["service_config"]["quotas"]["ramLimit"], 1000);
    let layer = &report["layers"][0];
    assert_eq!(layer["compression"], "zstd");
    assert_eq!(layer["unpacked"], 8);
    assert_eq!(layer["entries"], 5);
    assert_eq!(layer["files"], 2);
    assert_eq!(layer["directories"], 2);
    assert_eq!(layer["symlinks"], 1);
    assert_eq!(
        report["shared_layers"],
        json!([format!("sha256:{}", "a".repeat(64))])
    );
    assert_eq!(report["problems"], json!([]));
    assert_eq!(report["whole"], true);
}

#[test]
fn text_has_the_same_and_no_secrets_and_no_control_characters() {
    let out = TempDir::new().unwrap();
    let (path, packed) = packed(&out);

    let text = text::of(&inspect(&path));

    for line in [
        "  format        Aos service package\n".to_owned(),
        format!("  size          {} bytes\n", packed.size),
        format!("  sha3-256      {}\n", hex(&packed.sha3_256)),
        "  image         linux/arm64\n".to_owned(),
        "  entrypoint    \"python3\" \"-u\\u{1b}\"\n".to_owned(),
        "  env           TOKEN PORT\n".to_owned(),
        "  layer         sha256:".to_owned(),
        "(zstd), 8 unpacked\n".to_owned(),
        "5 entries, 2 files, 2 directories, 1 symbolic links\n".to_owned(),
        format!("  shared layer  sha256:{}\n", "a".repeat(64)),
        "  whole         yes".to_owned(),
    ] {
        assert!(text.contains(&line), "{line}: {text}");
    }
    assert!(!text.contains("secret") && !text.contains('\x1b'), "{text}");
}

#[test]
fn layer_is_shown_by_its_digest() {
    let (root, out) = (tree(), TempDir::new().unwrap());
    let path = out.path().join("layer.tar");
    let source = LayerSource {
        root: root.path(),
        os_version: Some("5.0"),
        compression: Compression::Gzip,
    };
    let packed = pack_layer(&source, &path).unwrap();

    let report = inspect(&path).json();

    assert_eq!(report["format"], "aos-layer");
    assert_eq!(report["os_version"], "5.0");
    assert_eq!(report["layers"][0]["digest"], packed.layer_digest.unwrap());
    assert_eq!(report["layers"][0]["compression"], "gzip");
    assert_eq!(report["image"], json!(null));
}

#[test]
fn every_byte_that_is_changed_is_found() {
    let out = TempDir::new().unwrap();
    let (path, packed) = packed(&out);
    let bytes = fs::read(&path).unwrap();
    let changed = out.path().join("changed.tar");

    // Of the manifest, which comes first, only CM has the digests.
    let after_manifest = (2048..bytes.len()).filter(|index| bytes[*index] != 0);
    for index in after_manifest.step_by(7) {
        let mut other = bytes.clone();
        other[index] ^= 1;
        fs::write(&changed, &other).unwrap();

        let report = inspect(&changed);

        assert_ne!(report.package.sums.sha3_256, packed.sha3_256);
        assert_ne!(report.problems, [""; 0], "byte {index}");
    }
}

#[test]
fn what_is_wrong_is_told_in_the_words_of_an_install() {
    let out = TempDir::new().unwrap();
    let path = out.path().join("package");
    let long = |name: &str| name.starts_with("bomb-") || name == "entries-a-million";
    let cases = hostile::all().into_iter().filter(|case| !long(&case.name));

    for case in cases {
        case.write(&path).unwrap();
        let report = inspect(&path);
        let problems = report.problems.join("; ");
        match case.expected {
            Expected::Installed => assert_eq!(problems, "", "{case:?}"),
            // Only CM knows which layer was meant.
            Expected::Refused("it holds layer") => {}
            Expected::Refused(reason) => {
                assert!(problems.contains(reason), "{case:?}: {problems}");
            }
        }
        let text = text::of(&report);
        assert!(!text.replace('\n', "").contains(char::is_control), "{text}");
        assert_eq!(text.contains("REFUSED"), !problems.is_empty());
    }
}

#[test]
fn image_of_many_layers_is_shown_top_first_by_what_checks_them() {
    let out = TempDir::new().unwrap();
    let path = out.path().join("package");
    let write = |name: &str| {
        let case = hostile::all()
            .into_iter()
            .find(|case| case.name == name)
            .unwrap();
        case.write(&path).unwrap();
        inspect(&path).json()
    };

    let docker = write("docker-layer-linked");
    assert_eq!(docker["format"], "docker-archive");
    assert_eq!(docker["layers"][0]["digest_of"], "tar");
    assert_eq!(docker["layers"][0]["file"], "a/layer.tar");
    let oci = write("oci-layer-three-times");
    assert_eq!(oci["format"], "oci-layout");
    assert_eq!(oci["layers"].as_array().unwrap().len(), 1);
    assert_eq!(oci["layers"][0]["digest_of"], "file");
}
