//! What people are shown.

use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::thread;

use proptest::prelude::*;

use super::client::Subscription;
use super::table::{escaped, table};
use super::{Document, parse};

const EXAMPLE: &str = include_str!("../../../docs/status.example.json");

#[test]
fn example_of_the_description_is_shown_like_this() {
    let text = table(&parse(EXAMPLE).unwrap(), false);

    assert_eq!(
        text,
        "\
service manager 0.1.0, up 1 h 0 min, node main (main-type); node uses 7 % CPU, 500 MB RAM
CM   connected for 59 min 58 s
IAM  NOT CONNECTED for 30 s: cannot connect to aosiam:8090: connection refused; next try in 4 s
desired list 2: settled

INSTANCE  VERSION  STATE   FOR           FAULTS  NETWORK    ADDRESS      ID
web/me/0  2        active  2 d 0 h       1       provider1  172.30.0.10  11111111-2222-4333-8444-555555555555
db/me/0   4        FAILED  10 min 0 s    0       provider1  172.30.0.11  99999999-2222-4333-8444-555555555555
    the service exited with code 3 (exit code 3)
    version 3 runs

NETWORK    BRIDGE        SUBNET         GATEWAY     VLAN  INSTANCES
provider1  br-provider1  172.30.0.0/16  172.30.0.1  5     2

SERVICE  VERSION  SIZE
db       2        12 MB    cached for 2 d 0 h

LAYER  VERSION  SIZE
base   1        4096 B  in use

downloading service db version 4: 5000 kB of 20 MB, 1000 kB/s
"
        .replace("12 MB    cached", "12 MB  cached")
        .replace("FOR           FAULTS", "FOR         FAULTS")
        .replace("2 d 0 h       1", "2 d 0 h     1")
        .replace("10 min 0 s    0", "10 min 0 s  0")
    );
}

#[test]
fn what_is_wrong_is_red_on_a_terminal() {
    let document = r#"{"format":1,"unanswered":["launcher"],"desired":{"stored":false}}"#;

    let text = table(&parse(document).unwrap(), true);

    for wrong in ["NOT CONNECTED", "NOT STORED", "NO ANSWER"] {
        assert!(
            text.contains(&format!("\x1b[1;31m{wrong}\x1b[0m")),
            "{text}"
        );
    }
}

#[test]
fn answers_of_others_are_refused_with_what_to_do() {
    for (answer, said) in [
        (
            r#"{"format":1,"error":"too many clients"}"#,
            "too many clients",
        ),
        (r#"{"format":2}"#, "-o json"),
        ("hello", "cannot read"),
    ] {
        let error = parse(answer).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn question_is_one_line_and_the_answers_are_lines() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let peer = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut question = String::new();
        BufReader::new(&stream).read_line(&mut question).unwrap();
        (&stream).write_all(b"one\ntwo\n").unwrap();
        question
    });

    let mut subscription = Subscription::open(&path, true).unwrap();
    let answers: Vec<_> = std::iter::from_fn(|| subscription.next().unwrap()).collect();

    assert_eq!(answers, ["one", "two"]);
    assert_eq!(peer.join().unwrap(), "{\"watch\":true}\n");
}

#[test]
fn missing_and_dead_sockets_mean_that_nothing_runs() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let dead = directory.path().join("dead");
    drop(UnixListener::bind(&dead).unwrap());

    for path in [missing, dead] {
        let error = Subscription::open(&path, false).unwrap_err().to_string();
        assert!(
            error.contains("systemctl status aos-servicemanager"),
            "{error}"
        );
    }
}

proptest! {
    /// Whatever a service manager says, it can be shown, and drives no terminal.
    #[test]
    fn any_text_can_be_shown(text: String, number: u64) {
        let document = serde_json::json!({
            "format": 1, "time": text, "uptime": number, "version": text,
            "node": {"id": text, "type": text},
            "peers": {"cm": {"since": text, "last_error": {"message": text}, "next_try": text}},
            "unanswered": [text],
            "instances": [{"id": text, "service": text, "state": text, "since": text,
                           "error": {"message": text}, "version": number}],
            "networks": [{"id": text, "fault": text, "vlan_id": number}],
            "content": {"services": [{"id": text, "size": number}],
                        "downloads": [{"item": text, "total": number}]},
        });
        let document: Document = serde_json::from_value(document).unwrap();

        let shown = table(&document, false);

        prop_assert!(shown.chars().all(|c| c == '\n' || !c.is_control()));
        prop_assert!(!escaped(&text).contains('\x1b'));
    }
}
