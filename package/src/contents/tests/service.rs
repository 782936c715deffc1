//! Packages of services and layers.

use super::*;

fn manifest() -> Value {
    json!({
        "schemaVersion": 2,
        "config": {"digest": digest("image")},
        "aosService": {"digest": digest("service")},
        "layers": [{"digest": digest(layer("root"))}, {"digest": digest("shared")}],
    })
}

fn package(manifest: &Value) -> Package {
    Package::new()
        .file("./blobs/sha256/other", layer("other"))
        .blob(layer("root"))
        .blob("image")
        .blob("service")
        .json("./manifest.json", manifest)
}

#[test]
fn service_has_its_root_and_names_shared_layers() {
    let contents = package(&manifest()).scan();

    let parts = contents.service(&platform("any")).unwrap();

    assert_eq!(contents.format(), Format::AosService);
    assert_eq!(parts.manifest, manifest().to_string().into_bytes());
    assert_eq!(parts.image_config, (digest("image"), b"image".to_vec()));
    assert_eq!(
        parts.service_config,
        Some((digest("service"), b"service".to_vec()))
    );
    assert_eq!(names(&parts), [blob(layer("root"))]);
    assert_eq!(parts.own[0].check, Check::Content(digest(layer("root"))));
    assert_eq!(parts.shared, [digest("shared")]);
}

#[test]
fn layer_is_named_by_its_digest() {
    let root = layer("a");
    let document = json!({"digest": digest(&root), "platform": {"os.version": "5.0"}});
    let contents = Package::new()
        .json("./layer.json", &document)
        .file(&format!("./{}", digest(&root).hex()), &root)
        .scan();

    assert_eq!(contents.format(), Format::AosLayer);
    assert_eq!(contents.layer().unwrap().digest, digest(&root));
    let error = contents.service(&platform("any")).unwrap_err();
    assert_eq!(error.to_string(), "it has no manifest.json");
}

#[test]
fn layer_that_is_missing_or_no_archive_is_refused() {
    let document = json!({"digest": digest("text")});
    let hex = digest("text").hex().to_owned();
    let refusal = |package: Package| package.scan().layer().unwrap_err().to_string();

    let missing = Package::new().json("layer.json", &document);
    assert_eq!(refusal(missing), format!("it has no {hex}"));
    let text = Package::new()
        .json("layer.json", &document)
        .file(&hex, "text");
    assert_eq!(refusal(text), format!("layer {hex} is not an archive"));
    assert_eq!(refusal(package(&manifest())), "it has no layer.json");
}

#[test]
fn documents_must_be_there_and_right() {
    let blobs = |package: Package| package.json("manifest.json", &manifest()).refusal();
    let root = || Package::new().blob(layer("root"));

    let missing = blobs(root().blob("service"));
    assert!(
        missing.starts_with(&format!("it has no {}", blob("image"))),
        "{missing}"
    );
    let changed = blobs(root().blob("image").file(&blob("service"), "changed"));
    assert!(
        changed.starts_with("the service config: digest mismatch"),
        "{changed}"
    );
    let archive = blobs(root().file(&blob("image"), b"\x1f\x8b").blob("service"));
    assert!(
        archive.contains("is an archive, not a document"),
        "{archive}"
    );
    let large = blobs(
        root()
            .file(&blob("image"), vec![b' '; 1 + (1 << 20)])
            .blob("service"),
    );
    assert!(
        large.contains("has 1048577 bytes, more than 1048576"),
        "{large}"
    );
    let rootless = blobs(Package::new().blob("image").blob("service"));
    assert!(
        rootless.starts_with(&format!("it has no {}", blob(layer("root")))),
        "{rootless}"
    );
}

#[test]
fn package_cannot_have_what_only_we_store() {
    let mut manifest = manifest();
    manifest["ownLayers"] = json!([{"digest": digest("below")}]);

    let refusal = package(&manifest).refusal();

    assert!(
        refusal.contains("ownLayers, which a package cannot have"),
        "{refusal}"
    );
}

#[test]
fn manifest_that_is_something_else_is_refused() {
    for (package, reason) in [
        (Package::new(), "it has no manifest.json"),
        (
            Package::new().file("manifest.json", ""),
            "cannot read manifest.json",
        ),
        (
            Package::new().file("manifest.json", "5"),
            "cannot read manifest.json",
        ),
        (
            Package::new().file("manifest.json", b"\xff\xfe{\0}\0"),
            "cannot read manifest.json",
        ),
        (
            Package::new().file("manifest.json", "[".repeat(100_000)),
            "cannot read manifest.json",
        ),
        (
            Package::new().file("manifest.json", [0; 1024]),
            "is an archive, not a document",
        ),
        (
            Package::new().entry("manifest.json", EntryType::Directory, "", b""),
            "it has no",
        ),
        (
            Package::new().symlink("manifest.json", "manifest.json"),
            "is a link that leads to no",
        ),
        (
            Package::new().symlink("manifest.json", "../../etc/passwd"),
            "is a link that leads",
        ),
    ] {
        let refusal = package.refusal();
        assert!(refusal.contains(reason), "{refusal}");
    }
}
