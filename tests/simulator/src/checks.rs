//! What must hold, looked at when requests are sent, when they take effect, and at the end.

use s3_model::{Attributes, Version};
use s3vault_core::checksum::Digest;
use s3vault_core::http::{Range, ReplyBody, Request};
use s3vault_core::transfer::Delivery;
use s3vault_core::vault::objects::{CATALOGUE, CatalogueKey, Entry, LOCATORS};
use s3vault_core::{Code, Error, SourceStart};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::content::Content;
use crate::scenario::What;
use crate::seen::Seen;
use crate::store;
use crate::task::{Held, How, Job, Outcome, Task};
use crate::wire::{Answer, Wire};
use crate::world::World;

/// Parts of a file, and slices, that are under way at most; of a stream; and a stream's least part.
const FILE_WINDOW: u32 = 32;
const STREAM_WINDOW: u32 = 8;
const LEAST: u64 = 8 << 20;
/// Bytes that a reader holds at most: the slices under way.
const MOST_READ: u64 = FILE_WINDOW as u64 * LEAST;
/// Failures of one request one after the other: twelve attempts where the store asks to slow down, a few for keys,
/// clock and region, and what was sent a second time since it was slow.
const ATTEMPTS: u32 = 20;
/// A Complete that is refused for a part's ETag is followed by so many lists of parts.
const RELISTS: u32 = 3;

impl World {
    pub(crate) fn check_send(&mut self, number: usize, request: &Request, wire: &Wire, part: Option<u32>) {
        if let ReplyBody::Range(range) = request.reply {
            self.check_reader(number, range);
        }
        let upload_id = wire.parameter("uploadId").to_owned();
        let is_open = self.bucket().open_upload(&upload_id).is_some();
        let task = &mut self.tasks[number];
        let has_checkpoint = task.put().is_some_and(|put| put.has_checkpoint);
        let mut broken = Vec::new();
        let is_row = wire.puts(CATALOGUE);
        match wire.operation {
            "CompleteMultipartUpload" => {
                task.completing.insert(upload_id);
                if has_checkpoint && !task.has_record("complete") {
                    broken.push("Complete is sent before its record is safe".into());
                }
            }
            "AbortMultipartUpload" => {
                if task.completing.contains(&upload_id) {
                    broken.push(format!("upload {upload_id} is aborted after its Complete was sent"));
                }
                if has_checkpoint && is_open && !task.cancelled && task.edition == 0 {
                    broken.push(format!("upload {upload_id} is aborted, and its checkpoint could go on"));
                }
            }
            "UploadPart" => {
                if let Some(part) = part {
                    if task.safe_parts.contains(&(upload_id, part)) {
                        broken.push(format!("part {part} is sent again, and was safe before the process died"));
                    }
                    let oldest = task.parts.first_key_value().map_or(part, |(oldest, _)| *oldest);
                    if part.saturating_sub(oldest) >= FILE_WINDOW {
                        broken.push(format!("part {part} is sent, and part {oldest} is not finished"));
                    }
                }
            }
            _ if is_row && has_checkpoint && !task.has_record("row") => {
                broken.push("a row is sent before its record is safe".into());
            }
            _ => {}
        }
        let is_dated = matches!(wire.operation, "PutObject" | "CreateMultipartUpload")
            && wire.request.key != "_s3vault/vault.json";
        if is_dated && task.put().is_some() {
            if request.drop_at.is_none() {
                broken.push(format!("{} is sent without an end", wire.short()));
            }
            if wire.date_ms() > task.checked_ms {
                let late = wire.date_ms() - task.checked_ms;
                broken.push(format!("{} is dated {late} ms behind its check", wire.short()));
            }
        }
        let lives = u64::from(task.life) + 1;
        if task.requests > 60 * lives + 3 * task.asked + 3 * task.failed {
            broken.push(format!("{} requests for {} parts and {} failures", task.requests, task.asked, task.failed));
        }
        for why in broken {
            self.violate(format!("task {number}: {why}"));
        }
    }

