//! The machine that requests credentials from an endpoint: a container's agent, or the metadata service of an EC2
//! instance.
//!
//! ```text
//! container                       Keys ──▶ done
//! instance    Token ──▶ Role ──▶ RoleKeys ──▶ done
//!               ▲         │ 401     │ 401
//!               └─────────┴─────────┘
//! ```
//!
//! Sources: "Container credential provider", AWS SDKs and Tools reference guide; "Use the Instance Metadata Service"
//! (version 2; version 1, without a token, is never used) and "Retrieve security credentials from instance metadata",
//! Amazon EC2 user guide.
//!
//! Redirects are not followed: the request may carry a token, and its reply is a secret.

use std::fmt;

use zeroize::Zeroizing;

use super::{Credentials, chain, document, endpoint};
use crate::error::{Code, Error, Result};
use crate::http::{Body, HeaderValue, Method, ReplyBody, ReplyHead, Request, RequestId, TransportFailure};
use crate::machine::{Input, Machine, Output};
use crate::retry;
use crate::text::presentable;
use crate::time::Now;

/// Most attempts. These endpoints are on this machine, so few failures are transient.
const ATTEMPTS: u32 = 3;

/// Delay before the second attempt, in milliseconds; it doubles before the third.
const PAUSE_MS: u64 = 250;

/// Time-out of an attempt, in milliseconds. botocore waits one or two seconds for either endpoint.
const ATTEMPT_MS: u64 = 4_000;

/// Time to wait for a connection, in milliseconds. Outside of EC2, nothing answers at the address.
const CONNECT_MS: u64 = 1_000;

/// Size limit of a reply, in bytes. Documents with credentials have about 2 KiB.
const LARGEST_REPLY: usize = 64 * 1024;

/// Lifetime of the metadata service's token, in seconds: the longest that is allowed.
const TOKEN_TTL: &str = "21600";

const ROLES_PATH: &str = "/latest/meta-data/iam/security-credentials/";

enum From {
    Container { url: String, authorization: Option<Zeroizing<String>> },
    Instance { endpoint: String },
}

/// The next request.
enum Step {
    Keys,
    Token,
    Role,
    RoleKeys(String),
}

enum State {
    /// The next request is due at this monotonic time.
    Due(u64),
    Sent(Exchange),
    Over,
}

struct Exchange {
    id: RequestId,
    /// Monotonic time at which it is abandoned.
    end: u64,
    head: Option<ReplyHead>,
    body: Zeroizing<Vec<u8>>,
}

/// The result of a reply.
enum Verdict {
    Next(Step),
    Done(Credentials),
    Failed(Failure),
}

/// Why an attempt failed, and whether a retry may help.
struct Failure {
    why: String,
    passing: bool,
}

impl Failure {
    fn lasting(why: impl Into<String>) -> Failure {
        Failure { why: why.into(), passing: false }
    }
}

/// Requests credentials from an endpoint. A driver runs it on a transport without a proxy, and with
/// [`Fetch::connect_timeout_ms`].
pub struct Fetch {
    from: From,
    /// The sources before this one, and why they have no credentials.
    tried: Vec<String>,
    step: Step,
    token: Option<Zeroizing<String>>,
    attempts: u32,
    next_id: u64,
    state: State,
    abandoned: Option<RequestId>,
    outcome: Option<Result<Credentials>>,
}

impl Fetch {
    /// Requests from a container's agent. The URL was checked, and the token is valid in a header.
    pub(super) fn container(url: String, token: Option<&str>, tried: &[String]) -> Fetch {
        let authorization = token.map(|token| Zeroizing::new(token.to_owned()));
        Fetch::new(From::Container { url, authorization }, Step::Keys, tried)
    }

    /// Requests from the metadata service of an instance.
    pub(super) fn instance(endpoint: String, tried: &[String]) -> Fetch {
        Fetch::new(From::Instance { endpoint }, Step::Token, tried)
    }

    fn new(from: From, step: Step, tried: &[String]) -> Fetch {
        Fetch {
            from,
            tried: tried.to_vec(),
            step,
            token: None,
            attempts: 0,
            next_id: 0,
            state: State::Due(0),
            abandoned: None,
            outcome: None,
        }
    }

    /// How long the driver should wait for a connection, in milliseconds. Shorter than for a store: on a machine that is
    /// no EC2 instance, nobody answers.
    pub fn connect_timeout_ms(&self) -> u64 {
        CONNECT_MS
    }

    fn origin(&self) -> &str {
        match &self.from {
            From::Container { url, .. } => endpoint::origin(url),
            From::Instance { endpoint } => endpoint,
        }
    }

    /// The place, and what is asked of it, for messages. A container's path is as good as a key: it is not shown.
    fn place(&self) -> String {
        match &self.step {
            Step::Keys => format!("the container agent (GET {}/...)", self.origin()),
            Step::Token => format!("the instance metadata service (PUT {}/latest/api/token)", self.origin()),
            Step::Role => format!("the instance metadata service (GET {}{ROLES_PATH})", self.origin()),
            Step::RoleKeys(role) => {
                format!("the instance metadata service (GET {}{ROLES_PATH}{})", self.origin(), presentable(role))
            }
        }
    }

