//! Listing versions, containers and paths: LIST calls only, plus one GET for each name that is hashed in its key, and one
//! for each object that hides something and was not verified before ([`super::proof`]).
//!
//! ```text
//!  List ──▶ Prove ──names all readable──▶ Done(page)
//!             │ hashed names     ▲
//!             └──▶ First ──▶ Row ┘   (for each: a row of it, whose manifest says the name)
//! ```
//! A search for a label reads the manifest of every version that would be listed, 16 at a time.
//!
//! If each container has a bucket of its own, a list of all walks from bucket to bucket ([`super::walk`]).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::find::AHEAD_MS;
use super::manifest::{self, Opened};
use super::names::{Name, check_container, check_path, is_hashed, parse_segment, segment, segment_prefix};
use super::objects::{CATALOGUE, CatalogueKey, Entry, Kind, RowKey, catalogue_prefix, container_prefix};
use super::proof::{Claim, Outcome, Proving, ReadVerified, WIDTH, ignore, prove};
use super::standing::Proofs;
use super::walk::{Walk, Walking};
use super::{Manifest, Row, Vault, Vid};
use crate::account::Bucket;
use crate::error::{Code, Error, Result};
use crate::mutation::{Mutation, is_active};
use crate::op::{Call, Context, ListObjectsV2, ListedObject, Listing, Paged, Sequence, Step, Steps};

/// What to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All visible versions of all backups.
    All,
    /// All visible versions of a container.
    Container(String),
    /// All visible versions of one backup, newest first.
    Backup(Name),
    /// The names of the containers.
    Containers,
    /// The names of all containers that have a bucket, also of those without a backup, where each has its own: for what
    /// must reach all of them. A bucket that may not be read, or whose description is damaged, ends the list.
    Buckets,
    /// The newest visible version of each path that starts with a prefix.
    Paths {
        /// The container.
        container: String,
        /// Prefix of the paths; empty for all.
        prefix: String,
    },
}

impl Scope {
    /// Checks the names.
    pub fn check(&self) -> Result<()> {
        match self {
            Scope::Container(container) | Scope::Paths { container, .. } => check_container(container),
            _ => Ok(()),
        }
    }

    /// Whether a path that was listed is in it: a hashed segment does not show how the path starts.
    fn has(&self, path: &str) -> bool {
        !matches!(self, Scope::Paths { prefix, .. } if !path.starts_with(prefix.as_str()))
    }

    /// Prefixes to LIST, one after another.
    fn prefixes(&self) -> Vec<String> {
        match self {
            Scope::All | Scope::Containers | Scope::Buckets => vec![CATALOGUE.into()],
            Scope::Container(container) => vec![container_prefix(container)],
            Scope::Backup(name) => vec![catalogue_prefix(name)],
            Scope::Paths { container, prefix } => {
                let own = container_prefix(container);
                if prefix.is_empty() {
                    return vec![own];
                }
                // A hashed path does not show how it starts: all of them have to be checked.
                vec![format!("{own}{}", segment_prefix(prefix)), format!("{own}~")]
            }
        }
    }
}

/// What to list, and which of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// What to list.
    pub scope: Scope,
    /// One row for each path: its newest visible version that was recorded at or before this time, in Unix milliseconds. A
    /// path that was deleted then has none.
    pub as_of: Option<i64>,
    /// Only rows whose manifest has this label, with this value.
    pub label: Option<(String, String)>,
}

impl From<Scope> for Query {
    fn from(scope: Scope) -> Query {
        Query { scope, as_of: None, label: None }
    }
}

impl Query {
    /// Checks the names, and that the scope has what is asked of it.
    pub fn check(&self) -> Result<()> {
        if self.scope == Scope::Containers && (self.as_of.is_some() || self.label.is_some()) {
            let why = "as_of and label choose among versions, and a list of containers shows none";
            return Err(
                Error::new(Code::InvalidOption, why).with_hint("List the versions or the paths of a container.")
            );
        }
        self.scope.check()
    }

