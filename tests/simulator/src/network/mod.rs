//! The network between driver and store: it loses, delays, duplicates, cuts and changes requests and replies.

mod arrival;

use s3_model::http::http_date;
use s3vault_core::checksum::Digest;
use s3vault_core::http::{Range, ReplyBody, ReplyHead, Request, RequestId, TransportFailure};
use s3vault_core::vault::objects::{CATALOGUE, LOCATORS, VAULT_KEY};
use s3vault_core::{Code, Input};

use crate::case::FaultId;
use crate::checks::waits::Why;
use crate::content::{BLOCK, Content};
use crate::coverage::Probe;
use crate::scenario::{Fault, Trigger, request_fault};
use crate::store::at;
use crate::task::Job;
use crate::wire::{Answer, Wire};
use crate::world::{Event, World};

/// A stage of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// The last byte of the request was sent.
    Sent,
    /// It has arrived at the store; whether this is the second time.
    Arrived(bool),
    /// The head of the reply has arrived at the driver.
    Head,
    /// The end of the reply has arrived at the driver.
    End,
    /// The driver knows that nothing more comes.
    Broken(Broken),
    /// The connection has to be dropped, for a dated request.
    Drop,
}

/// Why nothing more comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Broken {
    Lost,
    TimedOut,
    NotSent,
    SourceChanged,
}

/// A request, from its send to its end.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) task: usize,
    life: u32,
    /// When it was sent, and when its connection is dropped.
    sent: u64,
    drop_at: Option<u64>,
    pub(crate) id: RequestId,
    pub(crate) wire: Wire,
    /// Its part of the source.
    pub(crate) part: Option<u32>,
    /// The bytes that the driver read, if it hashes them while it sends them.
    read: Option<Digest>,
    reply: ReplyBody,
    fault: Option<Fault>,
    answer: Option<Answer>,
    /// All of the answer has arrived at the driver.
    is_answered: bool,
    /// The driver knows that it was not sent.
    is_unsent: bool,
    /// The driver has abandoned it.
    pub(crate) is_over: bool,
    /// Key under which its failures are counted.
    what: String,
    /// Stages that are still to come.
    pending: u32,
}

/// Number of consecutive faults of one request where faults are rare.
const MILD: u32 = 2;
/// After this many bytes of a range its attempts count from the start.
const PROGRESS: u64 = 64 << 10;
/// How long a driver waits for a reply, in milliseconds.
pub(crate) const IDLE_MS: u64 = 30_000;

impl World {
    pub(crate) fn send(&mut self, task: usize, request: &Request) {
        let body = self.body(task, request);
        let wire = Wire::new(request, body.content, body.read.map(|digest| digest.crc64nvme));
        self.tasks[task].requests += 1;
        let ordinal = self.tasks[task].requests;
        self.check_send(task, request, &wire, body.part);
        let is_row = wire.puts(CATALOGUE);
        let kind = if is_row { "row" } else { wire.operation };
        let of_kind = self.tasks[task].sent.entry(kind).or_default();
        *of_kind += 1;
        let now = [Trigger::Request(ordinal), Trigger::Kind(kind, *of_kind)];
        for number in 0..self.scenario.injections.len() {
            let injection = self.scenario.injections[number];
            let is_now = self.task_of(injection) == Some(task) && now.contains(&injection.trigger);
            if is_now && self.applies(FaultId::Injection(number)) {
                self.after(injection.delay, Event::Injection { number });
            }
        }
        let what = what(&wire);
        self.check_retry(task, &what);
        let fault = self.fault(task, ordinal, &wire, &what);
        self.log(|| {
            let fault = fault.map_or(String::new(), |fault| format!("   [{task}.{ordinal}: {fault:?}]"));
            format!("{task} sends #{} {}{fault}", request.id.0, wire.short())
        });
        self.sequence += 1;
        let number = self.sequence;
        let payload = wire.request.body.length() * self.scenario.pace / BLOCK;
        let life = self.tasks[task].life;
        self.tasks[task].dealt_ms += self.scenario.trip + payload * 2 + 2;
        self.exchanges.insert(
            number,
            Exchange {
                task,
                life,
                sent: self.time,
                drop_at: request.drop_at,
                id: request.id,
                wire,
                part: body.part,
                read: body.read,
                reply: request.reply,
                fault,
                answer: None,
                is_answered: false,
                is_unsent: false,
                is_over: false,
                what,
                pending: 0,
            },
        );
        let drop_in = request.drop_at.map(|at| at.saturating_sub(self.time));
        let trip = self.random.u64(1..=self.scenario.trip);
        let up = trip + self.random.u64(payload / 2..=payload * 2);
        if body.is_changed {
            self.readings_differ(task, body.part);
            return self.later(number, trip, Stage::Broken(Broken::SourceChanged));
        }
        let mut at = |delay: u64, stage: Stage| self.later(number, delay, stage);
        if let Some(drop_at) = drop_in {
            at(drop_at, Stage::Drop);
        }
        match fault {
            Some(Fault::LostBefore) => {
                // Half a request, or a whole one that vanished.
                let is_whole = number.is_multiple_of(2);
                if is_whole {
                    at(up, Stage::Sent);
                }
                let broken = if is_whole && number.is_multiple_of(4) { Broken::TimedOut } else { Broken::Lost };
                at(up + if broken == Broken::TimedOut { IDLE_MS } else { 1 }, Stage::Broken(broken));
            }
            Some(Fault::NotSent) => at(trip, Stage::Broken(Broken::NotSent)),
            Some(Fault::Late(later)) => {
                at(up, Stage::Sent);
                at(up + 1 + later.min(IDLE_MS), Stage::Broken(Broken::TimedOut));
                at(up + 2 + later, Stage::Arrived(false));
            }
            Some(Fault::Twice(later)) => {
                at(up, Stage::Sent);
                at(up + 1, Stage::Arrived(false));
                at(up + 2 + later, Stage::Arrived(true));
            }
            Some(Fault::Slow(later)) => {
                at(up, Stage::Sent);
                at(up + later.min(IDLE_MS), Stage::Broken(Broken::TimedOut));
                at(up + later, Stage::Arrived(false));
            }
            _ => {
                at(up, Stage::Sent);
                at(up + 1, Stage::Arrived(false));
            }
        }
    }

