//! Lookups: reads of the latest version and as of a time, and listings. The right answer comes from the rows that the
//! scenario's puts have sent: those that were there when the lookup's first page was read are known to it, and those that
//! came later may be.

use s3vault_core::vault::names::segment;
use s3vault_core::vault::{Cursor, Find, Found, ListPage, Row, Scope, Selector};
use s3vault_core::{Code, Error};

use crate::coverage::Probe;
use crate::task::{How, Job, Listing, Machine, Task};
use crate::world::World;

/// A row at the store, as its manifest has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    /// Which name.
    pub name: usize,
    /// The version.
    pub vid: String,
    /// Its parent.
    pub parent: Option<String>,
    /// Its recorded time.
    pub recorded_ms: i64,
    /// Length in bytes.
    pub length: u64,
}

impl StoredRow {
    /// Whether a lookup may choose it.
    fn matches(&self, selector: Selector) -> bool {
        match selector {
            Selector::AsOf(at) => self.recorded_ms <= at,
            _ => true,
        }
    }
}

impl World {
    /// A version was stored under this name: somebody may look for it.
    pub(crate) fn look_up(&mut self, name: usize) {
        if !self.scenario.second.has_lookups {
            return;
        }
        let job = match self.more.u32(0..8) {
            0 => self.find(name, false),
            1 | 2 => self.find(name, true),
            3 => self.listing(),
            4 => Job::List { listing: Listing::Paths, must_succeed: false },
            _ => return,
        };
        let vault = self.vault();
        self.add_task(vault, job);
    }

    /// A lookup of the latest version, or as of a time around those that are recorded.
    pub(crate) fn find(&mut self, name: usize, by_time: bool) -> Job {
        if !by_time {
            return Job::Find { name, selector: Selector::Latest, must_succeed: self.is_over };
        }
        let times: Vec<i64> = self.rows.values().filter(|row| row.name == name).map(|row| row.recorded_ms).collect();
        let at = match times.get(self.more.usize(0..times.len().max(1))) {
            Some(recorded) => recorded + [-1_800_000, -1, 0, 0, 1, 1_800_000][self.more.usize(0..6)],
            None => self.store_ms(),
        };
        Job::Find { name, selector: Selector::AsOf(at), must_succeed: self.is_over }
    }

    /// A listing of some scope.
    pub(crate) fn listing(&mut self) -> Job {
        let listing = Listing::ALL[self.more.usize(0..Listing::ALL.len())];
        Job::List { listing, must_succeed: self.is_over }
    }

    pub(crate) fn start_find(&mut self, task: usize, name: usize, selector: Selector, seed: u64) {
        let vault = self.tasks[task].vault.clone();
        self.tasks[task].seen = None;
        self.start(task, Machine::Find(Find::new(vault, self.name(name), selector, None, seed)));
    }

    pub(crate) fn list(&mut self, task: usize, listing: Listing, cursor: Cursor) {
        let vault = self.tasks[task].vault.clone();
        let seed = self.random.u64(..);
        let container = || "vm".to_owned();
        let scope = match listing {
            Listing::Backup(name) => Scope::Backup(self.name(name)),
            Listing::Container => Scope::Container(container()),
            Listing::Containers => Scope::Containers,
            Listing::Paths => Scope::Paths { container: container(), prefix: String::new() },
            Listing::All => Scope::All,
        };
        self.start(task, Machine::List(ListPage::new(vault, scope, cursor, seed)));
    }

    /// The store answers a page of rows: those of the first page are known to its reader.
    pub(crate) fn note_page(&mut self, task: usize) {
        if matches!(self.tasks[task].job, Job::Find { .. } | Job::List { .. }) && self.tasks[task].seen.is_none() {
            self.tasks[task].seen = Some(self.rows.values().cloned().collect());
        }
    }

    /// The rows that a lookup knew and that are still there.
    fn known(&self, task: &Task) -> Vec<StoredRow> {
        let seen = task.seen.iter().flatten();
        seen.filter(|row| !self.removed.contains(&row.vid)).cloned().collect()
    }

    /// A lookup found a version. Some of them read it.
    pub(crate) fn found(&mut self, number: usize, found: Box<Found>) {
        let Job::Find { name, selector, .. } = self.job(number) else { return };
        let known = self.known(&self.tasks[number]);
        let newest = known.iter().filter(|row| row.name == name && row.matches(selector)).map(|row| &row.vid).min();
        let vid = found.row.vid.clone();
        self.hit(if selector == Selector::Latest { Probe::FoundLatest } else { Probe::FoundAsOf });
        let why = match self.rows.values().find(|row| row.vid == vid) {
            None if self.removed.contains(&vid) => return,
            None => Some("which was never stored".to_owned()),
            Some(row) if row.name != name => Some("which has another name".to_owned()),
            Some(row) if !row.matches(selector) => Some(format!("which was recorded at {}", row.recorded_ms)),
            // Newer versions have lower ids.
            Some(row) if newest.is_some_and(|newest| row.vid > *newest) => Some(format!("and {newest:?} is newer")),
            Some(row) => self.differs(row, &found.row, false),
        };
        if let Some(why) = why {
            return self.violate(format!("task {number} looks for {selector:?} and finds {vid}, {why}"));
        }
        if !self.is_over
            && self.more.bool()
            && let Some(source) = self.vids.get(&vid).map(|put| self.tasks[*put].source)
        {
            self.tasks[number].job = Job::Read { name, vid, source, must_succeed: false, how: How::Stream };
            self.read_found(number, found);
        }
    }

