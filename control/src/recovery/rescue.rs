//! What is done while the guest stands still after a fault.

use super::kernel::Rebuilt;
use super::{Plan, Policy, crash, records};
use crate::api::{Recovered, RolledBack};
use crate::error::ControlError;
use crate::history::{short, unix_ns};
use crate::live::Live;
use crate::session::{How, Session};
use sentient_snapshot::record::SignedRecord;
use sentient_vmm::Ended;
use std::sync::Arc;
use std::time::Instant;

/// Most snapshots that are looked through.
const LOOK_BACK: u64 = 64;

impl Session {
    /// The guest stands still after a fault: puts it back, or ends the machine.
    pub(super) fn recover(self: &Arc<Self>, fault: Ended) {
        let started = Instant::now();
        tracing::error!(fault = fault.kind(), "{fault}");
        // Nobody waits for a guest that cannot answer, and keeps others waiting with it.
        self.containers.set_mute(true);
        self.containers.revive();
        let mut live = self.live();
        let policy = self.policy();
        let (budget, within) = (policy.budget, policy.within);
        let plan = {
            let mut state = self.recovery.state();
            state.policy = policy;
            state.plan(started)
        };
        let mut line = Recovered {
            unix_ns: unix_ns(),
            fault: fault.kind().to_owned(),
            what: fault.to_string(),
            before: self.history.timeline().head().ok().flatten().map(|id| id.to_string()),
            action: "stop".to_owned(),
            ..Recovered::default()
        };
        let crash = self.crash(&fault);
        let mut rebuilt = None;
        match plan {
            Plan::Kernel => {
                rebuilt = self.kernel_back(&mut live, &mut line);
                if rebuilt.is_none() {
                    self.back(&mut live, 0, &mut line);
                }
            }
            Plan::Back(steps) => self.back(&mut live, steps, &mut line),
            Plan::GiveUp => line.error = Some(format!("more than {budget} faults within {within:?}")),
            Plan::Zero => {
                "zero".clone_into(&mut line.action);
                if let Err(error) = records::fall(self.history.machine(), &line) {
                    line.error = Some(format!("its next boot is as usual: {error}"));
                }
            }
            Plan::Stop => {}
        }
        line.pause_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let goes_on = rebuilt.is_some() || line.to.is_some();
        if goes_on {
            self.containers.set_mute(false);
        }
        drop(live);
        let machine = self.history.machine();
        line.crash = crash.and_then(|crash| crash::keep(machine, line.unix_ns, &fault, crash, !goes_on));
        if let Err(error) = records::append(machine, &line) {
            tracing::error!(%error, "what was done about a fault is not written down");
        }
        if !goes_on {
            self.stop.stop(fault);
        }
        self.start_again(rebuilt.map(|rebuilt| rebuilt.lost).unwrap_or_default());
    }

    /// Puts the kernel back; `None` if that cannot be.
    fn kernel_back(&self, live: &mut Live, line: &mut Recovered) -> Option<Rebuilt> {
        match self.rebuild_kernel(live, How::Rescue) {
            Ok(rebuilt) => {
                self.recovery.state().recovered(None);
                "heal-boot".clone_into(&mut line.action);
                line.kept.clone_from(&rebuilt.kept);
                line.healed.clone_from(&rebuilt.healed);
                line.lost.clone_from(&rebuilt.lost);
                Some(rebuilt)
            }
            Err(error) => {
                tracing::warn!(%error, "the kernel cannot be put back alone");
                line.error = Some(format!("the kernel cannot be put back alone: {error}"));
                None
            }
        }
    }

    /// Puts the machine back.
    fn back(&self, live: &mut Live, steps: usize, line: &mut Recovered) {
        let candidates = match self.candidates(steps) {
            Ok(candidates) => candidates,
            Err(error) => {
                line.error = Some(error.to_string());
                return;
            }
        };
        for target in candidates {
            match self.go_to(live, &target, How::Rescue) {
                Ok(_) => {
                    self.recovery.state().recovered(Some(target.id()));
                    "rollback".clone_into(&mut line.action);
                    line.to = Some(target.id().to_string());
                    return;
                }
                Err(error) => {
                    tracing::error!(%error, "it cannot go on from {}", short(target.id()));
                    line.error = Some(error.to_string());
                }
            }
        }
    }

    /// Puts a machine that runs back to its last good snapshot, as if it had failed; where it was is kept.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn panic_recover(&self) -> Result<RolledBack, ControlError> {
        let mut live = self.live();
        let good = self.candidates(0)?;
        let target = good.first().ok_or_else(|| ControlError::NotFound("there is no snapshot".into()))?;
        self.go_to(&mut live, target, How::Keep)
    }

    /// What is to be done about faults, as far as it can be read.
    pub(super) fn policy(&self) -> Policy {
        let policy = Policy::of(self.history.machine()).unwrap_or_else(|error| {
            tracing::warn!(%error, "faults are seen to as usual");
            Policy::default()
        });
        self.door.set_hang_after(policy.hang);
        policy
    }

    /// Snapshots to go back to, in the order in which they are tried.
    fn candidates(&self, steps: usize) -> Result<Vec<SignedRecord>, ControlError> {
        let timeline = self.history.timeline();
        let head = self.history.current()?.id();
        let mut all = vec![head];
        all.extend(timeline.ancestors(head, LOOK_BACK)?);
        let good = self.recovery.state().good;
        let first = all.iter().position(|id| Some(*id) == good).unwrap_or(0);
        let first = (first + steps).min(all.len() - 1);
        all.drain(first..).map(|id| Ok(timeline.get(id)?)).collect()
    }
}
