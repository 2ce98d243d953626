//! The work on one backup, or on all backups of a container: one strand of a job. What prune and sweep have in common is
//! here: reading and verifying, listing and deleting objects, and what is said of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::dying::Dying;
use super::rekey::{RekeyRequest, Rekeying};
use super::replaced::Clearing;
use super::report::{Action, Item};
use super::rotate::Rotation;
use super::uploads::LeftUpload;
use super::walk::{Backup, Object, Version, in_order_of_keys};
use crate::account::Bucket;
use crate::crypto::data_key::WrappedKey;
use crate::error::{Code, Error, Result};
use crate::op::{
    Call, Context, DeleteManyReply, DeleteObject, DeleteObjectVersion, DeleteObjectVersions, DeleteObjects,
    DeleteReply, ListObjectVersions, ListObjectsV2, ListParts, ListedUpload, MAX_KEYS, Operation, Paged, PutObject,
    Step, Steps,
};
use crate::vault::encryption::Encryption;
use crate::vault::layout::Place;
use crate::vault::locator::Locator;
use crate::vault::manifest::{self, Opened};
use crate::vault::objects::{CatalogueKey, Entry, LocatorKey, RowKey};
use crate::vault::proof::{Claim, Outcome, Proving, ReadVerified, ignore, prove};
use crate::vault::retention::{Candidate, Policy};
use crate::vault::stored::Stored;
use crate::vault::{Manifest, Name, Vault, Vid};

/// What a job is to do.
#[derive(Clone, Debug)]
pub(super) enum Task {
    /// Marks what the retention lets go.
    Prune(Policy),
    /// Marks abandoned puts.
    Sweep,
    /// Wraps data keys with the current key-encryption key.
    Rotate,
    /// Copies data under new data keys.
    Rekey(RekeyRequest),
}

/// What all strands of a job know.
pub(super) struct Env {
    pub(super) vault: Arc<Vault>,
    pub(super) place: Arc<Place>,
    pub(super) task: Task,
    pub(super) dry_run: bool,
    /// How long an unfinished put is left alone, in milliseconds: G.
    pub(super) grace_ms: i64,
    /// How old a marker must be before it is acted on, in milliseconds: W.
    pub(super) wait_ms: i64,
    /// Objects of the bucket have versions, which deletions have to name.
    pub(super) has_versions: bool,
    /// The vault has a key, so that its markers count; otherwise nothing is changed.
    pub(super) may_delete: bool,
    /// The store has no DeleteObjects.
    pub(super) one_by_one: AtomicBool,
    /// Index of the next range that is read of data: no two are the same.
    pub(super) ranges: AtomicU32,
    /// What the store answered to a copy that it cannot make.
    pub(super) refused_copy: OnceLock<String>,
    /// Bytes of data that pass through this machine and are in memory now.
    pub(super) held: AtomicU64,
}

/// Most reads and writes of one strand at the same time.
pub(super) const WIDTH: usize = 16;

/// What is known of a version whose row verified.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) candidate: Candidate,
    /// Version ids of its data objects, by their keys.
    pub(super) objects: Vec<(String, Option<String>)>,
    /// Another program wrote its data.
    pub(super) is_adopted: bool,
    /// From when to when its put ran, by the store's clock.
    pub(super) ran_ms: (i64, i64),
    /// Its data key, if the store encrypts with it (SSE-C).
    pub(super) customer_key: Option<Box<WrappedKey>>,
}

/// Keeps what was listed; of one key only, if `exact` names it. Returns whether the list is past that key.
fn keep<T: Into<Stored>>(found: &mut Vec<Stored>, exact: Option<&str>, listed: Vec<T>) -> bool {
    let count = listed.len();
    let before = found.len();
    let is_kept = |stored: &Stored| exact.is_none_or(|key| stored.key == key);
    found.extend(listed.into_iter().map(Into::into).filter(is_kept));
    found.len() - before < count
}