    /// The fault of a task's request.
    fn fault(&mut self, task: usize, ordinal: u64, wire: &Wire, what: &str) -> Option<Fault> {
        if self.time < self.unreachable_until {
            return Some(Fault::NotSent);
        }
        let (seed, scenario) = (self.case.seed, &self.scenario);
        let reads_row = wire.operation == "GetObject" && matches!(self.tasks[task].job, Job::List { .. });
        let third = (wire.operation == "ListObjectsV2" && scenario.is_other_truncated(seed, task, ordinal))
            .then_some(Fault::OtherTruncated);
        let second = (self.case.inputs > 1).then(|| scenario.second_fault(seed, task, ordinal, reads_row)).flatten();
        let fault = third.or(second).or_else(|| request_fault(seed, task, ordinal, wire.operation, scenario.faults))?;
        let is_rare =
            fault.is_mild() && self.tasks[task].in_a_row.get(what).is_none_or(|streak| streak.failures < MILD);
        if scenario.second.is_mild && !is_rare {
            return None;
        }
        Some(fault).filter(|_| self.applies(FaultId::Request(task, ordinal)))
    }

    pub(crate) fn exchange(&mut self, number: u64, stage: Stage) {
        let Some(mut exchange) = self.exchanges.remove(&number) else { return };
        exchange.pending -= 1;
        self.dropped.clear();
        self.stage(number, &mut exchange, stage);
        // The machine may have abandoned it because of this stage.
        exchange.is_over |= self.dropped.contains(&(exchange.task, exchange.life, exchange.id));
        if exchange.pending > 0 {
            self.exchanges.insert(number, exchange);
        }
    }

    fn later(&mut self, number: u64, delay: u64, stage: Stage) {
        if let Some(exchange) = self.exchanges.get_mut(&number) {
            exchange.pending += 1;
            self.after(delay, Event::Exchange { number, stage });
        }
    }

    fn stage(&mut self, number: u64, exchange: &mut Exchange, stage: Stage) {
        match stage {
            Stage::Sent => {
                let id = exchange.id;
                if let Some(digest) = exchange.read {
                    if !exchange.is_over && self.is_alive(exchange) {
                        self.note_reading(exchange.task, exchange.part, digest);
                    }
                    self.input(exchange, Input::PartSent { id, digest });
                }
                self.input(exchange, Input::Sent { id });
            }
            Stage::Arrived(is_copy) => self.arrived(number, exchange, is_copy),
            Stage::Head => {
                let Some(answer) = &exchange.answer else { return };
                let mut head = ReplyHead { status: answer.status, headers: answer.headers.clone() };
                let proxy_ms = self.scenario.second.proxy_ms;
                if proxy_ms != 0
                    && !self.is_over
                    && let Some((_, date)) = head.headers.iter_mut().find(|(name, _)| name == "date")
                {
                    *date = http_date(at(self.store_ms() + proxy_ms));
                    self.hit(Probe::ProxyDate);
                }
                let id = exchange.id;
                self.input(exchange, Input::Head { id, head });
            }
            Stage::End => self.end(exchange),
            Stage::Broken(broken) => {
                if !exchange.is_over && self.is_alive(exchange) {
                    match (broken, exchange.fault) {
                        (Broken::TimedOut, _) => self.hit(Probe::TimedOut),
                        (Broken::Lost, Some(Fault::Truncated)) => self.hit(Probe::Truncated),
                        _ => {}
                    }
                    match exchange.fault {
                        Some(Fault::LostBefore) => self.hit(Probe::LostBefore),
                        Some(Fault::NotSent) => self.hit(Probe::NotSent),
                        _ => {}
                    }
                }
                let code = match broken {
                    Broken::Lost => Code::ConnectionLost,
                    Broken::TimedOut => Code::TimedOut,
                    Broken::NotSent => Code::Connect,
                    Broken::SourceChanged => Code::SourceChanged,
                };
                exchange.is_unsent = broken == Broken::NotSent;
                let detail = "nothing more came".to_owned();
                self.fail(exchange, TransportFailure { code, maybe_sent: broken != Broken::NotSent, detail });
            }
            Stage::Drop if !exchange.is_over => {
                self.hit(Probe::DatePassed);
                let detail = "its date has passed".to_owned();
                self.fail(exchange, TransportFailure { code: Code::TimedOut, maybe_sent: true, detail });
            }
            Stage::Drop => {}
        }
    }

