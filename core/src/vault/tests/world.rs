//! A clock and a driver that the tests play by hand, on the model of S3: the buckets of a vault in any mode, requests one
//! after the other.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use s3_model::http::{Reply, Request as ModelRequest};
use s3_model::{Accepts, Bucket, Refusal, Rules, Store as Model, Version, Versioning, Whole};

use super::super::objects::PROBES;
use super::super::*;
use crate::account::Account;
use crate::checksum::{Digest, Digester, digest, md5};
use crate::credentials::Credentials;
use crate::crypto::data_key::DataKey;
use crate::crypto::keyring::{Kek, Keyring};
use crate::crypto::segment::{SEGMENT, Salt, SegmentKey};
use crate::http::{Body, Part, Range, ReplyBody, ReplyHead, Request, TransportFailure};
use crate::machine::{Event, Input, Machine, Output, PartRequest};
use crate::profile::Profile;
use crate::time::Now;
use crate::{Code, Error};

pub(super) const START: i64 = 1_764_000_000_000;
pub(super) const MINUTE: i64 = 60_000;
const URL: &str = "http://127.0.0.1:9000";
const BUCKET: &str = "bkt";

/// How a vault keeps its backups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// One bucket with versioning.
    Native,
    /// One bucket without versioning.
    Emulated,
    /// A bucket with versioning for each container.
    PerVmNative,
    /// A bucket without versioning for each container.
    PerVmEmulated,
}

impl Mode {
    pub(super) const ALL: [Mode; 4] = [Mode::Native, Mode::Emulated, Mode::PerVmNative, Mode::PerVmEmulated];

    pub(super) fn is_native(self) -> bool {
        matches!(self, Mode::Native | Mode::PerVmNative)
    }

    pub(super) fn is_per_vm(self) -> bool {
        matches!(self, Mode::PerVmNative | Mode::PerVmEmulated)
    }

    /// What a vault of this mode is configured with.
    pub(super) fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Mode::Native => &[("bucket", BUCKET), ("mode", "single-bucket")],
            Mode::Emulated => &[("bucket", BUCKET), ("mode", "single-bucket-no-versioning")],
            Mode::PerVmNative => &[("bucket_prefix", "vms-"), ("mode", "bucket-per-vm")],
            Mode::PerVmEmulated => {
                &[("bucket_prefix", "vms-"), ("mode", "bucket-per-vm"), ("per_vm_versioning", "emulated")]
            }
        }
    }

    /// The versioning of its buckets.
    fn versioning(self) -> Versioning {
        if self.is_native() { Versioning::Enabled } else { Versioning::Off }
    }
}

thread_local! {
    /// The mode of worlds and vaults that name none.
    static MODE: Cell<Mode> = const { Cell::new(Mode::Native) };
}

/// Runs a test in this mode, although it names none.
pub(super) fn in_mode(mode: Mode, test: fn()) {
    let before = MODE.replace(mode);
    test();
    MODE.set(before);
}

/// Settings of vaults.
pub(super) type Changes = &'static [(&'static str, &'static str)];

/// Data is encrypted by the store, with the vault's keys.
pub(super) const SSE_C: Changes = &[("encryption", "sse-c"), ("api_url", "https://127.0.0.1:9000")];

thread_local! {
    /// Settings of vaults that are not changed.
    static SETTINGS: Cell<Changes> = const { Cell::new(&[]) };
    /// Whether the world looks which requests have a customer key.
    static CHECKS_KEYS: Cell<bool> = const { Cell::new(true) };
}

/// From now on, the vaults of this test say how each is encrypted, and not the test as a whole.
pub(super) fn each_vault_has_its_encryption() {
    CHECKS_KEYS.set(false);
}

/// Runs something on a vault whose encryption has changed.
pub(super) fn unchecked<T>(run: impl FnOnce() -> T) -> T {
    CHECKS_KEYS.set(false);
    let result = run();
    CHECKS_KEYS.set(true);
    result
}

/// Runs a test with these settings of its vaults, although it does not name them.
pub(super) fn with_settings(settings: Changes, test: fn()) {
    let before = SETTINGS.replace(settings);
    test();
    SETTINGS.set(before);
}