/// What [`Job`](super::Job) runs for each backup.
pub(super) struct WorkSteps {
    pub(super) env: Arc<Env>,
    pub(super) backups: Vec<Backup>,
    /// The backup that is worked on.
    pub(super) at: usize,
    pub(super) items: Vec<Item>,
    /// Versions whose row was read and verified, by the backup.
    pub(super) known: BTreeMap<(usize, Vid), Known>,
    /// Versions that no row of verified, and why, by the backup.
    pub(super) refused: BTreeMap<(usize, Vid), String>,
    pub(super) dying: Vec<Dying>,
    /// The objects of the current backup's catalogue, with what a deletion has to name.
    pub(super) entries: Vec<Stored>,
    /// Whose data the versions of plain keys are, as their metadata says, by version id.
    pub(super) owners: BTreeMap<String, Option<String>>,
    /// Old uploads at the keys of the backup, and those that its stored versions left.
    pub(super) old_uploads: Vec<ListedUpload>,
    pub(super) left: Vec<LeftUpload>,
    /// Lists of their parts that continue.
    pub(super) part_pages: Vec<ListParts>,
    /// Puts that may have been abandoned, with their locators; and those that were.
    pub(super) suspects: Vec<(Vid, Locator)>,
    pub(super) suspected: Vec<Vid>,
    /// Rows without a locator: the key and version id of their data, and whether it is missing.
    pub(super) ghosts: Vec<(Vid, String, Option<String>, bool)>,
    /// What a rotation knows of the current backup.
    pub(super) rotation: Rotation,
    /// What a re-keying knows of the current backup.
    pub(super) rekeying: Rekeying,
    /// What is known of data that re-keyings have replaced.
    pub(super) clearing: Clearing,
    /// Versions whose manifests are kept when their rows are read, and these manifests.
    pub(super) wanted: BTreeSet<Vid>,
    pub(super) manifests: BTreeMap<Vid, Manifest>,
    /// What deletions are signed at, if they rely on a list.
    pub(super) dated: Option<i64>,
    /// Objects that the store did not delete, with its reason.
    pub(super) not_deleted: BTreeMap<(String, Option<String>), String>,
    /// Objects that have to be deleted one by one.
    alone: Vec<(String, Option<String>)>,
    /// The store's clock when the work started.
    pub(super) clock: i64,
}

impl Steps for WorkSteps {
    type Done = ();
    const WHAT: &'static str = "the job";
}

impl Proving for WorkSteps {
    fn place(&self) -> (&Arc<Vault>, Arc<Bucket>) {
        (&self.env.vault, self.env.place.bucket.clone())
    }

    /// What a row says is needed, not only whether it is true.
    fn must_read(&self, claim: &Claim) -> Option<Result<usize>> {
        match CatalogueKey::parse(&claim.key)?.entry {
            Entry::Row(row) => Some(manifest::read_limit(&claim.key, row.size, claim.size)),
            Entry::Deleted(_) | Entry::Suspected(_) => self.env.vault.must_prove(&claim.key, claim.size),
        }
    }

    fn proven(&mut self, context: &mut Context<'_>, key: &str, outcome: Outcome<Option<Opened>>) {
        let Some(parsed) = CatalogueKey::parse(key) else { return };
        let Some(at) = self.find(&parsed) else { return };
        match (parsed.entry, outcome) {
            (Entry::Row(_), Outcome::Counts(Some(opened))) => self.row_read(at, opened),
            (_, Outcome::Counts(_)) => {}
            // Somebody deleted it meanwhile.
            (Entry::Row(_), Outcome::Gone(_)) => {}
            (Entry::Row(_), Outcome::Refused(why)) => drop(self.refused.insert(at, why.message().to_owned())),
            (_, Outcome::Gone(_)) => self.forget_marker(at, key, ""),
            (_, Outcome::Refused(why)) => {
                ignore(context, &self.env.place.bucket, key, &why);
                self.forget_marker(at, key, why.message());
            }
        }
    }
}

/// What follows something that comes page by page, so that it is boxed.
pub(super) type After<T> = Box<dyn FnOnce(&mut WorkSteps, T) -> Step<WorkSteps> + Send>;

