//! A caller of the library: its current machine, its source, its checkpoint's file, and what it knows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use s3vault_core::checksum::Digest;
use s3vault_core::time::Now;
use s3vault_core::transfer::Delivery;
use s3vault_core::vault::job::Job as VaultJob;
use s3vault_core::vault::{
    Adopt, Cursor, DeleteVersion, Find, Found, ListPage, Locate, Located, Open, Put, Read, Remove, Report, Retire,
    Retired, Row, Selector, Undelete, Vault,
};
use s3vault_core::{Input, Machine as _, Output};

use crate::checks::waits::Streak;
use crate::content::Content;
use crate::lookup::StoredRow;
use crate::scenario::PutSpec;

/// One of core's machines.
#[allow(clippy::large_enum_variant, reason = "there are a handful of them")]
pub enum Machine {
    /// Opens the vault.
    Open(Open),
    /// Stores.
    Put(Put),
    /// Finds a version.
    Find(Find),
    /// Finds where its data is.
    Locate(Locate),
    /// Reads it.
    Read(Read),
    /// Lists versions.
    List(ListPage),
    /// Hides a backup.
    Remove(Remove),
    /// Takes that back.
    Undelete(Undelete),
    /// Deletes a version.
    Delete(DeleteVersion),
    /// Prunes or sweeps.
    Job(Box<VaultJob>),
    /// Adopts what other programs wrote.
    Adopt(Box<Adopt>),
    /// Retires a key-encryption key.
    Retire(Box<Retire>),
}

/// The result of a machine.
#[allow(clippy::large_enum_variant, reason = "one is moved once")]
pub enum Ended {
    /// The vault is open.
    Opened,
    /// A version is stored.
    Stored(Box<Found>),
    /// A version was found.
    Found(Box<Found>),
    /// The location of its data was found.
    Located(Located),
    /// It was read.
    Read,
    /// A page of a listing.
    Listed(Vec<Row>, Option<Cursor>),
    /// A backup was hidden by this version.
    Removed(Box<Found>),
    /// A deletion was taken back, or a version deleted.
    Marked,
    /// A job ended, with this report.
    Swept(Box<Report>),
    /// What still needs a key-encryption key.
    Retired(Retired),
}

/// The same output with what all machines may end with.
fn as_one<T>(output: Output<T>, ended: impl FnOnce(T) -> Ended) -> Output<Ended> {
    output.outward().unwrap_or_else(|result| Output::Done(result.map(ended)))
}

impl Machine {
    /// Forwards to the machine.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        match self {
            Machine::Open(machine) => machine.handle(now, input),
            Machine::Put(machine) => machine.handle(now, input),
            Machine::Find(machine) => machine.handle(now, input),
            Machine::Locate(machine) => machine.handle(now, input),
            Machine::Read(machine) => machine.handle(now, input),
            Machine::List(machine) => machine.handle(now, input),
            Machine::Remove(machine) => machine.handle(now, input),
            Machine::Undelete(machine) => machine.handle(now, input),
            Machine::Delete(machine) => machine.handle(now, input),
            Machine::Job(machine) => machine.handle(now, input),
            Machine::Adopt(machine) => machine.handle(now, input),
            Machine::Retire(machine) => machine.handle(now, input),
        }
    }

    /// Forwards to the machine.
    pub fn poll(&mut self, now: Now) -> Output<Ended> {
        match self {
            Machine::Open(machine) => as_one(machine.poll(now), |()| Ended::Opened),
            Machine::Put(machine) => as_one(machine.poll(now), |found| Ended::Stored(Box::new(found))),
            Machine::Find(machine) => as_one(machine.poll(now), |found| Ended::Found(Box::new(found))),
            Machine::Locate(machine) => as_one(machine.poll(now), Ended::Located),
            Machine::Read(machine) => as_one(machine.poll(now), |()| Ended::Read),
            Machine::List(machine) => as_one(machine.poll(now), |(rows, next)| Ended::Listed(rows, next)),
            Machine::Remove(machine) => as_one(machine.poll(now), |found| Ended::Removed(Box::new(found))),
            Machine::Undelete(machine) => as_one(machine.poll(now), |()| Ended::Marked),
            Machine::Delete(machine) => as_one(machine.poll(now), |()| Ended::Marked),
            Machine::Job(machine) => as_one(machine.poll(now), |report| Ended::Swept(Box::new(report))),
            Machine::Adopt(machine) => as_one(machine.poll(now), |report| Ended::Swept(Box::new(report))),
            Machine::Retire(machine) => as_one(machine.poll(now), Ended::Retired),
        }
    }
}

/// How a version is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// All of it, once.
    Stream,
    /// Into a file; a restore that was killed resumes.
    File,
    /// Several ranges of bytes.
    Bytes,
}