    /// A request took effect, or not.
    pub(crate) fn check_effect(&mut self, number: usize, wire: &Wire, answer: &Answer) {
        if answer.status >= 300 {
            return;
        }
        let now = self.store_ms();
        if wire.operation == "ListParts" && self.tasks[number].life > 0 {
            self.note_parts(number, wire.parameter("uploadId"));
        }
        if wire.operation == "ListObjectsV2" && wire.parameter("prefix").starts_with(CATALOGUE) {
            self.tasks[number].checked_ms = now;
        }
        if wire.puts(LOCATORS)
            && let Some((vid, _)) = wire.request.key.rsplit_once('/').and_then(|(_, last)| last.split_once('.'))
        {
            self.vids.insert(vid.to_owned(), number);
        }
        if let Some(vid) = wire.request.header("x-amz-meta-s3vault-vid")
            && self.locator(vid).is_none()
        {
            self.violate(format!("{} takes effect, and no locator names version {vid}", wire.short()));
        }
        if wire.puts(CATALOGUE) {
            self.check_row(number, wire);
        }
    }

    /// Counts what a list of parts has otherwise than the checkpoint.
    fn note_parts(&mut self, number: usize, upload_id: &str) {
        let Some(upload) = self.bucket().open_upload(upload_id) else { return };
        let first = self.tasks[number].first_part().unwrap_or(1);
        let mut seen = Vec::new();
        for ((id, part), (_, etag)) in &self.tasks[number].saved_parts {
            match upload.parts.get(&(part + 1 - first)) {
                Some(found) if id == upload_id && found.etag() != etag.trim_matches('"') => {
                    seen.push(Seen::PartListedOtherwise)
                }
                _ => {}
            }
        }
        if self.tasks[number].lost_parts > 0 {
            seen.push(Seen::PartMissed);
        }
        seen.into_iter().for_each(|seen| self.saw(seen));
    }

    /// The newest locator of a version.
    fn locator(&self, vid: &str) -> Option<Value> {
        let mut keys = self.bucket().keys(LOCATORS);
        let is_its = |key: &str| key.rsplit_once('/').is_some_and(|(_, last)| last.starts_with(vid));
        let (_, versions) = keys.find(|(key, _)| is_its(key))?;
        json(versions.last()?.content()?.as_bytes())
    }

    /// A row took effect: all of its data is there.
    fn check_row(&mut self, number: usize, wire: &Wire) {
        let Some(Manifest { vid, extents }) = json(wire.request.body.as_bytes()) else {
            return self.violate(format!("the row at {} is no manifest", wire.request.key));
        };
        let Some(locator) = self.locator(&vid) else {
            return self.violate(format!("the row at {} has no locator", wire.request.key));
        };
        let mut all = Vec::new();
        for (n, Extent { key, version_id }) in extents.iter().enumerate() {
            let named = match (n, &locator["data"]) {
                (0, data) => data["first"].as_str().unwrap_or_default().to_owned(),
                (_, data) => format!("{}{}", data["next"].as_str().unwrap_or_default(), n + 1),
            };
            if *key != named {
                return self.violate(format!("extent {} is at {key}, and its locator says {named}", n + 1));
            }
            let mut versions = self.bucket().versions(key).iter();
            let version = versions.find(|version| Some(&version.id) == version_id.as_ref());
            match version.and_then(Version::content) {
                Some(content) => all.push(content.clone()),
                None => {
                    return self.violate(format!(
                        "the row at {} is visible, and {key} {version_id:?} is not there",
                        wire.request.key
                    ));
                }
            }
        }
        if all.len() > 1 {
            self.saw(Seen::Extents);
        }
        let (task, whole) = (&self.tasks[number], Content::concat(all.iter()));
        if let Some(put) = task.put()
            && let Some(why) = wrong(&whole, task.source, 0, put.length)
        {
            return self
                .violate(format!("the row at {} is visible, and its data is not the source: {why}", wire.request.key));
        }
        let prefix = wire.request.key.split_once(&vid).map_or(String::new(), |(before, _)| format!("{before}{vid}."));
        let rows: Vec<_> = self
            .bucket()
            .keys(&prefix)
            .flat_map(|(key, versions)| versions.iter().map(move |version| (key, version)))
            .collect();
        if rows.iter().any(|(key, version)| **key != wire.request.key || version.content() != Some(&wire.request.body))
        {
            self.violate(format!("version {vid} has rows that differ"));
        }
    }

    pub(crate) fn check_attempts(&mut self, number: usize, what: &str, count: u32) {
        if count > ATTEMPTS {
            self.violate(format!("task {number} has tried {what} {count} times"));
        }
    }

