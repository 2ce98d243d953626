//! Storing a version: DESIGN §3's protocol, *Put*.
//!
//! ```text
//!  Versioning ─▶ List ─▶ Listed ─▶ Locator ─▶ First ─▶ Sending ─▶ Row ─▶ Done
//!  (once for   ▲  ▲    (`vault.json`  │ expired  (part 1)  │ ▲       │ ▲
//!   a vault)   │  │     is there)     │          Recheck ◀─┘ └───────┴─┘  when the check has aged
//!      │       │  └───────────────────┘
//!      │       └─ given up, gone ─┐
//!      └─ goes on ─▶ Recheck ─────┴▶ Parts ─▶ First, Sending, Row
//! ```
//! A *check* holds for the profile's `late_ms` (B). The locator and the data's PUT or Create are signed at the newest
//! check, and the row at the one that the data was signed at, so that nothing lands later than B after its check.
//! Nothing is checked after the row. The first put of a vault writes `vault.json` beside its LIST; nothing else is
//! written before it is there.

mod resume;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::find::AHEAD_MS;
use super::locator::Locator;
use super::manifest::{self, Extent, Manifest, Times};
use super::objects::{
    CatalogueKey, Entry, Kind, LocatorKey, RowKey, VAULT_KEY, catalogue_prefix, data_key, extent_prefix, locator_prefix,
};
use super::{Found, Name, OBJECT_LIMIT, Vault, Vid, signed};
use crate::error::{Code, Error, Result};
use crate::http::Part;
use crate::machine::{Input, Machine, Output};
use crate::op::{
    BucketVersioning, Call, Calling, Content, GetBucketVersioning, ListObjectsV2, ListParts, Listing, Next, Paged,
    PutObject, PutReply, Session,
};
use crate::planted;
use crate::time::{Now, rfc3339};
use crate::transfer::checkpoint::{Begun, Checkpoint, FileIdentity, Journal, Record};
use crate::transfer::plan::Plan;
use crate::transfer::upload::{GoesOn, Listed, Object, Ready, Stored, Upload};
use resume::begun;

/// How often a put begins anew when its locator's date has passed before the store took it.
const BEGINNINGS: u32 = 3;

/// What to store.
#[derive(Clone, Debug)]
pub struct PutRequest {
    /// Under which name.
    pub name: Name,
    /// The version that an incremental builds on; `None` for a full.
    pub parent: Option<Vid>,
    /// In bytes, where it is known.
    pub length: Option<u64>,
    /// The file that is stored, where it is one: a checkpoint goes on with the same one only.
    pub source: Option<FileIdentity>,
    /// `None`: no steps are saved. Else [`Output::Save`] says what to append, and the put goes on where this one ends.
    pub checkpoint: Option<Checkpoint>,
    /// Bytes of payload that the process may hold: a stream's parts grow up to a quarter of it.
    pub memory: u64,
    /// Random bits of version ids, from the operating system's entropy.
    pub entropy: [u8; 10],
    /// Drives the jitter of retries.
    pub seed: u64,
}

/// What a check is for.
#[derive(Clone, Copy, Debug)]
enum For {
    Data,
    Row,
    /// To go on from a checkpoint.
    Resume,
}

enum State {
    Versioning(Call<GetBucketVersioning>),
    List(Call<ListObjectsV2>),
    /// The listing came before the description was there.
    Listed,
    Locator(Call<PutObject>),
    /// The first part of an extent is wanted: its number in the backup, and where it begins.
    First {
        asked: bool,
        number: u32,
        offset: u64,
    },
    Sending(Box<Upload>),
    RecheckRows(Call<ListObjectsV2>, For),
    RecheckLocators(Call<ListObjectsV2>, For),
    /// The parts of a checkpoint's upload that the store has.
    Parts(Call<ListParts>, BTreeMap<u32, Listed>),
    /// The row is fixed, and waits for the checkpoint to say so.
    Fixed,
    Row(Call<PutObject>),
    Unknown(Call<PutObject>, Option<Error>),
    /// The row may be there, its date has passed, and the check that would tell could not be made.
    Unchecked(Option<Error>),
    Done(Box<Result<Found>>),
    Over,
}

