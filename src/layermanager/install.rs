//! From a package to staged content: all the blocking work of an install.

use std::path::Path;

use aos_package::archive::{EntryPath, Name};
use aos_package::contents::{Check, OwnLayer};
use aos_package::{
    Algorithm, Digest, ImageConfig, MANIFEST_FILE, Platform, ServiceConfig, blob_path, hex,
};
use uuid::Uuid;

use super::error::InstallError;
use super::fetch::Fetched;
use super::installed::root_name;
use super::intake::{Intake, allowance, make_directory, writing};
use super::layers::{Layers, Stopped, Wanted};
use super::package::Expected;
use super::space::{NoSpace, Room};
use super::staging::Staging;
use super::tree::Ownership;
use super::unpack::Unpacked;
use crate::model::ServiceInfo;

const ROOT_NAME: &str = "the root filesystem";
const LAYER_NAME: &str = "the layer's filesystem";

/// A service, ready to be moved into place.
pub(super) struct StagedService {
    pub(super) staging: Staging,
    /// What was promised for it: to be kept until the row says what it took.
    pub(super) room: Option<Box<dyn Room>>,
    pub(super) service: UnpackedService,
}

/// What the package says of a service.
#[derive(Debug)]
pub(super) struct UnpackedService {
    pub(super) manifest_digest: String,
    /// Shared layers, the top first.
    pub(super) layers: Vec<String>,
}

/// A layer, ready to be moved into place.
pub(super) struct StagedLayer {
    pub(super) staging: Staging,
    /// As of a service.
    pub(super) room: Option<Box<dyn Room>>,
}

/// Names the directory of a service. No two installs, even of the same package,
/// have the same: what was replaced may still be in use, or about to be removed.
pub(super) fn directory_name(info: &ServiceInfo) -> String {
    let identity = format!(
        "{}\0{}\0{}\0{}",
        info.id,
        info.version.aos,
        info.gid,
        hex(&info.sha512)
    );
    unique(Digest::of(Algorithm::Sha256, identity.as_bytes()).hex())
}

/// Makes a name that was never given to a directory before.
pub(super) fn unique(name: &str) -> String {
    format!("{name}-{}", Uuid::new_v4().simple())
}

/// Where a package comes in, and what it may take.
pub(super) struct Source<'a> {
    pub(super) expected: Expected<'a>,
    pub(super) package: Fetched,
    /// Or why there is none; then it is only found out how much is missing.
    pub(super) room: Result<Box<dyn Room>, NoSpace>,
    pub(super) stopped: Stopped<'a>,
}

/// Checks and unpacks a service.
pub(super) fn stage_service(
    info: &ServiceInfo,
    directory: &Path,
    source: Source<'_>,
) -> Result<StagedService, InstallError> {
    let mut intake = Intake::new(source.expected, directory, source.stopped)?;
    let staging = intake.staging().path().to_owned();
    let mut layers = Layers::new(
        &staging,
        Wanted::Service,
        Ownership::Group(info.gid),
        allowance(source.room, source.expected.id.size),
        source.stopped,
    );
    let (contents, file) = intake.receive(source.package, &mut layers)?;
    let parts = contents
        .service(&Platform::host())
        .map_err(|source| intake.wrong(source.into()))?;
    let (digest, image_config) = &parts.image_config;
    intake.check::<ImageConfig>("the image config", image_config)?;
    let mut documents = vec![
        (MANIFEST_FILE.to_owned(), parts.manifest.as_slice()),
        (blob_path(digest), image_config),
    ];
    if let Some((digest, config)) = &parts.service_config {
        intake.check::<ServiceConfig>("the service config", config)?;
        documents.push((blob_path(digest), config));
        // Both may be the same blob.
        documents.dedup_by(|one, other| one.0 == other.0);
    }

    let content = intake.staging().content();
    make_directory(&content).map_err(writing(&content))?;
    for (number, layer) in parts.own.iter().enumerate() {
        let what = match number {
            0 => ROOT_NAME.to_owned(),
            _ => format!("layer {}", Name::from(layer.name.as_bytes())),
        };
        let target = content.join(root_name(number));
        let unpacked = layers
            .place(layer, &target, &contents, &file)
            .map_err(|source| intake.refused(what, source))?;
        intake.add(unpacked);
    }
    let (allowance, hashes) = layers.into_parts();
    let unpacked = intake.unpacked();
    tell_losses(&format!("service {}", info.key()), unpacked);
    let (staging, room) = intake.finish(allowance, hashes, &documents)?;

    Ok(StagedService {
        staging,
        room,
        service: UnpackedService {
            manifest_digest: Digest::of(Algorithm::Sha256, &parts.manifest).to_string(),
            layers: parts.shared.iter().map(Digest::to_string).collect(),
        },
    })
}

/// Checks and unpacks a layer.
pub(super) fn stage_layer(
    digest: &Digest,
    directory: &Path,
    source: Source<'_>,
) -> Result<StagedLayer, InstallError> {
    let mut intake = Intake::new(source.expected, directory, source.stopped)?;
    let staging = intake.staging().path().to_owned();
    let mut layers = Layers::new(
        &staging,
        Wanted::Layer(digest),
        Ownership::Archive,
        allowance(source.room, source.expected.id.size),
        source.stopped,
    );
    let (contents, file) = intake.receive(source.package, &mut layers)?;
    let layer = contents
        .layer()
        .map_err(|source| intake.wrong(source.into()))?;
    if layer.digest != *digest {
        return Err(InstallError::OtherLayer {
            url: source.expected.url.to_owned(),
            actual: layer.digest.to_string(),
        });
    }

    let own = OwnLayer {
        name: EntryPath::parse(digest.hex().as_bytes())
            .expect("hex digits are a name, and a short one"),
        check: Check::Content(layer.digest),
    };
    let unpacked = layers
        .place(&own, &intake.staging().content(), &contents, &file)
        .map_err(|source| intake.refused(LAYER_NAME.to_owned(), source))?;
    intake.add(unpacked);
    let (allowance, hashes) = layers.into_parts();
    tell_losses(&format!("layer {digest}"), unpacked);
    let (staging, room) = intake.finish(allowance, hashes, &[])?;

    Ok(StagedLayer { staging, room })
}

fn tell_losses(item: &str, unpacked: Unpacked) {
    let losses = [
        (unpacked.devices, "device nodes left out"),
        (unpacked.fifos, "FIFOs left out"),
        (unpacked.set_id, "setuid and setgid bits cleared"),
        (unpacked.attributes, "extended attributes dropped"),
    ];
    for (count, what) in losses {
        if count > 0 {
            tracing::warn!(item, count, "{what}");
        }
    }
}
