//! systemd's D-Bus signals, decoded.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use futures_util::StreamExt as _;
use zbus::message::Type;
use zbus::{Connection, MatchRule, Message, MessageStream, ObjectPath, OwnedObjectPath, Variant};

use super::bus::{ManagerProxy, is_subscribed};
use super::names::{instance_of_path, instance_of_unit};
use super::tracker::{ExitRecord, Observation, unit_state};
use crate::launcher::UnitState;
use crate::model::InstanceId;

/// Signals that wait to be read. systemd says little, and it is read at once.
const QUEUE: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not 0");

/// What systemd says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// A job of an instance's unit has ended.
    JobRemoved {
        id: InstanceId,
        job: OwnedObjectPath,
        result: String,
    },
    /// Properties of an instance's unit.
    Properties { id: InstanceId, seen: Observation },
    /// systemd has read all units again, or was started again.
    Reloaded,
}

/// Reads the signals of one connection.
#[derive(Debug)]
pub(crate) struct SignalFeed {
    systemd: MessageStream,
    owner: MessageStream,
}

impl SignalFeed {
    /// Asks systemd for its signals.
    pub(crate) async fn open(connection: &Connection) -> zbus::Result<Self> {
        let systemd = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender("org.freedesktop.systemd1")
            .path_namespace("/org/freedesktop/systemd1")
            .build()?;
        let owner = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender("org.freedesktop.DBus")
            .interface("org.freedesktop.DBus")
            .member("NameOwnerChanged")
            .arg(0, "org.freedesktop.systemd1")
            .build()?;
        let feed = Self {
            systemd: MessageStream::for_match_rule(systemd, connection, Some(QUEUE)).await?,
            owner: MessageStream::for_match_rule(owner, connection, Some(QUEUE)).await?,
        };
        subscribe(connection).await?;

        Ok(feed)
    }

    /// The next signal that matters; `None` when the connection is lost.
    /// Nothing is lost when it is not waited for to the end.
    pub(crate) async fn next(&mut self) -> Option<Signal> {
        loop {
            let signal = tokio::select! {
                message = self.systemd.next() => decode(&message?.ok()?),
                message = self.owner.next() => {
                    message?.ok()?;
                    Some(Signal::Reloaded)
                }
            };
            if signal.is_some() {
                return signal;
            }
        }
    }
}

