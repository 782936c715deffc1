//! Who gets it, for any priorities and any number of those who ask.

use std::sync::Arc;
use std::time::Duration;

use aos_package::{ImageConfig, ServiceConfig, ServiceDevice};
use proptest::prelude::*;

use super::*;
use crate::launcher::event::Ticket;
use crate::launcher::slot::TakenOver;
use crate::launcher::state::Progress;
use crate::model::{Device, InstanceInfo, Provision, ServiceContent, ServiceKey};

const DEVICES: [&str; 3] = ["a", "b", "c"];

/// A wanted instance with these devices.
#[derive(Clone, Debug)]
struct Given {
    priority: u64,
    devices: Vec<usize>,
    runs: bool,
    asks: bool,
}

#[derive(Default)]
struct Ground {
    wanted: Vec<Wanted>,
    slots: BTreeMap<InstanceId, Slot>,
}

fn id(n: usize) -> InstanceId {
    InstanceId::from_u128(n as u128 + 1)
}

fn blueprint(n: usize, given: &Given, limits: &[u64]) -> Arc<Blueprint> {
    let names = given.devices.iter().map(|device| DEVICES[*device]);
    let mut info = InstanceInfo {
        priority: given.priority,
        ..InstanceInfo::default()
    };
    info.ident.index = i64::try_from(n).unwrap();
    Arc::new(Blueprint {
        id: id(n),
        info,
        service: Arc::new(ServiceContent {
            key: ServiceKey {
                id: "service".into(),
                version: 1,
            },
            provider_id: "provider".into(),
            gid: 0,
            manifest_digest: String::new(),
            root: "/root".into(),
            layers: Vec::new(),
            layer_digests: Vec::new(),
            image: ImageConfig::default(),
            config: ServiceConfig {
                devices: Some(
                    names
                        .clone()
                        .map(|name| ServiceDevice {
                            name: name.to_owned(),
                            permissions: String::new(),
                        })
                        .collect(),
                ),
                ..ServiceConfig::default()
            },
        }),
        variables: crate::launcher::Variables::default(),
        provision: Provision {
            devices: given
                .devices
                .iter()
                .map(|device| Device {
                    name: DEVICES[*device].to_owned(),
                    shared_count: limits[*device],
                    ..Device::default()
                })
                .collect(),
            ..Provision::default()
        },
        offline_ttl: None,
        start_window: Duration::ZERO,
        start_burst: 1,
        probes: Vec::new(),
        fingerprint: String::new(),
    })
}

fn ground(given: &[Given], limits: &[u64]) -> Ground {
    let mut ground = Ground::default();
    for (n, each) in given.iter().enumerate() {
        let blueprint = blueprint(n, each, limits);
        if each.runs {
            let taken_over = TakenOver {
                blueprint: blueprint.clone(),
                has_network: true,
            };
            ground
                .slots
                .insert(id(n), Slot::found(id(n), None, Some(taken_over)));
        }
        ground.wanted.push(Wanted {
            id: id(n),
            info: blueprint.info.clone(),
            service: Some(blueprint.service.key.clone()),
            progress: match (each.asks, each.runs) {
                (true, _) => Progress::Ready(blueprint),
                (false, true) => Progress::Started,
                (false, false) => Progress::Preparing(Ticket::default()),
            },
            shown: None,
            without: None,
        });
    }
    ground
}

fn refused(given: &[Given], limits: &[u64]) -> BTreeMap<usize, Refusal> {
    let ground = ground(given, limits);
    let asking: BTreeMap<_, _> = ground
        .wanted
        .iter()
        .filter_map(|wanted| match &wanted.progress {
            Progress::Ready(blueprint) => Some((wanted.id, &**blueprint)),
            _ => None,
        })
        .collect();
    let mut known = Limits::default();
    for blueprint in asking.values() {
        known.learn(blueprint);
    }
    let refused = share(&ground.wanted, &ground.slots, &asking, &known);
    (0..given.len())
        .filter_map(|n| Some((n, refused.get(&id(n))?.clone())))
        .collect()
}

fn runs(priority: u64) -> Given {
    Given {
        priority,
        devices: vec![0],
        runs: true,
        asks: false,
    }
}

fn asks(priority: u64) -> Given {
    Given {
        asks: true,
        runs: false,
        ..runs(priority)
    }
}

fn reasons(given: &[Given], limit: u64) -> Vec<(usize, String)> {
    let refused = refused(given, &[limit, 0, 0]);
    refused
        .into_iter()
        .map(|(n, refusal)| (n, refusal.reason))
        .collect()
}