impl State {
    fn call(&mut self) -> Option<&mut dyn Calling> {
        match self {
            State::Versioning(call) => Some(call),
            State::Locator(call) | State::Row(call) => Some(call),
            State::List(call) | State::RecheckRows(call, _) | State::RecheckLocators(call, _) => Some(call),
            State::Parts(call, _) => Some(call),
            State::Listed
            | State::First { .. }
            | State::Fixed
            | State::Sending(_)
            | State::Unknown(..)
            | State::Unchecked(_)
            | State::Done(_)
            | State::Over => None,
        }
    }

    /// Whether the put may stop here: the data is not there yet, and no upload has to be aborted.
    fn may_stop(&self) -> bool {
        matches!(
            self,
            State::Versioning(_)
                | State::List(_)
                | State::Listed
                | State::Locator(_)
                | State::First { .. }
                | State::RecheckRows(_, For::Data | For::Resume)
                | State::RecheckLocators(_, For::Data | For::Resume)
                | State::Parts(..)
        )
    }
}

/// Stores one version.
pub struct Put {
    vault: Arc<Vault>,
    session: Session,
    request: PutRequest,
    plan: Plan,
    state: State,
    /// Writes the vault's description, where it has none.
    describe: Option<Call<PutObject>>,
    beginnings: u32,
    vid: Vid,
    /// When the put began: the vid's instant, or the clock's where that is earlier.
    initiated: i64,
    /// The store's clock before the newest check's LIST.
    check: i64,
    /// The newest vid of the listing so far, and whether the parent's row was in it.
    newest: Option<Vid>,
    parent_seen: bool,
    /// The check that the data was signed at.
    data_check: i64,
    first: Option<Ready>,
    /// What is stored, and the `Date` of the reply that completed the last of it.
    extents: Vec<Extent>,
    stored_ms: Option<i64>,
    /// A part that is not needed.
    release: Option<u32>,
    fixed: Option<Fixed>,
    /// An attempt to write the row, whose date has passed, may have taken effect.
    row_sent: bool,
    /// What the checkpoint knows, until it was gone on from.
    resume: Option<Checkpoint>,
    /// To be said.
    source: Option<GoesOn>,
    /// It was said.
    begun: bool,
}

/// The row, its bytes fixed.
struct Fixed {
    manifest: Manifest,
    object: Bytes,
}

impl Put {
    /// A put of a vault.
    pub fn new(vault: Arc<Vault>, mut request: PutRequest) -> Result<Put> {
        let mut plan = Plan::new(request.length, &vault.store.profile, request.memory);
        let mut session = Session::new(&vault.store, request.seed);
        let resume = match request.checkpoint.take() {
            None => None,
            Some(checkpoint) => {
                session.journal = Some(Journal::default());
                checkpoint.check(&begun(&vault, &request, Vid::first_of(0), 0, plan))?;
                if let Some(begun) = &checkpoint.begun {
                    plan = plan.with_part(begun.part);
                }
                checkpoint.begun.is_some().then_some(checkpoint)
            }
        };
        if let Some((parts, extents)) = plan.count()
            && !manifest::is_readable(parts, extents)
        {
            let what = format!("a file of {} bytes", request.length.unwrap_or(0));
            let why = format!("{what} has {parts} parts of {} bytes here, in {extents} objects", plan.part());
            return Err(too_many(&vault, &request, &why).with_hint(
                "Store it as several backups. Where the store takes larger parts and objects, set provider to its name.",
            ));
        }
        let mut put = Put {
            plan,
            session,
            state: State::Over,
            describe: None,
            beginnings: 0,
            vid: Vid::first_of(0),
            initiated: 0,
            check: 0,
            newest: None,
            parent_seen: false,
            data_check: 0,
            first: None,
            extents: Vec::new(),
            stored_ms: None,
            release: None,
            fixed: None,
            row_sent: false,
            resume,
            source: None,
            begun: false,
            vault,
            request,
        };
        put.state = if put.vault.versioned.load(Ordering::Relaxed) {
            put.describe_and_list()
        } else {
            State::Versioning(Call::new(GetBucketVersioning))
        };
        Ok(put)
    }