    pub(crate) fn check_start(&mut self, number: usize, SourceStart { offset, ended, stored }: SourceStart) {
        let Some(put) = self.tasks[number].put().cloned() else { return };
        let task = &self.tasks[number];
        let begins_anew = put.is_file && (task.upload_broken || task.replaced + task.lost_parts > 0);
        if task.position.is_some() && !begins_anew {
            self.violate(format!("task {number}'s source begins twice"));
        }
        if self.tasks[number].life == 0 && (offset > 0 || ended) || offset > put.length || ended && offset < put.length
        {
            self.violate(format!("task {number}'s source of {} bytes begins at {offset}, ended: {ended}", put.length));
        }
        // What is read from here on is another backup than what was read before.
        self.tasks[number].readings.clear();
        // Only of a file there is something behind a gap.
        if stored < offset || stored > put.length || !put.is_file && stored != offset {
            self.violate(format!(
                "task {number}'s source starts at {offset}, and {stored} bytes are said to be stored"
            ));
        }
    }

    pub(crate) fn check_need(&mut self, number: usize, part: u32, need: &Held) {
        let task = &mut self.tasks[number];
        task.asked += 1;
        let Some(put) = task.put().cloned() else { return };
        let mut broken = Vec::new();
        let window = if put.is_file { FILE_WINDOW } else { STREAM_WINDOW };
        if task.parts.len() as u32 >= window {
            broken.push(format!("{} parts are under way, and another is asked for", task.parts.len()));
        }
        if task.parts.contains_key(&part) {
            broken.push(format!("part {part} is asked for twice"));
        }
        match task.position {
            None => broken.push(format!("part {part} is asked for before the source begins")),
            Some(position) if !put.is_file && position != need.offset => {
                broken.push(format!("part {part} is asked for from {}, and the stream is at {position}", need.offset));
            }
            _ => {}
        }
        if !put.is_file && need.length > (put.memory / 4).max(LEAST) {
            broken.push(format!("part {part} has up to {} bytes, and memory is {}", need.length, put.memory));
        }
        for why in broken {
            self.violate(format!("task {number}: {why}"));
        }
    }

    /// A stream's process holds no more than it may.
    pub(crate) fn check_memory(&mut self, number: usize) {
        let task = &self.tasks[number];
        let Some(put) = task.put().filter(|put| !put.is_file) else { return };
        let held: u64 = task.parts.values().filter(|part| part.ready).map(|part| part.length).sum();
        if held > put.memory {
            self.violate(format!("task {number} holds {held} bytes, and may hold {}", put.memory));
        }
    }

    /// A part was read to its end, and the machine knows what it was.
    pub(crate) fn note_reading(&mut self, number: usize, part: Option<u32>, digest: Digest) {
        let Some(part) = part else { return };
        if self.tasks[number].readings.insert(part, digest).is_some_and(|before| before != digest) {
            self.readings_differ(number, Some(part));
        }
    }

    pub(crate) fn readings_differ(&mut self, number: usize, part: Option<u32>) {
        self.saw(Seen::ReadingsDiffer);
        self.tasks[number].differs = part;
    }

    /// A record is on disk.
    pub(crate) fn note_saved(&mut self, number: usize, record: &[u8], anew: bool) {
        let task = &mut self.tasks[number];
        if anew {
            task.saved_parts.clear();
            task.extent.clear();
        }
        let text = std::str::from_utf8(record).unwrap_or_default();
        let Some(record) = text.split_once(' ').and_then(|(_, json)| serde_json::from_str::<Value>(json).ok()) else {
            return self.violate(format!("task {number} saves what is no record"));
        };
        match record["record"].as_str() {
            Some("extent") => task.extent = record["upload_id"].as_str().unwrap_or_default().to_owned(),
            Some("part") => {
                let part = record["number"].as_u64().unwrap_or(0) as u32;
                let etag = record["etag"].as_str().unwrap_or_default().to_owned();
                task.saved_parts.insert((task.extent.clone(), part), (record["length"].as_u64().unwrap_or(0), etag));
            }
            _ => {}
        }
        // A checkpoint is read by people and copied about.
        if text.contains("secret") {
            self.violate(format!("task {number}'s checkpoint has keys in it"));
        }
    }

