//! Resuming a put from its checkpoint: the protocol *Resume* of docs/protocol.md. It starts with a check. If that fails,
//! or if nothing is left to resume, the put restarts from scratch.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::check::Purpose;
use super::row::BuiltRow;
use super::{Put, PutRequest, State, plan};
use crate::SourceStart;
use crate::crypto::data_key::WrappedKey;
use crate::crypto::keyring::VerifyKeys;
use crate::error::{Code, Error, Result};
use crate::mutation::{Mutation, is_active};
use crate::op::{Call, ListParts, Listing};
use crate::time::Now;
use crate::transfer::checkpoint::{Checkpoint, Header, OpenUpload};
use crate::transfer::plan::Plan;
use crate::transfer::upload::{Listed, Upload, first_missing_part};
use crate::vault::encryption::Encryption;
use crate::vault::manifest::{Extent, Manifest};
use crate::vault::{Vault, Vid, signed};

impl Put {
    /// Resumes from the checkpoint, with a check.
    pub(super) fn resume_from_checkpoint(&mut self) -> State {
        let Some(header) = self.resume.as_ref().and_then(|resume| resume.header.as_ref()) else { return self.list() };
        let Ok(vid) = Vid::parse(&header.vid) else { return self.list() };
        (self.vid, self.initiated, self.wrapped) = (vid, header.initiated, header.wrapped.clone());
        self.lock = self.vault.immutable.map(|immutable| immutable.from(header.initiated));
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
        if let Some(BuiltRow { manifest, .. }) = &self.built_row
            && page.keys().any(|found| *found == manifest.key)
        {
            if let Err(e) = self.name_resumed(&mut manifest.extents.clone()) {
                return self.fail(e);
            }
            let size = manifest.size;
            self.start_source(SourceStart::at(size, true));
            return self.acknowledge();
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
        let mut extents = std::mem::take(&mut resume.extents);
        self.size = resume.next.1;
        self.stored_ms = resume.stored_ms;
        self.data_check = self.check;
        if let Some(row) = &self.built_row {
            extents = row.manifest.extents.clone();
        }
        if let Err(e) = self.name_resumed(&mut extents) {
            return self.fail(e);
        }
        self.extents = extents;
        let Some(resume) = &self.resume else { return self.list() };
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
        let is_checked = complete_was_sent && !is_active(Mutation::BelieveCompleteWithoutParts);
        if is_checked && let Some(lacking) = first_missing_part(&open, listed) {
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
        State::Sending(Box::new(Upload::settle(&self.session, self.object(), self.plan, open, why)))
    }

    pub(super) fn start_source(&mut self, start: SourceStart) {
        self.source_started = true;
        self.source_start = Some(start);
    }
}

/// Why a put cannot resume if its data key cannot be unwrapped. A retired key is gone, so what is stored is lost.
pub(super) fn without_key(vault: &Vault, wrapped: &WrappedKey, e: Error) -> Error {
    let is_retired = vault.keyring.as_ref().is_some_and(|keyring| keyring.is_retired(&wrapped.kek));
    if is_retired { e.with_hint("Remove the checkpoint, and store the backup from the start.") } else { e }
}

/// Refuses a checkpoint that names what its put cannot have decided. Anyone who can write the file must not choose what is
/// written, completed or signed with the rights and the key of this process.
pub(super) fn check_contents(vault: &Vault, request: &PutRequest, checkpoint: &Checkpoint) -> Result<Contents> {
    let Some(header) = &checkpoint.header else { return Ok(Contents::Nothing) };
    let refuse = |what: &str| {
        let why = format!("the checkpoint was changed: {what}");
        Err(Error::new(Code::BadCheckpoint, why).with_hint(
            "Remove the checkpoint to store the backup from the start, and keep it where only you can write.",
        ))
    };
    let Ok(vid) = Vid::parse(&header.vid) else { return refuse("its version id is not valid") };
    let profile = vault.account().profile();
    if !(profile.min_part_size..=profile.max_part_size).contains(&header.part) {
        return refuse("its part size is one that the store does not accept");
    }
    let keys = vault.layout.data_keys(&request.name, vid);
    let stored = checkpoint.extents.iter().map(|extent| &extent.key);
    let open = checkpoint.open.as_ref().map(|open| &open.key);
    // The key of extent 1 is all that differs between native and emulated versions.
    let other = vault.layout.other_first_key(&request.name, vid);
    if stored.clone().chain(open).next() == Some(&other) {
        return Ok(Contents::Nothing);
    }
    if stored.chain(open).zip(1..).any(|(key, number)| *key != keys.extent(number)) {
        return refuse("it names an object that does not belong to its version");
    }
    let Some(row) = &checkpoint.row else { return Ok(Contents::Steps(None)) };
    let manifest = match vault.signing_key() {
        None => signed::json(row.as_bytes()),
        Some(key) => signed::open_signed(row.as_bytes(), &VerifyKeys::one(key.public())).map(|(json, _)| json),
    };
    let manifest = match manifest.and_then(|json| Manifest::parse(json, None)) {
        Ok(manifest) => manifest,
        Err(e) => return refuse(&format!("its row cannot be accepted: {}", e.message())),
    };
    let parent = request.parent.map(|parent| parent.to_string());
    if manifest.extents.first().is_some_and(|first| first.key == other) {
        return Ok(Contents::Nothing);
    }
    let is_own = manifest.vault == vault.id
        && manifest.container == request.name.container()
        && manifest.path == request.name.path()
        && (&manifest.vid, &manifest.parent) == (&header.vid, &parent)
        && manifest.labels == request.labels
        && manifest.wrapped == header.wrapped
        && manifest.lock == vault.immutable.map(|immutable| immutable.from(header.initiated))
        && is_own_data(&manifest.extents, &checkpoint.extents, |number| keys.extent(number));
    if !is_own {
        return refuse("its row describes another version or other data");
    }
    Ok(Contents::Steps(Some(BuiltRow { manifest, object: Bytes::copy_from_slice(row.as_bytes()) })))
}

/// What of a checkpoint can be used.
#[allow(clippy::large_enum_variant)] // A put has one.
pub(super) enum Contents {
    /// It has no steps, or those of a put that was started when the vault's versions were kept in another way: its data is
    /// where a version of today's mode cannot have it, so the put starts from scratch.
    Nothing,
    /// Its steps, with the row if that is fixed.
    Steps(Option<BuiltRow>),
}

/// Whether a row's extents are those that were recorded, and at most one more: a single PUT has no record of its own.
fn is_own_data(extents: &[Extent], recorded: &[Extent], key: impl Fn(usize) -> String) -> bool {
    match extents.strip_prefix(recorded) {
        Some([]) => true,
        Some([single]) => single.key == key(extents.len()) && single.parts.len() == 1,
        _ => false,
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
        live: request.live,
        labels: request.labels.to_string(),
        immutable: vault.immutable.map(|immutable| immutable.to_string()).unwrap_or_default(),
        encryption: match vault.encryption() {
            Encryption::None => String::new(),
            encryption => encryption.name().to_owned(),
        },
        wrapped: None,
    }
}