    fn describe_and_list(&mut self) -> State {
        if self.resume.is_some() {
            return self.go_on();
        }
        if !self.vault.is_described() {
            let content = Content::Bytes(self.vault.description().into());
            self.describe = Some(Call::new(PutObject::new(VAULT_KEY, content, json())));
        }
        self.list()
    }

    /// The description is there, or cannot be written.
    fn described(&mut self, now: Now, answer: Result<PutReply>) {
        self.describe = None;
        let state = std::mem::replace(&mut self.state, State::Over);
        self.state = match (answer, state) {
            (Ok(_), state) => {
                self.vault.described.store(true, Ordering::Relaxed);
                if let State::Listed = state { self.begin(now) } else { state }
            }
            (Err(e), mut state) => {
                if let Some(call) = state.call() {
                    call.abandon(&mut self.session);
                }
                self.fail(e)
            }
        };
    }

    fn list(&mut self) -> State {
        self.beginnings += 1;
        (self.newest, self.parent_seen) = (None, false);
        State::List(Call::new(ListObjectsV2 { prefix: catalogue_prefix(&self.request.name), ..Default::default() }))
    }

    fn versioning(&mut self, status: BucketVersioning) -> State {
        if status == BucketVersioning::Enabled {
            self.vault.versioned.store(true, Ordering::Relaxed);
            return self.describe_and_list();
        }
        let bucket = &self.vault.store.bucket;
        let what = if status == BucketVersioning::Off { "has no versioning" } else { "has its versioning suspended" };
        let why = format!("bucket {bucket} {what}, and mode single-bucket keeps versions as the bucket's own");
        self.fail(Error::new(Code::Versioning, why).on("GetBucketVersioning", bucket, ""))
    }

    fn fail(&mut self, e: Error) -> State {
        if let Some(mut call) = self.describe.take() {
            call.abandon(&mut self.session);
        }
        State::Done(Box::new(Err(e)))
    }

    /// A page of the first LIST: chooses the vid, and looks for the parent.
    fn page(&mut self, now: Now, call: &Call<ListObjectsV2>, page: Listing) -> State {
        if call.op().token.is_none() {
            self.check = call.sent_ms();
        }
        let mut beyond = false;
        let mut deleted = None;
        for key in page.keys() {
            let Some(CatalogueKey { entry, .. }) = CatalogueKey::parse(key) else { continue };
            // Hidden rows count: the newest is the first of all.
            let newest = *self.newest.get_or_insert(entry.vid());
            if newest.unix_ms() > self.session.clock(now).saturating_add(AHEAD_MS) {
                return self.future(newest);
            }
            beyond |= self.request.parent.is_none_or(|parent| entry.vid() > parent);
            match entry {
                Entry::Deleted(vid) => deleted = Some(vid),
                Entry::Row(row) if Some(row.vid) == self.request.parent => {
                    self.parent_seen = deleted != Some(row.vid) && row.kind != Kind::Del;
                }
                _ => {}
            }
        }
        if let (Some(token), false, false) = (page.next, beyond, self.parent_seen) {
            return State::List(Call::new(ListObjectsV2 { token: Some(token), ..call.op().clone() }));
        }
        if let Some(parent) = self.request.parent.filter(|_| !self.parent_seen) {
            let (container, path) = (self.request.name.container(), self.request.name.path());
            let why = format!("the parent {parent} is not a live version of {container} {path}");
            return self.fail(Error::new(Code::BadParent, why));
        }
        if self.describe.is_some() { State::Listed } else { self.begin(now) }
    }

    fn future(&mut self, newest: Vid) -> State {
        let (container, path) = (self.request.name.container(), self.request.name.path());
        let at = rfc3339(newest.unix_ms());
        let why = format!(
            "the newest version of {container} {path}, {newest}, says that it is of {at}, which is in the future"
        );
        self.fail(Error::new(Code::FutureVersion, why))
    }

    fn begin(&mut self, now: Now) -> State {
        let clock = self.session.clock(now);
        let after = self.newest.map_or(0, |vid| vid.unix_ms() + 1);
        self.initiated = clock;
        self.vid = Vid::new(clock.max(after), self.request.entropy);
        let name = &self.request.name;
        let locator =
            Locator::first(&self.vault.id, name, self.vid, self.request.parent, self.check, self.vault.leading_slash);
        if planted::on("data before its locator") {
            return State::First { asked: false, number: 1, offset: 0 };
        }
        let content = Content::Bytes(locator.seal(self.vault.signing_key()).into());
        let begun = begun(&self.vault, &self.request, self.vid, self.initiated, self.plan);
        if let Some(journal) = &mut self.session.journal {
            journal.add(&Checkpoint::record(begun), true);
        }
        State::Locator(Call::dated(PutObject::new(locator.key, content, json()), self.check))
    }

