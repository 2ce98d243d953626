//! Machines for tests: small, with every decision visible.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use s3vault_core::checksum::Digest;
use s3vault_core::http::{Body, Method, Part, Range, ReplyBody, Request, RequestId};
use s3vault_core::time::Now;
use s3vault_core::{Code, Error, Input, Machine, Output, PartRequest, SourceStart};

/// A machine that answers each input by a function.
pub(super) struct ScriptedMachine<T> {
    pub(super) outputs: VecDeque<Output<T>>,
    react: React<T>,
}

type React<T> = Box<dyn FnMut(&mut VecDeque<Output<T>>, Input<'_>) + Send>;

impl<T> ScriptedMachine<T> {
    pub(super) fn new(
        first: Vec<Output<T>>,
        react: impl FnMut(&mut VecDeque<Output<T>>, Input<'_>) + Send + 'static,
    ) -> ScriptedMachine<T> {
        ScriptedMachine { outputs: first.into(), react: Box::new(react) }
    }
}

impl<T> Machine for ScriptedMachine<T> {
    type Done = T;

    fn handle(&mut self, _now: Now, input: Input<'_>) {
        (self.react)(&mut self.outputs, input);
    }

    fn poll(&mut self, _now: Now) -> Output<T> {
        self.outputs.pop_front().unwrap_or(Output::Wait(None))
    }
}

pub(super) fn request(id: u64, method: Method, url: &str) -> Request {
    Request {
        id: RequestId(id),
        operation: "Test",
        method,
        url: url.to_owned(),
        headers: Vec::new(),
        body: Body::Empty,
        reply: ReplyBody::Collect { limit: 1 << 16 },
        is_data: false,
        drop_at: None,
    }
}

/// Puts each part to `url/<number>`, `window` parts at a time; a part that is refused or lost is sent again. Its result
/// is the number of bytes.
pub(super) struct TestUpload {
    pub(super) url: String,
    pub(super) part_length: u64,
    pub(super) window: u32,
    requested: u32,
    open: u32,
    last: Option<u32>,
    total: u64,
    next_id: u64,
    requests: HashMap<RequestId, Part>,
    /// Whether parts are hashed before they are sent, or while they are sent.
    hashed: bool,
    /// Digests of parts that were hashed while they were sent, by request.
    sent: HashMap<RequestId, Digest>,
    refused: HashSet<RequestId>,
    retry: VecDeque<Part>,
    outputs: VecDeque<Output<u64>>,
}

impl TestUpload {
    pub(super) fn new(url: &str, part_length: u64, window: u32) -> TestUpload {
        TestUpload {
            url: url.to_owned(),
            part_length,
            window,
            requested: 0,
            open: 0,
            last: None,
            total: 0,
            next_id: 0,
            requests: HashMap::new(),
            hashed: true,
            sent: HashMap::new(),
            refused: HashSet::new(),
            retry: VecDeque::new(),
            outputs: VecDeque::from([Output::Start(SourceStart { offset: 0, ended: false, stored: 0 })]),
        }
    }

    /// The same, with parts that are hashed while they are sent.
    pub(super) fn hashed_while_sent(url: &str, part_length: u64, window: u32) -> TestUpload {
        TestUpload { hashed: false, ..TestUpload::new(url, part_length, window) }
    }

    fn send(&mut self, part: Part) {
        self.next_id += 1;
        let mut request = request(self.next_id, Method::Put, &format!("{}/{}", self.url, part.number));
        request.body = Body::Part(part);
        self.requests.insert(request.id, part);
        self.outputs.push_back(Output::Send(request));
    }
}

impl Machine for TestUpload {
    type Done = u64;

    fn handle(&mut self, _now: Now, input: Input<'_>) {
        match input {
            Input::PartReady { number, length, digest, last, .. } => {
                let offset = u64::from(number - 1) * self.part_length;
                self.total += length;
                if last {
                    self.last = Some(number);
                    self.open -= self.requested - number;
                }
                if length == 0 && number > 1 {
                    self.open -= 1;
                } else {
                    self.send(Part { number, offset, length, stored: length, digest, md5: None, salt: None });
                }
            }
            Input::Head { id, head } if !head.is_success() => {
                self.refused.insert(id);
            }
            Input::End { id } if self.refused.remove(&id) => self.retry.extend(self.requests.remove(&id)),
            Input::PartSent { id, digest } => {
                self.sent.insert(id, digest);
            }
            Input::End { id } => {
                if let Some(part) = self.requests.remove(&id) {
                    assert!(
                        self.hashed || self.sent.contains_key(&id),
                        "the digest of a part arrives before the end of its reply"
                    );
                    self.open -= 1;
                    self.outputs.push_back(Output::ReleasePart(part.number));
                }
            }
            Input::Failed { id, failure } => {
                if matches!(failure.code, Code::SourceChanged | Code::Io) {
                    self.outputs.push_back(Output::Done(Err(Error::new(failure.code, failure.detail))));
                } else {
                    self.retry.extend(self.requests.remove(&id));
                }
            }
            Input::SourceFailed(error) => self.outputs.push_back(Output::Done(Err(error))),
            Input::Cancel => self.outputs.push_back(Output::Done(Err(Error::new(Code::Cancelled, "cancelled")))),
            _ => {}
        }
    }

    fn poll(&mut self, _now: Now) -> Output<u64> {
        if let Some(part) = self.retry.pop_front() {
            self.send(part);
        }
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        if self.last.is_none() && self.open < self.window {
            self.requested += 1;
            self.open += 1;
            let offset = u64::from(self.requested - 1) * self.part_length;
            return Output::NeedPart(PartRequest {
                number: self.requested,
                offset,
                length: self.part_length,
                min_length: self.part_length,
                multiple_of: 1,
                hash_first: self.hashed,
            });
        }
        if self.last.is_some() && self.open == 0 {
            return Output::Done(Ok(self.total));
        }
        Output::Wait(None)
    }
}

/// Gets each range from `url/<index>`, `window` ranges at a time; a range with the wrong bytes is requested again.
pub(super) struct TestDownload {
    url: String,
    ranges: Vec<(Range, Digest)>,
    window: usize,
    started: usize,
    open: usize,
    accepted: usize,
    next_id: u64,
    requests: BTreeMap<RequestId, usize>,
    /// How many bytes of each range arrived, and how often it was read whole.
    arrived: Vec<(u64, u32)>,
    outputs: VecDeque<Output<()>>,
}

impl TestDownload {
    pub(super) fn new(url: &str, ranges: Vec<(Range, Digest)>, window: usize) -> TestDownload {
        TestDownload {
            url: url.to_owned(),
            arrived: vec![(0, 0); ranges.len()],
            ranges,
            window,
            started: 0,
            open: 0,
            accepted: 0,
            next_id: 0,
            requests: BTreeMap::new(),
            outputs: VecDeque::new(),
        }
    }

    fn send(&mut self, index: usize) {
        self.next_id += 1;
        let mut request = request(self.next_id, Method::Get, &format!("{}/{index}", self.url));
        let (done, reading) = self.arrived[index];
        request.headers.push(("x-from".into(), done.to_string().into()));
        request.reply = ReplyBody::Range(Range { done, reading, ..self.ranges[index].0 });
        self.requests.insert(request.id, index);
        self.outputs.push_back(Output::Send(request));
    }
}

impl Machine for TestDownload {
    type Done = ();

    fn handle(&mut self, _now: Now, input: Input<'_>) {
        match input {
            Input::RangeEnd { id, length, digest } => {
                let Some(index) = self.requests.remove(&id) else { return };
                let (range, expected) = self.ranges[index];
                if length == range.length && digest == expected {
                    self.accepted += 1;
                    self.outputs.push_back(Output::Accept(range));
                } else {
                    self.arrived[index] = (0, self.arrived[index].1 + 1);
                    self.send(index);
                }
            }
            Input::RangeProgress { id, length } => {
                if let Some(index) = self.requests.get(&id) {
                    self.arrived[*index].0 = length;
                }
            }
            Input::Failed { id, .. } | Input::End { id } => {
                if let Some(index) = self.requests.remove(&id) {
                    self.send(index);
                }
            }
            Input::RangeConsumed { .. } => self.open -= 1,
            Input::Cancel => self.outputs.push_back(Output::Done(Err(Error::new(Code::Cancelled, "cancelled")))),
            _ => {}
        }
    }

    fn poll(&mut self, _now: Now) -> Output<()> {
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        if self.started < self.ranges.len() && self.open < self.window {
            self.send(self.started);
            self.started += 1;
            self.open += 1;
            return self.poll(_now);
        }
        if self.accepted == self.ranges.len() && self.open == 0 {
            return Output::Done(Ok(()));
        }
        Output::Wait(None)
    }
}
