//! Networks that release 7.2.3 made.

use super::Book;
use crate::model::NetworkParameters;
use crate::networkmanager::addresses::InterfaceAddress;
use crate::networkmanager::existing::{Existing, Link};
use crate::networkmanager::store::Stored;

fn stored() -> Stored {
    Stored {
        bridge: "br-provider".into(),
        removed: false,
        inherited: true,
        parameters: NetworkParameters {
            network_id: "provider".into(),
            subnet: "10.1.0.0/24".into(),
            ip: "10.1.0.1".into(),
            ..NetworkParameters::default()
        },
    }
}

/// The bridge as the older release leaves it.
fn left() -> Link {
    let gateway = InterfaceAddress {
        address: [10, 1, 0, 1].into(),
        prefix: 24,
    };
    Link {
        index: 5,
        bridge: true,
        up: true,
        forwarding: true,
        addresses: [gateway].into(),
        ..Link::default()
    }
}

fn with(link: Link) -> Existing {
    Existing {
        links: [("br-provider".to_owned(), link)].into(),
        ..Existing::default()
    }
}

fn operations(book: &Book, existing: &Existing) -> Vec<String> {
    let plans = book.plans(existing);
    let operations = plans.iter().flat_map(|plan| &plan.operations);
    operations.map(ToString::to_string).collect()
}

#[test]
fn bridge_that_is_left_is_taken_over_with_its_address() {
    let existing = with(left());
    let mut book = Book::restored(vec![stored()], &existing);

    assert_eq!(
        operations(&book, &existing),
        ["repair bridge br-provider of network provider"]
    );
    for plan in book.plans(&existing) {
        book.planned(&plan, Ok(()));
    }
    assert!(!book.stored()[0].inherited);
}

#[test]
fn bridge_that_is_gone_is_made_anew_under_its_name() {
    let existing = Existing::default();
    let book = Book::restored(vec![stored()], &existing);

    assert_eq!(
        operations(&book, &existing),
        [
            "create bridge br-provider of network provider",
            "give address 10.1.0.1/24 to bridge br-provider",
        ]
    );
}

#[test]
fn link_of_a_stranger_is_left_alone() {
    let strangers = [
        Link {
            alias: "lan".into(),
            ..left()
        },
        Link {
            bridge: false,
            ..left()
        },
    ];
    for link in strangers {
        let existing = with(link);
        let book = Book::restored(vec![stored()], &existing);

        assert_ne!(book.stored()[0].bridge, "br-provider");
        for operation in operations(&book, &existing) {
            assert!(!operation.contains("br-provider"), "{operation}");
        }
    }
    let not_inherited = Stored {
        inherited: false,
        ..stored()
    };
    let book = Book::restored(vec![not_inherited], &with(left()));
    assert_ne!(book.stored()[0].bridge, "br-provider");
}

#[test]
fn bridge_of_a_network_that_nobody_wants_is_deleted() {
    let existing = with(left());
    let mut book = Book::restored(vec![stored()], &existing);

    book.update(Vec::new(), &existing);

    assert_eq!(operations(&book, &existing), ["delete bridge br-provider"]);
}