    /// Whether a path has at most one row.
    fn is_one_per_path(&self) -> bool {
        self.as_of.is_some() || matches!(self.scope, Scope::Paths { .. })
    }
}

/// The segments of container and path, and a version id.
type Position = (String, String, Vid);

/// Where the next page starts.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    /// The bucket, if all of them are listed one after the other.
    walk: Option<Walk>,
    /// Index of the scope's prefix.
    prefix: usize,
    /// The page to request; `None`: the first page of the prefix.
    list: Option<ListObjectsV2>,
    /// What was listed last.
    seen: Seen,
    /// Names of hashed segments, read from manifests.
    names: BTreeMap<(String, String), (String, String)>,
}

/// What a page has to know of the one before.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// The last marker, and the version that it hides if it counts.
    hidden: Option<(Position, Claim)>,
    /// The last row that was shown (or, where a path has one row, decided on).
    last: Option<Position>,
}

/// Whether these segments of a key can belong to a backup. Anyone who can write to the bucket can write a key with a name
/// that no vault accepts, such as `..`, and callers use names as names of files. A hashed name is checked in its manifest.
fn may_be_listed(container: &str, path: Option<&str>) -> bool {
    let is_name = |segment: &str, check: fn(&str) -> Result<()>| {
        is_hashed(segment) || parse_segment(segment).is_some_and(|name| check(&name).is_ok())
    };
    is_name(container, check_container) && path.is_none_or(|path| is_name(path, check_path))
}

/// A row whose names may not be known yet.
struct Pending {
    /// Segments of container and path; the path's segment is empty for a container.
    segments: (String, String),
    row: Option<RowKey>,
    /// Key of a manifest that contains the names, and the most bytes to read; `None` if one has to be found first.
    key: Option<(String, usize)>,
}

/// The machine that lists one page. The listing ends with the page that has no cursor; an empty page is not the end.
pub type ListPage = Sequence<ListSteps>;

/// What [`ListPage`] knows on its way.
pub struct ListSteps {
    vault: Arc<Vault>,
    bucket: Arc<Bucket>,
    query: Query,
    cursor: Cursor,
    next: Option<Cursor>,
    /// The entries of the page.
    entries: Vec<(Position, Entry, Claim)>,
    proofs: Proofs,
    pending: VecDeque<Pending>,
    /// Rows whose manifest has the label, by key.
    labelled: HashMap<String, Row>,
    rows: Vec<Row>,
}

impl Steps for ListSteps {
    type Done = (Vec<Row>, Option<Cursor>);
    const WHAT: &'static str = "the listing";
    const IS_QUERY: bool = true;
}

impl Proving for ListSteps {
    fn place(&self) -> (&Arc<Vault>, Arc<Bucket>) {
        (&self.vault, self.bucket.clone())
    }

    fn proven(&mut self, context: &mut Context<'_>, key: &str, outcome: Outcome<Option<Opened>>) {
        self.proofs.settle(context, &self.bucket, key, outcome);
    }
}

impl Walking for ListSteps {
    fn vault(&self) -> &Arc<Vault> {
        &self.vault
    }

    fn walk(&mut self) -> Option<&mut Walk> {
        self.cursor.walk.as_mut()
    }

    fn may_skip(&self) -> bool {
        self.query.scope != Scope::Buckets
    }

    fn enter(&mut self, container: String) -> Step<Self> {
        if self.query.scope == Scope::Buckets {
            self.show(container, String::new(), None);
            self.next = self.next_bucket();
            return self.finish();
        }
        if self.query.scope == Scope::Containers {
            // It may have been made for a backup that was never complete.
            let list = ListObjectsV2 { prefix: container_prefix(&container), max_keys: Some(1), ..Default::default() };
            return Step::call(list, |steps: &mut Self, _, page: Listing| {
                if !page.objects.is_empty() {
                    steps.show(container, String::new(), None);
                }
                steps.next = steps.next_bucket();
                steps.finish()
            });
        }
        self.query.scope = Scope::Container(container);
        self.list()
    }

