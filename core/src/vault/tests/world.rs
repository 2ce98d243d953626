//! A clock and a driver that the tests play by hand, on the model of S3: one bucket, requests one after the other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use s3_model::http::{Reply, Request as ModelRequest};
use s3_model::{Accepts, Bucket, Refusal, Rules, Store as Model, Version, Versioning, Whole};

use super::super::*;
use crate::account::Account;
use crate::checksum::{Digester, digest, md5};
use crate::credentials::Credentials;
use crate::crypto::keyring::Keyring;
use crate::http::{Body, Part, Range, ReplyBody, ReplyHead, Request, TransportFailure};
use crate::machine::{Event, Input, Machine, Output, PartRequest};
use crate::profile::Profile;
use crate::time::Now;
use crate::{Code, Error};

pub(super) const START: i64 = 1_764_000_000_000;
pub(super) const MINUTE: i64 = 60_000;
const URL: &str = "http://127.0.0.1:9000";
const BUCKET: &str = "bkt";

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

type Hook = Box<dyn FnMut(&mut World, &Request)>;

pub(super) struct World {
    pub(super) unix_ms: i64,
    /// How far the client's wall clock is off.
    pub(super) client_off_ms: i64,
    model: Model<Vec<u8>>,
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
    /// Bytes of parts that were sent, by their offset in the source.
    pub(super) parts_sent: Vec<(u64, u64)>,
    /// Lists are in the order of folders: `vm/` before `vm-2/`.
    pub(super) folder_order: bool,
    /// The writer of a stream reports its end only after its last bytes were accepted.
    pub(super) ends_late: bool,
    /// Operation, key, and the time that it was signed with, of each request that was sent.
    pub(super) log: Vec<(&'static str, String, String)>,
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
}

impl World {
    pub(super) fn new() -> World {
        World::with(Rules::default())
    }

    /// A store with these rules, apart from those that all stores here have.
    pub(super) fn with(rules: Rules) -> World {
        // Each attempt at a part has an ETag of its own, as in stores that encrypt.
        let rules = Rules { unique_etags: true, completes_again: false, aborts_again: true, ..rules };
        let mut model = Model::new(rules, 1);
        model.create_bucket(BUCKET, Versioning::Enabled, at(START)).unwrap();
        World {
            unix_ms: START,
            client_off_ms: 0,
            model,
            source_changed: false,
            saved: Vec::new(),
            source_start: None,
            done: 0,
            short_parts: false,
            parts_sent: Vec::new(),
            ends_late: false,
            folder_order: false,
            log: Vec::new(),
            events: Vec::new(),
            faults: Vec::new(),
            hook: None,
            kept: HashMap::new(),
            served: Vec::new(),
            delivered: Vec::new(),
            cancelled: false,
            whole_refused: false,
        }
    }

    /// The next request of `operation` whose key starts with `key` has this fault.
    pub(super) fn fault(&mut self, operation: &'static str, key: &str, fault: Fault) {
        self.faults.push((operation, key.to_owned(), fault));
    }

    /// Called before each request.
    pub(super) fn hook(&mut self, hook: impl FnMut(&mut World, &Request) + 'static) {
        self.hook = Some(Box::new(hook));
    }

    fn bucket(&self) -> &Bucket<Vec<u8>> {
        self.model.bucket(BUCKET).unwrap()
    }

    fn bucket_mut(&mut self) -> &mut Bucket<Vec<u8>> {
        self.model.bucket_mut(BUCKET).unwrap()
    }

    /// From now on, the store accepts these checksums only.
    pub(super) fn accepts(&mut self, accepts: Accepts) {
        self.model.rules.accepts = accepts;
    }

    pub(super) fn set_versioning(&mut self, versioning: Versioning) {
        self.bucket_mut().versioning = versioning;
    }

    /// Stores an object whose metadata names a version.
    pub(super) fn put_as(&mut self, key: &str, body: &[u8], vid: &str) {
        let mut attributes = s3_model::Attributes::default();
        attributes.metadata.insert("s3vault-vid".to_owned(), vid.to_owned());
        self.store(key, body, attributes);
    }

    pub(super) fn put(&mut self, key: &str, body: &[u8]) {
        self.store(key, body, s3_model::Attributes::default());
    }

