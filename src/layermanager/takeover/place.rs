//! Where a row of the older release says that content is.

use std::fs;
use std::path::{Component, Path, PathBuf};

use aos_package::{Algorithm, Digest, MANIFEST_FILE};

/// How a row of ours names a service's directory: relative to `directory` if it
/// lies there, else by its absolute path. `None` if no service can be there:
/// what a row names is removed one day, with all that is in it.
pub(super) fn service_place(directory: &Path, path: &str, manifest: &Digest) -> Option<String> {
    let path = sane(path)?;
    match below(directory, &path) {
        Some(relative) => (relative.components().count() == 1).then(|| text(&relative))?,
        None => is_service(&path, manifest).then(|| text(&path))?,
    }
}

/// As [`service_place`], for a layer, which lies one level deeper.
pub(super) fn layer_place(directory: &Path, path: &str, digest: &Digest) -> Option<String> {
    let path = sane(path)?;
    match below(directory, &path) {
        Some(relative) => is_layer_name(&relative).then(|| text(&relative))?,
        None => {
            let own = Path::new(digest.algorithm().name()).join(digest.hex());
            (path.ends_with(own) && path.is_dir()).then(|| text(&path))?
        }
    }
}

/// The older release stores absolute paths without detours.
fn sane(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let straight = path
        .components()
        .all(|component| matches!(component, Component::RootDir | Component::Normal(_)));
    (path.is_absolute() && straight).then(|| path.components().collect())
}

/// The rest of `path` if it lies in `directory`, whatever links lead there:
/// content that a row does not name as a scan finds it would be swept away.
fn below(directory: &Path, path: &Path) -> Option<PathBuf> {
    if let Ok(rest) = path.strip_prefix(directory) {
        return Some(rest.to_owned());
    }
    let (directory, path) = (directory.canonicalize().ok()?, path.canonicalize().ok()?);
    path.strip_prefix(directory).ok().map(Path::to_owned)
}

fn is_service(path: &Path, manifest: &Digest) -> bool {
    fs::read(path.join(MANIFEST_FILE)).is_ok_and(|bytes| manifest.matches(&bytes))
}

/// `<algorithm>/<name>`, as a scan goes through the layers.
fn is_layer_name(relative: &Path) -> bool {
    let mut components = relative.components();
    let algorithm = components
        .next()
        .and_then(|first| first.as_os_str().to_str());
    let known = |name| {
        Algorithm::ALL
            .iter()
            .any(|algorithm| algorithm.name() == name)
    };

    algorithm.is_some_and(known) && components.next().is_some() && components.next().is_none()
}

fn text(path: &Path) -> Option<String> {
    path.to_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    fn digest() -> Digest {
        Digest::of(Algorithm::Sha256, b"manifest")
    }

    fn at(directory: &TempDir, path: &str) -> String {
        text(&directory.path().join(path)).unwrap()
    }

    #[test]
    fn service_in_its_directory_is_named_as_a_scan_finds_it() {
        let services = Path::new("/var/services");

        for path in ["/var/services/123", "/var/services//123/"] {
            let place = service_place(services, path, &digest());

            assert_eq!(place.as_deref(), Some("123"), "{path}");
        }
    }

    #[test]
    fn directory_that_links_lead_to_is_the_same() {
        let ground = TempDir::new().unwrap();
        fs::create_dir_all(ground.path().join("real/123")).unwrap();
        symlink(ground.path().join("real"), ground.path().join("link")).unwrap();

        let place = service_place(
            &ground.path().join("link"),
            &at(&ground, "real/123"),
            &digest(),
        );

        assert_eq!(place.as_deref(), Some("123"));
    }

    #[test]
    fn service_elsewhere_is_known_by_its_manifest() {
        let ground = TempDir::new().unwrap();
        let elsewhere = at(&ground, "elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        let services = Path::new("/var/services");
        assert_eq!(service_place(services, &elsewhere, &digest()), None);

        fs::write(ground.path().join("elsewhere/manifest.json"), "manifest").unwrap();

        let place = service_place(services, &elsewhere, &digest());
        assert_eq!(place, Some(elsewhere));
    }

    #[test]
    fn layer_in_its_directory_is_named_as_a_scan_finds_it() {
        let layers = Path::new("/var/layers");
        let path = format!("/var/layers/sha256/{}", digest().hex());

        let place = layer_place(layers, &path, &digest());

        assert_eq!(place, Some(format!("sha256/{}", digest().hex())));
    }

    #[test]
    fn layer_elsewhere_is_known_by_its_name() {
        let ground = TempDir::new().unwrap();
        let layers = Path::new("/var/layers");
        let good = at(&ground, &format!("sha256/{}", digest().hex()));
        let other = at(&ground, "sha256/123");
        fs::create_dir_all(&good).unwrap();
        fs::create_dir_all(&other).unwrap();

        assert_eq!(layer_place(layers, &good, &digest()), Some(good.clone()));
        assert_eq!(layer_place(layers, &other, &digest()), None);
    }

    #[test]
    fn what_must_never_be_removed_is_no_place() {
        let directory = Path::new("/usr");
        for path in [
            "",
            "/",
            "relative",
            "/usr",
            "/usr/",
            "/usr/bin/../..",
            "/usr/local/share",
            "/etc",
            "/no/such/directory",
        ] {
            assert_eq!(service_place(directory, path, &digest()), None, "{path}");
            assert_eq!(layer_place(directory, path, &digest()), None, "{path}");
        }
        for path in ["/usr/bin", "/usr/sha256", "/usr/sha256/a/b", "/usr/md5/a"] {
            assert_eq!(layer_place(directory, path, &digest()), None, "{path}");
        }
    }
}
