//! What people call snapshots: tags, ids, the beginnings of ids, and places relative to the head.

use redb::ReadableTable;

use super::{SNAPSHOTS, TAGS, Timeline, TimelineError};
use crate::hash::parse_hex;
use crate::record::SnapshotId;

/// Fewest digits of an id's beginning.
pub const MIN_PREFIX: usize = 4;

/// Most candidates that an error lists.
const LISTED: usize = 5;

/// `Ok` for a name that a tag may have.
///
/// # Errors
///
/// [`TimelineError::TagName`].
pub fn check_tag(name: &str) -> Result<(), TimelineError> {
    let problem = if name.is_empty() {
        "it is empty"
    } else if name.len() > 64 {
        "it is too long"
    } else if name.starts_with(['-', '.']) {
        "it begins with . or -"
    } else if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        "it has other characters"
    } else if parse_hex(name).is_some() {
        "it looks like an id"
    } else {
        return Ok(());
    };
    Err(TimelineError::TagName { name: name.to_owned(), problem })
}

impl Timeline {
    /// The snapshot that is meant by a name: `@` is the head, `@~N` its Nth ancestor, then come tags, full
    /// ids, and beginnings of ids of at least [`MIN_PREFIX`] digits that only one has.
    ///
    /// # Errors
    ///
    /// [`TimelineError::Unknown`], [`TimelineError::Ambiguous`], [`TimelineError::NoAncestor`].
    pub fn resolve(&self, name: &str) -> Result<SnapshotId, TimelineError> {
        let unknown = || TimelineError::Unknown { name: name.to_owned() };
        if let Some(back) = name.strip_prefix('@') {
            let head = self.head()?.ok_or_else(unknown)?;
            let Some(steps) = back.strip_prefix('~') else {
                return if back.is_empty() { Ok(head) } else { Err(unknown()) };
            };
            let digits = !steps.is_empty() && steps.bytes().all(|byte| byte.is_ascii_digit());
            let steps = steps.parse().ok().filter(|_| digits).ok_or_else(unknown)?;
            return self.ancestor(head, steps);
        }
        let txn = self.read()?;
        if let Some(id) = txn.open_table(TAGS)?.get(name)? {
            return Ok(SnapshotId(*id.value()));
        }
        let snapshots = txn.open_table(SNAPSHOTS)?;
        let prefix = name.to_ascii_lowercase();
        if !(MIN_PREFIX..=64).contains(&prefix.len()) || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit())
        {
            return Err(unknown());
        }
        let mut found = Vec::new();
        for row in snapshots.iter()? {
            let id = SnapshotId(*row?.0.value());
            if id.to_string().starts_with(&prefix) {
                found.push(id);
            }
        }
        match found.as_slice() {
            [] => Err(unknown()),
            [id] => Ok(*id),
            several => Err(TimelineError::Ambiguous {
                prefix,
                candidates: several.iter().take(LISTED).map(ToString::to_string).collect(),
                more: several.len() > LISTED,
            }),
        }
    }
}
