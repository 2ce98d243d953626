//! The data: one extent after another, each an upload that is signed at a valid check.

use super::check::Purpose;
use super::{MAX_STARTS, Put, PutRequest, State};
use crate::SourceStart;
use crate::error::{Code, Error, Result};
use crate::http::Part;
use crate::mutation::{Mutation, is_active};
use crate::time::Now;
use crate::transfer::upload::{Completion, Object, Ready, Stored, Upload, source_cut};
use crate::vault::manifest::{self, Extent};
use crate::vault::{OBJECT_LIMIT, Vault};

impl Put {
    pub(super) fn first_ready(&mut self, now: Now, part: Part, last: bool) -> State {
        if part.length == 0 && part.number > 1 {
            // The source ended with the previous extent.
            if !self.plan.form().is_plain() {
                return self.fail(source_cut(part.number));
            }
            self.release = Some(part.number);
            return self.build_row(now);
        }
        self.first = Some(Ready { part, last });
        self.send(now)
    }

    /// Starts an extent, under a valid check.
    pub(super) fn send(&mut self, now: Now) -> State {
        let Some(first) = self.first else {
            return self.fail(Error::new(Code::Internal, "an upload was started without its first part"));
        };
        if !self.is_check_valid(now, self.check) {
            return self.recheck(Purpose::Data);
        }
        self.data_check = self.check;
        State::Sending(Box::new(Upload::new(&self.session, self.object(), self.plan, first, self.data_check)))
    }

    /// The object of the next extent.
    pub(super) fn object(&self) -> Object {
        let vid = self.vid.to_string();
        let mut headers = vec![("x-amz-meta-s3vault-vid".to_owned(), vid.clone())];
        headers.extend(self.vault.storage_class.iter().map(|class| ("x-amz-storage-class".to_owned(), class.clone())));
        headers.extend(self.lock.iter().flat_map(|lock| lock.headers()));
        let keys = self.vault.layout.data_keys(&self.request.name, self.vid);
        let key = match self.extents.len() {
            before if before > 0 && is_active(Mutation::NumberExtentsFromZero) => format!("{}{before}", keys.next),
            before => keys.extent(before + 1),
        };
        let encryption = self.vault.encryption().of_data(Some(&self.request.data_key));
        Object { key, headers, encryption, vid }
    }

    /// An extent is stored: starts the next one, or builds the row.
    pub(super) fn stored(&mut self, now: Now, mut stored: Stored) -> State {
        if let Err(e) = self.name_extents(std::slice::from_mut(&mut stored.extent)) {
            return self.fail(e);
        }
        self.extents.push(stored.extent);
        self.size = stored.next.1;
        self.stored_ms = stored.date_ms;
        if self.resume.take().is_some() {
            // At most Complete was missing: only now is it known where the source starts.
            self.start_source(SourceStart::at(self.size, stored.ended));
        }
        match stored.next {
            _ if stored.ended => self.build_row(now),
            (number, offset) => self.next_extent(number, offset),
        }
    }

    /// Refuses objects that a version cannot name, on every way to a row: this run stored them, found them after a Complete
    /// without an answer, or read them from a checkpoint.
    fn name_extents(&self, extents: &mut [Extent]) -> Result<()> {
        for extent in extents {
            extent.version_id = self.vault.layout.name_stored(&self.place, &extent.key, extent.version_id.take())?;
        }
        Ok(())
    }

    /// The same for what a checkpoint says was stored.
    pub(super) fn name_resumed(&self, extents: &mut [Extent]) -> Result<()> {
        self.name_extents(extents).map_err(|e| {
            e.with_hint("Switch the bucket's versioning on, remove the checkpoint, and store the backup again: without a version id, the stored data cannot be told from later versions.")
        })
    }

    /// Requests the first part of another extent. If a stream's manifest might become too large, the put fails here,
    /// before more of it is stored.
    pub(super) fn next_extent(&mut self, number: u32, offset: u64) -> State {
        let (before, extents) = (u64::from(number) - 1, self.extents.len() as u64);
        if self.plan.is_stream()
            && !manifest::is_readable(self.plan.form(), before + self.plan.parts_per_extent(), extents + 1)
        {
            let why = format!("the stream has {before} parts in {offset} bytes so far and has not ended");
            let e = too_many(&self.vault, &self.request, &why);
            return self.fail(e.with_hint(
                "Raise the process's option memory (a stream's parts grow up to a quarter of it), or store a file, whose length is known. Then restart without the checkpoint.",
            ));
        }
        self.first(number, offset)
    }

    /// Waits for the first part of an extent.
    pub(super) fn first(&self, number: u32, offset: u64) -> State {
        let length = self.plan.part_length(number, offset).unwrap_or(0);
        let level = self.session.account().integrity().level();
        State::First { request: self.plan.request(number, number, offset, length, level), asked: false }
    }

    pub(super) fn upload_ended(&mut self, now: Now, result: Result<Stored>, completion: Completion) -> State {
        match result {
            Ok(stored) => self.stored(now, stored),
            // When resuming, nothing was read from the source yet; and a file can be read again.
            Err(_)
                if completion == Completion::Broken
                    && (self.resume.is_some() || !self.plan.is_stream() && self.starts < MAX_STARTS) =>
            {
                self.restart()
            }
            // Part 1 is still held, and every attempt sends its bytes.
            Err(e) if e.is_expired() => self.recheck(Purpose::Data),
            Err(e) => self.fail(e),
        }
    }
}

/// The error for more parts than a readable manifest can contain.
pub(super) fn too_many(vault: &Vault, request: &PutRequest, why: &str) -> Error {
    let bucket = vault.bucket(request.name.container());
    let (bucket, container, path) = (bucket.name(), request.name.container(), request.name.path());
    let limit = OBJECT_LIMIT >> 20;
    let why = format!(
        "storing {container} {path} in bucket {bucket}: {why}: its manifest could exceed {limit} MiB, the most that can be read back"
    );
    Error::new(Code::InvalidOption, why)
}
