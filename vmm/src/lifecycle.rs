//! The machine's states and the legal steps between them.

/// Where a machine is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Built; the guest has not run yet.
    Built,
    /// The vCPU runs.
    Running,
    /// The vCPU is out of the guest and the devices are at rest; it can go on.
    Paused,
    /// Over for good.
    Halted,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The first entry into the guest.
    Start,
    /// Out of the guest.
    Pause,
    /// Back into it.
    Resume,
    /// The end.
    Halt,
}

/// A step that is not possible from a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a machine that is {from:?} cannot {step:?}")]
pub struct IllegalStep {
    /// The state.
    pub from: State,
    /// The step.
    pub step: Step,
}

impl State {
    /// The state after a step.
    ///
    /// # Errors
    /// [`IllegalStep`] if the step is not possible from here.
    pub const fn after(self, step: Step) -> Result<Self, IllegalStep> {
        match (self, step) {
            (Self::Built, Step::Start) | (Self::Paused, Step::Resume) => Ok(Self::Running),
            (Self::Running, Step::Pause) => Ok(Self::Paused),
            (Self::Built | Self::Running | Self::Paused, Step::Halt) => Ok(Self::Halted),
            (from, step) => Err(IllegalStep { from, step }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_legal_steps_are_these_and_no_others() {
        use State::{Built, Halted, Paused, Running};
        let legal = [
            (Built, Step::Start, Running),
            (Built, Step::Halt, Halted),
            (Running, Step::Pause, Paused),
            (Running, Step::Halt, Halted),
            (Paused, Step::Resume, Running),
            (Paused, Step::Halt, Halted),
        ];
        for from in [Built, Running, Paused, Halted] {
            for step in [Step::Start, Step::Pause, Step::Resume, Step::Halt] {
                let expected =
                    legal.iter().find(|(state, by, _)| (*state, *by) == (from, step)).map(|(_, _, to)| *to);
                assert_eq!(from.after(step).ok(), expected, "{from:?} {step:?}");
            }
        }
    }
}
