//! A call: one operation with its attempts, signatures and retries, until it succeeds or fails.
//!
//! ```text
//!          ┌──── retry: after a delay, or with a learned region, clock or credentials ────┐
//!          ▼                                                                              │
//!  Due ──▶ Sent ──▶ success, refusal, or no complete reply ──▶ Over                       │
//!          │                                                                              │
//!          ├─ payload is sent, and the reply is late ──▶ Due (hedge, account/first_byte.rs) ──────┤
//!          └─ keys refused or expired ──▶ AwaitingKeys ──renewed──────────────────────────┘
//!                                          └──kept──▶ Over
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use super::customer_key;
use super::refusal::{Refusal, describe, encoding, excerpt, forwarder, is_about_checksum, is_error, is_html, refusal};
use super::{Operation, Place, Reply, Unsigned};
use crate::account::integrity::{Completes, Integrity, may_be_about_checksums};
use crate::account::{Account, Bucket};
use crate::checksum::Digest;
use crate::endpoint::Endpoint;
use crate::error::{Code, Error, Family, Result};
use crate::http::{Body, Method, ReplyBody, ReplyHead, Request, RequestId, TransportFailure};
use crate::journal::Journal;
use crate::machine::{Event, Input, Output, misuse};
use crate::mutation::{Mutation, is_active};
use crate::retry;
use crate::sigv4::{Payload, ToSign};
use crate::time::{Now, parse_http_date};
use crate::uri::encode_query;

/// State that all calls of one machine share.
pub(crate) struct Session {
    pub(crate) bucket: Arc<Bucket>,
    random: fastrand::Rng,
    next_id: u64,
    /// Requests whose connections the driver must drop.
    abandoned: Vec<RequestId>,
    /// What ends the machine, whatever it waits for: the driver did something wrong, or a request must not be sent.
    misuse: Option<Error>,
    /// Events that the driver was not told yet.
    events: VecDeque<Event>,
    /// The machine's checkpoint, if it has one.
    pub(crate) journal: Option<Journal>,
    /// Number of replies that asked to slow down.
    slow_downs: u64,
    /// Whether its calls are retried for a short time only.
    pub(crate) is_query: bool,
    /// Since when the store is away, if it is.
    outage: Option<Outage>,
}

/// A time in which no request succeeded.
struct Outage {
    /// Monotonic time of the first failure.
    since: u64,
    /// Monotonic time at which the caller was last told.
    told: Option<u64>,
}

/// An outage is reported once it has lasted this long, in milliseconds.
const REPORT_AFTER_MS: u64 = 3_000;
/// While it lasts, it is reported again after this time, in milliseconds.
const REPORT_EVERY_MS: u64 = 60_000;

impl Session {
    /// `seed` drives the jitter of retries.
    pub(crate) fn new(bucket: &Arc<Bucket>, seed: u64) -> Session {
        Session {
            bucket: bucket.clone(),
            random: fastrand::Rng::with_seed(seed),
            next_id: 0,
            abandoned: Vec::new(),
            misuse: None,
            events: VecDeque::new(),
            journal: None,
            slow_downs: 0,
            is_query: false,
            outage: None,
        }
    }

    /// Longest time from the first attempt of a request to the start of its last, while the store is away.
    fn retry_time_ms(&self) -> u64 {
        let account = self.account();
        let limit = match (account.has_answered(), self.is_query) {
            (false, _) => retry::FIRST_MS,
            (true, true) => retry::QUERY_MS,
            (true, false) => account.retry_time_ms,
        };
        limit.min(account.retry_time_ms)
    }

    /// The store did not answer, and the request is sent again after a delay.
    fn is_away(&mut self, now: Now, delay: u64, why: &Error) {
        let outage = self.outage.get_or_insert(Outage { since: now.mono_ms, told: None });
        if !self.bucket.account().has_answered() {
            return;
        }
        let next = now.mono_ms.saturating_add(delay);
        let due = outage.told.map_or(outage.since + REPORT_AFTER_MS, |told| told + REPORT_EVERY_MS);
        if next >= due {
            outage.told = Some(now.mono_ms);
            let for_ms = now.mono_ms.saturating_sub(outage.since);
            let retry_time_ms = self.retry_time_ms();
            self.report(Event::Away { why: why.message().to_owned(), for_ms, retry_time_ms });
        }
    }

    /// The store has answered, even if it refused.
    fn answers(&mut self, now: Now) {
        self.account().answers();
        if let Some(Outage { since, told: Some(_) }) = self.outage.take() {
            self.report(Event::Back { after_ms: now.mono_ms.saturating_sub(since) });
        }
    }

    /// The next request to abandon, for [`Output::Abandon`](crate::Output::Abandon).
    pub(crate) fn abandoned(&mut self) -> Option<RequestId> {
        self.abandoned.pop()
    }

