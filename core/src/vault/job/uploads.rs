//! Uploads that a put left although its version is stored: a request that was sent again started another one. Nothing of the
//! version needs them, and nobody else removes them before the version itself goes.
//!
//! ```text
//!  ListMultipartUploads, once for a bucket ──older than the grace──▶ rows of their versions ──▶ ListParts ──idle──▶ Abort
//! ```
//! The key of an upload only tells which rows to read. A verified row decides: its put has ended, so that a process which
//! resumes the same put finds the row, whatever became of the upload. An upload at a key with `@VID` is that version's. The
//! plain key is shared, so there only an upload goes that was started while such a put ran, and no unfinished put of the
//! backup had been started before it.

use std::collections::{BTreeMap, BTreeSet};

use super::dying::{SECOND_MS, own_vid};
use super::report::Action;
use super::walk::Version;
use super::work::{After, Known, WIDTH, WorkSteps};
use crate::error::{Code, Result};
use crate::op::{
    AbortMultipartUpload, Context, ListMultipartUploads, ListParts, ListedUpload, Paged, Step, UploadListing,
};
use crate::vault::encryption::Encryption;
use crate::vault::find::AHEAD_MS;
use crate::vault::locator::parse_rekeyed;
use crate::vault::names::{OWN_FOLDER, segment};
use crate::vault::objects::Kind;
use crate::vault::uploads::backup_of;
use crate::vault::{Vault, Vid};

/// Most uploads that one run looks at.
const MOST: usize = 10_000;

/// Old uploads of a bucket, by the segments of the container and the path that their keys name.
#[derive(Default)]
pub(super) struct OldUploads {
    of: BTreeMap<(String, String), Vec<ListedUpload>>,
    count: usize,
}

impl OldUploads {
    /// The list of the bucket's uploads, or of a container's. `None` if the store lists the uploads of whole keys only.
    pub(super) fn list(vault: &Vault, container: Option<&str>) -> Option<ListMultipartUploads> {
        let profile = vault.account().profile();
        let slash = if vault.layout.has_leading_slash() { "/" } else { "" };
        let prefix = container.map(|container| format!("{slash}{container}/")).unwrap_or_default();
        let plain = !profile.says_upload_encoding;
        profile.upload_prefixes.then(|| ListMultipartUploads { prefix, plain, ..Default::default() })
    }

    /// Takes note of a page: of uploads at data keys that were started before this time.
    pub(super) fn see(&mut self, vault: &Vault, page: UploadListing, before_ms: i64) {
        for upload in page.uploads {
            let is_old = upload.initiated_ms.is_some_and(|at| at < before_ms);
            if !is_old || self.count >= MOST || upload.key.starts_with(OWN_FOLDER) {
                continue;
            }
            let Some((name, _)) = backup_of(&upload.key, vault.layout.has_leading_slash()) else { continue };
            self.count += 1;
            let segments = (segment(name.container()), segment(name.path()));
            self.of.entry(segments).or_default().push(upload);
        }
    }

    /// Hands out the uploads of a backup.
    pub(super) fn take(&mut self, segments: &(String, String)) -> Vec<ListedUpload> {
        self.of.remove(segments).unwrap_or_default()
    }
}

/// An old upload, and the version whose put left it.
pub(super) struct LeftUpload {
    upload: ListedUpload,
    vid: Vid,
    bytes: u64,
    is_busy: bool,
}

impl WorkSteps {
    /// Aborts the old uploads of the backup that its stored versions do not need, then continues.
    pub(super) fn abort_left(
        &mut self,
        then: impl FnOnce(&mut WorkSteps) -> Step<WorkSteps> + Send + 'static,
    ) -> Step<WorkSteps> {
        let old = std::mem::take(&mut self.old_uploads);
        if old.is_empty() {
            return then(self);
        }
        let has_plain = old.iter().any(|upload| own_vid(&upload.key).is_none());
        let own: BTreeSet<Vid> = old.iter().filter_map(|upload| own_vid(&upload.key)).collect();
        let newest_ms = old.iter().filter_map(|upload| upload.initiated_ms).max().unwrap_or(i64::MIN);
        let stored = self.backup().versions.iter().filter(|(_, version)| is_stored(version)).map(|(vid, _)| *vid);
        // Of those that may have used the plain key, the newest that had been started.
        let (own, others): (Vec<Vid>, Vec<Vid>) = stored.partition(|vid| own.contains(vid));
        let others = others.into_iter().filter(|vid| vid.unix_ms() <= newest_ms.saturating_add(AHEAD_MS)).take(WIDTH);
        let rows = own.into_iter().chain(others.filter(|_| has_plain)).map(|vid| (self.at, vid)).collect();
        self.read_rows(rows, move |steps| {
            steps.left = old.into_iter().filter_map(|upload| steps.left_by(upload)).collect();
            let list = |left: &LeftUpload| ListParts {
                key: left.upload.key.clone(),
                upload_id: left.upload.upload_id.clone(),
                encryption: steps.access_to(&left.upload.key, left.vid),
                ..ListParts::default()
            };
            let lists: Vec<ListParts> = steps.left.iter().map(list).collect();
            steps.look_at_parts(lists, Box::new(|steps, ()| then(steps)))
        })
    }