#[test]
fn higher_priority_takes_it_over_and_equals_keep_it() {
    let of_0 = "device a is used by //0 of higher priority".to_owned();
    let of_1 = "device a is used by //1 of higher priority".to_owned();
    let taken = "device a is used as often as allowed: by //0".to_owned();

    assert_eq!(reasons(&[runs(1), asks(2)], 1), [(0, of_1)]);
    assert_eq!(reasons(&[runs(2), asks(1)], 1), [(1, of_0)]);
    assert_eq!(reasons(&[runs(1), asks(1)], 1), [(1, taken)]);
    assert_eq!(reasons(&[runs(1), asks(2)], 2), []);
    assert_eq!(reasons(&[runs(1), asks(2)], 0), []);
}

#[test]
fn without_anybody_who_asks_nobody_gives_way() {
    assert_eq!(reasons(&[runs(1), runs(2), runs(3)], 1), []);
}

#[test]
fn who_asks_in_vain_drives_nobody_away() {
    let given = [runs(9), runs(8), runs(3), asks(5)];

    let refused = refused(&given, &[2, 0, 0]);

    assert_eq!(refused.keys().copied().collect::<Vec<_>>(), [3]);
}

#[test]
fn who_asks_for_two_devices_gets_both_or_none() {
    let both = Given {
        devices: vec![0, 1],
        ..asks(5)
    };
    let second = Given {
        devices: vec![1],
        ..runs(9)
    };

    let refused = refused(&[runs(1), second, both], &[1, 1, 0]);

    assert_eq!(refused.keys().copied().collect::<Vec<_>>(), [2]);
    assert_eq!(refused[&2].device, "b");
}

#[test]
fn starts_take_places_one_by_one() {
    let ground = ground(&[runs(1), asks(1), asks(1)], &[2, 0, 0]);
    let limits = Limits::default();
    let mut room = Room::of(&ground.slots, &limits);
    let mut take = |n: usize| match &ground.wanted[n].progress {
        Progress::Ready(blueprint) => room.take(id(n), blueprint),
        _ => unreachable!(),
    };

    assert!(take(1));
    assert!(take(1));
    assert!(!take(2));
}

#[test]
fn leftover_may_have_any_device() {
    let mut ground = ground(&[asks(1)], &[1, 0, 0]);
    ground.slots.insert(id(7), Slot::found(id(7), None, None));
    let Progress::Ready(blueprint) = &ground.wanted[0].progress else {
        unreachable!()
    };

    let limits = Limits::default();
    assert!(!Room::of(&ground.slots, &limits).take(id(0), blueprint));
}

fn any_given() -> impl Strategy<Value = Given> {
    let devices = prop::sample::subsequence(vec![0, 1, 2], 0..=3);
    (0u64..4, devices, any::<bool>(), any::<bool>()).prop_map(|(priority, devices, runs, asks)| {
        Given {
            priority,
            devices,
            runs,
            asks,
        }
    })
}

proptest! {
    #[test]
    fn never_too_many_and_the_best_win(
        given in prop::collection::vec(any_given(), 0..12),
        limits in prop::collection::vec(0u64..4, 3),
    ) {
        let refused = refused(&given, &limits);

        let has = |n: usize, device: usize| {
            (given[n].runs || given[n].asks) && given[n].devices.contains(&device)
        };
        let is_left = |n: usize| !refused.contains_key(&n);
        for (device, limit) in limits.iter().enumerate().filter(|(_, limit)| **limit > 0) {
            let left: Vec<_> = (0..given.len())
                .filter(|n| is_left(*n) && has(*n, device))
                .collect();
            // Nobody who is about to start is one too many.
            let too_many = left.len() as u64 > *limit;
            prop_assert!(!too_many || left.iter().all(|n| !given[*n].asks), "{left:?}");
        }
        for (n, refusal) in &refused {
            let device = DEVICES.iter().position(|name| *name == refusal.device).unwrap();
            prop_assert!(has(*n, device));
            let winners: Vec<_> = (0..given.len())
                .filter(|other| is_left(*other) && has(*other, device))
                .collect();
            prop_assert!(winners.len() as u64 >= limits[device], "{winners:?}");
            // More may run than are allowed now: they go on until a better one asks.
            let before = given.iter().filter(|each| each.runs && each.devices.contains(&device));
            if before.count() as u64 > limits[device] {
                continue;
            }
            for winner in &winners {
                prop_assert!(given[*winner].priority >= given[*n].priority);
            }
            // Who has it goes only for a better one that asks.
            if given[*n].runs && !given[*n].asks {
                let better = |winner: &&usize| {
                    given[**winner].asks && (given[**winner].priority > given[*n].priority
                        || given[**winner].runs)
                };
                prop_assert!(winners.iter().any(|winner| better(&winner)));
            }
        }
    }
}
