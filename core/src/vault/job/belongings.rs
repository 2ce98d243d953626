//! What belongs to the versions that go: their uploads and their data objects. *Finish* lists both, and decides by the key,
//! the time and the metadata.

use std::collections::{BTreeMap, BTreeSet};

use super::dying::{Dying, own_vid};
use super::report::Action;
use super::work::{WIDTH, WorkSteps};
use crate::error::{Code, Result};
use crate::mutation::{Mutation, is_active};
use crate::op::{Context, HeadObject, ListMultipartUploads, ListParts, ListedUpload, Paged, Step};
use crate::vault::Vid;
use crate::vault::locator::DataKeys;
use crate::vault::objects::{EPOCH, epoch};
use crate::vault::stored::Stored;

/// From how many versions on a backup is listed for each version that goes, instead of whole.
const MANY: usize = 1_000;

/// What was listed at plain keys, to be found by version id and by time: thousands of versions may share a key.
struct AtPlainKeys<'a> {
    by_id: BTreeMap<(&'a str, Option<&'a str>), &'a Stored>,
    /// Objects only, in the order of keys and times.
    by_time: Vec<&'a Stored>,
}

impl<'a> AtPlainKeys<'a> {
    fn of(shared: &'a [Stored]) -> AtPlainKeys<'a> {
        let by_id = shared.iter().map(|stored| ((&*stored.key, stored.version_id.as_deref()), stored)).collect();
        let mut by_time: Vec<&Stored> = shared.iter().filter(|stored| !stored.is_delete_marker).collect();
        by_time.sort_by_key(|stored| (&*stored.key, stored.modified_ms));
        AtPlainKeys { by_id, by_time }
    }

    /// The objects of a key that were written between two times, both included.
    fn written(&self, key: &str, (start, end): (i64, i64)) -> impl Iterator<Item = &'a Stored> {
        let before =
            |at: i64| self.by_time.partition_point(|stored| (&*stored.key, stored.modified_ms) < (key, Some(at)));
        let from = before(start);
        self.by_time[from..before(end.saturating_add(1)).max(from)].iter().copied()
    }

    /// The object that the row of this version names.
    fn named_by(&self, dying: &Dying) -> Option<&'a Stored> {
        let extent = dying.manifest.as_ref()?.extents.first()?;
        let stored = self.by_id.get(&(&*extent.key, extent.version_id.as_deref()))?;
        Some(*stored).filter(|stored| dying.is_named(stored))
    }
}

impl WorkSteps {
    /// Lists the uploads of the versions that go.
    pub(super) fn list_uploads(&mut self) -> Step<WorkSteps> {
        let by_prefix = self.env.vault.account().profile().upload_prefixes;
        let mut prefixes = BTreeSet::new();
        for dying in self.dying.iter().filter(|dying| dying.goes() && dying.adopted().is_none()) {
            let Some((plain, is_plain)) = dying.plain_key() else { continue };
            if is_plain {
                prefixes.insert(plain.to_owned());
            }
            if by_prefix {
                prefixes.insert(format!("{plain}@"));
            } else if let Some(own) = dying.own_prefix() {
                // The store lists by whole keys only.
                if !is_plain {
                    prefixes.insert(own.clone());
                }
                let extents = dying.manifest.as_ref().map_or(0, |manifest| manifest.extents.len());
                prefixes.extend((2..=extents).map(|number| format!("{own}.{number}")));
                prefixes.extend(self.rekeyed_keys(dying.vid, &own, extents));
            }
        }
        self.uploads_of(prefixes.into_iter().collect(), Vec::new())
    }

    /// The keys at which a re-keying may have left an upload.
    fn rekeyed_keys(&self, vid: Vid, own: &str, extents: usize) -> Vec<String> {
        let locators = self.backup().versions.get(&vid).into_iter().flat_map(|version| &version.locators);
        let highest =
            locators.filter(|(locator, _)| locator.kek.is_some()).map(|(locator, _)| locator.generation).max();
        let Some(highest) = highest else { return Vec::new() };
        let (keks, mut keys) = (self.env.vault.keyring.iter().flat_map(|keyring| keyring.keks()), Vec::new());
        for kek in keks {
            for generation in (1..=epoch(highest) + 1).map(|number| number * EPOCH) {
                let (first, next, version_ids) = (own.to_owned(), format!("{own}."), Vec::new());
                let data = DataKeys { first, next, version_ids }.rekeyed(vid, generation, kek.id());
                keys.extend((1..=extents.max(1)).map(|extent| data.extent(extent)));
            }
        }
        keys
    }

