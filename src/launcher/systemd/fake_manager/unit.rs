//! A unit, as far as it is asked.

use zbus::{ObjectPath, OwnedObjectPath};

use super::{FakeManager, MANAGER};
use crate::model::InstanceId;

pub(super) struct Unit(pub(super) FakeManager, pub(super) InstanceId);

#[zbus::interface(name = "org.freedesktop.systemd1.Unit")]
impl Unit {
    #[zbus(property)]
    fn active_state(&self) -> String {
        self.0.book().units[&self.1].state.clone()
    }

    #[zbus(property)]
    fn need_daemon_reload(&self) -> bool {
        self.0.book().units[&self.1].need_reload
    }

    #[zbus(property)]
    fn job(&self) -> (u32, OwnedObjectPath) {
        let job = self.0.book().units[&self.1].job;
        let path = if job == 0 {
            "/".to_owned()
        } else {
            format!("{MANAGER}/job/{job}")
        };
        (job, ObjectPath::try_from(path).unwrap().into())
    }
}

pub(super) struct Service(pub(super) FakeManager, pub(super) InstanceId);

#[zbus::interface(name = "org.freedesktop.systemd1.Service")]
impl Service {
    #[zbus(property)]
    async fn result(&self) -> String {
        {
            let (now, most) = &mut self.0.book().asking;
            *now += 1;
            *most = (*most).max(*now);
        }
        // All that has been asked meanwhile is there by then.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        self.0.book().asking.0 -= 1;
        self.0.book().units[&self.1].result.clone()
    }

    #[zbus(property, name = "MainPID")]
    fn main_pid(&self) -> u32 {
        self.0.book().units[&self.1].main_pid
    }

    #[zbus(property, name = "NRestarts")]
    fn n_restarts(&self) -> u32 {
        self.0.book().units[&self.1].restarts
    }

    #[zbus(property)]
    fn kill_signal(&self) -> i32 {
        15
    }

    #[zbus(property)]
    fn exec_main_exit_timestamp_monotonic(&self) -> u64 {
        self.0.book().units[&self.1].exit.0
    }

    #[zbus(property)]
    fn exec_main_code(&self) -> i32 {
        self.0.book().units[&self.1].exit.1
    }

    #[zbus(property)]
    fn exec_main_status(&self) -> i32 {
        self.0.book().units[&self.1].exit.2
    }
}
