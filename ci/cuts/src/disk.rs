//! What is on the disk, and what may be missing there.
//!
//! Each change is an [`Operation`]. It is durable from the synchronisation on
//! that covers it, see [`Disk::sync`]; until then a cut may lose it. The model
//! promises less than ext4 does: `docs/power-cuts.md` has it in words.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result};

pub type Inode = usize;
pub type Name = Vec<u8>;

/// The directory that is watched. It and what is above it is durable.
pub const ROOT: Inode = 0;

/// What an inode is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    File,
    Directory,
    Link(Vec<u8>),
    Device,
}

/// What is known of an inode besides content and entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attributes {
    pub mode: u32,
    pub owner: (u32, u32),
    /// Seconds and nanoseconds, if it was given one.
    pub modified: Option<(i64, i64)>,
    pub extended: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A change of attributes.
#[derive(Clone, Debug)]
pub enum Change {
    Mode(u32),
    Owner(Option<u32>, Option<u32>),
    Modified(i64, i64),
    Extended(Vec<u8>, Option<Vec<u8>>),
}

/// A place in a directory.
pub type Slot = (Inode, Name);

#[derive(Clone, Debug)]
pub enum Operation {
    /// A new entry, of a new inode or one that has another name already.
    Enter {
        slot: Slot,
        inode: Inode,
    },
    /// An entry goes; a directory is empty then.
    Remove {
        slot: Slot,
        inode: Inode,
    },
    /// At once: what was at `to` goes.
    Rename {
        from: Slot,
        to: Slot,
        inode: Inode,
    },
    Write {
        inode: Inode,
        offset: usize,
        data: Vec<u8>,
    },
    /// To a size: what is cut off is gone, what is added is zeros.
    Resize {
        inode: Inode,
        size: usize,
    },
    Change {
        inode: Inode,
        change: Change,
    },
}

/// What a program asked to be durable.
#[derive(Clone, Copy, Debug)]
pub enum Sync {
    /// fsync: content, attributes, entries.
    All(Inode),
    /// fdatasync: content and size.
    Content(Inode),
    /// syncfs, sync.
    Filesystem,
}

/// One operation of the record.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub operation: Operation,
    /// Number of the event that made it durable.
    pub durable: usize,
    /// For people.
    pub text: String,
}

/// Each moment that a cut can come after.
#[derive(Clone, Debug)]
pub enum Event {
    /// Number of an operation.
    Operation(usize),
    Sync(String),
    /// What the program wrote to be recognised by.
    Mark(String),
}

/// Never.
pub const PENDING: usize = usize::MAX;

/// All that happened, and how it looks after it when nothing is lost.
#[derive(Debug)]
pub struct Disk {
    pub kinds: Vec<(Kind, Attributes)>,
    pub operations: Vec<Recorded>,
    pub events: Vec<Event>,
    pub now: State,
}

/// What a disk has.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub entries: HashMap<Inode, BTreeMap<Name, Inode>>,
    pub contents: HashMap<Inode, Vec<u8>>,
    pub attributes: HashMap<Inode, Attributes>,
}

impl Disk {
    pub fn new() -> Self {
        Self {
            kinds: vec![(Kind::Directory, Attributes::default())],
            operations: Vec::new(),
            events: Vec::new(),
            now: State::default(),
        }
    }

    pub fn new_inode(&mut self, kind: Kind, mode: u32) -> Inode {
        let attributes = Attributes {
            mode,
            ..Attributes::default()
        };
        self.kinds.push((kind, attributes));
        self.kinds.len() - 1
    }

    pub fn record(&mut self, operation: Operation, text: String) {
        self.now.apply(&operation, &self.kinds);
        self.events.push(Event::Operation(self.operations.len()));
        self.operations.push(Recorded {
            operation,
            durable: PENDING,
            text,
        });
    }

    pub fn sync(&mut self, sync: Sync, text: String) {
        let event = self.events.len();
        for recorded in &mut self.operations {
            if recorded.durable == PENDING && covers(sync, &recorded.operation) {
                recorded.durable = event;
            }
        }
        self.events.push(Event::Sync(text));
    }

    pub fn lookup(&self, directory: Inode, name: &[u8]) -> Option<Inode> {
        self.now.entries.get(&directory)?.get(name).copied()
    }

    pub fn kind(&self, inode: Inode) -> &Kind {
        &self.kinds[inode].0
    }

