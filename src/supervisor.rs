//! Telling systemd how we are.
//!
//! [`Notifier`] speaks the notify protocol; without `NOTIFY_SOCKET` it says
//! nothing. [`watch`] pings the watchdog, and only while each loop of the
//! process has just shown that it turns: a process that merely exists is no
//! service.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::future::Future;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{error, warn};

/// What systemd asks of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Where to tell.
    pub socket: Option<OsString>,
    /// Longest time between two pings; `None`: no watchdog.
    pub watchdog: Option<Duration>,
}

impl Wishes {
    /// From the environment.
    #[must_use]
    pub fn from_env() -> Self {
        Self::read(|name| env::var_os(name), std::process::id())
    }

    fn read(variable: impl Fn(&str) -> Option<OsString>, own_pid: u32) -> Self {
        let number = |name: &str| variable(name)?.to_str()?.parse::<u64>().ok();
        // Inherited from a parent, they are not meant for us.
        let meant_for_us =
            variable("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(own_pid.into());
        let watchdog = number("WATCHDOG_USEC")
            .filter(|micros| meant_for_us && *micros > 0)
            .map(Duration::from_micros);

        Self {
            socket: variable("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()),
            watchdog,
        }
    }
}

/// Tells systemd. What cannot be told is logged: it is no reason to stop.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
}

impl Notifier {
    /// Opens the socket, if there is one.
    #[must_use]
    pub fn new(wishes: &Wishes) -> Self {
        let socket = wishes.socket.as_deref().and_then(|name| {
            connect(name)
                .inspect_err(|error| {
                    warn!(socket = %name.display(), %error, "cannot reach systemd");
                })
                .ok()
        });

        Self { socket }
    }

    /// The process serves.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// What the process does, for `systemctl status`.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={}", one_line(status)));
    }

    /// The process is on its way to its end.
    pub fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={}", one_line(status)));
    }

    /// The process needs so long from now on for what it is doing, such as its
    /// end.
    pub fn needs(&self, time: Duration) {
        self.send(&format!("EXTEND_TIMEOUT_USEC={}", time.as_micros()));
    }

    fn ping(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, state: &str) {
        let Some(socket) = &self.socket else {
            return;
        };
        if let Err(error) = socket.send(state.as_bytes()) {
            warn!(state, %error, "cannot tell systemd");
        }
    }
}

/// A name that starts with `@` is abstract.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    let socket = UnixDatagram::unbound()?;
    // A systemd that is busy for long must not hold us up.
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;

    Ok(socket)
}

fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}

type Turn = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Asks one loop of the process whether it turns.
pub struct Check {
    name: &'static str,
    turn: Box<dyn Fn() -> Turn + Send + Sync>,
}

impl Check {
    /// `turn` is done once the loop called `name` has turned.
    pub fn new<F>(name: &'static str, turn: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self {
            name,
            turn: Box::new(move || Box::pin(turn())),
        }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Pings the watchdog as long as all checks answer. Never ends; drop it when
/// the process stops.
pub async fn watch(notifier: &Notifier, wishes: &Wishes, checks: &[Check]) {
    let Some(limit) = wishes.watchdog else {
        return std::future::pending().await;
    };

    // A check may take half of the limit. With a quarter between the rounds,
    // no two pings are further apart than three quarters.
    let mut rounds = interval(limit / 4);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let hung = hung(checks, limit / 2).await;
        if hung.is_empty() {
            notifier.ping();
        } else {
            error!(loops = ?hung, "loops do not turn; no ping for the watchdog");
        }
    }
}