    fn store(&mut self, key: &str, body: &[u8], attributes: s3_model::Attributes) {
        let (content, crc64nvme) = (body.to_vec(), digest(body).crc64nvme);
        let received = s3_model::Received { content, etag: [0; 16], crc64nvme, checksum: None };
        let object = s3_model::Object::whole(received, attributes);
        let now = at(self.unix_ms);
        self.model.put(BUCKET, key, object, &s3_model::WriteCondition::None, now).unwrap();
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
        &mut self.model.object_mut(BUCKET, key, None).unwrap().content
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
                    let digest = hash_first.then(|| digest(part));
                    let input = Input::PartReady { number, length: part.len() as u64, digest, last };
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
                Output::Abandon(_) | Output::ReleasePart(_) => {}
            }
        }
        None
    }

    pub(super) fn send<M: Machine>(&mut self, machine: &mut M, request: &Request, source: &[u8]) {
        if let Some(mut hook) = self.hook.take() {
            hook(self, request);
            self.hook.get_or_insert(hook);
        }
        self.unix_ms += 20;
        let url = request.url.replace(&format!("continuation-token={AFTER_EMPTY}&"), "");
        let mut arriving = ModelRequest::new(request.method.as_str(), &url, headers_of(request), Vec::new());
        let (key, date) = (arriving.key.clone(), arriving.header("x-amz-date").unwrap_or_default().to_owned());
        self.log.push((request.operation, key.clone(), date));
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
            Body::Part(part) => source[part.offset as usize..][..part.length as usize].to_vec(),
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

    fn answer(&mut self, request: &ModelRequest<Vec<u8>>) -> Reply<Vec<u8>> {
        let checksums = self.model.rules.accepts != Accepts::Md5;
        if request.parameter("partNumber").is_some() {
            let check = if checksums { "x-amz-checksum-crc64nvme" } else { "content-md5" };
            let is_first_try = request.header("x-amz-checksum-crc64nvme").is_some();
            assert!(request.header(check).is_some() || is_first_try, "each part comes with its checksum");
            let trailer = request.header("x-amz-trailer");
            assert!(trailer.is_none_or(|trailer| trailer == "x-amz-checksum-crc64nvme"), "{trailer:?}");
        }
        let id = request.parameter("uploadId").filter(|_| request.method == "POST");
        let parts = id.and_then(|id| Some(self.bucket().open_upload(id)?.parts.keys().copied().collect::<Vec<u32>>()));
        let reply = self.model.answer(request, at(self.unix_ms));
        self.whole_refused |= id.is_some() && (reply.status == 400 || self.model.rules.whole == Whole::Wrong);
        if let Some(parts) = parts.filter(|_| reply.status == 200) {
            assert!(parts.iter().copied().eq(1..=parts.len() as u32), "parts are numbered from 1 in each upload");
            let named = String::from_utf8_lossy(&request.body).matches("<PartNumber>").count();
            assert_eq!(named, parts.len(), "Complete names all parts");
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

fn at(unix_ms: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms as u64)
}

pub(super) fn vault(changes: &[(&str, &str)]) -> Arc<Vault> {
    vault_on(crate::profile::S3, changes)
}

/// A vault in a store of this profile.
pub(super) fn vault_on(profile: Profile, changes: &[(&str, &str)]) -> Arc<Vault> {
    vault_of(profile, changes, Some(Arc::new(Keyring::generate([1; 32]))))
}

/// A vault of these keys; without any, nothing is signed.
pub(super) fn vault_of(profile: Profile, changes: &[(&str, &str)], keyring: Option<Arc<Keyring>>) -> Arc<Vault> {
    let mut settings = Settings::new();
    let own = [("api_url", URL), ("bucket", BUCKET), ("access_key", "A"), ("secret_key", "S")];
    for (key, value) in own.iter().chain(changes) {
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
    PutRequest { name: name(), parent, length, source, live: false, checkpoint, memory, entropy: [random; 10], seed: 1 }
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

/// Finds a version and reads it whole, as its last acceptance leaves it.
pub(super) fn find(world: &mut World, vault: &Arc<Vault>, which: Selector) -> Result<Found, Error> {
    world.run(&mut Find::new(vault.clone(), name(), which, None, 1), &[])
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
