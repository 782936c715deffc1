//! Installs packages as the service manager does, and tells what that took. Part
//! of the benchmark of installs, see bench/README.md.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aos_package::{PackageSums, Sha3Long, Sha3Short};
use aos_servicemanager::layermanager::{Content, ContentSettings, Users};
use aos_servicemanager::model::{ServiceInfo, Version};
use aos_servicemanager::storage::Database;
use serde_json::json;

const GROUP: u32 = 5000;

/// `install DIRECTORY PACKAGE…` installs the packages, all at once, and then a
/// second time. A line of JSON has the figures of each.
#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let directory = arguments.next().context("no directory")?;
    let services = arguments
        .enumerate()
        .map(|(number, package)| service(number, &package))
        .collect::<Result<Vec<_>>>()?;
    let opened = Database::open(&directory.join("servicemanager.db"), &[])?;
    let content = Content::start(settings(&directory), opened.database).await?;

    for _ in 0..2 {
        // What it needed at most from now on.
        fs::write("/proc/self/clear_refs", "5")?;
        let idle = status("VmRSS:")?;
        let (cpu, start) = (processor_time()?, Instant::now());
        let installs = services.iter().map(|info| content.install_service(info));
        for installed in futures_util::future::join_all(installs).await {
            installed?;
        }
        let figures = json!({
            "wall": start.elapsed().as_secs_f64(),
            "cpu": (processor_time()? - cpu).as_secs_f64(),
            "memory_kib": status("VmHWM:")?.saturating_sub(idle),
            "idle_kib": idle,
        });
        println!("{figures}");
    }
    Ok(())
}

fn settings(directory: &Path) -> ContentSettings {
    ContentSettings {
        services_dir: directory.join("services"),
        layers_dir: directory.join("layers"),
        services_part_limit: 0,
        layers_part_limit: 0,
        download_dir: directory.join("download"),
        ca_cert: None,
        extract_dir: directory.join("extract"),
        service_ttl: Duration::from_hours(24),
        layer_ttl: Duration::from_hours(24),
        users: Users::none(),
    }
}

/// The service of a package, as CM would describe it.
fn service(number: usize, package: &Path) -> Result<ServiceInfo> {
    let package = package.canonicalize()?;
    let sums = sums(&package).with_context(|| package.display().to_string())?;
    Ok(ServiceInfo {
        id: format!("service-{number}").as_str().into(),
        version: Version::default(),
        provider_id: "provider".into(),
        url: format!("file://{}", package.display()),
        gid: GROUP,
        sha256: sums.sha3_256.into(),
        sha512: sums.sha3_512.into(),
        size: fs::metadata(package)?.len(),
    })
}

/// Not all of the package in memory: what is measured is what an install takes.
fn sums(package: &Path) -> Result<PackageSums> {
    use std::io::Read;

    let mut file = fs::File::open(package)?;
    let (mut short, mut long) = (Sha3Short::default(), Sha3Long::default());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        let (piece, _) = buffer.split_at(count);
        short.update(piece);
        long.update(piece);
    }
    Ok(PackageSums {
        sha3_256: short.finish(),
        sha3_512: long.finish(),
    })
}

/// A line of `/proc/self/status`, in KiB.
fn status(key: &str) -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.with_context(|| format!("no {key}"))?.parse()?)
}

/// Of all threads, in the kernel too.
fn processor_time() -> Result<Duration> {
    let clock = nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID.now()?;
    Ok(clock.into())
}
