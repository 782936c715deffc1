//! What `docker save` writes.

use super::*;

const LAYERS: [&str; 3] = ["base", "middle", "top"];

fn config() -> String {
    let digests = LAYERS.map(|name| digest(layer(name)));
    json!({"os": "linux", "rootfs": {"type": "layers", "diff_ids": digests}}).to_string()
}

fn saved(config: &str, layers: &[&str]) -> Value {
    json!([{"Config": config, "RepoTags": ["a:latest"], "Layers": layers}])
}

/// As Docker wrote it before version 25.
fn old() -> Package {
    let name = format!("{}.json", digest(config()).hex());
    let package = Package::new().file(&name, config());
    let names = LAYERS.map(|name| format!("{name}/layer.tar"));
    LAYERS
        .iter()
        .fold(package, |package, name| {
            package
                .entry(&format!("{name}/"), EntryType::Directory, "", b"")
                .file(&format!("{name}/VERSION"), "1.0")
                .file(&format!("{name}/layer.tar"), layer(name))
        })
        .json(
            "manifest.json",
            &saved(&name, &names.each_ref().map(String::as_str)),
        )
        .json("repositories", &json!({"a": {"latest": "x"}}))
}

fn checks(parts: &ServiceParts) -> Vec<Check> {
    parts.own.iter().map(|layer| layer.check.clone()).collect()
}

fn expected_checks() -> Vec<Check> {
    let top_first = LAYERS.iter().rev();
    top_first
        .map(|name| Check::Decompressed(digest(layer(name))))
        .collect()
}

#[test]
fn old_style_is_read_top_first() {
    let contents = old().scan();

    let parts = contents.service(&platform("any")).unwrap();

    assert_eq!(contents.format(), Format::DockerArchive);
    assert_eq!(
        names(&parts),
        ["top/layer.tar", "middle/layer.tar", "base/layer.tar"]
    );
    assert_eq!(checks(&parts), expected_checks());
    assert_eq!(parts.image_config, (digest(config()), config().into()));
    let stored = crate::Manifest::parse(&parts.manifest).unwrap();
    assert_eq!(stored.root, digest(layer("top")));
    assert_eq!(stored.own_layers.len(), 2);
}

#[test]
fn new_style_has_blobs() {
    let names = LAYERS.map(|name| blob(layer(name)));
    let manifest = saved(&blob(config()), &names.each_ref().map(String::as_str));
    let package = LAYERS
        .iter()
        .fold(Package::new(), |package, name| package.blob(layer(name)))
        .blob(config())
        .json("manifest.json", &manifest);

    let parts = package.service().unwrap();

    assert_eq!(checks(&parts), expected_checks());
}

#[test]
fn layout_wins_where_a_package_is_both() {
    let package = old().file("oci-layout", "{}").file("index.json", "{}");

    assert_eq!(package.scan().format(), Format::OciLayout);
}

#[test]
fn links_between_layers_are_followed() {
    let name = format!("{}.json", digest(config()).hex());
    let layers = ["a/layer.tar", "b/layer.tar", "c/layer.tar"];
    let package = Package::new()
        .file(&name, config())
        .symlink("a/layer.tar", "../base.tar")
        .symlink("b/layer.tar", "/d/e/../layer.tar")
        .symlink("d/layer.tar", "../middle.tar")
        .entry("c/layer.tar", EntryType::Link, "top.tar", b"")
        .file("base.tar", layer("base"))
        .file("middle.tar", layer("middle"))
        .file("top.tar", layer("top"))
        .json("manifest.json", &saved(&name, &layers));

    let parts = package.service().unwrap();

    assert_eq!(names(&parts), ["top.tar", "middle.tar", "base.tar"]);
}

#[test]
fn links_that_lead_nowhere_are_refused() {
    for target in [
        "../../outside",
        "missing",
        "layer.tar",
        "../middle/layer.tar",
    ] {
        let package = old()
            .symlink("top/layer.tar", target)
            .symlink("middle/layer.tar", "../top/layer.tar");

        let refusal = package.refusal();

        assert!(
            refusal.contains("is a link that leads to no file"),
            "{target}: {refusal}"
        );
    }
}

#[test]
fn several_images_or_none_are_refused() {
    for count in [0, 2, 3] {
        let images = vec![json!({"Config": "c", "Layers": []}); count];
        let refusal = old().json("manifest.json", &json!(images)).refusal();

        let expected = format!("manifest.json names {count} images, expected one");
        assert!(refusal.starts_with(&expected), "{refusal}");
    }
}

#[test]
fn config_must_match_its_name_if_that_is_a_digest() {
    let name = format!("{}.json", digest(config()).hex());

    let refusal = old().file(&name, config() + " ").refusal();
    assert!(
        refusal.starts_with("the image config: digest mismatch"),
        "{refusal}"
    );

    let free = saved(
        "config.json",
        &["base/layer.tar", "middle/layer.tar", "top/layer.tar"],
    );
    let package = old()
        .file("config.json", config() + " ")
        .json("manifest.json", &free);
    let parts = package.service().unwrap();
    assert_eq!(parts.image_config.0, digest(config() + " "));
}

#[test]
fn config_must_have_a_digest_of_each_layer() {
    let name = format!("{}.json", digest(config()).hex());
    let two = saved(&name, &["base/layer.tar", "top/layer.tar"]);

    let refusal = old().json("manifest.json", &two).refusal();

    let expected = "the image has 2 layers, and its config has digests of 3";
    assert!(refusal.starts_with(expected), "{refusal}");
}

#[test]
fn parts_that_are_missing_or_wrong_are_named() {
    let config = json!({"rootfs": {"diff_ids": ["sha256:../../x"]}});
    let with = |layers: &[&str]| {
        old()
            .json("c.json", &config)
            .json("manifest.json", &saved("c.json", layers))
    };
    let refusals = [
        (
            old().json("manifest.json", &saved("x.json", &[])),
            "it has no x.json",
        ),
        (with(&["missing/layer.tar"]), "digest of layer 0"),
        (with(&["base/VERSION"]), "digest of layer 0"),
        (
            old().json("manifest.json", &json!([{}])),
            "cannot read manifest.json",
        ),
        (
            old().file("manifest.json", "[".repeat(100_000)),
            "cannot read manifest.json",
        ),
        (
            old()
                .json("c.json", &json!({"rootfs": 5}))
                .json("manifest.json", &saved("c.json", &[])),
            "cannot read c.json",
        ),
        (
            old()
                .json("c.json", &json!({}))
                .json("manifest.json", &saved("c.json", &[])),
            "no layers",
        ),
        (
            old().file("top/layer.tar", "text"),
            "layer top/layer.tar is not an archive",
        ),
        (
            old().entry("top/layer.tar", EntryType::Directory, "", b""),
            "it has no top/layer.tar",
        ),
    ];

    for (package, reason) in refusals {
        let refusal = package.refusal();
        assert!(refusal.contains(reason), "{reason}: {refusal}");
    }
}
