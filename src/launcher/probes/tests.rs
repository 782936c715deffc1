use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::duration_from_json;

fn read_json(probes: &Value) -> Result<Vec<Probe>, String> {
    let probes: Vec<aos_package::Probe> = serde_json::from_value(probes.clone()).unwrap();
    read(&probes, duration_from_json).map_err(|error| error.to_string())
}

#[test]
fn what_is_left_out_has_a_default() {
    let probes = read_json(&json!([
        {"exec": {"command": ["/bin/check", "-q"]}},
        {"tcp": {"port": 80}},
        {"http": {"port": 8080}},
    ]))
    .unwrap();

    let default = |check| Probe {
        check,
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(1),
        threshold: 3,
        success_threshold: 1,
        initial_delay: Duration::ZERO,
    };
    let http = Check::Http {
        port: 8080,
        path: "/".into(),
    };
    let exec = Check::Exec(vec!["/bin/check".into(), "-q".into()]);
    assert_eq!(
        probes,
        [default(exec), default(Check::Tcp(80)), default(http)]
    );
    assert_eq!(probes[1].longest(), Duration::from_secs(33));
}

#[test]
fn what_is_written_counts() {
    let probes = read_json(&json!([{
        "http": {"port": 1, "path": "/live?full=1", "scheme": "HTTP"},
        "interval": "500ms", "timeout": "PT2S", "threshold": 5, "successThreshold": 2,
        "initialDelay": 1_500_000_000_u64,
    }]))
    .unwrap();

    let expected = Probe {
        check: Check::Http {
            port: 1,
            path: "/live?full=1".into(),
        },
        interval: Duration::from_millis(500),
        timeout: Duration::from_secs(2),
        threshold: 5,
        success_threshold: 2,
        initial_delay: Duration::from_millis(1500),
    };
    assert_eq!(probes, [expected]);
    assert_eq!(probes[0].longest(), Duration::from_secs(14));
}

#[test]
fn faults_are_told_with_the_number_of_the_probe() {
    let tcp = |more: Value| {
        let mut probe = json!({"tcp": {"port": 80}});
        for (key, value) in more.as_object().unwrap() {
            probe[key] = value.clone();
        }
        probe
    };
    for (probe, reason) in [
        (json!({}), "exactly one of exec, tcp and http"),
        (tcp(json!({"exec": {"command": ["a"]}})), "exactly one"),
        (tcp(json!({"treshold": 3})), "treshold is no key"),
        (json!({"tcp": {"port": 80, "host": "x"}}), "host is no key"),
        (json!({"tcp": {"port": 0}}), "port 0 is not"),
        (json!({"tcp": {}}), "port 0 is not"),
        (json!({"http": {"port": 65536}}), "port 65536 is not"),
        (json!({"http": {"port": 1, "path": "live"}}), "begin with /"),
        (json!({"http": {"port": 1, "path": "/a b"}}), "visible"),
        (json!({"http": {"port": 1, "path": "/\r\nX: y"}}), "visible"),
        (json!({"http": {"port": 1, "scheme": "https"}}), "not http"),
        (json!({"exec": {"command": []}}), "command is empty"),
        (json!({"exec": {"command": [""]}}), "command is empty"),
        (json!({"exec": {"command": ["a\u{0}b"]}}), "zero byte"),
        (tcp(json!({"interval": "soon"})), "interval: "),
        (tcp(json!({"interval": "99ms"})), "interval is not"),
        (tcp(json!({"timeout": "2h"})), "timeout is not"),
        (tcp(json!({"initialDelay": "61m"})), "initialDelay is above"),
        (tcp(json!({"threshold": 0})), "threshold 0 is not 1 to 1000"),
        (
            tcp(json!({"successThreshold": 1001})),
            "successThreshold 1001",
        ),
    ] {
        let refused = read_json(&json!([{"tcp": {"port": 1}}, probe])).unwrap_err();

        assert!(refused.starts_with("probe 2: "), "{refused}");
        assert!(refused.contains(reason), "{refused}");
    }
    let many = vec![json!({"tcp": {"port": 1}}); 9];
    let refused = read_json(&many.into()).unwrap_err();
    assert_eq!(refused, "the service has 9 probes, and 8 are allowed");
}

