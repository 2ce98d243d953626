//! The scaffold of machines that make one call after the other: it polls the call, hands it the inputs, abandons it on a
//! cancel, and continues with what the answer decides. A machine on it consists of its data and its decisions:
//!
//! ```text
//!  Step::call(op, then) ──answer──▶ then(data, op, answer) ──▶ Step::call(…) … ──▶ Step::Done(result)
//! ```
//!
//! A step may also be two calls side by side: [`Step::both`].

use std::sync::Arc;

use super::{Call, Calling, Next, Operation, Session};
use crate::account::Bucket;
use crate::error::{Code, Error, Result};
use crate::machine::{Input, Machine, Output};
use crate::time::Now;

/// The data of a machine that makes one call after the other.
pub trait Steps {
    /// The result of the machine.
    type Done;
    /// What the machine does, for the error of a cancel: "finding the version".
    const WHAT: &'static str;
    /// Whether somebody waits for a short answer, so that a store that is away must show soon.
    const IS_QUERY: bool = false;
}

/// What such a machine does next.
pub(crate) enum Step<S: Steps> {
    /// It waits for the answer of this call.
    Call(Box<dyn Pending<S> + Send>),
    /// It ends. `None` once the result was delivered.
    Done(Option<Result<S::Done>>),
}

impl<S: Steps> Step<S> {
    /// Makes a call. `then` gets its operation and its reply, and decides the next step; an error ends the machine.
    pub(crate) fn call<O, F>(op: O, then: F) -> Step<S>
    where
        O: Operation + Send + 'static,
        F: FnOnce(&mut S, &O, O::Reply) -> Step<S> + Send + 'static,
    {
        Step::try_call(op, |steps, op, answer| match answer {
            Ok(reply) => then(steps, op, reply),
            Err(e) => Step::done(Err(e)),
        })
    }

    /// Makes a call whose errors `then` decides on, too.
    pub(crate) fn try_call<O, F>(op: O, then: F) -> Step<S>
    where
        O: Operation + Send + 'static,
        F: FnOnce(&mut S, &O, Result<O::Reply>) -> Step<S> + Send + 'static,
    {
        Step::Call(Box::new(Waiting { call: Call::new(op), then: Some(then) }))
    }

    /// Makes two calls side by side; `then` gets both answers. Once the first is there, the second is waited for only as
    /// many milliseconds as `patience` says, given the first answer and how long it took; without a limit if that is
    /// `None`. A second answer that did not come in time is `None`.
    pub(crate) fn both<A, B, P, F>(first: A, second: B, patience: P, then: F) -> Step<S>
    where
        A: Operation + Send + 'static,
        B: Operation + Send + 'static,
        A::Reply: Send,
        B::Reply: Send,
        P: Fn(&Result<A::Reply>, u64) -> Option<u64> + Send + 'static,
        F: FnOnce(&mut S, Result<A::Reply>, Option<Result<B::Reply>>) -> Step<S> + Send + 'static,
    {
        Step::Call(Box::new(Both {
            first: Call::new(first),
            second: Call::new(second),
            first_answer: None,
            second_answer: None,
            started: None,
            until: None,
            patience,
            then: Some(then),
        }))
    }

    /// Ends with this result.
    pub(crate) fn done(result: Result<S::Done>) -> Step<S> {
        Step::Done(Some(result))
    }
}

/// A call of any operation, and what follows its answer.
pub(crate) trait Pending<S: Steps> {
    /// Returns what the call needs next.
    fn poll(&mut self, session: &mut Session, now: Now) -> Next;