impl WorkSteps {
    pub(super) fn new(env: Arc<Env>, backups: Vec<Backup>, clock: i64) -> WorkSteps {
        WorkSteps {
            env,
            backups,
            at: 0,
            items: Vec::new(),
            known: BTreeMap::new(),
            refused: BTreeMap::new(),
            dying: Vec::new(),
            entries: Vec::new(),
            owners: BTreeMap::new(),
            old_uploads: Vec::new(),
            left: Vec::new(),
            part_pages: Vec::new(),
            suspects: Vec::new(),
            suspected: Vec::new(),
            ghosts: Vec::new(),
            rotation: Rotation::default(),
            rekeying: Rekeying::default(),
            clearing: Clearing::default(),
            wanted: BTreeSet::new(),
            manifests: BTreeMap::new(),
            dated: None,
            not_deleted: BTreeMap::new(),
            alone: Vec::new(),
            clock,
        }
    }

    pub(super) fn start(&mut self) -> Step<WorkSteps> {
        match self.env.task.clone() {
            Task::Prune(policy) => self.prune(policy),
            Task::Sweep => self.sweep(),
            Task::Rotate => self.rotate(),
            Task::Rekey(_) => self.rekey(),
        }
    }

    /// Continues with the next backup.
    pub(super) fn next_backup(&mut self) -> Step<WorkSteps> {
        self.at += 1;
        self.dying.clear();
        self.owners.clear();
        self.entries.clear();
        match &self.env.task {
            _ if self.at >= self.backups.len() => Step::done(Ok(())),
            Task::Prune(_) => self.finish(),
            Task::Sweep => self.sweep(),
            Task::Rotate => self.rotate(),
            Task::Rekey(_) => self.rekey(),
        }
    }

    pub(super) fn backup(&self) -> &Backup {
        &self.backups[self.at.min(self.backups.len() - 1)]
    }

    pub(super) fn backup_mut(&mut self) -> &mut Backup {
        let at = self.at.min(self.backups.len() - 1);
        &mut self.backups[at]
    }

    /// The name of the backup, once something verified has it.
    pub(super) fn name(&self) -> Result<Name> {
        self.backup().name.clone().ok_or_else(|| {
            let why =
                format!("the name of backup {} {} is not known", self.backup().segments.0, self.backup().segments.1);
            Error::new(Code::Untrusted, why)
        })
    }

    /// Says something of a version of a backup.
    pub(super) fn say(
        &mut self,
        backup: usize,
        vid: Option<Vid>,
        action: Action,
        bytes: u64,
        reason: impl Into<String>,
    ) {
        let (container, path) = self.backups[backup].shown();
        let row = vid.and_then(|vid| self.backups[backup].versions.get(&vid)?.rows.first()).map(|(row, _)| row);
        self.items.push(Item {
            action,
            container,
            path,
            vid: vid.map_or_else(String::new, |vid| vid.to_string()),
            kind: row.map(|row| row.kind),
            recorded_ms: row.map(|row| row.recorded_ms),
            bytes,
            reason: reason.into(),
            dry_run: self.env.dry_run || !self.env.may_delete,
        });
    }

    /// Whether nothing may be changed.
    pub(super) fn only_looks(&self) -> bool {
        self.env.dry_run || !self.env.may_delete
    }

    /// Reads the rows of these versions and verifies them, then continues.
    pub(super) fn read_rows(
        &mut self,
        versions: Vec<(usize, Vid)>,
        then: impl FnOnce(&mut WorkSteps) -> Step<WorkSteps> + Send + 'static,
    ) -> Step<WorkSteps> {
        let unread = versions.into_iter().filter(|at| !self.known.contains_key(at));
        let rows = unread.filter_map(|(backup, vid)| Some(&self.backups[backup].versions.get(&vid)?.rows));
        let claims: Vec<Claim> = rows.flatten().map(|(_, object)| object.claim()).collect();
        prove(self, claims, move |steps, _| then(steps))
    }

