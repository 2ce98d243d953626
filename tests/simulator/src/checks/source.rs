//! The source of a put, its parts, and its checkpoint.

use s3vault_core::SourceStart;
use s3vault_core::checksum::Digest;
use serde_json::Value;

use super::{FILE_WINDOW, LEAST, STREAM_WINDOW};
use crate::coverage::Probe;
use crate::scenario::Action;
use crate::store;
use crate::task::Held;
use crate::world::World;

impl World {
    pub(crate) fn check_start(&mut self, number: usize, SourceStart { offset, ended, stored }: SourceStart) {
        let Some(put) = self.tasks[number].put().cloned() else { return };
        let task = &self.tasks[number];
        let restarts = put.is_file && (task.upload_broken || task.replaced + task.lost_parts > 0);
        if task.position.is_some() && !restarts {
            self.violate(format!("task {number}'s source starts twice"));
        }
        if self.tasks[number].life == 0 && (offset > 0 || ended) || offset > put.length || ended && offset < put.length
        {
            self.violate(format!("task {number}'s source of {} bytes starts at {offset}, ended: {ended}", put.length));
        }
        // What is read from here on is another backup than what was read before.
        self.tasks[number].readings.clear();
        // Only a file can have stored parts after a gap.
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
            None => broken.push(format!("part {part} is asked for before the source starts")),
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

    /// A part was read completely, and the machine knows its digest.
    pub(crate) fn note_reading(&mut self, number: usize, part: Option<u32>, digest: Digest) {
        let Some(part) = part else { return };
        if self.tasks[number].readings.insert(part, digest).is_some_and(|before| before != digest) {
            self.readings_differ(number, Some(part));
        }
    }

    pub(crate) fn readings_differ(&mut self, number: usize, part: Option<u32>) {
        self.hit(Probe::ReadingsDiffer);
        self.tasks[number].differs = part;
    }

    /// A record is on disk.
    pub(crate) fn note_saved(&mut self, number: usize, record: &[u8], restart: bool) {
        let task = &mut self.tasks[number];
        if restart {
            task.saved_parts.clear();
            task.extent.clear();
        }
        let text = std::str::from_utf8(record).unwrap_or_default();
        // The first record comes with the file's first line.
        let json = text.lines().next_back().and_then(|line| line.split_once(' '));
        let Some(record) = json.and_then(|(_, json)| serde_json::from_str::<Value>(json).ok()) else {
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
        // What the store lost before its record was safe was never stored for the process that resumes.
        let is_lost = |upload: &String, part: u32| {
            bucket.open_upload(upload).is_some_and(|open| !open.parts.contains_key(&(part + 1).saturating_sub(first)))
        };
        let task = &mut self.tasks[number];
        task.saved_parts.retain(|(upload, part), _| *upload != task.extent || !is_lost(upload, *part));
        task.safe_parts.clear();
        let is_file = task.put().is_some_and(|put| put.is_file);
        let mut next = None;
        for ((upload, part), (length, _)) in &task.saved_parts {
            // A stream's bytes after the first missing part come again, including a short last part.
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

    /// Hits the probe for the state of a put whose process is killed.
    pub(crate) fn note_crash(&mut self, number: usize) {
        let task = &self.tasks[number];
        if task.put().is_none() {
            return;
        }
        let text = String::from_utf8_lossy(&task.disk);
        let last = text.lines().filter_map(|line| line.split_once("\"record\":\"")).next_back();
        let last = last.and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default();
        let probe = match last {
            "part" => Some(Probe::CrashWithParts),
            "complete" => Some(Probe::CrashAfterComplete),
            "stored" => Some(Probe::CrashBetweenExtents),
            "row" => Some(Probe::CrashWithRow),
            _ => None,
        };
        self.hit(Probe::Crash);
        probe.into_iter().for_each(|probe| self.hit(probe));
    }

    pub(crate) fn note_injection(&mut self, number: usize, action: Action) {
        if action == Action::Cancel {
            self.tasks[number].cancelled = true;
        }
    }
}
