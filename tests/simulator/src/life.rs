//! The life cycle of a task: how it starts, ends, is killed and resumes, and what is injected in between.

use s3vault_core::crypto::data_key::DataKey;
use s3vault_core::transfer::checkpoint::{Checkpoint, FileIdentity};
use s3vault_core::transfer::{Delivery, ReadRequest};
use s3vault_core::vault::{Cursor, Find, Found, Labels, Locate, Open, Put, PutRequest, Read, Selector, Vid};
use s3vault_core::{Code, Error, Input, Result};

use crate::content::are_without_bytes;
use crate::coverage::Probe;
use crate::scenario::{Action, Injection};
use crate::store::BUCKET;
use crate::task::{Ended, How, Job, Machine, Outcome, Task};
use crate::world::{Event, World};

impl World {
    pub(crate) fn start_task(&mut self, task: usize) {
        let seed = self.random.u64(..);
        match self.job(task) {
            Job::Put(_) if self.tasks[task].outcome.is_some() => {}
            Job::Put(_) => self.start_put(task, seed),
            Job::Read { .. } => {
                let vault = self.tasks[task].vault.clone();
                self.start(task, Machine::Open(Open::new(vault, seed)));
            }
            Job::Find { name, selector, .. } => self.start_find(task, name, selector, seed),
            Job::List { listing, .. } => self.list(task, listing, Cursor::default()),
        }
    }

    fn start_put(&mut self, task: usize, seed: u64) {
        let Some(put) = self.tasks[task].put().cloned() else { return };
        if put.is_incremental && self.tasks[task].life == 0 {
            self.tasks[task].parent = self.newest_acknowledged(put.name);
        }
        let parent = self.tasks[task].parent.as_ref().and_then(|parent| Vid::parse(parent).ok());
        let (source, life) = (self.tasks[task].source, self.tasks[task].life);
        let checkpoint = if put.has_checkpoint {
            match Checkpoint::parse(&self.tasks[task].disk, &self.tasks[task].vault.checkpoint_key()) {
                Ok((checkpoint, good)) => {
                    self.log(|| format!("{task} reads its checkpoint: {good} bytes are good"));
                    self.tasks[task].disk.truncate(good);
                    Some(checkpoint)
                }
                Err(e) => return self.violate(format!("task {task}'s own checkpoint cannot be read: {e:?}")),
            }
        } else {
            None
        };
        let identity = FileIdentity {
            device: 1,
            inode: u64::from(source),
            size: put.length,
            modified_ns: i64::from(self.tasks[task].edition),
            changed_ns: Some(i64::from(self.tasks[task].edition)),
        };
        let mut entropy = [0; 10];
        entropy[..4].copy_from_slice(&source.to_be_bytes());
        entropy[4..8].copy_from_slice(&life.to_be_bytes());
        let request = PutRequest {
            name: self.name(put.name),
            parent,
            length: put.is_file.then_some(put.length),
            source: put.is_file.then_some(identity),
            live: false,
            labels: Labels::default(),
            checkpoint,
            memory: put.memory,
            entropy,
            data_key: DataKey::new([3; 32]),
            seed,
        };
        self.log(|| {
            let kind = if put.is_file { "a file" } else { "a stream" };
            let saved = if put.has_checkpoint { ", with a checkpoint" } else { "" };
            format!("{task} puts {kind} of {} bytes as {}{saved}", put.length, put.name)
        });
        match Put::new(self.tasks[task].vault.clone(), request) {
            Ok(machine) => self.start(task, Machine::Put(machine)),
            Err(e) => self.put_ended(task, Err(e)),
        }
    }