    fn rest(&mut self) -> Step<Self> {
        let walk = self.cursor.walk.take().and_then(Walk::or_end);
        self.next = walk.map(|walk| Cursor { walk: Some(walk), ..Cursor::default() });
        self.finish()
    }
}

impl ListPage {
    /// Lists the page at `cursor`; the default cursor is the first page. `seed` drives the jitter of retries.
    pub fn new(vault: Arc<Vault>, query: impl Into<Query>, mut cursor: Cursor, seed: u64) -> ListPage {
        let query = query.into();
        let bucket = match &query.scope {
            Scope::All | Scope::Containers | Scope::Buckets => {
                cursor.walk = cursor.walk.take().or_else(|| Walk::of(&vault));
                cursor.walk.as_ref().map_or_else(|| vault.home().clone(), |walk| walk.bucket(&vault))
            }
            Scope::Container(container) | Scope::Paths { container, .. } => vault.bucket(container),
            Scope::Backup(name) => vault.bucket(name.container()),
        };
        let steps = ListSteps {
            vault,
            bucket: bucket.clone(),
            query,
            cursor,
            next: None,
            entries: Vec::new(),
            proofs: Proofs::default(),
            pending: VecDeque::new(),
            labelled: HashMap::new(),
            rows: Vec::new(),
        };
        let first = steps.cursor.walk.as_ref().map_or_else(|| steps.list(), Walk::start);
        Sequence::start(&bucket, steps, first, seed)
    }
}

impl ListSteps {
    fn list(&self) -> Step<Self> {
        let (scope, cursor) = (&self.query.scope, &self.cursor);
        let list = cursor.list.clone().unwrap_or_else(|| ListObjectsV2 {
            prefix: scope.prefixes().swap_remove(cursor.prefix.min(scope.prefixes().len() - 1)),
            delimiter: matches!(scope, Scope::Containers).then_some("/"),
            ..Default::default()
        });
        Step::with(Call::new(list), Self::page)
    }

    fn page(&mut self, context: &mut Context<'_>, call: &Call<ListObjectsV2>, page: Result<Listing>) -> Step<Self> {
        let page = match page {
            Ok(page) => page,
            // The container has no bucket yet.
            Err(e) if e.code() == Code::NoSuchBucket && self.vault.layout.single().is_none() => Listing::default(),
            Err(e) => return Step::done(Err(e)),
        };
        self.cursor.list = call.op().next(&page);
        if is_active(Mutation::ForgetLastRow) {
            self.cursor.seen.last = None;
        }
        for prefix in page.common_prefixes {
            let container = prefix.strip_prefix(CATALOGUE).and_then(|rest| rest.strip_suffix('/'));
            if let Some(container) = container.filter(|segment| may_be_listed(segment, None)) {
                self.pending.push_back(Pending { segments: (container.into(), String::new()), row: None, key: None });
            }
        }
        for ListedObject { key, size, .. } in page.objects {
            let Some(CatalogueKey { container, path, entry }) = CatalogueKey::parse(&key) else { continue };
            if may_be_listed(&container, Some(&path)) {
                self.entries.push(((container, path, entry.vid()), entry, Claim { key, size }));
            }
        }
        self.select(context)
    }

