//! Decisions, with the scenarios of the old release's allocator among them.

use proptest::prelude::*;

use super::amount::Amount;
use super::plan::{
    Account, Candidate, Class, Decision, Demand, Kind, PartLimit, Scarce, plan, spare,
};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

fn bytes(bytes: u64) -> Amount {
    Amount { bytes, inodes: 0 }
}

/// A partition of a gigabyte with so many bytes free beyond the spare.
fn account(free: u64) -> Account {
    let size = Amount {
        bytes: GIB,
        inodes: 1 << 20,
    };
    Account {
        partition: 1,
        size,
        free: spare(size).plus(Amount {
            bytes: free,
            inodes: 1000,
        }),
        promised: Amount::default(),
    }
}

fn demand(amount: u64) -> Demand {
    limited(amount, 0, 0)
}

fn limited(amount: u64, percent: u8, taken: u64) -> Demand {
    Demand {
        directory: Kind::Services,
        amount: bytes(amount),
        limit: PartLimit { percent, taken },
    }
}

fn cached(directory: Kind, since: i64, size: u64) -> Candidate {
    Candidate {
        directory,
        partition: 1,
        class: Class::Cached,
        since,
        size: bytes(size),
    }
}

fn missing(decision: &Decision) -> u64 {
    match decision {
        Decision::Missing(shortage) => shortage.missing,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_fits_removes_nothing_down_to_the_last_byte() {
    let items = [cached(Kind::Services, 1, 100)];

    assert_eq!(plan(&account(100), &demand(100), &items), Decision::Fits);
    assert_eq!(
        plan(&account(99), &demand(100), &items),
        Decision::Evict(vec![0])
    );
}

#[test]
fn oldest_go_first_across_services_and_layers() {
    let items = [
        cached(Kind::Services, 30, 100),
        cached(Kind::Layers, 10, 100),
        cached(Kind::Layers, 40, 100),
        cached(Kind::Services, 20, 100),
    ];

    let decision = plan(&account(0), &demand(300), &items);

    assert_eq!(decision, Decision::Evict(vec![1, 3, 0]));
}

#[test]
fn nothing_goes_when_the_sum_does_not_suffice() {
    let items = [cached(Kind::Services, 1, 100), cached(Kind::Layers, 2, 100)];

    let decision = plan(&account(50), &demand(300), &items);

    let Decision::Missing(shortage) = decision else {
        panic!("{decision:?}")
    };
    assert_eq!(shortage.scarce, Scarce::Bytes);
    assert_eq!((shortage.missing, shortage.needed), (50, 300));
    assert_eq!((shortage.free, shortage.evictable), (50, 200));
}

#[test]
fn partial_downloads_go_before_all_that_is_installed() {
    let partial = Candidate {
        class: Class::Partial,
        ..cached(Kind::Downloads, 99, 100)
    };
    let items = [cached(Kind::Services, 1, 100), partial];

    let decision = plan(&account(0), &demand(100), &items);

    assert_eq!(decision, Decision::Evict(vec![1]));
}

#[test]
fn older_one_is_spared_when_the_next_is_needed_and_enough() {
    let items = [
        cached(Kind::Services, 1, 10),
        cached(Kind::Services, 2, 100),
        cached(Kind::Services, 3, 100),
    ];

    let decision = plan(&account(0), &demand(100), &items);

    assert_eq!(decision, Decision::Evict(vec![1]));
}

#[test]
fn items_of_another_partition_make_no_room() {
    let elsewhere = Candidate {
        partition: 2,
        ..cached(Kind::Layers, 1, GIB)
    };

    let decision = plan(&account(40), &demand(100), &[elsewhere]);

    assert_eq!(missing(&decision), 60);
}

#[test]
fn what_others_were_promised_is_not_free() {
    let promised = Account {
        promised: bytes(70),
        ..account(100)
    };

    assert_eq!(plan(&promised, &demand(30), &[]), Decision::Fits);
    assert_eq!(missing(&plan(&promised, &demand(31), &[])), 1);
}

#[test]
fn spare_that_is_used_up_already_has_to_be_made_good() {
    let mut full = account(0);
    full.free.bytes -= 1000;
    let items = [cached(Kind::Services, 1, 1000)];

    assert_eq!(missing(&plan(&full, &demand(1), &items)), 1);
}

#[test]
fn small_partition_has_a_small_spare() {
    let of = |size| spare(bytes(size)).bytes;

    assert_eq!(of(100 * MIB), MIB);
    assert_eq!(of(2 * TIB), 16 * MIB);
    assert_eq!(of(0), 0);
}

#[test]
fn limit_is_made_good_by_items_of_its_own_directory_alone() {
    let items = [
        cached(Kind::Layers, 1, GIB),
        cached(Kind::Services, 5, 200),
        cached(Kind::Services, 4, 100),
    ];
    let half = GIB / 2;

    let decision = plan(&account(GIB), &limited(100, 50, half - 10), &items);
    assert_eq!(decision, Decision::Evict(vec![2]));

    let decision = plan(&account(GIB), &limited(400, 50, half), &items);
    let Decision::Missing(shortage) = decision else {
        panic!("{decision:?}")
    };
    assert_eq!(shortage.scarce, Scarce::Limit(50));
    assert_eq!((shortage.missing, shortage.evictable), (100, 300));
}

#[test]
fn partition_may_be_short_while_the_limit_is_not() {
    let items = [cached(Kind::Layers, 1, 500), cached(Kind::Services, 2, 500)];

    let decision = plan(&account(0), &limited(100, 50, 0), &items);

    assert_eq!(decision, Decision::Evict(vec![0]));
}

#[test]
fn one_item_may_serve_limit_and_partition() {
    let items = [cached(Kind::Layers, 1, 100), cached(Kind::Services, 2, 100)];

    let decision = plan(&account(0), &limited(100, 50, GIB / 2), &items);

    assert_eq!(decision, Decision::Evict(vec![1]));
}

#[test]
fn no_limit_and_the_whole_partition_are_the_same() {
    for percent in [0, 100, 255] {
        let demand = limited(100, percent, u64::MAX);
        assert_eq!(plan(&account(100), &demand, &[]), Decision::Fits);
    }
}

#[test]
fn inodes_run_out_as_bytes_do() {
    let files = |inodes| Demand {
        amount: Amount { bytes: 1, inodes },
        ..demand(0)
    };
    let mut item = cached(Kind::Layers, 1, 0);
    item.size.inodes = 5;

    assert_eq!(plan(&account(9), &files(1000), &[]), Decision::Fits);
    let decision = plan(&account(9), &files(1005), &[item]);
    assert_eq!(decision, Decision::Evict(vec![0]));
    let decision = plan(&account(9), &files(1006), &[item]);
    assert!(matches!(decision, Decision::Missing(shortage)
        if shortage.scarce == Scarce::Inodes && shortage.missing == 1));
}

#[test]
fn terabytes_and_beyond_do_not_overflow() {
    let large = Account {
        size: bytes(8 * TIB),
        free: bytes(6 * TIB),
        ..account(0)
    };
    let items = [cached(Kind::Services, 1, 3 * TIB)];

    let decision = plan(&large, &limited(5 * TIB, 90, 4 * TIB), &items);
    assert_eq!(decision, Decision::Evict(vec![0]));

    for size in [u64::MAX - 1, u64::MAX] {
        let items = [
            cached(Kind::Services, i64::MIN, u64::MAX),
            cached(Kind::Services, i64::MAX, u64::MAX),
        ];
        let decision = plan(&large, &limited(size, 99, u64::MAX), &items);
        assert!(!matches!(decision, Decision::Fits), "{decision:?}");
    }
}

#[test]
fn nothing_asked_for_always_fits() {
    let full = Account {
        free: Amount::default(),
        promised: bytes(u64::MAX),
        ..account(0)
    };

    assert_eq!(plan(&full, &limited(0, 1, u64::MAX), &[]), Decision::Fits);
}

fn any_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Services),
        Just(Kind::Layers),
        Just(Kind::Downloads)
    ]
}

