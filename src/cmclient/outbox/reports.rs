//! Reports that wait to be sent, oldest first.
//!
//! The queue is bounded: when it is full, the oldest sample goes first, an alert
//! only when there is nothing else. Quota alerts for CPU and RAM are never
//! replayed: CM rebalances on them when they arrive.

use std::collections::VecDeque;

use crate::model::{AlertKind, Report};

/// Reports that may wait.
pub(super) const CAPACITY: usize = 1000;

/// A report that CM will never see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cmclient) enum Dropped {
    /// A sample, for want of room.
    Monitoring,
    /// An alert, for want of room.
    Alert,
    /// An alert that only means something at once.
    Stale,
}

#[derive(Debug, Default)]
pub(super) struct Reports(VecDeque<Report>);

impl Reports {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn push(&mut self, report: Report, connected: bool) -> Option<Dropped> {
        if !connected && is_momentary(&report) {
            return Some(Dropped::Stale);
        }

        let dropped = (self.0.len() >= CAPACITY).then(|| self.make_room());
        self.0.push_back(report);

        dropped
    }

    pub(super) fn pop(&mut self) -> Option<Report> {
        self.0.pop_front()
    }

    pub(super) fn disconnected(&mut self) {
        self.0.retain(|report| !is_momentary(report));
    }

    fn make_room(&mut self) -> Dropped {
        let sample = self
            .0
            .iter()
            .position(|report| matches!(report, Report::Monitoring(_)));

        // Without a sample the oldest alert goes.
        drop(self.0.remove(sample.unwrap_or(0)));
        if sample.is_some() {
            Dropped::Monitoring
        } else {
            Dropped::Alert
        }
    }
}

fn is_momentary(report: &Report) -> bool {
    match report {
        Report::Alert(alert) => matches!(
            &alert.kind,
            AlertKind::SystemQuota { parameter, .. } if parameter == "cpu" || parameter == "ram"
        ),
        Report::Monitoring(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::model::{Alert, NodeMonitoring, Usage};

    fn alert(kind: AlertKind) -> Report {
        Report::Alert(Alert {
            timestamp: SystemTime::UNIX_EPOCH,
            kind,
        })
    }

    fn numbered(number: usize) -> Report {
        alert(AlertKind::System(number.to_string()))
    }

    fn quota(parameter: &str) -> Report {
        alert(AlertKind::SystemQuota {
            parameter: parameter.into(),
            value: 1,
        })
    }

    fn sample(ram: u64) -> Report {
        Report::Monitoring(NodeMonitoring {
            timestamp: SystemTime::UNIX_EPOCH,
            node: Usage {
                ram,
                ..Usage::default()
            },
            instances: vec![],
        })
    }

    #[test]
    fn reports_leave_in_order() {
        let mut reports = Reports::default();

        assert_eq!(reports.push(numbered(1), true), None);
        assert_eq!(reports.push(sample(2), true), None);
        assert_eq!(reports.push(numbered(3), false), None);

        assert_eq!(reports.pop(), Some(numbered(1)));
        assert_eq!(reports.pop(), Some(sample(2)));
        assert_eq!(reports.pop(), Some(numbered(3)));
        assert_eq!(reports.pop(), None);
    }

    #[test]
    fn oldest_sample_makes_room_before_any_alert() {
        let mut reports = Reports::default();
        reports.push(numbered(0), true);
        reports.push(sample(1), true);
        reports.push(sample(2), true);
        for number in 3..CAPACITY {
            reports.push(numbered(number), true);
        }

        let dropped = reports.push(numbered(CAPACITY), true);

        assert_eq!(dropped, Some(Dropped::Monitoring));
        assert_eq!(reports.pop(), Some(numbered(0)));
        assert_eq!(reports.pop(), Some(sample(2)));
    }

    #[test]
    fn oldest_alert_makes_room_when_there_is_no_sample() {
        let mut reports = Reports::default();
        for number in 0..CAPACITY {
            reports.push(numbered(number), true);
        }

        let dropped = reports.push(numbered(CAPACITY), true);

        assert_eq!(dropped, Some(Dropped::Alert));
        assert_eq!(reports.pop(), Some(numbered(1)));
    }

    #[test]
    fn cpu_and_ram_quota_alerts_never_wait_for_a_connection() {
        let mut reports = Reports::default();
        reports.push(quota("cpu"), true);
        reports.push(quota("storage"), true);

        reports.disconnected();

        assert_eq!(reports.push(quota("ram"), false), Some(Dropped::Stale));
        assert_eq!(reports.pop(), Some(quota("storage")));
        assert_eq!(reports.pop(), None);
    }
}