/// The job of a task.
#[derive(Clone, Debug)]
pub enum Job {
    /// Stores a backup.
    Put(PutSpec),
    /// Opens the vault again, finds this version of a name and reads it. It must succeed if `must_succeed` is set.
    Read {
        /// Which name.
        name: usize,
        /// Which version.
        vid: String,
        /// The source of the bytes.
        source: u32,
        /// No fault remains, so the read must succeed.
        must_succeed: bool,
        /// How it is read.
        how: How,
    },
    /// Finds a version, and reads it in some runs.
    Find {
        /// Which name.
        name: usize,
        /// Which version.
        selector: Selector,
        /// No fault remains, so only a version that does not exist is not found.
        must_succeed: bool,
    },
    /// Lists versions.
    List {
        /// Which.
        listing: Listing,
        /// No fault remains, so the listing must succeed.
        must_succeed: bool,
    },
}

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// All versions of a name.
    Backup(usize),
    /// All versions of the container.
    Container,
    /// All versions.
    All,
    /// The newest version of each path.
    Paths,
    /// The containers.
    Containers,
}

impl Listing {
    /// All of them.
    pub const ALL: [Listing; 6] =
        [Listing::Backup(0), Listing::Backup(1), Listing::Container, Listing::All, Listing::Paths, Listing::Containers];
}

impl Job {
    /// The source of the bytes that are read.
    pub fn source(&self) -> u32 {
        match self {
            Job::Read { source, .. } => *source,
            _ => 0,
        }
    }
}

/// A part that the machine has requested.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Offset in the source, in bytes.
    pub offset: u64,
    /// Requested length, or the actual one once the part is ready, in bytes.
    pub length: u64,
    /// Minimum length, in bytes.
    pub min_length: u64,
    /// The part must come with its digest.
    pub hash_first: bool,
    /// The part is ready.
    pub ready: bool,
}

/// How a put ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The put was acknowledged.
    Stored {
        /// The version.
        vid: String,
    },
    /// The put failed with an error after which no version exists.
    Failed(String),
    /// The outcome is unknown, or the process never resumed.
    Open(String),
}

/// A caller.
pub struct Task {
    /// Its job.
    pub job: Job,
    /// The vault, shared with other tasks of its process.
    pub vault: Arc<Vault>,
    /// Number of times that its process was killed; inputs for an earlier process are dropped.
    pub life: u32,
    /// The machine; taken out while it works.
    pub machine: Option<Machine>,
    /// The version that was found, to read it.
    pub found: Option<Box<Found>>,
    /// Rows of the pages so far.
    pub listed: Vec<Row>,
    /// Rows that were there when the first page of a lookup was read.
    pub seen: Option<Vec<StoredRow>>,
    /// Parent of the version that it stores.
    pub parent: Option<String>,
    /// Versions that were there when the put listed its backup's versions.
    pub before: BTreeSet<String>,
    /// When its data took effect first and last, by the store's clock.
    pub data_ms: Option<(i64, i64)>,
    /// Index of its source.
    pub source: u32,
    /// Number of times that the source was changed.
    pub edition: u32,
    /// The block from which the last change counts.
    pub changed_from: u64,
    /// The checkpoint's file as it would survive a crash.
    pub disk: Vec<u8>,
    /// Records that are not on disk yet.
    pub unsaved: VecDeque<(Vec<u8>, bool)>,
    /// The disk is full.
    pub disk_full: bool,
    /// Parts that the machine has requested and not released.
    pub parts: BTreeMap<u32, Held>,
    /// Where a stream's next part starts.
    pub position: Option<u64>,
    /// Received bytes of each range, by its index and reading.
    pub ranges: BTreeMap<(u32, u32), Content>,
    /// Accepted bytes, by their offset in the backup.
    pub accepted: BTreeMap<u64, Content>,
    /// How a version is read.
    pub delivery: Delivery,
    /// The put that stored what this task restores.
    pub of: Option<usize>,
    /// The file of a restore: its slices, by their offsets; and the marks of verified parts.
    pub file: BTreeMap<u64, Content>,
    /// Parts that are marked as verified, by their numbers from 0.
    pub marks: BTreeSet<u32>,
    /// Parts whose bytes were found when this process started.
    pub there: BTreeSet<u32>,
    /// Where the version is, and the bytes of it that are read.
    pub located: Option<Located>,
    /// The bytes of the backup that are read.
    pub bytes: Range<u64>,
    /// Number of such reads that were started.
    pub reads: u32,
    /// Another client aborted one of its uploads.
    pub vanished: bool,
    /// Number of parts requested, over all processes.
    pub asked: u64,
    /// When the machine wants to be polled.
    pub wake: Option<u64>,
    /// Number of requests, over all processes.
    pub requests: u64,
    /// Number of requests by kind.
    pub sent: BTreeMap<&'static str, u64>,
    /// Number of requests without a valid 2xx reply.
    pub failed: u64,
    /// Consecutive failures, by request.
    pub in_a_row: BTreeMap<String, Streak>,
    /// When its machine started.
    pub started: u64,
    /// How long everything took or may have taken that it was dealt since, one after the other, in milliseconds.
    pub dealt_ms: u64,
    /// Number of times that it waits for new keys.
    pub keys_awaited: u32,
    /// A Complete or a row got no definite answer.
    pub is_in_doubt: bool,
    /// The exchange that arrived last.
    pub newest_arrival: u64,
    /// When the newest LIST arrived at the store, by the store's clock.
    pub checked_ms: i64,
    /// Uploads whose Complete was sent.
    pub completing: BTreeSet<String>,
    /// Upload id and number of parts whose records were on disk when a process was killed.
    pub safe_parts: BTreeSet<(String, u32)>,
    /// Parts whose records are on disk now, with their lengths and ETags.
    pub saved_parts: BTreeMap<(String, u32), (u64, String)>,
    /// Digest of each part when this process read it completely.
    pub readings: BTreeMap<u32, Digest>,
    /// A part with other bytes at the second reading.
    pub differs: Option<u32>,
    /// Number of parts that an earlier attempt replaced.
    pub replaced: u32,
    /// Number of parts that the store lost.
    pub lost_parts: u32,
    /// Some of them were lost while this process ran.
    pub lost_alive: bool,
    /// The store failed while it completed the upload.
    pub upload_broken: bool,
    /// The caller has suspended.
    pub suspended: bool,
    /// The upload of the last extent that was saved.
    pub extent: String,
    /// It got no new keys, or keys that had expired.
    pub keyless: bool,
    /// Maximum time that a reader needs for a range, in milliseconds.
    pub patience_ms: u64,
    /// Lengths of ranges that were requested and are not consumed, by their index.
    pub in_hand: BTreeMap<u32, u64>,
    /// A reply's body was changed on its way.
    pub flipped: bool,
    /// The caller has cancelled.
    pub cancelled: bool,
    /// It was killed or suspended at least once, so an earlier process may have left something.
    pub was_killed: bool,
    /// Number of times that it still resumes after an error.
    pub patience: u32,
    /// Number of times that it has committed again.
    pub again: u32,
    /// How it ended.
    pub outcome: Option<Outcome>,
}

