//! How long the engine waits, how often it tries, and when it may give up: the rules of the decision *A retry waits for its
//! token*, counted here again from what is sent and what fails. All times are simulated milliseconds.

use std::sync::Arc;

use s3vault_core::account::Account;
use s3vault_core::vault::objects::{LOCATORS, VAULT_KEY};
use s3vault_core::{Code, Error, Family};

use super::ATTEMPTS;
use crate::coverage::Probe;
use crate::task::Job;
use crate::wire::Answer;
use crate::world::World;

/// Attempts of one request that the store refuses although it is there.
const MOST: u32 = 6;
/// While the store is away, the last attempt of a transfer starts this long after the first one at the latest, unless
/// `retry_time` is set.
const TRANSFER_MS: u64 = 900_000;
/// The same of a listing, and of opening a vault.
const LISTING_MS: u64 = 30_000;
/// The same of a request to a store that has not answered.
const UNKNOWN_MS: u64 = 3_000;
/// Attempts that a request has in any case.
const LEAST: u32 = 3;
/// Largest delay after the first attempt, which doubles with each one, and after any attempt.
const FIRST_MS: u64 = 100;
const LONGEST_MS: u64 = 10_000;
/// Longest wait that a `Retry-After` is granted.
const LONGEST_ASKED_MS: u64 = 60_000;
/// Retries that an account may make at once, and milliseconds until it may make another.
const TOKENS: i64 = 100;
const TOKEN_MS: i64 = 100;
/// Two clocks in milliseconds, each rounded.
const ROUNDED_MS: u64 = 2;
/// Number of delays whose mean says how they are spread: that of 20 is outside of the limits once in 10^8 runs.
const DELAYS: usize = 20;

/// Why a request failed, as far as retries are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The store received something else than what was sent.
    Refused,
    /// The reply says what to do otherwise: with other keys, in another region, at another time.
    Learned,
    /// Anything else: the store is away, or wants to be left alone for some time.
    Away,
}

impl Why {
    /// The reason of a failure with this reply, if there was one.
    pub(crate) fn of(answer: Option<&Answer>) -> Why {
        let Some(answer) = answer else { return Why::Away };
        match answer.code().unwrap_or_default() {
            "ExpiredToken" | "InvalidAccessKeyId" | "RequestTimeTooSkewed" => Why::Learned,
            "PermanentRedirect" | "AuthorizationHeaderMalformed" => Why::Learned,
            "BadDigest" | "XAmzContentChecksumMismatch" | "XAmzContentSHA256Mismatch" => Why::Refused,
            _ => Why::Away,
        }
    }
}

/// The consecutive failures of a request.
#[derive(Clone, Copy, Debug)]
pub struct Streak {
    /// Number of failures; those before bytes of a range arrived do not count.
    pub failures: u32,
    /// When the first attempt was sent.
    started: u64,
    /// When the last one failed, and why.
    failed: u64,
    why: Why,
    /// The `Retry-After` of its reply, 0 if there is none.
    asked: u64,
    /// Longest time that its retry waits for a token.
    token: u64,
    /// How long it is tried at least and at most while the store is away.
    limits: (u64, u64),
    /// When the date of a dated request passes.
    drop_at: Option<u64>,
    /// It was not sent again yet. What is sent after that was late, not refused.
    is_due: bool,
}

impl Streak {
    fn ceiling(&self) -> u64 {
        (FIRST_MS << (self.failures - 1).min(16)).min(LONGEST_MS)
    }

    /// When its retry is sent at the latest.
    fn latest(&self) -> u64 {
        self.failed + (self.asked + self.ceiling()).max(self.token)
    }

    /// Whether another attempt was not allowed, or need not be made.
    fn is_over(&self) -> bool {
        let is_over = match self.why {
            Why::Learned => true,
            Why::Refused => self.failures >= MOST,
            Why::Away => self.failures >= LEAST && self.failed - self.started + ROUNDED_MS >= self.limits.0,
        };
        is_over || self.drop_at.is_some_and(|at| self.latest() + 2_000 > at)
    }

    /// How long a retry must wait: as long as the store asks, if there is time for it.
    fn least_wait(&self) -> u64 {
        self.asked.min(self.limits.0.saturating_sub(self.failed - self.started + ROUNDED_MS))
    }
}

/// A bucket of tokens.
#[derive(Debug)]
struct Tokens {
    filled_ms: i64,
    at: u64,
}