    /// The upload with the stored version whose put left it, if there is one.
    fn left_by(&self, upload: ListedUpload) -> Option<LeftUpload> {
        let at = upload.initiated_ms?;
        let late_ms = self.env.vault.account().profile().max_request_age_ms;
        let known = |vid: Vid| self.known.get(&(self.at, vid)).and_then(|known| Some((known, first_key(known)?)));
        let vid = match own_vid(&upload.key) {
            Some(vid) => {
                let (_, first) = known(vid)?;
                let own = own_prefix(first, vid);
                let is_own = upload.key == own || upload.key.strip_prefix(&own).is_some_and(|n| n.starts_with('.'));
                is_own.then_some(vid)?
            }
            None => {
                let versions = &self.backup().versions;
                let is_unfinished = |version: &Version| {
                    version.rows.is_empty()
                        && version.locators.iter().any(|(_, object)| object.modified_ms <= at + late_ms)
                };
                if versions.values().any(is_unfinished) {
                    return None;
                }
                let ran_then = |vid: &Vid| {
                    known(*vid).is_some_and(|(known, first)| {
                        let (start, end) = known.ran_ms;
                        let until = end.saturating_add(late_ms).saturating_add(SECOND_MS);
                        first == upload.key && (start - SECOND_MS..=until).contains(&at)
                    })
                };
                versions.iter().filter(|(_, version)| is_stored(version)).map(|(vid, _)| *vid).find(ran_then)?
            }
        };
        Some(LeftUpload { upload, vid, bytes: 0, is_busy: false })
    }

    /// What requests for an upload at a key of a stored version say of its encryption. A re-keying started it with another
    /// data key.
    fn access_to(&self, key: &str, vid: Vid) -> crate::op::Encryption {
        let rekeyed = parse_rekeyed(key, vid).and_then(|(_, generation, kek)| {
            let kek = self.env.vault.keyring.as_ref()?.kek(kek)?;
            self.env.vault.rekeyed_key(kek, &self.name().ok()?, vid, generation).ok()
        });
        match rekeyed {
            Some(key) => Encryption::SseC.of_data(Some(&key)),
            None => self.access_of(self.at, vid),
        }
    }

    /// What requests for the data of a stored version say of its encryption.
    pub(super) fn access_of(&self, backup: usize, vid: Vid) -> crate::op::Encryption {
        let wrapped = self.known.get(&(backup, vid)).and_then(|known| known.customer_key.as_deref());
        let name = self.backups.get(backup).and_then(|backup| backup.name.as_ref());
        let (Some(wrapped), Some(name)) = (wrapped, name) else { return crate::op::Encryption::BucketDefault };
        let vid = vid.to_string();
        self.env.vault.access((name.container(), name.path(), &vid), Ok(Encryption::SseC), Some(wrapped))
    }

    /// Looks whether somebody works on these uploads, page by page.
    fn look_at_parts(&mut self, lists: Vec<ListParts>, then: After<()>) -> Step<WorkSteps> {
        self.part_pages.clear();
        Step::each(
            lists,
            WIDTH,
            |steps: &mut Self, _, list: &ListParts, answer| {
                let idle_before = steps.clock.saturating_sub(steps.env.grace_ms);
                let Some(left) = steps.left.iter_mut().find(|left| left.upload.upload_id == list.upload_id) else {
                    return Ok(());
                };
                match answer {
                    Ok(page) => {
                        left.bytes += page.parts.iter().map(|part| part.size).sum::<u64>();
                        left.is_busy |=
                            page.parts.iter().any(|p| p.last_modified_ms.is_some_and(|at| at >= idle_before));
                        steps.part_pages.extend(list.next(&page));
                        Ok(())
                    }
                    // It is gone; or, with another key, that of another put.
                    Err(e) if e.status() == 404 || e.code() == Code::WrongKey => {
                        left.is_busy = true;
                        Ok(())
                    }
                    Err(e) => Err(e),
                }
            },
            move |steps, _| match std::mem::take(&mut steps.part_pages) {
                more if more.is_empty() => steps.abort_idle(then),
                more => steps.look_at_parts(more, then),
            },
        )
    }

    fn abort_idle(&mut self, then: After<()>) -> Step<WorkSteps> {
        let left: Vec<LeftUpload> = std::mem::take(&mut self.left).into_iter().filter(|left| !left.is_busy).collect();
        let mut aborts = Vec::new();
        for LeftUpload { upload, vid, bytes, .. } in left {
            let why = "an upload that its put started and did not use was aborted";
            self.say(self.at, Some(vid), Action::Abort, bytes, why);
            aborts.push(AbortMultipartUpload { key: upload.key, upload_id: upload.upload_id });
        }
        if self.only_looks() {
            aborts.clear();
        }
        let aborted = |_: &mut Self, _: &mut Context<'_>, _: &AbortMultipartUpload, answer: Result<()>| match answer {
            Err(e) if e.status() == 404 => Ok(()),
            answer => answer,
        };
        Step::each(aborts, WIDTH, aborted, |steps, _| then(steps, ()))
    }
}

/// Whether a version is stored, and nothing hides it. One that a marker hides is finished with its uploads.
fn is_stored(version: &Version) -> bool {
    version.deleted.is_none() && version.rows.iter().any(|(row, _)| row.kind != Kind::Del)
}

/// The key of the first data object of a version that a put stored.
fn first_key(known: &Known) -> Option<&str> {
    known.objects.first().filter(|_| !known.is_adopted).map(|(key, _)| &**key)
}

/// The prefix of the keys that belong to the version alone.
fn own_prefix(first: &str, vid: Vid) -> String {
    let own = format!("@{vid}");
    if first.ends_with(&own) { first.to_owned() } else { format!("{first}{own}") }
}
