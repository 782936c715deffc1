//! What cannot be read.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::networkmanager::apply::nft::decode::{self, Entry, Frame};
use crate::networkmanager::apply::nft::watch::News;
use crate::networkmanager::apply::nft::wire::{self, Head, Writer};

/// Reads bytes as all that they could be.
fn read(bytes: &[u8]) {
    let mut news = News::new(7);
    drop(news.hear(bytes));
    for message in wire::messages(bytes) {
        let _code = message.error();
        let Some(message) = message.of_tables() else {
            continue;
        };
        let mut frame = Frame::default();
        frame.add_chain(&message);
        frame.add_rule(&message);
        frame.add_set(&message);
        drop(Entry::read(&message));
        drop(decode::elements(&message));
        drop(decode::object(&message));
        drop(decode::table(&message).map(|(_, name)| name.to_owned()));
        let _flags = decode::table_flags(&message);
    }
}

/// Attributes, with attributes inside.
fn attributes(depth: u32) -> BoxedStrategy<Vec<u8>> {
    let leaf = vec(any::<u8>(), 0..24).boxed();
    let value = if depth == 0 {
        leaf
    } else {
        prop_oneof![leaf, attributes(depth - 1)].boxed()
    };
    vec((0_u16..12, value), 0..6)
        .prop_map(|list| {
            let mut writer = Writer::default();
            for (kind, value) in list {
                writer.bytes(kind, &value);
            }
            writer.as_bytes().to_vec()
        })
        .boxed()
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in vec(any::<u8>(), 0..200)) {
        read(&bytes);
    }

    #[test]
    fn no_message_makes_the_decoder_panic(
        kind in 0_u16..30,
        family in 0_u8..12,
        attributes in attributes(3),
        cut in any::<proptest::sample::Index>(),
        wrong in any::<(proptest::sample::Index, u8)>(),
    ) {
        let mut writer = Writer::default();
        let head = Head { kind: 10 << 8 | kind, flags: 0, sequence: 1, family, resource: 0 };
        writer.message(head, |writer| writer.append(&attributes));
        let mut bytes = writer.as_bytes().to_vec();
        read(&bytes);

        let (place, byte) = wrong;
        let place = place.index(bytes.len());
        bytes[place] = byte;
        read(&bytes);
        read(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn what_is_written_is_read(list in vec((1_u16..100, vec(any::<u8>(), 0..40)), 0..10)) {
        let mut writer = Writer::default();
        for (kind, value) in &list {
            writer.nested(*kind, |writer| writer.bytes(1, value));
        }

        let read: Vec<(u16, Vec<u8>)> = wire::attributes(writer.as_bytes())
            .map(|(kind, value)| (kind, wire::get(value, 1).unwrap().to_vec()))
            .collect();

        prop_assert_eq!(read, list);
    }
}
