//! Since when each instance does what it does.

use std::collections::BTreeMap;
use std::mem::{Discriminant, discriminant};
use std::time::SystemTime;

use crate::model::{InstanceId, InstanceState};

/// Only kinds of states are kept: another error in the same state is no change.
#[derive(Debug, Default)]
pub(super) struct Since(BTreeMap<InstanceId, (Discriminant<InstanceState>, SystemTime)>);

impl Since {
    /// Notes what all instances do at `now`. Those that are not named are
    /// forgotten.
    pub(super) fn note(
        &mut self,
        now: SystemTime,
        activities: impl Iterator<Item = (InstanceId, InstanceState)>,
    ) {
        let mut before = std::mem::take(&mut self.0);
        self.0 = activities
            .map(|(id, state)| {
                let kind = discriminant(&state);
                let known = before.remove(&id).filter(|(known, _)| *known == kind);
                (id, known.unwrap_or((kind, now)))
            })
            .collect();
    }

    /// The start of the present state; that of time if it is not known.
    pub(super) fn of(&self, id: InstanceId) -> SystemTime {
        self.0
            .get(&id)
            .map_or(SystemTime::UNIX_EPOCH, |(_, since)| *since)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::ErrorInfo;

    #[test]
    fn time_moves_with_the_state_and_not_with_its_reason() {
        let id = InstanceId::from_u128(1);
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let failed = |reason: &str| InstanceState::Failed(ErrorInfo::new(reason));
        let mut since = Since::default();

        let mut told = Vec::new();
        for (second, state) in [
            (1, InstanceState::Starting),
            (2, failed("a")),
            (3, failed("b")),
            (4, InstanceState::Active),
        ] {
            since.note(at(second), [(id, state)].into_iter());
            told.push(since.of(id));
        }
        since.note(at(5), std::iter::empty());

        assert_eq!(told, [at(1), at(2), at(2), at(4)]);
        assert_eq!(since.of(id), at(0));
    }
}