fn any_candidate() -> impl Strategy<Value = Candidate> {
    (
        any_kind(),
        0_u64..3,
        any::<bool>(),
        0_i64..50,
        0_u64..400,
        0_u64..40,
    )
        .prop_map(
            |(directory, partition, partial, since, bytes, inodes)| Candidate {
                directory,
                partition,
                class: if partial {
                    Class::Partial
                } else {
                    Class::Cached
                },
                since,
                size: Amount { bytes, inodes },
            },
        )
}

/// As long a way as possible: what would be left after all of `gone`.
fn fits_without(account: &Account, demand: &Demand, all: &[Candidate], gone: &[usize]) -> bool {
    let sum = |of: &dyn Fn(&Candidate) -> u64| gone.iter().map(|&index| of(&all[index])).sum();
    let freed = Amount {
        bytes: sum(&|item| item.size.bytes),
        inodes: sum(&|item| item.size.inodes),
    };
    let own: u64 = sum(&|item| {
        let counts = item.directory == demand.directory;
        if counts { item.size.bytes } else { 0 }
    });
    let after = Account {
        free: account.free.plus(freed),
        ..*account
    };
    // What goes beyond what is taken is room under the limit all the same.
    let taken = demand.limit.taken.saturating_sub(own);
    let limit = PartLimit {
        taken,
        ..demand.limit
    };
    plan(&after, &Demand { limit, ..*demand }, &[]) == Decision::Fits
}

