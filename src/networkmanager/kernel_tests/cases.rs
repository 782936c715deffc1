//! Tables of who may reach whom, tried out with packets.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::thread;

use super::machine::{id, request};
use super::places::Place;
use super::probes::{DOUBT, Knock, PATIENCE};
use crate::model::{FirewallRule, InstanceIdent};
use crate::networkmanager::AttachRequest;

/// Somebody who knocks or opens.
#[derive(Debug)]
pub(super) struct Party<'a> {
    pub(super) name: &'static str,
    pub(super) place: &'a Place,
    /// Where others knock.
    pub(super) address: Ipv4Addr,
}

/// One line of a table.
#[derive(Debug)]
pub(super) struct Case<'a> {
    from: &'a Party<'a>,
    to: &'a Party<'a>,
    knock: Knock,
    expected: Expected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// It comes, from this address, and so does the answer.
    ComesFrom(Ipv4Addr),
    /// It does not come.
    Never,
}

impl fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            from,
            to,
            knock,
            expected,
        } = self;
        write!(
            f,
            "{} to {} ({}) {knock:?}: {expected:?}",
            from.name, to.name, to.address
        )
    }
}

/// A table of cases.
#[derive(Debug, Default)]
pub(super) struct Table<'a>(Vec<Case<'a>>);

impl<'a> Table<'a> {
    /// It comes, with the sender's own address.
    pub(super) fn pass(&mut self, from: &'a Party<'_>, to: &'a Party<'_>, knocks: &[Knock]) {
        self.expect(from, to, knocks, Expected::ComesFrom(from.address));
    }

    /// It comes, with another address as sender.
    pub(super) fn pass_as(
        &mut self,
        from: &'a Party<'_>,
        to: &'a Party<'_>,
        sender: Ipv4Addr,
        knocks: &[Knock],
    ) {
        self.expect(from, to, knocks, Expected::ComesFrom(sender));
    }

    pub(super) fn refuse(&mut self, from: &'a Party<'_>, to: &'a Party<'_>, knocks: &[Knock]) {
        self.expect(from, to, knocks, Expected::Never);
    }

    fn expect(
        &mut self,
        from: &'a Party<'_>,
        to: &'a Party<'_>,
        knocks: &[Knock],
        expected: Expected,
    ) {
        self.0.extend(knocks.iter().map(|knock| Case {
            from,
            to,
            knock: *knock,
            expected,
        }));
    }

    /// Tries all; those that knock at different doors at the same time. Says all
    /// that is wrong.
    pub(super) fn try_out(self) {
        let mut doors = BTreeMap::<_, Vec<_>>::new();
        for case in self.0 {
            let door = (case.to.address, format!("{:?}", case.knock));
            doors.entry(door).or_default().push(case);
        }
        let wrong = thread::scope(|scope| {
            let threads: Vec<_> = doors
                .into_values()
                .map(|cases| scope.spawn(move || cases.iter().filter_map(Case::fault).collect()))
                .collect();
            let faults = threads.into_iter().map(|thread| thread.join().unwrap());
            faults.collect::<Vec<Vec<String>>>().concat()
        });
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    }
}

impl Case<'_> {
    fn fault(&self) -> Option<String> {
        let limit = match self.expected {
            Expected::ComesFrom(_) => PATIENCE,
            Expected::Never => DOUBT,
        };
        let outcome = self
            .knock
            .at(self.from.place, self.to.place, self.to.address, limit);
        let is_right = match (&outcome, self.expected) {
            (Ok(None), Expected::ComesFrom(_)) => true,
            (Ok(Some(seen)), Expected::ComesFrom(sender)) => seen.ip() == sender,
            (Err(error), Expected::Never) => error.kind() != io::ErrorKind::Other,
            _ => false,
        };
        (!is_right).then(|| format!("{self}, but {outcome:?}"))
    }
}

/// An instance with a name of its own, in a /24 network.
pub(super) fn instance(n: u8, provider: &str, address: Ipv4Addr) -> AttachRequest {
    AttachRequest {
        ident: InstanceIdent {
            service_id: "service".into(),
            subject_id: "subject".into(),
            index: n.into(),
        },
        hostname: Some(format!("host-{n}")),
        extra_hosts: Vec::new(),
        ..request(id(n.into()), provider, address.octets())
    }
}

/// Gives an instance permissions: address, ports, protocol.
pub(super) fn allow(request: &mut AttachRequest, rules: &[(Ipv4Addr, &str, &str)]) {
    let own = request.network.ip.clone();
    let rules = rules.iter().map(|(address, ports, proto)| FirewallRule {
        dst_ip: address.to_string(),
        dst_port: (*ports).into(),
        proto: (*proto).into(),
        src_ip: own.clone(),
    });
    request.network.rules.extend(rules);
}

/// Exposes ports of an instance.
pub(super) fn expose(request: &mut AttachRequest, ports: &[&str]) {
    let ports = ports.iter().map(|port| (*port).to_owned());
    request.exposed_ports.extend(ports);
}
