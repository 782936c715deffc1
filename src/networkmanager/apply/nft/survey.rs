//! What is there of our tables, as one picture.

use std::collections::BTreeMap;
use std::io;

use super::decode::{self, Frame};
use super::encode;
use super::numbers::{ELEMENTS_SET, OBJECT_TYPE, TABLE as TABLE_NAME, message};
use super::socket::{Answers, Nfnetlink};
use super::wire::{TableMessage, Writer};
use crate::networkmanager::firewall::skeleton::TABLE;
use crate::networkmanager::firewall::{Contents, Family, Object, ObjectId, ObjectKind, SetId};

/// How often a list is asked for that changes while it is read.
const ATTEMPTS: usize = 20;

/// Our tables in the kernel.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// A table that is not there has none.
    pub(super) frames: BTreeMap<Family, Frame>,
    pub(super) contents: Contents,
}

impl Survey {
    /// Reads all of our tables.
    pub(super) fn take(socket: &mut Nfnetlink) -> io::Result<Self> {
        let mut survey = Self::default();
        for family in Family::ALL {
            survey.add_table(socket, family)?;
        }

        Ok(survey)
    }

    /// Whether chains, rules and sets are what we would make.
    pub(super) fn is_ours(&self) -> bool {
        Family::ALL
            .into_iter()
            .all(|family| self.frames.get(&family) == Some(&Frame::ours(family)))
    }

    fn add_table(&mut self, socket: &mut Nfnetlink, family: Family) -> io::Result<()> {
        let mut list = |kind| list(socket, family, kind, |_| {});
        let tables = list(message::GET_TABLE)?;
        let Some(table) = ours(&tables, family).next() else {
            return Ok(());
        };

        let mut frame = Frame {
            flags: decode::table_flags(&table),
            ..Frame::default()
        };
        for chain in ours(&list(message::GET_CHAIN)?, family) {
            frame.add_chain(&chain);
        }
        for rule in ours(&list(message::GET_RULE)?, family) {
            frame.add_rule(&rule);
        }
        for set in ours(&list(message::GET_SET)?, family) {
            frame.add_set(&set);
        }
        for name in frame.sets.keys() {
            if let Some(set) = SetId::of(family, name) {
                self.add_elements(socket, set)?;
            }
        }
        if family == Family::Inet {
            self.contents.objects = objects(socket, None)?;
        }
        self.frames.insert(family, frame);

        Ok(())
    }

    fn add_elements(&mut self, socket: &mut Nfnetlink, set: SetId) -> io::Result<()> {
        let answers = list(socket, set.family(), message::GET_ELEMENTS, |writer| {
            writer.text(ELEMENTS_SET, set.name());
        })?;
        let elements = answers.messages().flat_map(|m| decode::elements(&m));
        self.contents
            .elements
            .extend(elements.map(|element| (set, element)));

        Ok(())
    }
}

/// Our objects of one kind, or of all.
pub(super) fn objects(
    socket: &mut Nfnetlink,
    kind: Option<ObjectKind>,
) -> io::Result<BTreeMap<ObjectId, Object>> {
    let answers = list(socket, Family::Inet, message::GET_OBJECT, |writer| {
        if let Some(kind) = kind {
            writer.number(OBJECT_TYPE, encode::object_type(kind));
        }
    })?;

    Ok(ours(&answers, Family::Inet)
        .filter_map(|message| decode::object(&message))
        .collect())
}

/// What our objects of one kind have seen, added to `seen`. They begin again
/// with zero, each at the moment when it is read.
pub(super) fn reset(
    socket: &mut Nfnetlink,
    kind: ObjectKind,
    seen: &mut BTreeMap<ObjectId, u64>,
) -> io::Result<()> {
    // What has been read is not there to be read again, so that each list
    // counts, also one that misses some objects.
    for _ in 0..ATTEMPTS {
        let answers = socket.list(
            message::RESET_OBJECT,
            encode::family(Family::Inet),
            |writer| {
                writer.text(TABLE_NAME, TABLE);
                writer.number(OBJECT_TYPE, encode::object_type(kind));
            },
        )?;
        for message in ours(&answers, Family::Inet) {
            if let Some((id, object)) = decode::object(&message) {
                *seen.entry(id).or_default() += object.bytes();
            }
        }
        if !answers.torn {
            return Ok(());
        }
    }

    Err(changing())
}

/// All chains or rules of the machine, whosever they are.
pub(super) fn of_all(socket: &mut Nfnetlink, kind: u16) -> io::Result<Answers> {
    whole(|| socket.list(kind, 0, |_| {}))
}

fn list(
    socket: &mut Nfnetlink,
    family: Family,
    kind: u16,
    attributes: impl Fn(&mut Writer),
) -> io::Result<Answers> {
    whole(|| {
        socket.list(kind, encode::family(family), |writer| {
            writer.text(TABLE_NAME, TABLE);
            attributes(writer);
        })
    })
}

fn whole(mut list: impl FnMut() -> io::Result<Answers>) -> io::Result<Answers> {
    for _ in 0..ATTEMPTS {
        let answers = list()?;
        if !answers.torn {
            return Ok(answers);
        }
    }

    Err(changing())
}

fn changing() -> io::Error {
    io::Error::other("the list changed each time it was read")
}

/// The messages about a table of ours.
fn ours(answers: &Answers, family: Family) -> impl Iterator<Item = TableMessage<'_>> {
    answers
        .messages()
        .filter(move |message| decode::table(message) == Some((family, TABLE)))
}
