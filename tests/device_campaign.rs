//! The restart campaign: whatever becomes of the service manager, no instance
//! notices.
//!
//! Each instance notes every 10 ms that it runs. The service manager is killed at
//! random moments of its start, of a run and of a stop, is stopped and started,
//! and is replaced by another binary. Only kills that found a process count. Then
//! nothing happens for a while. The longest gap between two beats may be 50 ms longer
//! than then. `AOS_SEED` repeats a campaign.

use std::time::Duration;
use std::{env, fs};

use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

#[expect(dead_code, reason = "each file of tests uses a part of it")]
mod device;

use device::lab::{Device, PATIENCE};
use device::service::Service;
use device::state::{State, Status};
use device::unit::{Unit, is};

const HEARTBEAT: &str = include_str!("fixtures/heartbeat.py");

const INSTANCES: u8 = 32;
/// Instances that come and go beside them.
const GUESTS: u8 = 3;

const KILLS_OF_A_START: usize = 18;
const KILLS_OF_A_RUN: usize = 14;
const KILLS_OF_A_STOP: usize = 18;

/// Tries, for each kill that has to find a process.
const TRIES: usize = 5;

/// How much longer than without a campaign the longest gap may be.
const ALLOWED: Duration = Duration::from_millis(50);

/// The time without a campaign is no longer.
const CALM: Duration = Duration::from_secs(40);

const UNIT: &str = "aos-servicemanager.service";

struct Campaign<'a> {
    device: &'a Device,
    unit: Unit<'a>,
    random: fastrand::Rng,
    alone: State,
    with_guests: State,
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn no_instance_notices_what_becomes_of_the_manager() {
    let seed =
        env::var("AOS_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    eprintln!("AOS_SEED={seed}");
    let device = Device::up();
    device.sm_drop_in("[Service]\nRestartSec=100ms\n");
    device.start_sm();
    let beat =
        Service::new("beat", &["/usr/bin/python3", "-u", "/beat.py"]).file("beat.py", HEARTBEAT);
    let (beat, guest) = (beat.pack(&device), Service::sleeper("guest").pack(&device));
    let state = State::new().service(&beat).service(&guest);
    let alone = (0..INSTANCES).fold(state, |state, index| {
        let storage = json!({"storage": format!("beat-{index}")});
        state.instance_with("beat", index.into(), 10 + index, &storage)
    });
    let with_guests = (0..GUESTS).fold(alone.clone(), |state, index| {
        state.instance("guest", index.into(), 100 + index)
    });
    let mut campaign = Campaign {
        device: &device,
        unit: Unit::start(&device),
        random: fastrand::Rng::with_seed(seed),
        alone,
        with_guests,
    };
    campaign.unit.run_well(&campaign.alone);
    let before = beating(&device);
    assert_eq!(before.len(), usize::from(INSTANCES));

    let begin = monotonic();
    campaign.repeat("start", KILLS_OF_A_START, Campaign::kill_in_a_start);
    campaign.repeat("run", KILLS_OF_A_RUN, Campaign::kill_in_a_run);
    campaign.repeat("stop", KILLS_OF_A_STOP, Campaign::kill_in_a_stop);
    campaign.upgrade();
    campaign.unit.run_well(&campaign.alone);
    let end = monotonic();
    let processes = beating(&device);
    // Nothing happens for a while. A shorter one only makes the bound stricter.
    device.sh(&format!("sleep {}", (end - begin).min(CALM).as_secs_f64()));
    let last = monotonic();

    assert_eq!(processes, before, "an instance was restarted");
    campaign.assert_only_active();
    let of_campaign = longest_gap(&device, begin, end);
    let of_calm = longest_gap(&device, end, last);
    eprintln!("{:?}: longest gap {of_campaign:?}", end - begin);
    eprintln!("without a campaign: {of_calm:?}");
    assert!(
        of_campaign.unexplained <= of_calm.unexplained + ALLOWED,
        "{of_campaign:?}, without a campaign {of_calm:?}"
    );
    campaign.unit.stop_all();
    device.assert_clean();
}

impl Campaign<'_> {
    /// A moment below this.
    fn moment(&mut self, below: Duration) -> Duration {
        below.mul_f64(self.random.f64())
    }

    /// Kills so often at moments of `what`, and says how often nobody was there.
    fn repeat(&mut self, what: &str, kills: usize, kill: fn(&mut Self) -> bool) {
        let (mut found, mut missed) = (0, 0);
        while found < kills {
            if kill(self) {
                found += 1;
            } else {
                missed += 1;
            }
            assert!(
                missed < kills * TRIES,
                "{found} of {kills} kills in a {what}"
            );
        }
        eprintln!("{found} kills in a {what}; {missed} more found no process");
    }

    fn kill_in_a_start(&mut self) -> bool {
        let delay = self.moment(Duration::from_millis(250));
        self.device.stop_sm();

        let found = self.sleep_and_kill("start", delay);
        let since = OffsetDateTime::now_utc();

        self.expect_registration(since);
        found
    }

    fn kill_in_a_run(&mut self) -> bool {
        let delay = self.moment(Duration::from_millis(1500));
        let next = if self.random.bool() {
            &self.alone
        } else {
            &self.with_guests
        };
        self.unit.send(next);

        let found = self.sleep_and_kill("status", delay);
        let since = OffsetDateTime::now_utc();

        self.expect_registration(since);
        found
    }

    fn kill_in_a_stop(&mut self) -> bool {
        let delay = self.moment(Duration::from_millis(15));

        let found = self.sleep_and_kill("stop", delay);
        let since = OffsetDateTime::now_utc();
        self.device.start_sm();

        self.expect_registration(since);
        found
    }

    /// Replaces the binary, as an update of the device does.
    fn upgrade(&mut self) {
        let pid = self.device.sm_property("MainPID");
        self.device.sh(&format!(
            "binary=$(readlink -f /proc/{pid}/exe)
             cp $binary $binary.new
             echo another >>$binary.new
             mv $binary.new $binary"
        ));
        let since = OffsetDateTime::now_utc();
        self.device.restart_sm();
        self.expect_registration(since);
    }

    /// Begins a command of systemd's and kills the service manager so long after.
    /// It may have ended by itself, or not have begun: whether there was one.
    fn sleep_and_kill(&self, command: &str, delay: Duration) -> bool {
        let kill = match self.device.sm_property("MainPID").as_str() {
            "0" => format!("systemctl kill --kill-who=main --signal=KILL {UNIT}"),
            pid => format!("kill -KILL {pid}"),
        };
        let said = self.device.sh(&format!(
            "systemctl {command} --no-block {UNIT} >/dev/null
             sleep {}
             if {kill} 2>/dev/null; then echo found; fi",
            delay.as_secs_f64()
        ));
        said == "found"
    }

    /// The service manager comes back, and says right away that all is well.
    fn expect_registration(&mut self, since: OffsetDateTime) {
        self.unit.wait_for("a new registration", PATIENCE, |event| {
            is(event, "node_configuration") && time_of(event) >= since
        });
        let statuses = self.unit.wait_status(PATIENCE);
        let told = statuses
            .iter()
            .filter(|status| status.instance.starts_with("beat/"));
        assert_eq!(told.count(), usize::from(INSTANCES), "{statuses:#?}");
        assert!(statuses.iter().all(Status::is_active), "{statuses:#?}");
    }

    /// CM was never told that one of them does not run.
    fn assert_only_active(&self) {
        let told = self.unit.seen().iter().flat_map(Status::all_of);
        let failed: Vec<_> = told
            .filter(|status| status.instance.starts_with("beat/") && !status.is_active())
            .collect();
        assert!(failed.is_empty(), "{failed:#?}");
    }
}

