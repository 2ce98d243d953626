//! The contract of machines: every input at every point of a run. One that comes late or names nothing is ignored, one that
//! comes early changes nothing, a misuse is an error, and none of them panics or aborts an upload.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::objects::VAULT_KEY;
use super::super::*;
use super::world::*;
use crate::checksum::{Digest, crc_text, digest};
use crate::http::{Body, ReplyBody, ReplyHead, Request, RequestId, TransportFailure};
use crate::machine::{Input, Machine, Output, PartRequest};
use crate::op::testing::confirmed;
use crate::op::{HeadBucket, Single};
use crate::time::Now;
use crate::transfer::checkpoint::Checkpoint;
use crate::transfer::{Delivery, ReadRequest};
use crate::{Code, Error};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const PART: u64 = 8 << 20;

fn content() -> Digest {
    digest(b"part")
}

/// An answer to a request: status and body, or a connection that broke.
type Answer = Option<(u16, String)>;
/// How a store answers the nth request (from 0) of an operation.
type Store<'a> = &'a dyn Fn(&Request, usize) -> Answer;

/// An input that will be handled.
#[derive(Clone, Debug)]
enum Event {
    Body(RequestId, Vec<u8>),
    Other(Input<'static>),
}

impl Event {
    fn input(&self) -> Input<'_> {
        match self {
            Event::Body(id, bytes) => Input::Body { id: *id, bytes },
            Event::Other(input) => input.clone(),
        }
    }

    fn id(&self) -> Option<RequestId> {
        match self.input() {
            Input::Head { id, .. }
            | Input::Body { id, .. }
            | Input::End { id }
            | Input::RangeProgress { id, .. }
            | Input::RangeEnd { id, .. }
            | Input::Failed { id, .. }
            | Input::Sent { id }
            | Input::PartSent { id, .. } => Some(id),
            _ => None,
        }
    }

    /// The same input for another request.
    fn with_id(&self, id: RequestId) -> Event {
        Event::Other(match self.input() {
            Input::Head { head, .. } => Input::Head { id, head },
            Input::Body { bytes, .. } => return Event::Body(id, bytes.to_vec()),
            Input::End { .. } => Input::End { id },
            Input::RangeEnd { length, digest, .. } => Input::RangeEnd { id, length, digest },
            Input::Failed { failure, .. } => Input::Failed { id, failure },
            Input::Sent { .. } => Input::Sent { id },
            Input::PartSent { digest, .. } => Input::PartSent { id, digest },
            Input::RangeProgress { length, .. } => Input::RangeProgress { id, length },
            _ => return self.clone(),
        })
    }
}

/// Number of kinds of inputs. A new one gets a number below, and has to be given by [`Driver::injections`].
const KINDS: usize = 19;

fn kind(event: &Event) -> usize {
    match event.input() {
        Input::Head { .. } => 0,
        Input::Body { .. } => 1,
        Input::End { .. } => 2,
        Input::RangeProgress { .. } => 3,
        Input::RangeEnd { .. } => 4,
        Input::Failed { .. } => 5,
        Input::PartReady { .. } => 6,
        Input::PartSent { .. } => 7,
        Input::SourceFailed(_) => 8,
        Input::Sent { .. } => 9,
        Input::Saved => 10,
        Input::SaveFailed(_) => 11,
        Input::Suspend => 12,
        Input::RangeConsumed { .. } => 13,
        Input::CredentialsRenewed => 14,
        Input::CredentialsKept(_) => 15,
        Input::Cancel => 16,
        Input::Retry => 17,
        Input::PartHashed { .. } => 18,
    }
}

fn lost() -> TransportFailure {
    TransportFailure { code: Code::ConnectionLost, maybe_sent: true, detail: "lost".into() }
}

/// What an input must lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// The same result, and the same requests, as without it.
    Ignored,
    /// The same result as without it.
    Harmless,
    /// A misuse is an error, unless the machine is past the point where it matters.
    Misuse,
    /// Any result, but an upload stays on the store.
    KeepsUpload,
    /// Any result, and an upload may be aborted.
    MayAbort,
}

