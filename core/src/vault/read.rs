//! Reading a version: its locators (where the data is now), then its parts.
//!
//! ```text
//!  Locate: List ──▶ Locator ──opens──▶ Located
//!                     │ ▲ does not open: the next lower generation
//!                     └─┘
//!  Read:   Locate ──▶ Data ──────▶ Done
//!            ▲         │ ▲ a version id is unknown: the bucket is a replica
//!            │         ▼ │
//!            └────── Identify
//!              its data is not there: another locator
//! ```
//! Re-keying moves the data of a version. A locator whose data is not there is one that a re-keying has replaced, or that a
//! re-keying wrote whose copy was removed meanwhile: another locator has the data.

use std::sync::Arc;

use super::identify::{Identify, is_miss};
use super::locator::{DataKeys, Locator};
use super::manifest::{PartHash, PlacedPart};
use super::objects::{LocatorKey, locator_prefix};
use super::proof::{Outcome, ReadVerified};
use super::{Manifest, Name, Vault, Vid};
use crate::account::Bucket;
use crate::crypto::data_key::DataKey;
use crate::crypto::segment::Segments;
use crate::error::{Code, Error, Result};
use crate::machine::{Input, Machine, Output};
use crate::mutation::{Mutation, is_active};
use crate::op::{Encryption, ListObjectsV2, Listing, Paged, Sequence, Session, Step, Steps};
use crate::text::{presentable, presentable_key};
use crate::time::Now;
use crate::transfer::download::{Download, Piece, ReadRequest};

/// Where the data of a version is, according to its locator.
#[derive(Clone, Debug)]
pub struct Located {
    bucket: Arc<Bucket>,
    /// Key of the locator.
    locator: String,
    manifest: Arc<Manifest>,
    pieces: Arc<Vec<Piece>>,
    /// The version's data key, if it has one.
    key: Option<DataKey>,
    /// How its data is decrypted, if it was encrypted here.
    segments: Option<Arc<Segments>>,
}

impl Located {
    /// The version's data key, if it has one.
    pub fn data_key(&self) -> Option<&DataKey> {
        self.key.as_ref()
    }

    pub(super) fn bucket(&self) -> &Arc<Bucket> {
        &self.bucket
    }

    pub(super) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What requests for the data say of its encryption.
    pub(super) fn encryption(&self) -> Encryption {
        self.pieces.first().map(|piece| piece.encryption.clone()).unwrap_or_default()
    }

    /// Whether a re-keying may have moved the data: that of SSE-C.
    fn is_rekeyable(&self) -> bool {
        self.key.is_some() && self.segments.is_none()
    }

    /// How its data is decrypted, if it was encrypted here.
    pub fn segments(&self) -> Option<&Arc<Segments>> {
        self.segments.as_ref()
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
    /// The data is decrypted; otherwise it is only verified.
    decrypts: bool,
    /// Lists the locators.
    list: ListObjectsV2,
    /// Keys of locators that were not tried yet, the highest generation last.
    locators: Vec<String>,
    /// Keys of locators whose data is not there.
    skipped: Vec<String>,
    refused: Option<Error>,
    /// A locator was removed after it was listed, and how often the locators were listed again because of that.
    was_removed: bool,
    looks: u32,
}

/// How often the locators are listed again: each time, rotations have replaced all that were listed.
const LOOKS: u32 = 10;

impl Steps for LocateSteps {
    type Done = Located;
    const WHAT: &'static str = "reading the version";
}

impl Locate {
    /// Locates the version of a verified manifest. `seed` drives the jitter of retries.
    pub fn new(vault: Arc<Vault>, manifest: Arc<Manifest>, seed: u64) -> Result<Locate> {
        Locate::of(vault, manifest, true, Vec::new(), seed)
    }

    fn of(
        vault: Arc<Vault>,
        manifest: Arc<Manifest>,
        decrypts: bool,
        skipped: Vec<String>,
        seed: u64,
    ) -> Result<Locate> {
        vault.check_trust()?;
        let name = Name::new(&manifest.container, &manifest.path)?;
        let list = ListObjectsV2 { prefix: locator_prefix(&name, Vid::parse(&manifest.vid)?), ..Default::default() };
        let (locators, refused, was_removed, looks) = (Vec::new(), None, false, 0);
        let steps = LocateSteps {
            vault: vault.clone(),
            manifest,
            decrypts,
            list,
            locators,
            skipped,
            refused,
            was_removed,
            looks,
        };
        let first = Step::call(steps.list.clone(), LocateSteps::page);
        Ok(Sequence::start(&vault.bucket(name.container()), steps, first, seed))
    }
}

impl LocateSteps {
    fn page(&mut self, asked: &ListObjectsV2, page: Listing) -> Step<Self> {
        let next = asked.next(&page);
        let is_locator = |key: &String| LocatorKey::of(key).is_some() && !self.skipped.contains(key);
        // Generations have six digits, so keys are in their order.
        self.locators.extend(page.objects.into_iter().map(|object| object.key).filter(is_locator));
        match next {
            Some(next) => Step::call(next, Self::page),
            None => self.next_locator(),
        }
    }

