//! Uploads alone: each answer of the store that decides how an upload ends.

use std::collections::VecDeque;
use std::sync::Arc;

use super::*;
use crate::account::Bucket;
use crate::account::integrity::Integrity;
use crate::checksum::{Digest, crc_text, digest};
use crate::credentials::Credentials;
use crate::crypto::segment::Salt;
use crate::error::Code;
use crate::http::{Body, ReplyHead, Request, TransportFailure};
use crate::journal::tests::key;
use crate::journal::{Journal, Tag};
use crate::machine::{Event, PartRequest};
use crate::op::ListedPart;
use crate::op::testing::confirmed;
use crate::profile::S3;
use crate::settings::Settings;
use crate::transfer::checkpoint::OpenUpload;
use crate::transfer::plan::MIN_PART;
use crate::transfer::stored_form::{StoredForm, tests::segments_of};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const NOW: Now = Now { unix_ms: 1_764_000_000_000, mono_ms: 0 };
/// The same as the store writes it.
const DATE: &str = "Mon, 24 Nov 2025 16:00:00 GMT";

/// An answer to one request.
#[derive(Clone, Debug)]
enum Answer {
    /// The connection breaks.
    Lost,
    Refused(u16, &'static str),
    Ok(Vec<(&'static str, String)>, String),
}

/// An upload, and the answers that differ from a store that works.
struct Rig {
    session: Session,
    upload: Upload,
    length: u64,
    now: Now,
    answers: VecDeque<(&'static str, Answer)>,
    /// An input that is handled right after the first request of an operation was sent.
    interrupt: Option<(&'static str, Input<'static>)>,
    /// Operations that were sent.
    sent: Vec<&'static str>,
    /// Version ids that HeadObject asked for.
    heads: Vec<String>,
    /// Bodies that were sent, except parts.
    bodies: Vec<String>,
    /// Parts that were sent.
    parts: Vec<Part>,
    /// The lines of the checkpoint.
    saved: String,
    released: Vec<u32>,
    events: Vec<Event>,
}

fn session(provider: &str) -> Session {
    let mut settings = Settings::new();
    let own = [("api_url", "http://127.0.0.1:9000"), ("bucket", "bkt"), ("access_key", "A"), ("secret_key", "S")];
    for (key, value) in own.into_iter().chain([("provider", provider)]) {
        settings.set(key, value).unwrap();
    }
    let credentials = Credentials::from_settings(&settings).unwrap();
    Session::new(&Arc::new(Bucket::from_settings(&settings, credentials).unwrap()), 1)
}

fn part(number: u32, length: u64) -> Digest {
    digest(format!("{number} {length}").as_bytes())
}

impl Rig {
    fn new(is_file: bool, length: u64, has_checkpoint: bool) -> Rig {
        Rig::stored_as(StoredForm::PLAIN, is_file, length, has_checkpoint)
    }

    fn stored_as(form: StoredForm, is_file: bool, length: u64, has_checkpoint: bool) -> Rig {
        let mut session = session("s3");
        session.journal = has_checkpoint.then(|| Journal::new(key(), Tag::default()));
        let plan = Plan::new(is_file.then_some(length), &S3, 256 << 20, form);
        let (encryption, vid) = (Encryption::default(), "v".into());
        let object = Object { key: "k".into(), headers: Vec::new(), encryption, vid };
        let first = length.min(plan.part_length(1, 0).unwrap());
        let last = first == length;
        let part = plan.part_ready(1, 0, first, (last || !is_file).then(|| part(1, first)), None);
        session.account().integrity().accepted(Integrity::Trailer);
        let upload = Upload::new(&session, object, plan, Ready { part, last }, NOW.unix_ms);
        let (answers, interrupt) = (VecDeque::new(), None);
        let (sent, heads, bodies, released) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (parts, saved, events) = (Vec::new(), String::new(), Vec::new());
        let now = NOW;
        Rig { session, upload, length, now, answers, interrupt, sent, heads, bodies, parts, saved, released, events }
    }

    fn file() -> Rig {
        Rig::new(true, 2 * MIN_PART + 5, false)
    }

    fn with(mut self, operation: &'static str, answer: Answer) -> Rig {
        self.answers.push_back((operation, answer));
        self
    }

    fn handle(&mut self, input: &Input<'_>) {
        self.upload.handle(&mut self.session, self.now, input);
    }

    /// Runs the upload to its end.
    fn run(&mut self) -> Result<Stored> {
        for _ in 0..1_000 {
            match self.upload.poll(&mut self.session, self.now) {
                Output::Send(request) => self.answer(&request),
                Output::NeedPart(PartRequest { number, offset, length, hash_first, .. }) => {
                    let length = length.min(self.length - offset);
                    let digest = (hash_first || self.upload.plan.is_stream()).then(|| part(number, length));
                    let last = offset + length == self.length;
                    self.handle(&Input::PartReady { number, length, digest, last, salt: self.salt() });
                }
                Output::ReleasePart(number) => self.released.push(number),
                Output::Wait(_) if self.save() => {}
                Output::Wait(at) => self.now.mono_ms = at.expect("something is waited for"),
                Output::Done(result) => return result,
                Output::Abandon(_) => {}
                Output::Event(event) => self.events.push(event),
                other => panic!("{other:?}"),
            }
        }
        panic!("the upload does not end: {:?}", self.sent);
    }

    /// Saves the records that the upload wants saved; `false` if there are none.
    fn save(&mut self) -> bool {
        let Some(journal) = &mut self.session.journal else { return false };
        let is_any = !journal.is_saved();
        while let Some((line, _)) = journal.next() {
            self.saved.push_str(&String::from_utf8(line).unwrap());
            journal.saved();
        }
        is_any
    }

    fn answer(&mut self, request: &Request) {
        let (id, operation) = (request.id, request.operation);
        self.sent.push(operation);
        if let ("HeadObject", Some((_, id))) = (operation, request.url.split_once("?versionId=")) {
            self.heads.push(id.to_owned());
        }
        match &request.body {
            Body::Bytes(bytes) => self.bodies.push(String::from_utf8_lossy(bytes).into_owned()),
            Body::Part(part) => self.parts.push(*part),
            Body::Empty => {}
        }
        if let Some((_, input)) = self.interrupt.take_if(|(wanted, _)| *wanted == operation) {
            return self.handle(&input);
        }
        if let Body::Part(Part { number, length, digest: None, .. }) = request.body {
            self.handle(&Input::PartSent { id, digest: part(number, length) });
        }
        let at = self.answers.iter().position(|(wanted, _)| *wanted == operation);
        let own = at.and_then(|at| self.answers.remove(at)).map(|(_, answer)| answer);
        let (status, headers, body) = match own.unwrap_or_else(|| usual(request)) {
            Answer::Lost => {
                let failure = TransportFailure { code: Code::ConnectionLost, maybe_sent: true, detail: "lost".into() };
                return self.handle(&Input::Failed { id, failure });
            }
            Answer::Refused(status, code) => (status, vec![], format!("<Error><Code>{code}</Code></Error>")),
            Answer::Ok(headers, body) => (200, headers, body),
        };
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        self.handle(&Input::Head { id, head: ReplyHead { status, headers } });
        self.handle(&Input::Body { id, bytes: body.as_bytes() });
        self.handle(&Input::End { id });
    }

    fn count(&self, operation: &str) -> usize {
        self.sent.iter().filter(|sent| **sent == operation).count()
    }

    /// The object as HeadObject shows it, with this version id in its metadata.
    fn object(&self, vid: &str) -> Answer {
        self.object_of(vid, self.upload.complete(&self.session, "u").size)
    }

    /// The same with another size.
    fn object_of(&self, vid: &str, size: u64) -> Answer {
        let complete = self.upload.complete(&self.session, "u");
        let headers = vec![
            ("date", DATE.into()),
            ("etag", "\"e\"".into()),
            ("content-length", size.to_string()),
            ("x-amz-version-id", "stored".into()),
            ("x-amz-checksum-crc64nvme", crc_text(complete.crc64nvme.unwrap())),
            ("x-amz-meta-s3vault-vid", vid.into()),
        ];
        Answer::Ok(headers, String::new())
    }
}

/// What a store answers that works, and has no object under the key.
fn usual(request: &Request) -> Answer {
    let body = match request.operation {
        "HeadObject" => return Answer::Refused(404, "NoSuchKey"),
        "CreateMultipartUpload" => {
            "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
        }
        "CompleteMultipartUpload" => &confirmed(request),
        "ListObjectVersions" => "<ListVersionsResult><IsTruncated>false</IsTruncated></ListVersionsResult>",
        _ => "",
    };
    Answer::Ok(
        vec![("date", DATE.into()), ("etag", "\"sent\"".into()), ("x-amz-version-id", "stored".into())],
        body.to_owned(),
    )
}

/// A listing of these parts: number, length of the part's bytes, and ETag.
fn listing(parts: &[(u32, u64, &str)]) -> Answer {
    let parts: Vec<_> = parts.iter().map(|(number, length, etag)| (*number, *length, *length, *etag)).collect();
    listing_as(&parts)
}

/// A listing of these parts: number, length in the backup, length as stored, and ETag.
fn listing_as(parts: &[(u32, u64, u64, &str)]) -> Answer {
    page(parts, "<IsTruncated>false</IsTruncated>")
}

/// The page of a listing with these parts, which says whether more follow.
fn page(parts: &[(u32, u64, u64, &str)], more: &str) -> Answer {
    let mut xml = format!("<ListPartsResult>{more}");
    for (number, length, stored, etag) in parts {
        let crc = crc_text(part(*number, *length).crc64nvme);
        xml += &format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag><Size>{stored}</Size>\
             <ChecksumCRC64NVME>{crc}</ChecksumCRC64NVME></Part>"
        );
    }
    Answer::Ok(vec![], xml + "</ListPartsResult>")
}

const INVALID_PART: Answer = Answer::Refused(400, "InvalidPart");
const NO_SUCH_UPLOAD: Answer = Answer::Refused(404, "NoSuchUpload");

#[test]
fn one_part_is_a_single_put() {
    for is_file in [true, false] {
        let mut rig = Rig::new(is_file, 5, true);
        let stored = rig.run().unwrap();
        assert_eq!((stored.extent.size, stored.extent.version_id.as_deref(), stored.ended), (5, Some("stored"), true));
        assert_eq!((rig.sent, rig.released), (vec!["PutObject"], vec![1]));
    }
}

#[test]
fn several_parts_are_a_multipart_upload_and_each_is_released_once() {
    for is_file in [true, false] {
        let mut rig = Rig::new(is_file, 2 * MIN_PART + 5, true);
        let stored = rig.run().unwrap();
        let lengths: Vec<u64> = stored.extent.parts.iter().map(|part| part.length).collect();
        assert_eq!(lengths, [MIN_PART, MIN_PART, 5]);
        assert_eq!((rig.count("UploadPart"), rig.upload.completion()), (3, Completion::Sent));
        rig.released.sort_unstable();
        assert_eq!((rig.released, rig.sent.last()), (vec![1, 2, 3], Some(&"CompleteMultipartUpload")));
    }
}

#[test]
fn a_complete_that_took_effect_without_an_answer_is_found_by_its_object() {
    let mut rig = Rig::file().with("CompleteMultipartUpload", Answer::Lost);
    rig = rig.with("CompleteMultipartUpload", NO_SUCH_UPLOAD);
    rig.run_to_settle();
    let object = rig.object("v");
    rig = rig.with("HeadObject", object);
    assert_eq!(rig.run().unwrap().extent.version_id.as_deref(), Some("stored"));
    assert_eq!((rig.count("CompleteMultipartUpload"), rig.count("AbortMultipartUpload")), (2, 0));
}

/// A page of the versions of all keys that start with `k`.
fn versions(rows: &str, next: Option<&str>) -> Answer {
    let next =
        next.map(|id| format!("<NextKeyMarker>k</NextKeyMarker><NextVersionIdMarker>{id}</NextVersionIdMarker>"));
    let (more, next) = (next.is_some(), next.unwrap_or_default());
    Answer::Ok(
        vec![],
        format!("<ListVersionsResult><IsTruncated>{more}</IsTruncated>{rows}{next}</ListVersionsResult>"),
    )
}

fn version(key: &str, id: &str, size: u64) -> String {
    format!("<Version><Key>{key}</Key><VersionId>{id}</VersionId><Size>{size}</Size></Version>")
}

/// The store may refuse to show the newest object, since another key encrypts it.
#[test]
fn a_completed_object_is_looked_for_below_one_that_cannot_be_seen() {
    for (status, code) in [(400, "InvalidRequest"), (403, "AccessDenied"), (404, "NoSuchKey")] {
        let mut rig = Rig::file().with("CompleteMultipartUpload", NO_SUCH_UPLOAD);
        rig.run_to_settle();
        let size = rig.upload.complete(&rig.session, "u").size;
        // The newest first, over two pages; only those with its key and its size can be it.
        let rows = [version("k", "newer", size), version("k", "short", size - 1)].concat();
        let more = [version("k", "older", size), version("k2", "other", size)].concat();
        let (another, own) = (rig.object("another"), rig.object("v"));
        rig = rig.with("HeadObject", Answer::Refused(status, code));
        rig = rig.with("ListObjectVersions", versions(&rows, Some("short")));
        rig = rig.with("ListObjectVersions", versions(&more, None)).with("HeadObject", another.clone());
        let is_there = status == 403;
        rig = rig.with("HeadObject", if is_there { own } else { another });
        match rig.run() {
            Ok(stored) => assert!(is_there && stored.extent.version_id.as_deref() == Some("stored"), "{status}"),
            Err(e) => assert!(!is_there && e.code() == Code::OutcomeUnknown, "{status}: {e}"),
        }
        assert_eq!(rig.heads, ["newer", "older"], "{status}");
    }
}

#[test]
fn an_object_of_another_size_does_not_settle_a_complete() {
    let mut rig = Rig::file().with("CompleteMultipartUpload", NO_SUCH_UPLOAD);
    rig.run_to_settle();
    let other = rig.object_of("v", 1);
    rig = rig.with("HeadObject", other);
    assert_eq!(rig.run().unwrap_err().code(), Code::OutcomeUnknown);
}

#[test]
fn without_versioning_only_the_newest_object_is_looked_at() {
    let mut rig = Rig { session: session("garage"), ..Rig::file() }.with("CompleteMultipartUpload", NO_SUCH_UPLOAD);
    assert_eq!(rig.run().unwrap_err().code(), Code::OutcomeUnknown);
    assert_eq!((rig.count("HeadObject"), rig.count("ListObjectVersions")), (1, 0));
}

/// A look-up without an answer does not say that there is no object.
#[test]
fn an_upload_is_not_abandoned_before_its_object_was_looked_for() {
    let refusal = Answer::Refused(400, "XAmzContentChecksumMismatch");
    let mut rig =
        (0..crate::retry::ATTEMPTS).fold(Rig::file(), |rig, _| rig.with("CompleteMultipartUpload", refusal.clone()));
    rig = rig.with("ListObjectVersions", Answer::Refused(403, "AccessDenied"));
    assert_eq!(rig.run().unwrap_err().code(), Code::OutcomeUnknown);
    let mut rig = Rig::file().with("CompleteMultipartUpload", INVALID_PART);
    rig = rig.with("ListParts", Answer::Refused(403, "AccessDenied"));
    assert_eq!(rig.run().unwrap_err().code(), Code::OutcomeUnknown);
    rig.handle(&Input::Retry);
    rig.run().unwrap();
}

#[test]
fn a_store_that_never_completes_right_parts_is_believed_in_the_end() {
    let parts = [(1, MIN_PART, "one"), (2, MIN_PART, "two"), (3, 5, "three")];
    let mut rig = Rig::file();
    for _ in 0..5 {
        rig = rig.with("CompleteMultipartUpload", INVALID_PART).with("ListParts", listing(&parts));
    }
    let e = rig.run().unwrap_err();
    assert_eq!((e.s3_code(), rig.count("ListParts"), rig.count("UploadPart")), ("InvalidPart", 3, 3), "{e}");
}

/// A manifest's `stored` is the `Date` of the reply that completed the data, and not a time of this machine's clock.
#[test]
fn the_date_of_an_object_is_the_stores() {
    let date = || ("date", DATE.to_owned());
    let reply = |body: &str| Answer::Ok(vec![date(), ("etag", "\"e\"".into())], body.into());
    let mut settled = Rig::file().with("CompleteMultipartUpload", NO_SUCH_UPLOAD);
    settled.run_to_settle();
    let own = settled.object("v");
    for mut rig in [Rig::new(true, 5, true).with("PutObject", reply("")), Rig::file(), settled.with("HeadObject", own)]
    {
        // `Date` has whole seconds, so the clock may be right and is not corrected.
        rig.now.unix_ms += 500;
        assert_eq!(rig.run().unwrap().date_ms, Some(NOW.unix_ms), "{:?}", rig.sent);
    }
}

#[test]
fn complete_names_the_checksum_of_each_part() {
    let mut rig = Rig::file();
    rig.run().unwrap();
    let body = rig.bodies.last().unwrap();
    for (number, length) in [(1, MIN_PART), (2, MIN_PART), (3, 5)] {
        let crc = crc_text(part(number, length).crc64nvme);
        assert!(body.contains(&format!("<ChecksumCRC64NVME>{crc}</ChecksumCRC64NVME>")), "part {number}: {body}");
    }
}

#[test]
fn another_versions_object_does_not_settle_a_complete_and_a_retry_may() {
    let mut rig = Rig::file().with("CompleteMultipartUpload", NO_SUCH_UPLOAD);
    rig.run_to_settle();
    let other = rig.object("another");
    rig = rig.with("HeadObject", other);
    assert_eq!(rig.run().unwrap_err().code(), Code::OutcomeUnknown);
    assert_eq!(rig.count("AbortMultipartUpload"), 0);
    rig.handle(&Input::Retry);
    rig.run().unwrap();
    assert_eq!(rig.count("CompleteMultipartUpload"), 2);
}

#[test]
fn a_part_under_another_etag_is_completed_under_that() {
    let parts = [(1, MIN_PART, "one"), (2, MIN_PART, "late"), (3, 5, "three")];
    let mut rig = Rig::file().with("CompleteMultipartUpload", INVALID_PART).with("ListParts", listing(&parts));
    rig.run().unwrap();
    let etags = |body: &str| ["one", "late", "three"].iter().filter(|etag| body.contains(**etag)).count();
    assert_eq!(rig.bodies.iter().map(|body| etags(body)).collect::<Vec<_>>(), [0, 3]);
    assert_eq!(rig.count("UploadPart"), 3, "nothing is sent again");
}

#[test]
fn a_lost_part_of_a_file_is_sent_again_and_one_of_a_stream_is_an_error() {
    let parts = [(1, MIN_PART, "one"), (3, 5, "three")];
    for is_file in [true, false] {
        let mut rig = Rig::new(is_file, 2 * MIN_PART + 5, false)
            .with("CompleteMultipartUpload", INVALID_PART)
            .with("ListParts", listing(&parts));
        let result = rig.run();
        assert_eq!(rig.count("AbortMultipartUpload"), 0, "Complete was sent");
        match result {
            Ok(stored) => assert!(is_file && rig.count("UploadPart") == 4 && stored.extent.parts.len() == 3),
            Err(e) => assert!(!is_file && e.code() == Code::DataMissing, "{e}"),
        }
    }
}

#[test]
fn an_upload_that_the_store_broke_is_abandoned_and_not_aborted() {
    let parts = [(1, MIN_PART, "one"), (3, 5, "three")];
    let in_doubt = Rig::file()
        .with("CompleteMultipartUpload", Answer::Lost)
        .with("CompleteMultipartUpload", INVALID_PART)
        .with("ListParts", listing(&parts));
    let parts = [(1, MIN_PART, "one"), (2, MIN_PART, "two"), (3, 5, "three")];
    let other_checksums = Rig::file()
        .with("CompleteMultipartUpload", Answer::Lost)
        .with("CompleteMultipartUpload", Answer::Refused(400, "XAmzContentChecksumMismatch"))
        .with("ListParts", listing(&parts))
        .with("CompleteMultipartUpload", Answer::Refused(400, "XAmzContentChecksumMismatch"));
    for mut rig in [in_doubt, other_checksums] {
        let e = rig.run().unwrap_err();
        assert_eq!((e.code(), rig.upload.completion()), (Code::Abandoned, Completion::Broken), "{e}");
        assert_eq!((rig.count("UploadPart"), rig.count("AbortMultipartUpload")), (3, 0));
        assert!(rig.sent.contains(&"ListObjectVersions"), "its object is looked for");
    }
}

#[test]
fn a_refused_part_aborts_the_upload_unless_there_is_a_checkpoint() {
    for has_checkpoint in [false, true] {
        let mut rig =
            Rig::new(true, 2 * MIN_PART + 5, has_checkpoint).with("UploadPart", Answer::Refused(403, "AccessDenied"));
        assert_eq!(rig.run().unwrap_err().code(), Code::AccessDenied);
        assert_eq!(rig.count("AbortMultipartUpload"), usize::from(!has_checkpoint));
    }
}

#[test]
fn an_upload_that_cannot_be_aborted_is_reported() {
    let refused = || Rig::file().with("UploadPart", Answer::Refused(403, "AccessDenied"));
    let mut rig = refused().with("AbortMultipartUpload", Answer::Refused(403, "AccessDenied"));
    assert_eq!(rig.run().unwrap_err().code(), Code::AccessDenied);
    let [Event::Orphan { bucket, key, upload_id, why }] = rig.events.as_slice() else { panic!("{:?}", rig.events) };
    assert_eq!((bucket.as_str(), key.as_str()), ("bkt", "k"));
    assert!(!upload_id.is_empty() && why.contains("permission s3:AbortMultipartUpload on arn:aws:s3:::bkt/*"), "{why}");
    for gone in [refused(), refused().with("AbortMultipartUpload", NO_SUCH_UPLOAD)] {
        let mut rig = gone;
        assert_eq!(rig.run().unwrap_err().code(), Code::AccessDenied);
        assert_eq!(rig.events, []);
    }
}

#[test]
fn an_upload_that_is_gone_is_not_aborted() {
    let mut rig = Rig::file().with("UploadPart", NO_SUCH_UPLOAD);
    assert_eq!(rig.run().unwrap_err().code(), Code::Abandoned);
    assert_eq!(rig.count("AbortMultipartUpload"), 0);
}

#[test]
fn a_cancel_aborts_before_complete_and_comes_too_late_after_it() {
    let mut rig = Rig::file();
    rig.interrupt = Some(("UploadPart", Input::Cancel));
    assert_eq!(rig.run().unwrap_err().code(), Code::Cancelled);
    assert_eq!(rig.count("AbortMultipartUpload"), 1);
    let mut rig = Rig::file().with("CompleteMultipartUpload", INVALID_PART).with("ListParts", Answer::Lost);
    rig.interrupt = Some(("ListParts", Input::Cancel));
    rig.run_to("ListParts");
    assert_eq!(rig.count("AbortMultipartUpload"), 0);
}

#[test]
fn a_suspended_upload_stays_for_its_checkpoint() {
    for operation in ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"] {
        let mut rig = Rig::new(true, 2 * MIN_PART + 5, true);
        rig.interrupt = Some((operation, Input::Suspend));
        assert_eq!(rig.run().unwrap_err().code(), Code::Suspended);
        assert_eq!((rig.count(operation), rig.count("AbortMultipartUpload")), (1, 0));
    }
}

#[test]
fn a_part_that_was_not_requested_is_a_misuse_and_does_not_abort() {
    for (number, length) in [(9, MIN_PART), (1, MIN_PART), (2, MIN_PART + 1), (2, 5)] {
        let mut rig = Rig::file();
        while !matches!(rig.upload.in_flight.get(&2), Some(InFlight::Requested { .. })) {
            if let Output::Send(request) = rig.upload.poll(&mut rig.session, rig.now) {
                rig.answer(&request);
            }
        }
        rig.handle(&Input::PartReady { number, length, digest: Some(part(number, length)), last: false, salt: None });
        let e = rig.run().unwrap_err();
        assert_eq!((e.code(), rig.count("AbortMultipartUpload")), (Code::WrongState, 0), "part {number}: {e}");
    }
}

impl Rig {
    /// The salt of each part, if the backup is stored in segments.
    fn salt(&self) -> Option<Salt> {
        (!self.upload.plan.form().is_plain()).then_some(Salt([1; 16]))
    }

    /// Runs until this operation is sent, and leaves it without an answer.
    fn run_to(&mut self, operation: &'static str) {
        loop {
            match self.upload.poll(&mut self.session, self.now) {
                Output::Send(request) if request.operation == operation => return self.answer(&request),
                Output::Send(request) => self.answer(&request),
                Output::NeedPart(PartRequest { number, offset, length, .. }) => {
                    let last = offset + length == self.length;
                    self.handle(&Input::PartReady { number, length, digest: None, last, salt: self.salt() });
                }
                Output::Wait(at) => self.now.mono_ms = at.expect("something is waited for"),
                Output::Done(result) => panic!("{result:?}"),
                _ => {}
            }
        }
    }

    /// Runs until the object is looked for. The look-up fails once, and is retried.
    fn run_to_settle(&mut self) {
        self.answers.push_back(("HeadObject", Answer::Refused(503, "SlowDown")));
        self.run_to("HeadObject");
    }
}

/// Two parts of 8 MiB and one of 5 bytes, in segments that take 16 bytes more each.
const IN_SEGMENTS: [(u64, u64); 3] = [(MIN_PART, MIN_PART + 128), (MIN_PART, MIN_PART + 128), (5, 21)];

fn in_segments(is_file: bool, has_checkpoint: bool) -> Rig {
    Rig::stored_as(segments_of(1 << 20), is_file, 2 * MIN_PART + 5, has_checkpoint)
}

#[test]
fn what_is_sent_is_counted_as_stored_and_what_is_read_as_the_backup() {
    for is_file in [true, false] {
        let mut rig = in_segments(is_file, false);
        let stored = rig.run().unwrap();
        let lengths: Vec<_> = rig.parts.iter().map(|part| (part.offset, part.length, part.stored)).collect();
        assert_eq!(
            lengths,
            [(0, MIN_PART, MIN_PART + 128), (MIN_PART, MIN_PART, MIN_PART + 128), (2 * MIN_PART, 5, 21)]
        );
        let size = 2 * MIN_PART + 256 + 21;
        assert_eq!((stored.extent.size, stored.next, stored.ended), (size, (4, 2 * MIN_PART + 5), true));
        let hashed: Vec<_> = stored.extent.parts.iter().map(|part| part.length).collect();
        assert_eq!(hashed, IN_SEGMENTS.map(|(_, stored)| stored));
        assert_eq!(rig.upload.complete(&rig.session, "u").size, size);
    }
}

#[test]
fn a_listed_part_is_compared_as_stored_and_sent_again_from_its_offset_in_the_backup() {
    let listed = |second: u64| {
        let [(first, stored), _, (last, end)] = IN_SEGMENTS;
        let parts = [(1, first, stored, "\"one\""), (2, first, second, "\"two\""), (3, last, end, "\"three\"")];
        in_segments(true, false).with("CompleteMultipartUpload", INVALID_PART).with("ListParts", listing_as(&parts))
    };
    let mut rig = listed(MIN_PART + 128);
    rig.run().unwrap();
    assert_eq!(rig.count("UploadPart"), 3, "all are there, under other ETags");
    let mut rig = listed(MIN_PART);
    rig.run().unwrap();
    let again = rig.parts.last().unwrap();
    assert_eq!(
        (rig.count("UploadPart"), again.offset, again.length, again.stored),
        (4, MIN_PART, MIN_PART, MIN_PART + 128)
    );
}

#[test]
fn an_upload_resumes_at_an_offset_in_the_backup() {
    for is_file in [true, false] {
        let rig = in_segments(is_file, true);
        let finished = |number: u32| {
            let (length, stored) = IN_SEGMENTS[number as usize - 1];
            (number, Finished { length, stored, digest: part(number, length), etag: "\"e\"".into(), salt: None })
        };
        let open = open_upload([finished(1), finished(2)], None);
        let upload = Upload::resume(rig.upload.object.clone(), rig.upload.plan, open, None);
        let start = upload.source_start();
        assert_eq!((start.offset, start.stored, start.ended), (2 * MIN_PART, 2 * MIN_PART, false));
        let mut rig = Rig { upload, ..rig };
        let stored = rig.run().unwrap();
        assert_eq!((rig.count("UploadPart"), stored.next.1), (1, 2 * MIN_PART + 5));
        assert!(rig.saved.contains(r#"{"record":"part","number":3,"length":21,"#), "{}", rig.saved);
    }
}

/// Each page of a listing speaks of its own parts.
#[test]
fn parts_that_are_listed_on_several_pages_are_compared_page_by_page() {
    const MORE: &str = "<IsTruncated>true</IsTruncated><NextPartNumberMarker>2</NextPartNumberMarker>";
    const END: &str = "<IsTruncated>false</IsTruncated>";
    let (one, two) = ((1, MIN_PART, MIN_PART, "\"one\""), (2, MIN_PART, MIN_PART, "\"two\""));
    let three = (3, 5, 5, "\"three\"");
    type Parts<'a> = &'a [(u32, u64, u64, &'a str)];
    type Case<'a> = (Parts<'a>, Parts<'a>, &'a [(u32, u64)]);
    let cases: [Case<'_>; 4] = [
        (&[one, two], &[three], &[]),
        (&[one, two], &[], &[(3, 2 * MIN_PART)]),
        (&[two], &[], &[(1, 0), (3, 2 * MIN_PART)]),
        (&[one], &[three], &[(2, MIN_PART)]),
    ];
    for (first, second, again) in cases {
        let mut rig = Rig::file().with("CompleteMultipartUpload", INVALID_PART);
        rig = rig.with("ListParts", page(first, MORE)).with("ListParts", page(second, END));
        rig.run().unwrap();
        let sent: Vec<_> = rig.parts[3..].iter().map(|part| (part.number, part.offset)).collect();
        assert_eq!(sent, again);
    }
}

/// What a checkpoint says of an upload with these parts.
fn open_upload(parts: impl IntoIterator<Item = (u32, Finished)>, complete: Option<(u32, bool)>) -> OpenUpload {
    OpenUpload {
        key: "k".into(),
        upload_id: "u".into(),
        first: 1,
        offset: 0,
        signed: NOW.unix_ms,
        parts: parts.into_iter().collect(),
        complete,
    }
}

/// An upload that resumes from a checkpoint with these parts (number and length), of which the store lists those with
/// an ETag.
fn resumed(is_file: bool, length: u64, parts: &[(u32, u64, Option<&str>)], complete: Option<(u32, bool)>) -> Rig {
    let rig = Rig::new(is_file, length, true);
    let finished = |(number, length, _): &(u32, u64, Option<&str>)| {
        let digest = part(*number, *length);
        (*number, Finished { length: *length, stored: *length, digest, etag: "\"sent\"".into(), salt: None })
    };
    let listed = parts.iter().filter_map(|(number, length, etag)| {
        let crc64nvme = Some(crc_text(part(*number, *length).crc64nvme));
        let etag = (*etag)?.to_owned();
        let found = ListedPart { number: *number, size: *length, etag, last_modified_ms: None, crc64nvme };
        Some((*number, Listed::from(&found)))
    });
    let open = open_upload(parts.iter().map(finished), complete);
    let upload = Upload::resume(rig.upload.object.clone(), rig.upload.plan, open, Some(&listed.collect()));
    Rig { upload, ..rig }
}

/// The parts of a stream need not be as long as before: what follows a gap, or a short part that was meant to be the last,
/// has other bytes now.
#[test]
fn a_stream_resumes_at_the_first_part_that_is_missing_or_short() {
    const ETAG: Option<&str> = Some("\"sent\"");
    let length = 2 * MIN_PART + 5;
    for (parts, start) in [
        (&[(1, MIN_PART, ETAG), (2, MIN_PART, None), (3, 5, ETAG)][..], MIN_PART),
        (&[(1, MIN_PART, ETAG), (3, MIN_PART, ETAG)], MIN_PART),
        (&[(1, MIN_PART, ETAG), (2, MIN_PART - 1, ETAG), (3, MIN_PART, ETAG)], MIN_PART),
        (&[(1, 5, ETAG), (2, MIN_PART, ETAG)], 0),
    ] {
        let mut rig = resumed(false, length, parts, None);
        let source = rig.upload.source_start();
        assert_eq!((source.offset, source.ended), (start, false), "{parts:?}");
        let stored = rig.run().unwrap();
        let sent: u64 = rig.parts.iter().map(|part| part.length).sum();
        assert_eq!((stored.next.1, sent), (length, length - start), "{parts:?}");
    }
    // A Complete that may have been sent named its parts: the last one may be short.
    let rig = resumed(false, length, &[(1, MIN_PART, ETAG), (2, 5, ETAG)], Some((2, true)));
    let source = rig.upload.source_start();
    assert_eq!((source.offset, source.ended), (MIN_PART + 5, true));
}

/// Whatever the checkpoint says of a Complete, a part that the store does not list is sent again.
#[test]
fn a_resumed_upload_is_completed_with_all_of_its_parts_under_the_etags_that_they_have_now() {
    let parts = [(1, MIN_PART, Some("\"now\"")), (2, MIN_PART, None), (3, 5, Some("\"late\""))];
    for complete in [None, Some((3, true))] {
        let mut rig = resumed(true, 2 * MIN_PART + 5, &parts, complete);
        let completion = if complete.is_some() { Completion::InDoubt } else { Completion::NotSent };
        assert_eq!(rig.upload.completion(), completion, "what came of it is not known");
        assert_eq!(rig.run().unwrap().extent.parts.len(), 3);
        assert_eq!(rig.parts.iter().map(|part| part.number).collect::<Vec<_>>(), [2]);
        let body = rig.bodies.last().unwrap();
        let etags = ["now", "sent", "late"].map(|etag| body.matches(&format!("&quot;{etag}&quot;")).count());
        assert_eq!(etags, [1, 1, 1], "{body}");
    }
}

#[test]
fn a_part_that_is_not_the_last_has_whole_segments() {
    let mut rig = in_segments(false, false);
    while !matches!(rig.upload.in_flight.get(&2), Some(InFlight::Requested { .. })) {
        if let Output::Send(request) = rig.upload.poll(&mut rig.session, rig.now) {
            rig.answer(&request);
        }
    }
    let Some(InFlight::Requested { mut request, .. }) = rig.upload.in_flight.remove(&2) else {
        panic!("not requested")
    };
    request.min_length = 1;
    assert!(request.check(2, 3 << 20, Some(&part(2, 3 << 20)), false).is_ok());
    assert_eq!(request.check(2, (3 << 20) + 1, Some(&part(2, 1)), false).unwrap_err().code(), Code::WrongState);
    assert!(request.check(2, (3 << 20) + 1, Some(&part(2, 1)), true).is_ok());
}
