//! What a bucket has at one time, by versions of backups.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use s3_model::Bucket;
use s3vault_core::vault::Vid;
use s3vault_core::vault::objects::{CatalogueKey, Entry, LOCATORS, LocatorKey};

use crate::content::Content;

/// What is in the store of one version.
#[derive(Clone, Debug, Default)]
pub(super) struct There {
    pub(super) has_row: bool,
    pub(super) deleted_ms: Option<i64>,
    pub(super) suspected_ms: Option<i64>,
    pub(super) locators: usize,
    pub(super) data: usize,
    pub(super) uploads: usize,
}

impl There {
    /// When its first marker was written.
    pub(super) fn marked_ms(&self) -> Option<i64> {
        self.deleted_ms.into_iter().chain(self.suspected_ms).min()
    }
}

pub(super) fn unix_ms(at: SystemTime) -> i64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

pub(super) fn locator(key: &str) -> Option<LocatorKey> {
    LocatorKey::parse(key.strip_prefix(LOCATORS)?.rsplit_once('/')?.1)
}

/// What an object of the store is.
pub(super) type Id = (String, String);

/// An object, or a delete marker of S3.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    /// The version that its metadata names.
    pub(super) vid: Option<Vid>,
    /// Its ETag; a delete marker has none.
    pub(super) etag: String,
    pub(super) is_marker: bool,
    /// When it was written, in Unix milliseconds.
    pub(super) modified_ms: i64,
}

/// What a bucket has.
#[derive(Default)]
pub(super) struct Snapshot {
    pub(super) objects: BTreeMap<Id, Held>,
    pub(super) uploads: BTreeMap<Id, (Option<Vid>, Vec<i64>)>,
    pub(super) versions: BTreeMap<Vid, There>,
    pub(super) locators: Vec<(String, LocatorKey)>,
    pub(super) rows: BTreeSet<String>,
}

impl Snapshot {
    pub(super) fn new(bucket: &Bucket<Content>) -> Snapshot {
        let mut all = Snapshot::default();
        let of = |metadata: &BTreeMap<String, String>| Vid::parse(metadata.get("s3vault-vid")?).ok();
        for (key, versions) in &bucket.objects {
            for version in versions {
                let id = (key.clone(), version.id.clone());
                let Some(object) = &version.object else {
                    all.objects.insert(id, Held { is_marker: true, ..Held::default() });
                    continue;
                };
                let at = unix_ms(version.modified);
                let mut vid = None;
                if let Some(CatalogueKey { entry, .. }) = CatalogueKey::parse(key) {
                    let there = all.versions.entry(entry.vid()).or_default();
                    match entry {
                        Entry::Row(_) => {
                            there.has_row = true;
                            all.rows.insert(key.clone());
                        }
                        Entry::Deleted(_) => there.deleted_ms = Some(there.deleted_ms.map_or(at, |old| old.min(at))),
                        Entry::Suspected(_) => {
                            there.suspected_ms = Some(there.suspected_ms.map_or(at, |old| old.min(at)));
                        }
                    }
                } else if let Some(locator) = locator(key) {
                    all.versions.entry(locator.vid).or_default().locators += 1;
                    if all.locators.last().is_none_or(|(last, _)| last != key) {
                        all.locators.push((key.clone(), locator));
                    }
                } else if let Some(of) = of(&object.attributes.metadata) {
                    all.versions.entry(of).or_default().data += 1;
                    vid = Some(of);
                }
                all.objects.insert(id, Held { vid, etag: object.etag.clone(), is_marker: false, modified_ms: at });
            }
        }
        for (key, upload) in bucket.open_uploads() {
            let vid = of(&upload.attributes.metadata);
            if let Some(vid) = vid {
                all.versions.entry(vid).or_default().uploads += 1;
            }
            let worked = upload.parts.values().map(|part| part.modified).chain([upload.initiated]).map(unix_ms);
            all.uploads.insert((key.clone(), upload.id.clone()), (vid, worked.collect()));
        }
        all
    }

    pub(super) fn of(&self, vid: Vid) -> There {
        self.versions.get(&vid).cloned().unwrap_or_default()
    }
}
