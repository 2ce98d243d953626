//! The data: extent after extent, each an upload that is signed at a check which holds.

use std::sync::atomic::Ordering;

use super::check::For;
use super::{BEGINNINGS, Put, PutRequest, State};
use crate::error::{Code, Error, Result};
use crate::http::Part;
use crate::mutation::{Mutation, is_active};
use crate::time::Now;
use crate::transfer::upload::{GoesOn, Object, Ready, Stored, Upload};
use crate::vault::manifest;
use crate::vault::objects::{data_key, extent_prefix};
use crate::vault::{OBJECT_LIMIT, Vault};

impl Put {
    pub(super) fn first_ready(&mut self, now: Now, part: Part, last: bool) -> State {
        if part.length == 0 && part.number > 1 {
            // The source ended with the extent before.
            self.release = Some(part.number);
            return self.fix(now);
        }
        self.first = Some(Ready { part, last });
        self.send(now)
    }

    /// Begins an extent, under a check that holds.
    pub(super) fn send(&mut self, now: Now) -> State {
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
    pub(super) fn object(&self) -> Object {
        let vid = self.vid.to_string();
        let mut headers = vec![("x-amz-meta-s3vault-vid".to_owned(), vid.clone())];
        headers.extend(self.vault.storage_class.iter().map(|class| ("x-amz-storage-class".to_owned(), class.clone())));
        let (name, slash) = (&self.request.name, self.vault.leading_slash);
        let key = match self.extents.len() {
            0 => data_key(name, slash),
            before if is_active(Mutation::NumberExtentsFromZero) => {
                format!("{}{before}", extent_prefix(name, self.vid, slash))
            }
            before => format!("{}{}", extent_prefix(name, self.vid, slash), before + 1),
        };
        Object { key, headers, vid }
    }

    /// An extent is there: begins the next one, or fixes the row.
    pub(super) fn stored(&mut self, now: Now, stored: Stored) -> State {
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
            // Only Complete was missing, if that: only now it is known where the source goes on.
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
    pub(super) fn next_extent(&mut self, number: u32, offset: u64) -> State {
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

    pub(super) fn sending(&mut self, now: Now, result: Result<Stored>, is_broken: bool) -> State {
        match result {
            Ok(stored) => self.stored(now, stored),
            // Where it was a checkpoint's, nothing was taken from the source yet; and all of a file can be had again.
            Err(_)
                if is_broken && (self.resume.is_some() || !self.plan.is_stream() && self.beginnings < BEGINNINGS) =>
            {
                self.anew()
            }
            // Part 1 is still there, and every attempt carries its bytes.
            Err(e) if e.code() == Code::Expired => self.recheck(For::Data),
            Err(e) => self.fail(e),
        }
    }
}

/// More parts than a manifest holds that can be read again.
pub(super) fn too_many(vault: &Vault, request: &PutRequest, why: &str) -> Error {
    let (bucket, container, path) = (&vault.store.bucket, request.name.container(), request.name.path());
    let limit = OBJECT_LIMIT >> 20;
    let why = format!(
        "storing {container} {path} in bucket {bucket}: {why}: its manifest might pass {limit} MiB, more than is read back"
    );
    Error::new(Code::InvalidOption, why)
}
