//! What a request may do to the store, and what must be there after it: the rules of docs/protocol.md, by what is in the
//! store and what was there before.

use std::collections::{BTreeMap, BTreeSet};

use s3_model::Bucket;
use s3vault_core::vault::manifest::Extent;
use s3vault_core::vault::objects::{CATALOGUE, CatalogueKey, Entry, KEKS, LOCATORS};
use s3vault_core::vault::{Kind, RowKey, Vid};

use super::adopted::Object;
use super::keys::PROBES;
use super::plan::{DAY, Op, WAIT_MS};
use super::rekeying::Rekeyings;
use super::snapshot::{Held, Id, Snapshot, locator, unix_ms};
use crate::content::Content;
use crate::coverage::{Counts, Probe};
use crate::wire::Wire;

/// How far a version may be ahead of the clock, in milliseconds.
const AHEAD_MS: i64 = 3_600_000;
/// How far clocks may differ where ages are compared, in milliseconds, with a second for the `Date` of replies.
const CLOCKS_MS: i64 = 301_000;
/// Stores say when an object was written in whole seconds.
pub(super) const SECOND_MS: i64 = 1_000;

/// A version that has, or had, a row.
#[derive(Clone, Debug)]
pub(super) struct Committed {
    pub(super) name: usize,
    pub(super) row: RowKey,
    /// Which source its bytes are from, and how many there are.
    pub(super) source: (u32, u64),
    pub(super) key: String,
    /// When its row took effect, and when a marker hid it: numbers of arrivals.
    pub(super) since: u64,
    pub(super) hidden: Option<u64>,
    /// The process that hid it, and its life.
    pub(super) hidden_by: Option<(usize, u32)>,
    pub(super) extents: Vec<(String, Option<String>)>,
    /// What another program wrote.
    pub(super) adopted: Option<Object>,
}

/// Who sent a request.
pub(super) struct Sender {
    pub(super) op: Op,
    /// The process, and its life.
    pub(super) who: (usize, u32),
    /// Number of the newest arrival when its machine started.
    pub(super) since: u64,
    /// The store's clock then.
    pub(super) since_ms: i64,
    /// Which source it stores, and how many bytes it has.
    pub(super) source: (u32, u64),
    /// How far its clock is ahead of the store's, in milliseconds.
    pub(super) off_ms: i64,
}

/// What is known of the versions of a run.
#[derive(Default)]
pub(super) struct Rules {
    pub(super) committed: BTreeMap<Vid, Committed>,
    /// Rows of somebody without the key.
    pub(super) forged: BTreeSet<String>,
    /// Number of arrivals.
    pub(super) arrivals: u64,
    /// When each locator took effect first, and when each was first listed by a machine.
    pub(super) locators: BTreeMap<String, u64>,
    pub(super) listed: BTreeMap<(usize, u32, String), u64>,
    /// When the first marker of each version was written: a duplicate makes it look younger.
    marked_ms: BTreeMap<Vid, i64>,
    /// Objects of other programs that these replaced, and when each key was written by another program last.
    pub(super) replaced: BTreeSet<(String, String)>,
    pub(super) written: BTreeMap<String, u64>,
    /// What happened.
    pub(super) hits: Counts,
    pub(super) grace_ms: i64,
    /// What re-keyings did.
    pub(super) rekeyings: Rekeyings,
    /// Ids of the key-encryption keys that are not retired; `None` where data is not encrypted.
    pub(super) keks: Option<BTreeSet<String>>,
}

pub(super) type Checked = Result<(), String>;

impl Rules {
    pub(super) fn new(grace_ms: i64, keks: Option<BTreeSet<String>>) -> Rules {
        Rules { grace_ms, keks, ..Rules::default() }
    }

    /// Versions of a name whose rows are not hidden, newest first.
    pub(super) fn visible(&self, name: usize) -> Vec<Vid> {
        let own = self.committed.iter().filter(|(_, one)| one.name == name && one.hidden.is_none());
        own.map(|(vid, _)| *vid).collect()
    }

    /// A list was answered.
    pub(super) fn listed(&mut self, number: usize, life: u32, body: &[u8]) {
        let text = String::from_utf8_lossy(body);
        for key in self.locators.keys() {
            if key.rsplit_once('/').is_some_and(|(_, last)| text.contains(last)) {
                self.listed.entry((number, life, key.clone())).or_insert(self.arrivals);
            }
        }
    }

