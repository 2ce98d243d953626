//! Requests: when one is sent, and when it takes effect.

use s3_model::{NULL, Version};
use s3vault_core::http::{ReplyBody, Request};
use s3vault_core::vault::Vid;
use s3vault_core::vault::objects::{CATALOGUE, LOCATORS};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{FILE_WINDOW, wrong};
use crate::content::Content;
use crate::coverage::Probe;
use crate::lookup::StoredRow;
use crate::mode::Mode;
use crate::wire::{Answer, Wire};
use crate::world::World;

impl World {
    pub(crate) fn check_send(&mut self, number: usize, request: &Request, wire: &Wire, part: Option<u32>) {
        if let ReplyBody::Range(range) = request.reply {
            self.check_reader(number, range);
        }
        let upload_id = wire.parameter("uploadId").to_owned();
        let is_open = self.bucket().open_upload(&upload_id).is_some();
        let now = self.store_ms();
        self.ahead_ms = self.ahead_ms.max(now - self.time as i64);
        // Where a proxy tells a wrong time, or clocks step, what a process takes for the store's clock may be ahead of it.
        let is_sure = !self.has_stepped && self.scenario.second.proxy_ms == 0;
        let passed_ms = if is_sure { self.time as i64 + self.ahead_ms } else { i64::MAX };
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
                    broken.push(format!("upload {upload_id} is aborted, and its checkpoint could be resumed"));
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
            // A locator may be sent beside its check: its date is one that the store's clock has passed, unless it
            // stepped back since a reply showed it.
            let checked_ms = if wire.puts(LOCATORS) { passed_ms } else { task.checked_ms };
            if wire.date_ms() > checked_ms {
                let late = wire.date_ms().saturating_sub(checked_ms);
                broken.push(format!("{} is dated {late} ms after its check", wire.short()));
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
            self.note_page(number);
            // After the store's clock stepped back, what was signed under an older check still has its date.
            let task = &mut self.tasks[number];
            task.checked_ms = task.checked_ms.max(now);
        }
        if wire.puts(LOCATORS)
            && let Some((vid, _)) = wire.request.key.rsplit_once('/').and_then(|(_, last)| last.split_once('.'))
        {
            self.vids.entry(vid.to_owned()).or_insert(number);
        }
        if let Some(vid) = wire.request.header("x-amz-meta-s3vault-vid") {
            if !self.older.contains_key(vid) {
                self.check_newest(number, vid);
            }
            if self.locator(vid).is_none() {
                self.violate(format!("{} takes effect, and no locator names version {vid}", wire.short()));
            }
        }
        if wire.puts(CATALOGUE) {
            self.check_row(number, wire);
        }
    }

    /// A put has decided on its version id, since it stores data: its version is newer than all that it has listed.
    fn check_newest(&mut self, number: usize, vid: &str) {
        let before = std::mem::take(&mut self.tasks[number].before);
        self.tasks[number].data_ms = None;
        if let Some(newer) = before.iter().find(|before| before.as_str() < vid) {
            self.violate(format!("version {vid} is chosen after {newer} was listed, and sorts as older"));
        }
        if Vid::parse(vid).is_ok_and(|vid| vid.unix_ms() > self.store_ms() + 60_000) {
            self.hit(Probe::VidAhead);
        }
        self.older.insert(vid.to_owned(), before);
    }

    /// The recorded time is the put's start, or its end.
    fn check_recorded(&mut self, number: usize, vid: &str, recorded_ms: i64) {
        // The engine knows the store's clock to the second, and to the duration of a reply.
        let about = 100_000;
        let is_wrong = self.tasks[number].data_ms.is_some_and(|(first, last)| {
            if self.scenario.second.record_after_store {
                recorded_ms < last - about
            } else {
                recorded_ms > first + about
            }
        });
        if is_wrong && !self.has_stepped {
            self.violate(format!("version {vid} is recorded at {recorded_ms}: {:?}", self.tasks[number].data_ms));
        }
    }

    /// Hits the probes for differences between a list of parts and the checkpoint.
    fn note_parts(&mut self, number: usize, upload_id: &str) {
        let Some(upload) = self.bucket().open_upload(upload_id) else { return };
        let first = self.tasks[number].first_part().unwrap_or(1);
        let mut hits = Vec::new();
        for ((id, part), (_, etag)) in &self.tasks[number].saved_parts {
            // A part of an extent before this one has no number in its upload.
            let number_in_upload = (part + 1).checked_sub(first);
            match number_in_upload.and_then(|number| upload.parts.get(&number)) {
                Some(found) if id == upload_id && found.etag() != etag.trim_matches('"') => {
                    hits.push(Probe::PartListedOtherwise)
                }
                _ => {}
            }
        }
        if self.tasks[number].lost_parts > 0 {
            hits.push(Probe::PartMissed);
        }
        hits.into_iter().for_each(|probe| self.hit(probe));
    }

    /// The newest locator of a version.
    pub(super) fn locator(&self, vid: &str) -> Option<Value> {
        let mut keys = self.bucket().keys(LOCATORS);
        let is_its = |key: &str| key.rsplit_once('/').is_some_and(|(_, last)| last.starts_with(vid));
        let (_, versions) = keys.find(|(key, _)| is_its(key))?;
        json(versions.last()?.content()?.as_bytes())
    }

    /// A row took effect: all of its data is there.
    fn check_row(&mut self, number: usize, wire: &Wire) {
        let Some(Manifest { vid, parent, recorded, size, extents }) = json(wire.request.body.as_bytes()) else {
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
            // The manifest names a version where the bucket has versions.
            let id = version_id.as_deref().or((self.scenario.second.mode == Mode::Emulated).then_some(NULL));
            let mut versions = self.bucket().versions(key).iter();
            let version = versions.find(|version| Some(version.id.as_str()) == id);
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
            self.hit(Probe::Extents);
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
        let task = &self.tasks[number];
        if task.parent != parent {
            return self.violate(format!("version {vid} has the parent {parent:?} in place of {:?}", task.parent));
        }
        if parent.is_some() {
            self.hit(Probe::Incremental);
        }
        self.check_recorded(number, &vid, recorded);
        let name = self.tasks[number].put().map_or(0, |put| put.name);
        let row = StoredRow { name, vid, parent, recorded_ms: recorded, length: size };
        self.rows.insert(wire.request.key.clone(), row);
    }
}

/// The fields of a manifest that are checked; not its parts, which may be millions.
#[derive(Deserialize)]
struct Manifest {
    vid: String,
    parent: Option<String>,
    recorded: i64,
    size: u64,
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
