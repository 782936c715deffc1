//! What an instance sees of the host's top directories. Pure.
//!
//! The image is laid over the host as overlayfs would do it: a directory
//! merges with what is below, anything else hides it, and an opaque directory
//! hides it too. The mount points of SM are laid over the image. Links are
//! never followed: they are entries like any other.

use std::ffi::OsString;

use super::spec::MountPoint;

/// A top entry of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostEntry {
    /// There is none, or it is of a kind that is not shown.
    Absent,
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link to this target.
    Link(OsString),
}

/// The entry of the same name at the top of one layer of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayerEntry {
    /// There is none.
    Absent,
    /// A directory that merges with those below.
    Directory,
    /// A directory that hides what is below.
    Opaque,
    /// A file, a link, a whiteout.
    Other,
}

/// What SM itself puts at the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Points {
    /// Nothing.
    None,
    /// A directory with mount points in it.
    Below,
    /// A mount point.
    Itself,
}

/// How the host's entry is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// Not at all: only what image and SM have is seen.
    Hidden,
    /// By the same link.
    Link(OsString),
    /// As it is.
    Bind(BindKind),
    /// With directories laid over it.
    Overlay {
        /// Whether the directory of the mount points is the topmost.
        points: bool,
        /// Then those of these layers, the top first.
        layers: Vec<usize>,
    },
}

/// What is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BindKind {
    /// A directory.
    Directory,
    /// A file.
    File,
}

/// What SM itself puts at top entry `name`.
pub(crate) fn points_at(name: &str, points: &[MountPoint]) -> Points {
    let mut found = Points::None;
    for point in points {
        let path = point.path.trim_start_matches('/');
        match path.split_once('/') {
            None if path == name => return Points::Itself,
            Some((top, _)) if top == name => found = Points::Below,
            _ => {}
        }
    }

    found
}

/// How a host entry is shown below the layers of an image, the top layer first.
pub(crate) fn view(host: HostEntry, layers: &[LayerEntry], points: Points) -> View {
    if points == Points::Itself {
        return View::Hidden;
    }
    let covered =
        points == Points::Below || layers.iter().any(|&layer| layer != LayerEntry::Absent);

    match host {
        HostEntry::Absent => View::Hidden,
        HostEntry::Link(_) | HostEntry::File if covered => View::Hidden,
        HostEntry::Link(target) => View::Link(target),
        HostEntry::File => View::Bind(BindKind::File),
        HostEntry::Directory if !covered => View::Bind(BindKind::Directory),
        HostEntry::Directory => match merging(layers) {
            Some(layers) => View::Overlay {
                points: points == Points::Below,
                layers,
            },
            None => View::Hidden,
        },
    }
}

/// The layers whose directories merge with the host's; `None` if one hides it.
fn merging(layers: &[LayerEntry]) -> Option<Vec<usize>> {
    let mut merging = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        match layer {
            LayerEntry::Absent => {}
            LayerEntry::Directory => merging.push(index),
            LayerEntry::Opaque | LayerEntry::Other => return None,
        }
    }

    Some(merging)
}

