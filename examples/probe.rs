use aos_package::pack::*;
use aos_package::*;
use aos_servicemanager::{
    config::Config, iamclient::*, launcher::*, layermanager::*, model::*, networkmanager::*,
    storage::Database,
};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn sh(cmd: &str) -> String {
    let o = Command::new("sh").arg("-c").arg(cmd).output().unwrap();
    format!(
        "{}{}",
        String::from_utf8_lossy(&o.stdout),
        String::from_utf8_lossy(&o.stderr)
    )
    .trim_end()
    .to_owned()
}

struct Lab {
    host: Arc<LinuxHost>,
    dir: std::path::PathBuf,
    version: u64,
}

impl Lab {
    async fn install(
        &mut self,
        name: &str,
        cmd: &[&str],
        f: impl FnOnce(&mut ImageConfig, &mut ServiceConfig, &Path),
    ) -> ServiceKey {
        self.version += 1;
        let root = self.dir.join(format!("src-{name}"));
        fs::create_dir_all(root.join("app")).unwrap();
        let mut image = ImageConfig {
            os: "linux".into(),
            config: ExecutionConfig {
                cmd: cmd.iter().map(|s| s.to_string()).collect(),
                ..Default::default()
            },
            ..Default::default()
        };
        let mut config = ServiceConfig::default();
        f(&mut image, &mut config, &root);
        let out = self.dir.join(format!("{name}.tar"));
        let packed = pack_service(
            &ServiceSource {
                rootfs: &root,
                image: &image,
                config: Some(&config),
                layers: &[],
                gzip: false,
            },
            &out,
        )
        .unwrap();
        let info = ServiceInfo {
            id: name.into(),
            version: Version {
                aos: self.version,
                ..Default::default()
            },
            provider_id: "prov".into(),
            url: format!("file://{}", out.display()),
            gid: 3000,
            sha256: packed.sha3_256.to_vec(),
            sha512: packed.sha3_512.to_vec(),
            size: packed.size,
        };
        self.host
            .install_service(&info)
            .await
            .map_err(|e| e.info().message)
            .unwrap();
        info.key()
    }
    async fn start(&self, n: u32, key: &ServiceKey) -> Result<Blueprint, HostError> {
        let id = InstanceId::from_u128(0x1000_0000_0000_0000_0000_0000_0000_0000 + u128::from(n));
        let info = InstanceInfo {
            ident: InstanceIdent {
                service_id: key.id.clone(),
                subject_id: "subj".into(),
                index: i64::from(n),
            },
            uid: 5000 + n,
            storage_path: format!("st{n}"),
            state_path: format!("state{n}.dat"),
            network: NetworkParameters {
                subnet: "172.20.0.0/16".into(),
                ip: format!("172.20.0.{}", n + 10),
                ..Default::default()
            },
            ..Default::default()
        };
        let bp = self.host.prepare(id, &info, key).await?;
        for r in Resource::ACQUIRE_ORDER {
            let t = Instant::now();
            if let Err(e) = self.host.acquire(&bp, r).await {
                println!(
                    "   acquire {r:?} refused after {:?}: {}",
                    t.elapsed(),
                    e.info().message
                );
                self.stop(&bp).await;
                return Err(e);
            }
            if std::env::var("TIMES").is_ok() {
                println!("   {r:?} {:?}", t.elapsed());
            }
        }
        Ok(bp)
    }
    async fn stop(&self, bp: &Blueprint) {
        let target = Target {
            id: bp.id,
            ident: Some(bp.info.ident.clone()),
        };
        for r in Resource::ACQUIRE_ORDER.iter().rev() {
            let t = Instant::now();
            if let Err(e) = self.host.release(&target, *r).await {
                println!("   release {r:?}: {}", e.info().message);
            }
            if std::env::var("TIMES").is_ok() {
                println!("   -{r:?} {:?}", t.elapsed());
            }
        }
    }
}

fn left(what: &str) {
    println!(
        "-- left after {what}: [{}]",
        sh(
            "ls /run/aos/runtime /run/aos/registered /run/netns 2>/dev/null | grep 10000000; grep aos/runtime /proc/mounts; ls /run/systemd/system | grep aos; ip -br link | grep -v -e '^lo' ; find /sys/fs/cgroup -name 'aos-service@*'; systemctl --plain --no-legend list-units --all 'aos-service@*'; ls /run/runc /run/crun 2>/dev/null | grep 10000000"
        )
    );
}

