//! Which image of an OCI layout is taken.

use super::*;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image whose layer has the name of the architecture.
struct Image {
    config: String,
    manifest: String,
    layer: Vec<u8>,
}

impl Image {
    fn new(architecture: &str) -> Self {
        let config = json!({"os": "linux", "architecture": architecture}).to_string();
        let layer = layer(architecture);
        let manifest = json!({
            "config": descriptor("a", &config),
            "layers": [descriptor("", &layer)],
        });
        Self {
            config,
            manifest: manifest.to_string(),
            layer,
        }
    }

    fn descriptor(&self, platform: Option<(&str, &str)>) -> Value {
        let mut descriptor = descriptor(MANIFEST, &self.manifest);
        if let Some((os, architecture)) = platform {
            descriptor["platform"] = json!({"os": os, "architecture": architecture});
        }
        descriptor
    }

    fn add_to(&self, package: Package) -> Package {
        package
            .blob(&self.manifest)
            .blob(&self.config)
            .blob(&self.layer)
    }
}

fn index(package: Package, manifests: &[Value]) -> Package {
    package
        .file("oci-layout", "{}")
        .json("index.json", &json!({"manifests": manifests}))
}

fn of_both(manifests: impl Fn(&Image, &Image) -> Vec<Value>) -> Package {
    let (arm, intel) = (Image::new("arm64"), Image::new("amd64"));
    let package = index(Package::new(), &manifests(&arm, &intel));
    intel.add_to(arm.add_to(package))
}

fn is_for_arm(package: Package) {
    let parts = package.service().unwrap();
    assert_eq!(names(&parts), [blob(layer("arm64"))]);
}

#[test]
fn image_for_the_platform_is_taken() {
    is_for_arm(of_both(|arm, intel| {
        vec![
            intel.descriptor(Some(("linux", "amd64"))),
            arm.descriptor(Some(("linux", "arm64"))),
        ]
    }));
}

#[test]
fn configuration_tells_the_platform_when_the_index_does_not() {
    is_for_arm(of_both(|arm, intel| {
        vec![intel.descriptor(None), arm.descriptor(None)]
    }));
}

#[test]
fn type_may_be_missing() {
    is_for_arm(of_both(|arm, intel| {
        let untyped = |image: &Image| json!({"digest": digest(&image.manifest)});
        vec![untyped(intel), untyped(arm)]
    }));
}

#[test]
fn only_image_is_taken_whatever_it_is_for() {
    let intel = Image::new("amd64");
    let package = index(
        Package::new(),
        &[intel.descriptor(Some(("linux", "amd64")))],
    );

    let parts = intel.add_to(package).service().unwrap();

    assert_eq!(names(&parts), [blob(layer("amd64"))]);
}

#[test]
fn nested_index_is_followed_and_attestations_are_passed_over() {
    let (arm, intel) = (Image::new("arm64"), Image::new("amd64"));
    let mut attestation = descriptor(MANIFEST, "attestation");
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    let nested = json!({"manifests": [
        // Whoever saves for one platform leaves the others out.
        intel.descriptor(Some(("linux", "amd64"))),
        arm.descriptor(Some(("linux", "arm64"))),
        attestation,
        {"mediaType": "application/vnd.other", "digest": digest("other")},
    ]})
    .to_string();
    let package = index(Package::new(), &[descriptor(INDEX, &nested)]).blob(&nested);

    is_for_arm(arm.add_to(package));
}

#[test]
fn same_image_under_two_tags_is_one() {
    is_for_arm(of_both(|arm, _| {
        vec![arm.descriptor(None), arm.descriptor(None)]
    }));
}

#[test]
fn several_that_fit_and_none_that_does_are_told_with_what_there_is() {
    let images = ["arm64", "amd64"].map(Image::new);
    let [arm, intel] = &images;

    let both = of_both(|arm, intel| {
        let platform = Some(("linux", "arm64"));
        vec![arm.descriptor(platform), intel.descriptor(platform)]
    });
    let expected = format!(
        "2 images are for linux/arm64, expected one of those that it has: \
         linux/arm64 ({}), linux/arm64 ({})",
        digest(&arm.manifest),
        digest(&intel.manifest)
    );
    assert_eq!(both.service().unwrap_err().to_string(), expected);

    let none = of_both(|arm, intel| {
        vec![
            arm.descriptor(Some(("windows", "arm64"))),
            intel.descriptor(Some(("linux", "amd64"))),
        ]
    });
    let refusal = none.refusal();
    assert!(
        refusal.starts_with("0 images are for linux/arm64"),
        "{refusal}"
    );
    assert!(refusal.contains("windows/arm64"), "{refusal}");
}

#[test]
fn many_images_are_not_all_named() {
    let many = (0..900).map(|number| {
        let mut descriptor = descriptor(MANIFEST, number.to_string());
        descriptor["platform"] = json!({"os": "o".repeat(300), "architecture": "a\n"});
        descriptor
    });

    let refusal = index(Package::new(), &many.collect::<Vec<_>>()).refusal();

    assert!(refusal.contains("and 896 more"), "{refusal}");
    assert!(refusal.len() < 2500 && !refusal.contains('\n'), "{refusal}");
}

#[test]
fn index_without_images_is_refused() {
    for package in [
        index(Package::new(), &[]),
        index(Package::new(), &[descriptor("application/other", "x")]),
        Package::new()
            .file("oci-layout", "{}")
            .file("index.json", "{\"manifests\": null}"),
    ] {
        let refusal = package.refusal();
        assert!(
            refusal.starts_with("index.json names no image"),
            "{refusal}"
        );
    }
}

#[test]
fn chain_of_indexes_ends() {
    let mut package = Package::new();
    let mut inner = json!({"manifests": []}).to_string();
    for _ in 0..100 {
        package = package.blob(&inner);
        inner = json!({"manifests": [descriptor(INDEX, &inner)]}).to_string();
    }
    let package = package.file("oci-layout", "{}").file("index.json", inner);

    let refusal = package.refusal();

    assert!(
        refusal.starts_with("it has more than 32 indexes"),
        "{refusal}"
    );
}

#[test]
fn index_that_leads_to_itself_has_a_wrong_digest() {
    let looped = json!({"manifests": [{"mediaType": INDEX, "digest": digest("loop")}]});
    let package = Package::new()
        .file("oci-layout", "{}")
        .json("index.json", &looped)
        .json(&blob("loop"), &looped);

    let refusal = package.refusal();

    assert!(
        refusal.starts_with("an index: digest mismatch"),
        "{refusal}"
    );
}

#[test]
fn host_has_the_names_of_images() {
    let host = Platform::host();

    assert_eq!(host.os, "linux");
    assert!(["amd64", "arm64", "arm", "riscv64"].contains(&host.architecture.as_str()));
}