/// The top entries that are named by a list of host binds, each once. The
/// second list has those that do not name one.
pub(crate) fn top_entries(binds: &[String]) -> (Vec<String>, Vec<String>) {
    let mut names: Vec<String> = Vec::new();
    let mut bad = Vec::new();
    for bind in binds {
        let name = bind.trim_matches('/');
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            bad.push(bind.clone());
        } else if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }

    (names, bad)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::LayerEntry::{Absent, Directory, Opaque, Other};
    use super::*;
    use crate::launcher::spec::MountPointKind;

    fn overlay(layers: &[usize]) -> View {
        View::Overlay {
            points: false,
            layers: layers.to_vec(),
        }
    }

    #[test]
    fn host_directory_below_an_image() {
        for (layers, expected) in [
            (&[][..], View::Bind(BindKind::Directory)),
            (&[Absent, Absent], View::Bind(BindKind::Directory)),
            (&[Directory], overlay(&[0])),
            (&[Absent, Directory], overlay(&[1])),
            (&[Directory, Absent, Directory], overlay(&[0, 2])),
            // A link `usr -> /etc`, a file or a whiteout hides the host.
            (&[Other], View::Hidden),
            (&[Other, Directory], View::Hidden),
            (&[Directory, Other], View::Hidden),
            (&[Opaque], View::Hidden),
            (&[Directory, Opaque, Directory], View::Hidden),
        ] {
            assert_eq!(
                view(HostEntry::Directory, layers, Points::None),
                expected,
                "{layers:?}"
            );
        }
    }

    #[test]
    fn host_link_is_copied_unless_the_image_has_the_name() {
        let link = || HostEntry::Link("usr/bin".into());

        assert_eq!(
            view(link(), &[Absent], Points::None),
            View::Link("usr/bin".into())
        );
        for entry in [Directory, Opaque, Other] {
            assert_eq!(view(link(), &[Absent, entry], Points::None), View::Hidden);
        }
    }

    #[test]
    fn host_file_is_bound_unless_the_image_has_the_name() {
        assert_eq!(
            view(HostEntry::File, &[Absent], Points::None),
            View::Bind(BindKind::File)
        );
        assert_eq!(view(HostEntry::File, &[Other], Points::None), View::Hidden);
    }

    #[test]
    fn mount_points_lie_over_image_and_host() {
        let shown = view(HostEntry::Directory, &[Absent, Directory], Points::Below);
        let link = view(HostEntry::Link("x".into()), &[], Points::Below);

        assert_eq!(
            shown,
            View::Overlay {
                points: true,
                layers: vec![1]
            }
        );
        assert_eq!(link, View::Hidden);
        assert_eq!(
            view(HostEntry::Directory, &[], Points::Itself),
            View::Hidden
        );
    }

    #[test]
    fn mount_points_are_found_by_top_entry() {
        let points = ["/proc", "/etc/hosts", "/etc/ssl"].map(|path| MountPoint {
            path: path.into(),
            kind: MountPointKind::Directory,
            mode: 0o755,
        });

        assert_eq!(points_at("proc", &points), Points::Itself);
        assert_eq!(points_at("etc", &points), Points::Below);
        assert_eq!(points_at("et", &points), Points::None);
        assert_eq!(points_at("hosts", &points), Points::None);
    }

    #[test]
    fn host_binds_name_top_entries_once() {
        let binds = ["usr", "/lib/", "usr/", "a/b", "..", "", "/", ".", "x\0y"].map(str::to_owned);

        let (names, bad) = top_entries(&binds);

        assert_eq!(names, ["usr", "lib"]);
        assert_eq!(bad, ["a/b", "..", "", "/", ".", "x\0y"]);
    }

    /// A file of the host is seen through overlayfs only if each layer above
    /// lets it through: the same, said the other way round.
    fn lets_through(layer: LayerEntry) -> bool {
        matches!(layer, Absent | Directory)
    }

    fn any_layers() -> impl Strategy<Value = Vec<LayerEntry>> {
        prop::collection::vec(
            prop::sample::select(vec![Absent, Directory, Opaque, Other]),
            0..6,
        )
    }

    proptest! {
        #[test]
        fn the_host_is_seen_exactly_where_all_layers_let_it_through(layers in any_layers()) {
            let hidden = view(HostEntry::Directory, &layers, Points::None) == View::Hidden;

            prop_assert_eq!(hidden, !layers.iter().copied().all(lets_through));
        }

        #[test]
        fn an_overlay_has_all_directories_of_the_image_from_the_top(layers in any_layers()) {
            if let View::Overlay { layers: used, .. } =
                view(HostEntry::Directory, &layers, Points::None)
            {
                let all: Vec<_> = (0..layers.len())
                    .filter(|&index| layers[index] == Directory)
                    .collect();
                prop_assert_eq!(used, all);
            }
        }

        #[test]
        fn what_the_host_lacks_is_never_mounted(layers in any_layers()) {
            prop_assert_eq!(view(HostEntry::Absent, &layers, Points::Below), View::Hidden);
        }
    }
}