    fn request(&self, id: RequestId) -> Request {
        let mut headers: Vec<(String, HeaderValue)> = vec![("accept".to_owned(), "*/*".into())];
        let (operation, method, url) = match (&self.from, &self.step) {
            (From::Container { url, authorization }, _) => {
                if let Some(token) = authorization {
                    headers.push(("authorization".to_owned(), HeaderValue::Secret(token.clone())));
                }
                ("GetContainerCredentials", Method::Get, url.clone())
            }
            (From::Instance { endpoint }, Step::Token | Step::Keys) => {
                headers.push(("x-aws-ec2-metadata-token-ttl-seconds".to_owned(), TOKEN_TTL.into()));
                ("GetMetadataToken", Method::Put, format!("{endpoint}/latest/api/token"))
            }
            (From::Instance { endpoint }, Step::Role) => {
                ("GetInstanceRole", Method::Get, format!("{endpoint}{ROLES_PATH}"))
            }
            (From::Instance { endpoint }, Step::RoleKeys(role)) => {
                ("GetInstanceCredentials", Method::Get, format!("{endpoint}{ROLES_PATH}{role}"))
            }
        };
        if let Some(token) = &self.token {
            headers.push(("x-aws-ec2-metadata-token".to_owned(), HeaderValue::Secret(token.clone())));
        }
        let reply = ReplyBody::Collect { limit: LARGEST_REPLY };
        Request { id, operation, method, url, headers, body: Body::Empty, reply, is_data: false, drop_at: None }
    }

    /// What a whole answer means.
    fn judge(&self, head: &ReplyHead, body: &[u8]) -> Verdict {
        if head.status != 200 {
            return self.refused(head, body);
        }
        let keys = |read: fn(&[u8]) -> Result<Credentials, String>| match read(body) {
            Ok(keys) => Verdict::Done(keys),
            Err(why) => Verdict::Failed(Failure::lasting(format!("the reply {why}"))),
        };
        match &self.step {
            Step::Keys => keys(document::container),
            Step::RoleKeys(_) => keys(document::instance),
            Step::Token => match std::str::from_utf8(body).map(str::trim) {
                Ok(token) if is_token(token) => Verdict::Next(Step::Role),
                _ => Verdict::Failed(Failure::lasting("the reply is not a token; a proxy may have answered")),
            },
            Step::Role => match std::str::from_utf8(body).ok().and_then(|text| text.trim().lines().next()) {
                Some(role) if is_role(role.trim()) => Verdict::Next(Step::RoleKeys(role.trim().to_owned())),
                Some(_) => Verdict::Failed(Failure::lasting("the reply is not a role name")),
                None => Verdict::Failed(Failure::lasting("the reply is empty: the instance has no role")),
            },
        }
    }

    fn refused(&self, head: &ReplyHead, body: &[u8]) -> Verdict {
        let status = head.status;
        if status == 401 && matches!(self.step, Step::Role | Step::RoleKeys(_)) {
            // The token has expired, for example while the machine slept: the next attempt gets a new one.
            return Verdict::Failed(Failure { why: "401, the token was refused".to_owned(), passing: true });
        }
        let meaning = match (status, &self.step) {
            (300..=399, _) => ": redirects are not followed",
            (404, Step::Role | Step::RoleKeys(_)) => ": the instance has no role",
            (404 | 405, Step::Token) => ": version 2 of the metadata service is missing, and version 1 is never used",
            (403, Step::Token) => ": the metadata service is disabled",
            (401 | 403, Step::Keys) => ": the token was refused",
            _ => "",
        };
        let excuse = document::excuse(body)
            .map(|text| format!(" ({})", presentable(self.without_token(&text))))
            .unwrap_or_default();
        let passing = status >= 500 || matches!(status, 408 | 429);
        Verdict::Failed(Failure { why: format!("the reply is {status}{meaning}{excuse}"), passing })
    }

    /// Removes the token from an endpoint's text, which may quote the request.
    fn without_token(&self, text: &str) -> String {
        let own = match &self.from {
            From::Container { authorization, .. } => authorization.as_ref(),
            From::Instance { .. } => self.token.as_ref(),
        };
        match own {
            Some(token) => text.replace(token.as_str(), "***"),
            None => text.to_owned(),
        }
    }

    /// The failure of an attempt without a reply.
    fn lost(&self, failure: &TransportFailure) -> Failure {
        let error = Error::new(failure.code, "");
        // Nothing answers at the metadata service's address: this machine is not an EC2 instance.
        let nobody = matches!(self.step, Step::Token) && matches!(failure.code, Code::Connect | Code::TimedOut);
        let why = match failure.code {
            // The reply to the first request is dropped if it takes more hops than the instance allows.
            Code::TimedOut if matches!(self.step, Step::Token) && failure.maybe_sent => {
                "no reply in time; in a container, the hop limit of the instance metadata may need to be 2".to_owned()
            }
            Code::TimedOut => "no reply in time".to_owned(),
            Code::Connect | Code::Resolve | Code::Certificate | Code::ConnectionLost => failure.detail.clone(),
            _ => "the request could not be sent".to_owned(),
        };
        Failure { why, passing: retry::may_help(&error) && !nobody }
    }

