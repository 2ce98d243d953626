//! Walks through the catalogue of a bucket in the order of its keys, and through the locators beside it, and hands out one
//! backup after the other, or all backups of one container together. It holds the backup that it reads and one page of each
//! list, however many there are.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};

use crate::error::Result;
use crate::machine::Input;
use crate::op::{Call, Calling, ListObjectsV2, ListedObject, Listing, Next, Paged, Session};
use crate::time::Now;
use crate::vault::Vid;
use crate::vault::names::{Name, parse_segment, segment};
use crate::vault::objects::{CATALOGUE, CatalogueKey, Entry, LOCATORS, LocatorKey, RowKey};
use crate::vault::proof::Claim;
use crate::vault::stored::Stored;

/// An object that was listed.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) key: String,
    pub(crate) size: u64,
    /// When it was written, by the store's clock.
    pub(crate) modified_ms: i64,
}

impl Object {
    /// The object, to be proven.
    pub(super) fn claim(&self) -> Claim {
        Claim { key: self.key.clone(), size: self.size }
    }

    /// The object, to be deleted in a bucket whose objects have no versions.
    pub(super) fn stored(&self) -> Stored {
        let Object { key, size, modified_ms } = self.clone();
        let (version_id, etag, modified_ms) = (None, String::new(), Some(modified_ms));
        Stored { key, version_id, size, modified_ms, etag, is_delete_marker: false }
    }
}

/// What was listed of a version.
#[derive(Clone, Debug, Default)]
pub(crate) struct Version {
    pub(crate) rows: Vec<(RowKey, Object)>,
    /// The marker that says that it is deleted.
    pub(crate) deleted: Option<Object>,
    /// The marker of a sweep.
    pub(crate) suspected: Option<Object>,
    pub(crate) locators: Vec<(LocatorKey, Object)>,
}

impl Version {
    /// Its locator with the lowest generation: the put's, unless a rotation has replaced it.
    pub(crate) fn first_locator(&self) -> Option<&(LocatorKey, Object)> {
        self.locators.iter().min_by_key(|(locator, _)| locator.generation)
    }
}

/// What was listed of a backup: its versions, the newest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backup {
    /// The segments of container and path in the keys.
    pub(crate) segments: (String, String),
    /// Its name, unless a segment is hashed: then a manifest or a locator has it.
    pub(crate) name: Option<Name>,
    pub(crate) versions: BTreeMap<Vid, Version>,
}

impl Backup {
    fn new(segments: &(String, String)) -> Backup {
        let names = parse_segment(&segments.0).zip(parse_segment(&segments.1));
        let name = names.and_then(|(container, path)| Name::new(&container, &path).ok());
        Backup { segments: segments.clone(), name, versions: BTreeMap::new() }
    }

    /// The prefix of its objects in the catalogue, or of its locators.
    pub(crate) fn prefix(&self, of: &str) -> String {
        format!("{of}{}/{}/", self.segments.0, self.segments.1)
    }

    /// Its name as far as it is known, for people.
    pub(crate) fn shown(&self) -> (String, String) {
        match &self.name {
            Some(name) => (name.container().to_owned(), name.path().to_owned()),
            None => self.segments.clone(),
        }
    }

    pub(crate) fn add_locator(&mut self, locator: LocatorKey, object: Object) {
        self.versions.entry(locator.vid).or_default().locators.push((locator, object));
    }

    pub(crate) fn add_entry(&mut self, entry: Entry, object: Object) {
        let version = self.versions.entry(entry.vid()).or_default();
        match entry {
            Entry::Row(row) => version.rows.push((row, object)),
            Entry::Deleted(_) => version.deleted = Some(object),
            Entry::Suspected(_) => version.suspected = Some(object),
        }
    }

    /// Forgets what the catalogue had, to read it again.
    pub(crate) fn forget_entries(&mut self) {
        for version in self.versions.values_mut() {
            version.rows.clear();
            (version.deleted, version.suspected) = (None, None);
        }
    }
}

/// An entry of the catalogue or a locator.
enum Found {
    Entry(Entry),
    Locator(LocatorKey),
}

/// A list that is read page by page.
struct Cursor {
    /// Prefix of its keys.
    of: &'static str,
    next: Option<ListObjectsV2>,
    call: Option<Call<ListObjectsV2>>,
    /// What was read and not handed out, with the segments of container and path.
    found: VecDeque<((String, String), Found, Object)>,
}

impl Cursor {
    fn new(of: &'static str, prefix: String) -> Cursor {
        let next = Some(ListObjectsV2 { prefix, ..Default::default() });
        Cursor { of, next, call: None, found: VecDeque::new() }
    }

    fn has_ended(&self) -> bool {
        self.found.is_empty() && self.next.is_none() && self.call.is_none()
    }

