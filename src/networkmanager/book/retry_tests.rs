//! What the book says when the loop tries again what the kernel refused.

use std::io;
use std::sync::Arc;

use super::Book;
use crate::model::NetworkParameters;
use crate::networkmanager::error::NetworkError;
use crate::networkmanager::existing::Existing;

#[test]
fn refused_network_is_planned_again_and_its_fault_is_forgotten() {
    let network = NetworkParameters {
        network_id: "provider".into(),
        subnet: "10.1.0.0/24".into(),
        ip: "10.1.0.1".into(),
        ..NetworkParameters::default()
    };
    let mut book = Book::default();
    book.update(vec![network.clone()], &Existing::default());
    let plan = book.plans(&Existing::default()).remove(0);
    let refused = NetworkError::Survey(io::ErrorKind::ResourceBusy.into());
    book.planned(&plan, Err(Arc::new(refused)));
    assert_eq!(book.faults().count(), 1);

    let wanted = book.wanted();
    book.update(wanted.clone(), &Existing::default());

    assert_eq!(wanted, [network]);
    assert_eq!(book.faults().count(), 0);
    assert_eq!(book.plans(&Existing::default()), [plan]);
}
