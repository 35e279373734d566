//! The sentinel: four 32-bit ports on which the guest tells the VMM how it fares.
//!
//! Numbers and meanings are [`sentient_abi::sentinel`]'s. The VMM calls [`Sentinel::read`] and
//! [`Sentinel::write`] for every access to a port from `BASE` to `BASE + LEN`, and acts on the
//! [`Signal`]s; what a signal means for the machine is its business.

use sentient_abi::ABI_VERSION;
use sentient_abi::exit::ContainerEnd;
use sentient_abi::panic_record::Reason;
use sentient_abi::sentinel::{EVENT, EXIT, Event, PANIC, VERSION};
use serde::{Deserialize, Serialize};

use crate::lifecycle::{Lifecycle, RestoreError};

/// What the guest has just told the VMM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The runtime is up and about to start a container; at most once per boot.
    Ready,
    /// The guest is alive.
    Heartbeat,
    /// No container is being run; the answer to who asked for that.
    AtRest,
    /// The container ended and the machine is finished.
    Ended(ContainerEnd),
    /// The guest has given up; its panic record is complete.
    Panicked(Reason),
    /// An access that no guest of this ABI version makes: a word without meaning, a width other than
    /// four bytes, a write to a port that has none.
    Violation {
        /// The port written to.
        port: u16,
        /// The first four bytes written, zero-extended.
        value: u32,
    },
}

/// The device.
#[derive(Debug, Default)]
pub struct Sentinel {
    ready: bool,
    heartbeats: u64,
}

/// What a [`Sentinel`] saves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentinelState {
    /// Layout of this struct.
    pub version: u32,
    /// Whether the guest has said that it is ready.
    pub ready: bool,
    /// Heartbeats since boot.
    pub heartbeats: u64,
}

const STATE_VERSION: u32 = 1;

impl Sentinel {
    /// A sentinel that has heard nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the guest has said that it is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Heartbeats since boot.
    #[must_use]
    pub fn heartbeats(&self) -> u64 {
        self.heartbeats
    }

    /// A read by the guest of `data.len()` bytes: the ABI version from [`VERSION`], all ones from
    /// anywhere else, as from a port without a device.
    pub fn read(&mut self, port: u16, data: &mut [u8]) {
        data.fill(0xff);
        if port == VERSION && data.len() == 4 {
            data.copy_from_slice(&ABI_VERSION.to_le_bytes());
        }
    }

    /// A write by the guest. `None` when there is nothing to act on: a second "ready" of one boot.
    pub fn write(&mut self, port: u16, data: &[u8]) -> Option<Signal> {
        let mut word = [0; 4];
        for (to, from) in word.iter_mut().zip(data) {
            *to = *from;
        }
        let value = u32::from_le_bytes(word);
        let violation = Some(Signal::Violation { port, value });
        if data.len() != 4 {
            return violation;
        }
        match port {
            EVENT => match Event::from_u32(value) {
                Some(Event::Ready) if self.ready => None,
                Some(Event::Ready) => {
                    self.ready = true;
                    Some(Signal::Ready)
                }
                Some(Event::Heartbeat) => {
                    self.heartbeats = self.heartbeats.wrapping_add(1);
                    Some(Signal::Heartbeat)
                }
                Some(Event::AtRest) => Some(Signal::AtRest),
                None => violation,
            },
            EXIT => ContainerEnd::decode(value).map(Signal::Ended).or(violation),
            PANIC => Reason::from_u32(value).map(Signal::Panicked).or(violation),
            _ => violation,
        }
    }
}

impl Lifecycle for Sentinel {
    type State = SentinelState;

    fn reset(&mut self) {
        *self = Self::default();
    }

    fn save(&self) -> SentinelState {
        SentinelState { version: STATE_VERSION, ready: self.ready, heartbeats: self.heartbeats }
    }

