//! The driver of a machine: it sends requests, keeps parts, saves records, accepts ranges and finds keys.

use std::sync::Arc;

use s3vault_core::checksum::Digest;
use s3vault_core::credentials::Credentials;
use s3vault_core::http::{Body, Part, Request};
use s3vault_core::transfer::Delivery;
use s3vault_core::{Code, Error, Input, Output, PartRequest, SourceStart};
use zeroize::Zeroizing;

use crate::content::{BLOCK, Chunk, Content};
use crate::coverage::Probe;
use crate::task::{Held, Job, Machine};
use crate::world::{Event, World};

/// The body of a request, as the driver reads it.
pub(crate) struct Sending {
    pub(crate) content: Content,
    pub(crate) part: Option<u32>,
    /// The bytes that were read, if they are hashed while they are sent.
    pub(crate) read: Option<Digest>,
    /// A reading gave other bytes than the first one.
    pub(crate) is_changed: bool,
}

impl World {
    pub(crate) fn start(&mut self, task: usize, machine: Machine) {
        (self.tasks[task].started, self.tasks[task].dealt_ms) = (self.time, 0);
        self.tasks[task].machine = Some(machine);
        self.drive(task, None);
    }

    /// Hands an input to a task's machine, and does what it says until it waits or ends.
    pub(crate) fn drive(&mut self, task: usize, input: Option<Input<'_>>) {
        let Some(mut machine) = self.tasks[task].machine.take() else { return };
        let life = self.tasks[task].life;
        if let Some(input) = input {
            machine.handle(self.now(), input);
        }
        for turn in 0.. {
            if turn > 100_000 {
                return self.violate(format!("task {task}'s machine never waits"));
            }
            if self.report.violation.is_some() {
                return;
            }
            match machine.poll(self.now()) {
                Output::Send(request) => self.send(task, &request),
                Output::Abandon(id) => self.abandon(task, id),
                Output::Start(start) => self.source_starts(task, start),
                Output::Save { record, restart } => self.save(task, record, restart),
                Output::NeedPart(part) => self.need_part(task, part),
                Output::HashPart(Part { number, offset, length, .. }) => {
                    let delay = self.random.u64(0..50);
                    self.tasks[task].dealt_ms += delay;
                    self.after(delay, Event::Hash { task, life, number, offset, length });
                }
                Output::ReleasePart(number) => self.release(task, number),
                Output::Segments(_) => {}
                Output::Accept(range) => {
                    self.accept(task, range);
                    let delay = self.random.u64(0..self.tasks[task].patience_ms);
                    self.tasks[task].dealt_ms += delay;
                    self.after(delay, Event::Consumed { task, life, index: range.index });
                }
                Output::NeedCredentials { generation } => {
                    let found = self.random.u32(0..8) > 0 || self.is_over;
                    let delay = self.random.u64(1..2000);
                    self.tasks[task].keys_awaited += 1;
                    self.tasks[task].dealt_ms += delay;
                    self.after(delay, Event::Keys { task, life, generation, found });
                }
                Output::Event(s3vault_core::Event::Without { what }) => self.hit(match &*what {
                    what if what.contains("as data") => Probe::FramingFound,
                    what if what.contains("whole objects") => Probe::WholeDistrusted,
                    _ => Probe::SentLess,
                }),
                // What stays on the store is checked at the end of a run.
                Output::Event(_) => {}
                Output::Wait(at) => {
                    self.check_wait(task, at);
                    self.tasks[task].machine = Some(machine);
                    if let Some(at) = at
                        && self.tasks[task].wake != Some(at)
                    {
                        self.tasks[task].wake = Some(at);
                        let delay = at.saturating_sub(self.time).max(1);
                        self.after(delay, Event::Wake { task, life });
                    }
                    return;
                }
                Output::Done(result) => return self.ended(task, machine, result),
            }
        }
    }

    /// Bytes of a task's source, as it is now.
    pub(crate) fn read(&self, task: usize, offset: u64, length: u64) -> Content {
        let task = &self.tasks[task];
        let changed_from = task.changed_from.saturating_mul(BLOCK);
        let chunk = |offset, length, edition| Chunk { source: task.source, edition, offset, length, flipped: false };
        if length == 0 {
            return Content::default();
        }
        if task.edition == 0 || offset + length <= changed_from {
            return Content::chunk(chunk(offset, length, 0));
        }
        let before = changed_from.saturating_sub(offset);
        let whole = [(offset, before, 0), (offset + before, length - before, task.edition)];
        let whole = whole.into_iter().filter(|(_, length, _)| *length > 0);
        Content::Chunks(whole.map(|(offset, length, edition)| chunk(offset, length, edition)).collect())
    }

