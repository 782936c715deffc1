//! The hash that release 7.2.3 made of an unpacked root.
//!
//! It is that of Go's `dirhash`: of the text that has a line for each file,
//! sorted by name, with the SHA-256 of its content, two blanks and its name. The
//! root is named by it. Whether the names begin with a slash is not known for
//! all builds of the release, so more than one form is accepted.
//!
//! It says nothing of modes, owners, attributes, empty directories and the
//! targets of links: a link counts as the file that it leads to. So a tree that
//! has anything but plain files and directories may have another hash today
//! without being damaged.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use aos_package::{Algorithm, BlobHasher, Digest};

/// Before the names in the text that is hashed.
const PREFIXES: [&str; 3] = ["", "/", "./"];

const BUFFER: usize = 64 << 10;

/// What the hash of an old root tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::layermanager) enum Legacy {
    /// It has the content that it was installed with.
    Verified,
    /// It has not, or the release hashed in another way.
    Mismatch,
    /// The hash cannot tell, because of this.
    NotVerifiable(String),
    /// It was not read to its end.
    Stopped,
}

/// Whether the tree at `root` has the hash that release 7.2.3 stored. Reads all
/// of it.
pub(in crate::layermanager) fn verify_legacy(
    root: &Path,
    digest: &Digest,
    stopped: &dyn Fn() -> bool,
) -> Legacy {
    if digest.algorithm() != Algorithm::Sha256 {
        return Legacy::NotVerifiable(format!("it is named by a {}", digest.algorithm().name()));
    }
    match hashes(root, stopped) {
        Ok(Tree { hashes, .. }) if hashes.contains(digest) => Legacy::Verified,
        Ok(Tree { odd: Some(odd), .. }) => Legacy::NotVerifiable(odd),
        Ok(_) => Legacy::Mismatch,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Legacy::Stopped,
        Err(error) => Legacy::NotVerifiable(format!("it cannot be read: {error}")),
    }
}

struct Tree {
    /// One for each form of the names.
    hashes: Vec<Digest>,
    /// Something that the hash cannot tell of.
    odd: Option<String>,
}

fn hashes(root: &Path, stopped: &dyn Fn() -> bool) -> io::Result<Tree> {
    let real = root.canonicalize()?;
    let mut files = Vec::new();
    collect(&real, &mut files, stopped)?;
    let name = |path: &Path| {
        let name = path.strip_prefix(&real).unwrap_or(path);
        name.as_os_str().as_bytes().to_vec()
    };
    let mut files: Vec<_> = files.into_iter().map(|path| (name(&path), path)).collect();
    files.sort();

    let mut hashers = PREFIXES.map(|prefix| (prefix, BlobHasher::new(Algorithm::Sha256)));
    let mut odd = None;
    for (name, path) in files {
        let Some(target) = plain_file(&real, &path) else {
            odd.get_or_insert_with(|| format!("{path:?} is no plain file in it"));
            continue;
        };
        let content = content_hash(&target, stopped)?;
        for (prefix, hasher) in &mut hashers {
            let mut line = Vec::new();
            write!(line, "{}  {prefix}", content.hex())?;
            line.extend_from_slice(&name);
            line.push(b'\n');
            hasher.update(&line);
        }
    }

    let hashes = hashers.into_iter().map(|(_, hasher)| hasher.finish());
    Ok(Tree {
        hashes: hashes.collect(),
        odd,
    })
}

/// All that is no directory, below `root`.
fn collect(root: &Path, files: &mut Vec<PathBuf>, stopped: &dyn Fn() -> bool) -> io::Result<()> {
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        go_on(stopped)?;
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    Ok(())
}

/// The plain file that `path` is, or leads to without leaving `root`.
fn plain_file(root: &Path, path: &Path) -> Option<PathBuf> {
    let metadata = fs::symlink_metadata(path).ok()?;
    if metadata.is_file() {
        return Some(path.to_owned());
    }
    if !metadata.is_symlink() {
        return None;
    }
    let target = path.canonicalize().ok()?;
    (target.starts_with(root) && target.is_file()).then_some(target)
}

fn content_hash(path: &Path, stopped: &dyn Fn() -> bool) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = BlobHasher::new(Algorithm::Sha256);
    let mut buffer = vec![0; BUFFER];
    loop {
        go_on(stopped)?;
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            length => hasher.update(&buffer[..length]),
        }
    }
}

