//! What the outcomes of an instance's probes say of it.

use std::time::Duration;

use super::Probe;

/// What an outcome means for the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing new.
    Same,
    /// Each probe has succeeded.
    Ready,
    /// This probe has failed too often in a row. No probe is asked any more.
    Failed,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Row {
    /// Tries in a row that went like the last one.
    successes: u32,
    failures: u32,
    ready: bool,
}

/// The probes of one instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Probing {
    /// Changes whenever outcomes that are on their way become worthless.
    round: u64,
    /// One for each probe; empty while none is asked.
    rows: Vec<Row>,
}

impl Probing {
    /// The service was started: begins to ask. Returns after how long each probe is
    /// asked first.
    pub(crate) fn begin(&mut self, probes: &[Probe]) -> Vec<Duration> {
        self.round += 1;
        self.rows = vec![Row::default(); probes.len()];

        probes.iter().map(|probe| probe.initial_delay).collect()
    }

    /// The service was well when we last looked, and runs: asks at once.
    pub(crate) fn resume(&mut self, probes: &[Probe]) -> Vec<Duration> {
        self.begin(probes);
        for row in &mut self.rows {
            row.ready = true;
        }

        vec![Duration::ZERO; probes.len()]
    }

    /// The service does not run.
    pub(crate) fn end(&mut self) {
        self.round += 1;
        self.rows.clear();
    }

    /// Belongs to each question that is asked now.
    pub(crate) fn round(&self) -> u64 {
        self.round
    }

    /// Whether this probe is to be asked, and its outcome counts.
    pub(crate) fn counts(&self, round: u64, probe: usize) -> bool {
        self.round == round && probe < self.rows.len()
    }

    /// Whether probes are being asked.
    pub(crate) fn is_asking(&self) -> bool {
        !self.rows.is_empty()
    }

    /// Each probe has succeeded since the service was started.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_asking() && self.rows.iter().all(|row| row.ready)
    }

    /// What came of one try of `probe`, which is number `index`.
    pub(crate) fn tried(&mut self, index: usize, probe: &Probe, succeeded: bool) -> Found {
        let was_ready = self.is_ready();
        let Some(row) = self.rows.get_mut(index) else {
            return Found::Same;
        };

        if succeeded {
            row.failures = 0;
            row.successes = row.successes.saturating_add(1);
            row.ready |= row.successes >= probe.success_threshold;
        } else {
            row.successes = 0;
            row.failures += 1;
            if row.failures >= probe.threshold {
                self.end();
                return Found::Failed;
            }
        }

        if !was_ready && self.is_ready() {
            Found::Ready
        } else {
            Found::Same
        }
    }
}
