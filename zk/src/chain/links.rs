//! Whether records follow each other.

use super::record::{RecordId, SignedChainRecord};

/// Where a chain is broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// A record of another machine, or by another key.
    #[error("record {at} of the chain is of another {what} than the one before it; it does not belong here")]
    Other {
        /// Its place.
        at: u64,
        /// Machine or key.
        what: &'static str,
    },
    /// A record is missing, repeated, or at another's place.
    #[error(
        "record {expected} of the chain is expected and {found} is there; one was left out, moved or repeated"
    )]
    Sequence {
        /// The number that comes next.
        expected: u64,
        /// The number that is there.
        found: u64,
    },
    /// A record that was made after another one.
    #[error(
        "record {at} of the chain follows {parent}, and {found} is before it; one was changed or replaced"
    )]
    Parent {
        /// Its place.
        at: u64,
        /// The record it names.
        parent: String,
        /// The record that is there.
        found: RecordId,
    },
    /// A state that begins elsewhere.
    #[error("record {at} of the chain does not begin with the state in which the one before it ends")]
    State {
        /// Its place.
        at: u64,
    },
    /// A record that somebody knows of is not there.
    #[error("the chain does not have the record {0}; its end was cut off, or it is another's")]
    Missing(RecordId),
}

/// `Ok` if each record follows the one before it.
///
/// # Errors
///
/// [`LinkError`] by the first that does not.
pub fn check(records: &[SignedChainRecord]) -> Result<(), LinkError> {
    records.array_windows().try_for_each(|[one, two]| follows(one, two))
}

/// `Ok` if `next` follows `last`.
///
/// # Errors
///
/// [`LinkError`].
pub fn follows(last: &SignedChainRecord, next: &SignedChainRecord) -> Result<(), LinkError> {
    let (before, after) = (last.record(), next.record());
    let at = after.sequence;
    if before.machine != after.machine {
        return Err(LinkError::Other { at, what: "machine" });
    }
    if last.key() != next.key() {
        return Err(LinkError::Other { at, what: "key" });
    }
    let expected = before.sequence.saturating_add(1);
    if at != expected {
        return Err(LinkError::Sequence { expected, found: at });
    }
    if after.parent != Some(last.id()) {
        let parent = after.parent.map_or("none".to_owned(), |parent| parent.to_string());
        return Err(LinkError::Parent { at, parent, found: last.id() });
    }
    if before.new_state != after.old_state {
        return Err(LinkError::State { at });
    }
    Ok(())
}