    fn uploads_of(&mut self, mut prefixes: Vec<String>, found: Vec<ListedUpload>) -> Step<WorkSteps> {
        let Some(prefix) = prefixes.pop() else { return self.sort_uploads(found) };
        let plain = !self.env.vault.account().profile().says_upload_encoding;
        let list = ListMultipartUploads { prefix, plain, ..Default::default() };
        Self::uploads_page(list, found, prefixes)
    }

    fn uploads_page(
        list: ListMultipartUploads,
        mut found: Vec<ListedUpload>,
        prefixes: Vec<String>,
    ) -> Step<WorkSteps> {
        Step::try_call(list, move |steps: &mut Self, list, page| match page {
            Ok(page) => {
                let next = list.next(&page);
                // Keys that only start like the plain one belong to other backups.
                let is_own_prefix = list.prefix.contains('@');
                found.extend(page.uploads.into_iter().filter(|upload| is_own_prefix || upload.key == list.prefix));
                match next {
                    Some(next) => Self::uploads_page(next, found, prefixes),
                    None => steps.uploads_of(prefixes, found),
                }
            }
            // A store without uploads has none.
            Err(e) if matches!(e.status(), 405 | 501) => steps.sort_uploads(found),
            Err(e) => Step::done(Err(e)),
        })
    }

    /// Decides which uploads belong to which version.
    fn sort_uploads(&mut self, found: Vec<ListedUpload>) -> Step<WorkSteps> {
        let late_ms = self.env.vault.account().profile().max_request_age_ms;
        let mut to_check: Vec<ListParts> = Vec::new();
        for dying in self.dying.iter_mut().filter(|dying| dying.goes() && dying.adopted().is_none()) {
            let Some(own) = dying.own_prefix() else { continue };
            let plain = dying.plain_key().filter(|(_, is_plain)| *is_plain).map(|(plain, _)| plain.to_owned());
            let (start, end) = dying.window(late_ms);
            for upload in &found {
                let is_own =
                    upload.key == own || upload.key.strip_prefix(&own).is_some_and(|rest| rest.starts_with('.'));
                let initiated_ms = upload.initiated_ms.unwrap_or(start);
                let is_shared = plain.as_deref() == Some(&*upload.key) && (start..=end).contains(&initiated_ms);
                if is_own || is_shared {
                    dying.uploads.push((upload.key.clone(), upload.upload_id.clone()));
                }
                if is_shared {
                    let (key, upload_id) = (upload.key.clone(), upload.upload_id.clone());
                    let encryption = dying.access(&self.env.vault);
                    to_check.push(ListParts { key, upload_id, encryption, ..ListParts::default() });
                }
            }
        }
        let started: BTreeMap<String, i64> =
            found.into_iter().map(|upload| (upload.upload_id, upload.initiated_ms.unwrap_or(i64::MAX))).collect();
        self.check_idle(to_check, started)
    }

    /// An upload at the plain key may belong to another put: it is aborted only if nobody works on it.
    fn check_idle(&mut self, mut to_check: Vec<ListParts>, mut newest: BTreeMap<String, i64>) -> Step<WorkSteps> {
        let Some(list) = to_check.pop() else {
            let idle_before = self.clock.saturating_sub(self.env.grace_ms);
            for dying in self.dying.iter_mut().filter(|dying| dying.goes()) {
                let Some((plain, true)) = dying.plain_key() else { continue };
                let mut shared = dying.uploads.iter().filter(|(key, _)| key == plain);
                let is_busy = |(_, id): &(String, String)| newest.get(id).is_some_and(|at| *at >= idle_before);
                if shared.any(is_busy) && !is_active(Mutation::AbortBusyUpload) {
                    dying.stay(Action::Wait, "an upload of its key that started at its time is in progress");
                }
            }
            return self.list_data();
        };
        Step::try_call(list, move |steps: &mut Self, list, page| match page {
            Ok(page) => {
                let last = page.parts.iter().filter_map(|part| part.last_modified_ms).max();
                if let (Some(at), Some(last)) = (newest.get_mut(&list.upload_id), last) {
                    *at = (*at).max(last);
                }
                if let Some(next) = list.next(&page) {
                    to_check.push(next);
                }
                steps.check_idle(to_check, newest)
            }
            Err(e) if e.status() == 404 => {
                newest.insert(list.upload_id.clone(), i64::MIN);
                steps.check_idle(to_check, newest)
            }
            // With another key: it is the upload of another put. Without a key, nobody can tell.
            Err(e) if e.code() == Code::WrongKey => {
                if list.encryption.customer_key().is_some() {
                    let of_other = |dying: &Dying| dying.access(&steps.env.vault) == list.encryption;
                    for dying in steps.dying.iter_mut().filter(|dying| of_other(dying)) {
                        dying.uploads.retain(|(_, id)| *id != list.upload_id);
                    }
                } else {
                    newest.insert(list.upload_id.clone(), i64::MAX);
                }
                steps.check_idle(to_check, newest)
            }
            Err(e) => Step::done(Err(e)),
        })
    }

