//! On a real kernel, in a mount namespace of the test's own.

use std::fs::{create_dir_all, read_dir, read_link, read_to_string, write};
use std::os::unix::fs::MetadataExt as _;

use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{makedev, mknod};
use nix::sys::statvfs::{FsFlags, statvfs};
use tempfile::TempDir;

use super::*;

struct Bench {
    temp: TempDir,
    layers: Vec<PathBuf>,
    binds: Vec<String>,
    points: Vec<MountPoint>,
}

impl Bench {
    /// A host with `usr`, `opt`, `etc`, a file and a link, and an image of so
    /// many empty layers.
    fn new(layers: usize) -> Self {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();

        let temp = TempDir::new().unwrap();
        let path = temp.path().canonicalize().unwrap();
        for directory in ["usr/bin", "usr/lib", "opt", "etc", "secret"] {
            create_dir_all(path.join("host").join(directory)).unwrap();
        }
        write(path.join("host/usr/bin/tool"), "host").unwrap();
        write(path.join("host/usr/lib/library"), "host").unwrap();
        write(path.join("host/etc/shadow"), "host").unwrap();
        write(path.join("host/file"), "host").unwrap();
        symlink("usr/bin", path.join("host/bin")).unwrap();
        let layers = (0..layers)
            .map(|number| path.join(format!("layer, {number}: x")))
            .collect::<Vec<_>>();
        for layer in &layers {
            create_dir_all(layer).unwrap();
        }

        Self {
            temp,
            layers,
            binds: ["usr", "bin", "file", "missing"]
                .map(str::to_owned)
                .to_vec(),
            points: ["/proc", "/etc/ssl"]
                .map(|path| MountPoint {
                    path: path.into(),
                    kind: MountPointKind::Directory,
                    mode: 0o755,
                })
                .to_vec(),
        }
    }

    fn runtime_dir(&self) -> PathBuf {
        self.temp
            .path()
            .canonicalize()
            .unwrap()
            .join("run/instance")
    }

    fn host(&self) -> PathBuf {
        self.temp.path().join("host")
    }

    fn mount(&self) -> Result<PathBuf, RootfsError> {
        let from = Ingredients {
            host_root: &self.host(),
            host_binds: &self.binds,
            layers: self.layers.iter().map(PathBuf::as_path).collect(),
            points: &self.points,
        };
        mount_root(&self.runtime_dir(), &from).map(|()| self.runtime_dir().join("rootfs"))
    }

