//! A put that goes on from its checkpoint: DESIGN §3's protocol, *Resume*. It begins with a check; where that fails, or
//! nothing is left to go on with, the put begins anew.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::check::For;
use super::row::Fixed;
use super::{Put, PutRequest, State};
use crate::error::{Code, Error};
use crate::mutation::{Mutation, is_active};
use crate::op::{Call, ListParts, Listing};
use crate::time::Now;
use crate::transfer::checkpoint::{Begun, OpenUpload};
use crate::transfer::plan::Plan;
use crate::transfer::upload::{GoesOn, Listed, Upload, unlike_listed};
use crate::vault::manifest::Manifest;
use crate::vault::{Vault, Vid, signed};

impl Put {
    /// Goes on from the checkpoint, with a check.
    pub(super) fn go_on(&mut self) -> State {
        let Some(begun) = self.resume.as_ref().and_then(|resume| resume.begun.as_ref()) else { return self.list() };
        let Ok(vid) = Vid::parse(&begun.vid) else {
            return self.fail(Error::new(Code::BadCheckpoint, "the checkpoint's version id is none"));
        };
        (self.vid, self.initiated) = (vid, begun.initiated);
        self.recheck(For::Resume)
    }

    /// What was stored leads nowhere: the put begins anew, with a new version.
    pub(super) fn anew(&mut self) -> State {
        (self.resume, self.begun) = (None, false);
        self.extents.clear();
        (self.fixed, self.stored_ms) = (None, None);
        self.plan = Plan::new(self.request.length, &self.vault.store.profile, self.request.memory);
        self.describe_and_list()
    }

    /// The rows of the checkpoint's version: its own one may be there already.
    pub(super) fn resume_checked(&mut self, page: &Listing) -> State {
        if let Some(object) = self.resume.as_mut().and_then(|resume| resume.row.take()).map(Bytes::from) {
            let manifest = signed::json(&object).and_then(|json| Manifest::parse(json, None));
            let manifest = match manifest {
                Ok(manifest) => manifest,
                Err(e) => return self.fail(e.recode(Code::BadCheckpoint).context("the checkpoint's row")),
            };
            let (key, size) = (manifest.key.clone(), manifest.size);
            self.fixed = Some(Fixed { manifest, object });
            if page.keys().any(|found| found == key) {
                self.say_begin(GoesOn::at(size, true));
                return self.acknowledge();
            }
        }
        if page.keys().next().is_some() {
            // Deleted, swept, or finished by somebody else.
            return self.anew();
        }
        self.recheck_locators(For::Resume)
    }

    /// The check holds: goes on behind the last step that was saved.
    pub(super) fn resumed(&mut self, now: Now) -> State {
        let Some(resume) = &mut self.resume else { return self.list() };
        self.extents = std::mem::take(&mut resume.extents);
        self.stored_ms = resume.stored_ms;
        self.data_check = self.check;
        if let Some(fixed) = &self.fixed {
            let size = fixed.manifest.size;
            self.say_begin(GoesOn::at(size, true));
            return self.put_row();
        }
        if let Some(open) = &resume.open {
            let (key, upload_id) = (open.key.clone(), open.upload_id.clone());
            self.data_check = open.signed;
            return State::Parts(Call::new(ListParts { key, upload_id, ..ListParts::default() }), BTreeMap::new());
        }
        let (number, offset) = resume.next;
        if resume.ended {
            self.say_begin(GoesOn::at(offset, true));
            return self.fix(now);
        }
        if self.extents.is_empty() {
            // Nothing of the data is there: a single PUT is not gone on with.
            return self.anew();
        }
        // It has gone on: what is stored from here on is this process's own.
        self.resume = None;
        self.say_begin(GoesOn::at(offset, false));
        self.next_extent(number, offset)
    }

    /// The store has listed what it has of the checkpoint's upload.
    pub(super) fn listed(&mut self, listed: &BTreeMap<u32, Listed>) -> State {
        let Some(open) = self.resume.as_mut().and_then(|resume| resume.open.take()) else { return self.list() };
        let is_sealed = open.complete.is_some();
        if is_sealed && let Some(lacking) = unlike_listed(&open, listed) {
            return self.settle(open, lacking);
        }
        let upload = Upload::resume(self.object(), self.plan, open, Some(listed));
        let mut goes_on = upload.goes_on();
        if is_active(Mutation::ResumeSourceTooLate) {
            goes_on.offset += 8 << 20;
        }
        // Where only Complete is missing, the source may yet be wanted from its begin: Complete tells.
        if !(is_sealed && upload.is_finished()) {
            self.resume = None;
            self.say_begin(goes_on);
        }
        State::Sending(Box::new(upload))
    }

    /// The checkpoint's upload is not there: complete, where Complete was sent, or aborted.
    pub(super) fn upload_gone(&mut self, why: Error) -> State {
        let Some(open) = self.resume.as_mut().and_then(|resume| resume.open.take()) else { return self.list() };
        if open.complete.is_none() {
            return self.anew();
        }
        self.settle(open, why)
    }

    /// Looks for the object of an upload whose Complete was sent.
    fn settle(&self, open: OpenUpload, why: Error) -> State {
        State::Sending(Box::new(Upload::settle(self.object(), self.plan, open, why)))
    }

    pub(super) fn say_begin(&mut self, goes_on: GoesOn) {
        self.begun = true;
        self.source = Some(goes_on);
    }
}

/// What a checkpoint of this put begins with.
pub(super) fn begun(vault: &Vault, request: &PutRequest, vid: Vid, initiated: i64, plan: Plan) -> Begun {
    Begun {
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