fn probe(threshold: u32, success_threshold: u32) -> Probe {
    Probe {
        check: Check::Tcp(1),
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        threshold,
        success_threshold,
        initial_delay: Duration::from_millis(5),
    }
}

#[test]
fn an_instance_is_ready_when_each_of_its_probes_has_succeeded() {
    let probes = [probe(2, 1), probe(2, 1)];
    let mut probing = Probing::default();

    let delays = probing.begin(&probes);
    let one = probing.tried(0, &probes[0], true);
    let again = probing.tried(0, &probes[0], true);
    let both = probing.tried(1, &probes[1], true);

    assert_eq!(delays, [Duration::from_millis(5); 2]);
    assert_eq!([one, again, both], [Found::Same, Found::Same, Found::Ready]);
}

#[test]
fn outcomes_of_an_earlier_start_do_not_count() {
    let probes = [probe(1, 1)];
    let mut probing = Probing::default();
    probing.begin(&probes);
    let before = probing.round();

    probing.end();
    let after_the_end = probing.counts(before, 0);
    probing.begin(&probes);

    assert!(!after_the_end && !probing.counts(before, 0));
    assert!(probing.counts(probing.round(), 0));
    assert!(!probing.counts(probing.round(), 1));
}

#[test]
fn what_was_well_is_ready_until_it_has_failed_its_threshold() {
    let probes = [probe(2, 1)];
    let mut probing = Probing::default();

    let delays = probing.resume(&probes);
    let first = probing.tried(0, &probes[0], false);
    let is_ready = probing.is_ready();
    let second = probing.tried(0, &probes[0], false);

    assert_eq!(delays, [Duration::ZERO]);
    assert_eq!(
        (first, is_ready, second),
        (Found::Same, true, Found::Failed)
    );
    assert!(!probing.is_asking());
}

/// Whether the last `count` tries of a probe went like this.
fn in_a_row(tries: &[(usize, bool)], probe: usize, count: u32, like: bool) -> bool {
    let own: Vec<_> = tries.iter().filter(|(own, _)| *own == probe).collect();
    let count = count as usize;
    own.len() >= count && own.iter().rev().take(count).all(|(_, ok)| *ok == like)
}

proptest! {
    #[test]
    fn failure_and_readiness_come_exactly_when_tries_in_a_row_say_so(
        thresholds in prop::collection::vec((1u32..4, 1u32..4), 1..4),
        tries in prop::collection::vec((0usize..4, any::<bool>()), 0..60),
    ) {
        let probes: Vec<_> = thresholds.iter().map(|&(bad, good)| probe(bad, good)).collect();
        let mut probing = Probing::default();
        probing.begin(&probes);
        let mut ready = vec![false; probes.len()];
        let mut seen = Vec::new();

        for (index, succeeded) in tries {
            let Some(probe) = probes.get(index) else { continue };
            seen.push((index, succeeded));
            let was_ready = ready.iter().all(|ready| *ready);
            ready[index] |= in_a_row(&seen, index, probe.success_threshold, true);
            let expected = if in_a_row(&seen, index, probe.threshold, false) {
                Found::Failed
            } else if !was_ready && ready.iter().all(|ready| *ready) {
                Found::Ready
            } else {
                Found::Same
            };

            prop_assert_eq!(probing.tried(index, probe, succeeded), expected);
            if expected == Found::Failed {
                prop_assert!(!probing.is_asking());
                break;
            }
            prop_assert_eq!(probing.is_ready(), ready.iter().all(|ready| *ready));
        }
    }

    #[test]
    fn no_configuration_makes_reading_panic(text in r#"[\[{}",:a-z0-9 ]{0,60}"#, number: u64, negative: i64) {
        for probes in [
            json!([{"exec": {"command": [text]}, "interval": text, "timeout": negative}]),
            json!([{"http": {"port": number, "path": text, "scheme": text}, "threshold": number}]),
            json!([{"tcp": {"port": number}, "initialDelay": number, "successThreshold": number}]),
        ] {
            for probe in read_json(&probes).into_iter().flatten() {
                prop_assert!(probe.longest() > Duration::ZERO);
            }
        }
    }
}