    /// A lookup failed.
    pub(crate) fn not_found(&mut self, number: usize, e: &Error) {
        let Job::Find { name, selector, must_succeed } = self.job(number) else { return };
        if e.code() != Code::NotFound {
            return self.lookup_failed(number, must_succeed, e);
        }
        self.hit(Probe::FoundNothing);
        let known = self.known(&self.tasks[number]);
        if let Some(row) = known.iter().find(|row| row.name == name && row.matches(selector)) {
            self.violate(format!(
                "task {number} looks for {selector:?} and finds nothing, not even {}: {e:?}",
                row.vid
            ));
        }
    }

    pub(crate) fn lookup_failed(&mut self, number: usize, must_succeed: bool, e: &Error) {
        if must_succeed {
            return self.violate(format!("a lookup fails without a fault: {e:?}"));
        }
        self.check_read_failed(number, e);
    }

    /// What a row shows and its manifest does not say.
    ///
    /// A listing shows a hashed name if the manifest that says the name cannot be read.
    fn differs(&self, stored: &StoredRow, row: &Row, may_be_hashed: bool) -> Option<String> {
        let name = self.name(stored.name);
        let is_its = row.path == name.path() || may_be_hashed && row.path == segment(name.path());
        let is_same = row.container == name.container()
            && is_its
            && (&row.vid, &row.parent) == (&stored.vid, &stored.parent)
            && (row.recorded_ms, row.bytes) == (stored.recorded_ms, stored.length)
            && row.kind.map(|kind| kind.as_str()) == Some(if stored.parent.is_some() { "inc" } else { "full" });
        (!is_same).then(|| format!("shown as {row:?}, and stored as {stored:?}"))
    }

    /// A listing is complete: it has each row that it knew, once, and no row that was never there; those of a backup from
    /// the newest to the oldest.
    pub(crate) fn check_listed(&mut self, number: usize, listing: Listing) {
        let task = &self.tasks[number];
        let known = self.known(task);
        self.hit(match listing {
            Listing::Paths => Probe::ListedPaths,
            _ => Probe::Listed,
        });
        let task = &self.tasks[number];
        if let Some(why) = self.wrong_rows(task, &known, listing) {
            let vids: Vec<&str> = task.listed.iter().map(|row| &*row.vid).collect();
            self.violate(format!("task {number} lists {listing:?}: {why}: {vids:?}"));
        }
    }

    fn wrong_rows(&self, task: &Task, known: &[StoredRow], listing: Listing) -> Option<String> {
        let (listed, may_be_hashed) = (&task.listed, task.flipped || !self.removed.is_empty());
        if listing == Listing::Containers {
            let names: Vec<&str> = listed.iter().map(|row| &*row.container).collect();
            let is_right = names == ["vm"] || names.is_empty() && known.is_empty();
            return (!is_right).then(|| format!("the containers are {names:?}"));
        }
        let mut stored = Vec::new();
        for row in listed {
            match self.rows.values().find(|stored| stored.vid == row.vid) {
                None if self.removed.contains(&row.vid) => {}
                None => return Some(format!("version {} was never stored", row.vid)),
                Some(found) if stored.contains(&found) => return Some(format!("version {} is listed twice", row.vid)),
                Some(found) => {
                    if let Some(why) = self.differs(found, row, may_be_hashed) {
                        return Some(why);
                    }
                    stored.push(found);
                }
            }
        }
        for name in 0..2 {
            if matches!(listing, Listing::Backup(only) if only != name) {
                if let Some(other) = stored.iter().find(|row| row.name == name) {
                    return Some(format!("version {} has another name", other.vid));
                }
                continue;
            }
            let versions: Vec<&StoredRow> = stored.iter().filter(|row| row.name == name).copied().collect();
            let mut own = known.iter().filter(|row| row.name == name);
            if listing == Listing::Paths {
                let newest = own.map(|row| &row.vid).min();
                match (&versions[..], newest) {
                    ([], None) => {}
                    // It shows one that was deleted since.
                    ([], _) if listed.iter().any(|row| self.removed.contains(&row.vid)) => {}
                    ([shown], newest) if newest.is_none_or(|newest| shown.vid <= *newest) => {}
                    _ => return Some(format!("{} versions of one path, whose newest is {newest:?}", versions.len())),
                }
                continue;
            }
            if let Some(missing) = own.find(|row| !versions.contains(row)) {
                return Some(format!("version {} is missing", missing.vid));
            }
            // The order in which they were stored, by what each put knew when it chose its version id.
            for (at, row) in versions.iter().enumerate() {
                let older = self.older.get(&row.vid);
                if let Some(before) =
                    versions[..at].iter().find(|before| older.is_some_and(|o| o.contains(&before.vid)))
                {
                    return Some(format!("{} comes before {}, which is newer", before.vid, row.vid));
                }
            }
        }
        None
    }
}