    pub(crate) fn body(&mut self, task: usize, request: &Request) -> Sending {
        let small = |content| Sending { content, part: None, read: None, is_changed: false };
        match &request.body {
            Body::Empty => small(Content::default()),
            Body::Bytes(bytes) => small(Content::Bytes(bytes.clone())),
            Body::Part(Part { number, offset, length, digest, .. }) => {
                let is_file = self.tasks[task].put().is_some_and(|put| put.is_file);
                let held = self.tasks[task].parts.get(number).copied();
                if !is_file && !held.is_some_and(|held| held.ready && (held.offset, held.length) == (*offset, *length))
                {
                    self.violate(format!(
                        "part {number} of task {task} is sent, and was released or never there: {held:?}"
                    ));
                }
                let content = self.read(task, *offset, *length);
                let found = content.digest();
                Sending {
                    content,
                    part: Some(*number),
                    read: digest.is_none().then_some(found),
                    is_changed: digest.is_some_and(|first| first != found),
                }
            }
        }
    }

    fn source_starts(&mut self, task: usize, start: SourceStart) {
        let SourceStart { offset, ended, .. } = start;
        self.log(|| format!("{task} reads its source from {offset}{}", if ended { ", which has ended" } else { "" }));
        self.check_start(task, start);
        if offset > 0 {
            self.hit(Probe::Resumed);
        }
        self.tasks[task].position = Some(offset);
    }

    fn need_part(
        &mut self,
        task: usize,
        PartRequest { number, offset, length, min_length, hash_first, .. }: PartRequest,
    ) {
        let part = Held { offset, length, min_length, hash_first, ready: false };
        self.check_need(task, number, &part);
        let Some(put) = self.tasks[task].put() else { return };
        let delay = self.random.u64(0..=put.slowness);
        self.tasks[task].dealt_ms += delay;
        let life = self.tasks[task].life;
        self.tasks[task].parts.insert(number, part);
        self.after(delay, Event::Part { task, life, number });
    }

    /// Bytes of a stream that its process holds.
    fn held(&self, task: usize) -> u64 {
        self.tasks[task].parts.values().filter(|part| part.ready).map(|part| part.length).sum()
    }

    pub(crate) fn part(&mut self, task: usize, life: u32, number: u32) {
        if self.tasks[task].life != life {
            return;
        }
        let (Some(put), Some(part)) = (self.tasks[task].put().cloned(), self.tasks[task].parts.get(&number).copied())
        else {
            return;
        };
        let is_next = put.is_file
            || self.tasks[task].parts.iter().find(|(_, part)| !part.ready).is_some_and(|(n, _)| *n == number);
        if part.ready || !is_next {
            return;
        }
        let left = put.length.saturating_sub(part.offset);
        let mut length = part.length.min(left);
        if !put.is_file {
            let held = self.held(task);
            let room = put.memory.saturating_sub(held);
            if room < part.min_length.min(left) && held > 0 {
                // It waits for a release, which asks again.
                return;
            }
            // Where memory is short a part ends as soon as it may.
            length = length.min(room.max(part.min_length));
            if self.random.u32(0..8) == 0 {
                length = length.min(part.min_length);
            }
        }
        let ends = part.offset + length == put.length;
        let last = ends && (put.is_file || put.ends_early || length < part.min_length || length == 0);
        let content = self.read(task, part.offset, length);
        let digest = (part.hash_first || !put.is_file).then(|| content.digest());
        if let Some(held) = self.tasks[task].parts.get_mut(&number) {
            *held = Held { length, ready: true, ..part };
        }
        if !put.is_file {
            self.tasks[task].position = Some(part.offset + length);
            if let Some((next, _)) = self.tasks[task].parts.iter().find(|(_, part)| !part.ready) {
                let event = Event::Part { task, life, number: *next };
                self.after(0, event);
            }
        }
        self.log(|| format!("{task} has part {number}: {length} bytes{}", if last { ", the last" } else { "" }));
        self.check_memory(task);
        self.drive(task, Some(Input::PartReady { number, length, digest, last, salt: None }));
    }