    /// A request of this sender took effect, at this time.
    pub(super) fn arrived(
        &mut self,
        who: (usize, u32),
        sender: &Sender,
        wire: &Wire,
        (before, after): (&Snapshot, &Snapshot),
        now: i64,
    ) -> Checked {
        let key = &wire.request.key;
        if wire.request.method == "PUT" && wire.operation == "PutObject" {
            match CatalogueKey::parse(key).map(|key| key.entry) {
                Some(Entry::Row(row)) => self.row(sender, wire, row, after)?,
                Some(Entry::Deleted(vid)) => self.deletes(who, sender, vid, before, now)?,
                Some(Entry::Suspected(vid)) => self.suspects(who, sender, vid, before, now)?,
                None if key.starts_with(LOCATORS) => {
                    self.locators.entry(key.clone()).or_insert(self.arrivals);
                    self.rotates(sender, key)?;
                    self.names(wire, now)?;
                }
                None => {}
            }
        }
        if let Some(Entry::Deleted(vid) | Entry::Suspected(vid)) = CatalogueKey::parse(key).map(|key| key.entry)
            && wire.request.method == "PUT"
        {
            self.marked_ms.entry(vid).or_insert(now);
        }
        self.copied(who, wire, before, after, now);
        for (id, held) in before.objects.iter().filter(|(id, _)| !after.objects.contains_key(*id)) {
            self.removed(sender, id, held, before, after, now)?;
        }
        if let Some((key, _)) =
            after.objects.iter().find(|(id, held)| held.is_marker && !before.objects.contains_key(*id))
        {
            return Err(format!("a delete marker of S3 hides {}", key.0));
        }
        for ((key, id), (_, worked)) in before.uploads.iter().filter(|(id, _)| !after.uploads.contains_key(*id)) {
            let is_job = matches!(sender.op, Op::Prune(_) | Op::Sweep);
            let is_busy = worked.iter().any(|at| *at > now - self.grace_ms && *at < sender.since_ms);
            if wire.operation == "AbortMultipartUpload" && is_job && is_busy && !key.contains('@') {
                return Err(format!("upload {id} of {key} is aborted, and somebody works on it"));
            }
        }
        if wire.request.method != "GET" && wire.request.method != "HEAD" {
            self.whole(after)?;
        }
        Ok(())
    }

    fn row(&mut self, sender: &Sender, wire: &Wire, row: RowKey, after: &Snapshot) -> Checked {
        let (vid, key) = (row.vid, wire.request.key.clone());
        let name = match sender.op {
            Op::Put { name, .. } | Op::Remove { name } => name,
            Op::Adopt { .. } => super::adopted::name_of(&key)?,
            other => return Err(format!("{other:?} stores a row: {key}")),
        };
        if let Some(known) = self.committed.get(&vid) {
            if known.hidden.is_some() && after.of(vid).deleted_ms.is_none() {
                return Err(format!("version {vid} was deleted, and its row is there again"));
            }
            return Ok(());
        }
        let is_newer = |one: &&Committed| one.name == name && one.row.vid <= vid && one.since < sender.since;
        let newer = self.committed.values().filter(is_newer).find(|one| after.of(one.row.vid).has_row);
        if let (Some(newer), Op::Remove { .. }) = (newer, sender.op) {
            return Err(format!("the row {key} of a deletion is older than version {}", newer.row.vid));
        }
        let first = wire.request.body.as_bytes().split(|byte| *byte == b'\n').next().unwrap_or_default();
        let manifest: serde_json::Value =
            serde_json::from_slice(first).map_err(|e| format!("{key} has no JSON: {e}"))?;
        let extents: Vec<Extent> =
            serde_json::from_value(manifest["extents"].clone()).map_err(|e| format!("{key} has no extents: {e}"))?;
        let adopted = self.adopted(sender, &key, vid, &manifest, &extents, after)?;
        let extents = extents.into_iter().map(|extent| (extent.key, extent.version_id)).collect();
        let (source, since, hidden) = (sender.source, self.arrivals, None);
        if adopted.is_some() {
            self.hit(Probe::Adopted);
        } else if row.kind == Kind::Del {
            self.hit(Probe::BackupRemoved);
        }
        if row.parent.is_some_and(|parent| self.is_hidden(parent)) {
            self.hit(Probe::ParentDeletedBefore);
        }
        self.committed
            .insert(vid, Committed { name, row, source, key, since, hidden, hidden_by: None, extents, adopted });
        Ok(())
    }