    fn next_locator(&mut self) -> Step<Self> {
        if let Some(key) = self.locators.pop() {
            let read = ReadVerified::locator(&self.vault, &self.vault.bucket(&self.manifest.container), key);
            return Step::with(read, |locate: &mut Self, _, read, answer| match answer {
                Ok(Outcome::Counts(locator)) => locate.locator(read.key(), &locator),
                Ok(Outcome::Gone(_)) => {
                    locate.was_removed = true;
                    locate.next_locator()
                }
                Ok(Outcome::Refused(e)) => locate.refuse(e),
                Err(e) => Step::done(Err(e)),
            });
        }
        // A rotation removes a locator after it has written another one.
        if std::mem::take(&mut self.was_removed) && self.looks < LOOKS && !is_active(Mutation::ReadLocatorsOnce) {
            self.looks += 1;
            self.refused = None;
            return Step::call(self.list.clone(), Self::page);
        }
        let manifest = &self.manifest;
        Step::done(Err(self.refused.take().unwrap_or_else(|| {
            let why = format!("version {} of {} {} has no locator", manifest.vid, manifest.container, manifest.path);
            Error::new(Code::DataMissing, format!("{why} in bucket {}", self.vault.bucket(&manifest.container).name()))
        })))
    }

    fn locator(&mut self, at: &str, locator: &Locator) -> Step<Self> {
        if locator.vid != self.manifest.vid || locator.vault != self.manifest.vault {
            let why = format!("the locator at {} belongs to another version", presentable_key(at));
            return self.refuse(Error::new(Code::Untrusted, why));
        }
        let (key, encryption, segments) = match self.decryption(locator) {
            Ok(decryption) => decryption,
            Err(e) => {
                let bucket = self.vault.bucket(&self.manifest.container);
                let place = format!("s3://{}/{}", bucket.name(), presentable_key(at));
                return self.refuse(e.context(place).on("GetObject", bucket.name(), at));
            }
        };
        let pieces = Arc::new(pieces(&self.manifest, &locator.data, &encryption));
        let (bucket, locator) = (self.vault.bucket(&self.manifest.container), at.to_owned());
        Step::done(Ok(Located { bucket, locator, manifest: self.manifest.clone(), pieces, key, segments }))
    }

    /// The data key, what requests for the data say of its encryption, and how it is decrypted here.
    fn decryption(&self, locator: &Locator) -> Result<(Option<DataKey>, Encryption, Option<Arc<Segments>>)> {
        let manifest = &self.manifest;
        let encryption = manifest.encryption()?;
        if locator.encryption()?.name() != encryption.name() {
            let (here, there) = (presentable(&locator.encryption), encryption.name());
            let why =
                format!("the locator says that the data is encrypted with {here}, the catalogue entry says {there}");
            return Err(Error::new(Code::Untrusted, why));
        }
        let is_sealed = !encryption.form().is_plain();
        if is_sealed && !self.decrypts && self.vault.keyring.is_none() {
            // The hashes are those of the stored bytes: they are verified without the key.
            return Ok((None, Encryption::default(), None));
        }
        let Some(key) = self.vault.data_key(locator)? else { return Ok((None, Encryption::default(), None)) };
        let of_data = encryption.of_data(Some(&key));
        let segments = is_sealed.then(|| Arc::new(manifest.segments(key.clone())));
        Ok((Some(key), of_data, segments))
    }

