//! How much an instance may send and receive, and how fast.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::cases::{expose, instance};
use super::machine::{Machine, Manager, id, network, on_own_machine};
use super::places::{Outside, Place};
use super::probes::{DOUBT, PATIENCE};
use crate::model::{Flow, Traffic};
use crate::networkmanager::{AttachRequest, NetworkSettings};

const ALICE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const PORT: u16 = 9000;
/// Of one datagram, and of the packet that it is in.
const DATA: usize = 972;
const PACKET: u64 = 1000;

async fn start(machine: &Machine) -> Manager {
    let settings = NetworkSettings {
        poll_period: Duration::from_millis(50),
        ..NetworkSettings::default()
    };
    let manager = machine.start_with(settings).await;
    manager
        .networks
        .update(vec![network("one", [10, 1, 0])])
        .await;
    manager
}

/// An instance that can be called from outside.
fn alice() -> AttachRequest {
    let mut request = instance(1, "one", ALICE);
    expose(&mut request, &["9000/udp"]);
    request
}

/// Sends so many packets of [`PACKET`] bytes, one after the other; says how
/// many came.
fn sent_and_come(from: &Place, to: &Place, address: Ipv4Addr, count: usize) -> usize {
    let server = to.run(|| UdpSocket::bind((address, PORT))).unwrap();
    let client = from
        .run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))
        .unwrap();
    for _ in 0..count {
        client.send_to(&[7; DATA], (address, PORT)).unwrap();
    }
    // They do not overtake each other; when none has come for a while, none
    // will.
    server.set_read_timeout(Some(DOUBT)).unwrap();
    let mut come = 0;
    while server.recv(&mut [0; 2048]).is_ok() {
        come += 1;
    }
    come
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn public_traffic_is_cut_at_the_limit_each_way_and_private_is_not() {
    on_own_machine(async |machine| {
        let public = Outside::public();
        let private = public.private_neighbour();
        for outside in [&public, &private] {
            outside.learn_way_to("10.0.0.0/8");
        }
        let manager = start(&machine).await;
        let mut request = alice();
        request.limits.download = Some(30 * PACKET);
        request.limits.upload = Some(20 * PACKET);
        manager.networks.attach(request).await.unwrap();
        let alice = Place::of(&machine, id(1));

        let down = sent_and_come(&public.place, &alice, ALICE, 50);
        let up = sent_and_come(&alice, &public.place, public.address, 50);
        let private_down = sent_and_come(&private.place, &alice, ALICE, 50);
        let private_up = sent_and_come(&alice, &private.place, private.address, 50);

        assert!((29..=31).contains(&down), "{down}");
        assert!((19..=21).contains(&up), "{up}");
        assert_eq!((private_down, private_up), (50, 50));
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn what_was_used_is_used_after_a_restart_and_a_change() {
    on_own_machine(async |machine| {
        let public = Outside::public();
        let manager = start(&machine).await;
        let mut request = alice();
        request.limits.upload = Some(20 * PACKET);
        manager.networks.attach(request.clone()).await.unwrap();
        let alice = Place::of(&machine, id(1));
        let send = |count| sent_and_come(&alice, &public.place, public.address, count);
        assert_eq!(send(10), 10);

        manager.stop().await;
        let manager = start(&machine).await;
        manager.networks.adopt(request.clone()).await.unwrap();
        manager.networks.adopted().await.unwrap();

        let rest = send(20);
        assert!((9..=11).contains(&rest), "{rest}");
        // A higher limit opens again, by what it is higher.
        request.limits.upload = Some(30 * PACKET);
        manager.networks.change(request.clone()).await.unwrap();
        let more = send(50);
        assert!((9..=11).contains(&more), "{more}");
        request.limits.upload = None;
        manager.networks.change(request.clone()).await.unwrap();
        assert_eq!(send(50), 50);
        // To leave and to come back does not help.
        request.limits.upload = Some(20 * PACKET);
        manager.networks.detach(id(1)).await.unwrap();
        manager.networks.attach(request).await.unwrap();
        let again = Place::of(&machine, id(1));
        let none = sent_and_come(&again, &public.place, public.address, 5);
        assert_eq!(none, 0);
    });
}

/// Waits until the traffic that is told is this.
async fn wait_told(manager: &Manager, node: Flow, alice: Flow) {
    let expected = Traffic {
        node,
        instances: [(id(1), alice)].into(),
    };
    let mut traffic = manager.networks.traffic();
    let told = traffic.wait_for(|traffic| *traffic == expected);
    if timeout(PATIENCE, told).await.is_err() {
        assert_eq!(*traffic.borrow(), expected);
    }
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn public_traffic_is_told_to_the_byte_and_kept() {
    on_own_machine(async |machine| {
        let public = Outside::public();
        let private = public.private_neighbour();
        for outside in [&public, &private] {
            outside.learn_way_to("10.0.0.0/8");
        }
        let packets = |received: u64, sent: u64| Flow {
            received: received * PACKET,
            sent: sent * PACKET,
        };
        let manager = start(&machine).await;
        manager.networks.attach(alice()).await.unwrap();
        let (alice_place, host) = (Place::of(&machine, id(1)), Place::here());
        let pass = |from: &Place, to: &Place, address, count| {
            assert_eq!(sent_and_come(from, to, address, count), count);
        };

        pass(&alice_place, &public.place, public.address, 17);
        pass(&public.place, &alice_place, ALICE, 23);
        pass(&host, &public.place, public.address, 3);
        pass(&public.place, &host, public.machine, 5);
        // None of these counts.
        pass(&alice_place, &private.place, private.address, 7);
        pass(&private.place, &alice_place, ALICE, 7);
        pass(&alice_place, &host, GATEWAY, 7);
        pass(&host, &private.place, private.address, 7);
        wait_told(&manager, packets(5, 3), packets(23, 17)).await;

        // While nobody reads, the kernel counts.
        manager.stop().await;
        pass(&alice_place, &public.place, public.address, 2);
        let manager = start(&machine).await;
        manager.networks.adopt(alice()).await.unwrap();
        manager.networks.adopted().await.unwrap();
        wait_told(&manager, packets(5, 3), packets(23, 19)).await;

        // One that comes back on the same day goes on.
        manager.networks.detach(id(1)).await.unwrap();
        manager.networks.attach(alice()).await.unwrap();
        let alice_place = Place::of(&machine, id(1));
        pass(&alice_place, &public.place, public.address, 1);
        wait_told(&manager, packets(5, 3), packets(23, 20)).await;
    });
}

/// Bytes that come each second when twice as many are sent, with headers.
fn rate(from: &Place, to: &Place, address: Ipv4Addr, kbit: u64) -> f64 {
    let server = to.run(|| UdpSocket::bind((address, PORT))).unwrap();
    let client = from
        .run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))
        .unwrap();
    let interval = Duration::from_millis(4);
    // 1014 bytes each with the link's header.
    let burst = 2 * kbit * 125 / 250 / (PACKET + 14) + 1;
    let (stop, stopped) = mpsc::channel::<()>();
    let sender = thread::spawn(move || -> io::Result<()> {
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(interval) {
            for _ in 0..burst {
                client.send_to(&[7; DATA], (address, PORT))?;
            }
        }
        Ok(())
    });
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let receive_until = |end: Instant| {
        let mut bytes = 0;
        while Instant::now() < end {
            server.recv(&mut [0; 2048]).unwrap();
            bytes += PACKET + 14;
        }
        bytes
    };
    let start = Instant::now();
    // The bucket is full at first.
    receive_until(start + Duration::from_millis(300));
    let begin = Instant::now();
    let bytes = receive_until(begin + Duration::from_millis(1000));
    let took = begin.elapsed();
    drop(stop);
    sender.join().unwrap().unwrap();
    #[expect(clippy::cast_precision_loss, reason = "it is far below 2^52")]
    let bits = (bytes * 8) as f64;
    bits / 1000.0 / took.as_secs_f64()
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn speeds_are_kept_each_way_and_change_in_place() {
    on_own_machine(async |machine| {
        let manager = start(&machine).await;
        let mut request = alice();
        request.speeds.download = Some(8_000);
        request.speeds.upload = Some(4_000);
        manager.networks.attach(request.clone()).await.unwrap();
        let (alice, host) = (Place::of(&machine, id(1)), Place::here());
        let mut measured = Vec::new();

        measured.push((8_000.0, rate(&host, &alice, ALICE, 8_000)));
        measured.push((4_000.0, rate(&alice, &host, GATEWAY, 4_000)));
        request.speeds.download = Some(3_000);
        manager.networks.change(request).await.unwrap();
        measured.push((3_000.0, rate(&host, &alice, ALICE, 3_000)));

        for (wished, rate) in &measured {
            assert!((rate / wished - 1.0).abs() < 0.1, "{measured:?}");
        }
    });
}
