//! Requests on their way: lost, late, twice, and what happens to their process.

use s3vault_core::Error;
use s3vault_core::http::{Request, RequestId};

use super::actor::Actor;
use super::plan::{LATE_MS, Mishap, Nap, Op};
use super::rules::matters;
use super::run::{Event, FIRST, Run};
use crate::case::FaultId;
use crate::content::mix;
use crate::coverage::Probe;
use crate::store::at;
use crate::task::Ended;
use crate::wire::{Answer, Wire};

/// A request on its way.
pub(super) struct Flight {
    pub(super) number: usize,
    life: u32,
    id: RequestId,
    wire: Wire,
    answer: Option<Answer>,
    is_refused: bool,
}

impl Run {
    /// A machine was driven: its new requests are sent, or it has ended.
    pub(super) fn driven(&mut self, number: usize, result: Option<Result<Ended, Error>>) {
        if let Some(result) = result {
            return self.ended(number, result);
        }
        let life = self.actors[number].life;
        if let Some(wake) = self.actors[number].process.wake.take() {
            self.push_at(wake.max(self.time + 1), Event::Wake { number, life });
        }
        let actor = &mut self.actors[number];
        let seen = &actor.seen;
        let new: Vec<(Request, u64)> =
            actor.process.requests.iter().filter(|(request, _)| !seen.contains(&request.id)).cloned().collect();
        for (request, drop_at) in new {
            if self.actors[number].life != life {
                return;
            }
            self.actors[number].seen.push(request.id);
            self.send(number, request, drop_at);
        }
    }

    pub(super) fn send(&mut self, number: usize, request: Request, drop_at: u64) {
        let actor = &mut self.actors[number];
        actor.requests += 1;
        if actor.is_asleep {
            return actor.held.push(request);
        }
        let ordinal = actor.requests;
        let mishaps = actor.mishaps.clone();
        let first = self.plan.first;
        for mishap in mishaps {
            match mishap {
                Mishap::Nap(at, nap) if at == ordinal && self.may(FaultId::Injection(first + FIRST + number)) => {
                    self.log(|| format!("{number} falls asleep before {}: {nap:?}", request.operation));
                    let life = self.actors[number].life;
                    let (Nap::For(time) | Nap::Jobs(_, time)) = nap;
                    let actor = &mut self.actors[number];
                    actor.is_asleep = true;
                    actor.held.push(request);
                    match nap {
                        Nap::For(_) => self.push_at(self.time + time, Event::Awake { number, life }),
                        Nap::Jobs(count, _) => self.actors[number].wakes_after = Some(self.job_requests + count),
                    }
                    return;
                }
                Mishap::Crash(at, arrives, later) if at == ordinal && self.may(FaultId::Injection(first + number)) => {
                    self.log(|| format!("{number} is killed at {}", request.operation));
                    if arrives {
                        self.dispatch(number, &request, drop_at);
                    }
                    return self.kill(number, later);
                }
                _ => {}
            }
        }
        self.dispatch(number, &request, drop_at);
    }

    pub(super) fn kill(&mut self, number: usize, later: u64) {
        if matches!(self.actors[number].op, Op::Rekey { .. }) {
            self.rules.hit(Probe::RekeyingKilled);
        }
        if self.actors[number].is_job() {
            *self.rules.hits.entry(Probe::JobKilled).or_default() += 1;
        }
        let life = self.actors[number].life;
        self.rules.rekeyings.stopped.insert((number, life));
        let vault = self.fresh();
        let actor = &mut self.actors[number];
        actor.life += 1;
        let mut process = crate::process::Process::new(vault);
        process.disk = std::mem::take(&mut actor.process.disk);
        process.source = actor.process.source;
        actor.process = process;
        if matches!(actor.op, Op::Put { has_checkpoint: true, .. }) {
            self.push_at(self.time + later, Event::Start { number });
        }
    }

    pub(super) fn awake(&mut self, number: usize) {
        self.log(|| format!("{number} wakes"));
        *self.rules.hits.entry(Probe::Slept).or_default() += 1;
        let actor = &mut self.actors[number];
        (actor.is_asleep, actor.wakes_after) = (false, None);
        let (held, deferred) = (std::mem::take(&mut actor.held), std::mem::take(&mut actor.deferred));
        for request in held {
            let drop_at = self.actors[number].process.requests.iter().find(|(one, _)| one.id == request.id);
            if let Some(drop_at) = drop_at.map(|(_, at)| *at) {
                self.dispatch(number, &request, drop_at);
            }
        }
        for event in deferred {
            self.push_at(self.time + 1, event);
        }
    }

