use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aos_package::{Algorithm, Digest, blob_path, hex};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::sync::watch;

use super::rows::take_over_at;
use super::{check, store};
use crate::layermanager::shared::Shared;
use crate::layermanager::store::{layers, service, services};
use crate::layermanager::{Content, ContentSettings, Users};
use crate::model::{Chain, LayerInfo, ServiceInfo, ServiceKey};
use crate::storage::{Clock, Database, OldDatabase, TakeOver};

const NOW: i64 = 1_800_000_000;
const LAYER: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A working directory of the older release.
struct Old {
    directory: TempDir,
    database: OldDatabase,
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

impl Old {
    fn new() -> Self {
        let old = Self {
            directory: TempDir::new().unwrap(),
            database: OldDatabase::new(6),
        };
        fs::create_dir_all(old.settings().services_dir).unwrap();
        fs::create_dir_all(old.settings().layers_dir).unwrap();
        old
    }

    fn settings(&self) -> ContentSettings {
        let at = |name: &str| self.directory.path().join(name);
        ContentSettings {
            services_dir: at("services"),
            layers_dir: at("layers"),
            services_part_limit: 0,
            layers_part_limit: 0,
            download_dir: at("download"),
            ca_cert: None,
            extract_dir: at("extract"),
            service_ttl: Duration::from_hours(24),
            layer_ttl: Duration::from_hours(24),
            users: Users::none(),
        }
    }

    /// Installs a service as the older release does; returns its root.
    fn service(&self, id: &str, version: u64, cached: bool) -> PathBuf {
        let directory = self.settings().services_dir.join(format!("{id}{version}"));
        let write = |path: PathBuf, bytes: &[u8]| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        let content = id.as_bytes();
        let line = format!("{}  app\n", hex(&Sha256::digest(content)));
        let root = sha256(line.as_bytes());
        let image = json!({"os": "linux", "config": {"Entrypoint": ["/app"]}}).to_string();
        let image_digest = sha256(image.as_bytes());
        let manifest = json!({
            "schemaVersion": 2,
            "config": {"digest": image_digest},
            "layers": [{"digest": root}, {"digest": LAYER}],
        });
        let manifest = manifest.to_string();
        write(directory.join(blob_path(&root)).join("app"), content);
        write(directory.join(blob_path(&image_digest)), image.as_bytes());
        write(directory.join("manifest.json"), manifest.as_bytes());

        let cached = u8::from(cached);
        self.database.execute(&format!(
            "INSERT INTO services VALUES ('{id}', {version}, 'provider', 'text', '{}', x'{}', \
             {cached}, '2020-01-01 00:00:00+00:00', 10, 5000)",
            directory.display(),
            hex(&Sha256::digest(manifest)),
        ));
        directory.join(blob_path(&root))
    }

    fn layer(&self) -> PathBuf {
        let path = self.settings().layers_dir.join(LAYER.replace(':', "/"));
        fs::create_dir_all(&path).unwrap();
        self.database.execute(&format!(
            "INSERT INTO layers VALUES ('{LAYER}', 'base', '{}', '1', 'v', 'd', 4, 0, 1, 10)",
            path.display()
        ));
        path
    }