fn go_on(stopped: &dyn Fn() -> bool) -> io::Result<()> {
    if stopped() {
        return Err(io::ErrorKind::Interrupted.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use aos_package::hex;
    use sha2::{Digest as _, Sha256};
    use tempfile::TempDir;

    use super::*;

    fn tree(files: &[(&str, &str)]) -> TempDir {
        let root = TempDir::new().unwrap();
        for (name, content) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    /// As `dirhash` does, of names that are sorted.
    fn expected(prefix: &str, files: &[(&str, &str)]) -> Digest {
        let text: String = files
            .iter()
            .map(|(name, content)| format!("{}  {prefix}{name}\n", hex(&Sha256::digest(content))))
            .collect();
        Digest::of(Algorithm::Sha256, text.as_bytes())
    }

    fn verify(root: &TempDir, digest: &Digest) -> Legacy {
        verify_legacy(root.path(), digest, &|| false)
    }

    // `etc-a` comes between: a walk that sorts by directory goes wrong here.
    const FILES: [(&str, &str); 4] = [
        ("bin/app", "program"),
        ("etc-a", ""),
        ("etc/b", "b"),
        ("etc/é", "accent"),
    ];

    #[test]
    fn known_hash_of_a_known_tree_is_verified() {
        let root = tree(&[("a/b", "1\n")]);
        // printf '%s  a/b\n' "$(printf '1\n' | sha256sum | cut -d' ' -f1)" | sha256sum
        let known = "sha256:75959efead0dd8f01c091f501122f88c100e486737bdb493befbed72bb0be9f1";

        let verdict = verify(&root, &known.parse().unwrap());

        assert_eq!(verdict, Legacy::Verified);
    }

    #[test]
    fn whole_tree_is_verified_in_each_form_of_its_names() {
        let root = tree(&FILES);
        fs::create_dir(root.path().join("empty")).unwrap();

        for prefix in PREFIXES {
            let verdict = verify(&root, &expected(prefix, &FILES));

            assert_eq!(verdict, Legacy::Verified, "{prefix:?}");
        }
    }

    #[test]
    fn tree_without_a_file_has_the_hash_of_nothing() {
        let root = tree(&[]);

        assert_eq!(verify(&root, &expected("", &[])), Legacy::Verified);
    }

    #[test]
    fn changed_added_removed_and_renamed_files_are_found() {
        let damages: [fn(&Path); 5] = [
            |root| fs::write(root.join("etc/b"), "c").unwrap(),
            |root| fs::write(root.join("etc/b"), "").unwrap(),
            |root| fs::write(root.join("new"), "").unwrap(),
            |root| fs::remove_file(root.join("etc-a")).unwrap(),
            |root| fs::rename(root.join("etc/b"), root.join("etc/c")).unwrap(),
        ];
        for damage in damages {
            let root = tree(&FILES);
            damage(root.path());

            assert_eq!(verify(&root, &expected("", &FILES)), Legacy::Mismatch);
        }
    }

    #[test]
    fn link_inside_counts_as_the_file_that_it_leads_to() {
        let root = tree(&FILES);
        symlink("../etc/b", root.path().join("bin/link")).unwrap();
        let mut files = FILES.to_vec();
        files.insert(1, ("bin/link", "b"));

        assert_eq!(verify(&root, &expected("", &files)), Legacy::Verified);
        fs::write(root.path().join("etc-a"), "changed").unwrap();
        assert_eq!(verify(&root, &expected("", &files)), Legacy::Mismatch);
    }

    #[test]
    fn what_the_hash_cannot_tell_of_is_no_damage() {
        let oddities: [fn(&Path); 4] = [
            |root| symlink("/etc/hostname", root.join("odd")).unwrap(),
            |root| symlink("nowhere", root.join("odd")).unwrap(),
            |root| symlink("etc", root.join("odd")).unwrap(),
            |root| {
                let mode = nix::sys::stat::Mode::S_IRWXU;
                nix::unistd::mkfifo(&root.join("odd"), mode).unwrap();
            },
        ];
        for make in oddities {
            let root = tree(&FILES);
            make(root.path());

            let verdict = verify(&root, &expected("", &[]));

            assert!(
                matches!(&verdict, Legacy::NotVerifiable(why) if why.contains("odd")),
                "{verdict:?}"
            );
        }
    }

    #[test]
    fn other_kinds_of_hashes_and_missing_roots_cannot_be_verified() {
        let root = tree(&FILES);
        let other = Digest::of(Algorithm::Sha512, b"");
        let missing = verify_legacy(Path::new("/no/root"), &expected("", &[]), &|| false);

        assert!(matches!(verify(&root, &other), Legacy::NotVerifiable(_)));
        assert!(matches!(missing, Legacy::NotVerifiable(_)));
    }

    #[test]
    fn reading_ends_when_it_is_stopped() {
        let root = tree(&FILES);

        let verdict = verify_legacy(root.path(), &expected("", &FILES), &|| true);

        assert_eq!(verdict, Legacy::Stopped);
    }
}