    fn is_alive(&self, exchange: &Exchange) -> bool {
        self.tasks[exchange.task].life == exchange.life
    }

    fn end(&mut self, exchange: &mut Exchange) {
        let Some(answer) = exchange.answer.clone() else { return };
        let (id, is_good) = (exchange.id, (200..300).contains(&answer.status));
        if exchange.is_over || self.tasks[exchange.task].life != exchange.life {
            return;
        }
        if let ReplyBody::Collect { limit } = exchange.reply
            && is_good
            && answer.body.length() > limit as u64
        {
            let detail = format!("the reply's body is longer than {limit} bytes");
            return self.fail(exchange, TransportFailure { code: Code::ConnectionLost, maybe_sent: true, detail });
        }
        let is_error = answer.code().is_some() || matches!(exchange.fault, Some(Fault::Page(..)));
        exchange.is_answered = true;
        self.outcome(exchange, is_good && !is_error, false);
        match exchange.reply {
            ReplyBody::Range(range) if is_good => {
                let content = self.take(exchange.task, range, &answer.body);
                let (length, digest) = (content.length(), content.digest_of(range.hash));
                exchange.is_over = true;
                self.last_input(exchange, Input::RangeEnd { id, length, digest });
            }
            _ => {
                let (first, rest) = answer.body.as_bytes().split_at(answer.body.as_bytes().len() / 2);
                self.input(exchange, Input::Body { id, bytes: first });
                self.input(exchange, Input::Body { id, bytes: rest });
                exchange.is_over = true;
                self.last_input(exchange, Input::End { id });
            }
        }
        exchange.is_over = true;
    }

    /// Writes bytes of a range; returns what has arrived of it.
    fn take(&mut self, task: usize, range: Range, more: &Content) -> Content {
        let kept = self.tasks[task].ranges.entry((range.index, range.reading)).or_default();
        *kept = Content::concat([&kept.slice(0, range.done), more].into_iter());
        let kept = kept.clone();
        self.write(task, range.offset, &kept);
        kept
    }

    /// A reply broke: the bytes of a range that have arrived are kept. Returns whether they are progress.
    fn arrive(&mut self, exchange: &Exchange) -> bool {
        let (Some(answer), ReplyBody::Range(range)) = (&exchange.answer, exchange.reply) else { return false };
        if exchange.fault != Some(Fault::Truncated) || answer.status >= 300 {
            return false;
        }
        let length = [0, answer.body.length() / 2, 100, answer.body.length().saturating_sub(1)];
        let length = length[(exchange.id.0 % 4) as usize].min(answer.body.length());
        let content = self.take(exchange.task, range, &answer.body.slice(0, length));
        if length > 0 {
            self.hit(Probe::RangeBroke);
        }
        self.input(exchange, Input::RangeProgress { id: exchange.id, length: content.length() });
        length >= PROGRESS
    }

    fn fail(&mut self, exchange: &mut Exchange, failure: TransportFailure) {
        if exchange.is_over || self.tasks[exchange.task].life != exchange.life {
            return;
        }
        let id = exchange.id;
        self.log(|| format!("{} #{}: {:?}", exchange.task, id.0, failure.code));
        let progressed = self.arrive(exchange);
        self.outcome(exchange, false, progressed);
        exchange.is_over = true;
        self.last_input(exchange, Input::Failed { id, failure });
    }

