//! One operation until it has answered or failed: attempts, signatures, retries.
//!
//! ```text
//!          ┌──── the region, the clock or new keys were learned; a retry may help ────┐
//!          ▼                                                                          │
//!  Due ──▶ Sent ──▶ answered, refused, no whole reply ──▶ Over                        │
//!          │                                                                          │
//!          ├─ payload is sent, and the reply's head is late ──▶ Due (first_byte.rs) ──────┘
//!          └─ keys refused or expired ──▶ Keyless ──renewed───────────────────────────┘
//!                                          └──kept──▶ Over
//! ```

use std::sync::Arc;

use super::refusal::{Refusal, describe, excerpt, is_error, is_html, refusal};
use super::{Operation, Place, Reply};
use crate::checksum::Digest;
use crate::endpoint::Endpoint;
use crate::error::{Code, Error, Result};
use crate::http::{Body, ReplyHead, Request, RequestId, TransportFailure};
use crate::journal::Journal;
use crate::machine::{Input, Output};
use crate::mutation::{Mutation, is_active};
use crate::retry;
use crate::sigv4::{Payload, ToSign};
use crate::store::Store;
use crate::time::{Now, parse_http_date};
use crate::uri::encode_query;

/// What all calls of one machine share.
pub(crate) struct Session {
    pub(crate) store: Arc<Store>,
    random: fastrand::Rng,
    next_id: u64,
    /// Requests whose connections are to be dropped.
    abandoned: Vec<RequestId>,
    /// Where the machine has a checkpoint.
    pub(crate) journal: Option<Journal>,
    /// Counts the replies that asked to slow down.
    slow_downs: u64,
}

impl Session {
    /// `seed` drives the jitter of retries.
    pub(crate) fn new(store: &Arc<Store>, seed: u64) -> Session {
        Session {
            store: store.clone(),
            random: fastrand::Rng::with_seed(seed),
            next_id: 0,
            abandoned: Vec::new(),
            journal: None,
            slow_downs: 0,
        }
    }

    /// The next request to drop, for [`Output::Abandon`](crate::Output::Abandon).
    pub(crate) fn abandoned(&mut self) -> Option<RequestId> {
        self.abandoned.pop()
    }

    /// Has a step saved, where there is a checkpoint.
    pub(crate) fn save<R: Into<Vec<u8>>>(&mut self, record: impl FnOnce() -> R) {
        if let Some(journal) = &mut self.journal {
            journal.add(record(), false);
        }
    }

    /// Whether all steps are on disk.
    pub(crate) fn is_saved(&self) -> bool {
        self.journal.as_ref().is_none_or(Journal::is_saved) || is_active(Mutation::SendBeforeSaved)
    }

    /// How often the store asked to slow down, in all calls.
    pub(crate) fn slow_downs(&self) -> u64 {
        self.slow_downs
    }

    /// The store's time now.
    pub(crate) fn clock(&self, now: Now) -> i64 {
        self.store.clock().at(now)
    }
}

/// What a call wants.
#[allow(clippy::large_enum_variant)] // Nothing keeps one: what is to be sent goes straight on to the driver.
pub(crate) enum Next {
    /// To be sent.
    Send(Request),
    /// The keys of this generation were refused or have expired: others are needed.
    NeedCredentials(u64),
    /// To be polled again at this monotonic time, if nothing happens before.
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
    /// To be sent at this monotonic time.
    Due(u64),
    Sent(Exchange),
    Keyless {
        generation: u64,
        /// The error if there are no others.
        why: Error,
        /// The driver was asked.
        asked: bool,
        /// They end soon, but were not refused: without others these will do.
        still_good: bool,
    },
    /// Answered, or failed for good.
    Over,
}