    /// Whether what is signed at this check could still take effect.
    fn holds(&self, now: Now, check: i64) -> bool {
        self.session.clock(now) < check.saturating_add(self.vault.store.profile.late_ms)
    }

    fn recheck(&mut self, what: For) -> State {
        let prefix = format!("{}{}.", catalogue_prefix(&self.request.name), self.vid);
        State::RecheckRows(Call::new(ListObjectsV2 { prefix, ..Default::default() }), what)
    }

    fn rows_checked(&mut self, call: &Call<ListObjectsV2>, page: Listing, what: For) -> State {
        self.check = call.sent_ms();
        if matches!(what, For::Resume) {
            return self.resume_checked(&page);
        }
        let own = self.fixed.as_ref().map(|fixed| fixed.manifest.key.as_str());
        if own.is_some_and(|own| page.keys().any(|key| key == own)) {
            return self.acknowledge();
        }
        if let Some(key) = page.keys().next() {
            let why = format!(
                "another process has written {key} for this version: it was deleted, or swept as abandoned, or finished"
            );
            return self.fail(Error::new(Code::GivenUp, why));
        }
        self.recheck_locators(what)
    }

    /// The second half of a check.
    fn recheck_locators(&self, what: For) -> State {
        let prefix = locator_prefix(&self.request.name, self.vid);
        State::RecheckLocators(Call::new(ListObjectsV2 { prefix, ..Default::default() }), what)
    }

    fn locators_checked(&mut self, now: Now, page: &Listing, what: For) -> State {
        let first = LocatorKey { vid: self.vid, generation: 0, kek: None, parent: self.request.parent };
        if !page.keys().eq([first.key(&self.request.name)]) {
            if matches!(what, For::Resume) {
                return self.anew();
            }
            let why =
                format!("the locator of version {} is gone or was replaced: another process gave it up", self.vid);
            return self.fail(Error::new(Code::GivenUp, why));
        }
        match what {
            For::Data => self.send(now),
            For::Row => self.put_row(),
            For::Resume => self.resumed(now),
        }
    }

    fn first_ready(&mut self, now: Now, part: Part, last: bool) -> State {
        if part.length == 0 && part.number > 1 {
            // The source ended with the extent before.
            self.release = Some(part.number);
            return self.fix(now);
        }
        self.first = Some(Ready { part, last });
        self.send(now)
    }

    /// Begins an extent, under a check that holds.
    fn send(&mut self, now: Now) -> State {
        let Some(first) = self.first else {
            return self.fail(Error::new(Code::Internal, "the data began without its first part"));
        };
        if !self.holds(now, self.check) {
            return self.recheck(For::Data);
        }
        self.data_check = self.check;
        State::Sending(Box::new(Upload::new(self.object(), self.plan, first, self.data_check)))
    }

    /// The object of the next extent.
    fn object(&self) -> Object {
        let vid = self.vid.to_string();
        let mut headers = vec![("x-amz-meta-s3vault-vid".to_owned(), vid.clone())];
        headers.extend(self.vault.storage_class.iter().map(|class| ("x-amz-storage-class".to_owned(), class.clone())));
        let (name, slash) = (&self.request.name, self.vault.leading_slash);
        let key = match self.extents.len() {
            0 => data_key(name, slash),
            before if planted::on("extents numbered from 0") => {
                format!("{}{before}", extent_prefix(name, self.vid, slash))
            }
            before => format!("{}{}", extent_prefix(name, self.vid, slash), before + 1),
        };
        Object { key, headers, vid }
    }

