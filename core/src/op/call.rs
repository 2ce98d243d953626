//! One operation until it has answered or failed: attempts, signatures, retries.

use std::sync::Arc;

use super::refusal::{excerpt, is_error, place, refusal};
use super::{Operation, Reply};
use crate::checksum::Digest;
use crate::error::{Code, Error, Result};
use crate::http::{Body, ReplyHead, Request, RequestId, TransportFailure};
use crate::machine::{Input, Output};
use crate::retry;
use crate::sigv4::{Payload, Signer, ToSign};
use crate::store::Store;
use crate::time::{Now, parse_http_date};
use crate::uri::encode_query;

/// What all calls of one machine share.
pub(crate) struct Session {
    pub(crate) store: Arc<Store>,
    signer: Signer,
    random: fastrand::Rng,
    next_id: u64,
    /// Requests whose connections are to be dropped.
    abandoned: Vec<RequestId>,
}

impl Session {
    /// `seed` drives the jitter of retries.
    pub(crate) fn new(store: &Arc<Store>, seed: u64) -> Session {
        Session {
            store: store.clone(),
            signer: Signer::new(store.credentials.clone(), &store.region),
            random: fastrand::Rng::with_seed(seed),
            next_id: 0,
            abandoned: Vec::new(),
        }
    }

    /// The next request to drop, for [`Output::Abandon`](crate::Output::Abandon).
    pub(crate) fn abandoned(&mut self) -> Option<RequestId> {
        self.abandoned.pop()
    }

    /// The store's time now.
    pub(crate) fn clock(&self, now: Now) -> i64 {
        self.store.clock().at(now)
    }
}

/// What a call wants.
pub(crate) enum Next {
    /// To be sent.
    Send(Request),
    /// To be polled again at this monotonic time, if nothing happens before.
    Wait(Option<u64>),
}

impl<T> From<Next> for Output<T> {
    fn from(next: Next) -> Output<T> {
        match next {
            Next::Send(request) => Output::Send(request),
            Next::Wait(at) => Output::Wait(at),
        }
    }
}

enum State {
    /// To be sent at this monotonic time.
    Due(u64),
    Sent(Exchange),
    /// Answered, or failed for good.
    Over,
}

struct Exchange {
    id: RequestId,
    sent: Now,
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
    state: State,
    /// `Date` of the last reply, in Unix milliseconds.
    date_ms: Option<i64>,
    /// The store's clock before that attempt was sent.
    sent_ms: i64,
    /// Whether an earlier attempt may have taken effect.
    maybe_done: bool,
}

impl<O: Operation> Calling for Call<O> {
    fn poll(&mut self, session: &mut Session, now: Now) -> Next {
        match self.state {
            State::Due(at) if at <= now.mono_ms => {}
            State::Due(at) => return Next::Wait(Some(at)),
            State::Sent(_) | State::Over => return Next::Wait(None),
        }
        self.attempts += 1;
        session.next_id += 1;
        let id = RequestId(session.next_id);
        self.state = State::Sent(Exchange { id, sent: now, head: None, body: Vec::new() });
        self.sent_ms = session.clock(now);
        Next::Send(self.sign(session, now, id))
    }

    fn abandon(&mut self, session: &mut Session) {
        if let State::Sent(exchange) = std::mem::replace(&mut self.state, State::Over) {
            session.abandoned.push(exchange.id);
        }
    }
}

impl<O: Operation> Call<O> {
    pub(crate) fn new(op: O) -> Call<O> {
        Call { op, dated: None, attempts: 0, state: State::Due(0), date_ms: None, sent_ms: 0, maybe_done: false }
    }

    /// Signed at `unix_ms` at every attempt, never dated anew.
    pub(crate) fn dated(op: O, unix_ms: i64) -> Call<O> {
        Call { dated: Some(unix_ms), ..Call::new(op) }
    }

