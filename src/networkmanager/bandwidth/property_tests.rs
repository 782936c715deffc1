//! Limits on a kernel that is a few values.

use proptest::prelude::*;

use super::*;
use crate::networkmanager::plan::{Operation, carry_out};

const IFB_INDEX: u32 = 7;

/// The bucket at the root of a link.
#[derive(Clone, Debug)]
struct Queue {
    rate: Rate,
    /// Size of the largest packet that may wait in it.
    largest: u32,
}

#[derive(Clone, Debug)]
enum Queues {
    None,
    Ours(Queue),
    OfOthers,
}

#[derive(Clone, Debug)]
struct FakeKernel {
    host_end: Queues,
    ifb: Option<Queues>,
    redirected: bool,
    /// Which acts from now on are refused; when it is used up, none is.
    refusals: Vec<bool>,
    /// Whether what follows a refusal is still tried, as in a batch.
    goes_on: bool,
}

impl FakeKernel {
    fn perform(&mut self, batch: &[Operation]) -> Result<(), Act> {
        let mut outcome = Ok(());
        for operation in batch {
            let Operation::Shape(shape) = operation else {
                panic!("{operation}");
            };
            for act in shape.acts() {
                // Those that name a link by its index: all before them is done first.
                let asks = !matches!(act, Act::DeleteIfb | Act::CreateIfb);
                if outcome.is_err() && asks {
                    return outcome;
                }
                let refused = self.refusals.pop().unwrap_or_default();
                let result = if refused { Err(act) } else { self.act(act) };
                outcome = outcome.and(result);
                let ends = !self.goes_on || matches!(act, Act::Unredirect | Act::Unlimit(_));
                if outcome.is_err() && ends {
                    return outcome;
                }
            }
        }
        outcome
    }

    fn act(&mut self, act: Act) -> Result<(), Act> {
        match act {
            Act::Unlimit(Port::HostEnd) => self.host_end = Queues::None,
            Act::Limit(Port::HostEnd, bucket) => limit(&mut self.host_end, bucket),
            Act::Unlimit(Port::Ifb) => *self.ifb.as_mut().ok_or(act)? = Queues::None,
            Act::Limit(Port::Ifb, bucket) => limit(self.ifb.as_mut().ok_or(act)?, bucket),
            Act::DeleteIfb => {
                assert!(!self.redirected, "packets are sent where nothing is");
                self.ifb = None;
            }
            Act::CreateIfb if self.ifb.is_none() => self.ifb = Some(Queues::None),
            Act::Unredirect => self.redirected = false,
            Act::Redirect if self.ifb.is_some() && !self.redirected => self.redirected = true,
            Act::CreateIfb | Act::Redirect => return Err(act),
        }
        Ok(())
    }

    fn shaping(&self) -> Shaping {
        let found = Found {
            host_end: End {
                root: root(&self.host_end),
                ingress: self.redirected,
                filters: self
                    .redirected
                    .then_some(Some(IFB_INDEX))
                    .into_iter()
                    .collect(),
                ..End::default()
            },
            ifb: self.ifb.as_ref().map(|queues| End {
                index: IFB_INDEX,
                up: true,
                root: root(queues),
                ..End::default()
            }),
        };
        found.shaping()
    }

    /// Carries out what makes these the limits.
    fn make(&mut self, wanted: Shaping) -> bool {
        let plan: Vec<Operation> = shape(id(), "veth0", self.shaping(), wanted)
            .into_iter()
            .map(Operation::Shape)
            .collect();
        let outcome = carry_out(&plan, |batch| {
            let outcome = self.perform(batch);
            // Undoing is not refused.
            if outcome.is_err() {
                self.refusals.clear();
            }
            outcome
        });
        match outcome {
            Ok(()) => true,
            Err(failure) => {
                assert!(failure.left.is_empty(), "{:?}", failure.left);
                false
            }
        }
    }
}

/// Gives a link a bucket, in which packets as large as it takes wait at once.
fn limit(queues: &mut Queues, bucket: Bucket) {
    let waiting = match queues {
        Queues::Ours(queue) => queue.largest,
        Queues::None | Queues::OfOthers => 0,
    };
    assert!(
        waiting <= bucket.burst,
        "a packet of {waiting} bytes never passes a burst of {}",
        bucket.burst
    );

    *queues = Queues::Ours(Queue {
        rate: Rate::from_bytes(bucket.rate).unwrap(),
        largest: waiting.max(bucket.largest),
    });
}