    /// An extent is there: begins the next one, or fixes the row.
    fn stored(&mut self, now: Now, stored: Stored) -> State {
        if stored.extent.version_id.as_deref().is_none_or(|id| id == "null") {
            let why = format!(
                "the store took s3://{}/{} without giving it a version id",
                self.vault.store.bucket, stored.extent.key
            );
            self.vault.versioned.store(false, Ordering::Relaxed);
            return self.fail(Error::new(Code::Versioning, why));
        }
        self.extents.push(stored.extent);
        self.stored_ms = stored.date_ms;
        if self.resume.take().is_some() {
            // A Complete of the process before had taken effect: only now it is known where the source goes on.
            let size = self.extents.iter().map(|extent| extent.size).sum();
            self.say_begin(GoesOn::at(size, stored.next.is_none()));
        }
        match stored.next {
            Some((number, offset)) => self.next_extent(number, offset),
            None => self.fix(now),
        }
    }

    /// Asks for the first part of another extent. A stream ends here with an error where its manifest might become too
    /// large: before more of it is stored.
    fn next_extent(&mut self, number: u32, offset: u64) -> State {
        let (before, extents) = (u64::from(number) - 1, self.extents.len() as u64);
        if self.plan.is_stream() && !manifest::is_readable(before + self.plan.of_an_extent(), extents + 1) {
            let why = format!("the stream has {before} parts in {offset} bytes, and has not ended");
            let e = too_many(&self.vault, &self.request, &why);
            return self.fail(e.with_hint(
                "Raise the process's option memory (a stream's parts grow up to a quarter of it), or store a file, whose length is known; then begin anew, without the checkpoint.",
            ));
        }
        State::First { asked: false, number, offset }
    }

    /// All data is there: fixes the row.
    fn fix(&mut self, now: Now) -> State {
        let completed = self.session.clock(now);
        let extents = std::mem::take(&mut self.extents);
        let size = extents.iter().map(|extent| extent.size).sum();
        let times = Times { initiated: self.initiated, completed, stored: self.stored_ms.unwrap_or(completed) };
        let row = RowKey {
            vid: self.vid,
            recorded_ms: if self.vault.record_after_store { completed } else { self.initiated },
            kind: if self.request.parent.is_some() { Kind::Inc } else { Kind::Full },
            size,
            parent: self.request.parent,
        };
        let class = self.vault.storage_class.clone();
        let manifest = Manifest::new(&self.vault.id, &self.request.name, &row, times, extents, class);
        let object = Bytes::from(manifest.seal(self.vault.signing_key()));
        if !planted::on("row not saved") {
            self.session.save(|| Record::Row { object: String::from_utf8_lossy(&object) });
        }
        self.fixed = Some(Fixed { manifest, object });
        self.check = self.data_check;
        State::Fixed
    }

    fn put_row_checked(&mut self, now: Now) -> State {
        if planted::on("acknowledged before its row") {
            return self.acknowledge();
        }
        if self.holds(now, self.check) { self.put_row() } else { self.recheck(For::Row) }
    }

    fn put_row(&mut self) -> State {
        let Some(fixed) = &self.fixed else { return self.fail(Error::new(Code::Internal, "there is no row to write")) };
        let content = Content::Bytes(fixed.object.clone());
        State::Row(Call::dated(PutObject::new(&*fixed.manifest.key, content, json()), self.check))
    }

    fn acknowledge(&mut self) -> State {
        let Some(Fixed { manifest, object }) = self.fixed.take() else {
            return self.fail(Error::new(Code::Internal, "there is no row to acknowledge"));
        };
        let row = manifest.row(manifest::hash(&object));
        State::Done(Box::new(Ok(Found { row, manifest, object })))
    }

    fn sending(&mut self, now: Now, result: Result<Stored>) -> State {
        match result {
            Ok(stored) => self.stored(now, stored),
            // A checkpoint's upload is gone, and its object is not there either: nothing was taken from the source yet.
            Err(e) if e.code() == Code::GivenUp && self.resume.is_some() => self.anew(),
            // Part 1 is still there, and every attempt carries its bytes.
            Err(e) if e.code() == Code::Expired => self.recheck(For::Data),
            Err(e) => self.fail(e),
        }
    }

    /// A check failed. Where a row that was sent may be there, that is no failure of the put.
    fn unchecked(&mut self, e: Error, what: For) -> State {
        if !matches!(what, For::Row) || !self.row_sent {
            return self.fail(e);
        }
        State::Unchecked(Some(row_unknown(e)))
    }