    pub(crate) fn ended(&mut self, task: usize, machine: Machine, result: Result<Ended>) {
        let job = self.job(task);
        self.check_duration(task);
        if let Err(e) = &result {
            self.check_error(task, e);
        }
        match (job, result) {
            (Job::Put(_), Err(e)) if e.code() == Code::OutcomeUnknown && self.tasks[task].again < 2 => {
                self.log(|| format!("{task} does not know: {e}"));
                self.tasks[task].again += 1;
                self.tasks[task].machine = Some(machine);
                let (life, delay) = (self.tasks[task].life, self.random.u64(0..600_000));
                self.after(delay, Event::Again { task, life });
            }
            (Job::Put(_), Ok(Ended::Stored(found))) => self.put_ended(task, Ok(found.row.vid.clone())),
            (Job::Put(_), Err(e)) => self.put_ended(task, Err(e)),
            (Job::Read { name, vid, .. }, Ok(Ended::Opened)) => {
                let Ok(vid) = Vid::parse(&vid) else { return };
                let (vault, seed) = (self.tasks[task].vault.clone(), self.random.u64(..));
                let find = Find::new(vault, self.name(name), Selector::Version(vid), None, seed);
                self.tasks[task].machine = Some(Machine::Find(find));
                self.again_soon(task);
            }
            // Its data has no bytes to compare.
            (Job::Read { .. }, Ok(Ended::Found(_))) if are_without_bytes() => {}
            (Job::Read { .. }, Ok(Ended::Found(found))) => self.read_found(task, found),
            (Job::Read { .. }, Ok(Ended::Located(located))) => self.read_bytes(task, located),
            (Job::Read { how: How::File, .. }, Ok(_)) => self.check_restored(task),
            (Job::Read { how: How::Bytes, .. }, Ok(_)) => self.check_bytes(task),
            (Job::Read { .. }, Ok(_)) => self.check_read(task),
            (Job::Read { vid, must_succeed: true, .. }, Err(e)) if !self.spoiled.contains(&vid) => {
                self.violate(format!("version {vid} is visible, and cannot be restored: {e:?}"));
            }
            (Job::Read { .. }, Err(e)) => {
                self.check_read_failed(task, &e);
                self.restore_failed(task, &e);
            }
            (Job::Find { .. }, Ok(Ended::Found(found))) => self.found(task, found),
            (Job::Find { .. }, Err(e)) => self.not_found(task, &e),
            (Job::List { listing, .. }, Ok(Ended::Listed(rows, next))) => {
                self.tasks[task].listed.extend(rows);
                match next {
                    Some(cursor) => self.list(task, listing, cursor),
                    None => self.check_listed(task, listing),
                }
            }
            (Job::List { must_succeed, .. }, Err(e)) => self.lookup_failed(task, must_succeed, &e),
            _ => self.violate(format!("task {task}'s machine ended with something else than it is for")),
        }
    }

    /// A version was found: reads it.
    pub(crate) fn read_found(&mut self, task: usize, found: Box<Found>) {
        let manifest = std::sync::Arc::new(found.manifest.clone());
        self.tasks[task].found = Some(found);
        let vault = self.tasks[task].vault.clone();
        let how = self.tasks[task].how();
        if how == Some(How::Bytes) {
            let seed = self.extra.u64(..);
            return match Locate::new(vault, manifest, seed) {
                Ok(locate) => {
                    self.tasks[task].machine = Some(Machine::Locate(locate));
                    self.again_soon(task);
                }
                Err(e) => self.violate(format!("a manifest that was verified cannot be read: {e:?}")),
            };
        }
        let (seed, mut delivery) = (self.random.u64(..), self.delivery());
        let mut request = ReadRequest { delivery, ..ReadRequest::default() };
        if how == Some(How::File) {
            request = self.request_rest(task);
            delivery = request.delivery;
        }
        self.tasks[task].delivery = delivery;
        self.tasks[task].patience_ms = [1, 50, 100_000][self.random.usize(0..3)];
        self.hit(match delivery {
            Delivery::InOrder => Probe::ReadInOrder,
            Delivery::WholeParts { .. } => Probe::ReadWholeParts,
            _ => Probe::ReadByPosition,
        });
        self.log(|| format!("{task} reads, {delivery:?}"));
        match Read::new(vault, manifest, request, seed) {
            Ok(read) => {
                self.tasks[task].machine = Some(Machine::Read(read));
                self.again_soon(task);
            }
            Err(e) => self.violate(format!("a manifest that was verified cannot be read: {e:?}")),
        }
    }

    /// The newest version of a name that was acknowledged.
    fn newest_acknowledged(&self, name: usize) -> Option<String> {
        let own = self.tasks.iter().filter(|task| task.put().is_some_and(|put| put.name == name));
        let stored = own.filter_map(|task| match &task.outcome {
            Some(Outcome::Stored { vid }) => Some(vid),
            _ => None,
        });
        stored.filter(|vid| !self.removed.contains(*vid)).min().cloned()
    }

    pub(crate) fn again_soon(&mut self, task: usize) {
        let life = self.tasks[task].life;
        self.tasks[task].wake = Some(self.time);
        self.after(0, Event::Wake { task, life });
    }