    /// The process of a task is gone: what it had made safe must not be sent again.
    pub(crate) fn note_death(&mut self, number: usize) {
        let first = self.tasks[number].first_part().unwrap_or(1);
        let bucket = store::bucket(&self.store);
        // What the store lost before its record was safe was never there for who goes on.
        let is_lost = |upload: &String, part: u32| {
            bucket.open_upload(upload).is_some_and(|open| !open.parts.contains_key(&(part + 1).saturating_sub(first)))
        };
        let task = &mut self.tasks[number];
        task.saved_parts.retain(|(upload, part), _| *upload != task.extent || !is_lost(upload, *part));
        task.safe_parts.clear();
        let is_file = task.put().is_some_and(|put| put.is_file);
        let mut next = None;
        for ((upload, part), (length, _)) in &task.saved_parts {
            // A stream's bytes behind the first part that is missing come again, and with them a short last one.
            let follows = *upload == task.extent && next.is_none_or(|next| next == *part) && *length >= LEAST;
            if is_file || follows {
                task.safe_parts.insert((upload.clone(), *part));
            }
            if *upload == task.extent {
                next = if follows { Some(part + 1) } else { Some(0) };
            }
        }
        if !is_file && task.first_part() != task.safe_parts.first().map(|(_, part)| *part) {
            task.safe_parts.clear();
        }
    }

    pub(crate) fn accept(&mut self, number: usize, range: Range) {
        let task = &mut self.tasks[number];
        let Some(content) = task.ranges.get(&(range.index, range.reading)).cloned() else {
            return self.violate(format!("task {number} is to deliver range {}, which never came", range.index));
        };
        let (delivery, source) = (task.delivery, task.job.source());
        if content.length() != range.length || task.accepted.contains_key(&range.offset) {
            return self.violate(format!("task {number} is to deliver range {} twice, or not all of it", range.index));
        }
        task.accepted.insert(range.offset, content.clone());
        task.ranges.remove(&(range.index, range.reading));
        task.marks.insert(range.part);
        // In order they are delivered before their part is verified, but for its end.
        let is_open = delivery == Delivery::InOrder || delivery == Delivery::Unverified && self.may_be_wrong(number);
        if !is_open && let Some(why) = wrong(&content, source, range.offset, range.length) {
            self.violate(format!("wrong bytes are delivered as verified: {why}"));
        }
    }

    /// A driver of a reader holds no more slices than those under way, but for a part that waits to be verified.
    fn check_reader(&mut self, number: usize, range: Range) {
        if range.reading > 0 {
            self.saw(Seen::ReadAgain);
        }
        let task = &mut self.tasks[number];
        let is_first = task.in_hand.insert(range.index, range.length).is_none();
        task.asked += u64::from(is_first || range.reading > 0);
        if task.how() == Some(How::File) && task.there.contains(&range.part) {
            return self.violate(format!("task {number} reads part {} again, which is there", range.part + 1));
        }
        // What is written where it belongs is held by nobody.
        let held: u64 = task.in_hand.values().sum();
        if task.delivery != Delivery::ByPosition && held > MOST_READ {
            self.violate(format!("task {number} has {held} bytes of ranges in hand"));
        }
    }

    /// A reading failed: not for damage that nobody did.
    pub(crate) fn check_read_failed(&mut self, number: usize, e: &Error) {
        self.tell(|| format!("{number} could not read: {e}"));
        let is_damage =
            matches!(e.code(), Code::Damaged | Code::DataMissing | Code::NotFound | Code::Internal | Code::Untrusted);
        if is_damage && self.may_be_wrong(number) {
            self.saw(Seen::DamageNoticed);
        } else if is_damage {
            self.violate(format!("task {number} finds damage that nobody did: {e:?}"));
        }
        let is_stopped = matches!(e.code(), Code::Cancelled | Code::Suspended);
        if is_stopped && !self.tasks[number].cancelled && !self.tasks[number].suspended {
            self.violate(format!("task {number} ends with {e:?}, and nobody gave a reason"));
        }
    }

    /// A reading ended well: all that was stored came, and nothing else.
    pub(crate) fn check_read(&mut self, number: usize) {
        let task = &self.tasks[number];
        let size = task.found.as_ref().map_or(0, |found| found.manifest.size);
        let whole = Content::concat(task.accepted.values());
        if let Some(why) = wrong(&whole, task.job.source(), 0, size) {
            return self.violate(format!("a reading ends well with wrong bytes: {why}"));
        }
        self.tell(|| format!("{number} has read all"));
    }