    fn row_answer(&mut self, call: Call<PutObject>, answer: Result<PutReply>) -> State {
        match answer {
            Ok(_) => self.acknowledge(),
            Err(e) if e.code() == Code::Expired => {
                self.row_sent |= call.maybe_done();
                self.recheck(For::Row)
            }
            Err(e) if call.maybe_done() && !planted::on("unknown outcome said to be a failure") => {
                State::Unknown(call, Some(row_unknown(e)))
            }
            Err(e) => self.fail(e),
        }
    }
}

/// More parts than a manifest holds that can be read again.
fn too_many(vault: &Vault, request: &PutRequest, why: &str) -> Error {
    let (bucket, container, path) = (&vault.store.bucket, request.name.container(), request.name.path());
    let limit = OBJECT_LIMIT >> 20;
    let why = format!(
        "storing {container} {path} in bucket {bucket}: {why}: its manifest might pass {limit} MiB, more than is read back"
    );
    Error::new(Code::InvalidOption, why)
}

fn json() -> Vec<(String, String)> {
    vec![("content-type".into(), "application/json".into())]
}

fn row_unknown(why: Error) -> Error {
    why.recode(Code::OutcomeUnknown).context("the data is stored, and its row may be, or not")
}

fn suspended() -> Error {
    Error::new(Code::Suspended, "the put was suspended: its checkpoint goes on from here")
}

fn cancelled() -> Error {
    Error::new(Code::Cancelled, "the put was cancelled: nothing of it is listed")
}

impl Machine for Put {
    type Done = Found;

    fn handle(&mut self, now: Now, input: Input<'_>) {
        if let (Input::Saved, Some(journal)) = (&input, &mut self.session.journal) {
            journal.saved();
        }
        let has_checkpoint = self.session.journal.is_some();
        let stop = match &input {
            Input::Suspend if has_checkpoint => Some(suspended()),
            Input::Cancel | Input::Suspend => Some(cancelled()),
            Input::SourceFailed(e) | Input::SaveFailed(e) => Some(e.clone()),
            _ => None,
        };
        // What was done is in the checkpoint, so that a put may be suspended in any state.
        let is_left = has_checkpoint && matches!(input, Input::Suspend | Input::SaveFailed(_));
        let may_stop = self.state.may_stop() || is_left && !matches!(self.state, State::Sending(_) | State::Done(_));
        if let Some(why) = stop.filter(|_| may_stop) {
            if let Some(call) = self.state.call() {
                call.abandon(&mut self.session);
            }
            self.state = self.fail(why);
        }
        if let Some(call) = &mut self.describe
            && let Some(answer) = call.handle(&mut self.session, now, &input)
        {
            return self.described(now, answer);
        }
        let state = std::mem::replace(&mut self.state, State::Over);
        self.state = match (state, &input) {
            (State::First { number, offset, .. }, Input::PartReady { number: ready, length, digest, last })
                if *ready == number =>
            {
                self.first_ready(now, Part { number, offset, length: *length, digest: *digest }, *last)
            }
            (State::Unchecked(_), Input::Again) => self.recheck(For::Row),
            (State::Unknown(mut call, _), Input::Again) => {
                call.again();
                State::Row(call)
            }
            (State::Versioning(mut call), input) => match call.handle(&mut self.session, now, input) {
                None => State::Versioning(call),
                Some(Ok(status)) => self.versioning(status),
                // Some stores without versioning do not know the question.
                Some(Err(e)) if e.status() == 501 => self.versioning(BucketVersioning::Off),
                Some(Err(e)) => self.fail(e),
            },
            (State::List(mut call), input) => match call.handle(&mut self.session, now, input) {
                None => State::List(call),
                Some(Ok(page)) => self.page(now, &call, page),
                Some(Err(e)) => self.fail(e),
            },
            (State::Locator(mut call), input) => match call.handle(&mut self.session, now, input) {
                None => State::Locator(call),
                Some(Ok(_)) => {
                    if !std::mem::replace(&mut self.begun, true) {
                        self.source = Some(GoesOn::at(0, false));
                    }
                    State::First { asked: false, number: 1, offset: 0 }
                }
                Some(Err(e)) if e.code() == Code::Expired && self.beginnings < BEGINNINGS => self.list(),
                Some(Err(e)) => self.fail(e),
            },
            (State::Sending(mut upload), input) => {
                upload.handle(&mut self.session, now, input);
                State::Sending(upload)
            }
            (State::RecheckRows(mut call, what), input) => match call.handle(&mut self.session, now, input) {
                None => State::RecheckRows(call, what),
                Some(Ok(page)) => self.rows_checked(&call, page, what),
                Some(Err(e)) => self.unchecked(e, what),
            },
            (State::RecheckLocators(mut call, what), input) => match call.handle(&mut self.session, now, input) {
                None => State::RecheckLocators(call, what),
                Some(Ok(page)) => self.locators_checked(now, &page, what),
                Some(Err(e)) => self.unchecked(e, what),
            },
            (State::Parts(mut call, mut listed), input) => match call.handle(&mut self.session, now, input) {
                None => State::Parts(call, listed),
                Some(Ok(page)) => {
                    listed.extend(page.parts.iter().map(|part| (part.number, Listed::from(part))));
                    match call.op().next(&page) {
                        Some(next) => State::Parts(Call::new(next), listed),
                        None => self.listed(&listed),
                    }
                }
                Some(Err(e)) if e.status() == 404 => self.upload_gone(e),
                Some(Err(e)) => self.fail(e),
            },
            // From here on the data is there: a cancel comes too late.
            (State::Row(mut call), input) => match call.handle(&mut self.session, now, input) {
                None => State::Row(call),
                Some(answer) => self.row_answer(call, answer),
            },
            (
                state @ (State::Listed
                | State::First { .. }
                | State::Fixed
                | State::Unknown(..)
                | State::Unchecked(_)
                | State::Done(_)
                | State::Over),
                _,
            ) => state,
        };
    }

