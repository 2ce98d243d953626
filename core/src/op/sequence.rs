//! The scaffold of machines that make one call after the other: it polls the call, hands it the inputs, abandons it on a
//! cancel, and continues with what the answer decides. A machine on it consists of its data and its decisions:
//!
//! ```text
//!  Step::call(op, then) ──answer──▶ then(data, op, answer) ──▶ Step::call(…) … ──▶ Step::Done(result)
//! ```
//!
//! A step may also be two calls side by side, [`Step::both`], or any number of calls of one operation, [`Step::each`].

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Asking, Call, Calling, Next, Operation, Session};
use crate::account::Bucket;
use crate::error::{Code, Error, Result};
use crate::machine::{Event, Input, Machine, Output};
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
        Step::with(Call::new(op), |steps, _, call: &Call<O>, answer| then(steps, call.op(), answer))
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

    /// Makes a call whose answer is decided on with the store's clock at hand, and what may be reported.
    pub(crate) fn with<C, F>(call: C, then: F) -> Step<S>
    where
        C: Asking + Send + 'static,
        F: FnOnce(&mut S, &mut Context<'_>, &C, C::Answer) -> Step<S> + Send + 'static,
    {
        Step::Call(Box::new(Waiting { call, then: Some(then) }))
    }

    /// Makes a call for each of these operations, at most `width` at a time. `each` gets every answer as it comes, and an
    /// error of `each` ends the machine; `then` decides the next step once all answers are there.
    pub(crate) fn each<O, E, F>(ops: impl IntoIterator<Item = O>, width: usize, each: E, then: F) -> Step<S>
    where
        O: Operation + Send + 'static,
        E: FnMut(&mut S, &mut Context<'_>, &O, Result<O::Reply>) -> Result<()> + Send + 'static,
        F: FnOnce(&mut S, &mut Context<'_>) -> Step<S> + Send + 'static,
    {
        Step::each_call(ops.into_iter().map(Call::new), width, each, then)
    }

    /// As [`each`](Step::each), of calls that may be dated.
    pub(crate) fn each_call<O, E, F>(
        calls: impl IntoIterator<Item = Call<O>>,
        width: usize,
        mut each: E,
        then: F,
    ) -> Step<S>
    where
        O: Operation + Send + 'static,
        E: FnMut(&mut S, &mut Context<'_>, &O, Result<O::Reply>) -> Result<()> + Send + 'static,
        F: FnOnce(&mut S, &mut Context<'_>) -> Step<S> + Send + 'static,
    {
        let each = move |steps: &mut S, context: &mut Context<'_>, call: &Call<O>, answer| {
            each(steps, context, call.op(), answer)
        };
        Step::each_asking(calls, width, each, then)
    }

    /// As [`each`](Step::each), of anything that asks the store and ends with an answer.
    pub(crate) fn each_asking<C, E, F>(calls: impl IntoIterator<Item = C>, width: usize, each: E, then: F) -> Step<S>
    where
        C: Asking + Send + 'static,
        E: FnMut(&mut S, &mut Context<'_>, &C, C::Answer) -> Result<()> + Send + 'static,
        F: FnOnce(&mut S, &mut Context<'_>) -> Step<S> + Send + 'static,
    {
        let waiting = calls.into_iter().collect();
        Step::Call(Box::new(Each { waiting, running: Vec::new(), width: width.max(1), each, then: Some(then) }))
    }

    /// Ends with this result.
    pub(crate) fn done(result: Result<S::Done>) -> Step<S> {
        Step::Done(Some(result))
    }
}

/// What a decision may need beside the answer.
pub(crate) struct Context<'a> {
    pub(crate) session: &'a mut Session,
    pub(crate) now: Now,
}

impl Context<'_> {
    /// The store's clock, in Unix milliseconds.
    pub(crate) fn clock(&self) -> i64 {
        self.session.clock(self.now)
    }

    /// Tells the caller.
    pub(crate) fn report(&mut self, event: Event) {
        self.session.report(event);
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

struct Waiting<C, F> {
    call: C,
    then: Option<F>,
}

impl<S, C, F> Pending<S> for Waiting<C, F>
where
    S: Steps,
    C: Asking,
    F: FnOnce(&mut S, &mut Context<'_>, &C, C::Answer) -> Step<S>,
{
    fn poll(&mut self, session: &mut Session, now: Now) -> Next {
        self.call.poll(session, now)
    }

    fn handle(&mut self, steps: &mut S, session: &mut Session, now: Now, input: &Input<'_>) -> Option<Step<S>> {
        let answer = self.call.handle(session, now, input)?;
        let then = self.then.take()?;
        Some(then(steps, &mut Context { session, now }, &self.call, answer))
    }

    fn abandon(&mut self, session: &mut Session) {
        self.call.abandon(session);
    }
}

/// Calls of one kind side by side.
struct Each<C, E, F> {
    waiting: VecDeque<C>,
    running: Vec<C>,
    width: usize,
    each: E,
    then: Option<F>,
}

impl<S, C, E, F> Pending<S> for Each<C, E, F>
where
    S: Steps,
    C: Asking,
    E: FnMut(&mut S, &mut Context<'_>, &C, C::Answer) -> Result<()>,
    F: FnOnce(&mut S, &mut Context<'_>) -> Step<S>,
{
    fn poll(&mut self, session: &mut Session, now: Now) -> Next {
        while self.running.len() < self.width
            && let Some(call) = self.waiting.pop_front()
        {
            self.running.push(call);
        }
        let mut soonest = None;
        for call in &mut self.running {
            match call.poll(session, now) {
                Next::Wait(at) => soonest = soonest.into_iter().chain(at).min(),
                next => return next,
            }
        }
        Next::Wait(soonest)
    }

    fn handle(&mut self, steps: &mut S, session: &mut Session, now: Now, input: &Input<'_>) -> Option<Step<S>> {
        let mut n = 0;
        while n < self.running.len() {
            let Some(answer) = self.running[n].handle(session, now, input) else {
                n += 1;
                continue;
            };
            let call = self.running.swap_remove(n);
            if let Err(e) = (self.each)(steps, &mut Context { session, now }, &call, answer) {
                Pending::<S>::abandon(self, session);
                return Some(Step::done(Err(e)));
            }
        }
        self.time_out(steps, session, now)
    }

    /// Without any call there is nothing to wait for.
    fn time_out(&mut self, steps: &mut S, session: &mut Session, now: Now) -> Option<Step<S>> {
        let is_over = self.running.is_empty() && self.waiting.is_empty();
        is_over.then(|| self.then.take())?.map(|then| then(steps, &mut Context { session, now }))
    }

    fn abandon(&mut self, session: &mut Session) {
        self.waiting.clear();
        self.running.iter_mut().for_each(|call| call.abandon(session));
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

/// What a machine makes one call after the other with: its data, and the call that it waits for. A machine may have
/// several, which share its session.
pub(crate) struct Strand<S: Steps> {
    steps: S,
    step: Step<S>,
}

impl<S: Steps> Strand<S> {
    /// A strand that starts with `first`.
    pub(crate) fn start(steps: S, first: Step<S>) -> Strand<S> {
        Strand { steps, step: first }
    }

    /// Its data.
    pub(crate) fn steps_mut(&mut self) -> &mut S {
        &mut self.steps
    }

    /// Handles an input of the machine: one that is not for this strand is ignored.
    pub(crate) fn handle(&mut self, session: &mut Session, now: Now, input: &Input<'_>) {
        let Step::Call(call) = &mut self.step else { return };
        if let Some(next) = call.handle(&mut self.steps, session, now, input) {
            self.step = next;
        }
    }

    /// Returns what the strand needs next; its result comes once.
    pub(crate) fn poll(&mut self, session: &mut Session, now: Now) -> Output<S::Done> {
        // What follows may have nothing to wait for either.
        while let Step::Call(call) = &mut self.step
            && let Some(next) = call.time_out(&mut self.steps, session, now)
        {
            self.step = next;
        }
        match &mut self.step {
            Step::Call(call) => call.poll(session, now).into(),
            Step::Done(result) => result.take().map_or(Output::Wait(None), Output::Done),
        }
    }

    /// Abandons what is in progress, and ends with the error of a cancel.
    pub(crate) fn cancel(&mut self, session: &mut Session) {
        let Step::Call(call) = &mut self.step else { return };
        call.abandon(session);
        self.step = Step::done(Err(Error::new(Code::Cancelled, format!("{} was cancelled", S::WHAT))));
    }
}

/// A machine that makes one call after the other.
pub struct Sequence<S: Steps> {
    strand: Strand<S>,
    session: Session,
}

impl<S: Steps> Sequence<S> {
    /// A machine that starts with `first`. `seed` drives the jitter of retries.
    pub(crate) fn start(bucket: &Arc<Bucket>, steps: S, first: Step<S>, seed: u64) -> Sequence<S> {
        let mut session = Session::new(bucket, seed);
        session.is_query = S::IS_QUERY;
        Sequence { strand: Strand::start(steps, first), session }
    }

    /// The session, for a machine that continues after this one: no request id may occur twice.
    pub(crate) fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }
}

impl<S: Steps> Machine for Sequence<S> {
    type Done = S::Done;

    fn handle(&mut self, now: Now, input: Input<'_>) {
        match input {
            Input::Cancel | Input::Suspend => self.strand.cancel(&mut self.session),
            input => self.strand.handle(&mut self.session, now, &input),
        }
    }

    fn poll(&mut self, now: Now) -> Output<S::Done> {
        match self.session.pending() {
            Some(output) => output,
            None => match self.strand.poll(&mut self.session, now) {
                // What a step decided comes first: connections to drop, and events.
                Output::Done(result) => match self.session.pending() {
                    Some(output) => {
                        self.strand.step = Step::done(result);
                        output
                    }
                    None => Output::Done(result),
                },
                output => output,
            },
        }
    }
}