    /// Tries the next lower generation.
    fn refuse(&mut self, why: Error) -> Step<Self> {
        self.refused.get_or_insert(why);
        if is_active(Mutation::ReadHighestLocator) {
            self.locators.clear();
        }
        self.next_locator()
    }
}

/// The only piece of data that was adopted without hashes: all of its object.
fn adopted(manifest: &Manifest, keys: &DataKeys, encryption: &Encryption) -> Vec<Piece> {
    let Some(extent) = manifest.extents.first() else { return Vec::new() };
    vec![Piece {
        number: 0,
        key: keys.first.clone(),
        version_id: extent.version_id.clone(),
        etag: manifest.adopted.as_ref().map(|adopted| adopted.etag.clone()),
        encryption: encryption.clone(),
        start: 0,
        object: extent.size,
        offset: 0,
        length: extent.size,
        hash: PartHash { length: extent.size, crc64nvme: 0, blake3: [0; 32] },
        form: manifest.form,
        verified: false,
    }]
}

/// The parts of a version whose data is at these keys.
pub(super) fn pieces(manifest: &Manifest, keys: &DataKeys, encryption: &Encryption) -> Vec<Piece> {
    if manifest.has_no_hashes() {
        return adopted(manifest, keys, encryption);
    }
    let parts = manifest.parts();
    parts
        .zip(0..)
        .map(|(PlacedPart { extent, start, offset, length, hash }, number)| {
            let stored = &manifest.extents[extent];
            let (key, hash, form) = (keys.extent(extent + 1), *hash, manifest.form);
            let version_id = version_id(manifest, keys, extent).filter(|_| !is_active(Mutation::ReadNewestVersion));
            let (encryption, object) = (encryption.clone(), stored.size);
            let (etag, verified) = (None, true);
            Piece { number, key, version_id, etag, encryption, start, object, offset, length, hash, form, verified }
        })
        .collect()
}

/// The native version id of an extent, numbered from 0. The entry has that of the object that the put wrote; a later
/// generation of the locator may have moved the data, and then has the ids itself.
pub(super) fn version_id(manifest: &Manifest, keys: &DataKeys, extent: usize) -> Option<String> {
    let stored = manifest.extents.get(extent)?;
    match stored.key == keys.extent(extent + 1) {
        true => stored.version_id.clone(),
        false => keys.version_ids.get(extent).cloned(),
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
    /// What the driver decrypts the data with, until it was told.
    segments: Option<Arc<Segments>>,
    /// Some bytes were delivered.
    is_delivered: bool,
    /// The version ids are those of this bucket.
    is_identified: bool,
    /// Number of the part that could not be read as it was stored.
    bad_part: Option<u32>,
    /// Keys of locators whose data is not there, and the error of the first.
    missing: Vec<String>,
    missed: Option<Error>,
}

impl Read {
    /// Reads the version of a verified manifest. `seed` drives the jitter of retries.
    pub fn new(vault: Arc<Vault>, manifest: Arc<Manifest>, request: ReadRequest, seed: u64) -> Result<Read> {
        let locate = Locate::of(vault.clone(), manifest, !request.is_discarded, Vec::new(), seed)?;
        Ok(Read::at(vault, seed, request, Stage::Locate(Box::new(locate)), None))
    }

    /// Reads a version that was already located.
    pub fn located(vault: Arc<Vault>, located: &Located, request: ReadRequest, seed: u64) -> Read {
        let download = Download::new(&located.pieces, &request, vault.parallel_download);
        let stage = Stage::Data(Box::new((Session::new(&located.bucket, seed), download)));
        Read::at(vault, seed, request, stage, Some(located.clone()))
    }

    fn at(vault: Arc<Vault>, seed: u64, request: ReadRequest, stage: Stage, located: Option<Located>) -> Read {
        let segments = located.as_ref().and_then(|located| located.segments.clone());
        let (is_delivered, is_identified, bad_part) = (false, false, None);
        let (missing, missed) = (Vec::new(), None);
        Read { vault, seed, request, stage, located, segments, is_delivered, is_identified, bad_part, missing, missed }
    }

    /// Continues with the session of the machine before this one, before anything was sent.
    pub(super) fn continue_session(&mut self, session: &mut Session) {
        if let Stage::Locate(locate) = &mut self.stage {
            std::mem::swap(locate.session_mut(), session);
            locate.session_mut().is_query = false;
        }
    }

    /// After the end: the number of the part, from 0, that could not be read as it was stored.
    pub(super) fn bad_part(&self) -> Option<u32> {
        self.bad_part
    }

    /// Reads the data. The session is kept, so that no request id is used twice.
    fn read(&mut self, session: Session, located: Located) {
        let download = Download::new(&located.pieces, &self.request, self.vault.parallel_download);
        self.segments = located.segments.clone();
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

    /// After the data of a locator was not there: looks for it by another locator, if the data may have been re-keyed.
    /// Returns whether it does.
    fn locate_again(&mut self, e: &Error) -> bool {
        let Some(located) = self.located.as_ref().filter(|located| located.is_rekeyable()) else { return false };
        if self.is_delivered || e.code() != Code::DataMissing && !is_miss(e) {
            return false;
        }
        let (vault, manifest, decrypts) = (self.vault.clone(), located.manifest.clone(), !self.request.is_discarded);
        self.missing.push(located.locator.clone());
        let Ok(mut locate) = Locate::of(vault, manifest, decrypts, self.missing.clone(), self.seed) else {
            return false;
        };
        match &mut self.stage {
            Stage::Locate(_) => return false,
            Stage::Data(data) => std::mem::swap(locate.session_mut(), &mut data.0),
            Stage::Identify(identify) => std::mem::swap(locate.session_mut(), identify.session_mut()),
        }
        self.missed.get_or_insert_with(|| e.clone());
        self.is_identified = false;
        self.stage = Stage::Locate(Box::new(locate));
        true
    }

    /// The error of a read that ends without a locator whose data is there.
    fn failed(&mut self, e: Error) -> Error {
        let says_nothing = matches!(e.code(), Code::DataMissing | Code::WrongKey | Code::Untrusted | Code::Format);
        self.missed.take().filter(|_| says_nothing).unwrap_or(e)
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
            if let Some(segments) = self.segments.take() {
                return Output::Segments(segments);
            }
            let (session, located) = match &mut self.stage {
                Stage::Data(data) => match data.1.poll(&mut data.0, now) {
                    Output::Done(Err(e)) => {
                        self.bad_part = data.1.bad_part();
                        if self.identify(&e) || self.locate_again(&e) {
                            continue;
                        }
                        return Output::Done(Err(self.failed(e)));
                    }
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
                Err(e) if matches!(self.stage, Stage::Identify(_)) && self.locate_again(&e) => {}
                Err(e) => return Output::Done(Err(self.failed(e))),
            }
        }
    }
}