#[tokio::main]
async fn main() {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .init();
    let dir = Path::new("/var/aos").to_owned();
    for d in ["services", "layers", "extract", "download"] {
        fs::create_dir_all(dir.join(d)).unwrap();
    }
    let cfg = dir.join("probe.cfg");
    fs::write(&cfg, r#"{"workingDir":"/var/aos","caCert":"/x","cmServerUrl":"localhost:1","iamPublicServerUrl":"localhost:2","iamProtectedServerUrl":"localhost:3"}"#).unwrap();
    let (config, _) = Config::load(&cfg).unwrap();
    let db = Database::in_memory().unwrap();
    let content = Content::start(
        ContentSettings {
            services_dir: dir.join("services"),
            layers_dir: dir.join("layers"),
            extract_dir: dir.join("extract"),
            service_ttl: Duration::from_secs(99),
            layer_ttl: Duration::from_secs(99),
        },
        db.clone(),
    )
    .await
    .unwrap();
    let (networks, task) = Networks::start(db.clone(), NetworkSettings::default())
        .await
        .unwrap();
    tokio::spawn(task.run());
    networks
        .update(vec![NetworkParameters {
            network_id: "prov".into(),
            subnet: "172.20.0.0/16".into(),
            ip: "172.20.0.1".into(),
            ..Default::default()
        }])
        .await;
    let (iam, _task) = Iam::start(
        &IamSettings {
            public_url: "localhost:2".into(),
            protected_url: "localhost:3".into(),
            ca_cert: "/x".into(),
            cert_storage: "sm".into(),
        },
        db.clone(),
    );
    let (host, mut changes) = LinuxHost::new(
        LinuxSettings::new(&config, 2),
        content,
        networks.clone(),
        iam,
    )
    .await
    .map_err(|e| e.info().message)
    .unwrap();
    let t0 = Instant::now();
    tokio::spawn(async move {
        while let Some(c) = changes.recv().await {
            println!(
                "   [{:.3}] {} {:?}",
                t0.elapsed().as_secs_f64(),
                &c.id.to_string()[32..],
                c.event
            );
        }
    });
    let mut lab = Lab {
        host: Arc::new(host),
        dir: dir.clone(),
        version: 0,
    };
    let args: Vec<String> = std::env::args().skip(1).collect();
    let want = |s: &str| args.is_empty() || args.iter().any(|a| a == s);
    println!(
        "survey: {:?}",
        lab.host.survey().await.map_err(|e| e.info().message)
    );

    if want("basic") {
        println!("== basic");
        let key = lab.install("basic", &["/bin/sh", "-c", "trap 'echo bye; exit 0' TERM; echo hello; id; pwd; env; cat /etc/hosts; ls / /app; hostname; cat /proc/self/limits | grep -e files -e processes; echo x >/storage/f && echo storage ok; echo y >/state.dat && echo state ok; echo z >/tmp/t && echo tmp ok; echo q >/app/x; cat /proc/self/status | grep Cap; cat /proc/self/cgroup; while :; do sleep 0.1; done"], |i, c, root| {
            i.config.env = vec!["COLOUR=blue".into()];
            i.config.working_dir = "/app".into();
            fs::write(root.join("app/data"), "x").unwrap();
            c.quotas = Quotas { cpu_limit: Some(50), ram_limit: Some(64 << 20), pids_limit: Some(20), no_file_limit: Some(100), tmp_limit: Some(1 << 20), ..Default::default() };
            c.sysctl = Some([("net.ipv4.ip_unprivileged_port_start".to_owned(), "80".to_owned())].into());
        }).await;
        let bp = lab
            .start(1, &key)
            .await
            .map_err(|e| e.info().message)
            .unwrap();
        tokio::time::sleep(Duration::from_millis(800)).await;
        let unit = format!("aos-service@{}.service", bp.id);
        println!(
            "{}",
            sh(&format!(
                "systemctl show -p MainPID,ActiveState,SubState,Result,ControlGroup,NRestarts {unit}; cat /run/aos/runtime/{}/.pid; echo; cat /proc/$(cat /run/aos/runtime/{}/.pid)/cgroup",
                bp.id, bp.id
            ))
        );
        println!(
            "{}",
            sh(&format!(
                "P=/system.slice/system-aos\\\\x2dservice.slice/{unit}/container; cd /sys/fs/cgroup; if [ -e cgroup.controllers ]; then cat .$P/memory.max .$P/pids.max .$P/cpu.max; else cat memory$P/memory.limit_in_bytes pids$P/pids.max cpu$P/cpu.cfs_quota_us; fi"
            ))
        );
        println!(
            "{}",
            sh(&format!(
                "cat /run/systemd/system/{unit}.d/aos.conf; ls -la /run/aos/runtime/{} /var/aos/storages /var/aos/states; sleep 0.3; journalctl --sync; journalctl --no-pager -o short-monotonic -u {unit} ; echo ---; journalctl --no-pager -o json _SYSTEMD_UNIT={unit} MESSAGE=hello",
                bp.id
            ))
        );
        println!(
            "survey: {:?}",
            lab.host.survey().await.map_err(|e| e.info().message)
        );
        let t = Instant::now();
        lab.stop(&bp).await;
        println!("stopped in {:?}", t.elapsed());
        println!(
            "{}",
            sh(&format!(
                "journalctl --sync; journalctl --no-pager -o cat -n 5 -u {unit}"
            ))
        );
        left("basic");
    }
    if want("exit") {
        println!("== exits at once with 7");
        let key = lab
            .install("exit", &["/bin/sh", "-c", "exit 7"], |_, _, _| ())
            .await;
        for n in 2..5 {
            let t = Instant::now();
            match lab.start(n, &key).await {
                Ok(bp) => {
                    println!("   ok after {:?}", t.elapsed());
                    tokio::time::sleep(Duration::from_millis(1500)).await;
                    println!(
                        "{}",
                        sh(&format!(
                            "systemctl show -p ActiveState,Result,NRestarts,ExecMainStatus aos-service@{}",
                            bp.id
                        ))
                    );
                    lab.stop(&bp).await
                }
                Err(e) => println!("   {:?}", e.info()),
            }
        }
        println!("== exits at once, burst 1");
        let key = lab
            .install("exit1", &["/bin/sh", "-c", "exit 7"], |_, c, _| {
                c.run_parameters.start_burst = Some(1)
            })
            .await;
        match lab.start(2, &key).await {
            Ok(bp) => {
                println!("   ok");
                tokio::time::sleep(Duration::from_millis(1500)).await;
                lab.stop(&bp).await
            }
            Err(e) => println!("   {:?}", e.info()),
        }
        left("exit");
    }
    if want("bad") {
        println!("== bad command");
        for (n, cmd) in [("bad1", "/nonexistent"), ("bad2", "/app")] {
            let key = lab.install(n, &[cmd], |_, _, _| ()).await;
            println!(
                "   {:?}",
                lab.start(2, &key).await.map_err(|e| e.info()).err()
            );
        }
        let key = lab
            .install("bad3", &["/bin/true"], |_, c, _| {
                c.sysctl = Some([("kernel.panic".to_owned(), "1".to_owned())].into())
            })
            .await;
        println!(
            "   {:?}",
            lab.start(2, &key).await.map_err(|e| e.info()).err()
        );
        let key = lab
            .install("bad4", &["/bin/true"], |i, _, _| {
                i.config.working_dir = "/nowhere".into()
            })
            .await;
        println!(
            "   {:?}",
            lab.start(2, &key).await.map_err(|e| e.info()).err()
        );
        left("bad");
    }
    if want("deaf") {
        println!("== no handler");
        let key = lab
            .install("deaf", &["/bin/sleep", "infinity"], |_, _, _| ())
            .await;
        let bp = lab.start(2, &key).await.map_err(|e| e.info()).unwrap();
        let t = Instant::now();
        lab.stop(&bp).await;
        println!("stopped in {:?}", t.elapsed());
        println!("== ignores though it hears");
        let key = lab
            .install(
                "stubborn",
                &[
                    "/bin/sh",
                    "-c",
                    "trap 'echo no' TERM; while :; do sleep 0.1; done",
                ],
                |_, _, _| (),
            )
            .await;
        let bp = lab.start(2, &key).await.map_err(|e| e.info()).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let t = Instant::now();
        lab.stop(&bp).await;
        println!("stopped in {:?}", t.elapsed());
        left("deaf");
    }
    if want("crash") {
        println!("== crash");
        let key = lab
            .install("crash", &["/bin/sleep", "infinity"], |_, _, _| ())
            .await;
        let bp = lab.start(2, &key).await.map_err(|e| e.info()).unwrap();
        for _ in 0..2 {
            println!("   [{:.3}] kill", t0.elapsed().as_secs_f64());
            sh(&format!("kill -9 $(cat /run/aos/runtime/{}/.pid)", bp.id));
            tokio::time::sleep(Duration::from_millis(1200)).await;
        }
        println!("== daemon-reexec");
        sh("systemctl daemon-reexec");
        tokio::time::sleep(Duration::from_millis(1500)).await;
        println!("== stop from outside");
        sh(&format!("systemctl stop aos-service@{}", bp.id));
        tokio::time::sleep(Duration::from_millis(300)).await;
        println!("== dbus restart");
        sh("systemctl restart dbus");
        tokio::time::sleep(Duration::from_millis(2500)).await;
        lab.stop(&bp).await;
        left("crash");
    }
    if want("many") {
        println!("== many");
        let n: u32 = std::env::var("N").map_or(32, |n| n.parse().unwrap());
        let key = lab
            .install(
                "many",
                &[
                    "/bin/sh",
                    "-c",
                    "trap 'exit 0' TERM; while :; do sleep 1; done",
                ],
                |_, _, _| (),
            )
            .await;
        let lab = Arc::new(lab);
        let t = Instant::now();
        let mut set = tokio::task::JoinSet::new();
        for i in 0..n {
            let (lab, key) = (lab.clone(), key.clone());
            set.spawn(async move { lab.start(i, &key).await.map_err(|e| e.info().message) });
        }
        let bps: Vec<_> = set.join_all().await;
        println!(
            "{n} started in {:?}, {} ok",
            t.elapsed(),
            bps.iter().filter(|b| b.is_ok()).count()
        );
        let t = Instant::now();
        let mut set = tokio::task::JoinSet::new();
        for bp in bps.into_iter().flatten() {
            let lab = lab.clone();
            set.spawn(async move { lab.stop(&bp).await });
        }
        set.join_all().await;
        println!("stopped in {:?}", t.elapsed());
        println!(
            "reloads: {}",
            sh("journalctl -b --no-pager | grep -c 'Reloading\\.'")
        );
        left("many");
        std::process::exit(0);
    }
}