    fn put_ended(&mut self, task: usize, result: Result<String, Error>) {
        match result.as_ref().map_err(Error::code) {
            Err(Code::Cancelled) => self.hit(Probe::Cancelled),
            Err(Code::Suspended) => self.hit(Probe::Suspended),
            Err(Code::SourceChanged) => self.hit(Probe::ChangeNoticed),
            _ => {}
        }
        self.log(|| match &result {
            Ok(vid) => format!("{task} is acknowledged: {vid}"),
            Err(e) => format!("{task} ends: {e:?}"),
        });
        self.check_end(task, &result);
        let Some(put) = self.tasks[task].put().cloned() else { return };
        match result {
            Ok(vid) => {
                self.vids.insert(vid.clone(), task);
                self.look_up(put.name);
                self.tasks[task].outcome = Some(Outcome::Stored { vid: vid.clone() });
                if self.random.bool() {
                    let vault = if self.random.bool() { self.tasks[task].vault.clone() } else { self.vault() };
                    let source = self.tasks[task].source;
                    self.add_task(
                        vault,
                        Job::Read { name: put.name, vid, source, must_succeed: false, how: How::Stream },
                    );
                }
            }
            Err(e) => {
                let name = e.code().info().name.to_owned();
                let for_good =
                    matches!(e.code(), Code::Cancelled | Code::SourceChanged | Code::Damaged | Code::Abandoned);
                // A put whose upload was abandoned restarts.
                let may_resume = !for_good || e.code() == Code::Abandoned;
                if put.has_checkpoint && may_resume && self.tasks[task].patience > 0 && e.code() != Code::BadCheckpoint
                {
                    self.tasks[task].patience -= 1;
                    return self.killed(task);
                }
                let is_open =
                    e.code() == Code::OutcomeUnknown || self.tasks[task].was_killed || put.has_checkpoint && !for_good;
                self.tasks[task].outcome = Some(if is_open { Outcome::Open(name) } else { Outcome::Failed(name) });
            }
        }
    }

    /// Adds a task, to read or list what is stored.
    pub(crate) fn add_task(&mut self, vault: std::sync::Arc<s3vault_core::vault::Vault>, job: Job) {
        let task = self.tasks.len();
        self.tasks.push(Task::new(job, vault, 0));
        let delay = self.random.u64(0..60_000);
        self.after(delay, Event::Start { task });
    }

    pub(crate) fn again(&mut self, task: usize, life: u32) {
        if self.tasks[task].life == life {
            self.hit(Probe::Again);
            self.log(|| format!("{task} commits again"));
            self.tasks[task].in_a_row.clear();
            (self.tasks[task].started, self.tasks[task].dealt_ms) = (self.time, 0);
            self.drive(task, Some(Input::Retry));
        }
    }

    pub(crate) fn inject(&mut self, number: usize) {
        let injection = self.scenario.injections[number];
        let Some(task) = self.task_of(injection) else { return };
        self.log(|| format!("--- [t{number}] {:?} of {task}", injection.action));
        self.note_injection(task, injection.action);
        let now = self.time;
        match injection.action {
            Action::Crash if self.tasks[task].put().is_none() => self.restore_crash(task, false),
            Action::Crash => self.crash(task),
            Action::Cancel => self.drive(task, Some(Input::Cancel)),
            Action::Suspend => {
                self.tasks[task].suspended = true;
                self.drive(task, Some(Input::Suspend));
            }
            Action::Vanish => {
                let mine: Vec<String> = self.uploads_of(task);
                for id in mine {
                    self.log(|| format!("    somebody aborts {id}"));
                    let key =
                        self.bucket().open_uploads().find(|(_, upload)| upload.id == id).map(|(key, _)| key.clone());
                    let aborted = key.map(|key| self.store.abort(BUCKET, &key, &id));
                    debug_assert!(matches!(aborted, Some(Ok(()))));
                    self.hit(Probe::UploadVanished);
                    self.tasks[task].vanished = true;
                }
            }
            Action::Change(block) => {
                if self.tasks[task].machine.is_some() {
                    self.hit(Probe::SourceChanged);
                }
                self.tasks[task].edition += 1;
                self.tasks[task].changed_from = block;
            }
            Action::ClientClock(step) => {
                self.hit(Probe::ClockStep);
                self.has_stepped = true;
                self.client_off_ms += step;
            }
            Action::StoreClock(step) => {
                self.hit(Probe::ClockStep);
                self.has_stepped = true;
                self.store_off_ms += step;
                if step < 0 {
                    self.hit(Probe::StoreClockBack);
                }
            }
            Action::Expire(renewed) => {
                self.store.expired_keys.push(format!("A{}", self.keys));
                if renewed {
                    self.keys += 1;
                } else {
                    // New ones come later only.
                    self.no_keys = true;
                    self.after(900_000, Event::NewKeys);
                }
            }
            Action::DiskFull => self.tasks[task].disk_full = true,
            Action::Storm(time) => self.storm_until = now + time,
            Action::Outage(time) => self.outage_until = now + time,
            Action::Unreachable(time) => self.unreachable_until = now + time,
            Action::FailAfter(time) => self.fail_after_until = now + time,
            Action::Break => self.break_all(task),
            Action::Echo(delay) => self.echo(task, delay),
            Action::PowerCut => self.restore_crash(task, true),
            Action::Spoil(is_replaced) => self.spoil(task, is_replaced),
            Action::LosePart(which) => self.lose_part(task, which),
            Action::BreakUpload(gone) => self.break_upload(task, gone),
        }
    }