    /// Handles an input. Returns the next step once the call has ended.
    fn handle(&mut self, steps: &mut S, session: &mut Session, now: Now, input: &Input<'_>) -> Option<Step<S>>;

    /// Returns the next step if the wait for the answer ends at this time.
    fn time_out(&mut self, _: &mut S, _: &mut Session, _: Now) -> Option<Step<S>> {
        None
    }

    /// Abandons the call.
    fn abandon(&mut self, session: &mut Session);
}

struct Waiting<O, F> {
    call: Call<O>,
    then: Option<F>,
}

impl<S, O, F> Pending<S> for Waiting<O, F>
where
    S: Steps,
    O: Operation,
    F: FnOnce(&mut S, &O, Result<O::Reply>) -> Step<S>,
{
    fn poll(&mut self, session: &mut Session, now: Now) -> Next {
        self.call.poll(session, now)
    }

    fn handle(&mut self, steps: &mut S, session: &mut Session, now: Now, input: &Input<'_>) -> Option<Step<S>> {
        let answer = self.call.handle(session, now, input)?;
        let then = self.then.take()?;
        Some(then(steps, self.call.op(), answer))
    }

    fn abandon(&mut self, session: &mut Session) {
        self.call.abandon(session);
    }
}

/// Two calls side by side, and what follows their answers.
struct Both<A: Operation, B: Operation, P, F> {
    first: Call<A>,
    second: Call<B>,
    first_answer: Option<Result<A::Reply>>,
    second_answer: Option<Result<B::Reply>>,
    /// Monotonic time of the first poll.
    started: Option<u64>,
    /// Monotonic time after which the second answer is no longer waited for, once the first is there.
    until: Option<u64>,
    patience: P,
    then: Option<F>,
}

impl<S, A, B, P, F> Pending<S> for Both<A, B, P, F>
where
    S: Steps,
    A: Operation,
    B: Operation,
    P: Fn(&Result<A::Reply>, u64) -> Option<u64>,
    F: FnOnce(&mut S, Result<A::Reply>, Option<Result<B::Reply>>) -> Step<S>,
{
    fn poll(&mut self, session: &mut Session, now: Now) -> Next {
        self.started.get_or_insert(now.mono_ms);
        let mut soonest = self.until;
        for call in [&mut self.first as &mut dyn Calling, &mut self.second] {
            match call.poll(session, now) {
                Next::Wait(at) => soonest = soonest.into_iter().chain(at).min(),
                next => return next,
            }
        }
        Next::Wait(soonest)
    }

    fn handle(&mut self, steps: &mut S, session: &mut Session, now: Now, input: &Input<'_>) -> Option<Step<S>> {
        if let Some(answer) = self.first.handle(session, now, input) {
            let took = now.mono_ms.saturating_sub(self.started.unwrap_or(now.mono_ms));
            self.until = (self.patience)(&answer, took).map(|more| now.mono_ms.saturating_add(more));
            self.first_answer = Some(answer);
        }
        if let Some(answer) = self.second.handle(session, now, input) {
            self.second_answer = Some(answer);
        }
        self.time_out(steps, session, now)
    }

    fn time_out(&mut self, steps: &mut S, session: &mut Session, now: Now) -> Option<Step<S>> {
        if self.second_answer.is_none() && self.until.is_none_or(|until| until > now.mono_ms) {
            return None;
        }
        let first = self.first_answer.take()?;
        self.second.abandon(session);
        Some(self.then.take()?(steps, first, self.second_answer.take()))
    }

    fn abandon(&mut self, session: &mut Session) {
        self.first.abandon(session);
        self.second.abandon(session);
    }
}

/// A machine that makes one call after the other.
pub struct Sequence<S: Steps> {
    steps: S,
    session: Session,
    step: Step<S>,
}

impl<S: Steps> Sequence<S> {
    /// A machine that starts with `first`. `seed` drives the jitter of retries.
    pub(crate) fn start(bucket: &Arc<Bucket>, steps: S, first: Step<S>, seed: u64) -> Sequence<S> {
        let mut session = Session::new(bucket, seed);
        session.is_query = S::IS_QUERY;
        Sequence { steps, session, step: first }
    }

    /// The session, for a machine that continues after this one: no request id may occur twice.
    pub(crate) fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }
}

impl<S: Steps> Machine for Sequence<S> {
    type Done = S::Done;

    fn handle(&mut self, now: Now, input: Input<'_>) {
        let Step::Call(call) = &mut self.step else { return };
        if let Input::Cancel | Input::Suspend = input {
            call.abandon(&mut self.session);
            self.step = Step::done(Err(Error::new(Code::Cancelled, format!("{} was cancelled", S::WHAT))));
        } else if let Some(next) = call.handle(&mut self.steps, &mut self.session, now, &input) {
            self.step = next;
        }
    }

    fn poll(&mut self, now: Now) -> Output<S::Done> {
        if let Step::Call(call) = &mut self.step
            && let Some(next) = call.time_out(&mut self.steps, &mut self.session, now)
        {
            self.step = next;
        }
        if let Some(output) = self.session.pending() {
            return output;
        }
        match &mut self.step {
            Step::Call(call) => call.poll(&mut self.session, now).into(),
            Step::Done(result) => result.take().map_or(Output::Wait(None), Output::Done),
        }
    }
}
