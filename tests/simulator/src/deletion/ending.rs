//! How machines end, what their results must say, and what is left when everything has stopped.

use std::sync::Arc;

use s3vault_core::transfer::ReadRequest;
use s3vault_core::vault::{DeleteVersion, Read};
use s3vault_core::{Code, Error};

use super::plan::{LATE_MS, Op, Planned};
use super::run::{Event, Run};
use crate::coverage::Probe;
use crate::task::{Ended, Machine};

/// Sweeps at the end: to suspect, to remove, and what those have to wait for.
const SWEEPS: usize = 5;

impl Run {
    pub(super) fn ended(&mut self, number: usize, result: Result<Ended, Error>) {
        let op = self.actors[number].op;
        self.log(|| match &result {
            Ok(_) => format!("{number} ends well"),
            Err(e) => format!("{number} ends: {e:?}"),
        });
        if result.is_err() {
            self.rules.rekeyings.stopped.insert((number, self.actors[number].life));
        }
        let (seed, now) = (self.random.u64(..), self.now(number));
        if self.actors[number].process.has_decrypted() {
            self.rules.hit(Probe::Decrypted);
        }
        let checked = match (op, result) {
            (Op::Put { .. }, Ok(Ended::Stored(found))) => self.rules.acknowledged(&found.row.vid),
            (Op::Remove { .. }, Ok(Ended::Removed(found))) => self.rules.acknowledged(&found.row.vid),
            (Op::Delete { .. }, Ok(Ended::Found(found))) => {
                let vault = self.actors[number].process.vault.clone();
                match DeleteVersion::new(vault, &found.manifest, now.unix_ms, seed) {
                    Ok(delete) => return self.run_machine(number, Machine::Delete(delete)),
                    Err(e) => Err(format!("{number} cannot delete a version: {e:?}")),
                }
            }
            (Op::Delete { .. }, Ok(_)) => match self.actors[number].target {
                Some(vid) if !self.rules.is_hidden(vid) => Err(format!("{vid} is said to be deleted, and is visible")),
                _ => Ok(()),
            },
            (Op::Read { .. } | Op::ReadAmid { .. }, Ok(Ended::Found(found))) => {
                let vault = self.actors[number].process.vault.clone();
                match Read::new(vault, Arc::new(found.manifest.clone()), ReadRequest::default(), seed) {
                    Ok(read) => return self.run_machine(number, Machine::Read(read)),
                    Err(e) => Err(format!("{number} cannot read: {e:?}")),
                }
            }
            (Op::Read { vid, .. }, Ok(_))
                if self.rules.committed[&vid].adopted.is_none() && !self.actors[number].process.has_all() =>
            {
                Err(format!("version {vid} is restored with other bytes"))
            }
            (Op::ReadAmid { .. }, result) => self.read_amid(number, result.map(|_| ())),
            (Op::Retire, Ok(Ended::Retired(retired))) => self.retired(number, &retired),
            (Op::Rotate, Ok(Ended::Swept(report))) if self.is_over && report.problems + report.waiting > 0 => {
                Err(format!("a rotation without faults ends with {report:?}"))
            }
            (Op::Rekey { .. }, Ok(Ended::Swept(report))) if self.is_over && has_problems(&report) => {
                Err(format!("a re-keying without faults ends with {report:?}"))
            }
            (Op::Rotate | Op::Rekey { .. } | Op::Retire, Err(e)) if self.is_over => {
                Err(format!("{op:?} without faults fails: {e:?}"))
            }
            (Op::Put { .. }, Err(e)) if e.code() == Code::Keyring => {
                // Its owner opens the vault again.
                self.vault = self.fresh();
                self.rules.hit(Probe::KeyWasClosed);
                Ok(())
            }
            (Op::Read { vid, .. }, Err(e)) => Err(format!("version {vid} is visible, and cannot be restored: {e:?}")),
            (Op::Prune(_) | Op::Sweep | Op::Rekey { .. }, Ok(Ended::Swept(report))) => self.job_ended(number, &report),
            (Op::Adopt { .. }, Ok(Ended::Swept(report))) if self.is_over && report.problems + report.waiting > 0 => {
                Err(format!("an adoption without faults ends with {report:?}"))
            }
            (Op::Adopt { .. }, Err(e)) if self.is_over => Err(format!("an adoption without faults fails: {e:?}")),
            (Op::Sweep, Err(e)) if self.is_over => Err(format!("a sweep without faults fails: {e:?}")),
            (_, Err(e)) if matches!(e.code(), Code::Internal | Code::Damaged | Code::DataMissing) => {
                Err(format!("{number} ends with {e:?}"))
            }
            _ => Ok(()),
        };
        self.actors[number].is_over = true;
        self.note(checked);
    }

    /// Everything has stopped: sweeps, without faults, and what must be there and what not.
    pub(super) fn sweep_all(&mut self) {
        self.is_over = true;
        self.unlock();
        for _ in 0..SWEEPS {
            self.time += (self.plan.grace_ms + 2 * LATE_MS + self.plan.ahead_ms).unsigned_abs() + 60_000;
            self.run_alone(Op::Sweep);
        }
        let now = self.snapshot();
        let checked = self.rules.whole(&now).and_then(|()| self.rules.nothing_left(&now));
        self.note(checked);
        if self.plan.has_others {
            self.adopt_all();
        }
        self.read_all();
        if self.plan.rekeys {
            self.rekey_all();
            self.read_all();
        }
        if self.plan.keks > 0 {
            self.retire_all();
            self.read_all();
        }
    }

    /// Every version that is there is read.
    fn read_all(&mut self) {
        for name in 0..2 {
            for vid in self.rules.visible(name) {
                if self.rules.is_readable(vid) {
                    self.run_alone(Op::Read { name, vid });
                }
            }
        }
    }

    /// A process to which nothing happens does something while no other one runs.
    pub(super) fn run_alone(&mut self, op: Op) {
        let number = self.add(Planned::new(self.time, op));
        self.push_at(self.time, Event::Start { number });
        self.drain();
    }

    /// All that other programs wrote is adopted, and adopting it again adds nothing.
    fn adopt_all(&mut self) {
        self.run_alone(Op::Adopt { hash: false });
        let first = self.snapshot();
        let checked = self.rules.whole(&first).and_then(|()| self.rules.all_adopted(&first));
        self.note(checked);
        self.run_alone(Op::Adopt { hash: false });
        let again = self.snapshot();
        if first.objects.len() != again.objects.len() || first.rows != again.rows {
            self.violate("a repeated adoption stores something".to_owned());
        }
    }

    /// What a job must have said.
    fn job_ended(&mut self, number: usize, report: &s3vault_core::vault::Report) -> Result<(), String> {
        let actor = &self.actors[number];
        let (who, refused) = ((number, actor.life), actor.refused);
        let Some(sender) = self.senders.get(&who) else { return Ok(()) };
        if refused > 0 {
            self.rules.hit(Probe::DeletionRefused);
            if report.waiting + report.problems == 0 && self.unlocked < sender.since {
                return Err(format!("{number} says nothing of {refused} deletions that the store refused: {report:?}"));
            }
        }
        match sender.op {
            Op::Prune(policy) if policy.together => self.rules.together(who, sender),
            _ => Ok(()),
        }
    }
}

/// Whether a re-keying could not do something. A copy that a sweep removed before its locator was written is only told of:
/// it is made again.
fn has_problems(report: &s3vault_core::vault::Report) -> bool {
    !report.problem_texts.iter().all(|text| text.contains("the copy is not there; rekey makes it again"))
}