    /// The task of an injection.
    pub(crate) fn task_of(&self, injection: Injection) -> Option<usize> {
        if injection.reader { self.reader_of(injection.task) } else { Some(injection.task) }
    }

    fn restore_crash(&mut self, task: usize, power_cut: bool) {
        if self.tasks[task].machine.is_some() {
            self.restore_killed(task, power_cut);
        }
    }

    /// The store loses a part whose ETag it has returned.
    fn lose_part(&mut self, task: usize, which: u64) {
        for id in self.uploads_of(task) {
            let upload = self.bucket_mut().open_upload_mut(&id);
            let Some(upload) = upload.filter(|upload| !upload.parts.is_empty()) else {
                continue;
            };
            let nth = (which % upload.parts.len() as u64) as usize;
            let Some(number) = upload.parts.keys().nth(nth).copied() else { continue };
            upload.parts.remove(&number);
            self.log(|| format!("    the store loses part {number} of {id}"));
            self.hit(Probe::PartVanished);
            self.lost(task, &id, 1);
        }
    }

    /// As MinIO does when the caller of a Complete is gone.
    fn break_upload(&mut self, task: usize, gone: u64) {
        for id in self.uploads_of(task) {
            let is_completing = self.tasks[task].completing.contains(&id);
            let Some(upload) = self.bucket_mut().open_upload_mut(&id).filter(|_| is_completing) else { continue };
            let before = upload.parts.len();
            upload.parts.retain(|number, _| gone >> (number % 64) & 1 == 0);
            upload.is_broken = true;
            let lost = before - upload.parts.len();
            self.log(|| format!("    the store starts to complete {id}, and stops: {lost} parts are gone"));
            self.hit(Probe::UploadBroken);
            self.tasks[task].upload_broken = true;
            self.lost(task, &id, lost as u32);
        }
    }

    /// The store lost this many parts of an upload.
    fn lost(&mut self, task: usize, id: &str, parts: u32) {
        let task = &mut self.tasks[task];
        task.lost_parts += parts;
        task.lost_alive |= task.machine.is_some();
        // It has to be sent again, and of a stream everything after it.
        task.safe_parts.retain(|(upload, _)| upload != id);
        task.saved_parts.retain(|(upload, _), _| upload != id);
    }

    fn crash(&mut self, task: usize) {
        if self.tasks[task].machine.is_none() {
            return;
        }
        self.note_crash(task);
        self.tear(task);
        self.killed(task);
    }

    /// Records that were not answered may be on disk, or a piece of the next one, or a wrong one.
    fn tear(&mut self, task: usize) {
        while let Some((record, restart)) = self.tasks[task].unsaved.pop_front() {
            let length = record.len();
            let kept = match self.random.u32(0..4) {
                0 => break,
                1 => record.clone(),
                2 => record[..self.random.usize(0..length)].to_vec(),
                _ => {
                    // A page of it did not reach the disk: a digit is another.
                    let mut torn = record.clone();
                    let digits: Vec<usize> = (34..length.max(34)).filter(|at| torn[*at].is_ascii_digit()).collect();
                    if let Some(at) = digits.get(self.random.usize(0..digits.len().max(1))) {
                        torn[*at] = if torn[*at] == b'1' { b'2' } else { b'1' };
                    }
                    torn
                }
            };
            if kept != record {
                self.hit(Probe::Torn);
            }
            let is_whole = kept == record;
            if restart && !is_whole {
                // A new file takes the old one's place when it is whole.
                break;
            }
            self.log(|| {
                format!("    {} of {length} bytes of a record stay{}", kept.len(), if is_whole { "" } else { ", torn" })
            });
            if is_whole {
                self.note_saved(task, &kept, restart);
            }
            let disk = &mut self.tasks[task].disk;
            if restart {
                disk.clear();
            }
            disk.extend_from_slice(&kept);
            if !is_whole {
                break;
            }
        }
    }

    /// The process is gone. A new one resumes from the checkpoint, if there is one.
    fn killed(&mut self, task: usize) {
        self.note_death(task);
        self.tasks[task].die();
        self.tasks[task].was_killed = true;
        self.tasks[task].disk_full = false;
        let has_checkpoint = self.tasks[task].put().is_some_and(|put| put.has_checkpoint);
        if has_checkpoint {
            self.fresh_vault(task);
            let delay = [1, 1_000, 60_000, 1_200_000, 7_200_000][self.random.usize(0..5)];
            self.after(delay, Event::Start { task });
        } else {
            self.tasks[task].outcome = Some(Outcome::Open("killed".into()));
        }
    }
}