    /// A row was read and verified.
    fn row_read(&mut self, (backup, vid): (usize, Vid), opened: Opened) {
        if self.backups[backup].name.is_none() {
            self.backups[backup].name = Name::new(&opened.manifest.container, &opened.manifest.path).ok();
        }
        let known = known(vid, &opened);
        if self.at == backup && self.wanted.contains(&vid) {
            self.manifests.entry(vid).or_insert_with(|| opened.manifest.clone());
        }
        let dying = if self.at == backup { self.dying_mut(vid) } else { None };
        if let Some(dying) = dying {
            dying.set_manifest(opened.manifest);
        }
        self.known.entry((backup, vid)).or_insert(known);
    }

    /// Reads these locators of the current backup and verifies them. `each` gets what became of each.
    pub(super) fn read_locators(
        &self,
        keys: Vec<String>,
        each: fn(&mut WorkSteps, Vid, Outcome<Locator>),
        then: impl FnOnce(&mut WorkSteps) -> Step<WorkSteps> + Send + 'static,
    ) -> Step<WorkSteps> {
        let read = |key| ReadVerified::locator(&self.env.vault, &self.env.place.bucket, key);
        let reads: Vec<_> = keys.into_iter().map(read).collect();
        Step::each_asking(
            reads,
            WIDTH,
            move |steps: &mut Self, _, read: &ReadVerified<Locator>, answer| {
                let outcome = answer?;
                let Some(vid) = LocatorKey::of(read.key()).map(|locator| locator.vid) else { return Ok(()) };
                if let Outcome::Counts(locator) = &outcome {
                    let name = Name::new(&locator.container, &locator.path).ok();
                    let backup = steps.backup_mut();
                    backup.name = backup.name.take().or(name);
                }
                each(steps, vid, outcome);
                Ok(())
            },
            move |steps, _| then(steps),
        )
    }

    /// What became of a locator of this version: one that belongs to another is refused.
    pub(super) fn of_version(&self, vid: Vid, outcome: Outcome<Locator>) -> Outcome<Locator> {
        match outcome {
            Outcome::Counts(locator) if locator.vid != vid.to_string() || locator.vault != self.env.vault.id() => {
                Outcome::Refused(Error::new(Code::Untrusted, "it belongs to another version"))
            }
            outcome => outcome,
        }
    }

    /// The backup and the version of a key in the catalogue.
    fn find(&self, key: &CatalogueKey) -> Option<(usize, Vid)> {
        let segments = (key.container.clone(), key.path.clone());
        let by_order = self.backups.binary_search_by(|backup| in_order_of_keys(&backup.segments, &segments)).ok();
        // A store may list in another order.
        let at = by_order.or_else(|| self.backups.iter().position(|backup| backup.segments == segments))?;
        Some((at, key.entry.vid()))
    }

    /// Reads the markers of these objects and verifies them; those that do not verify are forgotten. Then continues.
    pub(super) fn prove(
        &mut self,
        markers: Vec<Object>,
        then: impl FnOnce(&mut WorkSteps) -> Step<WorkSteps> + Send + 'static,
    ) -> Step<WorkSteps> {
        prove(self, markers.iter().map(Object::claim), move |steps, _| then(steps))
    }

    /// A marker decides nothing.
    fn forget_marker(&mut self, (backup, vid): (usize, Vid), key: &str, why: &str) {
        if !why.is_empty() {
            self.say(backup, Some(vid), Action::Problem, 0, format!("the marker {key} is ignored: {why}"));
        }
        let Some(version) = self.backups[backup].versions.get_mut(&vid) else { return };
        for marker in [&mut version.deleted, &mut version.suspected] {
            if marker.as_ref().is_some_and(|marker| marker.key == key) {
                *marker = None;
            }
        }
    }

    /// Stores these objects, then continues.
    pub(super) fn put_all(
        puts: Vec<PutObject>,
        then: impl FnOnce(&mut WorkSteps) -> Step<WorkSteps> + Send + 'static,
    ) -> Step<WorkSteps> {
        let stored = |_: &mut Self, _: &mut Context<'_>, _: &PutObject, answer: Result<_>| answer.map(|_| ());
        Step::each(puts, WIDTH, stored, move |steps, _| then(steps))
    }