    /// Lists the data objects of the versions that go.
    pub(super) fn list_data(&mut self) -> Step<WorkSteps> {
        let mut lists = BTreeSet::new();
        let going = self.dying.iter().filter(|dying| dying.goes()).count();
        // One list of all versions of the backup, unless few of many go.
        let is_few = going < 1 + self.backup().versions.len() / MANY;
        for dying in self.dying.iter().filter(|dying| dying.goes()) {
            if dying.adopted().is_some() {
                lists.extend(dying.first_key().map(|key| (key.to_owned(), true)));
                continue;
            }
            let Some((plain, is_plain)) = dying.plain_key() else { continue };
            if is_plain {
                lists.insert((plain.to_owned(), true));
            }
            match dying.own_prefix() {
                Some(own) if is_few => lists.insert((own, false)),
                _ => lists.insert((format!("{plain}@"), false)),
            };
        }
        self.data_of(lists.into_iter().collect(), Vec::new())
    }

    fn data_of(&mut self, mut lists: Vec<(String, bool)>, mut found: Vec<Stored>) -> Step<WorkSteps> {
        let Some((prefix, exact)) = lists.pop() else { return self.sort_data(found) };
        self.list_stored(prefix, exact, move |steps, stored| {
            found.extend(stored);
            steps.data_of(lists, found)
        })
    }

    /// Decides which objects belong to which version. Where only the metadata can tell, it is read.
    fn sort_data(&mut self, found: Vec<Stored>) -> Step<WorkSteps> {
        let late_ms = self.env.vault.account().profile().max_request_age_ms;
        let named: BTreeSet<&str> = self
            .known
            .iter()
            .filter(|((backup, vid), _)| *backup == self.at && self.dying(*vid).is_none())
            .flat_map(|(_, known)| known.objects.iter().filter_map(|(_, id)| id.as_deref()))
            .collect();
        let mut by_own: BTreeMap<Vid, usize> = BTreeMap::new();
        let has_own = |dying: &Dying| dying.goes() && dying.adopted().is_none();
        for (n, dying) in self.dying.iter().enumerate().filter(|(_, dying)| has_own(dying)) {
            by_own.insert(dying.vid, n);
        }
        let mut unknown: BTreeMap<(String, Option<Vid>), HeadObject> = BTreeMap::new();
        let mut shared = Vec::new();
        let mut own: Vec<(usize, Stored)> = Vec::new();
        for stored in found {
            match own_vid(&stored.key) {
                Some(vid) => {
                    let owner = by_own.get(&vid).copied();
                    let is_own =
                        |n: &usize| self.dying[*n].own_prefix().is_some_and(|own| stored.key.starts_with(&own));
                    own.extend(owner.filter(is_own).map(|n| (n, stored)));
                }
                None => shared.push(stored),
            }
        }
        let at_plain = AtPlainKeys::of(&shared);
        for dying in self.dying.iter().filter(|dying| has_own(dying)) {
            let Some((plain, true)) = dying.plain_key() else { continue };
            // A replica has other ids, and other times.
            let size = dying.manifest.as_ref().and_then(|manifest| Some(manifest.extents.first()?.size));
            let is_listed = at_plain.named_by(dying).is_some();
            let may_be: Box<dyn Iterator<Item = &Stored>> = match size.filter(|_| !is_listed) {
                Some(size) => {
                    let window = dying.window(late_ms);
                    let all = shared.iter().filter(|stored| stored.key == plain && !stored.is_delete_marker);
                    Box::new(all.filter(move |s| s.size == size || s.is_of(window.0, window.1)))
                }
                None => Box::new(at_plain.written(plain, dying.window(late_ms))),
            };
            for stored in may_be {
                let Some(id) = &stored.version_id else { continue };
                if !dying.is_named(stored) && !named.contains(&**id) && !self.owners.contains_key(id) {
                    let encryption = dying.access(&self.env.vault);
                    // An object with a customer key shows its metadata only to that key.
                    let asked_by = encryption.customer_key().map(|_| dying.vid);
                    let (key, version_id) = (stored.key.clone(), Some(id.clone()));
                    let head = HeadObject { key, version_id, encryption, without_checksums: true };
                    unknown.insert((id.clone(), asked_by), head);
                }
            }
        }
        // Where another version that goes names it, nobody has to ask.
        for dying in self.dying.iter().filter(|dying| dying.goes()) {
            if let Some(id) = dying.version_id() {
                unknown.retain(|(unknown, _), _| unknown != id);
            }
        }
        for (n, stored) in own {
            self.dying[n].objects.push(stored);
        }
        Step::each(unknown.into_values().collect::<Vec<_>>(), WIDTH, Self::owner_read, move |steps, _| {
            steps.take_shared(&shared, late_ms)
        })
    }

