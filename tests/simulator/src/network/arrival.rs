//! The arrival of a request at the store: its effect, the probes that it hits, and its reply.

use s3_model::Part;
use s3_model::http::http_date;

use super::{Broken, Exchange, IDLE_MS, Stage};
use crate::content::{BLOCK, Content};
use crate::coverage::Probe;
use crate::inputs::Region;
use crate::scenario::Fault;
use crate::store::at;
use crate::wire::{Answer, Wire};
use crate::world::{Event, World};

impl World {
    pub(super) fn arrived(&mut self, number: u64, exchange: &mut Exchange, is_copy: bool) {
        let (task, ordinal) = (exchange.task, exchange.id.0);
        let is_late = exchange.is_over;
        let mut wire = exchange.wire.clone();
        if exchange.fault == Some(Fault::FlippedUp) && !is_copy {
            let is_noticed = self.scenario.profile.checksums || matches!(wire.request.body, Content::Bytes(_));
            if is_noticed {
                wire.request.body = wire.request.body.flip(ordinal);
            }
        }
        let now = self.store_ms();
        if std::mem::replace(&mut self.tasks[task].newest_arrival, number) > number {
            self.hit(Probe::Overtaken);
        }
        let refused = |status, code| Answer::error(status, code).with("date", http_date(at(now)));
        let mut answer = match exchange.fault {
            _ if self.time < self.outage_until => {
                self.hit(Probe::Outage);
                exchange.pending += 1;
                return self.after(IDLE_MS, Event::Exchange { number, stage: Stage::Broken(Broken::TimedOut) });
            }
            Some(Fault::Refused(status, code, after)) if !is_copy => {
                let answer = refused(status, code);
                self.note_answer(exchange, &answer, false);
                if after == 0 {
                    answer
                } else {
                    self.hit(Probe::RetryAfter);
                    answer.with("retry-after", after.to_string())
                }
            }
            Some(Fault::Page(status, false)) if !is_copy => {
                self.hit(Probe::Page);
                Answer::page(status)
            }
            _ if wire.region() != self.scenario.second.region.name() => {
                let form = ordinal as usize;
                if self.scenario.second.region == Region::Unknown {
                    self.hit(Probe::RegionLearned);
                }
                Answer::wrong_region(form, self.scenario.second.region.name()).with("date", http_date(at(now)))
            }
            _ if self.time < self.storm_until => {
                self.hit(Probe::Storm);
                let (status, code) =
                    if self.scenario.second.storm_is_429 { (429, "TooManyRequests") } else { (503, "SlowDown") };
                let asks = self.scenario.second.storm_asks;
                let answer = refused(status, code);
                if asks > 0 { answer.with("retry-after", asks.to_string()) } else { answer }
            }
            fault => {
                if fault == Some(Fault::RowGone) && !is_copy {
                    self.remove_row(&wire);
                }
                let before = self.stored_etag(&wire);
                let answer = Answer::from(self.store.answer(&wire.request, at(now)));
                let is_other = self.stored_etag(&wire) != before;
                self.note_answer(exchange, &answer, is_copy);
                if before.is_some() && is_other && (is_copy || is_late) {
                    self.hit(Probe::PartReplaced);
                    self.tasks[task].replaced += 1;
                }
                self.check_effect(task, &wire, &answer);
                if !is_copy && !is_late {
                    self.note_effect(task, &wire, &answer);
                }
                if is_copy || is_late { answer } else { self.hide(exchange, answer) }
            }
        };
        self.log(|| {
            let note = if is_copy {
                ", the copy"
            } else if is_late {
                ", late"
            } else {
                ""
            };
            format!("    store: {task} #{ordinal} {}: {}{note}", wire.short(), answer.status)
        });
        if is_copy || is_late {
            return;
        }
        match exchange.fault {
            Some(Fault::ErrorIn200) if answer.status == 200 => {
                self.hit(Probe::ErrorIn200);
                answer.body = Answer::error(200, "InternalError").body;
            }
            Some(Fault::OtherTruncated) if answer.status == 200 => {
                let page = String::from_utf8_lossy(answer.body.as_bytes()).into_owned();
                if page.contains("<IsTruncated>true<") {
                    self.hit(Probe::OtherTruncated);
                    let word = ["TRUE", "True", "1", "yes", ""][ordinal as usize % 5];
                    let page = page.replace("<IsTruncated>true<", &format!("<IsTruncated>{word}<"));
                    answer.body = Content::bytes(page.as_bytes());
                }
            }
            Some(Fault::FlippedDown) if matches!(answer.status, 200 | 206) && is_verified(&wire) => {
                answer.body = answer.body.flip(ordinal);
                self.hit(Probe::FlippedDown);
                self.tasks[task].flipped = true;
            }
            _ => {}
        }
        let payload = answer.body.length() * self.scenario.pace / BLOCK;
        exchange.answer = Some(answer);
        self.tasks[task].dealt_ms += self.scenario.trip + payload * 2;
        let head = self.random.u64(1..=self.scenario.trip);
        let end = head + self.random.u64(payload / 2..=payload * 2);
        let mut at = |delay: u64, stage: Stage| {
            exchange.pending += 1;
            self.after(delay, Event::Exchange { number, stage });
        };
        match exchange.fault {
            Some(Fault::LostAfter) if number.is_multiple_of(3) => at(IDLE_MS, Stage::Broken(Broken::TimedOut)),
            Some(Fault::LostAfter) => at(head, Stage::Broken(Broken::Lost)),
            Some(Fault::Truncated) => {
                at(head, Stage::Head);
                at(end, Stage::Broken(Broken::Lost));
            }
            _ => {
                at(head, Stage::Head);
                at(end, Stage::End);
            }
        }
    }