/// Their processes, and how often systemd restarted them.
fn beating(device: &Device) -> Vec<(String, u32, u64, u32)> {
    let instances = device.instances().into_iter();
    let mut beating: Vec<_> = instances
        .filter(|instance| instance.name.starts_with("beat/"))
        .map(|each| (each.name, each.main_pid, each.started, each.restarts))
        .collect();
    beating.sort();
    beating
}

fn time_of(event: &Value) -> OffsetDateTime {
    let text = event["time"].as_str().expect("each event has its time");
    OffsetDateTime::parse(text, &Rfc3339).expect("it is a time")
}

/// The clock of the beats.
fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .expect("there is one")
        .into()
}

/// The longest times between two beats of any instance.
#[derive(Debug)]
struct Gap {
    /// As they were.
    #[expect(dead_code, reason = "printed")]
    raw: Duration,
    /// Less what it waited for a processor, which others used.
    unexplained: Duration,
}

/// The longest gaps that ended in this time.
fn longest_gap(device: &Device, begin: Duration, end: Duration) -> Gap {
    let gaps = (0..INSTANCES).map(|index| {
        let beats = beats(device, index);
        let within: Vec<_> = beats
            .windows(2)
            .filter(|pair| (begin..end).contains(&pair[1].0))
            .map(|pair| (pair[1].0 - pair[0].0, pair[1].1 - pair[0].1))
            .collect();
        let least = (end - begin).as_secs() * 10;
        assert!(
            within.len() as u64 > least,
            "instance {index} beat {} times",
            within.len()
        );
        within
    });
    let gaps: Vec<_> = gaps.flatten().collect();
    let longest = |gaps: &mut dyn Iterator<Item = Duration>| gaps.max().expect("there are some");
    Gap {
        raw: longest(&mut gaps.iter().map(|(gap, _)| *gap)),
        unexplained: longest(&mut gaps.iter().map(|(gap, waited)| gap.saturating_sub(*waited))),
    }
}

fn beats(device: &Device, index: u8) -> Vec<(Duration, Duration)> {
    let path = device.path(&format!("/var/aos/storages/beat-{index}/beats"));
    let bytes = fs::read(path).expect("each instance writes one");
    let number = |bytes: &[u8]| {
        Duration::from_nanos(u64::from_le_bytes(bytes.try_into().expect("they are 8")))
    };
    let beats = bytes.chunks_exact(16);
    beats
        .map(|beat| (number(&beat[..8]), number(&beat[8..])))
        .collect()
}
