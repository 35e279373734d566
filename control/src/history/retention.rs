//! What is kept: which snapshots go, how many stay, how much room they may take, and what they are called.

use super::History;
use crate::api::{Properties, Pruned, PutTag, SetProperties, Tagged};
use crate::error::ControlError;
use sentient_snapshot::record::SnapshotId;
use sentient_snapshot::store::Root;
use sentient_snapshot::timeline::{Settings, check_tag};
use serde_json::json;

impl History {
    /// Lets a snapshot go, and gives back what only it held.
    ///
    /// # Errors
    /// [`ControlError::Timeline`] if it is the current one, or (unless `force`) tagged or needed to undo.
    pub fn remove(&self, name: &str, force: bool) -> Result<Pruned, ControlError> {
        let id = self.timeline.resolve(name)?;
        self.remove_all(vec![id], force)
    }

    /// Lets the oldest go, but for `keep`; never the current one, a tagged one, or one needed to undo.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn prune(&self, keep: Option<u32>) -> Result<Pruned, ControlError> {
        let keep = keep.map_or(self.timeline.settings()?.keep, u64::from);
        self.remove_all(self.timeline.prune_candidates(keep)?, false)
    }

    fn remove_all(&self, ids: Vec<SnapshotId>, force: bool) -> Result<Pruned, ControlError> {
        if ids.is_empty() {
            return Ok(Pruned { removed: Vec::new(), freed_bytes: 0, waiting_bytes: 0 });
        }
        // Before what it would be made of is gone.
        self.proofs.write(self)?;
        let before = self.store.usage()?.bytes;
        let mut roots = Vec::new();
        for id in &ids {
            self.timeline.remove(*id, force)?;
            roots.push(Root { machine: self.description.id.0, snapshot: id.0 });
        }
        self.store.remove(&roots)?;
        let removed: Vec<String> = ids.iter().map(ToString::to_string).collect();
        self.trace("remove", &json!({ "snapshots": removed }))?;
        let usage = self.store.usage()?;
        let freed_bytes = before.saturating_sub(usage.bytes);
        Ok(Pruned { removed, freed_bytes, waiting_bytes: usage.bytes.saturating_sub(usage.live_bytes) })
    }

    /// What the machine keeps, and what that takes.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn properties(&self) -> Result<Properties, ControlError> {
        let Settings { keep, quota } = self.timeline.settings()?;
        Ok(Properties {
            keep: u32::try_from(keep).unwrap_or(u32::MAX),
            quota_bytes: quota,
            store_bytes: self.store.usage()?.bytes,
            used_bytes: self.used_bytes()?,
        })
    }

    /// Changes what the machine keeps, from the next snapshot on.
    ///
    /// # Errors
    /// [`ControlError::Request`] for a value that would keep nothing, and others.
    pub fn set_properties(&self, wanted: &SetProperties) -> Result<Properties, ControlError> {
        let mut settings = self.timeline.settings()?;
        if let Some(keep) = wanted.keep {
            if keep == 0 {
                let why = "keep is 0 and must be 1 or more: the current snapshot always stays";
                return Err(ControlError::Request(why.into()));
            }
            settings.keep = u64::from(keep);
        }
        if let Some(quota) = wanted.quota_bytes {
            if quota == Some(0) {
                let why = "the quota is 0 bytes, which allows no snapshot; give more, or none for no limit";
                return Err(ControlError::Request(why.into()));
            }
            settings.quota = quota;
        }
        self.put_settings(settings)?;
        self.trace("set", &json!({ "keep": settings.keep, "quota_bytes": settings.quota }))?;
        self.properties()
    }

    pub(super) fn put_settings(&self, settings: Settings) -> Result<(), ControlError> {
        self.timeline.set_settings(settings)?;
        self.store.set_quota(settings.quota);
        Ok(())
    }

    /// Gives a snapshot a tag. One that is another's is refused, unless it is to be moved.
    ///
    /// # Errors
    /// [`ControlError::Timeline`].
    pub fn tag(&self, tag: &str, wanted: &PutTag) -> Result<Tagged, ControlError> {
        check_tag(tag)?;
        let id = self.timeline.resolve(&wanted.snapshot)?;
        let before = self.timeline.set_tag(tag, id, wanted.moving)?;
        self.trace("tag", &json!({ "tag": tag, "snapshot": id.to_string() }))?;
        let moved_from = before.filter(|before| *before != id).map(|before| before.to_string());
        Ok(Tagged { tag: tag.to_owned(), id: id.to_string(), moved_from })
    }

    /// Takes a tag away; its snapshot stays.
    ///
    /// # Errors
    /// [`ControlError::Timeline`] if there is no such tag.
    pub fn remove_tag(&self, tag: &str) -> Result<Tagged, ControlError> {
        let id = self.timeline.remove_tag(tag)?;
        self.trace("untag", &json!({ "tag": tag, "snapshot": id.to_string() }))?;
        Ok(Tagged { tag: tag.to_owned(), id: id.to_string(), moved_from: None })
    }
}
