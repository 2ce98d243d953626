//! A store, a clock and a driver that are played by hand: one bucket with versioning, requests one after the other.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::super::*;
use crate::account::Account;
use crate::checksum::{Digester, crc_text, digest};
use crate::credentials::Credentials;
use crate::crypto::keyring::Keyring;
use crate::http::{Body, Method, Part, Range, ReplyBody, ReplyHead, Request, TransportFailure};
use crate::machine::{Input, Machine, Output, PartRequest};
use crate::profile::Profile;
use crate::time::{Now, amz_date};
use crate::{Code, Error, uri};

pub(super) const START: i64 = 1_764_000_000_000;
pub(super) const MINUTE: i64 = 60_000;

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
    /// One bit of the body that comes back is another.
    Flipped,
    /// The connection breaks after so many bytes of the body.
    BrokenAt(usize),
    /// It takes effect, and the answer has this header too.
    Says(&'static str, &'static str),
    /// The caller cancels before it is answered; the request never reaches the store.
    Cancelled,
}

#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) version_id: String,
    pub(super) body: Vec<u8>,
    headers: Vec<(String, String)>,
}

/// Key, parts (with their ETags) and headers of an upload.
type Multipart = (String, BTreeMap<u32, (String, Vec<u8>)>, Vec<(String, String)>);
type Hook = Box<dyn FnMut(&mut World, &Request)>;