impl Task {
    /// A task that has not started.
    pub fn new(job: Job, vault: Arc<Vault>, source: u32) -> Task {
        Task {
            job,
            vault,
            life: 0,
            machine: None,
            found: None,
            listed: Vec::new(),
            seen: None,
            parent: None,
            before: BTreeSet::new(),
            data_ms: None,
            source,
            edition: 0,
            changed_from: 0,
            disk: Vec::new(),
            unsaved: VecDeque::new(),
            disk_full: false,
            parts: BTreeMap::new(),
            position: None,
            ranges: BTreeMap::new(),
            accepted: BTreeMap::new(),
            delivery: Delivery::ByPosition,
            of: None,
            file: BTreeMap::new(),
            marks: BTreeSet::new(),
            there: BTreeSet::new(),
            located: None,
            bytes: 0..0,
            reads: 0,
            vanished: false,
            asked: 0,
            wake: None,
            requests: 0,
            sent: BTreeMap::new(),
            readings: BTreeMap::new(),
            differs: None,
            replaced: 0,
            lost_parts: 0,
            lost_alive: false,
            upload_broken: false,
            suspended: false,
            failed: 0,
            in_a_row: BTreeMap::new(),
            started: 0,
            dealt_ms: 0,
            keys_awaited: 0,
            is_in_doubt: false,
            newest_arrival: 0,
            checked_ms: i64::MIN,
            completing: BTreeSet::new(),
            safe_parts: BTreeSet::new(),
            saved_parts: BTreeMap::new(),
            extent: String::new(),
            keyless: false,
            patience_ms: 50,
            in_hand: BTreeMap::new(),
            flipped: false,
            cancelled: false,
            was_killed: false,
            patience: 3,
            again: 0,
            outcome: None,
        }
    }

    /// The backup that it stores.
    pub fn put(&self) -> Option<&PutSpec> {
        match &self.job {
            Job::Put(put) => Some(put),
            _ => None,
        }
    }

    /// How it reads, where it does.
    pub fn how(&self) -> Option<How> {
        match &self.job {
            Job::Read { how, .. } => Some(*how),
            _ => None,
        }
    }

    /// Whether its checkpoint has a record of this kind, and none is on its way.
    pub fn has_record(&self, kind: &str) -> bool {
        let wanted = format!("\"record\":\"{kind}\"");
        let disk = &self.disk;
        self.unsaved.is_empty() && disk.windows(wanted.len()).any(|window| window == wanted.as_bytes())
    }

    /// The first part of the extent that was saved last.
    pub fn first_part(&self) -> Option<u32> {
        let text = String::from_utf8_lossy(&self.disk);
        let last = text.lines().rfind(|line| line.contains("\"record\":\"extent\""))?;
        let record: serde_json::Value = serde_json::from_str(last.split_once(' ')?.1).ok()?;
        Some(record["first"].as_u64()? as u32)
    }

    /// Forgets the process that ran it.
    pub fn die(&mut self) {
        self.life += 1;
        self.machine = None;
        self.wake = None;
        self.parts.clear();
        self.position = None;
        self.unsaved.clear();
        self.in_a_row.clear();
        self.keys_awaited = 0;
        self.again = 0;
        self.ranges.clear();
        self.readings.clear();
        self.differs = None;
        self.suspended = false;
        self.lost_alive = false;
    }
}