    /// A marker that hides a version.
    fn deletes(&mut self, who: (usize, u32), sender: &Sender, vid: Vid, before: &Snapshot, now: i64) -> Checked {
        let Some(version) = self.committed.get(&vid).cloned() else {
            return Err(format!("a marker deletes version {vid}, which has no row"));
        };
        if version.hidden.is_some() {
            return Ok(());
        }
        let mut children = self.committed.values().filter(|one| one.row.parent == Some(vid));
        if let Some(child) = children.find(|one| one.hidden.is_none() && one.since < sender.since) {
            return Err(format!("version {vid} is deleted, and version {} depends on it", child.row.vid));
        }
        for (key, locator) in &before.locators {
            let there = before.of(locator.vid);
            let was_there = self.locators.get(key).is_some_and(|at| *at < sender.since);
            if locator.parent == Some(vid) && was_there && !there.has_row && there.marked_ms().is_none() {
                return Err(format!("version {vid} is deleted, and the put of {} builds on it", locator.vid));
            }
        }
        let own = || self.committed.values().filter(|one| one.name == version.name);
        let was_visible = |one: &&Committed| one.hidden.is_none_or(|at| at >= sender.since);
        if let Op::Prune(policy) = sender.op {
            if sender.off_ms.abs() > CLOCKS_MS {
                return Err(format!("version {vid} is pruned, and the clocks differ by {} s", sender.off_ms / 1000));
            }
            let future = own().find(|one| one.hidden.is_none() && one.row.vid.unix_ms() > now + AHEAD_MS);
            if let Some(future) = future.filter(|one| one.since < sender.since) {
                return Err(format!("version {vid} is pruned, and version {} is in the future", future.row.vid));
            }
            let (limit, days) = match version.row.kind {
                Kind::Full => (policy.full_versions, policy.full_days),
                Kind::Inc => (policy.inc_versions, policy.inc_days),
                Kind::Del => (0, 0),
            };
            let newer = own().filter(was_visible).filter(|one| one.row.kind == version.row.kind && one.row.vid < vid);
            let count = newer.count() as u64;
            let age_ms = now.saturating_sub(version.row.recorded_ms);
            let (too_many, too_old) = (limit > 0 && count >= limit, days > 0 && age_ms > (days * DAY) as i64);
            if version.row.kind != Kind::Del && !too_many && !too_old {
                let age = age_ms / 1000;
                return Err(format!(
                    "version {vid} is pruned: {count} newer ones of its kind, {age} s old; {limit} and {days} days stay"
                ));
            }
            if too_old && !too_many {
                self.hit(Probe::PrunedByAge);
            }
        }
        let now = self.arrivals;
        self.hit(match sender.op {
            Op::Undelete { .. } => Probe::Undeleted,
            Op::Prune(_) => Probe::Pruned,
            _ => Probe::VersionDeleted,
        });
        if let Some(version) = self.committed.get_mut(&vid) {
            (version.hidden, version.hidden_by) = (Some(now), Some(who));
        }
        Ok(())
    }

    /// A marker of a sweep.
    fn suspects(&mut self, who: (usize, u32), sender: &Sender, vid: Vid, before: &Snapshot, now: i64) -> Checked {
        if before.of(vid).suspected_ms.is_some() {
            return Ok(());
        }
        if !matches!(sender.op, Op::Sweep) {
            return Err(format!("{:?} suspects version {vid}", sender.op));
        }
        let own = before.locators.iter().filter(|(_, locator)| locator.vid == vid);
        for (key, _) in own {
            let row = self.committed.get(&vid).map(|one| one.since);
            let listed = self.listed.get(&(who.0, who.1, key.clone())).copied();
            if let (Some(row), Some(listed)) = (row, listed)
                && row < listed
                && before.of(vid).has_row
            {
                return Err(format!("version {vid} is suspected, and its row was there before its locator was listed"));
            }
            let mut written = before.objects.keys().filter(|(own, _)| own == key);
            if written.next().is_none() {
                return Err(format!("version {vid} is suspected, and has no locator"));
            }
        }
        for ((key, _), (_, worked)) in before.uploads.iter().filter(|(_, (of, _))| *of == Some(vid)) {
            if worked.iter().any(|at| *at > now - self.grace_ms && *at < sender.since_ms) {
                return Err(format!("version {vid} is suspected, and somebody works on an upload of {key}"));
            }
        }
        self.hit(Probe::Suspected);
        Ok(())
    }

    pub(super) fn hit(&mut self, what: Probe) {
        *self.hits.entry(what).or_default() += 1;
    }