    fn take(&mut self, page: Listing) {
        for ListedObject { key, size, last_modified_ms, .. } in page.objects {
            // An object without a time is never old.
            let object = |key| Object { key, size, modified_ms: last_modified_ms.unwrap_or(i64::MAX) };
            if self.of == CATALOGUE {
                let Some(CatalogueKey { container, path, entry }) = CatalogueKey::parse(&key) else { continue };
                self.found.push_back(((container, path), Found::Entry(entry), object(key)));
            } else {
                let mut segments = key[LOCATORS.len().min(key.len())..].split('/');
                let (Some(container), Some(path), Some(last), None) =
                    (segments.next(), segments.next(), segments.next(), segments.next())
                else {
                    continue;
                };
                let Some(locator) = LocatorKey::parse(last) else { continue };
                self.found.push_back(((container.into(), path.into()), Found::Locator(locator), object(key)));
            }
        }
    }
}

/// The walk.
pub(crate) struct Walk {
    cursors: Vec<Cursor>,
    /// All backups of a container are handed out together.
    together: bool,
    /// The backups that are being read.
    current: Vec<Backup>,
}

/// What the walk has next.
pub(crate) enum Ahead {
    /// These backups are complete.
    Backups(Vec<Backup>),
    /// More has to be read first.
    Reading,
    /// That was all.
    End,
}

impl Walk {
    /// Walks through the backups of a container, or through all. `locators`: their locators are read beside them.
    pub(crate) fn new(container: Option<&str>, locators: bool, together: bool) -> Walk {
        let below = container.map(|container| format!("{}/", segment(container))).unwrap_or_default();
        let prefix = |of: &str| format!("{of}{below}");
        let lists = if locators { &[CATALOGUE, LOCATORS][..] } else { &[CATALOGUE] };
        let cursors = lists.iter().map(|of| Cursor::new(of, prefix(of))).collect();
        Walk { cursors, together, current: Vec::new() }
    }

    /// Walks through one backup.
    pub(crate) fn of_backup(container: &str, path: &str) -> Walk {
        let below = format!("{}/{}/", segment(container), segment(path));
        let cursors = [CATALOGUE, LOCATORS].map(|of| Cursor::new(of, format!("{of}{below}"))).into();
        Walk { cursors, together: false, current: Vec::new() }
    }

    /// The lists that are read now.
    pub(crate) fn calls(&mut self) -> impl Iterator<Item = &mut dyn Calling> {
        self.cursors.iter_mut().filter_map(|cursor| {
            if cursor.call.is_none() && cursor.found.is_empty() {
                cursor.call = cursor.next.take().map(Call::new);
            }
            cursor.call.as_mut().map(|call| call as &mut dyn Calling)
        })
    }

    /// Polls the lists.
    pub(crate) fn poll(&mut self, session: &mut Session, now: Now) -> Next {
        let mut soonest = None;
        for call in self.calls() {
            match call.poll(session, now) {
                Next::Wait(at) => soonest = soonest.into_iter().chain(at).min(),
                next => return next,
            }
        }
        Next::Wait(soonest)
    }

    pub(crate) fn handle(&mut self, session: &mut Session, now: Now, input: &Input<'_>) -> Result<()> {
        for cursor in &mut self.cursors {
            let Some(call) = &mut cursor.call else { continue };
            if let Some(answer) = call.handle(session, now, input) {
                let page = answer?;
                cursor.next = call.op().next(&page);
                cursor.call = None;
                cursor.take(page);
            }
        }
        Ok(())
    }

    pub(crate) fn abandon(&mut self, session: &mut Session) {
        for cursor in &mut self.cursors {
            cursor.next = None;
            cursor.found.clear();
            if let Some(mut call) = cursor.call.take() {
                call.abandon(session);
            }
        }
    }

    /// Returns what is complete. The lists are in the same order, so a backup is complete when all of them are past it.
    pub(crate) fn next(&mut self) -> Ahead {
        loop {
            if self.cursors.iter().any(|cursor| cursor.found.is_empty() && !cursor.has_ended()) {
                return Ahead::Reading;
            }
            let fronts = self.cursors.iter().enumerate().filter_map(|(n, cursor)| Some((n, cursor.found.front()?)));
            let Some((cursor, (segments, ..))) = fronts.min_by(|(_, a), (_, b)| in_order_of_keys(&a.0, &b.0)) else {
                return match std::mem::take(&mut self.current) {
                    backups if backups.is_empty() => Ahead::End,
                    backups => Ahead::Backups(backups),
                };
            };
            match self.current.last() {
                Some(last) if last.segments == *segments => {}
                Some(last) if !self.together || last.segments.0 != segments.0 => {
                    return Ahead::Backups(std::mem::take(&mut self.current));
                }
                _ => self.current.push(Backup::new(segments)),
            }
            let found = self.cursors[cursor].found.pop_front();
            let (Some((_, found, object)), Some(backup)) = (found, self.current.last_mut()) else { continue };
            match found {
                Found::Entry(entry) => backup.add_entry(entry, object),
                Found::Locator(locator) => backup.add_locator(locator, object),
            }
        }
    }
}

/// The order in which a store lists the objects of two backups.
pub(super) fn in_order_of_keys(a: &(String, String), b: &(String, String)) -> Ordering {
    fn key(segments: &(String, String)) -> impl Iterator<Item = u8> {
        segments.0.bytes().chain([b'/']).chain(segments.1.bytes()).chain([b'/'])
    }
    key(a).cmp(key(b))
}