impl Tokens {
    fn new() -> Tokens {
        Tokens { filled_ms: TOKENS * TOKEN_MS, at: 0 }
    }

    /// Takes one; returns how long it has to be waited for.
    fn take(&mut self, now: u64) -> u64 {
        self.filled_ms = (self.filled_ms + (now - self.at) as i64).min(TOKENS * TOKEN_MS) - TOKEN_MS;
        self.at = now;
        self.filled_ms.min(0).unsigned_abs()
    }
}

/// The retries of an account.
pub(crate) struct Retries {
    account: Arc<Account>,
    /// A token for each failure: there are no more retries than that.
    most: Tokens,
    /// When the requests failed that were sent again, in order: there are no fewer retries than that.
    sent: Vec<u64>,
    /// Whether a request has succeeded.
    answered: bool,
}

impl World {
    fn retries(&mut self, number: usize) -> &mut Retries {
        let account = self.tasks[number].vault.account().clone();
        let known = self.retries.iter().position(|retries| Arc::ptr_eq(&retries.account, &account));
        let at = known.unwrap_or_else(|| {
            self.retries.push(Retries { account, most: Tokens::new(), sent: Vec::new(), answered: false });
            self.retries.len() - 1
        });
        &mut self.retries[at]
    }

    /// A request succeeded.
    pub(crate) fn note_success(&mut self, number: usize) {
        self.retries(number).answered = true;
    }

    /// How long a request is tried at least and at most while the store is away.
    fn limits(&mut self, number: usize, what: &str) -> (u64, u64) {
        let is_query = matches!(self.tasks[number].job, Job::List { .. })
            || what.starts_with("GetObject") && what.contains(VAULT_KEY);
        let retry_time = match self.scenario.second.retry_time {
            0 => TRANSFER_MS,
            seconds => seconds * 1000,
        };
        let most = if is_query { LISTING_MS.min(retry_time) } else { retry_time };
        (if self.retries(number).answered { most } else { UNKNOWN_MS.min(most) }, most)
    }

    /// An attempt failed. `progressed`: bytes of its range arrived before.
    pub(crate) fn note_failure(
        &mut self,
        number: usize,
        what: &str,
        (sent, drop_at): (u64, Option<u64>),
        answer: Option<&Answer>,
        progressed: bool,
    ) {
        let is_another = match answer.and_then(Answer::code) {
            Some("NotImplemented") => true,
            Some("BadDigest" | "XAmzContentChecksumMismatch") => what.starts_with("CompleteMultipartUpload"),
            _ => false,
        };
        if is_another {
            // What is sent instead is another request, after the parts were listed.
            self.tasks[number].dealt_ms += super::IDLE_MS;
            self.tasks[number].in_a_row.remove(what);
            return;
        }
        let (now, why) = (self.time, Why::of(answer));
        let token = if why == Why::Learned { 0 } else { self.retries(number).most.take(now) };
        let asked = answer.and_then(|answer| {
            let (_, value) = answer.headers.iter().find(|(name, _)| name == "retry-after")?;
            Some(value.parse::<u64>().ok()? * 1000)
        });
        let before = self.tasks[number].in_a_row.get(what).filter(|_| !progressed);
        let (failures, started) = before.map_or((0, if progressed { now } else { sent }), |s| (s.failures, s.started));
        let asked = asked.unwrap_or(0).min(LONGEST_ASKED_MS);
        let (failures, failed, limits) = (failures + 1, now, self.limits(number, what));
        let streak = Streak { failures, started, failed, why, asked, token, limits, drop_at, is_due: true };
        let task = &mut self.tasks[number];
        task.dealt_ms += super::IDLE_MS + streak.latest() - now;
        task.in_a_row.insert(what.to_owned(), streak);
        if streak.failures > ATTEMPTS {
            self.violate(format!("task {number} has tried {what} {} times", streak.failures));
        }
    }