    /// Chooses the rows of the page, once what hides others is proven.
    fn select(&mut self, context: &mut Context<'_>) -> Step<Self> {
        let (mut seen, mut chosen, mut unproven) = (self.cursor.seen.clone(), Vec::new(), Vec::new());
        let counts = |claim: &Claim, unproven: &mut _| self.proofs.counts(&self.vault, claim, unproven);
        let latest = context.clock().saturating_add(AHEAD_MS);
        for (position, entry, claim) in &self.entries {
            let row = match entry {
                Entry::Suspected(_) => continue,
                Entry::Deleted(_) => {
                    seen.hidden = Some((position.clone(), claim.clone()));
                    continue;
                }
                Entry::Row(row) => row,
            };
            let is_known = seen.last.as_ref().is_some_and(|last| match self.query.is_one_per_path() {
                true => (&last.0, &last.1) == (&position.0, &position.1),
                false => last == position,
            });
            let marker = seen.hidden.as_ref().filter(|(hidden, _)| hidden == position).map(|(_, claim)| claim);
            // A row in the future is one that no put makes, unless the store's clock was wrong: then it is signed.
            let decides = row.kind == Kind::Del || row.vid.unix_ms() > latest;
            if is_known
                || self.query.as_of.is_some_and(|at| row.recorded_ms > at)
                || marker.is_some_and(|marker| counts(marker, &mut unproven))
                || (decides && !counts(claim, &mut unproven))
            {
                continue;
            }
            seen.last = Some(position.clone());
            if row.kind != Kind::Del || !self.query.is_one_per_path() {
                chosen.push((position, row, claim));
            }
        }
        if !unproven.is_empty() {
            return prove(self, unproven, Self::select);
        }
        let pending = chosen.into_iter().map(|((container, path, _), row, Claim { key, size })| {
            // A manifest that cannot be one is not read for its names.
            let key = manifest::read_limit(key, row.size, *size).ok().map(|limit| (key.clone(), limit));
            Pending { segments: (container.clone(), path.clone()), row: Some(row.clone()), key }
        });
        let pending: Vec<Pending> = pending.collect();
        self.pending.extend(pending);
        self.entries.clear();
        self.cursor.seen = seen;
        let is_last_prefix = self.cursor.prefix + 1 >= self.query.scope.prefixes().len();
        self.next = match &self.cursor.list {
            Some(_) => Some(self.cursor.clone()),
            None if is_last_prefix => self.next_bucket(),
            None => Some(Cursor { prefix: self.cursor.prefix + 1, ..Cursor::default() }),
        };
        if self.query.label.is_some() { self.read_labels() } else { self.resolve() }
    }

    /// Where the list of all continues after the current bucket.
    fn next_bucket(&mut self) -> Option<Cursor> {
        let walk = self.cursor.walk.take().and_then(Walk::next)?;
        Some(Cursor { walk: Some(walk), ..Cursor::default() })
    }

    fn finish(&mut self) -> Step<Self> {
        let next = self.next.take().filter(|_| !is_active(Mutation::StopAfterFirstPage));
        Step::done(Ok((std::mem::take(&mut self.rows), next)))
    }

    /// Reads the manifests of the rows, and shows those that have the label.
    fn read_labels(&mut self) -> Step<Self> {
        let keys = self.pending.iter().filter(|pending| pending.row.as_ref().is_some_and(|row| row.kind != Kind::Del));
        let read = |(key, limit)| ReadVerified::row(&self.vault, &self.bucket, key, limit);
        let reads: Vec<_> = keys.filter_map(|pending| pending.key.clone()).map(read).collect();
        Step::each_asking(
            reads,
            WIDTH,
            |steps: &mut Self, context, read: &ReadVerified<_>, answer| {
                match (answer?, &steps.query.label) {
                    (Outcome::Counts(opened), Some((label, value)))
                        if opened.manifest.labels.get(label) == Some(value) =>
                    {
                        steps.labelled.insert(read.key().to_owned(), opened.row());
                    }
                    (Outcome::Counts(_) | Outcome::Gone(_), _) => {}
                    (Outcome::Refused(e), _) => ignore(context, &steps.bucket, read.key(), &e),
                }
                Ok(())
            },
            |steps, _| {
                for pending in std::mem::take(&mut steps.pending) {
                    let row = pending.key.and_then(|(key, _)| steps.labelled.remove(&key));
                    steps.rows.extend(row.filter(|row| steps.query.scope.has(&row.path)));
                }
                steps.finish()
            },
        )
    }