    /// Hashes a part as its bytes are now.
    pub(crate) fn hash(&mut self, task: usize, life: u32, number: u32, (offset, length): (u64, u64)) {
        if self.tasks[task].life != life {
            return;
        }
        let is_file = self.tasks[task].put().is_some_and(|put| put.is_file);
        let held = self.tasks[task].parts.get(&number);
        if !is_file && !held.is_some_and(|held| held.ready && (held.offset, held.length) == (offset, length)) {
            return self.violate(format!("part {number} of task {task} is hashed, and was released or never there"));
        }
        let content = self.read(task, offset, length);
        let (digest, md5) = (content.digest(), content.md5());
        self.drive(task, Some(Input::PartHashed { number, digest, md5 }));
    }

    fn release(&mut self, task: usize, number: u32) {
        if !self.tasks[task].put().is_some_and(|put| put.is_file) && self.is_sending(task, number) {
            self.violate(format!("part {number} of task {task} is released while it is sent"));
        }
        self.tasks[task].parts.remove(&number);
        let life = self.tasks[task].life;
        let waiting: Vec<u32> =
            self.tasks[task].parts.iter().filter(|(_, part)| !part.ready).map(|(number, _)| *number).collect();
        if !self.tasks[task].put().is_some_and(|put| put.is_file) {
            for number in waiting {
                self.after(0, Event::Part { task, life, number });
            }
        }
    }

    fn save(&mut self, task: usize, record: Vec<u8>, restart: bool) {
        let life = self.tasks[task].life;
        self.log(|| {
            let text = String::from_utf8_lossy(&record);
            let shown: String = text.split_once("\"record\":").map_or("", |(_, rest)| rest).chars().take(60).collect();
            format!("{task} saves {shown}{}", if restart { " to a new file" } else { "" })
        });
        if !self.tasks[task].put().is_some_and(|put| put.has_checkpoint) {
            return self.violate(format!("task {task} saves, and has no checkpoint"));
        }
        if restart && self.tasks[task].life > 0 {
            self.hit(Probe::Restarted);
        }
        // One file, one fsync after the other.
        let busy = self.tasks[task].unsaved.len() as u64;
        self.tasks[task].unsaved.push_back((record, restart));
        let delay = busy * 3 + self.random.u64(1..10);
        self.tasks[task].dealt_ms += delay;
        self.after(delay, Event::Saved { task, life });
    }

    pub(crate) fn saved(&mut self, task: usize, life: u32) {
        if self.tasks[task].life != life {
            return;
        }
        let Some((record, restart)) = self.tasks[task].unsaved.pop_front() else { return };
        if self.tasks[task].disk_full {
            self.hit(Probe::DiskFull);
            let why = Error::new(Code::DiskFull, "the checkpoint's disk is full");
            return self.drive(task, Some(Input::SaveFailed(why)));
        }
        self.note_saved(task, &record, restart);
        let disk = &mut self.tasks[task].disk;
        if restart {
            disk.clear();
        }
        disk.extend_from_slice(&record);
        self.drive(task, Some(Input::Saved));
    }

    pub(crate) fn consumed(&mut self, task: usize, life: u32, index: u32) {
        if self.tasks[task].life == life {
            self.tasks[task].in_hand.remove(&index);
            self.drive(task, Some(Input::RangeConsumed { index }));
        }
    }

    pub(crate) fn keys_found(&mut self, task: usize, life: u32, generation: u64, found: bool) {
        if self.tasks[task].life != life {
            return;
        }
        self.tasks[task].keys_awaited -= 1;
        let account = self.tasks[task].vault.account().clone();
        let input = if account.generation() > generation {
            Input::CredentialsRenewed
        } else if found {
            account.renew(Credentials {
                access_key: format!("A{}", self.keys),
                secret_key: Zeroizing::new("S".into()),
                session_token: None,
                expires_ms: None,
            });
            Input::CredentialsRenewed
        } else {
            self.tasks[task].keyless = true;
            Input::CredentialsKept(None)
        };
        self.tasks[task].keyless |= self.store.expired_keys.contains(&account.access_key());
        self.log(|| format!("{task} is told {input:?}"));
        self.hit(if matches!(input, Input::CredentialsRenewed) { Probe::NewKeys } else { Probe::NoKeys });
        self.drive(task, Some(input));
    }

    /// How a version is read: by the seed.
    pub(crate) fn delivery(&mut self) -> Delivery {
        match self.random.u32(0..3) {
            0 => Delivery::ByPosition,
            1 => Delivery::InOrder,
            _ => Delivery::WholeParts { memory: 256 << 20 },
        }
    }

    pub(crate) fn job(&self, task: usize) -> Job {
        self.tasks[task].job.clone()
    }

    pub(crate) fn fresh_vault(&mut self, task: usize) {
        let vault = self.vault();
        self.tasks[task].vault = Arc::clone(&vault);
    }
}
