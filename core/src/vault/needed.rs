//! Whether a version that a marker hides is needed: a version that is not hidden builds on it, directly or through others.
//! A put that started before its parent was deleted leaves such a pair.

use std::collections::{HashMap, HashSet};

use super::Vid;
use super::objects::{CatalogueKey, Entry, Kind};
use super::proof::Claim;
use crate::op::Listing;

/// The versions that are newer than a hidden one.
pub(super) struct Needing {
    /// The hidden version.
    pub(super) vid: Vid,
    /// Rows with a parent, the newest first: version, parent and object.
    rows: Vec<(Vid, Vid, Claim)>,
    /// Markers that hide versions.
    markers: HashMap<Vid, Claim>,
}

impl Needing {
    pub(super) fn new(vid: Vid) -> Needing {
        Needing { vid, rows: Vec::new(), markers: HashMap::new() }
    }

    /// Takes note of a page. Returns whether the next one may show newer versions, too.
    pub(super) fn see(&mut self, page: Listing) -> bool {
        for object in page.objects {
            let Some(CatalogueKey { entry, .. }) = CatalogueKey::parse(&object.key) else { continue };
            // A newer version sorts first, and only a newer one can build on it.
            if entry.vid() >= self.vid {
                return false;
            }
            let claim = Claim { key: object.key, size: object.size };
            match entry {
                Entry::Deleted(vid) => drop(self.markers.insert(vid, claim)),
                Entry::Row(row) if row.kind != Kind::Del => {
                    self.rows.extend(row.parent.map(|parent| (row.vid, parent, claim)));
                }
                Entry::Row(_) | Entry::Suspected(_) => {}
            }
        }
        true
    }

    /// Whether a version that is not hidden needs it. `counts` says whether a marker or a row counts; nothing is asked of
    /// what has nothing to do with it.
    pub(super) fn is_needed(&self, mut counts: impl FnMut(&Claim) -> bool) -> bool {
        let mut descendants = HashSet::from([self.vid]);
        for (vid, parent, _) in self.rows.iter().rev() {
            if descendants.contains(parent) {
                descendants.insert(*vid);
            }
        }
        let mut needed = HashSet::new();
        for (vid, parent, row) in self.rows.iter().filter(|(_, parent, _)| descendants.contains(parent)) {
            let is_read = needed.contains(vid) || !self.markers.get(vid).is_some_and(&mut counts);
            if is_read && counts(row) {
                needed.insert(*parent);
            }
        }
        needed.contains(&self.vid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::ListedObject;
    use crate::vault::objects::{RowKey, catalogue_prefix};
    use crate::vault::{Name, marker::Mark};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// A version for each minute: the number of its parent, and whether it is deleted. The oldest first.
    fn needing(versions: &[(Option<usize>, bool)], of: usize) -> Needing {
        let name = Name::new("vm", "disk").unwrap();
        let vid = |n: usize| Vid::new(1_764_000_000_000 + 60_000 * n as i64, [0; 10]);
        let mut needing = Needing::new(vid(of));
        let mut objects = Vec::new();
        for (n, (parent, is_deleted)) in versions.iter().enumerate().rev() {
            let kind = if parent.is_some() { Kind::Inc } else { Kind::Full };
            let row = RowKey { vid: vid(n), recorded_ms: 0, kind, size: 0, parent: parent.map(vid) };
            let marker = is_deleted.then(|| Mark::Deleted.key(&name, vid(n)));
            let keys = marker.into_iter().chain([format!("{}{row}", catalogue_prefix(&name))]);
            objects.extend(keys.map(|key| ListedObject { key, ..Default::default() }));
        }
        assert!(!needing.see(Listing { objects, ..Default::default() }), "the version itself ends the list");
        needing
    }

    #[test]
    fn a_version_is_needed_as_long_as_one_that_is_not_hidden_builds_on_it() {
        let (alive, deleted) = (false, true);
        for (versions, is_needed) in [
            (vec![(None, deleted)], false),
            (vec![(None, deleted), (None, alive)], false),
            (vec![(None, deleted), (Some(0), alive)], true),
            (vec![(None, deleted), (Some(0), deleted)], false),
            (vec![(None, deleted), (Some(0), deleted), (Some(1), alive)], true),
            (vec![(None, deleted), (Some(0), deleted), (Some(1), deleted)], false),
            (vec![(None, deleted), (Some(0), deleted), (None, alive), (Some(2), alive)], false),
        ] {
            assert_eq!(needing(&versions, 0).is_needed(|_| true), is_needed, "{versions:?}");
        }
    }

    #[test]
    fn what_does_not_count_neither_needs_nor_hides() {
        let built_on = needing(&[(None, true), (Some(0), false)], 0);
        assert!(!built_on.is_needed(|_| false), "a row that nobody signed");
        let hidden = needing(&[(None, true), (Some(0), true)], 0);
        assert!(hidden.is_needed(|claim| !claim.key.ends_with(".-d")), "a marker that nobody signed");
    }

    #[test]
    fn nothing_is_asked_of_versions_of_other_chains() {
        let other = needing(&[(None, true), (None, true), (Some(1), true), (Some(1), false)], 0);
        other.is_needed(|claim| panic!("{claim:?}"));
    }
}