/// Answers a machine, one input at a time.
struct Driver<'a> {
    store: Store<'a>,
    /// Length of the source.
    length: u64,
    now: Now,
    events: VecDeque<Event>,
    /// All inputs that a request leads to.
    replies: BTreeMap<RequestId, Vec<Event>>,
    sent: Vec<&'static str>,
    /// Objects that were put, except data.
    put: Vec<(String, Vec<u8>)>,
    /// Requests without a complete reply, with those whose head arrived and those for a range.
    open: BTreeSet<RequestId>,
    heads: BTreeSet<RequestId>,
    ranges: BTreeSet<RequestId>,
    /// Requests that send a part.
    parts: BTreeSet<RequestId>,
    ended: Vec<RequestId>,
    asked_for_keys: bool,
}

impl<'a> Driver<'a> {
    fn new(store: Store<'a>, length: u64) -> Driver<'a> {
        Driver {
            store,
            length,
            now: Now { unix_ms: START, mono_ms: 0 },
            events: VecDeque::new(),
            replies: BTreeMap::new(),
            sent: Vec::new(),
            put: Vec::new(),
            open: BTreeSet::new(),
            heads: BTreeSet::new(),
            ranges: BTreeSet::new(),
            parts: BTreeSet::new(),
            ended: Vec::new(),
            asked_for_keys: false,
        }
    }

    /// Does what the machine says until it waits; gives back its result once it is done.
    fn drain<M: Machine>(&mut self, machine: &mut M) -> Option<Result<M::Done, Error>> {
        loop {
            match machine.poll(self.now) {
                Output::Send(request) => self.send(&request),
                Output::Abandon(id) => {
                    self.events.retain(|event| event.id() != Some(id));
                    self.close(id);
                }
                Output::NeedPart(PartRequest { number, offset, length, hash_first, .. }) => {
                    let length = length.min(self.length.saturating_sub(offset));
                    let last = offset + length >= self.length;
                    let digest = hash_first.then(content);
                    self.push(Input::PartReady { number, length, digest, last, salt: None });
                }
                Output::HashPart(part) => {
                    self.push(Input::PartHashed { number: part.number, digest: content(), md5: [0; 16] });
                }
                Output::Save { .. } => self.push(Input::Saved),
                Output::Accept(range) => self.push(Input::RangeConsumed { index: range.index }),
                Output::Wait(Some(at)) if self.events.is_empty() => self.now.mono_ms = self.now.mono_ms.max(at),
                Output::Wait(_) => return None,
                Output::Done(result) => return Some(result),
                Output::Start(_) | Output::ReleasePart(_) | Output::Event(_) | Output::Segments(_) => {}
                Output::NeedCredentials { .. } => {
                    self.asked_for_keys = true;
                    self.push(Input::CredentialsRenewed);
                }
            }
        }
    }

    fn push(&mut self, input: Input<'static>) {
        self.events.push_back(Event::Other(input));
    }

    fn send(&mut self, request: &Request) {
        let id = request.id;
        let nth = self.sent.iter().filter(|sent| **sent == request.operation).count();
        self.sent.push(request.operation);
        self.open.insert(id);
        if let Body::Bytes(bytes) = &request.body {
            self.put.push((request.url.clone(), bytes.to_vec()));
        }
        let reply = self.reply(request, nth);
        self.events.extend(reply.iter().cloned());
        self.replies.insert(id, reply);
    }

    /// All inputs that a request leads to, in order.
    fn reply(&mut self, request: &Request, nth: usize) -> Vec<Event> {
        let id = request.id;
        let mut inputs = Vec::new();
        if let Body::Part(part) = &request.body {
            self.parts.insert(id);
            if part.digest.is_none() {
                inputs.push(Event::Other(Input::PartSent { id, digest: content() }));
            }
        }
        inputs.push(Event::Other(Input::Sent { id }));
        let Some((status, body)) = (self.store)(request, nth) else {
            inputs.push(Event::Other(Input::Failed { id, failure: lost() }));
            return inputs;
        };
        let mut headers = vec![("etag", "\"e\"".to_owned()), ("x-amz-version-id", "v1".to_owned())];
        if let Body::Part(_) = &request.body {
            headers.push(("x-amz-checksum-crc64nvme", crc_text(content().crc64nvme)));
        }
        let asked = request.headers.iter().find(|(name, _)| name == "range");
        if let Some((_, range)) = asked {
            let (first, last) = range.trim_start_matches("bytes=").split_once('-').unwrap();
            assert!(first.parse::<u64>().unwrap() <= last.parse().unwrap(), "{range:?} is empty");
            headers.push(("content-range", format!("{}/1000000000", range.replace('=', " "))));
        }
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let status = if asked.is_some() { 206 } else { status };
        inputs.push(Event::Other(Input::Head { id, head: ReplyHead { status, headers } }));
        match request.reply {
            ReplyBody::Range(range) if status < 300 => {
                self.ranges.insert(id);
                inputs.push(Event::Other(Input::RangeEnd { id, length: range.length, digest: content() }));
            }
            _ => {
                inputs.push(Event::Body(id, body.into_bytes()));
                inputs.push(Event::Other(Input::End { id }));
            }
        }
        inputs
    }

    fn close(&mut self, id: RequestId) {
        if self.open.remove(&id) {
            self.ended.push(id);
        }
    }

    /// Hands the next input to the machine; `false` where there is none.
    fn step<M: Machine>(&mut self, machine: &mut M) -> bool {
        let Some(event) = self.events.pop_front() else { return false };
        self.note(&event);
        machine.handle(self.now, event.input());
        true
    }

    /// Notes that the machine gets this input.
    fn note(&mut self, event: &Event) {
        match &event.input() {
            Input::Head { id, .. } => _ = self.heads.insert(*id),
            Input::End { id } | Input::RangeEnd { id, .. } | Input::Failed { id, .. } => self.close(*id),
            Input::CredentialsRenewed | Input::CredentialsKept(_) => self.asked_for_keys = false,
            _ => {}
        }
    }

    /// What may come here in place of the next input: inputs that are wrong, late or early, and what they must lead to.
    fn injections(&self) -> Vec<Injection> {
        let mut inputs = Vec::new();
        let (head, digest) = (ReplyHead { status: 200, headers: vec![] }, digest(b""));
        let of = |id: RequestId| {
            [
                Input::Head { id, head: head.clone() },
                Input::Body { id, bytes: b"x" },
                Input::End { id },
                Input::RangeEnd { id, length: 1, digest },
                Input::RangeProgress { id, length: 1 },
                Input::PartSent { id, digest },
                Input::Sent { id },
                Input::Failed { id, failure: lost() },
            ]
        };
        let mut one = |expected, input| inputs.push(Injection::new(expected, vec![Event::Other(input)]));
        for id in self.ended.last().copied().into_iter().chain([RequestId(9_999)]) {
            of(id).into_iter().for_each(|input| one(Expected::Ignored, input));
        }
        for id in self.open.iter().copied() {
            let (has_head, is_range) = (self.heads.contains(&id), self.ranges.contains(&id));
            for (n, input) in of(id).into_iter().enumerate() {
                let expected = match n {
                    0 if has_head => Expected::Misuse,
                    1 | 2 if !has_head || is_range => Expected::Misuse,
                    3 if !has_head || !is_range => Expected::Misuse,
                    // In its place, but another reply than the store's: the machine decides on it as on any.
                    0..=3 => Expected::MayAbort,
                    // Progress of a range that has not failed: its reply then starts at another byte.
                    4 if is_range => Expected::KeepsUpload,
                    // Two readings of a part that differ are a source that changed.
                    5 if self.parts.contains(&id) => Expected::MayAbort,
                    _ => Expected::Harmless,
                };
                one(expected, input);
            }
        }
        let ready = |number, length, digest, last| Input::PartReady { number, length, digest, last, salt: None };
        for number in [1, 2, 3, 77] {
            one(Expected::Misuse, ready(number, PART + 1, Some(digest), false));
            one(Expected::Misuse, ready(number, 1, None, false));
            one(Expected::Misuse, ready(number, PART, Some(content()), false));
            // Where this part is asked for, the source ends here.
            one(Expected::KeepsUpload, ready(number, 5, Some(content()), true));
        }
        for number in [1, 77] {
            one(Expected::Misuse, Input::PartHashed { number, digest, md5: [0; 16] });
        }
        one(Expected::Misuse, Input::Saved);
        one(Expected::KeepsUpload, Input::SaveFailed(Error::new(Code::DiskFull, "full")));
        one(Expected::Ignored, Input::RangeConsumed { index: 77 });
        let (renewed, kept) = match self.asked_for_keys {
            true => (Expected::Harmless, Expected::MayAbort),
            false => (Expected::Ignored, Expected::Ignored),
        };
        one(renewed, Input::CredentialsRenewed);
        one(kept, Input::CredentialsKept(None));
        one(Expected::Ignored, Input::Retry);
        one(Expected::MayAbort, Input::Cancel);
        one(Expected::MayAbort, Input::Suspend);
        one(Expected::MayAbort, Input::SourceFailed(Error::new(Code::Io, "cannot be read")));
        inputs.extend(self.late_replies());
        inputs.extend(self.open.iter().flat_map(|id| self.early_replies(*id)));
        inputs
    }

    /// Complete and valid replies to a request that has ended, and to one that was not sent yet.
    fn late_replies(&self) -> Vec<Injection> {
        let mut injections = Vec::new();
        for id in self.ended.first().into_iter().chain(self.ended.last()) {
            let reply = &self.replies[id];
            injections.push(Injection::new(Expected::Ignored, reply.clone()));
            let unsent = reply.iter().map(|event| event.with_id(RequestId(9_999))).collect();
            injections.push(Injection::new(Expected::Ignored, unsent));
        }
        injections
    }

    /// The inputs of an open request, before those of all others and in part out of order.
    fn early_replies(&self, id: RequestId) -> Vec<Injection> {
        let queued = |leave_out: fn(&Input<'_>) -> bool| -> Vec<Event> {
            let own = self.events.iter().filter(|event| event.id() == Some(id));
            own.filter(|event| !leave_out(&event.input())).cloned().collect()
        };
        let all = queued(|_| false);
        let mut injections = vec![Injection { is_early: true, ..Injection::new(Expected::Harmless, all.clone()) }];
        let without_sent = queued(|input| matches!(input, Input::Sent { .. }));
        injections.push(Injection { is_early: true, ..Injection::new(Expected::Harmless, without_sent) });
        if all.iter().any(|event| matches!(event.input(), Input::PartSent { .. })) {
            // A store that has answered before it has the whole part is not believed.
            let without_part = queued(|input| matches!(input, Input::PartSent { .. }));
            injections.push(Injection { is_early: true, ..Injection::new(Expected::MayAbort, without_part) });
            let sent = Event::Other(Input::PartSent { id, digest: content() });
            injections.push(Injection::new(Expected::Harmless, vec![sent.clone(), sent]));
        }
        // The connection of a range breaks with none, some or all of its bytes in place.
        for length in [0, 1, 100 << 10, u64::MAX] {
            let progress = Event::Other(Input::RangeProgress { id, length });
            let failed = Event::Other(Input::Failed { id, failure: lost() });
            injections.push(Injection::new(Expected::Harmless, vec![progress, failed]));
        }
        injections
    }
}

/// Inputs that come together, and what they must lead to.
#[derive(Debug)]
struct Injection {
    expected: Expected,
    inputs: Vec<Event>,
    /// They are inputs that were going to come, and do not come again.
    is_early: bool,
}

impl Injection {
    fn new(expected: Expected, inputs: Vec<Event>) -> Injection {
        Injection { expected, inputs, is_early: false }
    }
}

/// Runs a machine, and gives it the nth injection before step `at`. `None`: it ended before, or there is no such one.
fn run<M: Machine>(
    machine: &mut M,
    driver: &mut Driver<'_>,
    at: Option<(usize, usize)>,
) -> Option<(Option<Injection>, Option<Code>)> {
    let mut given: Option<Injection> = None;
    for step in 0..10_000 {
        if let Some(result) = driver.drain(machine) {
            return (at.is_none() || given.is_some()).then(|| (given, result.err().map(|e| e.code())));
        }
        if let Some((_, nth)) = at.filter(|(point, _)| *point == step) {
            let injection = given.insert(driver.injections().into_iter().nth(nth)?);
            for event in &injection.inputs {
                if injection.is_early {
                    let is_it = |queued: &Event| queued.id() == event.id() && kind(queued) == kind(event);
                    let at = driver.events.iter().position(is_it);
                    at.map(|at| driver.events.remove(at));
                    driver.note(event);
                } else if let Input::Failed { id, .. } = event.input() {
                    driver.events.retain(|event| event.id() != Some(id));
                    driver.close(id);
                }
                machine.handle(driver.now, event.input());
                if let Some(result) = driver.drain(machine) {
                    return Some((given, result.err().map(|e| e.code())));
                }
            }
        }
        assert!(driver.step(machine), "the machine waits for nothing after {:?} and {given:?}", driver.sent);
    }
    panic!("the machine does not end");
}

/// Checks a machine at every point of its run.
fn check<M: Machine>(what: &str, length: u64, store: Store<'_>, machine: impl Fn() -> M) {
    let mut plain = Driver::new(store, length);
    let (_, usual) = run(&mut machine(), &mut plain, None).unwrap();
    let aborts = |driver: &Driver<'_>| driver.sent.iter().filter(|sent| **sent == "AbortMultipartUpload").count();
    let (mut point, mut count, mut kinds) = (0, 0, BTreeSet::new());
    loop {
        let mut nth = 0;
        loop {
            let mut driver = Driver::new(store, length);
            let Some((given, code)) = run(&mut machine(), &mut driver, Some((point, nth))) else { break };
            let Some(Injection { expected, inputs, .. }) = &given else { break };
            kinds.extend(inputs.iter().map(kind));
            let place = format!("{what}: {given:?} before step {point} ended in {code:?}, usual {usual:?}");
            match expected {
                Expected::Ignored => assert!(code == usual && driver.sent == plain.sent, "{place}"),
                Expected::Harmless => assert!(code == usual, "{place}"),
                Expected::Misuse => assert!(code == usual || code == Some(Code::WrongState), "{place}"),
                Expected::KeepsUpload | Expected::MayAbort => {}
            }
            if *expected != Expected::MayAbort {
                assert!(aborts(&driver) <= aborts(&plain), "an upload was aborted. {place}");
            }
            (nth, count) = (nth + 1, count + 1);
        }
        if nth == 0 {
            break;
        }
        point += 1;
    }
    assert!(count > 30, "{what}: {count} inputs");
    assert_eq!(kinds.len(), KINDS, "{what}: every kind of input was given");
}

/// A store that works, and is empty.
fn works(request: &Request, _: usize) -> Answer {
    let body = match request.operation {
        "HeadObject" => return Some((404, String::new())),
        "GetBucketVersioning" => "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
        "ListObjectsV2" => "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>",
        "ListObjectVersions" => "<ListVersionsResult><IsTruncated>false</IsTruncated></ListVersionsResult>",
        "CreateMultipartUpload" => {
            "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
        }
        "CompleteMultipartUpload" => &confirmed(request),
        _ => "",
    };
    Some((200, body.to_owned()))
}

/// The first part is refused, because the keys have expired.
fn expires_keys(request: &Request, nth: usize) -> Answer {
    match (request.operation, nth) {
        ("UploadPart", 0) => Some((400, "<Error><Code>ExpiredToken</Code></Error>".into())),
        _ => works(request, nth),
    }
}

/// Complete gets no answer, and the upload is gone.
fn loses_complete(request: &Request, nth: usize) -> Answer {
    match (request.operation, nth) {
        ("CompleteMultipartUpload", 0) => None,
        ("CompleteMultipartUpload", _) => Some((404, "<Error><Code>NoSuchUpload</Code></Error>".into())),
        _ => works(request, nth),
    }
}

/// Complete finds a part under another ETag.
fn changes_etag(request: &Request, nth: usize) -> Answer {
    match (request.operation, nth) {
        ("CompleteMultipartUpload", 0) => Some((400, "<Error><Code>InvalidPart</Code></Error>".into())),
        ("ListParts", _) => {
            let part = |number: u32, size: u64| {
                let crc = crc_text(content().crc64nvme);
                format!(
                    "<Part><PartNumber>{number}</PartNumber><ETag>x</ETag><Size>{size}</Size>\
                     <ChecksumCRC64NVME>{crc}</ChecksumCRC64NVME></Part>"
                )
            };
            let parts = [part(1, PART), part(2, PART), part(3, 5)].concat();
            Some((200, format!("<ListPartsResult><IsTruncated>false</IsTruncated>{parts}</ListPartsResult>")))
        }
        _ => works(request, nth),
    }
}

fn put_of(is_file: bool, length: u64, has_checkpoint: bool) -> Put {
    let mut request = request(None, is_file.then_some(length), 1);
    request.checkpoint = has_checkpoint.then(Checkpoint::default);
    Put::new(vault(&[]), request).unwrap()
}

#[test]
fn a_small_put_keeps_the_contract() {
    check("small put", 5, &works, || put_of(true, 5, false));
}

#[test]
fn a_large_put_keeps_the_contract() {
    for has_checkpoint in [false, true] {
        check("large put", 2 * PART + 5, &works, || put_of(true, 2 * PART + 5, has_checkpoint));
    }
}

#[test]
fn a_stream_keeps_the_contract() {
    for (length, has_checkpoint) in [(5, false), (PART + 5, false), (PART + 5, true)] {
        check("stream", length, &works, || put_of(false, length, has_checkpoint));
    }
}

#[test]
fn a_put_whose_keys_expire_keeps_the_contract() {
    check("expired keys", PART + 5, &expires_keys, || put_of(true, PART + 5, false));
}

#[test]
fn a_put_whose_complete_is_lost_keeps_the_contract() {
    check("lost Complete", 2 * PART + 5, &loses_complete, || put_of(true, 2 * PART + 5, true));
}

#[test]
fn a_put_whose_parts_are_listed_keeps_the_contract() {
    check("other ETag", 2 * PART + 5, &changes_etag, || put_of(true, 2 * PART + 5, false));
}

#[test]
fn reading_finding_listing_and_opening_keep_the_contract() {
    // The objects of a version of three parts, from its put.
    let mut driver = Driver::new(&works, 2 * PART + 5);
    let mut put = put_of(true, 2 * PART + 5, false);
    let found = loop {
        match driver.drain(&mut put) {
            Some(result) => break result.unwrap(),
            None => assert!(driver.step(&mut put)),
        }
    };
    let (url, locator) = driver.put.iter().find(|(url, _)| url.contains("/loc/")).unwrap();
    let (locator_key, row_key) = (url.split_once("/bkt/").unwrap().1.to_owned(), found.manifest.key.clone());
    let list = |key: &str| {
        format!(
            "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>{key}</Key><Size>1</Size></Contents></ListBucketResult>"
        )
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let store = |request: &Request, nth: usize| {
        let is_of = |key: &str| request.url.contains(&crate::uri::encode_path(key));
        match request.operation {
            "ListObjectsV2" if request.url.contains("loc%2F") => Some((200, list(&locator_key))),
            "ListObjectsV2" => Some((200, list(&row_key))),
            "GetObject" if is_of("_s3vault/1/loc") => Some((200, text(locator))),
            "GetObject" if is_of("_s3vault/1/cat") => Some((200, text(&found.object))),
            "GetObject" if is_of(VAULT_KEY) => Some((200, text(&vault(&[]).description("vm")))),
            _ => works(request, nth),
        }
    };
    let manifest = Arc::new(found.manifest.clone());
    for delivery in [Delivery::ByPosition, Delivery::InOrder, Delivery::WholeParts { memory: PART }] {
        let request = || ReadRequest { delivery, ..ReadRequest::default() };
        check("read", 0, &store, || Read::new(vault(&[]), manifest.clone(), request(), 1).unwrap());
    }
    let request = || ReadRequest {
        delivery: Delivery::Unverified,
        bytes: Some(PART - 100..PART + 200_000),
        ..ReadRequest::default()
    };
    check("read by position", 0, &store, || Read::new(vault(&[]), manifest.clone(), request(), 1).unwrap());
    check("find", 0, &store, || Find::new(vault(&[]), name(), Selector::Latest, None, 1));
    check("list", 0, &store, || ListPage::new(vault(&[]), Scope::Backup(name()), Cursor::default(), 1));
    check("locate", 0, &store, || Locate::new(vault(&[]), manifest.clone(), 1).unwrap());
    check("open", 0, &store, || Open::new(vault(&[]), 1));
    check("one operation", 0, &store, || Single::new(vault(&[]).home(), HeadBucket, 1));
}