    pub(crate) fn check_end(&mut self, number: usize, result: &Result<String, Error>) {
        let task = &self.tasks[number];
        let is_calm = self.scenario.is_calm() || self.report.faults.is_empty();
        let (has_changed, can_be_damaged) = (task.edition > 0, !self.scenario.profile.checksums);
        let is_lost = task.lost_parts > 0;
        match result {
            Ok(vid) if task.differs.is_some() => {
                let part = task.differs.unwrap_or_default();
                self.violate(format!("version {vid} is acknowledged, and part {part} was other bytes when read again"));
            }
            // The store has all parts, if not under the ETags that it answered with.
            Err(e) if e.s3_code() == "InvalidPart" && task.replaced + task.lost_parts < RELISTS => {
                self.violate(format!("task {number} ends with {e:?}, and ListParts would have told"));
            }
            Err(e) if e.s3_code() == "XAmzContentChecksumMismatch" && e.code() != Code::Abandoned => {
                self.violate(format!("task {number} ends with {e:?}, and would go on with what never completes"));
            }
            Err(e) if unprovoked(e.code(), task) => {
                self.violate(format!("task {number} ends with {e:?}, and nobody gave a reason"));
            }
            Err(e) if is_calm => self.violate(format!("task {number} fails without a fault: {e:?}")),
            Err(e) if e.code() == Code::Internal || e.is_expired() => {
                self.violate(format!("task {number} ends with {e:?}"));
            }
            Err(e) if e.code() == Code::BadCheckpoint => {
                self.violate(format!("task {number} does not know its own checkpoint: {e:?}"));
            }
            Err(e) if e.code() == Code::Damaged && !can_be_damaged && !has_changed && !is_lost => {
                self.violate(format!("task {number} finds damage that nobody did: {e:?}"));
            }
            Err(e) if e.code() == Code::AccessDenied && !task.keyless && !self.no_keys => {
                self.violate(format!("task {number} had new keys, and ends with {e:?}"));
            }
            Err(e) if e.code() == Code::SourceChanged && !has_changed => {
                self.violate(format!("task {number}'s source did not change: {e:?}"));
            }
            _ => {}
        }
    }

    /// All is over: looks at everything once more, without faults.
    pub(crate) fn after_all(&mut self) {
        if self.report.violation.is_some() {
            return;
        }
        self.is_over = true;
        (self.storm_until, self.outage_until) = (0, 0);
        let rows: Vec<String> = self.bucket().keys(CATALOGUE).map(|(key, _)| key.clone()).collect();
        let (vault, mut visible) = (self.vault(), Vec::new());
        for key in rows {
            let Some(CatalogueKey { entry: Entry::Row(row), .. }) = CatalogueKey::parse(&key) else { continue };
            let vid = row.vid.to_string();
            let Some(task) = self.vids.get(&vid).copied() else {
                return self.violate(format!("the row at {key} is nobody's"));
            };
            let (Some(put), source) = (self.tasks[task].put().cloned(), self.tasks[task].source) else { return };
            self.look(
                vault.clone(),
                Job::Read { name: put.name, vid: vid.clone(), source, must_succeed: true, how: How::Stream },
            );
            visible.push((vid, task));
        }
        for (number, task) in self.tasks.iter().enumerate() {
            let is_there = |vid: &str| visible.iter().any(|(visible, _)| visible == vid);
            let why = match &task.outcome {
                Some(Outcome::Stored { vid }) if !is_there(vid) => {
                    format!("version {vid} was acknowledged, and has no row")
                }
                Some(Outcome::Failed(code)) if !task.was_killed && visible.iter().any(|(_, by)| *by == number) => {
                    format!("task {number} ended with {code}, and its version is visible")
                }
                None if task.put().is_some() && !self.case.without.contains(&number) => {
                    format!("task {number} never ended")
                }
                _ => continue,
            };
            return self.violate(why);
        }
        for name in 0..2 {
            self.look(vault.clone(), Job::List { name });
        }
        self.drain();
        self.check_orphans();
    }

