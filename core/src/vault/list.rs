//! Listing versions, containers and paths: LIST calls only, plus one GET for each name that is hashed in its key.
//!
//! ```text
//!  List ──names all readable──▶ Done(page)
//!    │ hashed names     ▲
//!    └──▶ First ──▶ Row ┘   (for each: a row of it, whose manifest says the name)
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::names::{Name, check_container, check_path, is_hashed, parse_segment, segment, segment_prefix};
use super::objects::{CATALOGUE, CatalogueKey, Entry, Kind, RowKey, catalogue_prefix, container_prefix};
use super::{Row, Vault, manifest};
use crate::error::{Code, Result};
use crate::mutation::{Mutation, is_active};
use crate::op::{GetObject, ListObjectsV2, ListedObject, Listing, Paged, Sequence, Step, Steps};

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

    /// Prefixes to LIST, one after another.
    fn prefixes(&self) -> Vec<String> {
        match self {
            Scope::All | Scope::Containers => vec![CATALOGUE.into()],
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

/// Where the next page starts.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    /// Index of the scope's prefix.
    prefix: usize,
    /// The page to request; `None`: the first page of the prefix.
    list: Option<ListObjectsV2>,
    /// The version id that the last marker hides, with the segments of its names.
    hidden: Option<(String, String, super::Vid)>,
    /// The last row that was shown (or, for paths, decided on), with the segments of its names.
    last: Option<(String, String, super::Vid)>,
    /// Names of hashed segments, read from manifests.
    names: BTreeMap<(String, String), (String, String)>,
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
    scope: Scope,
    cursor: Cursor,
    next: Option<Cursor>,
    pending: VecDeque<Pending>,
    rows: Vec<Row>,
}

impl Steps for ListSteps {
    type Done = (Vec<Row>, Option<Cursor>);
    const WHAT: &'static str = "the listing";
    const IS_QUERY: bool = true;
}

impl ListPage {
    /// Lists the page at `cursor`; the default cursor is the first page. `seed` drives the jitter of retries.
    pub fn new(vault: Arc<Vault>, scope: Scope, cursor: Cursor, seed: u64) -> ListPage {
        let list = cursor.list.clone().unwrap_or_else(|| ListObjectsV2 {
            prefix: scope.prefixes().swap_remove(cursor.prefix.min(scope.prefixes().len() - 1)),
            delimiter: matches!(scope, Scope::Containers).then_some("/"),
            ..Default::default()
        });
        let steps =
            ListSteps { vault: vault.clone(), scope, cursor, next: None, pending: VecDeque::new(), rows: Vec::new() };
        Sequence::start(
            vault.layout.home(),
            steps,
            Step::call(list, |steps: &mut ListSteps, asked, page| steps.page(asked, page)),
            seed,
        )
    }
}

impl ListSteps {
    fn page(&mut self, asked: &ListObjectsV2, page: Listing) -> Step<Self> {
        self.cursor.list = asked.next(&page);
        if is_active(Mutation::ForgetLastRow) {
            self.cursor.last = None;
        }
        for prefix in page.common_prefixes {
            let container = prefix.strip_prefix(CATALOGUE).and_then(|rest| rest.strip_suffix('/'));
            if let Some(container) = container.filter(|segment| may_be_listed(segment, None)) {
                self.pending.push_back(Pending { segments: (container.into(), String::new()), row: None, key: None });
            }
        }
        for ListedObject { key, size, .. } in page.objects {
            let Some(CatalogueKey { container, path, entry }) = CatalogueKey::parse(&key) else { continue };
            if !may_be_listed(&container, Some(&path)) {
                continue;
            }
            let place = Some((container, path, entry.vid()));
            match entry {
                Entry::Suspected(_) => {}
                Entry::Deleted(_) => self.cursor.hidden = place,
                Entry::Row(row) => {
                    let is_shown = match (&self.scope, &self.cursor.last, &place) {
                        _ if self.cursor.hidden == place => continue,
                        (Scope::Paths { .. }, Some((c, p, _)), Some((container, path, _))) => {
                            (c, p) != (container, path)
                        }
                        (_, last, place) => last != place,
                    };
                    self.cursor.last.clone_from(&place);
                    let is_deleted_path = matches!(self.scope, Scope::Paths { .. }) && row.kind == Kind::Del;
                    if let Some((container, path, _)) = place.filter(|_| is_shown && !is_deleted_path) {
                        // A manifest that cannot be one is not read for its names.
                        let key = manifest::read_limit(&key, row.size, size).ok().map(|limit| (key, limit));
                        self.pending.push_back(Pending { segments: (container, path), row: Some(row), key });
                    }
                }
            }
        }
        let is_last_prefix = self.cursor.prefix + 1 >= self.scope.prefixes().len();
        self.next = match &self.cursor.list {
            Some(_) => Some(self.cursor.clone()),
            None if is_last_prefix => None,
            None => Some(Cursor { prefix: self.cursor.prefix + 1, ..Cursor::default() }),
        };
        self.resolve()
    }

    /// Shows rows as long as their names are known.
    fn resolve(&mut self) -> Step<Self> {
        while let Some(pending) = self.pending.pop_front() {
            let Some((container, path)) = self.names(&pending.segments) else {
                return match &pending.key {
                    Some((key, limit)) => Self::read(key.clone(), *limit, pending),
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
        let next = self.next.take().filter(|_| !is_active(Mutation::StopAfterFirstPage));
        Step::done(Ok((std::mem::take(&mut self.rows), next)))
    }

    /// Looks for a row of a container whose name is hashed.
    fn first(&mut self, page: Listing, mut pending: Pending) -> Step<Self> {
        pending.key = page.objects.into_iter().find_map(|ListedObject { key, size, .. }| {
            let Entry::Row(row) = CatalogueKey::parse(&key)?.entry else { return None };
            let limit = manifest::read_limit(&key, row.size, size).ok()?;
            Some((key, limit))
        });
        match &pending.key {
            Some((key, limit)) => Self::read(key.clone(), *limit, pending),
            None => self.learn(pending, None),
        }
    }

    /// Reads a row for its names.
    fn read(key: String, limit: usize, pending: Pending) -> Step<Self> {
        Step::try_call(GetObject::new(key, limit), |steps: &mut Self, _, answer| match answer {
            Ok(object) => steps.learn(pending, Some(object)),
            Err(e) if matches!(e.code(), Code::NotFound | Code::Format) && !is_active(Mutation::FailOnDeletedRow) => {
                steps.learn(pending, None)
            }
            Err(e) => Step::done(Err(e)),
        })
    }

    /// The names of these segments: from the scope, from the segments' text, or from a manifest that was read.
    fn names(&self, segments: &(String, String)) -> Option<(String, String)> {
        if let Some(names) = self.cursor.names.get(segments) {
            return Some(names.clone());
        }
        match &self.scope {
            Scope::Backup(name) => Some((name.container().to_owned(), name.path().to_owned())),
            Scope::Container(container) | Scope::Paths { container, .. } => {
                Some((container.clone(), parse_segment(&segments.1)?))
            }
            _ => Some((parse_segment(&segments.0)?, parse_segment(&segments.1)?)),
        }
    }

    fn show(&mut self, container: String, path: String, row: Option<RowKey>) {
        if let Scope::Paths { prefix, .. } = &self.scope
            && !path.starts_with(prefix.as_str())
        {
            return;
        }
        let text = |vid: super::Vid| vid.to_string();
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
        });
    }

    /// Learns the names of a pending row from its manifest. If the manifest cannot be read or trusted, the segments are
    /// shown instead.
    fn learn(&mut self, mut pending: Pending, object: Option<Vec<u8>>) -> Step<Self> {
        let (key, _) = pending.key.take().unwrap_or_default();
        let manifest = object
            .and_then(|object| self.vault.open_manifest(self.vault.layout.home(), &object, &key).ok())
            .map(|opened| opened.manifest);
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