    fn poll(&mut self, now: Now) -> Output<Found> {
        if let Some(save) = self.next_record() {
            return save;
        }
        match self.next_output(now) {
            // What was just decided may have to be saved first.
            Output::Wait(until) => self.next_record().unwrap_or(Output::Wait(until)),
            output => output,
        }
    }
}

impl Put {
    fn next_record(&mut self) -> Option<Output<Found>> {
        let (record, anew) = self.session.journal.as_mut()?.next()?;
        Some(Output::Save { record, anew })
    }

    fn next_output(&mut self, now: Now) -> Output<Found> {
        if let Some(id) = self.session.abandoned() {
            return Output::Abandon(id);
        }
        if let Some(number) = self.release.take() {
            return Output::ReleasePart(number);
        }
        if let Some(GoesOn { offset, ended, done }) = self.source.take() {
            return Output::Begin { offset, ended, done };
        }
        if matches!(self.state, State::Fixed) && self.session.is_saved() {
            self.state = self.put_row_checked(now);
        }
        let mut soonest = None;
        for call in self.describe.as_mut().map(|call| call as &mut dyn Calling).into_iter().chain(self.state.call()) {
            match call.poll(&mut self.session, now) {
                Next::Wait(at) => soonest = soonest.into_iter().chain(at).min(),
                next => return next.into(),
            }
        }
        match &mut self.state {
            State::First { asked: asked @ false, number, offset } => {
                *asked = true;
                let (number, offset) = (*number, *offset);
                let length = self.plan.part_length(number, offset).unwrap_or(0);
                Output::NeedPart {
                    number,
                    offset,
                    length,
                    least: self.plan.least(length),
                    hashed: self.plan.hashed(number, number, offset),
                }
            }
            State::Sending(upload) => match upload.poll(&mut self.session, now).outward() {
                Ok(output) => output,
                Err(Err(e)) if e.code() == Code::OutcomeUnknown => Output::Done(Err(e)),
                Err(result) => {
                    self.state = self.sending(now, result);
                    self.next_output(now)
                }
            },
            State::Unknown(_, error) | State::Unchecked(error) => {
                error.take().map_or(Output::Wait(None), |e| Output::Done(Err(e)))
            }
            State::Done(_) => match std::mem::replace(&mut self.state, State::Over) {
                State::Done(result) => Output::Done(*result),
                _ => Output::Wait(None),
            },
            _ => Output::Wait(soonest),
        }
    }
}
