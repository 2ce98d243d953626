//! What the first LIST shows, as far as a put depends on it: the newest version id, which this put's must follow, and the
//! parent of an incremental.
//!
//! The text of a key is not authenticated. Where a key is trusted, an object that changes what the put does counts only
//! once it was read and verified: an entry that is newer than this put's clock, a marker that hides the parent, and the
//! parent's own entry, without which an incremental could not be restored. In a vault whose clocks agree only the last of
//! these is ever read, and not if this process has stored or verified it before.

use std::collections::VecDeque;

use crate::op::ListedObject;
use crate::vault::objects::{CatalogueKey, Entry, Kind};
use crate::vault::proof::Claim;
use crate::vault::{Vault, Vid};

/// What an object of the catalogue says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// There is a version with this id, newer than this put's clock.
    Newest(Vid),
    /// The parent is deleted.
    ParentDeleted,
    /// The parent is a version.
    Parent,
}

/// An object to read before what it says counts.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    pub(super) says: Says,
    pub(super) claim: Claim,
}

/// What the LIST shows so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The store's clock before the LIST was sent.
    pub(super) listed_ms: i64,
    /// Monotonic time at which the version id was chosen, if its locator was sent beside the LIST.
    pub(super) chosen_at: u64,
    /// The newest version id that counts. Hidden versions count too.
    pub(super) newest: Option<Vid>,
    /// An entry that is older than the parent was seen, or one that is older than everything if there is no parent.
    beyond: bool,
    /// Objects that say something, in the order in which they are looked at.
    newer: VecDeque<Proof>,
    marker: Option<Proof>,
    rows: VecDeque<Proof>,
    parent_deleted: bool,
    parent_found: bool,
    /// Why an entry of the parent does not count.
    parent_refused: Option<String>,
}

impl Seen {
    /// Takes note of an object. `own` is the time in the version id that the put has if nothing is newer.
    pub(super) fn see(&mut self, vault: &Vault, parent: Option<Vid>, own: i64, object: &ListedObject) {
        let Some(CatalogueKey { entry, .. }) = CatalogueKey::parse(&object.key) else { return };
        let proof = |says| Proof { says, claim: Claim { key: object.key.clone(), size: object.size } };
        let vid = entry.vid();
        if self.newest.is_none() {
            // An older one changes nothing, whether or not it is true.
            if vid.unix_ms() < own || vault.must_prove(&object.key, object.size).is_none() {
                self.newest = Some(vid);
            } else {
                self.newer.push_back(proof(Says::Newest(vid)));
            }
        }
        self.beyond |= parent.is_none_or(|parent| vid > parent);
        if Some(vid) != parent {
            return;
        }
        match entry {
            Entry::Deleted(_) => self.marker = Some(proof(Says::ParentDeleted)),
            Entry::Row(row) if row.kind != Kind::Del => self.rows.push_back(proof(Says::Parent)),
            Entry::Row(_) | Entry::Suspected(_) => {}
        }
    }

    /// Whether the next page may show something that matters.
    pub(super) fn needs_more(&self, vault: &Vault, parent: Option<Vid>) -> bool {
        // Of several entries of the parent, the first that verifies counts.
        let is_sure = self.rows.front().is_some_and(|row| vault.must_prove(&row.claim.key, row.claim.size).is_none());
        self.newest.is_none() || !(self.beyond || parent.is_some() && is_sure)
    }

    /// The next object that has to be proven.
    pub(super) fn next_proof(&mut self, parent: Option<Vid>) -> Option<Proof> {
        if let Some(newer) = self.newer.pop_front() {
            return Some(newer);
        }
        let is_open = parent.is_some() && !self.parent_deleted && !self.parent_found;
        is_open.then(|| self.marker.take().or_else(|| self.rows.pop_front()))?
    }

    /// What an object says is true.
    pub(super) fn counts(&mut self, says: Says) {
        match says {
            Says::Newest(vid) => {
                self.newest = Some(vid);
                self.newer.clear();
            }
            Says::ParentDeleted => self.parent_deleted = true,
            Says::Parent => self.parent_found = true,
        }
    }

    /// An object does not verify.
    pub(super) fn is_refused(&mut self, says: Says, why: &str) {
        if says == Says::Parent {
            self.parent_refused.get_or_insert_with(|| why.to_owned());
        }
    }

    /// Why the parent cannot be built on, if it cannot: the end of a message.
    pub(super) fn refuses_parent(&self) -> Option<String> {
        match &self.parent_refused {
            _ if self.parent_found && !self.parent_deleted => None,
            Some(why) if !self.parent_deleted => Some(format!(": {why}")),
            _ => Some(String::new()),
        }
    }
}
