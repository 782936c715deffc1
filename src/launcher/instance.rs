//! What one instance holds, as a value.
//!
//! [`Instance::on`] is the only way to change it. It does no I/O: it returns
//! the step to carry out, and the outcome comes back as another event. At most
//! one step of an instance is on its way.
//!
//! Invariant: `held` is all that the host may keep for us, in the order we
//! took it. Stopping gives it back in reverse, however far the start got.

use super::host::Resource;

/// Where an instance is between nothing and running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// It holds nothing.
    #[default]
    Stopped,
    /// It takes what it needs, one resource after the other.
    Acquiring,
    /// It holds everything; its unit was started.
    Running,
    /// It runs, and is given something else of what it holds, or started again.
    Changing,
    /// It gives back what it holds.
    Releasing,
    /// It could not give something back, and tries again after a pause.
    Paused,
}

impl Phase {
    /// It holds everything; its unit was started.
    pub(super) fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Changing)
    }
}

/// What happens to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It shall run.
    Start,
    /// It shall not run.
    Stop,
    /// It shall be given something else while it runs.
    Change,
    /// Its service shall be started again.
    Restart,
    /// The step was a change or a restart, and is over.
    ChangeDone,
    /// systemd gave up, or somebody stopped the unit.
    UnitGone,
    /// The step was an acquisition and succeeded.
    Acquired,
    /// The step was an acquisition and failed.
    AcquireRefused,
    /// The step was a release and succeeded.
    Released,
    /// The step was a release and failed.
    ReleaseRefused,
    /// The pause after a failed release is over.
    RetryDue,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Wait for the next event.
    Nothing,
    /// Take this.
    Acquire(Resource),
    /// Give this back.
    Release(Resource),
    /// Change in place what can be.
    Change,
    /// Have its service started again, with all that it holds.
    Restart,
    /// Come back with [`Event::RetryDue`] after a pause.
    Pause,
}

/// One instance on the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Instance {
    phase: Phase,
    held: Vec<Resource>,
    stop_wanted: bool,
}