struct Exchange {
    id: RequestId,
    sent: Now,
    /// Monotonic time at which all of it was on its way.
    whole_at: Option<u64>,
    /// Monotonic time from which on its reply's head is late.
    late_at: Option<u64>,
    /// Of the keys that it was signed with.
    generation: u64,
    place: Place,
    /// Where it was sent.
    endpoint: Arc<Endpoint>,
    head: Option<ReplyHead>,
    body: Vec<u8>,
}

/// What can be done with a call whatever its operation is: machines poll and give up the call of their state so.
pub(crate) trait Calling {
    /// What to do next.
    fn poll(&mut self, session: &mut Session, now: Now) -> Next;

    /// Gives the call up; the connection of a request that is under way is dropped.
    fn abandon(&mut self, session: &mut Session);
}

/// An operation on its way.
pub(crate) struct Call<O> {
    op: O,
    /// The date that every attempt is signed with, for a *dated* request (DESIGN §3).
    dated: Option<i64>,
    attempts: u32,
    /// Monotonic time of the first attempt.
    began: u64,
    state: State,
    /// What was learned from refusals, each once: another region, the store's clock.
    region_learned: bool,
    clock_learned: bool,
    renewals: u32,
    /// How often an attempt was not waited for, since its reply was late.
    hedges: u32,
    /// The generation of keys that others were asked for since they end.
    ending_asked: Option<u64>,
    /// `Date` of the last reply, in Unix milliseconds.
    date_ms: Option<i64>,
    /// The store's clock before that attempt was sent.
    sent_ms: i64,
    /// Whether an earlier attempt may have taken effect.
    maybe_done: bool,
}

/// Keys are renewed so often for one operation: whoever renews has none that work.
const RENEWALS: u32 = 3;

impl<O: Operation> Calling for Call<O> {
    fn poll(&mut self, session: &mut Session, now: Now) -> Next {
        if let State::Keyless { generation, asked, .. } = &mut self.state {
            if session.store.generation() > *generation {
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
            State::Keyless { .. } | State::Over => return Next::Wait(None),
        }
        if let Some((generation, have_ended)) = session.store.ending_keys(session.clock(now))
            && self.ending_asked != Some(generation)
        {
            let why = Error::new(Code::AccessDenied, format!("{}: the temporary keys have expired", O::NAME))
                .with_hint(super::refusal::RENEW);
            self.ending_asked = Some(generation);
            self.state = State::Keyless { generation, why, asked: true, still_good: !have_ended };
            return Next::NeedCredentials(generation);
        }
        if self.attempts == 0 {
            self.began = now.mono_ms;
        }
        self.attempts += 1;
        session.next_id += 1;
        self.sent_ms = session.clock(now);
        Next::Send(self.sign(session, now, RequestId(session.next_id)))
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
            began: 0,
            state: State::Due(0),
            region_learned: false,
            clock_learned: false,
            renewals: 0,
            hedges: 0,
            ending_asked: None,
            date_ms: None,
            sent_ms: 0,
            maybe_done: false,
        }
    }

    /// Signed at `unix_ms` at every attempt, never dated anew.
    pub(crate) fn dated(op: O, unix_ms: i64) -> Call<O> {
        Call { dated: Some(unix_ms), ..Call::new(op) }
    }

    pub(crate) fn op(&self) -> &O {
        &self.op
    }

    /// For an operation that asks for less at its next attempt.
    pub(crate) fn op_mut(&mut self) -> &mut O {
        &mut self.op
    }

    /// The attempt under way has brought something: the ones before it count no more.
    pub(crate) fn progressed(&mut self, now: Now) {
        self.attempts = 1;
        self.began = now.mono_ms;
    }

    /// `Date` of the last reply.
    pub(crate) fn date_ms(&self) -> Option<i64> {
        self.date_ms
    }

    /// The store's clock before the last attempt was sent: the `Date` of its reply less the time since.
    pub(crate) fn sent_ms(&self) -> i64 {
        self.sent_ms
    }