    fn taken_over(&self) -> Database {
        let ContentSettings {
            services_dir,
            layers_dir,
            ..
        } = self.settings();
        self.database
            .taken_over(TakeOver::new("content", move |old| {
                take_over_at(old, &services_dir, &layers_dir, NOW)
            }))
    }
}

fn key(id: &str, version: u64) -> ServiceKey {
    ServiceKey {
        id: id.into(),
        version,
    }
}

/// What CM asks for, and what the launcher makes of old rows if `url` is empty.
fn info(id: &str, version: u64, url: &str) -> ServiceInfo {
    let mut info = ServiceInfo {
        id: id.into(),
        provider_id: "provider".into(),
        url: url.into(),
        gid: 5000,
        ..ServiceInfo::default()
    };
    info.version.aos = version;
    info
}

async fn cached_since(database: &Database, table: &'static str) -> Vec<Option<i64>> {
    database
        .call(move |connection| {
            let sql = format!("SELECT cached_since FROM {table} ORDER BY 1");
            let mut select = connection.prepare(&sql)?;
            let rows = select.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
        .unwrap()
}

async fn check_now(old: &Old, database: &Database) {
    let (_alive, ends) = watch::channel(());
    let clock = Clock::start(database).await.unwrap();
    let shared = Shared::new(old.settings(), database.clone(), clock);
    check(Arc::new(shared), ends).await;
}

#[tokio::test]
async fn services_and_layers_are_served_from_where_the_older_release_put_them() {
    let old = Old::new();
    let root = old.service("web", 3, false);
    let layer = old.layer();
    let database = old.taken_over();
    let content = Content::start(old.settings(), database.clone())
        .await
        .unwrap();

    let needed = content.install_service(&info("web", 3, "")).await.unwrap();
    let layer_info = LayerInfo {
        digest: LAYER.into(),
        ..LayerInfo::default()
    };
    content.install_layer(&layer_info).await.unwrap();
    let served = content.service(&key("web", 3)).await.unwrap();

    assert_eq!(needed, [LAYER]);
    assert_eq!((served.root, served.layers), (root, vec![layer]));
    assert_eq!(
        (served.gid, served.provider_id.as_str()),
        (5000, "provider")
    );
    assert_eq!(served.image.config.entrypoint, ["/app"]);
    let row = service(&database, key("web", 3)).await.unwrap().unwrap();
    assert_eq!((row.path.as_str(), row.package_digest), ("web3", None));
    assert_eq!(
        layers(&database).await.unwrap()[0].path,
        LAYER.replace(':', "/")
    );
}

#[tokio::test]
async fn list_of_cm_that_names_what_is_there_fetches_nothing() {
    let old = Old::new();
    let root = old.service("web", 3, false);
    old.layer();
    let content = Content::start(old.settings(), old.taken_over())
        .await
        .unwrap();
    let listed = ServiceInfo {
        sha512: vec![1; 64],
        ..info("web", 3, "file:///no/such/package")
    };

    content.install_service(&listed).await.unwrap();

    assert_eq!(content.service(&key("web", 3)).await.unwrap().root, root);
}

#[tokio::test]
async fn time_of_cached_content_counts_from_the_takeover() {
    let old = Old::new();
    old.service("web", 2, true);
    old.service("web", 3, false);
    old.layer();

    let database = old.taken_over();

    assert_eq!(cached_since(&database, "services").await, [None, Some(NOW)]);
    assert_eq!(cached_since(&database, "layers").await, [Some(NOW)]);
}

#[tokio::test]
async fn rows_that_make_no_sense_are_left_out_alone() {
    let damages = [
        "imagePath = '/'",
        "imagePath = 'relative'",
        "imagePath = '/no/such/place'",
        "imagePath = ''",
        "manifestDigest = NULL",
        "manifestDigest = x'00'",
        "GID = NULL",
        "GID = -1",
        "GID = 4294967296",
        "GID = 'staff'",
        "aosVersion = NULL",
        "id = ''",
        "cached = 'maybe'",
    ];
    for damage in damages {
        let old = Old::new();
        old.service("web", 3, false);
        old.service("bad", 1, false);
        let sql = format!("UPDATE services SET {damage} WHERE id = 'bad'");
        old.database.execute(&sql);

        let rows = services(&old.taken_over()).await.unwrap();

        assert_eq!(rows.len(), 1, "{damage}");
        assert_eq!(rows[0].key, key("web", 3));
    }
    for damage in ["digest = 'sha256:..'", "path = '/etc'", "path = NULL"] {
        let old = Old::new();
        old.layer();
        old.database.execute(&format!("UPDATE layers SET {damage}"));

        assert_eq!(layers(&old.taken_over()).await.unwrap(), [], "{damage}");
    }
}

#[tokio::test]
async fn nulls_that_nothing_depends_on_are_empty() {
    let old = Old::new();
    old.service("web", 3, false);
    old.database.execute(
        "UPDATE services SET providerID = NULL, description = NULL, cached = NULL, \
         timestamp = NULL, size = NULL",
    );

    let rows = services(&old.taken_over()).await.unwrap();

    assert_eq!(rows[0].provider_id, "");
}

#[tokio::test]
async fn damage_is_the_error_until_cm_says_where_the_package_is() {
    type Damage = fn(&Path);
    let damages: [(Damage, &str); 3] = [
        (
            |services| fs::remove_dir_all(services.join("web3")).unwrap(),
            "next list of CM",
        ),
        (
            |services| fs::write(services.join("web3/manifest.json"), "{}").unwrap(),
            "manifest.json has changed",
        ),
        (
            |services| fs::remove_dir_all(services.join("web3/blobs")).unwrap(),
            "cannot read",
        ),
    ];
    for (damage, words) in damages {
        let old = Old::new();
        old.service("web", 3, false);
        damage(&old.settings().services_dir);
        let content = Content::start(old.settings(), old.taken_over())
            .await
            .unwrap();

        let error = content
            .install_service(&info("web", 3, ""))
            .await
            .unwrap_err();

        let text = Chain(&error).to_string();
        assert!(
            text.contains("next list of CM") && text.contains(words),
            "{text}"
        );
    }
}

#[tokio::test]
async fn missing_layer_is_an_error_of_its_own() {
    let old = Old::new();
    fs::remove_dir_all(old.layer()).unwrap();
    let content = Content::start(old.settings(), old.taken_over())
        .await
        .unwrap();
    let layer = LayerInfo {
        digest: LAYER.into(),
        ..LayerInfo::default()
    };

    let error = content.install_layer(&layer).await.unwrap_err();

    assert!(Chain(&error).to_string().contains("next list of CM"));
}

#[tokio::test]
async fn content_that_has_changed_is_found_if_other_content_has_not() {
    let old = Old::new();
    old.service("web", 3, false);
    fs::write(old.service("bad", 1, false).join("app"), "changed").unwrap();
    let database = old.taken_over();

    check_now(&old, &database).await;

    let digest = async |id, version| {
        let row = service(&database, key(id, version)).await.unwrap();
        row.unwrap().package_digest
    };
    assert_eq!(digest("web", 3).await, None);
    assert_eq!(digest("bad", 1).await.as_deref(), Some(store::CHANGED));
    assert_eq!(store::unchecked(&database).await.unwrap(), []);
    // It is not run again, and CM's list replaces it.
    let content = Content::start(old.settings(), database).await.unwrap();
    let error = content
        .install_service(&info("bad", 1, ""))
        .await
        .unwrap_err();
    let text = Chain(&error).to_string();
    assert!(
        text.contains("next list of CM") && text.contains("have changed"),
        "{text}"
    );
    let url = "file:///no/such/package";
    let error = content
        .install_service(&info("bad", 1, url))
        .await
        .unwrap_err();
    assert!(Chain(&error).to_string().contains("No such file"));
}

#[tokio::test]
async fn hashes_of_another_kind_condemn_nothing() {
    let old = Old::new();
    for id in ["one", "two"] {
        fs::write(old.service(id, 1, false).join("app"), "changed").unwrap();
    }
    let database = old.taken_over();

    check_now(&old, &database).await;

    for row in services(&database).await.unwrap() {
        assert_eq!(row.package_digest, None);
    }
}

#[tokio::test]
async fn check_that_was_cut_off_begins_again() {
    let old = Old::new();
    old.service("web", 3, false);
    let database = old.taken_over();
    let (alive, ends) = watch::channel(());
    drop(alive);

    let clock = Clock::start(&database).await.unwrap();
    let shared = Shared::new(old.settings(), database.clone(), clock);
    check(Arc::new(shared), ends).await;

    assert_eq!(store::unchecked(&database).await.unwrap(), [key("web", 3)]);
}