fn root(queues: &Queues) -> Root {
    match queues {
        Queues::None => Root::Default,
        Queues::Ours(queue) => Root::Bucket(queue.rate),
        Queues::OfOthers => Root::Other,
    }
}

fn id() -> InstanceId {
    InstanceId::from_u128(1)
}

fn rates() -> impl Strategy<Value = Rate> {
    prop_oneof![1_u64..1_000_000, 50_000_u64..65_000, 1_u64..=1_000_000_000]
        .prop_map(|kbit| Rate::from_kbit(kbit).unwrap())
}

fn limits() -> impl Strategy<Value = Limit> {
    prop_oneof![Just(Limit::Off), rates().prop_map(Limit::Rate)]
}

fn shapings() -> impl Strategy<Value = Shaping> {
    (limits(), limits()).prop_map(|(download, upload)| Shaping { download, upload })
}

fn queues() -> impl Strategy<Value = Queues> {
    let ours = rates().prop_map(|rate| {
        let largest = rate.bucket().largest;
        Queues::Ours(Queue { rate, largest })
    });
    prop_oneof![Just(Queues::None), ours, Just(Queues::OfOthers)]
}

/// Kernels in any state, also in one that we would not have left.
fn kernels() -> impl Strategy<Value = FakeKernel> {
    (queues(), prop::option::of(queues()), any::<bool>()).prop_map(|(host_end, ifb, redirected)| {
        FakeKernel {
            host_end,
            ifb,
            redirected,
            refusals: Vec::new(),
            goes_on: false,
        }
    })
}

/// What undoing makes of a state: what was broken is taken away.
fn undone(limit: Limit) -> Limit {
    match limit {
        Limit::Broken => Limit::Off,
        Limit::Off | Limit::Rate(_) => limit,
    }
}

proptest! {
    #[test]
    fn from_any_state_there_is_a_way_to_what_is_wanted(
        mut kernel in kernels(),
        wanted in prop::collection::vec(shapings(), 1..8),
    ) {
        for wanted in wanted {
            prop_assert!(kernel.make(wanted));

            prop_assert_eq!(kernel.shaping(), wanted);
            prop_assert_eq!(kernel.ifb.is_some(), wanted.upload != Limit::Off);
            prop_assert_eq!(shape(id(), "veth0", kernel.shaping(), wanted), []);
        }
    }

    #[test]
    fn refused_change_leaves_what_was_before(
        mut kernel in kernels(),
        wanted in shapings(),
        refusals in prop::collection::vec(any::<bool>(), 0..10),
        goes_on: bool,
    ) {
        let before = kernel.shaping();
        kernel.refusals = refusals;
        kernel.goes_on = goes_on;

        let made = kernel.make(wanted);

        let after = kernel.shaping();
        if made {
            prop_assert_eq!(after, wanted);
        } else {
            let of = |before: Limit, after: Limit| after == before || after == undone(before);
            prop_assert!(of(before.download, after.download), "{:?} {:?}", before, after);
            prop_assert!(of(before.upload, after.upload), "{:?} {:?}", before, after);
        }
    }

    #[test]
    fn rates_of_one_size_change_in_place(old in rates(), new in rates()) {
        let (from, to) = (Limit::Rate(old), Limit::Rate(new));
        let changes = shape(
            id(),
            "veth0",
            Shaping { download: from, upload: from },
            Shaping { download: to, upload: to },
        );

        let in_place = changes.iter().all(|change| change.acts().len() == 1);
        prop_assert_eq!(
            in_place,
            old == new || old.bucket().largest <= new.bucket().largest
        );
    }
}

#[test]
fn speeds_of_0_are_no_limits() {
    let zero = Speeds {
        download: Some(0),
        upload: Some(u64::MAX),
    };

    assert_eq!(shape(id(), "veth0", Speeds::default(), zero), []);
}

#[test]
fn texts_say_what_is_limited_and_for_whom() {
    let limited = Speeds {
        download: Some(100),
        upload: None,
    };
    let change = &shape(id(), "veth0", Speeds::default(), limited)[0];

    assert_eq!(
        change.to_string(),
        format!("limit download of instance {} to 100 kbit/s", id())
    );
    assert_eq!(
        change.undo().to_string(),
        format!("take the download limit from instance {}", id())
    );
}