    /// Whether an attempt had no definite answer, so that it may have taken effect.
    pub(crate) fn maybe_done(&self) -> bool {
        self.maybe_done
    }

    /// Whether this request is the attempt under way.
    pub(crate) fn is_sending(&self, id: RequestId) -> bool {
        matches!(&self.state, State::Sent(exchange) if exchange.id == id)
    }

    /// Begins again, with all attempts.
    pub(crate) fn again(&mut self) {
        self.attempts = 0;
        self.state = State::Due(0);
    }

    /// The reply is late: drops the attempt, which does not count as one that failed, for another that is due at once.
    /// Where all calls together have done so often enough, this one waits.
    fn hedge(&mut self, session: &mut Session, now: Now) -> Option<u64> {
        let State::Sent(exchange) = &mut self.state else { return None };
        if !session.store.first_bytes().take_hedge() {
            exchange.late_at = None;
            return None;
        }
        session.abandoned.push(exchange.id);
        self.hedges += 1;
        self.attempts = self.attempts.saturating_sub(1);
        self.maybe_done = true;
        self.state = State::Due(now.mono_ms);
        // At once, but after the driver was told to drop the other.
        Some(now.mono_ms)
    }

    /// All of the attempt is on its way: from now on it is the store's turn.
    fn whole(&mut self, session: &Session, now: Now) {
        let State::Sent(exchange) = &mut self.state else { return };
        if !O::PAYLOAD || self.dated.is_some() || exchange.head.is_some() || exchange.whole_at.is_some() {
            return;
        }
        exchange.whole_at = Some(now.mono_ms);
        let mut first_bytes = session.store.first_bytes();
        if self.attempts == 1 && self.hedges == 0 {
            first_bytes.began();
        }
        exchange.late_at = first_bytes.limit_ms(self.hedges).map(|limit| now.mono_ms.saturating_add(limit));
    }

    fn sign(&mut self, session: &mut Session, now: Now, id: RequestId) -> Request {
        let unsigned = self.op.request();
        let store = &session.store;
        let query = encode_query(unsigned.query.iter().map(|(name, value)| (*name, value.as_str())));
        let endpoint = store.endpoint();
        let target = match &unsigned.place {
            Place::Service => endpoint.service_target(&query),
            Place::Bucket => endpoint.target(&store.bucket, None, &query),
            Place::Object(key) => endpoint.target(&store.bucket, Some(key), &query),
        };
        let payload = match &unsigned.body {
            Body::Empty => Payload::Bytes(b""),
            Body::Bytes(bytes) => Payload::Bytes(bytes),
            Body::Part(part) if part.digest.is_none() => Payload::UnsignedTrailer,
            Body::Part(_) => Payload::Unsigned,
        };
        let mut headers = unsigned.headers;
        let generation = {
            let given: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
            let (method, host, path) = (unsigned.method, &target.host, &target.path);
            let to_sign = ToSign { method, host, path, query: &query, headers: &given, payload };
            let dated = self.dated.filter(|_| !is_active(Mutation::RedateRetry));
            let signed_at = dated.unwrap_or_else(|| session.clock(now));
            let (signed, generation) = store.sign(&to_sign, signed_at);
            headers.extend(signed);
            generation
        };
        let drop_at = self.dated.map(|dated| {
            let left = dated.saturating_add(store.profile.late_ms).saturating_sub(session.clock(now));
            now.mono_ms.saturating_add(left.max(0) as u64)
        });
        self.state = State::Sent(Exchange {
            id,
            sent: now,
            whole_at: None,
            late_at: None,
            generation,
            place: unsigned.place,
            endpoint,
            head: None,
            body: Vec::new(),
        });
        Request {
            id,
            operation: O::NAME,
            method: unsigned.method,
            url: target.url,
            headers,
            body: unsigned.body,
            reply: unsigned.reply,
            drop_at,
        }
    }