/// systemd sends signals only when someone has subscribed, and forgets that
/// when it is started again.
pub(crate) async fn subscribe(connection: &Connection) -> zbus::Result<()> {
    match ManagerProxy::new(connection).await?.subscribe().await {
        Err(error) if !is_subscribed(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Signals that do not matter, or cannot be understood, are `None`.
fn decode(message: &Message) -> Option<Signal> {
    let header = message.header();
    let body = message.body();

    match header.member()?.as_str() {
        "PropertiesChanged" => {
            let id = instance_of_path(header.path()?.as_str())?;
            let (interface, changed, _): (&str, HashMap<&str, Variant<'_>>, Vec<&str>) =
                body.deserialize().ok()?;
            let seen = observation(interface, &changed)?;
            Some(Signal::Properties { id, seen })
        }
        "JobRemoved" => {
            let (_, job, unit, result): (u32, ObjectPath<'_>, &str, &str) =
                body.deserialize().ok()?;
            Some(Signal::JobRemoved {
                id: instance_of_unit(unit)?,
                job: job.into(),
                result: result.to_owned(),
            })
        }
        "UnitRemoved" => {
            let (unit, _): (&str, ObjectPath<'_>) = body.deserialize().ok()?;
            let id = instance_of_unit(unit)?;
            // So it says of every unit that it is about to read again.
            let seen = Observation {
                state: Some(UnitState::Inactive),
                ..Observation::default()
            };
            Some(Signal::Properties { id, seen })
        }
        "Reloading" => {
            let active: bool = body.deserialize().ok()?;
            (!active).then_some(Signal::Reloaded)
        }
        _ => None,
    }
}

fn observation(interface: &str, changed: &HashMap<&str, Variant<'_>>) -> Option<Observation> {
    match interface {
        "org.freedesktop.systemd1.Unit" => Some(Observation {
            state: text(changed.get("ActiveState")?).map(unit_state),
            ..Observation::default()
        }),
        "org.freedesktop.systemd1.Service" => Some(Observation {
            state: None,
            result: changed.get("Result").and_then(text).map(str::to_owned),
            exit: exit_record(changed),
            restarts: match changed.get("NRestarts") {
                Some(Variant::U32(restarts)) => Some(*restarts),
                _ => None,
            },
        }),
        _ => None,
    }
}

fn exit_record(changed: &HashMap<&str, Variant<'_>>) -> Option<ExitRecord> {
    let Variant::U64(stamp) = changed.get("ExecMainExitTimestampMonotonic")? else {
        return None;
    };
    let number = |name| match changed.get(name) {
        Some(Variant::I32(number)) => Some(*number),
        _ => None,
    };

    Some(ExitRecord {
        stamp: *stamp,
        code: number("ExecMainCode")?,
        status: number("ExecMainStatus")?,
    })
}

fn text<'a>(value: &'a Variant<'_>) -> Option<&'a str> {
    match value {
        Variant::Str(text) => Some(text.as_str()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launcher::systemd::names::{unit_name, unit_path};

    const MANAGER: &str = "/org/freedesktop/systemd1";

    fn id() -> InstanceId {
        InstanceId::from_u128(5)
    }

    fn properties(interface: &str, changed: HashMap<&str, Variant<'_>>) -> Message {
        Message::signal(
            unit_path(id()),
            "org.freedesktop.DBus.Properties",
            "PropertiesChanged",
        )
        .build(&(interface, changed, Vec::<&str>::new()))
        .unwrap()
    }

    fn manager(member: &'static str) -> zbus::message::Builder<'static> {
        Message::signal(MANAGER, "org.freedesktop.systemd1.Manager", member)
    }

    #[test]
    fn the_unit_part_has_the_state() {
        let message = properties(
            "org.freedesktop.systemd1.Unit",
            HashMap::from([
                ("ActiveState", "failed".into()),
                ("SubState", "failed".into()),
            ]),
        );

        let seen = Observation {
            state: Some(UnitState::Failed),
            ..Observation::default()
        };
        assert_eq!(
            decode(&message),
            Some(Signal::Properties { id: id(), seen })
        );
    }

    #[test]
    fn the_service_part_has_result_and_exit() {
        let message = properties(
            "org.freedesktop.systemd1.Service",
            HashMap::from([
                ("Result", "exit-code".into()),
                ("ExecMainCode", 1_i32.into()),
                ("ExecMainStatus", 3_i32.into()),
                ("ExecMainExitTimestampMonotonic", 99_u64.into()),
                ("NRestarts", 4_u32.into()),
            ]),
        );

        let seen = Observation {
            state: None,
            result: Some("exit-code".to_owned()),
            exit: Some(ExitRecord {
                stamp: 99,
                code: 1,
                status: 3,
            }),
            restarts: Some(4),
        };
        assert_eq!(
            decode(&message),
            Some(Signal::Properties { id: id(), seen })
        );
    }

    #[test]
    fn the_end_of_a_job_is_known_by_its_unit() {
        let job: ObjectPath<'_> = "/org/freedesktop/systemd1/job/7".try_into().unwrap();
        let body = (7_u32, &job, unit_name(id()), "done");
        let ours = manager("JobRemoved").build(&body).unwrap();
        let foreign = manager("JobRemoved")
            .build(&(7_u32, &job, "x.service", "done"))
            .unwrap();

        assert_eq!(
            decode(&ours),
            Some(Signal::JobRemoved {
                id: id(),
                job: job.clone().into(),
                result: "done".to_owned()
            })
        );
        assert_eq!(decode(&foreign), None);
    }

    #[test]
    fn a_unit_that_was_removed_may_have_ended() {
        let path: ObjectPath<'_> = unit_path(id()).try_into().unwrap();
        let message = manager("UnitRemoved")
            .build(&(unit_name(id()), path))
            .unwrap();

        let seen = Observation {
            state: Some(UnitState::Inactive),
            ..Observation::default()
        };
        assert_eq!(
            decode(&message),
            Some(Signal::Properties { id: id(), seen })
        );
    }

    #[test]
    fn only_the_end_of_a_reload_matters() {
        assert_eq!(decode(&manager("Reloading").build(&true).unwrap()), None);
        assert_eq!(
            decode(&manager("Reloading").build(&false).unwrap()),
            Some(Signal::Reloaded)
        );
    }

    #[test]
    fn signals_of_another_shape_are_passed_over() {
        for message in [
            manager("JobRemoved").build(&"text").unwrap(),
            manager("UnitRemoved").build(&7_u32).unwrap(),
            manager("Reloading").build(&"yes").unwrap(),
            manager("JobNew").build(&()).unwrap(),
            properties("org.freedesktop.systemd1.Unit", HashMap::new()),
            properties("other", HashMap::from([("ActiveState", "failed".into())])),
        ] {
            assert_eq!(decode(&message), None, "{message:?}");
        }
    }

    #[test]
    fn values_of_another_type_are_not_taken() {
        let message = properties(
            "org.freedesktop.systemd1.Service",
            HashMap::from([
                ("Result", 3_i32.into()),
                ("ExecMainExitTimestampMonotonic", "later".into()),
                ("NRestarts", "many".into()),
            ]),
        );

        let seen = Observation::default();
        assert_eq!(
            decode(&message),
            Some(Signal::Properties { id: id(), seen })
        );
    }
}
