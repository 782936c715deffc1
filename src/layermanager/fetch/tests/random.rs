//! Whatever a server does, and whenever the process ends: right bytes or an error.

use proptest::prelude::*;

use super::ground::{Ground, id_of, noise, read_some};
use super::server::{Asked, Reply, Server};

const SIZE: usize = 50_000;

#[derive(Clone, Debug)]
enum Fault {
    Good,
    Cut(usize),
    WrongByte(usize),
    NoRanges,
    WrongPart,
    WrongTotal,
    NewTag,
    Longer,
    Shorter,
    Status(u16),
    Nothing,
    Nonsense,
    Redirect,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        4 => Just(Fault::Good),
        6 => (0..SIZE).prop_map(Fault::Cut),
        1 => (0..SIZE).prop_map(Fault::WrongByte),
        1 => Just(Fault::NoRanges),
        1 => Just(Fault::WrongPart),
        1 => Just(Fault::WrongTotal),
        1 => Just(Fault::NewTag),
        1 => Just(Fault::Longer),
        1 => Just(Fault::Shorter),
        1 => prop_oneof![Just(404), Just(416), Just(500), Just(503), Just(206)].prop_map(Fault::Status),
        1 => Just(Fault::Nothing),
        1 => Just(Fault::Nonsense),
        1 => Just(Fault::Redirect),
    ]
}

fn reply(fault: &Fault, asked: &Asked, content: &[u8]) -> Reply {
    let offset = asked.offset();
    let good = Reply::file(asked, content, "\"a\"");
    let whole = |content: &[u8]| {
        let length = ("Content-Length", content.len().to_string());
        Reply::new("200 OK", &[length], content)
    };
    let part = |range: String, content: &[u8]| {
        Reply::new("206 Partial Content", &[("Content-Range", range)], content)
    };
    match fault {
        Fault::Good => good,
        Fault::Cut(bytes) => {
            let most = SIZE.saturating_sub(offset);
            good.without_last((*bytes).min(most))
        }
        Fault::WrongByte(at) => {
            let mut wrong = content.to_vec();
            wrong[*at] ^= 1;
            Reply::file(asked, &wrong, "\"a\"")
        }
        Fault::NoRanges => whole(content),
        Fault::WrongPart => part(format!("bytes 1-{}/{SIZE}", SIZE - 1), &content[1..]),
        Fault::WrongTotal => {
            let range = format!("bytes {offset}-{}/{}", SIZE - 1, SIZE + 1);
            part(range, content.get(offset..).unwrap_or_default())
        }
        Fault::NewTag => Reply::file(asked, content, "\"b\""),
        Fault::Longer => Reply::new("200 OK", &[], &[content, content].concat()),
        Fault::Shorter => whole(&content[1..]),
        Fault::Status(status) => Reply::status(&format!("{status} Something")),
        Fault::Nothing => Reply::default(),
        Fault::Nonsense => Reply {
            bytes: content.to_vec(),
            hangs: false,
        },
        Fault::Redirect => Reply::new("302 Found", &[("Location", "/elsewhere".into())], b""),
    }
}

/// One install, which may be ended after some bytes.
#[derive(Clone, Debug)]
struct Try {
    faults: Vec<Fault>,
    ends_after: Option<usize>,
}

fn tries() -> impl Strategy<Value = Vec<Try>> {
    let one = (
        proptest::collection::vec(fault(), 0..8),
        proptest::option::of(0..SIZE),
    )
        .prop_map(|(faults, ends_after)| Try { faults, ends_after });
    proptest::collection::vec(one, 1..4)
}

async fn run(tries: Vec<Try>) -> Result<(), TestCaseError> {
    let content = noise(SIZE);
    let id = id_of(&content);
    let mut ground = Ground::new();
    for Try { faults, ends_after } in tries {
        let (mut faults, file) = (faults.into_iter(), content.clone());
        let server = Server::start(move |asked| {
            let fault = faults.next().unwrap_or(Fault::Good);
            reply(&fault, asked, &file)
        })
        .await;
        // The port is another each time, and no part of what is tested.
        let url = server.url();
        match ends_after {
            Some(bytes) => {
                let interest = ground.interest(&id);
                if let Ok(fetched) = ground.open(&url, &id, &interest).await {
                    drop(read_some(fetched, bytes).await);
                }
            }
            None => {
                if let Ok(bytes) = ground.install(&url, &id).await {
                    prop_assert!(bytes == content, "wrong bytes");
                    prop_assert!(ground.names().is_empty(), "{:?}", ground.names());
                }
            }
        }
        ground.restart();
    }

    // Whatever was left, a good server makes it right.
    let server = Server::of(&content).await;
    prop_assert!(ground.install(&server.url(), &id).await == Ok(content));
    prop_assert!(ground.names().is_empty(), "{:?}", ground.names());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_faults_end_with_the_right_bytes_or_an_error(tries in tries()) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(run(tries))?;
    }
}
