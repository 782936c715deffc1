//! Any packet is a query, refused in fewer bytes than it has, or dropped; any
//! packet is an answer to pass on within bounds, or none.

#![no_main]

use std::time::Duration;

use aos_nameserver::answer::Answer;
use aos_nameserver::query::{Query, Refusal, Reply};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match Query::read(bytes) {
        Ok(query) => {
            assert!(query.reply(&Reply::NoName).len() <= bytes.len() + 11);
            // The same bytes as the answer to their own question.
            let mut answer = bytes.to_vec();
            answer[2] |= 0x80;
            let id = u16::from_be_bytes([bytes[0], bytes[1]]);
            if let Ok(answer) = Answer::read(&answer, id, &query.question()) {
                assert!(answer.message(Duration::from_secs(1)).len() <= bytes.len());
            }
        }
        Err(Refusal::Answer(answer)) => assert!(answer.len() <= bytes.len() + 11),
        Err(Refusal::Silence) => {}
    }
    drop(aos_names::NetworkNames::read(bytes));
});