    pub(crate) fn op(&self) -> &O {
        &self.op
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

    /// Begins again, with all attempts.
    pub(crate) fn again(&mut self) {
        self.attempts = 0;
        self.state = State::Due(0);
    }

    fn sign(&self, session: &mut Session, now: Now, id: RequestId) -> Request {
        let unsigned = self.op.request();
        let store = session.store.clone();
        let query = encode_query(unsigned.query.iter().map(|(name, value)| (*name, value.as_str())));
        let target = store.target(unsigned.key.as_deref(), &query);
        let payload = match &unsigned.body {
            Body::Empty => Payload::Bytes(b""),
            Body::Bytes(bytes) => Payload::Bytes(bytes),
            Body::Part(_) => Payload::Unsigned,
        };
        let mut headers = unsigned.headers;
        let given: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let (method, host, path) = (unsigned.method, &target.host, &target.path);
        let to_sign = ToSign { method, host, path, query: &query, headers: &given, payload };
        let signed_at = self.dated.unwrap_or_else(|| session.clock(now));
        let signed = session.signer.sign(&to_sign, signed_at);
        headers.extend(signed.headers().map(|(name, value)| (name.to_owned(), value.to_owned())));
        let drop_at = self.dated.map(|dated| {
            let left = dated.saturating_add(store.profile.late_ms).saturating_sub(session.clock(now));
            now.mono_ms.saturating_add(left.max(0) as u64)
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
        let State::Sent(exchange) = &mut self.state else { return None };
        let outcome = match input {
            Input::Head { id, head } if *id == exchange.id => {
                if let Some(date) = head.header("date").and_then(parse_http_date) {
                    session.store.learn_date(date, exchange.sent, now);
                    self.date_ms = Some(date);
                    self.sent_ms = date.saturating_sub(now.mono_ms.saturating_sub(exchange.sent.mono_ms) as i64);
                }
                let admitted = if head.is_success() { self.op.admit(head) } else { Ok(()) };
                exchange.head = Some(head.clone());
                match admitted {
                    Ok(()) => return None,
                    Err(e) => {
                        session.abandoned.push(exchange.id);
                        Err(e)
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
            Input::Failed { id, failure } if *id == exchange.id => Err(self.failed(session, failure)),
            _ => return None,
        };
        self.conclude(session, now, outcome)
    }

    fn read(&self, session: &Session, range: Option<(u64, Digest)>) -> Result<O::Reply> {
        let State::Sent(Exchange { head: Some(head), body, .. }) = &self.state else {
            return Err(Error::new(Code::Internal, "a reply ended before it began"));
        };
        let request = self.op.request();
        if !head.is_success() || is_error(body) {
            return Err(refusal(O::NAME, &session.store, &request, head, body));
        }
        let key = request.key.as_deref().unwrap_or("");
        self.op.parse(&Reply { head, body, range }).map_err(|e| {
            let id = head.header("x-amz-request-id").unwrap_or("");
            let e = e.on(O::NAME, &session.store.bucket, key).with_reply(head.status, "", id);
            let e = e.context(format_args!("{} on {}", O::NAME, place(&session.store, key)));
            if body.is_empty() || e.code() != Code::BadReply {
                return e;
            }
            let message = format!("{}; the body begins {}", e.message(), excerpt(body));
            Error::new(Code::BadReply, message).on(O::NAME, &session.store.bucket, key).with_reply(head.status, "", id)
        })
    }

    fn failed(&self, session: &Session, failure: &TransportFailure) -> Error {
        let request = self.op.request();
        let key = request.key.as_deref().unwrap_or("");
        let message = format!("{} on {}: {}", O::NAME, place(&session.store, key), failure.detail);
        Error::new(failure.code, message).on(O::NAME, &session.store.bucket, key).maybe_sent(failure.maybe_sent)
    }

    /// Ends the call, or sets it up for another attempt.
    fn conclude(&mut self, session: &mut Session, now: Now, outcome: Result<O::Reply>) -> Option<Result<O::Reply>> {
        let outcome = outcome.map_err(|e| self.expired(session, now, e));
        if let Err(e) = &outcome {
            // A 5xx may come from a proxy in front of a store that did the work.
            self.maybe_done |= e.is_maybe_sent() || e.status() >= 500;
            let lasts = |at: u64| {
                self.dated.is_none_or(|dated| {
                    let wait = at.saturating_sub(now.mono_ms) as i64;
                    session.store.clock().at(now).saturating_add(wait)
                        < dated.saturating_add(session.store.profile.late_ms)
                })
            };
            if retry::may_help(e)
                && let Some(delay) = retry::delay_ms(self.attempts, &mut session.random)
            {
                let at = now.mono_ms.saturating_add(delay);
                if lasts(at) {
                    self.state = State::Due(at);
                    return None;
                }
            }
        }
        self.state = State::Over;
        Some(outcome)
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