    fn outcome(&mut self, exchange: &Exchange, is_good: bool, progressed: bool) {
        if is_good {
            self.note_success(exchange.task);
        }
        let task = &mut self.tasks[exchange.task];
        if is_good {
            // What waited for a new check starts again after it.
            task.in_a_row.remove(&exchange.what);
            match exchange.wire.operation {
                "ListObjectsV2" => task.in_a_row.retain(|what, _| what.contains(VAULT_KEY) || what.contains(LOCATORS)),
                // The data is read again under the version ids that it finds.
                "ListObjectVersions" => task.in_a_row.retain(|what, _| !what.starts_with("GetObject")),
                "ListParts" => task.in_a_row.retain(|what, _| !what.starts_with("CompleteMultipartUpload")),
                _ => {}
            }
            return;
        }
        // Nothing came, or what came does not tell: the request may have taken effect.
        let answer = exchange.answer.as_ref().filter(|_| exchange.is_answered);
        let is_definite = match answer {
            Some(answer) => {
                matches!(answer.code(), Some("SlowDown" | "TooManyRequests")) || Why::of(Some(answer)) == Why::Learned
            }
            None => exchange.is_unsent,
        };
        let is_last = exchange.wire.operation == "CompleteMultipartUpload" || exchange.wire.puts(CATALOGUE);
        task.is_in_doubt |= is_last && !is_definite;
        task.failed += 1;
        let is_refused = |answer: &Answer| answer.code().is_none() && matches!(answer.status, 400 | 403);
        if answer.is_some_and(|answer| answer.status == 404 || is_refused(answer)) {
            // It is final: what asks again later asks for the first time.
            task.in_a_row.remove(&exchange.what);
            return;
        }
        let times = (exchange.sent, exchange.drop_at);
        self.note_failure(exchange.task, &exchange.what, times, answer, progressed);
    }

    /// Whether a request of a task is in progress.
    pub(crate) fn is_exchanging(&self, task: usize) -> bool {
        self.is_arriving || !self.under_way(task).is_empty()
    }

    fn input(&mut self, exchange: &Exchange, input: Input<'_>) {
        if !exchange.is_over {
            self.is_arriving = true;
            self.last_input(exchange, input);
            self.is_arriving = false;
        }
    }

    fn last_input(&mut self, exchange: &Exchange, input: Input<'_>) {
        if self.tasks[exchange.task].life == exchange.life {
            self.drive(exchange.task, Some(input));
        }
    }

    /// The machine has abandoned a request.
    pub(crate) fn abandon(&mut self, task: usize, id: RequestId) {
        let life = self.tasks[task].life;
        let mut is_slow = false;
        for exchange in self.exchanges.values_mut() {
            if (exchange.task, exchange.life, exchange.id) == (task, life, id) {
                is_slow |= !exchange.is_over && matches!(exchange.fault, Some(Fault::Slow(_) | Fault::Late(_)));
                exchange.is_over = true;
            }
        }
        self.dropped.push((task, life, id));
        self.tasks[task].dealt_ms += IDLE_MS;
        if is_slow {
            self.hit(Probe::NotWaitedFor);
        }
        self.log(|| format!("{task} drops #{}", id.0));
    }

    /// All connections of a task break.
    pub(crate) fn break_all(&mut self, task: usize) {
        for number in self.under_way(task) {
            let delay = self.random.u64(1..=self.scenario.trip);
            self.later(number, delay, Stage::Broken(Broken::Lost));
        }
    }

    /// All requests of a task in flight arrive a second time.
    pub(crate) fn echo(&mut self, task: usize, delay: u64) {
        for number in self.under_way(task) {
            self.later(number, delay, Stage::Arrived(true));
        }
    }

    fn under_way(&self, task: usize) -> Vec<u64> {
        let life = self.tasks[task].life;
        let mine = self.exchanges.iter().filter(|(_, exchange)| (exchange.task, exchange.life) == (task, life));
        mine.filter(|(_, exchange)| !exchange.is_over).map(|(number, _)| *number).collect()
    }

    /// Whether a request for this part is in flight.
    pub(crate) fn is_sending(&self, task: usize, number: u32) -> bool {
        let life = self.tasks[task].life;
        let mut exchanges = self.exchanges.values();
        exchanges.any(|exchange| {
            (exchange.task, exchange.life, exchange.part) == (task, life, Some(number)) && !exchange.is_over
        })
    }
}

/// Key under which the failures of a request are counted.
fn what(wire: &Wire) -> String {
    // The rest of a slice is the same slice.
    let range = wire.request.header("range").and_then(|range| range.rsplit_once('-')).map_or("", |(_, last)| last);
    let page = ["prefix", "continuation-token", "start-after", "part-number-marker", "key-marker"]
        .map(|name| wire.parameter(name))
        .concat();
    format!("{} {}{page} {}{range}", wire.operation, wire.request.key, wire.parameter("partNumber"))
}
