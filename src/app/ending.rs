//! What becomes of the instances when we are stopped.
//!
//! They run on, unless the configuration says otherwise, or systemd stops them
//! all: with the machine, or with their target. systemd lets us go first and
//! knows no priorities, so that we end them, the lowest priority first. What
//! takes too long is left to it. After a crash of ours it stops all at once.

use std::time::Duration;

use tokio::time::timeout;
use tracing::{info, warn};

use super::{END, Unit};
use crate::config::Config;
use crate::launcher::LinuxHost;
use crate::model::Chain;
use crate::supervisor::{self, Notifier, Wishes};

/// How long all instances may take, whatever their priorities.
const INSTANCES_END: Duration = Duration::from_secs(90);

/// What is left of the stop after the instances: `END`, and some more.
const REST: Duration = END.saturating_mul(2);

/// How long systemd may take to say what it stops.
const ANSWER: Duration = Duration::from_secs(5);

/// Ends the instances, if they are to end with us, and tells systemd what we do.
pub(super) async fn end_instances(
    unit: &Unit,
    config: &Config,
    notifier: &Notifier,
    wishes: &Wishes,
) {
    if !config.stop_instances_on_exit && !is_all_stopping(&unit.host).await {
        notifier.stopping("stopping; instances keep running");
        info!("stopping; instances keep running");
        return;
    }

    notifier.stopping("stopping all instances");
    notifier.needs(INSTANCES_END + REST);
    info!("stopping all instances");
    // Nobody may start any meanwhile.
    for input in &unit.inputs {
        input.abort();
    }
    let ended = tokio::select! {
        ended = timeout(INSTANCES_END, unit.launcher.end()) => ended.is_ok(),
        () = supervisor::watch(notifier, wishes, &unit.checks) => false,
    };
    if ended {
        info!("all instances have stopped");
    } else {
        warn!("some instances did not stop in {INSTANCES_END:?}; leaving them");
    }
}

async fn is_all_stopping(host: &LinuxHost) -> bool {
    match timeout(ANSWER, host.is_all_stopping()).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            warn!(error = %Chain(&error), "cannot find out what systemd stops");
            false
        }
        Err(_) => {
            warn!("systemd does not say what it stops");
            false
        }
    }
}
