//! Reading a version: its locators (where the data is now), then its parts.
//!
//! ```text
//!  Locate: List ──▶ Locator ──opens──▶ Located
//!                     │ ▲ does not open: the next lower generation
//!                     └─┘
//!  Read:   Locate ──▶ Data ──────▶ Done
//!                      │ ▲ a version id is unknown: the bucket is a replica
//!                      ▼ │
//!                    Identify
//! ```

use std::sync::Arc;

use super::identify::{Identify, is_miss};
use super::locator::{DataKeys, Locator};
use super::manifest::PlacedPart;
use super::objects::{LocatorKey, locator_prefix};
use super::{Manifest, Name, Vault, Vid};
use crate::account::Bucket;
use crate::error::{Code, Error, Result};
use crate::machine::{Input, Machine, Output};
use crate::mutation::{Mutation, is_active};
use crate::op::{Encryption, GetObject, ListObjectsV2, Listing, Paged, Sequence, Session, Step, Steps};
use crate::text::presentable_key;
use crate::time::Now;
use crate::transfer::download::{Download, Piece, ReadRequest};

/// Maximum size of a locator that is read, in bytes: it has names and keys, each at most a few KiB.
const LOCATOR_LIMIT: usize = 64 << 10;

/// Where the data of a version is, according to its locator.
#[derive(Clone, Debug)]
pub struct Located {
    bucket: Arc<Bucket>,
    manifest: Arc<Manifest>,
    pieces: Arc<Vec<Piece>>,
}

impl Located {
    pub(super) fn bucket(&self) -> &Arc<Bucket> {
        &self.bucket
    }

    pub(super) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Keys of the objects that are read by a version id, each with the index of its extent.
    pub(super) fn keys(&self) -> impl Iterator<Item = (String, usize)> {
        let mut last = None;
        let parts = self.manifest.parts().zip(self.pieces.iter());
        parts.filter_map(move |(part, piece)| {
            let is_new = last.replace(part.extent) != Some(part.extent);
            (is_new && piece.version_id.is_some()).then(|| (piece.key.clone(), part.extent))
        })
    }

    /// Sets the version id that an object is read by.
    pub(super) fn set_version_id(&mut self, key: &str, version_id: Option<&str>) {
        for piece in Arc::make_mut(&mut self.pieces).iter_mut().filter(|piece| piece.key == key) {
            piece.version_id = version_id.map(str::to_owned);
        }
    }
}

/// The machine that finds where the data of a version is.
pub type Locate = Sequence<LocateSteps>;

/// What [`Locate`] knows on its way.
pub struct LocateSteps {
    vault: Arc<Vault>,
    manifest: Arc<Manifest>,
    /// Keys of locators that were not tried yet, the highest generation last.
    locators: Vec<String>,
    refused: Option<Error>,
}

impl Steps for LocateSteps {
    type Done = Located;
    const WHAT: &'static str = "reading the version";
}

impl Locate {
    /// Locates the version of a verified manifest. `seed` drives the jitter of retries.
    pub fn new(vault: Arc<Vault>, manifest: Arc<Manifest>, seed: u64) -> Result<Locate> {
        vault.check_trust()?;
        let name = Name::new(&manifest.container, &manifest.path)?;
        let prefix = locator_prefix(&name, Vid::parse(&manifest.vid)?);
        let list = ListObjectsV2 { prefix, ..Default::default() };
        let steps = LocateSteps { vault: vault.clone(), manifest, locators: Vec::new(), refused: None };
        Ok(Sequence::start(vault.bucket(name.container()), steps, Step::call(list, LocateSteps::page), seed))
    }
}

impl LocateSteps {
    fn page(&mut self, asked: &ListObjectsV2, page: Listing) -> Step<Self> {
        let next = asked.next(&page);
        let is_locator = |key: &String| key.rsplit_once('/').is_some_and(|(_, last)| LocatorKey::parse(last).is_some());
        // Generations have six digits, so keys are in their order.
        self.locators.extend(page.objects.into_iter().map(|object| object.key).filter(is_locator));
        match next {
            Some(next) => Step::call(next, Self::page),
            None => self.next_locator(),
        }
    }

    fn next_locator(&mut self) -> Step<Self> {
        if let Some(key) = self.locators.pop() {
            return Step::try_call(GetObject::new(key, LOCATOR_LIMIT), |locate: &mut Self, op, answer| match answer {
                Ok(object) => locate.locator(&op.key, &object),
                Err(e) if e.code() == Code::NotFound => locate.next_locator(),
                // It is too large to be one.
                Err(e) if e.code() == Code::Format => locate.refuse(e),
                Err(e) => Step::done(Err(e)),
            });
        }
        let manifest = &self.manifest;
        Step::done(Err(self.refused.take().unwrap_or_else(|| {
            let why = format!("version {} of {} {} has no locator", manifest.vid, manifest.container, manifest.path);
            Error::new(Code::DataMissing, format!("{why} in bucket {}", self.vault.bucket(&manifest.container).name()))
        })))
    }

