//! The contract of machines: every input at every point of a run. One that comes late or names nothing is ignored, a misuse
//! is an error, and neither panics or aborts an upload.

use std::collections::{BTreeSet, VecDeque};

use super::super::objects::VAULT_KEY;
use super::super::*;
use super::world::*;
use crate::checksum::{Digest, crc_text, digest};
use crate::http::{Body, ReplyBody, ReplyHead, Request, RequestId, TransportFailure};
use crate::machine::{Input, Machine, Output, PartRequest};
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
    Head(RequestId, ReplyHead),
    Body(RequestId, Vec<u8>),
    End(RequestId),
    RangeEnd(RequestId, u64),
    Failed(RequestId),
    Sent(RequestId),
    PartSent(RequestId),
    PartReady(u32, u64, Option<Digest>, bool),
    Saved,
    Consumed(u32),
}

impl Event {
    fn input(&self) -> Input<'_> {
        match self {
            Event::Head(id, head) => Input::Head { id: *id, head: head.clone() },
            Event::Body(id, bytes) => Input::Body { id: *id, bytes },
            Event::End(id) => Input::End { id: *id },
            Event::RangeEnd(id, length) => Input::RangeEnd { id: *id, length: *length, digest: content() },
            Event::Failed(id) => Input::Failed { id: *id, failure: lost() },
            Event::Sent(id) => Input::Sent { id: *id },
            Event::PartSent(id) => Input::PartSent { id: *id, digest: content() },
            Event::PartReady(number, length, digest, last) => {
                Input::PartReady { number: *number, length: *length, digest: *digest, last: *last }
            }
            Event::Saved => Input::Saved,
            Event::Consumed(index) => Input::RangeConsumed { index: *index },
        }
    }

    fn id(&self) -> Option<RequestId> {
        match self {
            Event::Head(id, _)
            | Event::Body(id, _)
            | Event::End(id)
            | Event::RangeEnd(id, _)
            | Event::Failed(id)
            | Event::Sent(id)
            | Event::PartSent(id) => Some(*id),
            _ => None,
        }
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
    /// The machine ends, and leaves an upload on the store.
    Stops,
    /// The machine ends, and may abort an upload.
    MayAbort,
}

/// Answers a machine, one input at a time.
struct Driver<'a> {
    store: Store<'a>,
    /// Length of the source.
    length: u64,
    now: Now,
    events: VecDeque<Event>,
    sent: Vec<&'static str>,
    /// Objects that were put, except data.
    put: Vec<(String, Vec<u8>)>,
    /// Requests without a complete reply, with those whose head arrived and those for a range.
    open: BTreeSet<RequestId>,
    heads: BTreeSet<RequestId>,
    ranges: BTreeSet<RequestId>,
    ended: Vec<RequestId>,
}

impl<'a> Driver<'a> {
    fn new(store: Store<'a>, length: u64) -> Driver<'a> {
        Driver {
            store,
            length,
            now: Now { unix_ms: START, mono_ms: 0 },
            events: VecDeque::new(),
            sent: Vec::new(),
            put: Vec::new(),
            open: BTreeSet::new(),
            heads: BTreeSet::new(),
            ranges: BTreeSet::new(),
            ended: Vec::new(),
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
                    let length = length.min(self.length - offset);
                    let last = offset + length == self.length;
                    self.events.push_back(Event::PartReady(number, length, hash_first.then(content), last));
                }
                Output::Save { .. } => self.events.push_back(Event::Saved),
                Output::Accept(range) => self.events.push_back(Event::Consumed(range.index)),
                Output::Wait(Some(at)) if self.events.is_empty() => self.now.mono_ms = self.now.mono_ms.max(at),
                Output::Wait(_) => return None,
                Output::Done(result) => return Some(result),
                Output::Start(_) | Output::ReleasePart(_) | Output::Event(_) => {}
                Output::NeedCredentials { .. } => panic!("keys are good"),
            }
        }
    }

    fn send(&mut self, request: &Request) {
        let id = request.id;
        let nth = self.sent.iter().filter(|sent| **sent == request.operation).count();
        self.sent.push(request.operation);
        self.open.insert(id);
        match &request.body {
            Body::Bytes(bytes) => self.put.push((request.url.clone(), bytes.to_vec())),
            Body::Part(part) if part.digest.is_none() => self.events.push_back(Event::PartSent(id)),
            _ => {}
        }
        self.events.push_back(Event::Sent(id));
        let Some((status, body)) = (self.store)(request, nth) else {
            return self.events.push_back(Event::Failed(id));
        };
        let mut headers = vec![("etag", "\"e\"".to_owned()), ("x-amz-version-id", "v1".to_owned())];
        let asked = request.headers.iter().find(|(name, _)| name == "range");
        if let Some((_, range)) = asked {
            headers.push(("content-range", format!("{}/1000000000", range.replace('=', " "))));
        }
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let status = if asked.is_some() { 206 } else { status };
        self.events.push_back(Event::Head(id, ReplyHead { status, headers }));
        match request.reply {
            ReplyBody::Range(range) if status < 300 => {
                self.ranges.insert(id);
                self.events.push_back(Event::RangeEnd(id, range.length));
            }
            _ => {
                self.events.push_back(Event::Body(id, body.into_bytes()));
                self.events.push_back(Event::End(id));
            }
        }
    }

    fn close(&mut self, id: RequestId) {
        if self.open.remove(&id) {
            self.ended.push(id);
        }
    }

    /// Hands the next input to the machine; `false` where there is none.
    fn step<M: Machine>(&mut self, machine: &mut M) -> bool {
        let Some(event) = self.events.pop_front() else { return false };
        match &event {
            Event::Head(id, _) => _ = self.heads.insert(*id),
            Event::End(id) | Event::RangeEnd(id, _) | Event::Failed(id) => self.close(*id),
            _ => {}
        }
        machine.handle(self.now, event.input());
        true
    }

    /// Every input that can be wrong here, and what it must lead to.
    fn inputs(&self) -> Vec<(Expected, Input<'static>)> {
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
        for id in self.ended.last().copied().into_iter().chain([RequestId(9_999)]) {
            inputs.extend(of(id).map(|input| (Expected::Ignored, input)));
        }
        for id in self.open.iter().copied() {
            let (has_head, is_range) = (self.heads.contains(&id), self.ranges.contains(&id));
            for (n, input) in of(id).into_iter().enumerate() {
                let is_misuse = match n {
                    0 => has_head,
                    1 | 2 => !has_head || is_range,
                    3 => !has_head || !is_range,
                    _ => false,
                };
                if is_misuse {
                    inputs.push((Expected::Misuse, input));
                } else if n >= 6 {
                    inputs.push((Expected::Harmless, input));
                }
            }
        }
        let ready = |number, length, digest| Input::PartReady { number, length, digest, last: false };
        for number in [1, 2, 3, 77] {
            inputs.push((Expected::Misuse, ready(number, PART + 1, Some(digest))));
            inputs.push((Expected::Misuse, ready(number, 1, None)));
        }
        inputs.push((Expected::Misuse, Input::Saved));
        inputs.push((Expected::Stops, Input::SaveFailed(Error::new(Code::DiskFull, "full"))));
        inputs.push((Expected::Ignored, Input::RangeConsumed { index: 77 }));
        inputs.push((Expected::Ignored, Input::CredentialsRenewed));
        inputs.push((Expected::Ignored, Input::CredentialsKept(None)));
        inputs.push((Expected::Ignored, Input::Retry));
        inputs.push((Expected::MayAbort, Input::Cancel));
        inputs.push((Expected::MayAbort, Input::Suspend));
        inputs.push((Expected::MayAbort, Input::SourceFailed(Error::new(Code::Io, "cannot be read"))));
        inputs
    }
}