    /// Continues after a reply or a failure.
    fn conclude(&mut self, now: Now, verdict: Verdict) {
        match verdict {
            Verdict::Next(step) => {
                self.step = step;
                self.state = State::Due(now.mono_ms);
            }
            Verdict::Done(keys) => self.end(Ok(keys)),
            Verdict::Failed(failure) if failure.passing && self.attempts < ATTEMPTS => {
                if self.token.take().is_some() {
                    self.step = Step::Token;
                }
                let pause = PAUSE_MS << self.attempts.saturating_sub(1);
                self.state = State::Due(now.mono_ms.saturating_add(pause));
            }
            Verdict::Failed(failure) => {
                let mut tried = std::mem::take(&mut self.tried);
                tried.push(format!("{}: {}", self.place(), failure.why));
                let error = chain::exhausted(&tried);
                self.end(Err(if failure.passing { error.retryable() } else { error }));
            }
        }
    }

    fn end(&mut self, outcome: Result<Credentials>) {
        self.state = State::Over;
        self.outcome = Some(outcome);
    }
}

/// Whether this may be a token of the metadata service: an HTML page is not.
fn is_token(text: &str) -> bool {
    let of_token = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'=' | b'+' | b'/' | b'.' | b'~');
    (1..=1024).contains(&text.len()) && text.bytes().all(of_token)
}

/// IAM's rule for the names of roles.
fn is_role(text: &str) -> bool {
    let of_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'=' | b',' | b'.' | b'@' | b'-');
    (1..=128).contains(&text.len()) && text.bytes().all(of_name) && !text.bytes().all(|b| b == b'.')
}

impl Machine for Fetch {
    type Done = Credentials;

    fn handle(&mut self, now: Now, input: Input<'_>) {
        let State::Sent(exchange) = &mut self.state else {
            if matches!(input, Input::Cancel) && matches!(self.state, State::Due(_)) {
                self.end(Err(cancelled()));
            }
            return;
        };
        match input {
            Input::Head { id, head } if id == exchange.id => exchange.head = Some(head),
            Input::Body { id, bytes } if id == exchange.id => exchange.body.extend_from_slice(bytes),
            Input::End { id } if id == exchange.id => {
                let head = exchange.head.take().unwrap_or_default();
                let body = std::mem::take(&mut exchange.body);
                let verdict = self.judge(&head, &body);
                if matches!(verdict, Verdict::Next(Step::Role)) {
                    self.token = std::str::from_utf8(&body).ok().map(|text| Zeroizing::new(text.trim().to_owned()));
                }
                self.conclude(now, verdict);
            }
            Input::Failed { id, failure } if id == exchange.id => {
                let failure = self.lost(&failure);
                self.conclude(now, Verdict::Failed(failure));
            }
            Input::Cancel => {
                self.abandoned = Some(exchange.id);
                self.end(Err(cancelled()));
            }
            _ => {}
        }
    }

    fn poll(&mut self, now: Now) -> Output<Credentials> {
        if let State::Sent(exchange) = &self.state
            && now.mono_ms >= exchange.end
        {
            self.abandoned = Some(exchange.id);
            let detail = String::new();
            let failure = self.lost(&TransportFailure { code: Code::TimedOut, maybe_sent: true, detail });
            self.conclude(now, Verdict::Failed(failure));
        }
        if let Some(id) = self.abandoned.take() {
            return Output::Abandon(id);
        }
        if let Some(outcome) = self.outcome.take() {
            return Output::Done(outcome);
        }
        match &self.state {
            State::Due(at) if *at <= now.mono_ms => {}
            State::Due(at) => return Output::Wait(Some(*at)),
            State::Sent(exchange) => return Output::Wait(Some(exchange.end)),
            State::Over => return Output::Wait(None),
        }
        // A step that succeeds does not count as an attempt.
        if matches!(self.step, Step::Keys | Step::Token) {
            self.attempts += 1;
        }
        self.next_id += 1;
        let id = RequestId(self.next_id);
        let end = now.mono_ms.saturating_add(ATTEMPT_MS);
        self.state = State::Sent(Exchange { id, end, head: None, body: Zeroizing::new(Vec::with_capacity(4096)) });
        Output::Send(self.request(id))
    }
}

fn cancelled() -> Error {
    Error::new(Code::Cancelled, "the call was cancelled while it requested credentials")
}

impl fmt::Debug for Fetch {
    /// Shows neither tokens nor paths.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fetch({})", self.place())
    }
}

#[cfg(test)]
mod tests;