    /// The first locator of a suspect, which says how old its put is.
    pub(super) fn is_young(&self, bucket: &Bucket<Content>, wire: &Wire, now: i64) -> Option<String> {
        let Some(Entry::Suspected(vid)) = CatalogueKey::parse(&wire.request.key).map(|key| key.entry) else {
            return None;
        };
        let mut own = bucket.keys(LOCATORS).filter(|(key, _)| locator(key).is_some_and(|one| one.vid == vid));
        let written = own.next()?.1.iter().map(|version| unix_ms(version.modified)).min()?;
        let is_young = wire.request.method == "PUT" && written > now - self.grace_ms + SECOND_MS;
        is_young.then(|| format!("version {vid} is suspected, and its put is {} s old", (now - written) / 1000))
    }

    /// An object was removed.
    fn removed(
        &mut self,
        sender: &Sender,
        (key, id): &Id,
        held: &Held,
        before: &Snapshot,
        after: &Snapshot,
        now: i64,
    ) -> Checked {
        if key.starts_with(PROBES) || matches!(sender.op, Op::Rotate) && locator(key).is_some() {
            return Ok(());
        }
        if self.is_replaced_by_copy(sender, &(key.clone(), id.clone()), held, before, now)? {
            return Ok(());
        }
        if !matches!(sender.op, Op::Prune(_) | Op::Sweep | Op::Rekey { .. }) {
            return Err(format!("{:?} removes {key}", sender.op));
        }
        if self.forged.contains(key) {
            return Err(format!("{key} is removed, which nobody with the key has written"));
        }
        let entry = CatalogueKey::parse(key).map(|key| key.entry);
        let adopted = self.owner(key, id, &held.etag);
        let vid = match (&entry, locator(key), held.vid.or(adopted)) {
            (Some(entry), ..) => entry.vid(),
            (_, Some(locator), _) => locator.vid,
            (.., Some(vid)) => vid,
            // Without versions, a deletion takes what another program wrote since.
            _ if self.is_replaced_since(key, id, sender) => return Ok(()),
            _ => return Err(format!("{id} of {key} is removed, which is nobody's")),
        };
        if adopted.is_some() && self.is_replaced_since(key, id, sender) {
            self.replaced.insert((key.clone(), held.etag.clone()));
            return Ok(());
        }
        if adopted.is_some() && !self.is_hidden(vid) {
            return Err(format!("{id} of {key} is removed, and version {vid} that names it is visible"));
        }
        let is_data = held.vid.is_some() || adopted.is_some();
        let (was, is) = (before.of(vid), after.of(vid));
        if let Some(entry @ (Entry::Deleted(_) | Entry::Suspected(_))) = entry {
            // The marker of a sweep, of a put that was only slow.
            if is.marked_ms().is_none() {
                self.marked_ms.remove(&vid);
            }
            if matches!(entry, Entry::Suspected(_)) && is.has_row {
                self.hit(Probe::SuspectLived);
                return Ok(());
            }
            let has_adopted = matches!(entry, Entry::Deleted(_)) && self.has_adopted(vid, after);
            let data = is.data - self.late_copies(vid, after);
            if is.has_row || is.locators > 0 || data > 0 || has_adopted {
                return Err(format!("the marker {key} is removed before the version: {is:?}"));
            }
            return Ok(());
        }
        let is_ghost = was.locators == 0 && was.data == 0 && !self.has_adopted(vid, before);
        if matches!(entry, Some(Entry::Row(_))) && is_ghost && was.deleted_ms.is_none() {
            return Ok(());
        }
        let Some(marked_ms) = was.marked_ms() else {
            return Err(format!("{key} is removed, and no marker condemns version {vid}"));
        };
        let marked_ms = self.marked_ms.get(&vid).map_or(marked_ms, |first| marked_ms.min(*first));
        if marked_ms > now - WAIT_MS + SECOND_MS {
            return Err(format!("{key} is removed, and its marker is {} s old", (now - marked_ms) / 1000));
        }
        if was.has_row && was.deleted_ms.is_none() {
            return Err(format!("{key} is removed, and version {vid} has a row and was only suspected"));
        }
        if is_data && was.uploads > self.late_uploads(vid, before) {
            return Err(format!("{key} is removed, and an upload of version {vid} is still open"));
        }
        if adopted.is_some() {
            self.hit(Probe::AdoptedFreed);
        } else if is_data {
            self.hit(if self.committed.contains_key(&vid) { Probe::VersionFreed } else { Probe::PutSwept });
        }
        let child = self.committed.values().find(|one| {
            let there = before.of(one.row.vid);
            one.row.parent == Some(vid) && there.has_row && there.deleted_ms.is_none()
        });
        if let Some(child) = child {
            return Err(format!("{key} is removed, and version {} depends on it", child.row.vid));
        }
        for (locator, one) in &before.locators {
            let was_there = self.locators.get(locator).is_some_and(|at| *at < sender.since);
            if one.parent == Some(vid) && was_there && before.of(one.vid).marked_ms().is_none() {
                return Err(format!("{key} is removed, and the put of {} builds on version {vid}", one.vid));
            }
        }
        Ok(())
    }

