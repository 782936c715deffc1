//! Bytes of the day: from the kernel to the book.

use std::sync::Arc;

use super::{NetworkTask, blocking};
use crate::networkmanager::traffic::{Ask, Moment};

impl NetworkTask {
    /// Whether readings are in order now: counters are what the book says once
    /// all are taken over, and last values are not under way.
    pub(super) fn can_count(&self) -> bool {
        !self.adopting && !self.connecting && !self.detaching
    }

    /// Reads the counters, or has a new day begin.
    pub(super) async fn count(&mut self) {
        let now = Moment::now();
        let kernel = Arc::clone(&self.kernel);
        let ask = self.keeper.ask(now);
        let read = blocking(move || match ask {
            Ask::Counters => kernel.counters(),
            Ask::NewDay => kernel.new_day(),
        });
        match (read.await, ask) {
            (Ok(counters), Ask::Counters) => {
                let instances = &counters.instances;
                self.keeper.on_reading(now, counters.node, instances).await;
            }
            (Ok(counters), Ask::NewDay) => {
                let instances = &counters.instances;
                self.keeper.on_new_day(now, counters.node, instances).await;
            }
            (Err(error), _) => self.refused(&error, "traffic is not counted for now"),
        }
    }

    /// Stores the last figures.
    pub(super) async fn close(mut self) {
        if !self.adopting {
            self.count().await;
        }
        self.keeper.close(Moment::now()).await;
    }
}