    /// A request is sent that has failed before.
    pub(crate) fn check_retry(&mut self, number: usize, what: &str) {
        let Some(due) = self.tasks[number].in_a_row.get_mut(what) else { return };
        let streak = *due;
        due.is_due = false;
        if streak.why == Why::Learned || !streak.is_due {
            return;
        }
        let (waited, now) = (self.time - streak.failed, self.time);
        let sent = &mut self.retries(number).sent;
        sent.insert(sent.partition_point(|failed| *failed <= streak.failed), streak.failed);
        let (mut tokens, mut token) = (Tokens::new(), 0);
        // Of those that failed in the same millisecond nobody knows the order.
        for failed in sent.iter().take_while(|failed| **failed < streak.failed).chain([&streak.failed]) {
            token = tokens.take(*failed);
        }
        if token > 0 {
            self.hit(Probe::TokenAwaited);
        }
        if streak.failures >= MOST {
            self.hit(Probe::LongThrottled);
        }
        // When a locator has expired that was sent beside its LIST, the put starts with the same LIST again.
        let restarts = what.starts_with("ListObjectsV2")
            && self.tasks[number].in_a_row.keys().any(|other| other.contains(LOCATORS));
        let why = if streak.why == Why::Refused && streak.failures >= MOST && !restarts {
            Some(format!("after {} attempts", streak.failures))
        } else if waited < streak.least_wait() {
            Some(format!("after {waited} ms, although the store asks to wait for {} ms", streak.asked))
        } else if waited < token {
            Some(format!("after {waited} ms, and its token was due after {token} ms"))
        } else if now > streak.latest() + ROUNDED_MS {
            Some(format!("after {waited} ms, {} ms later than it may be", now - streak.latest()))
        } else if streak.why == Why::Away
            && !restarts
            && streak.failures >= LEAST
            && now - streak.started > streak.limits.1 + streak.token + ROUNDED_MS
        {
            Some(format!("{} ms after the first attempt", now - streak.started))
        } else {
            None
        };
        if let Some(why) = why {
            self.violate(format!("task {number} sends {what} again {why}"));
        }
        if streak.asked == 0 && streak.token == 0 && streak.failures >= 3 {
            self.delays.push(waited as f64 / streak.ceiling() as f64);
        }
    }

    /// Delays grow up to their limit, and are spread from nothing to it.
    pub(crate) fn check_delays(&mut self) {
        let mean = self.delays.iter().sum::<f64>() / self.delays.len() as f64;
        if self.delays.len() >= DELAYS {
            self.hit(Probe::ManyDelays);
            if !(0.15..=0.85).contains(&mean) {
                let count = self.delays.len();
                self.violate(format!("{count} retries waited for {mean:.2} of their largest delays on average"));
            }
        }
    }

    /// A machine waits: for something in progress, or until a retry is due. So no transfer waits for another one, except for
    /// the tokens of its retries.
    pub(crate) fn check_wait(&mut self, number: usize, until: Option<u64>) {
        let task = &self.tasks[number];
        let reads = !task.in_hand.is_empty() || task.parts.values().any(|part| !part.ready);
        let is_busy = reads || !task.unsaved.is_empty() || task.keys_awaited > 0;
        let latest = task.in_a_row.values().map(Streak::latest).max().unwrap_or(0);
        if let Some(until) = until
            && !is_busy
            && until > latest.max(self.time) + ROUNDED_MS
            && !self.is_exchanging(number)
        {
            self.violate(format!("task {number} waits for {} ms, and for nothing", until - self.time));
        }
    }

    /// A machine ended: it took no longer than what it was dealt explains.
    pub(crate) fn check_duration(&mut self, number: usize) {
        let task = &self.tasks[number];
        let (took, dealt) = (self.time - task.started, task.dealt_ms + 1_000);
        if took > dealt {
            self.violate(format!("task {number} takes {took} ms, and what it was dealt explains {dealt} ms"));
        }
    }

    /// A machine ended with an error: it did not stop too early, and is not in doubt without a reason.
    pub(crate) fn check_error(&mut self, number: usize, e: &Error) {
        let task = &self.tasks[number];
        let is_missing = matches!(task.job, Job::Find { .. }) && e.code() == Code::NotFound;
        if self.scenario.second.is_mild && !is_missing {
            return self.violate(format!("task {number}'s faults were transient and rare, and it ends with {e:?}"));
        }
        let may_help = e.is_retryable() || e.family() == Family::Transport;
        let is_dated = |streak: &Streak| self.has_stepped && streak.drop_at.is_some();
        if may_help && !task.in_a_row.values().any(|streak| streak.is_over() || is_dated(streak)) {
            let streaks: Vec<&Streak> = task.in_a_row.values().collect();
            return self.violate(format!("task {number} gives up too early: {e:?}, {streaks:?}"));
        }
        if e.code() == Code::OutcomeUnknown && !task.is_in_doubt && !task.was_killed {
            self.violate(format!("task {number} does not know its outcome, and every answer was definite: {e:?}"));
        }
    }
}