    /// A request leaves its process.
    pub(super) fn dispatch(&mut self, number: usize, request: &Request, drop_at: u64) {
        let actor = &self.actors[number];
        let (life, ordinal) = (actor.life, actor.requests);
        let wire = actor.process.wire(request);
        let is_job = actor.is_job();
        self.sequence += 1;
        let flight = self.sequence;
        let (up, down) = (self.random.u64(1..60), self.random.u64(1..60));
        let mut random = fastrand::Rng::with_seed(mix(mix(self.plan.seed, 0xDE1_FA7E + number as u64), ordinal));
        let later = [random.u64(0..2000), random.u64(0..120_000), random.u64(0..LATE_MS as u64)][random.usize(0..3)];
        let is_faulty = !self.is_over && random.u64(0..1000) < self.plan.faults;
        let name = FaultId::Request(self.plan.first + number, ordinal);
        let fault = if is_faulty && self.may(name) { random.u32(1..6) } else { 0 };
        let now = self.time;
        let is_refused = fault == 5;
        self.flights.insert(flight, Flight { number, life, id: request.id, wire, answer: None, is_refused });
        let reply = now + up + down;
        if drop_at <= now + up {
            // It was asleep too long to send it in time.
            return self.push_at(now.max(drop_at), Event::Dropped { flight });
        }
        match fault {
            1 => self.push_at(reply, Event::Dropped { flight }),
            2 => {
                self.push_at(now + up, Event::Arrived { flight, is_copy: true });
                self.push_at(reply.min(drop_at), Event::Dropped { flight });
            }
            3 => {
                self.push_at(reply.min(drop_at), Event::Dropped { flight });
                self.push_at(reply + later, Event::Arrived { flight, is_copy: true });
            }
            _ => {
                self.push_at(now + up, Event::Arrived { flight, is_copy: false });
                self.push_at(
                    now + up + 1 + down,
                    if drop_at < reply { Event::Dropped { flight } } else { Event::Replied { flight } },
                );
                if fault == 4 {
                    self.push_at(now + up + later + 1, Event::Arrived { flight, is_copy: true });
                }
            }
        }
        if is_job {
            self.job_requests += 1;
            let due = |actor: &Actor| actor.is_asleep && actor.wakes_after.is_some_and(|at| at <= self.job_requests);
            let due: Vec<usize> = (0..self.actors.len()).filter(|n| due(&self.actors[*n])).collect();
            for sleeper in due {
                let life = self.actors[sleeper].life;
                self.actors[sleeper].wakes_after = None;
                let delay = self.random.u64(0..120);
                self.push_at(self.time + delay, Event::Awake { number: sleeper, life });
            }
        }
    }

    pub(super) fn arrived(&mut self, flight: u64, is_copy: bool) {
        let Some(one) = self.flights.get(&flight) else { return };
        let (number, life, wire) = (one.number, one.life, one.wire.clone());
        if one.is_refused && !is_copy {
            let answer = Answer::error(503, "SlowDown");
            if let Some(one) = self.flights.get_mut(&flight) {
                one.answer = Some(answer);
            }
            return;
        }
        self.rules.arrivals += 1;
        if is_copy {
            self.rules.rekeyings.stopped.insert((number, life));
        }
        let clock = self.clock();
        let is_checked = matters(&wire);
        let before = is_checked.then(|| self.snapshot());
        let young = self.store.bucket(&self.bucket).ok().and_then(|bucket| self.rules.is_young(bucket, &wire, clock));
        let answer = Answer::from(self.store.answer(&wire.request, at(clock)));
        if answer.status < 300
            && !is_copy
            && let Some(before) = &before
        {
            self.damage(number, &wire, before);
        }
        self.log(|| {
            format!("    {number} {}{}: {}", wire.short(), if is_copy { " (late)" } else { "" }, answer.status)
        });
        if answer.status < 300 {
            if let Some(why) = young {
                self.violate(why);
            }
            if wire.operation == "ListObjectsV2" {
                self.rules.listed(number, life, answer.body.as_bytes());
            }
            if let (Some(before), Some(sender)) = (before, self.senders.get(&(number, life))) {
                let after = self.snapshot();
                let checked = self.rules.arrived((number, life), sender, &wire, (&before, &after), clock);
                self.note(checked);
            }
        }
        if let Some(one) = self.flights.get_mut(&flight)
            && !is_copy
        {
            one.answer = Some(answer);
        }
    }

    /// The reply to a request comes, or its connection is dropped.
    pub(super) fn replied(&mut self, event: Event, flight: u64, is_good: bool) {
        let Some(one) = self.flights.get(&flight) else { return };
        let (number, life, id) = (one.number, one.life, one.id);
        if self.actors[number].life != life {
            return;
        }
        if self.actors[number].is_asleep {
            return self.actors[number].deferred.push(event);
        }
        let answer = one.answer.clone();
        let now = self.now(number);
        if answer.as_ref().is_some_and(|answer| is_good && says_refused(answer)) {
            self.actors[number].refused += 1;
        }
        let process = &mut self.actors[number].process;
        let Some(place) = process.requests.iter().position(|(request, _)| request.id == id) else { return };
        let Some((request, _)) = process.requests.remove(place) else { return };
        let result = match answer {
            Some(answer) if is_good => process.answered(now, &request, answer),
            _ => process.dropped(now, &request),
        };
        self.driven(number, result);
    }
}

/// Whether an answer says that the store does not delete something.
fn says_refused(answer: &Answer) -> bool {
    let has_errors = answer.status == 403 || answer.body.as_bytes().starts_with(b"<?xml") && answer.status == 200;
    let text = String::from_utf8_lossy(answer.body.as_bytes());
    has_errors && text.contains("<Code>AccessDenied</Code>")
}
