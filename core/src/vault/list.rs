//! Listing versions, containers and paths: LIST calls only, plus one GET for each name that is hashed in its key.
//!
//! ```text
//!  List ──names all readable──▶ Done(page)
//!    │ hashed names     ▲
//!    └──▶ First ──▶ Row ┘   (for each: a row of it, whose manifest says the name)
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::names::{Name, check_container, parse_segment, segment, segment_prefix};
use super::objects::{CATALOGUE, CatalogueKey, Entry, Kind, RowKey, catalogue_prefix, container_prefix};
use super::{OBJECT_LIMIT, Row, Vault};
use crate::error::{Code, Error, Result};
use crate::machine::{Input, Machine, Output};
use crate::mutation::{Mutation, is_active};
use crate::op::{Call, Calling, GetObject, ListObjectsV2, ListedObject, Listing, Session};
use crate::time::Now;

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
    token: Option<String>,
    /// The version id that the last marker hides, with the segments of its names.
    hidden: Option<(String, String, super::Vid)>,
    /// The last row that was shown (or, for paths, decided on), with the segments of its names.
    last: Option<(String, String, super::Vid)>,
    /// Names of hashed segments, read from manifests.
    names: BTreeMap<(String, String), (String, String)>,
}

/// A row whose names may not be known yet.
struct Pending {
    /// Segments of container and path; the path's segment is empty for a container.
    segments: (String, String),
    row: Option<RowKey>,
    /// Key of a manifest that contains the names; `None` if one has to be found first.
    key: Option<String>,
}

enum State {
    List(Call<ListObjectsV2>),
    /// Looks for a row of a hashed container.
    First(Call<ListObjectsV2>, Pending),
    Row(Call<GetObject>, Pending),
    Done(Result<(Vec<Row>, Option<Cursor>)>),
    Over,
}

impl State {
    fn call(&mut self) -> Option<&mut dyn Calling> {
        match self {
            State::List(call) | State::First(call, _) => Some(call),
            State::Row(call, _) => Some(call),
            State::Done(_) | State::Over => None,
        }
    }
}

/// One page of a listing. The listing ends with the page that has no cursor; an empty page is not the end.
pub struct ListPage {
    vault: Arc<Vault>,
    session: Session,
    scope: Scope,
    cursor: Cursor,
    next: Option<Cursor>,
    pending: VecDeque<Pending>,
    rows: Vec<Row>,
    state: State,
}

impl ListPage {
    /// Lists the page at `cursor`; the default cursor is the first page. `seed` drives the jitter of retries.
    pub fn new(vault: Arc<Vault>, scope: Scope, cursor: Cursor, seed: u64) -> ListPage {
        let list = ListObjectsV2 {
            prefix: scope.prefixes().swap_remove(cursor.prefix.min(scope.prefixes().len() - 1)),
            delimiter: matches!(scope, Scope::Containers).then_some("/"),
            token: cursor.token.clone(),
            ..Default::default()
        };
        ListPage {
            session: Session::new(&vault.store, seed),
            vault,
            scope,
            cursor,
            next: None,
            pending: VecDeque::new(),
            rows: Vec::new(),
            state: State::List(Call::new(list)),
        }
    }