    /// Everything is named by a locator, and what was left without need is found.
    fn check_orphans(&mut self) {
        let vid = |attributes: &Attributes| attributes.metadata.get("s3vault-vid").cloned();
        let mut broken = Vec::new();
        for (key, versions) in &self.bucket().objects {
            for version in versions.iter().filter(|_| !key.starts_with("_s3vault/")) {
                let vid = version.object.as_ref().and_then(|object| vid(&object.attributes));
                if vid.is_none_or(|vid| self.locator(&vid).is_none()) {
                    broken.push(format!("version {} of {key} is left, and no locator names it", version.id));
                }
            }
        }
        for (key, upload) in self.bucket().open_uploads() {
            let id = &upload.id;
            let Some(vid) = vid(&upload.attributes).filter(|vid| self.locator(vid).is_some()) else {
                broken.push(format!("upload {id} of {key} is left, and no locator names it"));
                continue;
            };
            let Some(task) = self.vids.get(&vid).map(|number| &self.tasks[*number]) else { continue };
            let is_known = !upload.parts.is_empty() && !task.completing.contains(id);
            let is_failed = matches!(task.outcome, Some(Outcome::Failed(_)));
            if is_failed && is_known && task.failed == 0 && !task.was_killed {
                broken.push(format!("upload {id} of {key} is left by a put that could abort it"));
            }
        }
        for why in broken {
            self.violate(why);
        }
    }

    pub(crate) fn check_listed(&mut self, number: usize, name: usize) {
        let rows = &self.tasks[number].listed;
        let vids: Vec<&str> = rows.iter().map(|row| &*row.vid).collect();
        if !vids.is_sorted() {
            return self.violate(format!("a listing is not in order: {vids:?}"));
        }
        for task in &self.tasks {
            if let (Some(put), Some(Outcome::Stored { vid })) = (task.put(), &task.outcome)
                && put.name == name
                && !vids.contains(&&**vid)
            {
                return self.violate(format!("version {vid} was acknowledged, and is not listed"));
            }
        }
    }

    /// Uploads that are open for a task's versions.
    pub(crate) fn uploads_of(&self, number: usize) -> Vec<String> {
        let uploads = self.bucket().open_uploads().filter(|(_, upload)| {
            let vid = upload.attributes.metadata.get("s3vault-vid");
            vid.is_some_and(|vid| self.vids.get(vid) == Some(&number))
        });
        uploads.map(|(_, upload)| upload.id.clone()).collect()
    }

    /// Counts where a put is when its process is killed.
    pub(crate) fn note_crash(&mut self, number: usize) {
        let task = &self.tasks[number];
        if task.put().is_none() {
            return;
        }
        let text = String::from_utf8_lossy(&task.disk);
        let last = text.lines().filter_map(|line| line.split_once("\"record\":\"")).next_back();
        let last = last.and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default();
        let seen = match last {
            "part" => Some(Seen::CrashWithParts),
            "complete" => Some(Seen::CrashAfterComplete),
            "stored" => Some(Seen::CrashBetweenExtents),
            "row" => Some(Seen::CrashWithRow),
            _ => None,
        };
        self.saw(Seen::Crash);
        seen.into_iter().for_each(|seen| self.saw(seen));
    }

    pub(crate) fn note_happening(&mut self, number: usize, what: What) {
        if what == What::Cancel {
            self.tasks[number].cancelled = true;
        }
    }
}

/// Whether a put ends for a reason that was not there.
fn unprovoked(code: Code, task: &Task) -> bool {
    match code {
        Code::Cancelled => !task.cancelled,
        Code::Suspended => !task.suspended,
        Code::DiskFull => !task.disk_full,
        Code::NotFound => true,
        // Who goes on asks first what is there.
        Code::DataMissing => !task.lost_alive,
        _ => false,
    }
}

/// Of a manifest what is looked at: not its parts, of which there may be millions.
#[derive(Deserialize)]
struct Manifest {
    vid: String,
    extents: Vec<Extent>,
}

#[derive(Deserialize)]
struct Extent {
    key: String,
    version_id: Option<String>,
}

/// The JSON of a signed object.
fn json<T: DeserializeOwned>(object: &[u8]) -> Option<T> {
    serde_json::from_slice(object.split(|byte| *byte == b'\n').next()?).ok()
}

/// What is wrong with bytes that should be a source's; whichever of its editions.
pub(crate) fn wrong(content: &Content, source: u32, offset: u64, length: u64) -> Option<String> {
    if content.length() != length {
        return Some(format!("{} bytes in place of {length}", content.length()));
    }
    let mut at = offset;
    for chunk in content.chunks() {
        if chunk.source != source || chunk.offset != at || chunk.flipped {
            return Some(format!("{chunk:?} at {at}"));
        }
        at += chunk.length;
    }
    (at - offset != length).then(|| "bytes of no source".to_owned())
}