/// Runs a machine, and gives it the nth wrong input before step `at`. `None`: it ended before, or there is no such input.
fn run<M: Machine>(
    machine: &mut M,
    driver: &mut Driver<'_>,
    at: Option<(usize, usize)>,
) -> Option<(Option<Input<'static>>, Expected, Option<Code>)> {
    let (mut given, mut expected) = (None, Expected::Ignored);
    for step in 0..10_000 {
        if let Some(result) = driver.drain(machine) {
            return (at.is_none() || given.is_some()).then(|| (given, expected, result.err().map(|e| e.code())));
        }
        if let Some((_, nth)) = at.filter(|(point, _)| *point == step) {
            let (what, input) = driver.inputs().into_iter().nth(nth)?;
            if let Input::Failed { id, .. } = &input {
                driver.events.retain(|event| event.id() != Some(*id));
                driver.close(*id);
            }
            (given, expected) = (Some(input.clone()), what);
            machine.handle(driver.now, input);
            if let Some(result) = driver.drain(machine) {
                return Some((given, expected, result.err().map(|e| e.code())));
            }
        }
        assert!(driver.step(machine), "the machine waits for nothing after {:?} and {given:?}", driver.sent);
    }
    panic!("the machine does not end");
}

/// Checks a machine at every point of its run.
fn check<M: Machine>(what: &str, length: u64, store: Store<'_>, machine: impl Fn() -> M) {
    let mut plain = Driver::new(store, length);
    let (_, _, usual) = run(&mut machine(), &mut plain, None).unwrap();
    let aborts = |driver: &Driver<'_>| driver.sent.iter().filter(|sent| **sent == "AbortMultipartUpload").count();
    let (mut point, mut count) = (0, 0);
    loop {
        let mut nth = 0;
        loop {
            let mut driver = Driver::new(store, length);
            let Some((input, expected, code)) = run(&mut machine(), &mut driver, Some((point, nth))) else { break };
            let place = format!("{what}: {input:?} before step {point} ended in {code:?}, usual {usual:?}");
            match expected {
                Expected::Ignored => assert!(code == usual && driver.sent == plain.sent, "{place}"),
                Expected::Harmless => assert!(code == usual, "{place}"),
                Expected::Misuse => assert!(code == usual || code == Some(Code::WrongState), "{place}"),
                Expected::Stops | Expected::MayAbort => {}
            }
            if expected != Expected::MayAbort {
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
        "CompleteMultipartUpload" => {
            "<CompleteMultipartUploadResult><ETag>\"e-2\"</ETag></CompleteMultipartUploadResult>"
        }
        _ => "",
    };
    Some((200, body.to_owned()))
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
            "GetObject" if is_of(VAULT_KEY) => Some((200, text(&vault(&[]).description()))),
            _ => works(request, nth),
        }
    };
    let manifest = Arc::new(found.manifest.clone());
    for delivery in [Delivery::ByPosition, Delivery::InOrder, Delivery::WholeParts { memory: PART }] {
        let request = || ReadRequest { delivery, ..ReadRequest::default() };
        check("read", 0, &store, || Read::new(vault(&[]), manifest.clone(), request(), 1).unwrap());
    }
    check("find", 0, &store, || Find::new(vault(&[]), name(), Selector::Latest, None, 1));
    check("list", 0, &store, || ListPage::new(vault(&[]), Scope::Backup(name()), Cursor::default(), 1));
    check("locate", 0, &store, || Locate::new(vault(&[]), manifest.clone(), 1).unwrap());
    check("open", 0, &store, || Open::new(vault(&[]), 1));
    check("one operation", 0, &store, || Single::new(vault(&[]).home(), HeadBucket, 1));
}