    fn mounts(&self) -> Vec<PathBuf> {
        mounts_below(self.temp.path()).unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for path in self.mounts().iter().rev() {
            umount2(path, MntFlags::MNT_DETACH).unwrap();
        }
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn whiteout(path: &Path) {
    mknod(path, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0)).unwrap();
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn image_lies_over_the_shown_part_of_the_host() {
    let bench = Bench::new(2);
    create_dir_all(bench.layers[0].join("usr/bin")).unwrap();
    create_dir_all(bench.layers[1].join("usr/bin")).unwrap();
    create_dir_all(bench.layers[1].join("app")).unwrap();
    write(bench.layers[0].join("usr/bin/tool"), "root").unwrap();
    write(bench.layers[1].join("usr/bin/tool"), "layer").unwrap();
    write(bench.layers[1].join("usr/bin/extra"), "layer").unwrap();

    let root = bench.mount().unwrap();

    assert_eq!(names(&root), ["app", "bin", "etc", "file", "proc", "usr"]);
    assert_eq!(names(&root.join("usr/bin")), ["extra", "tool"]);
    assert_eq!(read_to_string(root.join("usr/bin/tool")).unwrap(), "root");
    assert_eq!(read_to_string(root.join("usr/bin/extra")).unwrap(), "layer");
    assert_eq!(
        read_to_string(root.join("usr/lib/library")).unwrap(),
        "host"
    );
    assert_eq!(read_to_string(root.join("bin/tool")).unwrap(), "root");
    assert_eq!(read_to_string(root.join("file")).unwrap(), "host");
    assert_eq!(names(&root.join("etc")), ["ssl"]);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn nothing_of_it_can_be_written() {
    let bench = Bench::new(1);

    let root = bench.mount().unwrap();

    for path in ["new", "usr/new", "etc/new", "file"] {
        let refused = write(root.join(path), "x").unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(Errno::EROFS as i32), "{path}");
    }
    for path in ["", "usr", "file"] {
        let flags = statvfs(&root.join(path)).unwrap().flags();
        let wanted = FsFlags::ST_RDONLY | FsFlags::ST_NOSUID | FsFlags::ST_NODEV;
        assert!(flags.contains(wanted), "{path}: {flags:?}");
    }
    assert_eq!(read_to_string(bench.host().join("file")).unwrap(), "host");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn link_in_the_image_leads_no_mount_astray() {
    let bench = Bench::new(1);
    symlink("/etc", bench.layers[0].join("usr")).unwrap();
    symlink(bench.host().join("etc"), bench.layers[0].join("file")).unwrap();

    let root = bench.mount().unwrap();

    assert_eq!(bench.mounts(), std::slice::from_ref(&root));
    assert_eq!(read_link(root.join("usr")).unwrap(), Path::new("/etc"));
    assert!(root.join("file").is_symlink());
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn link_in_the_image_where_mount_points_are_gives_way() {
    let bench = Bench::new(1);
    symlink(bench.host().join("etc"), bench.layers[0].join("etc")).unwrap();

    let root = bench.mount().unwrap();

    assert_eq!(names(&root.join("etc")), ["ssl"]);
    assert_eq!(names(&bench.host().join("etc")), ["shadow"]);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn whiteouts_of_the_image_hide_the_host() {
    let bench = Bench::new(2);
    create_dir_all(bench.layers[1].join("usr/bin")).unwrap();
    whiteout(&bench.layers[1].join("usr/bin/tool"));
    whiteout(&bench.layers[0].join("file"));
    whiteout(&bench.layers[0].join("bin"));

    let root = bench.mount().unwrap();

    assert_eq!(names(&root), ["etc", "proc", "usr"]);
    assert_eq!(names(&root.join("usr")), ["bin", "lib"]);
    assert_eq!(names(&root.join("usr/bin")), [] as [&str; 0]);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn opaque_directory_of_the_image_hides_the_host() {
    let bench = Bench::new(2);
    for layer in &bench.layers {
        create_dir_all(layer.join("usr")).unwrap();
    }
    write(bench.layers[0].join("usr/own"), "image").unwrap();
    xattr::set(bench.layers[1].join("usr"), OPAQUE, b"y").unwrap();

    let root = bench.mount().unwrap();

    assert_eq!(names(&root.join("usr")), ["own"]);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn directory_of_the_image_wins_over_a_link_of_the_host() {
    let bench = Bench::new(1);
    create_dir_all(bench.layers[0].join("bin")).unwrap();
    write(bench.layers[0].join("bin/app"), "image").unwrap();

    let root = bench.mount().unwrap();

    assert_eq!(names(&root.join("bin")), ["app"]);
    assert_eq!(names(&root.join("usr/bin")), ["tool"]);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn mount_points_lie_over_a_shown_host_directory() {
    let mut bench = Bench::new(1);
    bench.binds.push("etc".to_owned());

    let root = bench.mount().unwrap();

    assert_eq!(names(&root.join("etc")), ["shadow", "ssl"]);
    assert_eq!(names(&bench.host().join("etc")), ["shadow"]);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn top_is_readable_for_every_user() {
    let mut bench = Bench::new(1);
    bench.points.push(MountPoint {
        path: "/tmp".into(),
        kind: MountPointKind::Directory,
        mode: 0o1777,
    });

    let root = bench.mount().unwrap();

    for (path, mode) in [
        ("", 0o755),
        ("etc/ssl", 0o755),
        ("usr", 0o755),
        ("tmp", 0o1777),
        ("../../instance", 0o700),
    ] {
        let found = root.join(path).metadata().unwrap().mode();
        assert_eq!(found & 0o7777, mode, "{path}");
    }
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn many_layers_with_odd_names_are_no_problem() {
    let bench = Bench::new(120);
    for (number, layer) in bench.layers.iter().enumerate() {
        create_dir_all(layer.join("usr")).unwrap();
        write(layer.join("usr").join(number.to_string()), "").unwrap();
    }

    let root = bench.mount().unwrap();

    assert_eq!(names(&root.join("usr")).len(), 120 + 2);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn missing_layer_is_named_and_nothing_is_left() {
    let mut bench = Bench::new(1);
    bench.layers.push(bench.temp.path().join("gone"));

    let refused = bench.mount().unwrap_err();

    assert!(refused.to_string().ends_with("/gone"), "{refused}");
    assert!(!bench.runtime_dir().exists());
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn late_refusal_takes_all_mounts_away() {
    let mut bench = Bench::new(1);
    // The kernel wants no layer inside another one.
    let inside = bench.host().join("usr/content");
    create_dir_all(inside.join("usr")).unwrap();
    bench.layers.push(inside);

    let refused = bench.mount().unwrap_err();

    assert!(refused.to_string().ends_with("/rootfs/usr"), "{refused}");
    assert_eq!(bench.mounts(), [] as [PathBuf; 0]);
    assert!(!bench.runtime_dir().exists());
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn removal_takes_foreign_mounts_away_and_touches_no_content() {
    let bench = Bench::new(1);
    create_dir_all(bench.layers[0].join("usr")).unwrap();
    write(bench.layers[0].join("usr/own"), "image").unwrap();
    let root = bench.mount().unwrap();
    let none = None::<&str>;
    for _ in 0..2 {
        mount(
            Some("tmpfs"),
            &root.join("etc/ssl"),
            Some("tmpfs"),
            MsFlags::empty(),
            none,
        )
        .unwrap();
    }

    remove_root(&bench.runtime_dir()).unwrap();

    assert_eq!(bench.mounts(), [] as [PathBuf; 0]);
    assert!(!bench.runtime_dir().exists());
    assert!(bench.layers[0].join("usr/own").exists());
    assert!(bench.host().join("usr/bin/tool").exists());
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn removal_is_repeatable_and_mounting_replaces_remains() {
    let bench = Bench::new(1);
    bench.mount().unwrap();
    let first = bench.mounts().len();

    bench.mount().unwrap();

    assert_eq!(bench.mounts().len(), first);
    remove_root(&bench.runtime_dir()).unwrap();
    remove_root(&bench.runtime_dir()).unwrap();
    assert_eq!(bench.mounts(), [] as [PathBuf; 0]);
}