    fn locator(&mut self, key: &str, object: &[u8]) -> Step<Self> {
        match self
            .vault
            .open_signed(self.vault.bucket(&self.manifest.container), object, key)
            .and_then(|(json, _)| Locator::parse(json, key))
        {
            Ok(locator) if locator.vid == self.manifest.vid && locator.vault == self.manifest.vault => {
                let pieces = Arc::new(self.pieces(&locator.data, locator.generation));
                let bucket = self.vault.bucket(&self.manifest.container).clone();
                Step::done(Ok(Located { bucket, manifest: self.manifest.clone(), pieces }))
            }
            Ok(_) => {
                let why = format!("the locator at {} belongs to another version", presentable_key(key));
                self.refuse(Error::new(Code::Untrusted, why))
            }
            Err(e) => self.refuse(e),
        }
    }

    /// Tries the next lower generation.
    fn refuse(&mut self, why: Error) -> Step<Self> {
        self.refused.get_or_insert(why);
        self.next_locator()
    }

    fn pieces(&self, keys: &DataKeys, generation: u32) -> Vec<Piece> {
        let parts = self.manifest.parts();
        parts
            .zip(0..)
            .map(|(PlacedPart { extent, start, offset, length, hash }, number)| {
                // The hint belongs to the object that the put wrote; later generations may have moved the data.
                let hint = self.manifest.extents[extent].version_id.clone();
                let version_id = if generation == 0 && !is_active(Mutation::ReadNewestVersion) { hint } else { None };
                let (key, hash, form) = (keys.extent(extent + 1), *hash, self.manifest.form);
                let (encryption, object) = (Encryption::default(), self.manifest.extents[extent].size);
                Piece { number, key, version_id, encryption, start, object, offset, length, hash, form, verified: true }
            })
            .collect()
    }
}

enum Stage {
    Locate(Box<Locate>),
    Data(Box<(Session, Download)>),
    Identify(Box<Identify>),
}

/// Reads a version, or a requested portion of it.
pub struct Read {
    vault: Arc<Vault>,
    seed: u64,
    request: ReadRequest,
    stage: Stage,
    /// Where the data is, once that is known.
    located: Option<Located>,
    /// Some bytes were delivered.
    is_delivered: bool,
    /// The version ids are those of this bucket.
    is_identified: bool,
}

impl Read {
    /// Reads the version of a verified manifest. `seed` drives the jitter of retries.
    pub fn new(vault: Arc<Vault>, manifest: Arc<Manifest>, request: ReadRequest, seed: u64) -> Result<Read> {
        let locate = Locate::new(vault.clone(), manifest, seed)?;
        Ok(Read::at(vault, seed, request, Stage::Locate(Box::new(locate)), None))
    }

    /// Reads a version that was already located.
    pub fn located(vault: Arc<Vault>, located: &Located, request: ReadRequest, seed: u64) -> Read {
        let download = Download::new(&located.pieces, &request, vault.parallel_download);
        let stage = Stage::Data(Box::new((Session::new(&located.bucket, seed), download)));
        Read::at(vault, seed, request, stage, Some(located.clone()))
    }

    fn at(vault: Arc<Vault>, seed: u64, request: ReadRequest, stage: Stage, located: Option<Located>) -> Read {
        Read { vault, seed, request, stage, located, is_delivered: false, is_identified: false }
    }

    /// Reads the data. The session is kept, so that no request id is used twice.
    fn read(&mut self, session: Session, located: Located) {
        let download = Download::new(&located.pieces, &self.request, self.vault.parallel_download);
        self.located = Some(located);
        self.stage = Stage::Data(Box::new((session, download)));
    }

    /// After an error of the data: looks for it under other version ids, if that may help. Returns whether it does.
    fn identify(&mut self, e: &Error) -> bool {
        let Stage::Data(data) = &mut self.stage else { return false };
        let Some(located) = &self.located else { return false };
        if self.is_delivered || self.is_identified || !is_miss(e) || located.keys().next().is_none() {
            return false;
        }
        let mut identify = Identify::new(located.clone(), e.clone(), self.seed);
        std::mem::swap(identify.session_mut(), &mut data.0);
        self.is_identified = true;
        self.stage = Stage::Identify(Box::new(identify));
        true
    }
}

impl Machine for Read {
    type Done = ();

    fn handle(&mut self, now: Now, input: Input<'_>) {
        match &mut self.stage {
            Stage::Locate(locate) => locate.handle(now, input),
            Stage::Identify(identify) => identify.handle(now, input),
            Stage::Data(data) => data.1.handle(&mut data.0, now, &input),
        }
    }

    fn poll(&mut self, now: Now) -> Output<()> {
        loop {
            let (session, located) = match &mut self.stage {
                Stage::Data(data) => match data.1.poll(&mut data.0, now) {
                    Output::Done(Err(e)) if self.identify(&e) => continue,
                    output => {
                        self.is_delivered |= matches!(output, Output::Accept(_));
                        return output;
                    }
                },
                Stage::Locate(locate) => match locate.poll(now).outward() {
                    Ok(output) => return output,
                    Err(located) => (locate.session_mut(), located),
                },
                Stage::Identify(identify) => match identify.poll(now).outward() {
                    Ok(output) => return output,
                    Err(located) => (identify.session_mut(), located),
                },
            };
            match located {
                Ok(located) => {
                    let session = std::mem::replace(session, Session::new(&located.bucket, self.seed));
                    self.read(session, located);
                }
                Err(e) => return Output::Done(Err(e)),
            }
        }
    }
}
