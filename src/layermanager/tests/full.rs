//! Installs on a real disk that is small.

use std::fs;
use std::io::{self, Write as _};
use std::net::TcpListener;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tar::EntryType;

use super::support::{Device, Tar, layer_package, told};
use crate::layermanager::store;
use crate::model::LayerInfo;

const MIB: usize = 1 << 20;

/// A device whose layers have a disk of 10 MB.
struct Small(Device);

impl Small {
    async fn new() -> Self {
        let mut device = Device::new().await;
        let layers = device.layers();
        let options = Some("size=10m,mode=755");
        mount(
            Some("tmpfs"),
            &layers,
            Some("tmpfs"),
            MsFlags::empty(),
            options,
        )
        .unwrap();
        device.restart().await;
        Self(device)
    }

    /// A layer with a file of so many bytes.
    fn layer(&self, letter: u8, size: usize) -> LayerInfo {
        let content = vec![letter; size];
        let tar = Tar::new()
            .entry("file", EntryType::Regular, 0o644, "", &content)
            .build();
        self.0.layer(&tar, &layer_package(&tar))
    }

    async fn install(&self, info: &LayerInfo) -> Result<(), String> {
        let installed = self.0.content.install_layer(info).await;
        installed.map_err(|error| told(&error))
    }

    async fn retain(&self, infos: &[&LayerInfo]) {
        let digests = infos.iter().map(|info| info.digest.clone()).collect();
        self.0.content.retain(vec![], digests).await.unwrap();
    }

    async fn digests(&self) -> Vec<String> {
        let rows = store::layers(&self.0.database).await.unwrap();
        let mut digests: Vec<_> = rows.into_iter().map(|row| row.digest).collect();
        digests.sort();
        digests
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        umount2(&self.0.layers(), MntFlags::MNT_DETACH).unwrap();
    }
}

fn sorted(infos: &[&LayerInfo]) -> Vec<String> {
    let mut digests: Vec<_> = infos.iter().map(|info| info.digest.clone()).collect();
    digests.sort();
    digests
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root: run ci/test.sh"]
async fn nothing_is_downloaded_that_there_is_no_room_for() {
    let small = Small::new().await;
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    // There is room for the download, on another disk.
    let info = LayerInfo {
        url: format!("http://{}/package", server.local_addr().unwrap()),
        size: 20 << 20,
        ..small.layer(b'a', 1)
    };

    let refused = small.install(&info).await.unwrap_err();

    let text = format!("not enough space on {}: ", small.0.layers().display());
    assert!(refused.contains(&text), "{refused}");
    let asked = server.accept().unwrap_err();
    assert_eq!(asked.kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root: run ci/test.sh"]
async fn cached_layers_make_room_and_what_is_in_use_does_not() {
    let small = Small::new().await;
    let [a, b, c] = [b'a', b'b', b'c'].map(|letter| small.layer(letter, 4 * MIB));
    small.install(&a).await.unwrap();
    small.install(&b).await.unwrap();

    let refused = small.install(&c).await.unwrap_err();
    let layers = small.0.layers();
    let text = format!("not enough space on {}: ", layers.display());
    assert!(refused.contains(&text), "{refused}");
    assert!(refused.contains(", 0 could be made free)"), "{refused}");
    assert_eq!(small.digests().await, sorted(&[&a, &b]));

    small.retain(&[&b]).await;
    small.install(&c).await.unwrap();

    assert_eq!(small.digests().await, sorted(&[&b, &c]));
    // Each with its record.
    assert_eq!(fs::read_dir(layers.join("sha256")).unwrap().count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root: run ci/test.sh"]
async fn disk_that_others_fill_refuses_installs_until_there_is_room_again() {
    let small = Small::new().await;
    let info = small.layer(b'a', MIB);
    let filler = small.0.layers().join("lost+found");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}

    let refused = small.install(&info).await.unwrap_err();
    assert!(refused.contains(" 0 free, "), "{refused}");
    assert_eq!(fs::read_dir(small.0.layers()).unwrap().count(), 1);

    drop(file);
    fs::remove_file(&filler).unwrap();
    small.install(&info).await.unwrap();
}