    /// The driver broke the contract. The input is otherwise ignored, and the machine ends with this error.
    pub(crate) fn misused(&mut self, why: Error) {
        self.misuse.get_or_insert(why);
    }

    /// Reports an event to the caller.
    pub(crate) fn report(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// What a machine outputs before anything else: connections to drop, events, then the error of a misuse.
    pub(crate) fn pending<T>(&mut self) -> Option<Output<T>> {
        if let Some(id) = self.abandoned() {
            return Some(Output::Abandon(id));
        }
        if let Some(event) = self.events.pop_front() {
            return Some(Output::Event(event));
        }
        self.misuse.take().map(|e| Output::Done(Err(e)))
    }

    /// Saves a step if there is a checkpoint.
    pub(crate) fn save<R: Into<Vec<u8>>>(&mut self, record: impl FnOnce() -> R) {
        if let Some(journal) = &mut self.journal {
            journal.add(record(), false);
        }
    }

    /// Whether all saved steps are on disk.
    pub(crate) fn is_saved(&self) -> bool {
        self.journal.as_ref().is_none_or(Journal::is_saved) || is_active(Mutation::SendBeforeSaved)
    }

    /// How often the store asked to slow down, over all calls.
    pub(crate) fn slow_downs(&self) -> u64 {
        self.slow_downs
    }

    /// The store's time now.
    pub(crate) fn clock(&self, now: Now) -> i64 {
        self.account().clock().at(now)
    }

    /// Whether a refusal may be about what was sent to check the payload, so that the same request with less may succeed.
    fn may_send_less(&self, used: Integrity, refusal: &Error) -> bool {
        may_be_about_checksums(used, refusal) && !self.account().integrity().is_proven(used)
    }

    /// The store refused a request that was sent at this level. Returns whether to send it again, with what is to be sent
    /// with the payload from now on.
    pub(crate) fn send_less(&mut self, used: Integrity, refusal: &Error) -> bool {
        // A store that keeps the framing of a trailer compares the checksum with other bytes than were sent.
        let is_framed = used == Integrity::Trailer && is_about_checksum(refusal.s3_code());
        let is_framed = is_framed && !self.account().integrity().is_proven(used);
        if !is_framed && !self.may_send_less(used, refusal) {
            return false;
        }
        if used == Integrity::Trailer {
            self.without_trailers(&format!("the store refuses checksums in trailers ({})", answer_of(refusal)));
        } else if self.account().integrity().lower(Integrity::Md5) {
            let what = format!(
                "the store refuses the checksum CRC64NVME ({}): parts are sent with Content-MD5, and the checksums of the manifest are compared when the backup is read",
                answer_of(refusal)
            );
            self.report(Event::Without { what });
        }
        true
    }

    /// A Complete says less about checksums from now on.
    pub(crate) fn complete_less(&mut self, next: Completes, why: &str) {
        if self.account().integrity().lower_complete(next) {
            let what = format!("{why}: the sizes and the parts of objects are compared instead");
            self.report(Event::Without { what });
        }
    }

    /// Parts are hashed before they are sent from now on.
    pub(crate) fn without_trailers(&mut self, why: &str) {
        if self.account().integrity().lower(Integrity::Header) {
            let what = format!("{why}: parts of files are read twice, to send the checksum before the data");
            self.report(Event::Without { what });
        }
    }

    /// The account of its bucket.
    pub(crate) fn account(&self) -> &Arc<Account> {
        self.bucket.account()
    }
}

/// The status and code of a refusal, for an event.
pub(crate) fn answer_of(refusal: &Error) -> String {
    format!("{} {}", refusal.status(), refusal.s3_code()).trim_end().to_owned()
}

/// What a call needs next.
#[allow(clippy::large_enum_variant)] // Nothing stores one: a request goes straight to the driver.
pub(crate) enum Next {
    /// Send this request.
    Send(Request),
    /// The credentials of this generation were refused or have expired: new ones are needed.
    NeedCredentials(u64),
    /// Poll the call again at this monotonic time, unless an input arrives first.
    Wait(Option<u64>),
}

impl<T> From<Next> for Output<T> {
    fn from(next: Next) -> Output<T> {
        match next {
            Next::Send(request) => Output::Send(request),
            Next::NeedCredentials(generation) => Output::NeedCredentials { generation },
            Next::Wait(at) => Output::Wait(at),
        }
    }
}

enum State {
    /// The next attempt is due at this monotonic time.
    Due(u64),
    Sent(Exchange),
    /// The call waits for new credentials.
    AwaitingKeys {
        generation: u64,
        /// The error if there are no new credentials.
        why: Error,
        /// The driver was asked for them.
        asked: bool,
        /// The current ones expire soon but were not refused: without new ones, the call continues with them.
        still_good: bool,
    },
    /// The call succeeded, or failed finally.
    Over,
}

struct Exchange {
    id: RequestId,
    sent: Now,
    /// Monotonic time at which the last byte was sent.
    last_byte_at: Option<u64>,
    /// Monotonic time after which the reply's head is late.
    late_at: Option<u64>,
    /// Generation of the credentials that signed it.
    generation: u64,
    /// The date of its signature, in Unix milliseconds.
    signed_ms: i64,
    /// Its reply may have a body.
    has_body: bool,
    place: Place,
    /// The endpoint that it was sent to.
    endpoint: Arc<Endpoint>,
    /// The body of a successful reply is a range.
    is_range: bool,
    /// It carries a customer key.
    has_key: bool,
    head: Option<ReplyHead>,
    body: Vec<u8>,
}

impl Exchange {
    /// What is wrong with an input that belongs to this exchange: they come in the order of the contract's grammar.
    fn misuse(&self, input: &Input<'_>) -> Option<&'static str> {
        let head = self.head.as_ref();
        let is_range = self.is_range && head.is_some_and(ReplyHead::is_success);
        match input {
            Input::Head { id, .. } if *id == self.id => head.map(|_| "a reply has a second head"),
            Input::Body { id, .. } | Input::End { id } | Input::RangeEnd { id, .. } if *id == self.id => {
                match (head, is_range, matches!(input, Input::RangeEnd { .. })) {
                    (None, ..) => Some("a reply's body comes before its head"),
                    (_, true, false) => Some("the body of a range is collected"),
                    (_, false, true) => Some("a body that has to be collected ends as a range"),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The time in a reply's `Date`, unless a cache answered.
    fn date(head: &ReplyHead) -> Option<i64> {
        head.header("date").filter(|_| head.header("age").is_none()).and_then(parse_http_date)
    }

    /// How far a time that the store wrote in reply to this request is from the request's date, in milliseconds; 0 if it
    /// may have been written between the request and `now`.
    fn skew(&self, written_ms: i64, now: Now) -> i64 {
        // Both dates have whole seconds.
        let earliest = self.signed_ms.saturating_sub(2_000);
        let travelled = now.mono_ms.saturating_sub(self.sent.mono_ms) as i64;
        let latest = self.signed_ms.saturating_add(travelled).saturating_add(2_000);
        written_ms.saturating_sub(earliest).min(0) + written_ms.saturating_sub(latest).max(0)
    }

    /// Whether a `Date` may be that of the store's clock. A proxy may write one of its own; then a store that has accepted
    /// the request shows that its clock is another.
    fn is_plausible(&self, session: &Session, now: Now, head: &ReplyHead, date: i64) -> bool {
        let account = session.account();
        let may_be_skewed = matches!(head.status, 400 | 401 | 403);
        let is_near = self.skew(date, now).abs() <= account.profile().max_request_age_ms;
        !account.doubts_dates() && (may_be_skewed || is_near) || is_active(Mutation::BelieveProxyDate)
    }

    /// Refuses a compressed reply. No object of a vault has a `Content-Encoding`, and none was accepted in the request.
    fn check_encoding(&self, head: &ReplyHead) -> Result<()> {
        let is_empty = !self.has_body || head.header("content-length") == Some("0");
        let Some(encoding) = encoding(head).filter(|_| !is_empty) else { return Ok(()) };
        let why = format!(
            "the reply has Content-Encoding {encoding}, which the request does not accept: {} compresses replies",
            forwarder(head)
        );
        Err(Error::new(Code::BadReply, why).with_hint(COMPRESSED))
    }

    /// The error of a reply that cannot be parsed.
    fn unreadable(&self, operation: &'static str, session: &Session, e: Error) -> Refusal {
        // Truncated XML may arrive complete at the next attempt; another document, or a proxy's page, will not change.
        let is_complete = is_html(&self.body) || self.body.trim_ascii_end().ends_with(b">");
        let is_truncated = e.code() == Code::BadReply && !is_complete;
        let e = self.describe(operation, session, e);
        if is_truncated { e.retryable().into() } else { e.into() }
    }

    /// Adds the request to the error of a reply, and an excerpt of the body if it is not a reply of S3.
    fn describe(&self, operation: &'static str, session: &Session, e: Error) -> Error {
        let Exchange { head: Some(head), body, place, .. } = self else { return e };
        let (bucket, key, id) = (session.bucket.name(), place.key(), head.header("x-amz-request-id").unwrap_or(""));
        let mut e = e.on(operation, bucket, key).with_reply(head.status, "", id);
        if e.code() == Code::BadReply {
            let start =
                if body.is_empty() { String::new() } else { format!("; the body starts with {}", excerpt(body)) };
            e = e.context(format_args!("{operation} on {} was answered with {}", describe(bucket, place), head.status));
            e = e.append(&start);
        } else {
            e = e.context(format_args!("{operation} on {}", describe(bucket, place)));
        }
        e
    }

    /// The error of an attempt that failed before its reply was complete.
    fn failed(&self, operation: &'static str, session: &Session, failure: &TransportFailure) -> Error {
        let place = &self.place;
        let message = format!("{operation} on {}: {}", describe(session.bucket.name(), place), failure.detail);
        let e = Error::new(failure.code, message)
            .on(operation, session.bucket.name(), place.key())
            .maybe_sent(failure.maybe_sent);
        match failure.code {
            Code::Resolve if session.bucket.is_in_host_name() => e.with_hint(
                "If the store does not support virtual hosts, set path_style = true, since this host name includes the bucket. Otherwise check api_url and this machine's DNS.",
            ),
            _ => e,
        }
    }
}

/// The hint for a reply that was compressed on its way.
pub(super) const COMPRESSED: &str = "Switch compression off for this store in the proxy, CDN or store (in nginx: gzip off), or set api_url to an address that reaches the store without it.";

/// Signs the request of an attempt. Compiled once for all operations.
fn sign(
    operation: &'static str,
    unsigned: Unsigned,
    dated: Option<i64>,
    session: &Session,
    now: Now,
    id: RequestId,
) -> Result<(Request, Exchange)> {
    let bucket = &session.bucket;
    let has_key = unsigned.headers.iter().any(|(_, value)| value.is_secret());
    if has_key {
        customer_key::check_channel(operation, bucket, unsigned.place.key())?;
    }
    let query = encode_query(unsigned.query.iter().map(|(name, value)| (*name, value.as_str())));
    let endpoint = bucket.endpoint();
    let target = match &unsigned.place {
        Place::Service => endpoint.service_target(&query),
        Place::Bucket => endpoint.target(bucket.name(), None, &query),
        Place::Object(key) => endpoint.target(bucket.name(), Some(key), &query),
    };
    let payload = match &unsigned.body {
        Body::Empty => Payload::Bytes(b""),
        Body::Bytes(bytes) => Payload::Bytes(bytes),
        Body::Part(part) if part.digest.is_none() => Payload::UnsignedTrailer,
        Body::Part(_) => Payload::Unsigned,
    };
    let mut headers = unsigned.headers;
    let (generation, signed_ms) = {
        let given: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), &**value)).collect();
        let (method, host, path) = (unsigned.method, &target.host, &target.path);
        let to_sign = ToSign { method, host, path, query: &query, headers: &given, payload };
        let dated = dated.filter(|_| !is_active(Mutation::RedateRetry));
        let signed_at = dated.unwrap_or_else(|| session.clock(now));
        let (signed, generation) = bucket.sign(&to_sign, has_key, signed_at);
        headers.extend(signed);
        // Not signed: some proxies change it.
        headers.push(("accept-encoding".to_owned(), "identity".into()));
        (generation, signed_at)
    };
    let drop_at = dated.map(|dated| {
        let left =
            dated.saturating_add(bucket.account().profile().max_request_age_ms).saturating_sub(session.clock(now));
        now.mono_ms.saturating_add(left.max(0) as u64)
    });
    let exchange = Exchange {
        id,
        sent: now,
        last_byte_at: None,
        late_at: None,
        generation,
        signed_ms,
        has_body: unsigned.method != Method::Head,
        place: unsigned.place,
        endpoint,
        is_range: matches!(unsigned.reply, ReplyBody::Range(_)),
        has_key,
        head: None,
        body: Vec::new(),
    };
    let request = Request {
        id,
        operation,
        method: unsigned.method,
        url: target.url,
        headers,
        body: unsigned.body,
        reply: unsigned.reply,
        is_data: unsigned.is_data,
        drop_at,
    };
    Ok((request, exchange))
}

/// The methods of a call that do not depend on its operation: a machine polls or abandons the call of its state with
/// them.
pub(crate) trait Calling {
    /// What the call needs next.
    fn poll(&mut self, session: &mut Session, now: Now) -> Next;

    /// Abandons the call; the connection of a request in progress is dropped.
    fn abandon(&mut self, session: &mut Session);
}

/// What asks the store, and ends with an answer: a call, or several that belong together.
pub(crate) trait Asking: Calling {
    /// What it ends with.
    type Answer;

    /// Handles an input. Returns the answer, once.
    fn handle(&mut self, session: &mut Session, now: Now, input: &Input<'_>) -> Option<Self::Answer>;
}

impl<O: Operation> Asking for Call<O> {
    type Answer = Result<O::Reply>;

    fn handle(&mut self, session: &mut Session, now: Now, input: &Input<'_>) -> Option<Result<O::Reply>> {
        Call::handle(self, session, now, input)
    }
}

/// An operation in progress.
pub(crate) struct Call<O> {
    op: O,
    /// For a *dated* request, the date that every attempt is signed with. Stores refuse a request whose date is too old,
    /// so such a request cannot take effect long after the check that it relies on.
    dated: Option<i64>,
    attempts: u32,
    /// Monotonic time of the first attempt.
    started: u64,
    state: State,
    /// Whether another region was learned from a refusal; this happens once per call.
    region_learned: bool,
    /// How often the store's clock was learned from a refusal.
    skews: u32,
    /// Whether a date by this machine's own clock was refused.
    own_clock_refused: bool,
    renewals: u32,
    /// Number of attempts that were replaced because their reply was late.
    hedges: u32,
    /// Generation of the expiring credentials for which new ones were requested.
    ending_asked: Option<u64>,
    /// `Date` of the last reply, in Unix milliseconds.
    date_ms: Option<i64>,
    /// The store's clock just before the last attempt was sent, in Unix milliseconds.
    sent_ms: i64,
    /// Whether an earlier attempt may have taken effect.
    maybe_done: bool,
    /// A refusal that may be about the customer key or about permissions: a request without the key tells.
    doubted: Option<Error>,
}

/// How often one operation is repeated with another clock: clocks may be set while it runs.
const MAX_SKEWS: u32 = 4;
/// Clocks that differ by less than this are the same, in milliseconds: no store refuses such a difference.
const SAME_CLOCK_MS: i64 = 60_000;

/// How often one operation asks for new credentials; after that, none of them work.
const MAX_RENEWALS: u32 = 3;

impl<O: Operation> Calling for Call<O> {
    fn poll(&mut self, session: &mut Session, now: Now) -> Next {
        if let State::AwaitingKeys { generation, asked, .. } = &mut self.state {
            if session.account().generation() > *generation {
                self.state = State::Due(0);
            } else if !std::mem::replace(asked, true) {
                return Next::NeedCredentials(*generation);
            }
        }
        match self.state {
            State::Due(at) if at <= now.mono_ms => {}
            State::Due(at) => return Next::Wait(Some(at)),
            State::Sent(Exchange { late_at: Some(at), .. }) if at <= now.mono_ms => {
                return Next::Wait(self.hedge(session, now));
            }
            State::Sent(Exchange { late_at, .. }) => return Next::Wait(late_at),
            State::AwaitingKeys { .. } | State::Over => return Next::Wait(None),
        }
        if let Some((generation, have_ended)) = session.account().expiring_credentials(session.clock(now))
            && self.ending_asked != Some(generation)
        {
            let why = Error::new(Code::AccessDenied, format!("{}: the temporary credentials have expired", O::NAME))
                .with_hint(super::refusal::RENEW);
            self.ending_asked = Some(generation);
            self.state = State::AwaitingKeys { generation, why, asked: true, still_good: !have_ended };
            return Next::NeedCredentials(generation);
        }
        if self.attempts == 0 {
            self.started = now.mono_ms;
        }
        self.attempts += 1;
        session.next_id += 1;
        self.sent_ms = session.clock(now);
        match self.sign(session, now, RequestId(session.next_id)) {
            Ok(request) => Next::Send(request),
            Err(e) => {
                session.misused(e);
                self.state = State::Over;
                // At once: then the machine ends with the error.
                Next::Wait(Some(now.mono_ms))
            }
        }
    }

    fn abandon(&mut self, session: &mut Session) {
        if let State::Sent(exchange) = std::mem::replace(&mut self.state, State::Over) {
            session.abandoned.push(exchange.id);
        }
    }
}

impl<O: Operation> Call<O> {
    pub(crate) fn new(op: O) -> Call<O> {
        Call {
            op,
            dated: None,
            attempts: 0,
            started: 0,
            state: State::Due(0),
            region_learned: false,
            skews: 0,
            own_clock_refused: false,
            renewals: 0,
            hedges: 0,
            ending_asked: None,
            date_ms: None,
            sent_ms: 0,
            maybe_done: false,
            doubted: None,
        }
    }

    /// A dated request: every attempt is signed with the date `unix_ms`.
    pub(crate) fn dated(op: O, unix_ms: i64) -> Call<O> {
        Call { dated: Some(unix_ms), ..Call::new(op) }
    }

    pub(crate) fn op(&self) -> &O {
        &self.op
    }

    /// Resets the count of attempts, since the attempt in progress has received data.
    fn restart_attempts(&mut self, now: Now) {
        self.attempts = 1;
        self.started = now.mono_ms;
    }

    /// `Date` of the last reply, in Unix milliseconds.
    pub(crate) fn date_ms(&self) -> Option<i64> {
        self.date_ms
    }

    /// The store's clock just before the last attempt was sent, in Unix milliseconds: the `Date` of its reply minus the
    /// time since it was sent.
    pub(crate) fn sent_ms(&self) -> i64 {
        self.sent_ms
    }

    /// Whether an earlier attempt had no definite answer, so that it may have taken effect.
    pub(crate) fn maybe_done(&self) -> bool {
        self.maybe_done
    }

    /// Whether this request is the attempt in progress.
    pub(crate) fn is_sending(&self, id: RequestId) -> bool {
        matches!(&self.state, State::Sent(exchange) if exchange.id == id)
    }

    /// Restarts the call, with a fresh count of attempts.
    pub(crate) fn restart(&mut self) {
        self.attempts = 0;
        self.state = State::Due(0);
    }

    /// Hedges a late reply: abandons the attempt, which does not count as failed, and makes another due at once. If all
    /// calls together have hedged often enough, this one keeps waiting.
    fn hedge(&mut self, session: &mut Session, now: Now) -> Option<u64> {
        let State::Sent(exchange) = &mut self.state else { return None };
        if !session.account().first_bytes().take_hedge() {
            exchange.late_at = None;
            return None;
        }
        session.abandoned.push(exchange.id);
        self.hedges += 1;
        self.attempts = self.attempts.saturating_sub(1);
        self.maybe_done = true;
        self.state = State::Due(now.mono_ms);
        // At once, but after the driver was told to abandon the other.
        Some(now.mono_ms)
    }

    /// The last byte of the attempt was sent: the wait for the store's reply starts.
    fn last_byte_sent(&mut self, session: &Session, now: Now) {
        let State::Sent(exchange) = &mut self.state else { return };
        if !O::PAYLOAD || self.dated.is_some() || exchange.head.is_some() || exchange.last_byte_at.is_some() {
            return;
        }
        exchange.last_byte_at = Some(now.mono_ms);
        let mut first_bytes = session.account().first_bytes();
        if self.attempts == 1 && self.hedges == 0 {
            first_bytes.started();
        }
        exchange.late_at = first_bytes.limit_ms(self.hedges).map(|limit| now.mono_ms.saturating_add(limit));
    }

    fn sign(&mut self, session: &Session, now: Now, id: RequestId) -> Result<Request> {
        let unsigned = match self.doubted {
            None => self.op.request(),
            Some(_) => customer_key::without_key(self.op.request()),
        };
        let (request, exchange) = sign(O::NAME, unsigned, self.dated, session, now, id)?;
        self.state = State::Sent(exchange);
        Ok(request)
    }

    /// Handles an input if it belongs to this call. Returns the result once the call is over.
    pub(crate) fn handle(&mut self, session: &mut Session, now: Now, input: &Input<'_>) -> Option<Result<O::Reply>> {
        match (&self.state, input) {
            (State::AwaitingKeys { why, .. }, Input::CredentialsRenewed)
                if is_active(Mutation::IgnoreNewCredentials) =>
            {
                let why = why.clone();
                self.state = State::Over;
                return Some(Err(why));
            }
            (State::AwaitingKeys { .. }, Input::CredentialsRenewed)
            | (State::AwaitingKeys { still_good: true, .. }, Input::CredentialsKept(_)) => {
                self.state = State::Due(0);
                return None;
            }
            (State::AwaitingKeys { .. }, Input::CredentialsKept(reason)) => {
                let State::AwaitingKeys { why, .. } = std::mem::replace(&mut self.state, State::Over) else {
                    return None;
                };
                return Some(Err(match reason {
                    Some(reason) => why.and_then_failed("getting new ones", reason),
                    None => why,
                }));
            }
            _ => {}
        }
        if let Input::Sent { id } = input
            && self.is_sending(*id)
        {
            self.last_byte_sent(session, now);
            return None;
        }
        if let Input::RangeProgress { id, length } = input
            && self.is_sending(*id)
        {
            if self.op.progressed(*length) {
                self.restart_attempts(now);
            }
            return None;
        }
        let State::Sent(exchange) = &mut self.state else { return None };
        if let Some(why) = exchange.misuse(input) {
            session.misused(misuse(format!("{}: {why}", O::NAME)));
            return None;
        }
        let outcome = match input {
            Input::Head { id, head } if *id == exchange.id => {
                match Exchange::date(head) {
                    Some(date) if exchange.is_plausible(session, now, head, date) => {
                        session.account().learn_date(date, exchange.sent, now);
                        self.date_ms = Some(date);
                        self.sent_ms = date.saturating_sub(now.mono_ms.saturating_sub(exchange.sent.mono_ms) as i64);
                    }
                    _ => self.date_ms = Some(session.clock(now)).filter(|_| head.header("date").is_some()),
                }
                session.account().learn_profile(head);
                exchange.late_at = None;
                if let Some(last_byte_at) = exchange.last_byte_at
                    && head.is_success()
                {
                    session.account().first_bytes().answered(now.mono_ms.saturating_sub(last_byte_at));
                }
                let checked = match head.is_success() && self.doubted.is_none() {
                    true => exchange.check_encoding(head).and_then(|()| self.op.check_head(head)),
                    false => Ok(()),
                };
                exchange.head = Some(head.clone());
                match checked {
                    Ok(()) => return None,
                    Err(e) => {
                        session.abandoned.push(exchange.id);
                        Err(exchange.describe(O::NAME, session, e).into())
                    }
                }
            }
            Input::Body { id, bytes } if *id == exchange.id => {
                exchange.body.extend_from_slice(bytes);
                return None;
            }
            Input::End { id } if *id == exchange.id => self.read(session, None),
            Input::RangeEnd { id, length, digest } if *id == exchange.id => {
                self.read(session, Some((*length, *digest)))
            }
            Input::Failed { id, failure } if *id == exchange.id => {
                Err(exchange.failed(O::NAME, session, failure).into())
            }
            _ => return None,
        };
        self.conclude(session, now, outcome)
    }

    fn read(&mut self, session: &Session, range: Option<(u64, Digest)>) -> Result<O::Reply, Refusal> {
        let early = || Error::new(Code::Internal, "a reply ended before its head arrived").into();
        let State::Sent(exchange) = &mut self.state else { return Err(early()) };
        let Exchange { head: Some(head), body, place, has_key, .. } = &mut *exchange else { return Err(early()) };
        if let Some(verdict) = self.doubted.as_ref().and_then(|refusal| customer_key::verdict(head.status, refusal)) {
            return Err(verdict.into());
        }
        if !head.is_success() || is_error(body) {
            return Err(refusal(&self.op, &session.bucket, place, head, body, *has_key));
        }
        let mut reply = Reply { head, body: std::mem::take(body), range };
        let parsed = self.op.parse(&mut reply);
        *body = reply.body;
        parsed.map_err(|e| exchange.unreadable(O::NAME, session, e))
    }

    /// Ends the call, or prepares it for another attempt.
    fn conclude(
        &mut self,
        session: &mut Session,
        now: Now,
        outcome: Result<O::Reply, Refusal>,
    ) -> Option<Result<O::Reply>> {
        let refusal = match outcome {
            Ok(reply) => {
                session.answers(now);
                self.state = State::Over;
                return Some(Ok(reply));
            }
            Err(refusal) => refusal,
        };
        let e = self.mark_expired(session, now, refusal.error);
        session.slow_downs += u64::from(retry::is_slow_down(e.status()));
        let outage = retry::is_outage(&e);
        if !outage && e.family() == Family::Remote && e.code() != Code::BadReply {
            session.answers(now);
        }
        // A 5xx, or a reply that is not S3's, may come from a proxy in front of a store that executed the request. A store
        // that asks to slow down has not executed it.
        let is_server_error = e.status() >= 500
            && !matches!(e.s3_code(), "SlowDown" | "NotImplemented")
            && !is_active(Mutation::BelieveServerError);
        let may_be_done = e.is_maybe_sent()
            || is_server_error
            || e.code() == Code::BadReply
            || e.code() == Code::Connect && is_active(Mutation::DoubtUnsentRequest);
        self.maybe_done |= may_be_done;
        let State::Sent(Exchange { generation, endpoint, has_key, .. }) = &self.state else { return None };
        let generation = *generation;
        let is_denied = e.code() == Code::AccessDenied && e.status() == 403 && !refusal.about_keys;
        if *has_key && is_denied && customer_key::is_read(O::NAME) && self.doubted.is_none() {
            self.doubted = Some(e);
            self.attempts = 0;
            self.state = State::Due(0);
            return None;
        }
        if let Some(region) = &refusal.region
            && !std::mem::replace(&mut self.region_learned, true)
            // Another call may have learned it while this one was in progress.
            && (session.bucket.learn_region(region) || *endpoint != session.bucket.endpoint())
        {
            self.state = State::Due(0);
            return None;
        }
        let mut e = match e.code() == Code::ClockSkew && self.dated.is_none() {
            false => e,
            true if self.learn_clock(session, now, refusal.server_ms) => {
                self.state = State::Due(0);
                return None;
            }
            true => self.explain_skew(now, e),
        };
        if refusal.about_keys && self.renewals < MAX_RENEWALS {
            self.renewals += 1;
            self.state = State::AwaitingKeys { generation, why: e, asked: false, still_good: false };
            return None;
        }
        if let Some(used) = self.op.integrity()
            && session.may_send_less(used, &e)
        {
            self.state = State::Over;
            return Some(Err(e));
        }
        let may_repeat = self.op.is_repeatable() || !may_be_done;
        let failure = retry::Failure {
            error: &e,
            attempts: self.attempts,
            elapsed_ms: now.mono_ms.saturating_sub(self.started),
            retry_after_ms: refusal.retry_after.and_then(|text| retry::retry_after_ms(&text, session.clock(now))),
            answered: session.account().has_answered(),
            retry_time_ms: session.retry_time_ms(),
        };
        if may_repeat && let Some(delay) = retry::delay_ms(failure, &mut session.random) {
            let delay = delay.max(session.account().take_retry(now));
            let ends = self.dated.map(|dated| dated.saturating_add(session.account().profile().max_request_age_ms));
            if ends.is_none_or(|end| session.clock(now).saturating_add(delay as i64) < end) {
                if outage {
                    session.is_away(now, delay, &e);
                }
                self.state = State::Due(now.mono_ms.saturating_add(delay));
                return None;
            }
            // With a date of its own, another attempt could still succeed.
            e = e.expired();
        }
        self.state = State::Over;
        if let Some(refusal) = self.doubted.take().filter(|_| e.code() != Code::WrongKey) {
            return Some(Err(refusal));
        }
        let tried = match (self.attempts, now.mono_ms.saturating_sub(self.started) / 1000) {
            (..=1, _) => String::new(),
            (attempts, 0) => format!(" (tried {attempts} times)"),
            (attempts, seconds) => format!(" (tried {attempts} times in {seconds} s)"),
        };
        Some(Err(e.append(&tried)))
    }

    /// After a refusal because of the request's date: learns another clock to sign with. Returns whether there is one.
    fn learn_clock(&mut self, session: &Session, now: Now, server_ms: Option<i64>) -> bool {
        let State::Sent(exchange @ Exchange { head: Some(head), .. }) = &self.state else { return false };
        let is_other = |written_ms: i64| exchange.skew(written_ms, now).abs() > SAME_CLOCK_MS;
        let account = session.account();
        self.own_clock_refused |= (exchange.signed_ms - exchange.sent.unix_ms).abs() <= SAME_CLOCK_MS;
        self.skews += 1;
        if self.skews > MAX_SKEWS {
            return false;
        }
        let date = Exchange::date(head);
        if let Some(server_ms) = server_ms.filter(|written_ms| is_other(*written_ms)) {
            // The store's own word; a Date that differs is a proxy's.
            if date.is_some_and(|date| (date - server_ms).abs() > SAME_CLOCK_MS) {
                account.doubt_dates();
            }
            account.learn_date(server_ms, exchange.sent, now);
        } else if let Some(date) = date.filter(|written_ms| is_other(*written_ms)) {
            account.learn_date(date, exchange.sent, now);
        } else if !self.own_clock_refused && !is_active(Mutation::BelieveProxyDate) {
            // The clock that was learned from Date is not the store's.
            account.use_own_clock();
        } else {
            return false;
        }
        true
    }

    /// Adds to a refusal because of the date which clocks were tried, and which of them to set.
    fn explain_skew(&self, now: Now, e: Error) -> Error {
        let State::Sent(Exchange { head: Some(head), sent, .. }) = &self.state else { return e };
        let Some(date) = Exchange::date(head) else { return e };
        let own_ms = sent.unix_ms.saturating_add(now.mono_ms.saturating_sub(sent.mono_ms) as i64);
        let (apart, writer) = ((date - own_ms + 500).div_euclid(1000), forwarder(head));
        let tried = if self.skews > 1 { " (this machine's clock and that of the replies were tried)" } else { "" };
        let e = e.append(tried);
        if apart.abs() * 1000 <= SAME_CLOCK_MS {
            return e.with_hint(format!(
                "Set the store's clock (NTP), since this machine's agrees with the Date of the replies. If {writer} wrote that Date, check this machine's clock too."
            ));
        }
        let direction = if apart > 0 { "ahead of" } else { "behind" };
        e.with_hint(format!(
            "Set this machine's clock (NTP). The Date of the replies is {} s {direction} it; if {writer} wrote that Date, check its clock and that of the store.",
            apart.abs()
        ))
    }

    /// Marks the error of a dated request as expired if the store refused its date, or the date is too old for a retry.
    fn mark_expired(&self, session: &Session, now: Now, e: Error) -> Error {
        let Some(dated) = self.dated else { return e };
        let passed = session.clock(now) >= dated.saturating_add(session.account().profile().max_request_age_ms);
        let undecided = retry::may_help(&e);
        // Clock skew from the start is an error of its own: a date expires only by ageing.
        let aged = e.code() == Code::ClockSkew && session.clock(now).saturating_sub(dated).abs() > 60_000;
        if aged || passed && undecided { e.expired() } else { e }
    }
}