    /// A request took effect; what answers in the store's place hides how.
    fn hide(&mut self, exchange: &Exchange, answer: Answer) -> Answer {
        let is_write = answer.status < 300 && !matches!(exchange.wire.request.method, "GET" | "HEAD");
        let (probe, hidden) = match exchange.fault {
            Some(Fault::FailedAfter(status)) => (Probe::FailedAfter, failed(status)),
            Some(Fault::Page(status, true)) => (Probe::PageAfter, Answer::page(status)),
            _ if self.time < self.fail_after_until => (Probe::FailedAfter, failed(500)),
            _ => return answer,
        };
        if is_write {
            self.hit(probe);
        }
        hidden.with("date", http_date(at(self.store_ms())))
    }

    /// A request in progress took effect, or not: notes what its task can know from then on.
    fn note_effect(&mut self, task: usize, wire: &Wire, answer: &Answer) {
        let is_good = answer.status < 300;
        // A put's first LIST is that of all versions of its backup.
        let is_first = wire.parameter("prefix").ends_with('/') && wire.parameter("continuation-token").is_empty();
        if is_good && wire.operation == "ListObjectsV2" && is_first && self.tasks[task].put().is_some() {
            let name = self.tasks[task].put().map_or(0, |put| put.name);
            let own = self.rows.values().filter(|row| row.name == name).map(|row| row.vid.clone());
            self.tasks[task].before = own.collect();
        }
        let is_data = wire.request.header("x-amz-meta-s3vault-vid").is_some() || !wire.parameter("uploadId").is_empty();
        if is_good && is_data && wire.request.method != "GET" {
            let now = self.store_ms();
            let first = self.tasks[task].data_ms.map_or(now, |(first, _)| first);
            self.tasks[task].data_ms = Some((first, now));
        }
    }

    /// Somebody deletes the row that a listing is about to read.
    fn remove_row(&mut self, wire: &Wire) {
        let key = wire.request.key.clone();
        if self.bucket_mut().objects.remove(&key).is_some() {
            self.log(|| format!("    somebody deletes {key}"));
            self.hit(Probe::RowGone);
            self.removed.extend(self.rows.remove(&key).map(|row| row.vid));
        }
    }

    /// The ETag that the part of this request has at the store.
    fn stored_etag(&self, wire: &Wire) -> Option<String> {
        let upload = self.bucket().open_upload(wire.parameter("uploadId"))?;
        upload.parts.get(&wire.parameter("partNumber").parse().ok()?).map(Part::etag)
    }

    /// Hits the probes of a request at the store.
    fn note_answer(&mut self, exchange: &Exchange, answer: &Answer, is_copy: bool) {
        let (is_good, is_write) = (answer.status < 300, !matches!(exchange.wire.request.method, "GET" | "HEAD"));
        let is_dead = !self.is_alive(exchange);
        if is_good && is_write {
            match exchange.fault {
                _ if is_copy => self.hit(Probe::Twice),
                _ if is_dead => self.hit(Probe::LateAfterCrash),
                _ if exchange.is_over => self.hit(Probe::Late),
                Some(Fault::LostAfter) => self.hit(Probe::LostAfter),
                Some(Fault::FlippedUp) if exchange.part.is_some() && !self.scenario.profile.checksums => {
                    self.hit(Probe::FlippedAndStored);
                }
                _ => {}
            }
        }
        if is_copy || is_dead || exchange.is_over {
            return;
        }
        match answer.code().unwrap_or_default() {
            "SlowDown" => self.hit(Probe::SlowDown),
            "TooManyRequests" => self.hit(Probe::TooManyRequests),
            "InternalError" | "ServiceUnavailable" => self.hit(Probe::ServerError),
            "BadDigest" | "XAmzContentSHA256Mismatch" => self.hit(Probe::FlippedUp),
            "RequestTimeTooSkewed" => self.hit(Probe::Skewed),
            "ExpiredToken" => self.hit(Probe::ExpiredKeys),
            "InvalidPart" => self.hit(Probe::InvalidPart),
            "NoSuchUpload" => self.hit(Probe::NoSuchUpload),
            _ => {}
        }
        match (exchange.wire.operation, answer.status) {
            ("HeadObject", 200) => self.hit(Probe::Settled),
            ("HeadObject", 404) => self.hit(Probe::NotSettled),
            _ => {}
        }
    }
}

/// A 5xx that says nothing of the request's effect.
fn failed(status: u16) -> Answer {
    let code = match status {
        503 => "ServiceUnavailable",
        504 => "GatewayTimeout",
        _ => "InternalError",
    };
    Answer::error(status, code)
}

/// Whether a change of the reply's bytes would be noticed: ranges have hashes, rows and locators a signature. A list has
/// nothing of the kind, and TLS is what keeps it whole.
fn is_verified(wire: &Wire) -> bool {
    wire.operation == "GetObject" && wire.request.key != "_s3vault/vault.json"
}