    /// What the disk has if only these operations were carried out, the bytes of
    /// one of them perhaps in part.
    pub fn state(
        &self,
        carried_out: impl Iterator<Item = usize>,
        torn: Option<(usize, usize)>,
    ) -> State {
        let mut state = State::default();
        for number in carried_out {
            let operation = &self.operations[number].operation;
            match (torn, operation) {
                (
                    Some((torn, kept)),
                    Operation::Write {
                        inode,
                        offset,
                        data,
                    },
                ) if torn == number => {
                    let part = Operation::Write {
                        inode: *inode,
                        offset: *offset,
                        data: data[..kept].to_vec(),
                    };
                    state.apply(&part, &self.kinds);
                }
                _ => state.apply(operation, &self.kinds),
            }
        }
        state
    }

    /// Where an operation's inode is in `now`, for people.
    pub fn name_of(&self, slot: &Slot) -> String {
        let mut text = String::from_utf8_lossy(&slot.1).into_owned();
        let mut inode = slot.0;
        while inode != ROOT {
            let above = self.now.entries.iter().find_map(|(parent, entries)| {
                let entry = entries.iter().find(|(_, entry)| **entry == inode)?;
                Some((*parent, String::from_utf8_lossy(entry.0).into_owned()))
            });
            let Some((parent, name)) = above else {
                return format!("…/{text}");
            };
            text = format!("{name}/{text}");
            inode = parent;
        }
        text
    }
}

/// An entry is made durable by its directory, not by what it names; a rename by
/// the directory that it goes to.
fn covers(sync: Sync, operation: &Operation) -> bool {
    let of = match operation {
        Operation::Enter { slot, .. } | Operation::Remove { slot, .. } => slot.0,
        Operation::Rename { to, .. } => to.0,
        Operation::Write { inode, .. }
        | Operation::Resize { inode, .. }
        | Operation::Change { inode, .. } => *inode,
    };
    match sync {
        Sync::Filesystem => true,
        Sync::All(inode) => of == inode,
        Sync::Content(inode) => {
            of == inode
                && matches!(
                    operation,
                    Operation::Write { .. } | Operation::Resize { .. }
                )
        }
    }
}

impl State {
    fn apply(&mut self, operation: &Operation, kinds: &[(Kind, Attributes)]) {
        match operation {
            Operation::Enter { slot, inode } => self.enter(slot, *inode),
            Operation::Remove { slot, inode } => self.remove(slot, *inode),
            Operation::Rename { from, to, inode } => {
                self.remove(from, *inode);
                self.enter(to, *inode);
            }
            Operation::Write {
                inode,
                offset,
                data,
            } => {
                let content = self.contents.entry(*inode).or_default();
                let end = offset + data.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(data);
            }
            Operation::Resize { inode, size } => {
                self.contents.entry(*inode).or_default().resize(*size, 0);
            }
            Operation::Change { inode, change } => {
                let attributes = self
                    .attributes
                    .entry(*inode)
                    .or_insert_with(|| kinds[*inode].1.clone());
                attributes.change(change);
            }
        }
    }

    fn enter(&mut self, slot: &Slot, inode: Inode) {
        let entries = self.entries.entry(slot.0).or_default();
        entries.insert(slot.1.clone(), inode);
    }

    fn remove(&mut self, slot: &Slot, inode: Inode) {
        let entries = self.entries.entry(slot.0).or_default();
        if entries.get(&slot.1) == Some(&inode) {
            entries.remove(&slot.1);
        }
    }
}

impl Attributes {
    fn change(&mut self, change: &Change) {
        match change {
            Change::Mode(mode) => self.mode = *mode,
            Change::Owner(user, group) => {
                self.owner = (user.unwrap_or(self.owner.0), group.unwrap_or(self.owner.1));
            }
            Change::Modified(seconds, nanoseconds) => {
                self.modified = Some((*seconds, *nanoseconds));
            }
            Change::Extended(name, Some(value)) => {
                self.extended.insert(name.clone(), value.clone());
            }
            Change::Extended(name, None) => {
                self.extended.remove(name);
            }
        }
    }
}

impl Operation {
    /// Places that it looks at or changes.
    pub fn slots(&self) -> Vec<&Slot> {
        match self {
            Self::Enter { slot, .. } | Self::Remove { slot, .. } => vec![slot],
            Self::Rename { from, to, .. } => vec![from, to],
            Self::Write { .. } | Self::Resize { .. } | Self::Change { .. } => Vec::new(),
        }
    }
}

/// What is known when a trace is read: needed by name, not by chance.
pub fn known<T>(value: Option<T>, what: &str) -> Result<T> {
    value.with_context(|| format!("{what} is not known"))
}