pub(super) struct World {
    pub(super) unix_ms: i64,
    /// How far the client's wall clock is off.
    pub(super) client_off_ms: i64,
    pub(super) objects: BTreeMap<String, Vec<Object>>,
    uploads: HashMap<String, Multipart>,
    /// Uploads whose Complete the store has begun and not ended, and never will.
    broken: Vec<String>,
    pub(super) versioning: &'static str,
    /// A file's parts have another first byte when they are read from now on.
    pub(super) source_changed: bool,
    /// What was saved as the checkpoint.
    pub(super) saved: Vec<u8>,
    /// Where the source was said to go on, and whether it was at its end.
    pub(super) begun: Option<(u64, bool)>,
    /// How much of it was said to be stored then, in bytes.
    pub(super) done: u64,
    /// Parts of a stream have their least length.
    pub(super) short_parts: bool,
    /// Bytes of parts that were sent, by their offset in the source.
    pub(super) parts_sent: Vec<(u64, u64)>,
    /// A stream's writer says that it has ended only after its last bytes were taken.
    pub(super) ends_late: bool,
    /// Operation, key, and the time that it was signed with, of each request that was sent.
    pub(super) log: Vec<(&'static str, String, String)>,
    faults: Vec<(&'static str, String, Fault)>,
    hook: Option<Hook>,
    /// What came of ranges, by their index and reading.
    kept: HashMap<(u32, u32), Vec<u8>>,
    /// The bytes of data objects that were served, by key: from where to where.
    pub(super) served: Vec<(String, usize, usize)>,
    /// What a download delivered, in its order.
    pub(super) delivered: Vec<Range>,
    cancelled: bool,
    count: u64,
}

impl World {
    pub(super) fn new() -> World {
        World {
            unix_ms: START,
            client_off_ms: 0,
            objects: BTreeMap::new(),
            uploads: HashMap::new(),
            broken: Vec::new(),
            versioning: "Enabled",
            source_changed: false,
            saved: Vec::new(),
            begun: None,
            done: 0,
            short_parts: false,
            parts_sent: Vec::new(),
            ends_late: false,
            log: Vec::new(),
            faults: Vec::new(),
            hook: None,
            kept: HashMap::new(),
            served: Vec::new(),
            delivered: Vec::new(),
            cancelled: false,
            count: 0,
        }
    }

    /// The next request of `operation` whose key begins with `key` meets this fault.
    pub(super) fn fault(&mut self, operation: &'static str, key: &str, fault: Fault) {
        self.faults.push((operation, key.to_owned(), fault));
    }

    /// Called before each request.
    pub(super) fn hook(&mut self, hook: impl FnMut(&mut World, &Request) + 'static) {
        self.hook = Some(Box::new(hook));
    }

    /// An object whose metadata names a version.
    pub(super) fn put_as(&mut self, key: &str, body: &[u8], vid: &str) {
        self.store(key, body.to_vec(), vec![("x-amz-meta-s3vault-vid".into(), vid.to_owned())]);
    }

    pub(super) fn put(&mut self, key: &str, body: &[u8]) {
        self.store(key, body.to_vec(), Vec::new());
    }

    fn store(&mut self, key: &str, body: Vec<u8>, headers: Vec<(String, String)>) -> String {
        self.count += 1;
        let version_id = format!("v{}", self.count);
        self.objects.entry(key.to_owned()).or_default().push(Object { version_id: version_id.clone(), body, headers });
        version_id
    }

    pub(super) fn keys(&self, prefix: &str) -> Vec<String> {
        self.objects.keys().filter(|key| key.starts_with(prefix)).cloned().collect()
    }

    /// Another attempt at a part arrives late, with these bytes.
    pub(super) fn late_part(&mut self, number: u32, change: impl FnOnce(&mut Vec<u8>)) {
        let parts = self.uploads.values_mut().next().map(|(_, parts, _)| parts).unwrap();
        let (etag, bytes) = parts.get_mut(&number).unwrap();
        *etag = "\"late\"".into();
        change(bytes);
    }

    /// Somebody aborts all uploads.
    pub(super) fn drop_uploads(&mut self) {
        self.uploads.clear();
    }

    /// A part of the one upload is not there any more.
    pub(super) fn drop_part(&mut self, number: u32) {
        self.uploads.values_mut().next().and_then(|(_, parts, _)| parts.remove(&number)).unwrap();
    }

    /// The store has stopped in the midst of completing the one upload.
    pub(super) fn break_upload(&mut self) {
        self.broken.extend(self.uploads.keys().cloned());
    }

    pub(super) fn open_uploads(&self) -> usize {
        self.uploads.len()
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

    /// Runs a machine for so many steps at most; `None`: it has not ended.
    pub(super) fn run_until<M: Machine>(
        &mut self,
        machine: &mut M,
        source: &[u8],
        steps: usize,
    ) -> Option<Result<M::Done, Error>> {
        for _ in 0..steps {
            match machine.poll(self.now()) {
                Output::Send(request) => self.send(machine, &request, source),
                Output::NeedPart(PartRequest { number, offset, length, min_length, hash_first }) => {
                    let length = if self.short_parts { min_length } else { length };
                    let begin = (offset as usize).min(source.len());
                    let end = (begin + length as usize).min(source.len());
                    let part = &source[begin..end];
                    let last = end == source.len() && (!self.ends_late || (part.len() as u64) < length);
                    let digest = hash_first.then(|| digest(part));
                    let input = Input::PartReady { number, length: part.len() as u64, digest, last };
                    machine.handle(self.now(), input);
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
                Output::Start(start) => (self.begun, self.done) = (Some((start.offset, start.ended)), start.stored),
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
        let (key, query) = target(&request.url);
        let header = |name: &str| request.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.to_string());
        let date = header("x-amz-date").unwrap_or_default();
        self.log.push((request.operation, key.clone(), date.clone()));
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
        if let Body::Part(part @ Part { digest: None, .. }) = &request.body {
            let begin = part.offset as usize;
            let mut bytes = source[begin..begin + part.length as usize].to_vec();
            bytes[0] ^= u8::from(self.source_changed);
            machine.handle(self.now(), Input::PartSent { id, digest: digest(&bytes) });
        }
        if let Body::Part(part) = &request.body {
            self.parts_sent.push((part.offset, part.length));
        }
        let too_old = (amz_date(self.unix_ms - 15 * MINUTE) > date) || (amz_date(self.unix_ms + 15 * MINUTE) < date);
        let (status, mut headers, mut body) = match fault {
            Some(Fault::Refused(status, code)) => (status, vec![], error(code)),
            _ if too_old => (403, vec![], error("RequestTimeTooSkewed")),
            _ => self.answer(request, &key, &query, source),
        };
        match fault {
            Some(Fault::LostAfter) => return machine.handle(self.now(), lost),
            Some(Fault::ErrorIn200) => body = error("InternalError"),
            Some(Fault::Flipped) => body[0] ^= 1,
            Some(Fault::Says(name, value)) => headers.push((name.to_owned(), value.to_owned())),
            _ => {}
        }
        headers.push(("date".into(), http_date(self.unix_ms)));
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
            _ => {
                machine.handle(now, Input::Body { id, bytes: &body });
                machine.handle(now, Input::End { id });
            }
        }
    }

    fn answer(&mut self, request: &Request, key: &str, query: &HashMap<String, String>, source: &[u8]) -> Answer {
        let header = |name: &str| request.headers.iter().find(|(n, _)| n == name).map(|(_, v)| &**v);
        let sent = match &request.body {
            Body::Empty => Vec::new(),
            Body::Bytes(bytes) => bytes.to_vec(),
            Body::Part(part) => source[part.offset as usize..][..part.length as usize].to_vec(),
        };
        let upload_id = query.get("uploadId").cloned().unwrap_or_default();
        let stored = |version_id: String| {
            vec![("etag".to_owned(), "\"e\"".to_owned()), ("x-amz-version-id".to_owned(), version_id)]
        };
        match (request.method, key) {
            (Method::Get, "") if query.contains_key("versioning") => {
                let status =
                    format!("<VersioningConfiguration><Status>{}</Status></VersioningConfiguration>", self.versioning);
                (200, vec![], status.into_bytes())
            }
            (Method::Get, "") if query.contains_key("versions") => {
                let mut xml = "<ListVersionsResult><IsTruncated>false</IsTruncated>".to_owned();
                for (key, versions) in self.objects.iter().filter(|(key, _)| key.starts_with(&query["prefix"])) {
                    for (n, Object { version_id, body, .. }) in versions.iter().rev().enumerate() {
                        xml += &format!(
                            "<Version><Key>{}</Key><VersionId>{version_id}</VersionId><IsLatest>{}</IsLatest>\
                             <ETag>e</ETag><Size>{}</Size></Version>",
                            uri::encode_path(key),
                            n == 0,
                            body.len()
                        );
                    }
                }
                (200, vec![], (xml + "<EncodingType>url</EncodingType></ListVersionsResult>").into())
            }
            (Method::Get, "") => (200, vec![], self.list(query)),
            (Method::Post, _) if query.contains_key("uploads") => {
                self.count += 1;
                let id = format!("u{}", self.count);
                self.uploads.insert(id.clone(), (key.to_owned(), BTreeMap::new(), headers_of(request)));
                (
                    200,
                    vec![],
                    format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>")
                        .into(),
                )
            }
            (Method::Put, _) if query.contains_key("partNumber") => match self.uploads.get_mut(&upload_id) {
                None => (404, vec![], error("NoSuchUpload")),
                Some((_, parts, _)) => {
                    let crc = crc_text(digest(&sent).crc64nvme);
                    match header("x-amz-trailer") {
                        // What the trailer says, the driver has computed.
                        Some(trailer) => assert_eq!(trailer, "x-amz-checksum-crc64nvme"),
                        None => assert_eq!(header("x-amz-checksum-crc64nvme"), Some(&*crc)),
                    }
                    // An ETag for each attempt, as stores give it that encrypt.
                    self.count += 1;
                    let etag = format!("\"part-{}\"", self.count);
                    parts.insert(query["partNumber"].parse().unwrap(), (etag.clone(), sent));
                    (200, vec![("etag".to_owned(), etag)], vec![])
                }
            },
            (Method::Get, _) if query.contains_key("uploadId") => match self.uploads.get(&upload_id) {
                None => (404, vec![], error("NoSuchUpload")),
                Some((_, parts, _)) => {
                    let mut xml = "<ListPartsResult><IsTruncated>false</IsTruncated>".to_owned();
                    for (number, (etag, bytes)) in parts {
                        let (size, crc) = (bytes.len(), crc_text(digest(bytes).crc64nvme));
                        let etag = crate::xml::escape(etag);
                        xml += &format!(
                            "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag><Size>{size}</Size>\
                             <ChecksumCRC64NVME>{crc}</ChecksumCRC64NVME></Part>"
                        );
                    }
                    (200, vec![], (xml + "</ListPartsResult>").into())
                }
            },
            (Method::Post, _)
                if self.uploads.get(&upload_id).is_some_and(|(_, parts, _)| {
                    let xml = String::from_utf8_lossy(&sent).replace("&quot;", "\"");
                    parts.len() != xml.matches("<PartNumber>").count()
                        || parts.values().any(|(etag, _)| !xml.contains(&format!("<ETag>{etag}</ETag>")))
                }) =>
            {
                (400, vec![], error("InvalidPart"))
            }
            (Method::Post, _) if self.broken.contains(&upload_id) => {
                (400, vec![], error("XAmzContentChecksumMismatch"))
            }
            (Method::Post, _) => match self.uploads.remove(&upload_id) {
                None => (404, vec![], error("NoSuchUpload")),
                Some((key, parts, headers)) => {
                    assert!(
                        parts.keys().copied().eq(1..=parts.len() as u32),
                        "parts are numbered from 1 in each upload"
                    );
                    let body: Vec<u8> = parts.into_values().flat_map(|(_, bytes)| bytes).collect();
                    assert_eq!(header("x-amz-checksum-crc64nvme"), Some(&*crc_text(digest(&body).crc64nvme)));
                    assert_eq!(header("x-amz-mp-object-size"), Some(&*body.len().to_string()));
                    let version_id = self.store(&key, body, headers);
                    let xml = "<CompleteMultipartUploadResult><ETag>\"e-2\"</ETag></CompleteMultipartUploadResult>";
                    (200, stored(version_id), xml.into())
                }
            },
            (Method::Delete, _) => {
                self.uploads.remove(&upload_id);
                (204, vec![], vec![])
            }
            (Method::Put, _) => {
                let version_id = self.store(key, sent, headers_of(request));
                (200, stored(version_id), vec![])
            }
            (Method::Get | Method::Head, _) => {
                let versions = self.objects.get(key).map(Vec::as_slice).unwrap_or_default();
                let wanted = query.get("versionId");
                let Some(object) = versions.iter().rfind(|object| wanted.is_none_or(|id| *id == object.version_id))
                else {
                    return (404, vec![], error(if versions.is_empty() { "NoSuchKey" } else { "NoSuchVersion" }));
                };
                let mut headers = stored(object.version_id.clone());
                headers.extend(object.headers.iter().filter(|(name, _)| name.starts_with("x-amz-meta-")).cloned());
                headers.push(("x-amz-checksum-crc64nvme".into(), crc_text(digest(&object.body).crc64nvme)));
                headers.push(("content-length".into(), object.body.len().to_string()));
                match header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) {
                    None => (200, headers, if request.method == Method::Head { vec![] } else { object.body.clone() }),
                    Some((first, last)) => {
                        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
                        let last = last.min(object.body.len() - 1);
                        self.served.push((key.to_owned(), first, last + 1));
                        headers.push(("content-range".into(), format!("bytes {first}-{last}/{}", object.body.len())));
                        (206, headers, object.body[first..=last].to_vec())
                    }
                }
            }
        }
    }

    fn list(&self, query: &HashMap<String, String>) -> Vec<u8> {
        let after = query.get("continuation-token").or(query.get("start-after")).map_or("", String::as_str);
        let most = query.get("max-keys").map_or(1000, |count| count.parse().unwrap()).min(1000);
        let (mut xml, mut count, mut last) = (String::new(), 0, String::new());
        let mut truncated = false;
        for key in self.objects.keys().filter(|key| key.starts_with(&query["prefix"]) && key.as_str() > after) {
            let rest = &key[query["prefix"].len()..];
            let group = query
                .get("delimiter")
                .and_then(|d| rest.find(d.as_str()))
                .map(|n| &key[..query["prefix"].len() + n + 1]);
            if group.is_some_and(|group| last.starts_with(group)) {
                last.clone_from(key);
                continue;
            }
            if count == most {
                truncated = true;
                break;
            }
            count += 1;
            match group {
                Some(group) => xml.push_str(&format!(
                    "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>",
                    uri::encode_path(group)
                )),
                None => {
                    xml.push_str(&format!("<Contents><Key>{}</Key><Size>1</Size></Contents>", uri::encode_path(key)))
                }
            }
            last.clone_from(key);
        }
        let token = if truncated {
            format!("<NextContinuationToken>{}</NextContinuationToken>", crate::xml::escape(&last))
        } else {
            String::new()
        };
        format!("<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>{truncated}</IsTruncated>{xml}{token}</ListBucketResult>").into()
    }
}

type Answer = (u16, Vec<(String, String)>, Vec<u8>);

fn error(code: &str) -> Vec<u8> {
    format!("<Error><Code>{code}</Code><Message>so it is</Message></Error>").into()
}

fn target(url: &str) -> (String, HashMap<String, String>) {
    let rest = url.strip_prefix("http://127.0.0.1:9000/bkt").unwrap();
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let pair = |pair: &str| {
        pair.split_once('=').map(|(name, value)| (uri::decode(name).unwrap(), uri::decode(value).unwrap()))
    };
    (uri::decode(path.strip_prefix('/').unwrap_or(path)).unwrap(), query.split('&').filter_map(pair).collect())
}

fn http_date(unix_ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(unix_ms).unwrap();
    jiff::fmt::strtime::format("%a, %d %b %Y %H:%M:%S GMT", at).unwrap()
}

pub(super) fn vault(changes: &[(&str, &str)]) -> Arc<Vault> {
    vault_on(crate::profile::S3, changes)
}

/// A vault in a store of this profile.
pub(super) fn vault_on(profile: Profile, changes: &[(&str, &str)]) -> Arc<Vault> {
    let mut settings = Settings::new();
    let own = [("api_url", "http://127.0.0.1:9000"), ("bucket", "bkt"), ("access_key", "A"), ("secret_key", "S")];
    for (key, value) in own.iter().chain(changes) {
        settings.set(key, value).unwrap();
    }
    let credentials = Credentials::from_settings(&settings).unwrap();
    let account = Arc::new(Account::from_settings(&settings, credentials).unwrap().with_profile(profile));
    Arc::new(Vault::new(&settings, &account, Some(Arc::new(Keyring::generate([1; 32])))).unwrap())
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
    PutRequest { name: name(), parent, length, source, checkpoint, memory: 256 << 20, entropy: [random; 10], seed: 1 }
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