/// What happens to the next request of an operation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// It never reaches the store.
    LostBefore,
    /// It takes effect, and the answer is lost.
    LostAfter,
    /// It is refused with this status and S3 code.
    Refused(u16, &'static str),
    /// It takes effect and is answered with 200 and an `<Error>`.
    ErrorIn200,
    /// One bit of the reply's body is flipped.
    Flipped,
    /// The connection breaks after this many bytes of the body.
    BrokenAt(usize),
    /// It takes effect, and the answer has this header too.
    Says(&'static str, &'static str),
    /// It takes effect, and the answer lacks this header.
    Lacks(&'static str),
    /// It is answered with an empty page of a listing, which another one follows.
    EmptyPage,
    /// The caller cancels before it is answered; the request never reaches the store.
    Cancelled,
}

/// Token of the page that follows an empty one.
const AFTER_EMPTY: &str = "after-empty";

/// Encrypts parts as a driver does, and watches that no key and nonce serve two plaintexts.
pub(super) struct Sealer {
    key: DataKey,
    salts: u32,
    /// Parts that were not released.
    pub(super) parts: HashMap<u32, Vec<u8>>,
    used: HashMap<([u8; 16], u32), [u8; 32]>,
}

impl Sealer {
    pub(super) fn new(key: DataKey) -> Sealer {
        Sealer { key, salts: 0, parts: HashMap::new(), used: HashMap::new() }
    }

    /// Another process resumes the put: it has no part.
    pub(super) fn restart(&mut self, key: DataKey) {
        self.parts.clear();
        self.key = key;
    }

    fn seal(&mut self, number: u32, offset: u64, part: &[u8], last: bool) -> (Option<Digest>, Option<Salt>) {
        self.salts += 1;
        let mut salt = [0xA5; 16];
        salt[..4].copy_from_slice(&self.salts.to_be_bytes());
        let key = SegmentKey::derive(&self.key, &Salt(salt));
        let (mut stored, mut segments) = (Vec::new(), part.chunks(SEGMENT).peekable());
        let mut index = (offset / SEGMENT as u64) as u32;
        let mut next = Some(segments.next().unwrap_or_default());
        while let Some(segment) = next {
            let before = self.used.insert((salt, index), digest(segment).blake3);
            assert!(before.is_none(), "segment {index} is encrypted twice under a key and nonce");
            let mut data = segment.to_vec();
            let tag = key.seal(index, last && segments.peek().is_none(), &mut data);
            stored.extend([&data[..], &tag].concat());
            (index, next) = (index + 1, segments.next());
        }
        let digest = digest(&stored);
        self.parts.insert(number, stored);
        (Some(digest), Some(Salt(salt)))
    }
}

type Hook = Box<dyn FnMut(&mut World, &Request)>;

pub(super) struct World {
    pub(super) unix_ms: i64,
    /// How far the client's wall clock is off.
    pub(super) client_off_ms: i64,
    pub(super) mode: Mode,
    pub(super) model: Model<Vec<u8>>,
    /// The bucket that the methods about keys look at.
    bucket: String,
    /// From now on, the parts of a file are read with another first byte.
    pub(super) source_changed: bool,
    /// What was saved as the checkpoint.
    pub(super) saved: Vec<u8>,
    /// Offset where the source had to start, and whether it had ended.
    pub(super) source_start: Option<(u64, bool)>,
    /// Number of its bytes that were stored already.
    pub(super) done: u64,
    /// Parts of a stream have their minimum length.
    pub(super) short_parts: bool,
    /// An adoption looks at objects without knowing whose they are.
    pub(super) is_adopting: bool,
    /// Encrypts the parts of an upload.
    pub(super) sealer: Option<Sealer>,
    /// Bytes of parts that were sent, by their offset in the source.
    pub(super) parts_sent: Vec<(u64, u64)>,
    /// Lists are in the order of folders: `vm/` before `vm-2/`.
    pub(super) folder_order: bool,
    /// The writer of a stream reports its end only after its last bytes were accepted.
    pub(super) ends_late: bool,
    /// Operation, key, and the time that it was signed with, of each request that was sent.
    pub(super) log: Vec<(&'static str, String, String)>,
    /// The bucket of each request that was sent.
    pub(super) buckets_asked: Vec<String>,
    /// What the machines reported.
    pub(super) events: Vec<Event>,
    faults: Vec<(&'static str, String, Fault)>,
    hook: Option<Hook>,
    /// Received bytes of ranges, by index and reading.
    kept: HashMap<(u32, u32), Vec<u8>>,
    /// Ranges of data objects that were served: key, start and end.
    pub(super) served: Vec<(String, usize, usize)>,
    /// The ranges that a download delivered, in order.
    pub(super) delivered: Vec<Range>,
    cancelled: bool,
    /// The store refused a Complete, or showed a wrong checksum.
    whole_refused: bool,
    /// URL of the last request, if that had a customer key.
    read_with_key: String,
}

impl World {
    pub(super) fn new() -> World {
        World::with(Rules::default())
    }

    /// A store with these rules, apart from those that all stores here have.
    pub(super) fn with(rules: Rules) -> World {
        World::mode_with(MODE.get(), rules)
    }

    /// A store with the bucket that a vault of this mode needs for the container of [`name`].
    pub(super) fn mode(mode: Mode) -> World {
        World::mode_with(mode, Rules::default())
    }

    pub(super) fn mode_with(mode: Mode, rules: Rules) -> World {
        let mut world = World::without_buckets(mode, rules);
        world.create_bucket("vm");
        world.look_at("vm");
        world
    }

    /// A store without buckets.
    pub(super) fn without_buckets(mode: Mode, rules: Rules) -> World {
        // Each attempt at a part has an ETag of its own, as in stores that encrypt.
        let rules = Rules { unique_etags: true, completes_again: false, aborts_again: true, ..rules };
        World {
            unix_ms: START,
            client_off_ms: 0,
            mode,
            model: Model::new(rules, 1),
            bucket: String::new(),
            source_changed: false,
            saved: Vec::new(),
            source_start: None,
            done: 0,
            short_parts: false,
            is_adopting: false,
            sealer: None,
            parts_sent: Vec::new(),
            ends_late: false,
            folder_order: false,
            log: Vec::new(),
            buckets_asked: Vec::new(),
            events: Vec::new(),
            faults: Vec::new(),
            hook: None,
            kept: HashMap::new(),
            served: Vec::new(),
            delivered: Vec::new(),
            cancelled: false,
            whole_refused: false,
            read_with_key: String::new(),
        }
    }

    /// The same store with the same clock, and nothing else.
    pub(super) fn copy(&self) -> World {
        let copy = World::without_buckets(self.mode, Rules::default());
        World { unix_ms: self.unix_ms, model: self.model.clone(), bucket: self.bucket.clone(), ..copy }
    }

    /// The next request of `operation` whose key starts with `key` has this fault.
    pub(super) fn fault(&mut self, operation: &'static str, key: &str, fault: Fault) {
        self.faults.push((operation, key.to_owned(), fault));
    }

    /// Called before each request.
    pub(super) fn hook(&mut self, hook: impl FnMut(&mut World, &Request) + 'static) {
        self.hook = Some(Box::new(hook));
    }

    /// A vault of the world's mode.
    pub(super) fn vault(&self, changes: &[(&str, &str)]) -> Arc<Vault> {
        self.vault_on(crate::profile::S3, changes)
    }

    /// A vault of the world's mode, in a store of this profile.
    pub(super) fn vault_on(&self, profile: Profile, changes: &[(&str, &str)]) -> Arc<Vault> {
        vault_on(profile, &[self.mode.settings(), changes].concat())
    }

    /// The name of the bucket that keeps this container.
    pub(super) fn bucket_of(&self, container: &str) -> String {
        self.vault(&[]).bucket(container).name().to_owned()
    }

    /// Creates the bucket that keeps this container.
    pub(super) fn create_bucket(&mut self, container: &str) {
        let (name, versioning) = (self.bucket_of(container), self.mode.versioning());
        self.model.create_bucket(&name, versioning, at(self.unix_ms)).unwrap();
    }

    /// From now on, the methods about keys look at the bucket of this container.
    pub(super) fn look_at(&mut self, container: &str) {
        self.bucket = self.bucket_of(container);
    }

    /// Makes another bucket.
    pub(super) fn create_bucket_named(&mut self, name: &str, versioning: Versioning) {
        self.model.create_bucket(name, versioning, at(self.unix_ms)).unwrap();
    }

    /// Stores an object in another bucket.
    pub(super) fn put_in(&mut self, bucket: &str, key: &str, body: &[u8]) {
        self.store_in(bucket, key, body, s3_model::Attributes::default());
    }

    fn bucket(&self) -> &Bucket<Vec<u8>> {
        self.model.bucket(&self.bucket).unwrap()
    }

    fn bucket_mut(&mut self) -> &mut Bucket<Vec<u8>> {
        self.model.bucket_mut(&self.bucket).unwrap()
    }

    /// From now on, the store accepts these checksums only.
    pub(super) fn accepts(&mut self, accepts: Accepts) {
        self.model.rules.accepts = accepts;
    }

    pub(super) fn set_versioning(&mut self, versioning: Versioning) {
        self.bucket_mut().versioning = versioning;
    }

    /// Stores an object whose metadata names a version, encrypted as the objects of that version are.
    pub(super) fn put_as(&mut self, key: &str, body: &[u8], vid: &str) {
        let mut attributes = s3_model::Attributes::default();
        let objects = self.versions(key).iter().filter_map(|version| version.object.as_ref());
        let mut own =
            objects.filter(|object| object.attributes.metadata.get("s3vault-vid").is_some_and(|own| own == vid));
        attributes.encryption = own.next().map(|object| object.attributes.encryption.clone()).unwrap_or_default();
        attributes.metadata.insert("s3vault-vid".to_owned(), vid.to_owned());
        self.store(key, body, attributes);
    }

    pub(super) fn put(&mut self, key: &str, body: &[u8]) {
        self.store(key, body, s3_model::Attributes::default());
    }

    /// Another program stores an object under an SSE-C key that is 32 times this byte.
    pub(super) fn put_sse_c(&mut self, key: &str, body: &[u8], byte: u8) {
        let key_md5 = crate::checksum::content_md5(&[byte; 32]);
        let encryption = s3_model::Encryption::Customer { key_md5 };
        self.store(key, body, s3_model::Attributes { encryption, ..s3_model::Attributes::default() });
    }

    /// Another program deletes an object: in a bucket with versioning, that writes a delete marker.
    pub(super) fn delete_as_another(&mut self, key: &str) {
        let (bucket, now) = (self.bucket.clone(), at(self.unix_ms));
        self.model.delete(&bucket, key, None, false, now).unwrap();
    }

    fn store(&mut self, key: &str, body: &[u8], attributes: s3_model::Attributes) {
        let bucket = self.bucket.clone();
        self.store_in(&bucket, key, body, attributes);
    }

    fn store_in(&mut self, bucket: &str, key: &str, body: &[u8], attributes: s3_model::Attributes) {
        let (content, crc64nvme) = (body.to_vec(), digest(body).crc64nvme);
        let received = s3_model::Received { content, etag: [0; 16], crc64nvme, checksum: None };
        let object = s3_model::Object::whole(received, attributes);
        let now = at(self.unix_ms);
        self.model.put(bucket, key, object, &s3_model::WriteCondition::None, now).unwrap();
    }

    pub(super) fn keys(&self, prefix: &str) -> Vec<String> {
        self.bucket().keys(prefix).map(|(key, _)| key.clone()).collect()
    }

    /// The versions of a key, oldest first.
    pub(super) fn versions(&self, key: &str) -> &[Version<Vec<u8>>] {
        self.bucket().versions(key)
    }

    /// The bytes of a key's oldest version.
    pub(super) fn body(&self, key: &str) -> &[u8] {
        self.versions(key)[0].content().unwrap()
    }

    /// The bytes of a key's newest version, to damage them.
    pub(super) fn body_mut(&mut self, key: &str) -> &mut Vec<u8> {
        let bucket = self.bucket.clone();
        &mut self.model.object_mut(&bucket, key, None).unwrap().content
    }

    /// Replaces all versions of a key. With none the key is gone.
    pub(super) fn set_versions(&mut self, key: &str, versions: Vec<Version<Vec<u8>>>) {
        if versions.is_empty() {
            self.bucket_mut().objects.remove(key);
        } else {
            self.bucket_mut().objects.insert(key.to_owned(), versions);
        }
    }

    fn upload(&mut self) -> &mut s3_model::Upload<Vec<u8>> {
        self.bucket_mut().uploads.values_mut().flatten().next().unwrap()
    }

    /// From now on, the store deletes no object that is there and whose key starts like this.
    pub(super) fn deny_deletes(&mut self, prefix: &str) {
        let denied = Refusal::access_denied("Access Denied");
        let keys = self.keys(prefix);
        self.bucket_mut().undeletable = keys.into_iter().map(|key| (key, denied.clone())).collect();
    }

    /// The id of the only upload.
    pub(super) fn upload_id(&self) -> String {
        self.bucket().open_uploads().map(|(_, upload)| upload.id.clone()).next().unwrap()
    }

    /// Another attempt at a part arrives late, with these bytes.
    pub(super) fn late_part(&mut self, number: u32, change: impl FnOnce(&mut Vec<u8>)) {
        let received = &mut self.upload().parts.get_mut(&number).unwrap().received;
        received.etag = [0xff; 16];
        change(&mut received.content);
        received.crc64nvme = digest(&received.content).crc64nvme;
    }

    /// Somebody aborts all uploads.
    pub(super) fn drop_uploads(&mut self) {
        self.bucket_mut().uploads.clear();
    }

    /// The store loses a part of the only upload.
    pub(super) fn drop_part(&mut self, number: u32) {
        self.upload().parts.remove(&number).unwrap();
    }

    /// The store fails while it completes the only upload, and never completes it.
    pub(super) fn break_upload(&mut self) {
        for upload in self.bucket_mut().uploads.values_mut().flatten() {
            upload.is_broken = true;
        }
    }

    pub(super) fn open_uploads(&self) -> usize {
        self.bucket().open_uploads().count()
    }

    /// Names of the operations that were sent, shortest form.
    pub(super) fn operations(&self) -> Vec<&'static str> {
        self.log.iter().map(|(operation, ..)| *operation).collect()
    }

    pub(super) fn now(&self) -> Now {
        Now { unix_ms: self.unix_ms + self.client_off_ms, mono_ms: (self.unix_ms - START) as u64 }
    }

    /// Runs a machine to its end. `source` is what an upload reads.
    pub(super) fn run<M: Machine>(&mut self, machine: &mut M, source: &[u8]) -> Result<M::Done, Error> {
        self.run_until(machine, source, 100_000)
            .unwrap_or_else(|| panic!("the machine does not end: {:?}", &self.log[..50]))
    }

    /// Runs a machine for at most this many steps; `None` if it has not ended.
    pub(super) fn run_until<M: Machine>(
        &mut self,
        machine: &mut M,
        source: &[u8],
        steps: usize,
    ) -> Option<Result<M::Done, Error>> {
        for _ in 0..steps {
            match machine.poll(self.now()) {
                Output::Send(request) => self.send(machine, &request, source),
                Output::NeedPart(PartRequest { number, offset, length, min_length, hash_first, .. }) => {
                    let length = if self.short_parts { min_length } else { length };
                    let start = (offset as usize).min(source.len());
                    let end = (start + length as usize).min(source.len());
                    let part = &source[start..end];
                    let last = end == source.len() && (!self.ends_late || (part.len() as u64) < length);
                    let (digest, salt) = match &mut self.sealer {
                        Some(sealer) => sealer.seal(number, offset, part, last),
                        None => (hash_first.then(|| digest(part)), None),
                    };
                    let input = Input::PartReady { number, length: part.len() as u64, digest, last, salt };
                    machine.handle(self.now(), input);
                }
                Output::HashPart(Part { number, offset, length, .. }) => {
                    let part = &source[offset as usize..][..length as usize];
                    machine.handle(self.now(), Input::PartHashed { number, digest: digest(part), md5: md5(part) });
                }
                Output::Accept(range) => {
                    self.delivered.push(range);
                    machine.handle(self.now(), Input::RangeConsumed { index: range.index });
                }
                Output::Wait(Some(at)) => self.unix_ms = self.unix_ms.max(START + at as i64),
                Output::Wait(None) => panic!("the machine waits for nothing, after {:?}", self.log),
                Output::Done(result) => return Some(result),
                Output::NeedCredentials { .. } => machine.handle(self.now(), Input::CredentialsKept(None)),
                Output::Save { record, restart } => {
                    if restart {
                        self.saved.clear();
                    }
                    self.saved.extend(record);
                    machine.handle(self.now(), Input::Saved);
                }
                Output::Start(start) => {
                    (self.source_start, self.done) = (Some((start.offset, start.ended)), start.stored)
                }
                Output::Event(event) => self.events.push(event),
                Output::Abandon(_) | Output::ReleasePart(_) | Output::Segments(_) => {}
            }
        }
        None
    }

    pub(super) fn send<M: Machine>(&mut self, machine: &mut M, request: &Request, source: &[u8]) {
        if let Some(mut hook) = self.hook.take() {
            hook(self, request);
            self.hook.get_or_insert(hook);
        }
        self.check_customer_key(request);
        self.unix_ms += 20;
        let url = request.url.replace(&format!("continuation-token={AFTER_EMPTY}&"), "");
        let mut arriving = ModelRequest::new(request.method.as_str(), &url, headers_of(request), Vec::new());
        let (key, date) = (arriving.key.clone(), arriving.header("x-amz-date").unwrap_or_default().to_owned());
        self.log.push((request.operation, key.clone(), date));
        self.buckets_asked.push(arriving.bucket.clone());
        let hit = self
            .faults
            .iter()
            .position(|(operation, part, _)| *operation == request.operation && key.starts_with(part.as_str()));
        let fault = hit.map(|n| self.faults.remove(n).2);
        let id = request.id;
        let lost = Input::Failed {
            id,
            failure: TransportFailure {
                code: Code::ConnectionLost,
                maybe_sent: true,
                detail: "the connection broke".into(),
            },
        };
        match fault {
            Some(Fault::LostBefore) => return machine.handle(self.now(), lost),
            Some(Fault::Cancelled) => {
                self.cancelled = true;
                return machine.handle(self.now(), Input::Cancel);
            }
            _ => {}
        }
        arriving.body = match &request.body {
            Body::Empty => Vec::new(),
            Body::Bytes(bytes) => bytes.to_vec(),
            Body::Part(part) => match &self.sealer {
                Some(sealer) => sealer.parts[&part.number].clone(),
                None => source[part.offset as usize..][..part.length as usize].to_vec(),
            },
        };
        if let Body::Part(part) = &request.body {
            self.parts_sent.push((part.offset, part.length));
            if part.digest.is_none() {
                arriving.body[0] ^= u8::from(self.source_changed);
                let digest = digest(&arriving.body);
                arriving.headers.push(("x-amz-checksum-crc64nvme".into(), s3_model::crc64_text(digest.crc64nvme)));
                machine.handle(self.now(), Input::PartSent { id, digest });
            }
        }
        let reply = match fault {
            Some(Fault::Refused(status, code)) => {
                refused(status, code).with("date", s3_model::http::http_date(at(self.unix_ms)))
            }
            _ => self.answer(&arriving),
        };
        let (status, mut headers) = (reply.status, reply.headers);
        let mut body = match reply.body {
            s3_model::http::Body::Xml(text) if self.folder_order => in_folder_order(&text).into_bytes(),
            s3_model::http::Body::Xml(text) => text.into_bytes(),
            s3_model::http::Body::Content(bytes) => bytes,
        };
        match fault {
            Some(Fault::LostAfter) => return machine.handle(self.now(), lost),
            Some(Fault::ErrorIn200) => body = Refusal::new(200, "InternalError", "an injected fault").xml().into(),
            Some(Fault::EmptyPage) => {
                body = format!(
                    "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>{AFTER_EMPTY}</NextContinuationToken></ListBucketResult>"
                )
                .into();
            }
            Some(Fault::Flipped) => body[0] ^= 1,
            Some(Fault::Lacks(name)) => headers.retain(|(own, _)| own != name),
            Some(Fault::Says(name, value)) => {
                headers.retain(|(own, _)| own != name);
                headers.push((name.to_owned(), value.to_owned()));
            }
            _ => {}
        }
        machine.handle(self.now(), Input::Head { id, head: ReplyHead { status, headers } });
        let now = self.now();
        match request.reply {
            ReplyBody::Range(range) if status < 300 => {
                let kept = self.kept.entry((range.index, range.reading)).or_default();
                kept.truncate(range.done as usize);
                match fault {
                    Some(Fault::BrokenAt(length)) => {
                        kept.extend_from_slice(&body[..length]);
                        if let Some((_, from, to)) = self.served.last_mut() {
                            *to = *from + length;
                        }
                        let length = kept.len() as u64;
                        machine.handle(now, Input::RangeProgress { id, length });
                        machine.handle(now, lost);
                    }
                    _ => {
                        kept.extend_from_slice(&body);
                        let mut digester = Digester::of(range.hash);
                        digester.update(kept);
                        let (length, digest) = (kept.len() as u64, digester.finish());
                        machine.handle(now, Input::RangeEnd { id, length, digest });
                    }
                }
            }
            ReplyBody::Collect { limit } if status < 300 && body.len() > limit => {
                let detail = format!("the reply's body is longer than {limit} bytes");
                let failure = TransportFailure { code: Code::BadReply, maybe_sent: true, detail };
                machine.handle(now, Input::Failed { id, failure });
            }
            _ => {
                machine.handle(now, Input::Body { id, bytes: &body });
                machine.handle(now, Input::End { id });
            }
        }
    }

    /// Each request for data has the customer key if the vaults of this test are encrypted with one, and no other has it,
    /// but those that try the store. After a refusal the same object is asked for without the key.
    fn check_customer_key(&mut self, request: &Request) {
        if !CHECKS_KEYS.get() {
            return;
        }
        let arriving = ModelRequest::new(request.method.as_str(), &request.url, headers_of(request), Vec::<u8>::new());
        let is_data = matches!(
            request.operation,
            "PutObject"
                | "CreateMultipartUpload"
                | "UploadPart"
                | "CompleteMultipartUpload"
                | "GetObject"
                | "HeadObject"
        );
        let is_own = arriving.key.starts_with("_s3vault/");
        let is_probe = arriving.key.starts_with(PROBES);
        let has_key = arriving.header("x-amz-server-side-encryption-customer-key").is_some();
        let is_encrypted = SETTINGS.get() == SSE_C;
        let (operation, key) = (request.operation, &arriving.key);
        assert!(!has_key || is_encrypted && (!is_own || is_probe), "{operation} of {key} has a key");
        let is_doubt = arriving.method == "HEAD" && (self.is_adopting || self.read_with_key == request.url);
        assert!(has_key || !is_encrypted || is_own || !is_data || is_doubt, "{operation} of {key} has no key");
        self.read_with_key = if has_key { request.url.clone() } else { String::new() };
    }

    fn answer(&mut self, request: &ModelRequest<Vec<u8>>) -> Reply<Vec<u8>> {
        let checksums = self.model.rules.accepts != Accepts::Md5;
        let is_copy = request.header("x-amz-copy-source").is_some();
        if request.parameter("partNumber").is_some() && !is_copy {
            // Parts of re-keyed data are sent from memory, with the check that every store has.
            let has_crc = checksums && !request.key.contains(".r");
            let check = if has_crc { "x-amz-checksum-crc64nvme" } else { "content-md5" };
            let is_first_try = request.header("x-amz-checksum-crc64nvme").is_some();
            assert!(request.header(check).is_some() || is_first_try, "each part comes with its checksum");
            let trailer = request.header("x-amz-trailer");
            assert!(trailer.is_none_or(|trailer| trailer == "x-amz-checksum-crc64nvme"), "{trailer:?}");
        }
        let id = request.parameter("uploadId").filter(|_| request.method == "POST");
        let place = self.model.bucket(&request.bucket).ok();
        let parts = id.and_then(|id| Some(place?.open_upload(id)?.parts.keys().copied().collect::<Vec<u32>>()));
        let reply = self.model.answer(request, at(self.unix_ms));
        self.whole_refused |= id.is_some() && (reply.status == 400 || self.model.rules.whole == Whole::Wrong);
        if let Some(parts) = parts.filter(|_| reply.status == 200) {
            assert!(parts.iter().copied().eq(1..=parts.len() as u32), "parts are numbered from 1 in each upload");
            let named = String::from_utf8_lossy(&request.body).matches("<PartNumber>").count();
            assert_eq!(named, parts.len(), "Complete names all parts");
            // Of parts that are copied, a store may have no checksums.
            let checksums = checksums && !request.key.contains(".r");
            let whole = checksums && !self.whole_refused;
            assert!(
                !whole || request.header("x-amz-checksum-crc64nvme").is_some(),
                "Complete comes with the object's checksum"
            );
            assert!(
                !checksums || request.header("x-amz-mp-object-size").is_some(),
                "Complete comes with the object's size"
            );
        }
        let range = reply.headers.iter().find(|(name, _)| name == "content-range").filter(|_| reply.status == 206);
        if let Some((_, range)) = range {
            let bounds = range.strip_prefix("bytes ").and_then(|range| range.split('/').next()?.split_once('-'));
            let (first, last) = bounds.unwrap();
            self.served.push((request.key.clone(), first.parse().unwrap(), last.parse::<usize>().unwrap() + 1));
        }
        reply
    }
}

/// A page whose rows are sorted as if `/` were less than any other character.
fn in_folder_order(page: &str) -> String {
    let (Some(first), Some(last)) = (page.find("<Contents>"), page.rfind("</Contents>")) else {
        return page.to_owned();
    };
    let end = last + "</Contents>".len();
    let mut rows: Vec<&str> = page[first..end].split_inclusive("</Contents>").collect();
    rows.sort_by_key(|row| row.split("</Key>").next().map(|key| key.replace("%2F", "/").replace('/', "\0")));
    [&page[..first], &rows.concat(), &page[end..]].concat()
}

/// An injected error reply.
fn refused(status: u16, code: &'static str) -> Reply<Vec<u8>> {
    Reply::refused(&Refusal::new(status, code, "an injected fault"))
}

pub(super) fn at(unix_ms: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms as u64)
}

pub(super) fn vault(changes: &[(&str, &str)]) -> Arc<Vault> {
    vault_on(crate::profile::S3, changes)
}

/// A vault in a store of this profile.
pub(super) fn vault_on(profile: Profile, changes: &[(&str, &str)]) -> Arc<Vault> {
    vault_of(profile, changes, Some(Arc::new(keyring())))
}

/// The keyring of all vaults that name none.
pub(super) fn keyring() -> Keyring {
    let mut keyring = Keyring::generate([1; 32]);
    keyring.add_kek(Kek::new([4; 32], START));
    keyring
}

/// A vault of these keys; without any, nothing is signed.
pub(super) fn vault_of(profile: Profile, changes: &[(&str, &str)], keyring: Option<Arc<Keyring>>) -> Arc<Vault> {
    let mut settings = Settings::new();
    let own = [("api_url", URL), ("access_key", "A"), ("secret_key", "S")];
    for (key, value) in own.iter().chain(MODE.get().settings()).chain(SETTINGS.get()).chain(changes) {
        settings.set(key, value).unwrap();
    }
    let credentials = Credentials::from_settings(&settings).unwrap();
    let account = Arc::new(Account::from_settings(&settings, credentials).unwrap().with_profile(profile));
    Arc::new(Vault::new(&settings, &account, keyring).unwrap())
}

pub(super) fn name() -> Name {
    Name::new("vm", "disk").unwrap()
}

pub(super) fn put(vault: &Arc<Vault>, parent: Option<Vid>, random: u8) -> Put {
    let request = request(parent, None, random);
    Put::new(vault.clone(), request).unwrap()
}

pub(super) fn request(parent: Option<Vid>, length: Option<u64>, random: u8) -> PutRequest {
    let (source, checkpoint) = (None, None);
    let memory = 256 << 20;
    PutRequest {
        name: name(),
        parent,
        length,
        source,
        live: false,
        labels: Labels::default(),
        checkpoint,
        memory,
        entropy: [random; 10],
        data_key: DataKey::new([random; 32]),
        seed: 1,
    }
}

/// A put of a file of this length.
pub(super) fn put_file(vault: &Arc<Vault>, length: usize) -> Put {
    let request = request(None, Some(length as u64), 1);
    Put::new(vault.clone(), request).unwrap()
}

/// Stores bytes and expects that it works.
pub(super) fn stored(world: &mut World, vault: &Arc<Vault>, bytes: &[u8], random: u8) -> Found {
    world.run(&mut put(vault, None, random), bytes).unwrap()
}

/// The requests that a machine sends before any of them is answered, with its other wishes fulfilled; its result once it
/// is done.
pub(super) fn round<M: Machine>(
    world: &mut World,
    machine: &mut M,
    source: &[u8],
) -> (Vec<Request>, Option<Result<M::Done, Error>>) {
    let mut requests = Vec::new();
    loop {
        match machine.poll(world.now()) {
            Output::Send(request) => requests.push(request),
            Output::NeedPart(PartRequest { number, .. }) => {
                let digest = Some(digest(source));
                let length = source.len() as u64;
                machine.handle(world.now(), Input::PartReady { number, length, digest, last: true, salt: None });
            }
            Output::Save { record, restart } => {
                if restart {
                    world.saved.clear();
                }
                world.saved.extend(record);
                machine.handle(world.now(), Input::Saved);
            }
            Output::Wait(_) => return (requests, None),
            Output::Done(result) => return (requests, Some(result)),
            Output::Accept(range) => machine.handle(world.now(), Input::RangeConsumed { index: range.index }),
            Output::Start(_) | Output::ReleasePart(_) | Output::Event(_) | Output::Abandon(_) => {}
            _ => panic!("it wants something else"),
        }
    }
}

/// The catalogue entry of an empty version that another process stored.
pub(super) fn row_object(vault: &Vault, vid: Vid, kind: Kind) -> (String, Vec<u8>) {
    let row = RowKey { vid, recorded_ms: vid.unix_ms(), kind, size: 0, parent: None };
    let times = manifest::Times { initiated: row.recorded_ms, completed: row.recorded_ms, stored: row.recorded_ms };
    let manifest = Manifest::new(&vault.id, &name(), &row, times, Vec::new(), None);
    (manifest.key.clone(), manifest.to_object(vault.signing_key()))
}

/// Another process stores an empty version.
pub(super) fn put_row(world: &mut World, vault: &Vault, vid: Vid, kind: Kind) {
    put_row_of(world, vault, &RowKey { vid, recorded_ms: vid.unix_ms(), kind, size: 0, parent: None });
}

/// Another process writes a marker.
pub(super) fn put_marker(world: &mut World, vault: &Vault, vid: Vid, mark: marker::Mark) {
    let marker = marker::Marker::new(&vault.id, &name(), vid, mark);
    world.put(&marker.key, &marker.to_object(vault.signing_key()));
}

/// Finds a version and reads it whole, as its last acceptance leaves it.
pub(super) fn find(world: &mut World, vault: &Arc<Vault>, which: Selector) -> Result<Found, Error> {
    world.run(&mut Find::new(vault.clone(), name(), which, None, 1), &[])
}

/// All rows of a listing.
pub(super) fn list(world: &mut World, vault: &Arc<Vault>, query: impl Into<Query>) -> Vec<Row> {
    let (query, mut rows, mut cursor) = (query.into(), Vec::new(), Some(Cursor::default()));
    while let Some(at) = cursor {
        let (page, next) = world.run(&mut ListPage::new(vault.clone(), query.clone(), at, 1), &[]).unwrap();
        rows.extend(page);
        cursor = next;
    }
    rows
}

/// Writes a marker as the owner of the vault's keyring does.
pub(super) fn mark(world: &mut World, vault: &Vault, vid: &str, mark: marker::Mark) {
    let marker = marker::Marker::new(&vault.id, &name(), Vid::parse(vid).unwrap(), mark);
    world.put(&marker.key, &marker.to_object(vault.signing_key()));
}

/// Writes a row of no data, signed: a `del` row, for example. Returns its key.
pub(super) fn put_row_of(world: &mut World, vault: &Vault, row: &RowKey) -> String {
    let row = RowKey { size: 0, ..row.clone() };
    let times = manifest::Times { initiated: row.recorded_ms, completed: row.recorded_ms, stored: row.recorded_ms };
    let manifest = Manifest::new(&vault.id, &name(), &row, times, Vec::new(), None);
    world.put(&manifest.key, &manifest.to_object(vault.signing_key()));
    manifest.key
}

/// More than one part.
pub(super) fn large() -> Vec<u8> {
    static BYTES: std::sync::LazyLock<Vec<u8>> =
        std::sync::LazyLock::new(|| (0..(20u32 << 20)).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect());
    BYTES.clone()
}

fn headers_of(request: &Request) -> Vec<(String, String)> {
    request.headers.iter().map(|(name, value)| (name.clone(), value.to_string())).collect()
}