    /// Shows rows as long as their names are known.
    fn resolve(&mut self) -> Step<Self> {
        while let Some(pending) = self.pending.pop_front() {
            let Some((container, path)) = self.names(&pending.segments) else {
                return match &pending.key {
                    Some((key, limit)) => self.read(key.clone(), *limit, pending),
                    None if pending.row.is_some() => {
                        let segments = pending.segments.clone();
                        self.cursor.names.insert(segments.clone(), segments);
                        self.pending.push_front(pending);
                        continue;
                    }
                    None => {
                        let prefix = format!("{CATALOGUE}{}/", pending.segments.0);
                        let list = ListObjectsV2 { prefix, max_keys: Some(20), ..Default::default() };
                        Step::call(list, |steps: &mut Self, _, page| steps.first(page, pending))
                    }
                };
            };
            self.show(container, path, pending.row);
        }
        if let Some(next) = &mut self.next {
            next.names.clone_from(&self.cursor.names);
        }
        self.finish()
    }

    /// Looks for a row of a container whose name is hashed.
    fn first(&mut self, page: Listing, mut pending: Pending) -> Step<Self> {
        pending.key = page.objects.into_iter().find_map(|ListedObject { key, size, .. }| {
            let Entry::Row(row) = CatalogueKey::parse(&key)?.entry else { return None };
            let limit = manifest::read_limit(&key, row.size, size).ok()?;
            Some((key, limit))
        });
        match &pending.key {
            Some((key, limit)) => self.read(key.clone(), *limit, pending),
            None => self.learn(pending, None),
        }
    }

    /// Reads a row for its names.
    fn read(&self, key: String, limit: usize, pending: Pending) -> Step<Self> {
        let read = ReadVerified::row(&self.vault, &self.bucket, key, limit);
        Step::with(read, |steps: &mut Self, _, _, answer| match answer {
            Ok(Outcome::Counts(opened)) => steps.learn(pending, Some(opened.manifest)),
            Ok(Outcome::Gone(e)) if is_active(Mutation::FailOnDeletedRow) => Step::done(Err(e)),
            Ok(Outcome::Gone(_) | Outcome::Refused(_)) => steps.learn(pending, None),
            Err(e) => Step::done(Err(e)),
        })
    }

    /// The names of these segments: from the scope, from the segments' text, or from a manifest that was read.
    fn names(&self, segments: &(String, String)) -> Option<(String, String)> {
        if let Some(names) = self.cursor.names.get(segments) {
            return Some(names.clone());
        }
        match &self.query.scope {
            Scope::Backup(name) => Some((name.container().to_owned(), name.path().to_owned())),
            Scope::Container(container) | Scope::Paths { container, .. } => {
                Some((container.clone(), parse_segment(&segments.1)?))
            }
            _ => Some((parse_segment(&segments.0)?, parse_segment(&segments.1)?)),
        }
    }

    fn show(&mut self, container: String, path: String, row: Option<RowKey>) {
        if !self.query.scope.has(&path) {
            return;
        }
        let text = |vid: Vid| vid.to_string();
        self.rows.push(Row {
            kind: row.as_ref().map(|row| row.kind),
            container,
            path,
            vid: row.as_ref().map_or_else(String::new, |row| text(row.vid)),
            parent: row.as_ref().and_then(|row| row.parent).map(text),
            initiated_ms: row.as_ref().map_or(0, RowKey::initiated_ms),
            recorded_ms: row.as_ref().map_or(0, |row| row.recorded_ms),
            bytes: row.as_ref().map_or(0, |row| row.size),
            manifest_hash: None,
            signed_by: None,
            upload_id: None,
            labels: None,
        });
    }

    /// Learns the names of a pending row from its manifest. If the manifest cannot be read or trusted, the segments are
    /// shown instead.
    fn learn(&mut self, mut pending: Pending, manifest: Option<Manifest>) -> Step<Self> {
        pending.key = None;
        let (container, path) = &pending.segments;
        let names = match manifest {
            Some(m) if path.is_empty() && segment(&m.container) == *container => (m.container, String::new()),
            Some(m) if segment(&m.container) == *container && segment(&m.path) == *path => (m.container, m.path),
            _ => pending.segments.clone(),
        };
        self.cursor.names.insert(pending.segments.clone(), names);
        self.pending.push_front(pending);
        self.resolve()
    }
}