proptest! {
    #[test]
    fn decision_is_right_and_removes_no_more_than_needed(
        items in prop::collection::vec(any_candidate(), 0..12),
        free in 0_u64..600,
        promised in 0_u64..300,
        needed in 0_u64..900,
        inodes in 0_u64..1100,
        directory in any_kind(),
        percent in 0_u8..=100,
        room in 0_u64..600,
    ) {
        let account = Account { promised: bytes(promised), ..account(free) };
        let taken = (GIB / 100 * u64::from(percent)).saturating_sub(room).max(5000);
        let demand = Demand {
            directory,
            amount: Amount { bytes: needed, inodes },
            limit: PartLimit { percent, taken },
        };
        let here: Vec<_> = (0..items.len()).filter(|&index| items[index].partition == 1).collect();

        match plan(&account, &demand, &items) {
            Decision::Fits => prop_assert!(fits_without(&account, &demand, &items, &[])),
            Decision::Missing(shortage) => {
                prop_assert!(!fits_without(&account, &demand, &items, &here));
                prop_assert!(shortage.missing > 0);
            }
            Decision::Evict(gone) => {
                prop_assert!(!fits_without(&account, &demand, &items, &[]));
                prop_assert!(fits_without(&account, &demand, &items, &gone));
                for index in &gone {
                    prop_assert!(here.contains(index));
                    let fewer: Vec<_> = gone.iter().copied().filter(|one| one != index).collect();
                    prop_assert!(!fits_without(&account, &demand, &items, &fewer));
                }
                let order = |index: &usize| (items[*index].class, items[*index].since);
                prop_assert!(gone.is_sorted_by_key(order));
                // What is older than the newest that goes, and stays, would not have helped
                // to keep it.
                let older: Vec<_> = here.iter().copied()
                    .filter(|index| gone.last().is_some_and(|last| order(index) < order(last)))
                    .collect();
                prop_assert!(!fits_without(&account, &demand, &items, &older));
            }
        }
    }

    #[test]
    fn no_figures_make_it_panic(
        sizes in prop::collection::vec(any::<u64>(), 0..6),
        figures in any::<[u64; 8]>(),
        percent in any::<u8>(),
    ) {
        let [free, free_inodes, size, size_inodes, promised, needed, inodes, taken] = figures;
        let account = Account {
            partition: 1,
            size: Amount { bytes: size, inodes: size_inodes },
            free: Amount { bytes: free, inodes: free_inodes },
            promised: bytes(promised),
        };
        let demand = Demand {
            directory: Kind::Layers,
            amount: Amount { bytes: needed, inodes },
            limit: PartLimit { percent, taken },
        };
        let items: Vec<_> = sizes.iter().map(|size| cached(Kind::Layers, 0, *size)).collect();

        if let Decision::Evict(gone) = plan(&account, &demand, &items) {
            prop_assert!(!gone.is_empty());
        }
    }
}