    /// Lists what the bucket has under a prefix, with all versions, or of the key that equals it; then continues.
    pub(super) fn list_stored(
        &self,
        prefix: String,
        exact: bool,
        then: impl FnOnce(&mut WorkSteps, Vec<Stored>) -> Step<WorkSteps> + Send + 'static,
    ) -> Step<WorkSteps> {
        if self.env.has_versions {
            let list = ListObjectVersions { prefix, ..Default::default() };
            Self::versions_page(list, exact, Vec::new(), Box::new(then))
        } else {
            let list = ListObjectsV2 { prefix, ..Default::default() };
            Self::objects_page(list, exact, Vec::new(), Box::new(then))
        }
    }

    fn versions_page(
        list: ListObjectVersions,
        exact: bool,
        mut found: Vec<Stored>,
        then: After<Vec<Stored>>,
    ) -> Step<WorkSteps> {
        Step::call(list, move |steps: &mut Self, list, page| {
            let next = list.next(&page);
            let is_past = keep(&mut found, exact.then_some(&*list.prefix), page.versions);
            match next {
                Some(next) if !is_past => Self::versions_page(next, exact, found, then),
                _ => then(steps, found),
            }
        })
    }

    fn objects_page(
        list: ListObjectsV2,
        exact: bool,
        mut found: Vec<Stored>,
        then: After<Vec<Stored>>,
    ) -> Step<WorkSteps> {
        Step::call(list, move |steps: &mut Self, list, page| {
            let next = list.next(&page);
            let is_past = keep(&mut found, exact.then_some(&*list.prefix), page.objects);
            match next {
                Some(next) if !is_past => Self::objects_page(next, exact, found, then),
                _ => then(steps, found),
            }
        })
    }

    /// Deletes these objects for good, in batches where the store can, then continues. What the store did not delete is in
    /// `not_deleted`.
    pub(super) fn delete_stored(
        &mut self,
        objects: Vec<Stored>,
        then: impl FnOnce(&mut WorkSteps) -> Step<WorkSteps> + Send + 'static,
    ) -> Step<WorkSteps> {
        let mut alone = Vec::new();
        let objects: Vec<(String, Option<String>)> =
            objects.into_iter().map(|object| (object.key, object.version_id)).collect();
        if self.env.one_by_one.load(Ordering::Relaxed) {
            return self.delete_singles(objects, then);
        }
        let (mut plain, mut versions) = (Vec::new(), Vec::new());
        for chunk in objects.chunks(MAX_KEYS) {
            let pairs = chunk.iter().filter_map(|(key, id)| Some((key.clone(), id.clone()?))).collect::<Vec<_>>();
            let keys = chunk.iter().filter(|(_, id)| id.is_none()).map(|(key, _)| key.clone()).collect::<Vec<_>>();
            // A key that XML cannot represent is deleted alone, with those beside it.
            if !pairs.is_empty() {
                match DeleteObjectVersions::new(pairs.clone(), false) {
                    Ok(op) => versions.push(op),
                    Err(_) => alone.extend(pairs.into_iter().map(|(key, id)| (key, Some(id)))),
                }
            }
            if !keys.is_empty() {
                match DeleteObjects::new(keys.clone(), false) {
                    Ok(op) => plain.push(op.in_unversioned_bucket()),
                    Err(_) => alone.extend(keys.into_iter().map(|key| (key, None))),
                }
            }
        }
        self.alone = alone;
        let dated = self.dated;
        Step::each_call(
            versions.into_iter().map(move |op| call(op, dated)),
            WIDTH,
            |steps: &mut Self, _, op: &DeleteObjectVersions, answer| {
                let own = op.versions().iter().map(|(key, id)| (key.clone(), Some(id.clone())));
                steps.batch_deleted(own.collect(), answer)
            },
            move |_, _| {
                Step::each_call(
                    plain.into_iter().map(move |op| call(op, dated)),
                    WIDTH,
                    |steps: &mut Self, _, op: &DeleteObjects, answer| {
                        let own = op.keys().iter().map(|key| (key.clone(), None));
                        steps.batch_deleted(own.collect(), answer)
                    },
                    move |steps, _| {
                        let alone = std::mem::take(&mut steps.alone);
                        steps.delete_singles(alone, then)
                    },
                )
            },
        )
    }