    fn restore(&mut self, state: &SentinelState) -> Result<(), RestoreError> {
        RestoreError::check_version("sentinel", state.version, STATE_VERSION)?;
        *self = Self { ready: state.ready, heartbeats: state.heartbeats };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sentient_abi::sentinel::BASE;

    use super::*;

    #[test]
    fn the_guest_reads_the_abi_version_and_ones_elsewhere() {
        let mut sentinel = Sentinel::new();
        let mut word = [0; 4];
        sentinel.read(VERSION, &mut word);
        assert_eq!(u32::from_le_bytes(word), ABI_VERSION);
        for (port, width) in
            [(EVENT, 4), (EXIT, 4), (PANIC, 4), (VERSION, 1), (VERSION, 2), (VERSION + 1, 4), (0, 4)]
        {
            let mut data = vec![0; width];
            sentinel.read(port, &mut data);
            assert_eq!(data, vec![0xff; width], "port {port:#x}, {width} bytes");
        }
    }

    #[test]
    fn ready_is_told_once_and_heartbeats_are_counted() {
        let mut sentinel = Sentinel::new();
        let (ready, beat) = (1u32.to_le_bytes(), 2u32.to_le_bytes());
        assert_eq!(sentinel.write(EVENT, &beat), Some(Signal::Heartbeat));
        assert_eq!(sentinel.write(EVENT, &ready), Some(Signal::Ready));
        assert_eq!(sentinel.write(EVENT, &ready), None);
        assert_eq!(sentinel.write(EVENT, &beat), Some(Signal::Heartbeat));
        assert_eq!(sentinel.write(EVENT, &3u32.to_le_bytes()), Some(Signal::AtRest));
        assert!(sentinel.is_ready());
        assert_eq!(sentinel.heartbeats(), 2);
        sentinel.reset();
        assert_eq!(sentinel.write(EVENT, &ready), Some(Signal::Ready), "a new boot is ready anew");
    }

    #[test]
    fn ends_and_panics_are_decoded() {
        let mut sentinel = Sentinel::new();
        let end = ContainerEnd::Exited(7);
        assert_eq!(sentinel.write(EXIT, &end.encode().to_le_bytes()), Some(Signal::Ended(end)));
        let reason = Reason::Nucleus;
        assert_eq!(sentinel.write(PANIC, &(reason as u32).to_le_bytes()), Some(Signal::Panicked(reason)));
    }

    #[test]
    fn words_widths_and_ports_without_meaning_are_violations() {
        let mut sentinel = Sentinel::new();
        for (port, data) in [
            (EVENT, &[9u8, 0, 0, 0][..]),
            (EXIT, &[0, 0, 0, 0]),
            (PANIC, &[0xff, 0, 0, 0]),
            (VERSION, &[1, 0, 0, 0]),
            (EVENT, &[1]),
            (EVENT, &[1, 0]),
            (EVENT, &[1, 0, 0, 0, 0, 0, 0, 0]),
            (EVENT, &[]),
            (EVENT + 1, &[1, 0, 0, 0]),
            (BASE - 1, &[1, 0, 0, 0]),
        ] {
            let signal = sentinel.write(port, data);
            assert!(
                matches!(signal, Some(Signal::Violation { port: at, .. }) if at == port),
                "{port:#x} {data:?}"
            );
        }
        assert!(!sentinel.is_ready());
    }

    #[test]
    fn a_restored_sentinel_remembers_what_it_heard() {
        let mut sentinel = Sentinel::new();
        sentinel.write(EVENT, &1u32.to_le_bytes());
        sentinel.write(EVENT, &2u32.to_le_bytes());
        let state = sentinel.save();
        let mut other = Sentinel::new();
        assert_eq!(other.restore(&state), Ok(()));
        assert_eq!(other.save(), state);
        let newer = SentinelState { version: STATE_VERSION + 1, ..state.clone() };
        assert!(matches!(other.restore(&newer), Err(RestoreError::Version { .. })));
        assert_eq!(other.save(), state, "a refused state changes nothing");
    }
}