/// Names of the loops that did not turn in time.
async fn hung(checks: &[Check], allowed: Duration) -> Vec<&'static str> {
    let answers = join_all(checks.iter().map(|check| async move {
        let answered = timeout(allowed, (check.turn)()).await.is_ok();
        (check.name, answered)
    }))
    .await;

    answers
        .into_iter()
        .filter(|(_, answered)| !answered)
        .map(|(name, _)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tempfile::TempDir;
    use tokio::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(40);

    struct Systemd {
        _directory: TempDir,
        socket: tokio::net::UnixDatagram,
        wishes: Wishes,
    }

    impl Systemd {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("notify");
            Self {
                socket: tokio::net::UnixDatagram::bind(&path).unwrap(),
                _directory: directory,
                wishes: Wishes {
                    socket: Some(path.into()),
                    watchdog: Some(LIMIT),
                },
            }
        }

        async fn told(&self) -> String {
            let mut buffer = [0; 1024];
            let length = self.socket.recv(&mut buffer).await.unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        }

        fn told_nothing(&self) -> bool {
            self.socket.try_recv(&mut [0; 1]).is_err()
        }
    }

    fn variables(list: &[(&'static str, &'static str)]) -> Wishes {
        let find = |name: &str| {
            let (_, value) = list.iter().find(|(known, _)| *known == name)?;
            Some(OsString::from(value))
        };
        Wishes::read(find, 7)
    }

    #[tokio::test]
    async fn systemd_hears_each_state() {
        let systemd = Systemd::new();
        let notifier = Notifier::new(&systemd.wishes);

        notifier.ready("serving");
        assert_eq!(systemd.told().await, "READY=1\nSTATUS=serving");
        notifier.status("2 instances\nREADY=1");
        assert_eq!(systemd.told().await, "STATUS=2 instances READY=1");
        notifier.stopping("stopped by a signal");
        assert_eq!(
            systemd.told().await,
            "STOPPING=1\nSTATUS=stopped by a signal"
        );
        notifier.needs(Duration::from_secs(90));
        assert_eq!(systemd.told().await, "EXTEND_TIMEOUT_USEC=90000000");
    }

    #[tokio::test]
    async fn abstract_socket_is_reached() {
        let name = format!("aos-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        let notifier = Notifier::new(&Wishes {
            socket: Some(format!("@{name}").into()),
            watchdog: None,
        });

        notifier.status("here");

        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"STATUS=here");
    }

    #[test]
    fn without_systemd_nothing_is_told() {
        Notifier::new(&Wishes::default()).ready("serving");
    }

    #[test]
    fn systemd_that_is_gone_is_no_reason_to_stop() {
        let notifier = Notifier::new(&Wishes {
            socket: Some("/none/notify".into()),
            watchdog: None,
        });

        notifier.ready("serving");
    }

    #[test]
    fn wishes_come_from_the_environment() {
        let wishes = variables(&[
            ("NOTIFY_SOCKET", "/run/notify"),
            ("WATCHDOG_USEC", "30000000"),
            ("WATCHDOG_PID", "7"),
        ]);

        assert_eq!(wishes.socket.unwrap(), "/run/notify");
        assert_eq!(wishes.watchdog, Some(Duration::from_secs(30)));
    }

    #[test]
    fn watchdog_that_is_not_meant_for_us_is_none() {
        for list in [
            &[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "8")][..],
            &[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "x")],
            &[("WATCHDOG_USEC", "0")],
            &[("WATCHDOG_USEC", "-1")],
            &[("NOTIFY_SOCKET", "")],
        ] {
            assert_eq!(variables(list), Wishes::default(), "{list:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn watchdog_hears_of_us_in_time_while_all_loops_turn() {
        let systemd = Systemd::new();
        let notifier = Notifier::new(&systemd.wishes);
        let slow = Check::new("slow", || {
            tokio::time::sleep(LIMIT / 2 - Duration::from_secs(1))
        });
        let checks = [Check::new("quick", || async {}), slow];

        let mut last = Instant::now();
        let pings = async {
            for _ in 0..5 {
                assert_eq!(systemd.told().await, "WATCHDOG=1");
                assert!(last.elapsed() < LIMIT * 3 / 4);
                last = Instant::now();
            }
        };

        tokio::select! {
            () = watch(&notifier, &systemd.wishes, &checks) => panic!("ended"),
            () = pings => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn watchdog_hears_nothing_while_one_loop_hangs() {
        let systemd = Systemd::new();
        let notifier = Notifier::new(&systemd.wishes);
        let hangs = Arc::new(AtomicBool::new(true));
        let loop_hangs = Arc::clone(&hangs);
        let checks = [
            Check::new("turns", || async {}),
            Check::new("hangs", move || {
                let hangs = loop_hangs.load(Ordering::Relaxed);
                async move {
                    if hangs {
                        std::future::pending::<()>().await;
                    }
                }
            }),
        ];
        let watching = watch(&notifier, &systemd.wishes, &checks);
        tokio::pin!(watching);

        let hung = timeout(LIMIT * 10, watching.as_mut()).await;
        assert!(hung.is_err() && systemd.told_nothing());

        hangs.store(false, Ordering::Relaxed);
        tokio::select! {
            () = watching => panic!("ended"),
            told = systemd.told() => assert_eq!(told, "WATCHDOG=1"),
        }
    }

    #[tokio::test]
    async fn hung_loops_are_named() {
        let checks = [
            Check::new("first", std::future::pending),
            Check::new("second", || async {}),
            Check::new("third", std::future::pending),
        ];

        let hung = hung(&checks, Duration::from_millis(1)).await;

        assert_eq!(hung, ["first", "third"]);
    }
}
