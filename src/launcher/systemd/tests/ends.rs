//! Stops that systemd has put off until we have gone.

use super::*;

/// A running unit whose stop is queued.
async fn queued(job_type: &str, dies_of: Option<i32>) -> Bench {
    let bench = Bench::new().await;
    bench.start().await.unwrap();
    bench
        .manager
        .change(id(), |unit| {
            unit.job = 77;
            unit.job_type = job_type.to_owned();
            unit.dies_of = dies_of;
        })
        .await;
    bench
}

#[tokio::test]
async fn a_unit_whose_stop_is_put_off_is_sent_its_stop_signal() {
    for job_type in ["stop", "restart"] {
        let bench = queued(job_type, Some(15)).await;

        bench.stop().await.unwrap();

        assert_eq!(bench.calls(), ["start", "kill main 15", "reset"]);
        assert_eq!(bench.drop_in(), None);
    }
}

#[tokio::test]
async fn one_that_does_not_end_is_killed_with_all_that_is_left_of_it() {
    let bench = queued("stop", Some(9)).await;

    bench.stop().await.unwrap();

    assert_eq!(
        bench.calls(),
        ["start", "kill main 15", "kill all 9", "reset"]
    );
}

#[tokio::test]
async fn one_that_is_being_stopped_gets_a_job_of_ours() {
    let bench = queued("stop", None).await;
    let stopping = |unit: &mut FakeUnit| unit.state = "deactivating".to_owned();
    bench.manager.change(id(), stopping).await;

    bench.stop().await.unwrap();

    assert_eq!(bench.calls(), ["start", "stop", "reset"]);
}

#[tokio::test]
async fn one_that_waits_to_be_restarted_has_nothing_to_be_waited_for() {
    let bench = queued("stop", None).await;
    bench
        .manager
        .change(id(), |unit| {
            unit.state = "activating".to_owned();
            unit.sub_state = "auto-restart".to_owned();
        })
        .await;

    bench.stop().await.unwrap();

    assert_eq!(bench.calls(), ["start", "kill main 9", "reset"]);
}