    fn page(&mut self, page: Listing) -> State {
        for prefix in page.common_prefixes {
            let container = prefix.strip_prefix(CATALOGUE).and_then(|rest| rest.strip_suffix('/'));
            if let Some(container) = container.filter(|segment| !segment.is_empty()) {
                self.pending.push_back(Pending { segments: (container.into(), String::new()), row: None, key: None });
            }
        }
        for ListedObject { key, .. } in page.objects {
            let Some(CatalogueKey { container, path, entry }) = CatalogueKey::parse(&key) else { continue };
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
                        self.pending.push_back(Pending { segments: (container, path), row: Some(row), key: Some(key) });
                    }
                }
            }
        }
        let is_last_prefix = self.cursor.prefix + 1 >= self.scope.prefixes().len();
        self.cursor.token = page.next;
        self.next = match &self.cursor.token {
            Some(_) => Some(self.cursor.clone()),
            None if is_last_prefix => None,
            None => {
                Some(Cursor { prefix: self.cursor.prefix + 1, names: self.cursor.names.clone(), ..Cursor::default() })
            }
        };
        self.resolve()
    }

    /// Shows rows as long as their names are known.
    fn resolve(&mut self) -> State {
        while let Some(pending) = self.pending.pop_front() {
            let Some((container, path)) = self.names(&pending.segments) else {
                return match &pending.key {
                    Some(key) => State::Row(Call::new(GetObject::new(key.clone(), OBJECT_LIMIT)), pending),
                    None => {
                        let prefix = format!("{CATALOGUE}{}/", pending.segments.0);
                        let list = ListObjectsV2 { prefix, max_keys: Some(20), ..Default::default() };
                        State::First(Call::new(list), pending)
                    }
                };
            };
            self.show(container, path, pending.row);
        }
        if let Some(next) = &mut self.next {
            next.names.clone_from(&self.cursor.names);
        }
        let next = self.next.take().filter(|_| !is_active(Mutation::StopAfterFirstPage));
        State::Done(Ok((std::mem::take(&mut self.rows), next)))
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
        });
    }

    /// Learns the names of a pending row from its manifest. If the manifest cannot be read or trusted, the segments are
    /// shown instead.
    fn learn(&mut self, mut pending: Pending, object: Option<Vec<u8>>) -> State {
        let key = pending.key.take().unwrap_or_default();
        let manifest =
            object.and_then(|object| self.vault.open_manifest(&object, &key).ok()).map(|opened| opened.manifest);
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

impl Machine for ListPage {
    type Done = (Vec<Row>, Option<Cursor>);

    fn handle(&mut self, now: Now, input: Input<'_>) {
        if let (Input::Cancel, Some(call)) = (&input, self.state.call()) {
            call.abandon(&mut self.session);
            self.state = State::Done(Err(Error::new(Code::Cancelled, "the listing was cancelled")));
        }
        let state = std::mem::replace(&mut self.state, State::Over);
        self.state = match (state, &input) {
            (State::List(mut call), input) => match call.handle(&mut self.session, now, input) {
                None => State::List(call),
                Some(Ok(page)) => self.page(page),
                Some(Err(e)) => State::Done(Err(e)),
            },
            (State::First(mut call, mut pending), input) => match call.handle(&mut self.session, now, input) {
                None => State::First(call, pending),
                Some(Ok(page)) => {
                    let is_row = |key: &String| matches!(CatalogueKey::parse(key), Some(key) if matches!(key.entry, Entry::Row(_)));
                    pending.key = page.objects.into_iter().map(|object| object.key).find(is_row);
                    match &pending.key {
                        Some(key) => State::Row(Call::new(GetObject::new(key.clone(), OBJECT_LIMIT)), pending),
                        None => self.learn(pending, None),
                    }
                }
                Some(Err(e)) => State::Done(Err(e)),
            },
            (State::Row(mut call, pending), input) => match call.handle(&mut self.session, now, input) {
                None => State::Row(call, pending),
                Some(Ok(object)) => self.learn(pending, Some(object)),
                Some(Err(e)) if e.code() == Code::NotFound => self.learn(pending, None),
                Some(Err(e)) => State::Done(Err(e)),
            },
            (state @ (State::Done(_) | State::Over), _) => state,
        };
    }

    fn poll(&mut self, now: Now) -> Output<Self::Done> {
        if let Some(id) = self.session.abandoned() {
            return Output::Abandon(id);
        }
        if let Some(call) = self.state.call() {
            return call.poll(&mut self.session, now).into();
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::Done(result) => Output::Done(result),
            _ => Output::Wait(None),
        }
    }
}
