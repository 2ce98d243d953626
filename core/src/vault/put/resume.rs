//! Resuming a put from its checkpoint: the protocol *Resume* of docs/protocol.md. It starts with a check. If that fails, or if nothing is
//! left to resume, the put restarts from scratch.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::check::Purpose;
use super::row::BuiltRow;
use super::{Put, PutRequest, State, plan};
use crate::SourceStart;
use crate::error::{Code, Error};
use crate::mutation::{Mutation, is_active};
use crate::op::{Call, ListParts, Listing};
use crate::time::Now;
use crate::transfer::checkpoint::{Header, OpenUpload};
use crate::transfer::plan::Plan;
use crate::transfer::upload::{Listed, Upload, first_missing_part};
use crate::vault::manifest::Manifest;
use crate::vault::{Vault, Vid, signed};

impl Put {
    /// Resumes from the checkpoint, with a check.
    pub(super) fn resume_from_checkpoint(&mut self) -> State {
        let Some(header) = self.resume.as_ref().and_then(|resume| resume.header.as_ref()) else { return self.list() };
        let Ok(vid) = Vid::parse(&header.vid) else {
            return self.fail(Error::new(Code::BadCheckpoint, "the checkpoint's version id is not valid"));
        };
        (self.vid, self.initiated) = (vid, header.initiated);
        self.recheck(Purpose::Resume)
    }

    /// The stored data cannot be used: the put restarts from scratch with a new version.
    pub(super) fn restart(&mut self) -> State {
        (self.resume, self.source_started) = (None, false);
        self.extents.clear();
        (self.built_row, self.stored_ms) = (None, None);
        self.size = 0;
        self.plan = plan(&self.vault, &self.request);
        self.write_description_and_list()
    }

    /// The rows of the checkpoint's version are listed: the put's own row may exist already.
    pub(super) fn resume_checked(&mut self, page: &Listing) -> State {
        if let Some(object) = self.resume.as_mut().and_then(|resume| resume.row.take()).map(Bytes::from) {
            let manifest = signed::json(&object).and_then(|json| Manifest::parse(json, None));
            let manifest = match manifest {
                Ok(manifest) => manifest,
                Err(e) => return self.fail(e.recode(Code::BadCheckpoint).context("the checkpoint's row")),
            };
            let (key, size) = (manifest.key.clone(), manifest.size);
            self.built_row = Some(BuiltRow { manifest, object });
            if page.keys().any(|found| found == key) {
                self.start_source(SourceStart::at(size, true));
                return self.acknowledge();
            }
        }
        if page.keys().next().is_some() {
            // Another process deleted, swept or finished the version.
            return self.restart();
        }
        self.recheck_locators(Purpose::Resume)
    }

    /// The check succeeded: resumes after the last step that was saved.
    pub(super) fn resumed(&mut self, now: Now) -> State {
        let Some(resume) = &mut self.resume else { return self.list() };
        self.extents = std::mem::take(&mut resume.extents);
        self.size = resume.next.1;
        self.stored_ms = resume.stored_ms;
        self.data_check = self.check;
        if let Some(built_row) = &self.built_row {
            let size = built_row.manifest.size;
            self.start_source(SourceStart::at(size, true));
            return self.put_row();
        }
        if let Some(open) = &resume.open {
            let (key, upload_id) = (open.key.clone(), open.upload_id.clone());
            self.data_check = open.signed;
            let list = ListParts { key, upload_id, encryption: self.object().encryption, ..ListParts::default() };
            return State::Parts(Call::new(list), BTreeMap::new());
        }
        let (number, offset) = resume.next;
        if resume.ended {
            self.start_source(SourceStart::at(offset, true));
            return self.build_row(now);
        }
        if self.extents.is_empty() {
            // None of the data is stored: a single PUT cannot be resumed.
            return self.restart();
        }
        // The put has resumed: everything from here on is stored by this process.
        self.resume = None;
        self.start_source(SourceStart::at(offset, false));
        self.next_extent(number, offset)
    }

    /// The store has listed what it has of the checkpoint's upload.
    pub(super) fn listed(&mut self, listed: &BTreeMap<u32, Listed>) -> State {
        let Some(open) = self.resume.as_mut().and_then(|resume| resume.open.take()) else { return self.list() };
        let complete_was_sent = open.complete.is_some();
        if complete_was_sent && let Some(lacking) = first_missing_part(&open, listed) {
            return self.settle(open, lacking);
        }
        let upload = Upload::resume(self.object(), self.plan, open, Some(listed));
        let mut start = upload.source_start();
        if is_active(Mutation::ResumeSourceTooLate) {
            start.offset += 8 << 20;
        }
        // If only Complete is missing, the source may still be needed from the start: Complete tells.
        if !(complete_was_sent && upload.is_finished()) {
            self.resume = None;
            self.start_source(start);
        }
        State::Sending(Box::new(upload))
    }

    /// The checkpoint's upload does not exist: it was completed, if Complete was sent, or aborted.
    pub(super) fn upload_gone(&mut self, why: Error) -> State {
        let Some(open) = self.resume.as_mut().and_then(|resume| resume.open.take()) else { return self.list() };
        if open.complete.is_none() {
            return self.restart();
        }
        self.settle(open, why)
    }

    /// Looks for the object of an upload whose Complete was sent.
    fn settle(&self, open: OpenUpload, why: Error) -> State {
        State::Sending(Box::new(Upload::settle(self.object(), self.plan, open, why)))
    }

    pub(super) fn start_source(&mut self, start: SourceStart) {
        self.source_started = true;
        self.source_start = Some(start);
    }
}

/// The header of this put's checkpoint.
pub(super) fn header(vault: &Vault, request: &PutRequest, vid: Vid, initiated: i64, plan: Plan) -> Header {
    Header {
        vault: vault.id.clone(),
        container: request.name.container().to_owned(),
        path: request.name.path().to_owned(),
        parent: request.parent.map(|parent| parent.to_string()),
        vid: vid.to_string(),
        initiated,
        source: request.source,
        length: request.length,
        part: plan.part(),
    }
}