    fn batch_deleted(&mut self, own: Vec<(String, Option<String>)>, answer: Result<DeleteManyReply>) -> Result<()> {
        match answer {
            Ok(reply) => {
                for failed in reply.errors {
                    // A version that is gone is what was wanted.
                    if matches!(&*failed.code, "NoSuchKey" | "NoSuchVersion") {
                        continue;
                    }
                    let why = match &*failed.message {
                        "" => failed.code.clone(),
                        message => format!("{}: {message}", failed.code),
                    };
                    let whole = own.iter().filter(|(key, id)| {
                        *key == failed.key && (failed.version_id.is_none() || *id == failed.version_id)
                    });
                    self.not_deleted.extend(whole.map(|object| (object.clone(), why.clone())));
                }
                Ok(())
            }
            // Some stores have no DeleteObjects.
            Err(e) if matches!(e.status(), 405 | 501) => {
                self.env.one_by_one.store(true, Ordering::Relaxed);
                self.alone.extend(own);
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    fn delete_singles(
        &mut self,
        objects: Vec<(String, Option<String>)>,
        then: impl FnOnce(&mut WorkSteps) -> Step<WorkSteps> + Send + 'static,
    ) -> Step<WorkSteps> {
        let (mut plain, mut versions) = (Vec::new(), Vec::new());
        for (key, version_id) in objects {
            match version_id {
                Some(version_id) => versions.push(DeleteObjectVersion { key, version_id, bypass_governance: false }),
                None => plain.push(DeleteObject { key }),
            }
        }
        let dated = self.dated;
        Step::each_call(
            versions.into_iter().map(move |op| call(op, dated)),
            WIDTH,
            |steps: &mut Self, _, op: &DeleteObjectVersion, answer| {
                steps.single_deleted((op.key.clone(), Some(op.version_id.clone())), answer)
            },
            move |_, _| {
                Step::each_call(
                    plain.into_iter().map(move |op| call(op, dated)),
                    WIDTH,
                    |steps: &mut Self, _, op: &DeleteObject, answer| {
                        steps.single_deleted((op.key.clone(), None), answer)
                    },
                    move |steps, _| then(steps),
                )
            },
        )
    }

    fn single_deleted(&mut self, object: (String, Option<String>), answer: Result<DeleteReply>) -> Result<()> {
        match answer {
            Err(e) if e.status() == 404 => Ok(()),
            // A lock, or a permission that is missing: the next run tries again.
            Err(e) if e.status() != 0 => {
                self.not_deleted.insert(object, e.message().to_owned());
                Ok(())
            }
            answer => answer.map(|_| ()),
        }
    }
}

/// A call, signed at this time if there is one.
fn call<O: Operation>(op: O, dated: Option<i64>) -> Call<O> {
    match dated {
        Some(at) => Call::dated(op, at),
        None => Call::new(op),
    }
}

/// What is known of a version from its verified manifest.
fn known(vid: Vid, opened: &Opened) -> Known {
    let manifest = &opened.manifest;
    Known {
        candidate: Candidate {
            vid,
            recorded_ms: manifest.recorded,
            kind: manifest.kind,
            parent: manifest.parent.as_deref().and_then(Vid::try_parse),
            is_held: manifest.is_held(),
            locked_until_ms: manifest.locked_until_ms(),
        },
        is_adopted: manifest.adopted.is_some(),
        ran_ms: (manifest.initiated.min(vid.unix_ms()), manifest.stored),
        customer_key: manifest.wrapped.clone().filter(|_| manifest.encryption() == Ok(Encryption::SseC)).map(Box::new),
        objects: manifest.extents.iter().map(|extent| (extent.key.clone(), extent.version_id.clone())).collect(),
    }
}

/// A version as its key describes it, if it is visible.
pub(super) fn candidate(version: &Version) -> Option<Candidate> {
    let (row, _) = version.rows.first().filter(|_| version.deleted.is_none())?;
    let RowKey { vid, recorded_ms, kind, parent, .. } = row.clone();
    Some(Candidate { vid, recorded_ms, kind, parent, is_held: false, locked_until_ms: None })
}
