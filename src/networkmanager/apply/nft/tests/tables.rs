//! The tables as such.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::lab::{A1, WORLD, id, in_lab, instance};
use crate::networkmanager::addresses::instance_mac;
use crate::networkmanager::firewall::{Change, InstanceRules};

fn many(first: u32, count: u32) -> Vec<Change> {
    (first..first + count)
        .map(|n| {
            let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 17, 1, 0)) + n);
            let rules = InstanceRules {
                mac: instance_mac(address),
                ..instance(address)
            };
            Change::SetInstance(id(1000 + u128::from(n)), rules)
        })
        .collect()
}

/// How long this thread has been running.
fn on_processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn tables_are_what_rules_say_and_others_are_left_alone() {
    in_lab(|lab| {
        lab.nft("add table inet other");
        lab.nft("add chain inet other c { type filter hook forward priority 0; policy accept; }");
        let other = lab.nft("list table inet other");
        let mut firewall = lab.firewall();

        firewall.restore(lab.rules()).unwrap();
        assert!(firewall.intact().unwrap());
        let list = lab.nft("list ruleset");
        for text in [
            "elements = { \"br-a\"",
            "172.17.0.2",
            "172.17.0.0/24",
            "masquerade",
            "in-node",
        ] {
            assert!(list.contains(text), "{text}");
        }

        firewall.restore(Default::default()).unwrap();
        assert!(firewall.intact().unwrap());
        assert!(!lab.nft("list ruleset").contains("br-a"));
        assert_eq!(lab.nft("list table inet other"), other);
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn restart_of_the_manager_touches_nothing_that_is_right() {
    in_lab(|lab| {
        lab.firewall().restore(lab.rules()).unwrap();
        assert!(lab.reaches("a1", "world", WORLD, 80));
        let before = lab.nft("-a list ruleset");

        let counters = lab.firewall().restore(lab.rules()).unwrap();

        assert_eq!(lab.nft("-a list ruleset"), before);
        assert_eq!(counters.instances[&id(1)].sent, 38);
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn tables_of_another_version_give_way_and_counters_stay() {
    in_lab(|lab| {
        let mut firewall = lab.firewall();
        firewall.restore(lab.rules()).unwrap();
        assert!(lab.reaches("a1", "world", WORLD, 80));

        for damage in [
            "add rule inet aos forward accept",
            "flush chain inet aos to_ours",
            "add chain inet aos more",
            "add set inet aos more { type ipv4_addr; }",
            "add element inet aos bridges { eth7 }",
            "flush set inet aos subnets",
            "add table inet aos { flags dormant; }",
            "add chain inet aos forward { policy drop; }",
            "delete table bridge aos",
        ] {
            lab.nft(damage);
            assert!(!firewall.intact().unwrap(), "{damage}");

            let counters = lab.firewall().restore(lab.rules()).unwrap();

            assert!(firewall.intact().unwrap(), "{damage}");
            assert_eq!(counters.instances[&id(1)].sent, 38, "{damage}");
        }
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn flush_by_others_is_noticed_and_mended() {
    in_lab(|lab| {
        let mut firewall = lab.firewall();
        firewall.restore(lab.rules()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut watch = runtime.block_on(async { firewall.watch() }).unwrap();
        let mut hear = |patience: u64| {
            runtime.block_on(async {
                timeout(Duration::from_millis(patience), watch.changed())
                    .await
                    .map(Result::unwrap)
            })
        };
        assert!(lab.reaches("a1", "world", WORLD, 80));

        // What we do, and what others do to others, is no news.
        firewall.change(&many(0, 3)).unwrap();
        lab.nft("add table inet other");
        assert!(hear(100).is_err());
        firewall.counters().unwrap();

        lab.nft("flush ruleset");
        let tampering = hear(5000).unwrap();
        assert_eq!(tampering.by.as_deref(), Some("nft"));
        assert!(lab.reaches("a1", "b1", super::lab::B1, 80));
        let counters = firewall.heal(&tampering).unwrap();
        assert!(firewall.intact().unwrap());
        assert_eq!(counters.instances[&id(1)].sent, 38);
        assert!(!lab.reaches("a1", "b1", super::lab::B1, 80));

        // A change heals too, when nobody told us to.
        lab.nft("delete table inet aos");
        firewall.change(&many(3, 1)).unwrap();
        assert!(firewall.intact().unwrap());
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn refused_change_leaves_everything_as_it_was() {
    in_lab(|lab| {
        let mut firewall = lab.firewall();
        firewall.restore(lab.rules()).unwrap();
        let before = lab.nft("list ruleset");
        let mut bad = instance(A1);
        // Its address is taken.
        bad.start.sent = 1;

        let mut changes = many(0, 2);
        changes.push(Change::SetInstance(id(9), bad));
        let error = firewall.change(&changes).unwrap_err();

        assert!(error.to_string().contains("counters_in"), "{error}");
        assert_eq!(lab.nft("list ruleset"), before);
        assert!(firewall.intact().unwrap());
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn chains_that_drop_what_we_accept_are_named() {
    in_lab(|lab| {
        let mut firewall = lab.firewall();
        firewall.restore(lab.rules()).unwrap();
        assert_eq!(firewall.foreign_drops().unwrap(), Vec::<String>::new());

        for command in [
            "add table ip filter",
            "add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }",
            "add table inet firewalld",
            "add chain inet firewalld passing { type filter hook forward priority 10; }",
            "add rule inet firewalld passing ct state established accept",
            "add rule inet firewalld passing reject with icmpx admin-prohibited",
            "add table inet harmless",
            "add chain inet harmless passing { type filter hook forward priority 10; }",
            "add chain inet harmless in { type filter hook input priority 10; policy drop; }",
            "add rule inet harmless passing tcp dport 25 drop",
        ] {
            lab.nft(command);
        }

        assert_eq!(
            firewall.foreign_drops().unwrap(),
            ["inet firewalld passing", "ip filter FORWARD"]
        );
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn hundreds_of_instances_come_and_go_in_one_transaction() {
    in_lab(|lab| {
        let mut firewall = lab.firewall();
        firewall.restore(lab.rules()).unwrap();
        let measure = |name: &str, work: &mut dyn FnMut()| {
            let (start, used) = (Instant::now(), on_processor());
            work();
            let used = on_processor() - used;
            println!("{name}: {:?}, {used:?} of the processor", start.elapsed());
        };

        measure("1", &mut || {
            firewall.change(&many(0, 1)).unwrap();
        });
        measure("32", &mut || {
            firewall.change(&many(1, 32)).unwrap();
        });
        measure("200", &mut || {
            firewall.change(&many(33, 200)).unwrap();
        });
        measure("1 more", &mut || {
            firewall.change(&many(300, 1)).unwrap();
        });
        measure("32 more", &mut || {
            firewall.change(&many(310, 32)).unwrap();
        });
        measure("counters", &mut || {
            firewall.counters().unwrap();
        });
        let rules = firewall.rules().clone();
        measure("restart", &mut || {
            firewall.restore(rules.clone()).unwrap();
        });
        assert!(firewall.intact().unwrap());
        lab.nft("flush ruleset");
        measure("anew", &mut || {
            firewall.restore(rules.clone()).unwrap();
        });
        assert!(firewall.intact().unwrap());

        let all = rules.instances.keys().map(|id| Change::RemoveInstance(*id));
        let all: Vec<Change> = all.collect();
        measure("all go", &mut || {
            firewall.change(&all).unwrap();
        });
        assert!(firewall.intact().unwrap());
    });
}