    /// Takes what belongs to this call. `None`: not this call's, or not the end of it.
    pub(crate) fn handle(&mut self, session: &mut Session, now: Now, input: &Input<'_>) -> Option<Result<O::Reply>> {
        match (&self.state, input) {
            (State::Keyless { why, .. }, Input::CredentialsRenewed) if is_active(Mutation::IgnoreNewCredentials) => {
                let why = why.clone();
                self.state = State::Over;
                return Some(Err(why));
            }
            (State::Keyless { .. }, Input::CredentialsRenewed)
            | (State::Keyless { still_good: true, .. }, Input::CredentialsKept(_)) => {
                self.state = State::Due(0);
                return None;
            }
            (State::Keyless { .. }, Input::CredentialsKept(reason)) => {
                let State::Keyless { why, .. } = std::mem::replace(&mut self.state, State::Over) else { return None };
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
            self.whole(session, now);
            return None;
        }
        let State::Sent(exchange) = &mut self.state else { return None };
        let outcome = match input {
            Input::Head { id, head } if *id == exchange.id => {
                if let Some(date) = head.header("date").and_then(parse_http_date) {
                    session.store.learn_date(date, exchange.sent, now);
                    self.date_ms = Some(date);
                    self.sent_ms = date.saturating_sub(now.mono_ms.saturating_sub(exchange.sent.mono_ms) as i64);
                }
                exchange.late_at = None;
                if let Some(whole_at) = exchange.whole_at
                    && head.is_success()
                {
                    session.store.first_bytes().answered(now.mono_ms.saturating_sub(whole_at));
                }
                let admitted = if head.is_success() { self.op.admit(head) } else { Ok(()) };
                exchange.head = Some(head.clone());
                match admitted {
                    Ok(()) => return None,
                    Err(e) => {
                        session.abandoned.push(exchange.id);
                        Err(self.describe(session, e).into())
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
            Input::Failed { id, failure } if *id == exchange.id => Err(self.failed(session, failure).into()),
            _ => return None,
        };
        self.conclude(session, now, outcome)
    }

    fn read(&self, session: &Session, range: Option<(u64, Digest)>) -> Result<O::Reply, Refusal> {
        let State::Sent(Exchange { head: Some(head), body, place, .. }) = &self.state else {
            return Err(Error::new(Code::Internal, "a reply ended before it began").into());
        };
        if !head.is_success() || is_error(body) {
            return Err(refusal(&self.op, &session.store, place, head, body));
        }
        self.op.parse(&Reply { head, body, range }).map_err(|e| {
            // XML that was cut may come whole the next time; another document, or a page of a proxy, stays what it is.
            let is_whole = is_html(body) || body.trim_ascii_end().ends_with(b">");
            let is_cut = e.code() == Code::BadReply && !is_whole;
            let e = self.describe(session, e);
            if is_cut { e.retryable().into() } else { e.into() }
        })
    }

    /// Adds to the error of a reply what it was a reply to, and what stands in it where that is not S3's.
    fn describe(&self, session: &Session, e: Error) -> Error {
        let State::Sent(Exchange { head: Some(head), body, place, .. }) = &self.state else { return e };
        let (bucket, key, id) = (&session.store.bucket, place.key(), head.header("x-amz-request-id").unwrap_or(""));
        let mut e = e.on(O::NAME, bucket, key).with_reply(head.status, "", id);
        if e.code() == Code::BadReply {
            let begin = if body.is_empty() { String::new() } else { format!("; the body begins {}", excerpt(body)) };
            e = e.context(format_args!("{} on {} was answered with {}", O::NAME, describe(bucket, place), head.status));
            e = e.append(&begin);
        } else {
            e = e.context(format_args!("{} on {}", O::NAME, describe(bucket, place)));
        }
        e
    }

    fn failed(&self, session: &Session, failure: &TransportFailure) -> Error {
        let State::Sent(Exchange { place, .. }) = &self.state else {
            return Error::new(failure.code, &*failure.detail);
        };
        let message = format!("{} on {}: {}", O::NAME, describe(&session.store.bucket, place), failure.detail);
        let e = Error::new(failure.code, message)
            .on(O::NAME, &session.store.bucket, place.key())
            .maybe_sent(failure.maybe_sent);
        match failure.code {
            Code::Resolve if session.store.has_bucket_in_host() => e.with_hint(
                "The bucket is part of this host name: if the store has no virtual hosts, set path_style = true. Else check api_url and this machine's DNS.",
            ),
            _ => e,
        }
    }

    /// Ends the call, or sets it up for another attempt.
    fn conclude(
        &mut self,
        session: &mut Session,
        now: Now,
        outcome: Result<O::Reply, Refusal>,
    ) -> Option<Result<O::Reply>> {
        let refusal = match outcome {
            Ok(reply) => {
                self.state = State::Over;
                return Some(Ok(reply));
            }
            Err(refusal) => refusal,
        };
        let e = self.expired(session, now, refusal.error);
        session.slow_downs += u64::from(matches!(e.status(), 429 | 503));
        // A 5xx may come from a proxy in front of a store that did the work, and so may a page that is not S3's.
        // One that asks to slow down has not done it.
        let is_open = e.is_maybe_sent() || e.status() >= 500 && e.s3_code() != "SlowDown" || e.code() == Code::BadReply;
        self.maybe_done |= is_open;
        let State::Sent(Exchange { generation, endpoint, .. }) = &self.state else { return None };
        let generation = *generation;
        if let Some(region) = &refusal.region
            && !std::mem::replace(&mut self.region_learned, true)
            // Another call may have learned it while this one was under way.
            && (session.store.learn_region(region) || *endpoint != session.store.endpoint())
        {
            self.state = State::Due(0);
            return None;
        }
        if e.code() == Code::ClockSkew && self.dated.is_none() && !std::mem::replace(&mut self.clock_learned, true) {
            if let Some(server_ms) = refusal.server_ms {
                session.store.learn_date(server_ms, now, now);
            }
            self.state = State::Due(0);
            return None;
        }
        if refusal.about_keys && self.renewals < RENEWALS {
            self.renewals += 1;
            self.state = State::Keyless { generation, why: e, asked: false, still_good: false };
            return None;
        }
        let may_repeat = O::REPEATABLE || !is_open;
        let failure = retry::Failure {
            error: &e,
            attempts: self.attempts,
            elapsed_ms: now.mono_ms.saturating_sub(self.began),
            retry_after_ms: refusal.retry_after.and_then(|text| retry::retry_after_ms(&text, session.clock(now))),
        };
        if may_repeat && let Some(delay) = retry::delay_ms(failure, &mut session.random) {
            let delay = delay.max(session.store.take_retry(now));
            let ends = self.dated.map(|dated| dated.saturating_add(session.store.profile.late_ms));
            if ends.is_none_or(|end| session.clock(now).saturating_add(delay as i64) < end) {
                self.state = State::Due(now.mono_ms.saturating_add(delay));
                return None;
            }
        }
        self.state = State::Over;
        let tried = if self.attempts > 1 { format!(" (tried {} times)", self.attempts) } else { String::new() };
        Some(Err(e.append(&tried)))
    }

    /// For a dated request, a refused date and a date that has passed mean the same: expired.
    fn expired(&self, session: &Session, now: Now, e: Error) -> Error {
        let Some(dated) = self.dated else { return e };
        let passed = session.clock(now) >= dated.saturating_add(session.store.profile.late_ms);
        let undecided = retry::may_help(&e);
        // A clock that is off from the start is an error of its own; only a date that has aged is expired.
        let aged = e.code() == Code::ClockSkew && session.clock(now).saturating_sub(dated).abs() > 60_000;
        if aged || passed && undecided { e.recode(Code::Expired) } else { e }
    }
}