impl Instance {
    /// One that was found on the machine: it may hold everything.
    pub(super) fn found() -> Self {
        Self {
            phase: Phase::Running,
            held: Resource::ACQUIRE_ORDER.to_vec(),
            stop_wanted: false,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether it stops as soon as the step that is on its way is over.
    pub(super) fn stop_wanted(&self) -> bool {
        self.stop_wanted
    }

    /// The one way to change the instance.
    pub(super) fn on(&mut self, event: Event) -> Step {
        match (self.phase, event) {
            (Phase::Stopped, Event::Start) => {
                self.stop_wanted = false;
                self.acquire_next()
            }
            (Phase::Acquiring, Event::Acquired) => {
                self.held.push(Resource::ACQUIRE_ORDER[self.held.len()]);
                if self.stop_wanted {
                    self.release_next()
                } else {
                    self.acquire_next()
                }
            }
            // The step in flight reports back first; then we turn around.
            (Phase::Acquiring, Event::Stop) => {
                self.stop_wanted = true;
                Step::Nothing
            }
            // What was refused may have been taken half: it is given back as well.
            (Phase::Acquiring, Event::AcquireRefused) => {
                self.held.push(Resource::ACQUIRE_ORDER[self.held.len()]);
                self.release_next()
            }
            (Phase::Running, Event::Stop | Event::UnitGone) | (Phase::Paused, Event::RetryDue) => {
                self.release_next()
            }
            (Phase::Running, Event::Change) => {
                self.phase = Phase::Changing;
                Step::Change
            }
            (Phase::Running, Event::Restart) => {
                self.phase = Phase::Changing;
                Step::Restart
            }
            (Phase::Changing, Event::Stop | Event::UnitGone) => {
                self.stop_wanted = true;
                Step::Nothing
            }
            (Phase::Changing, Event::ChangeDone) if self.stop_wanted => self.release_next(),
            (Phase::Changing, Event::ChangeDone) => {
                self.phase = Phase::Running;
                Step::Nothing
            }
            (Phase::Releasing, Event::Released) => {
                self.held.pop();
                self.release_next()
            }
            (Phase::Releasing, Event::ReleaseRefused) => {
                self.phase = Phase::Paused;
                Step::Pause
            }
            // Late events are normal on a real host.
            (
                Phase::Stopped
                | Phase::Acquiring
                | Phase::Running
                | Phase::Changing
                | Phase::Releasing
                | Phase::Paused,
                _,
            ) => Step::Nothing,
        }
    }

    fn acquire_next(&mut self) -> Step {
        if let Some(resource) = Resource::ACQUIRE_ORDER.get(self.held.len()) {
            self.phase = Phase::Acquiring;
            Step::Acquire(*resource)
        } else {
            self.phase = Phase::Running;
            Step::Nothing
        }
    }

    fn release_next(&mut self) -> Step {
        if let Some(resource) = self.held.last() {
            self.phase = Phase::Releasing;
            Step::Release(*resource)
        } else {
            self.phase = Phase::Stopped;
            Step::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(step: Step, works: bool) -> Option<Event> {
        match (step, works) {
            (Step::Nothing, _) => None,
            (Step::Acquire(_), true) => Some(Event::Acquired),
            (Step::Acquire(_), false) => Some(Event::AcquireRefused),
            (Step::Release(_), true) => Some(Event::Released),
            (Step::Release(_), false) => Some(Event::ReleaseRefused),
            (Step::Change | Step::Restart, _) => Some(Event::ChangeDone),
            (Step::Pause, _) => Some(Event::RetryDue),
        }
    }

    fn carry_out(instance: &mut Instance, mut step: Step, refuse: Option<Resource>) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some(event) = answer(step, step != refuse.map_or(Step::Nothing, Step::Acquire)) {
            steps.push(step);
            step = instance.on(event);
        }
        steps
    }

    #[test]
    fn start_takes_everything_in_order() {
        let mut instance = Instance::default();

        let first = instance.on(Event::Start);
        let steps = carry_out(&mut instance, first, None);

        assert_eq!(steps, Resource::ACQUIRE_ORDER.map(Step::Acquire));
        assert_eq!(instance.phase(), Phase::Running);
    }

    #[test]
    fn refused_unit_gives_everything_back_in_reverse() {
        let mut instance = Instance::default();

        let first = instance.on(Event::Start);
        let steps = carry_out(&mut instance, first, Some(Resource::Unit));

        let given_back: Vec<_> = Resource::ACQUIRE_ORDER
            .iter()
            .rev()
            .copied()
            .map(Step::Release)
            .collect();
        assert_eq!(steps[5..], given_back);
        assert_eq!(instance, Instance::default());
    }

    #[test]
    fn stop_during_a_start_waits_for_the_step_in_flight() {
        let mut instance = Instance::default();
        instance.on(Event::Start);

        let at_once = instance.on(Event::Stop);
        let after_step = instance.on(Event::Acquired);

        assert_eq!(at_once, Step::Nothing);
        assert_eq!(after_step, Step::Release(Resource::Secret));
    }

    #[test]
    fn refused_release_is_tried_again_and_forgets_nothing() {
        let mut instance = Instance::found();
        instance.on(Event::Stop);

        let paused = instance.on(Event::ReleaseRefused);
        let again = instance.on(Event::RetryDue);

        assert_eq!(paused, Step::Pause);
        assert_eq!(again, Step::Release(Resource::Unit));
    }

    #[test]
    fn stop_during_a_change_waits_for_it_whatever_comes_of_the_change() {
        for stop in [Event::Stop, Event::UnitGone] {
            let mut instance = Instance::found();

            let change = instance.on(Event::Change);
            let at_once = instance.on(stop);
            let after = instance.on(Event::ChangeDone);

            assert_eq!((change, at_once), (Step::Change, Step::Nothing));
            assert_eq!(after, Step::Release(Resource::Unit));
        }
    }

    #[test]
    fn stop_during_a_restart_waits_for_it() {
        let mut instance = Instance::found();

        let restart = instance.on(Event::Restart);
        let at_once = instance.on(Event::Stop);
        let after = instance.on(Event::ChangeDone);

        assert_eq!((restart, at_once), (Step::Restart, Step::Nothing));
        assert_eq!(after, Step::Release(Resource::Unit));
    }

    #[test]
    fn only_a_running_instance_is_changed_and_only_once_at_a_time() {
        let mut starting = Instance::default();
        starting.on(Event::Start);
        let mut leaving = Instance::found();
        leaving.on(Event::Stop);
        let mut changing = Instance::found();
        changing.on(Event::Change);

        let steps = [starting, leaving, changing].map(|mut each| each.on(Event::Change));

        assert_eq!(steps, [Step::Nothing; 3]);
    }

    proptest! {
        /// Whatever happens, a stop at the end leaves nothing held, and the
        /// host's own book agrees with `held` all the way.
        #[test]
        fn any_history_can_be_stopped(history in prop::collection::vec((0u8..6, any::<bool>()), 0..60)) {
            let mut instance = Instance::default();
            let mut book: Vec<Resource> = Vec::new();
            let mut flight = Step::Nothing;

            let mut history: Vec<_> = history;
            history.push((1, true));
            history.extend(std::iter::repeat_n((3, true), 40));
            for (what, works) in history {
                let event = match what {
                    0 => Event::Start,
                    1 => Event::Stop,
                    2 => Event::UnitGone,
                    5 => Event::Change,
                    // A timer of before may run out at any time.
                    4 if flight != Step::Pause => Event::RetryDue,
                    _ => match answer(flight, works) {
                        Some(event) => {
                            match (flight, works) {
                                (Step::Acquire(resource), _) => book.push(resource),
                                (Step::Release(_), true) => drop(book.pop()),
                                _ => {}
                            }
                            flight = Step::Nothing;
                            event
                        }
                        None => continue,
                    },
                };
                let step = instance.on(event);
                if step != Step::Nothing {
                    prop_assert_eq!(flight, Step::Nothing, "two steps in flight");
                    flight = step;
                }
                prop_assert_eq!(&book, &instance.held);
            }

            prop_assert_eq!(instance.phase(), Phase::Stopped);
            prop_assert_eq!(book, Vec::<Resource>::new());
        }
    }
}