    /// Every visible version, and all that it builds on, has its data and a locator.
    pub(super) fn whole(&self, now: &Snapshot) -> Checked {
        for (vid, version) in &self.committed {
            let there = now.of(*vid);
            let has_row = now.rows.contains(&version.key);
            if version.hidden.is_none() && !has_row {
                return Err(format!("version {vid} has lost its row, and nobody deleted it"));
            }
            if version.hidden.is_some() && has_row && there.deleted_ms.is_none() {
                return Err(format!("version {vid} was deleted, and is visible"));
            }
            if version.hidden.is_some() {
                continue;
            }
            let mut next = Some(*vid);
            while let Some(vid) = next {
                let Some(one) = self.committed.get(&vid) else { return Err(format!("version {vid} is nobody's")) };
                let there = now.of(vid);
                let has_data = match &one.adopted {
                    Some(object) => now.has(object) || self.is_replaced(object),
                    None => self.has_data(vid, one, now),
                };
                if !now.rows.contains(&one.key) || !has_data {
                    return Err(format!("version {vid} is needed, and its row or its data is gone: {there:?}"));
                }
                if there.locators == 0 && one.row.kind != Kind::Del {
                    return Err(format!("version {vid} is needed, and its locator is gone"));
                }
                if one.row.kind != Kind::Del && !self.opens(vid, now) {
                    return Err(format!("version {vid} is needed, and its data key is under retired keys only"));
                }
                next = one.row.parent;
            }
        }
        Ok(())
    }

    /// Nothing is left that no row names.
    pub(super) fn nothing_left(&self, now: &Snapshot) -> Checked {
        let lives = |vid: &Vid| now.rows.iter().any(|row| self.committed.get(vid).is_some_and(|one| one.key == *row));
        for ((key, id), Held { vid, .. }) in &now.objects {
            let entry = CatalogueKey::parse(key).map(|key| key.entry);
            let is_named = match (&entry, locator(key), vid) {
                _ if key.starts_with(PROBES) || key.starts_with(KEKS) => true,
                _ if self.forged.contains(key) || !key.starts_with("_s3vault/1/") && vid.is_none() => true,
                (Some(Entry::Row(row)), ..) => {
                    let version = self.committed.get(&row.vid);
                    version.is_some_and(|one| one.hidden.is_none())
                        || self.committed.values().any(|one| one.row.parent == Some(row.vid) && lives(&one.row.vid))
                }
                (Some(_), ..) => false,
                (None, Some(locator), _) => lives(&locator.vid),
                (None, None, Some(vid)) => lives(vid) || self.is_left_late(key),
                (None, None, None) => false,
            };
            // The marker of a version that others need stays with it.
            let is_needed = entry.is_some_and(|entry| matches!(entry, Entry::Deleted(vid) if lives(&vid)));
            if !is_named && !is_needed {
                return Err(format!("{id} of {key} is left, and no row names it"));
            }
        }
        // An upload that another one of its put replaced goes with its version.
        match now
            .uploads
            .iter()
            .find(|((key, _), (vid, _))| vid.is_none_or(|vid| !lives(&vid)) && !self.is_left_late(key))
        {
            Some(((key, id), _)) => Err(format!("upload {id} of {key} is left")),
            None => Ok(()),
        }
    }

    /// A put was acknowledged.
    pub(super) fn acknowledged(&self, vid: &str) -> Checked {
        if Vid::parse(vid).is_ok_and(|vid| self.committed.contains_key(&vid)) {
            Ok(())
        } else {
            Err(format!("version {vid} is acknowledged, and has no row"))
        }
    }

    /// Whether a version is hidden.
    pub(super) fn is_hidden(&self, vid: Vid) -> bool {
        self.committed.get(&vid).is_some_and(|one| one.hidden.is_some())
    }
}

/// Whether a request changes or lists something that the rules are about.
pub(super) fn matters(wire: &Wire) -> bool {
    wire.request.key.starts_with(CATALOGUE) || wire.request.method != "GET" && wire.request.method != "HEAD"
}