    fn owner_read(&mut self, _: &mut Context<'_>, op: &HeadObject, answer: Result<crate::op::HeadReply>) -> Result<()> {
        let id = op.version_id.clone().unwrap_or_default();
        match answer {
            Ok(reply) => {
                self.owners.insert(id, reply.meta("s3vault-vid").map(str::to_owned));
                Ok(())
            }
            // Of another version, which may be asked for with its own key.
            Err(e) if e.code() == Code::WrongKey => Ok(()),
            // Gone, or encrypted with a key that was not sent. Another version may have asked with the right one.
            Err(e) if matches!(e.status(), 400 | 403 | 404) => {
                self.owners.entry(id).or_insert(None);
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    /// Takes the objects at the plain keys that belong to the versions that go.
    fn take_shared(&mut self, shared: &[Stored], late_ms: i64) -> Step<WorkSteps> {
        let at_plain = AtPlainKeys::of(shared);
        // The objects whose metadata was read, by the version that it names.
        let mut owned: BTreeMap<&str, Vec<&Stored>> = BTreeMap::new();
        for stored in shared.iter().filter(|stored| !stored.is_delete_marker) {
            let owner = stored.version_id.as_ref().and_then(|id| self.owners.get(id));
            if let Some(Some(owner)) = owner {
                owned.entry(owner).or_default().push(stored);
            }
        }
        let vault = self.env.vault.clone();
        for dying in self.dying.iter_mut().filter(|dying| dying.goes()) {
            let named = at_plain.named_by(dying);
            if dying.adopted().is_some() {
                dying.objects.extend(named.cloned());
                continue;
            }
            let Some((plain, true)) = dying.plain_key().map(|(plain, is)| (plain.to_owned(), is)) else { continue };
            let (start, end) = dying.window(late_ms);
            let is_listed = named.is_some();
            let mut taken: Vec<Stored> = named.into_iter().cloned().collect();
            let mut of_version = owned.get(&*dying.vid.to_string()).cloned().unwrap_or_default();
            if is_active(Mutation::FinishWholeKey) {
                of_version = shared.iter().filter(|stored| !stored.is_delete_marker).collect();
            }
            of_version.retain(|stored| stored.key == plain && !dying.is_named(stored));
            let is_replica = !of_version.is_empty();
            let in_window = of_version.into_iter().filter(|stored| stored.is_of(start, end));
            taken.extend(in_window.cloned());
            if dying.version_id().is_some() && !is_listed && !is_replica && dying.lacks_key(&vault) {
                dying.stay(
                    Action::Problem,
                    "kept: its data is not under its version id, and in a replica it is recognized only with its key (SSE-C), which the keyring does not have",
                );
            } else if dying.version_id().is_some() && !is_listed && is_replica {
                dying.stay(Action::Problem, "kept: this bucket is a replica, whose objects have other version ids");
            } else {
                dying.objects.extend(taken);
            }
        }
        if self.clearing.is_on { self.delete_replaced() } else { self.delete_adopted() }
    }
}
