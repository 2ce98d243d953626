//! Verifying a version: reads all of its data as a restore does, and judges it instead of keeping it.
//!
//! ```text
//!  Read ──ends──▶ good
//!   └──an error about the version──▶ damaged, missing, untrusted or unverifiable, with the first bad part
//!   └──any other error──▶ the error: nothing is known of the version
//! ```

use std::sync::Arc;

use super::find::{Find, Found, Selector};
use super::read::Read;
use super::{Manifest, Name, Vault, Vid};
use crate::error::{Code, Error, Result};
use crate::machine::{Input, Machine, Output};
use crate::time::Now;
use crate::transfer::ReadRequest;

/// What is known of a version after it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// All of its data is there, and is what was stored.
    Good,
    /// Bytes of it differ from what was stored.
    Damaged,
    /// An object of it is gone, or was replaced.
    Missing,
    /// Its manifest or its locator is not signed by a trusted key, or cannot be read.
    Untrusted,
    /// It is there, but nothing tells whether it is what was stored.
    Unverifiable,
}

impl Verdict {
    /// The word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Good => "good",
            Verdict::Damaged => "damaged",
            Verdict::Missing => "missing",
            Verdict::Untrusted => "untrusted",
            Verdict::Unverifiable => "unverifiable",
        }
    }

    /// The verdict for its word.
    pub fn parse(word: &str) -> Option<Verdict> {
        let all = [Verdict::Good, Verdict::Damaged, Verdict::Missing, Verdict::Untrusted, Verdict::Unverifiable];
        all.into_iter().find(|verdict| verdict.as_str() == word)
    }

    /// Whether the version cannot be restored as it was stored.
    pub fn is_bad(self) -> bool {
        matches!(self, Verdict::Damaged | Verdict::Missing | Verdict::Untrusted)
    }

    /// What an error of finding or reading a version says of the version; `None` if it says nothing of it.
    pub fn of(e: &Error) -> Option<Verdict> {
        match e.code() {
            Code::Damaged => Some(Verdict::Damaged),
            Code::DataMissing => Some(Verdict::Missing),
            Code::Untrusted | Code::Format => Some(Verdict::Untrusted),
            Code::Unsupported => Some(Verdict::Unverifiable),
            // It is in an archive, and has to be restored there first.
            _ if e.s3_code() == "InvalidObjectState" => Some(Verdict::Unverifiable),
            _ => None,
        }
    }
}

/// The first part of a version that cannot be read as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPart {
    /// Number of the part, from 1.
    pub number: u64,
    /// Number of its extent, from 1.
    pub extent: u64,
    /// Key of the extent when it was written.
    pub key: String,
    /// Offset of the part in its extent, in stored bytes.
    pub start: u64,
    /// Offset of the part in the backup, in bytes.
    pub offset: u64,
    /// Length of the part in bytes.
    pub length: u64,
}

/// What was found out about a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The verdict.
    pub verdict: Verdict,
    /// The container.
    pub container: String,
    /// The path.
    pub path: String,
    /// The version id.
    pub vid: String,
    /// Bytes that were read and are right.
    pub bytes: u64,
    /// Parts that were read and are right.
    pub parts: u64,
    /// The first part that is not.
    pub bad: Option<BadPart>,
    /// Why the verdict is not good; empty if it is.
    pub reason: String,
    /// Nothing was read: only the MD5 of all bytes in their order can tell, which the caller computes.
    pub needs_md5: bool,
}

impl Verified {
    /// What an error about a version says that could not be read at all. An error that says nothing of it comes back.
    pub fn of_error(container: &str, path: &str, vid: &str, e: Error) -> Result<Verified> {
        let Some(verdict) = Verdict::of(&e) else { return Err(e) };
        let (container, path, vid) = (container.to_owned(), path.to_owned(), vid.to_owned());
        let (bad, reason) = (None, e.message().to_owned());
        Ok(Verified { verdict, container, path, vid, bytes: 0, parts: 0, bad, reason, needs_md5: false })
    }

    /// The report as one line of JSON.
    pub fn to_json(&self) -> String {
        let bad = self.bad.as_ref().map(|bad| {
            serde_json::json!({
                "part": bad.number, "extent": bad.extent, "key": bad.key, "start": bad.start, "offset": bad.offset,
                "length": bad.length,
            })
        });
        serde_json::json!({
            "verdict": self.verdict.as_str(), "container": self.container, "path": self.path, "vid": self.vid,
            "bytes": self.bytes, "parts": self.parts, "first_bad_part": bad, "reason": self.reason,
        })
        .to_string()
    }
}

enum Stage {
    Find(Box<Find>, Name, Vid),
    Read(Box<Reading>),
    Over,
}

/// A version that is read.
struct Reading {
    manifest: Arc<Manifest>,
    read: Read,
    bytes: u64,
    parts: u64,
    last_part: Option<u32>,
}

/// The machine that verifies a version. It ends with an error only if that says nothing of the version.
pub struct Verify {
    vault: Arc<Vault>,
    stage: Stage,
    seed: u64,
}

impl Verify {
    /// Verifies the version of a verified manifest. `seed` drives the jitter of retries.
    pub fn new(vault: Arc<Vault>, manifest: Arc<Manifest>, seed: u64) -> Result<Verify> {
        let reading = Reading::new(&vault, manifest, seed)?;
        Ok(Verify { vault, stage: Stage::Read(Box::new(reading)), seed })
    }

    /// Verifies a version that was listed, and its manifest. One that was deleted meanwhile is [`Code::NotFound`].
    pub fn listed(vault: Arc<Vault>, name: Name, vid: Vid, seed: u64) -> Verify {
        let find = Find::new(vault.clone(), name.clone(), Selector::Version(vid), None, seed);
        Verify { vault, stage: Stage::Find(Box::new(find), name, vid), seed }
    }

    /// The manifest was read and verified, or was not. Returns the result if that is all.
    fn found(&mut self, found: Result<Found>) -> Option<Result<Verified>> {
        let Stage::Find(mut find, name, vid) = std::mem::replace(&mut self.stage, Stage::Over) else { return None };
        let found = match found {
            Ok(found) => found,
            Err(e) => return Some(Verified::of_error(name.container(), name.path(), &vid.to_string(), e)),
        };
        match Reading::new(&self.vault, Arc::new(found.manifest), self.seed) {
            Ok(mut reading) => {
                // No request id is used twice.
                reading.read.continue_session(find.session_mut());
                self.stage = Stage::Read(Box::new(reading));
                None
            }
            Err(e) => Some(Err(e)),
        }
    }
}

impl Reading {
    fn new(vault: &Arc<Vault>, manifest: Arc<Manifest>, seed: u64) -> Result<Reading> {
        let request = ReadRequest { is_discarded: true, ..ReadRequest::default() };
        let read = Read::new(vault.clone(), manifest.clone(), request, seed)?;
        Ok(Reading { manifest, read, bytes: 0, parts: 0, last_part: None })
    }

    fn needs_md5(&self) -> bool {
        self.manifest.has_no_hashes() && self.manifest.adopted.as_ref().is_some_and(|adopted| adopted.md5().is_some())
    }

    fn verified(&self, verdict: Verdict, reason: String) -> Verified {
        let Manifest { container, path, vid, .. } = &*self.manifest;
        let (container, path, vid) = (container.clone(), path.clone(), vid.clone());
        let bad = self.read.bad_part().filter(|_| verdict.is_bad()).and_then(|number| {
            let part = self.manifest.parts().nth(number as usize)?;
            let key = self.manifest.extents.get(part.extent)?.key.clone();
            let (number, extent) = (u64::from(number) + 1, part.extent as u64 + 1);
            Some(BadPart { number, extent, key, start: part.start, offset: part.offset, length: part.length })
        });
        let (bytes, parts) = (self.bytes, self.parts);
        Verified { verdict, container, path, vid, bytes, parts, bad, reason, needs_md5: false }
    }

    fn judge(&self, result: Result<()>) -> Result<Verified> {
        match result {
            Ok(()) if self.manifest.has_no_hashes() => {
                let why =
                    "it was adopted without hashes: its size and its ETag are right, and nothing else can be verified";
                Ok(self.verified(Verdict::Unverifiable, why.into()))
            }
            Ok(()) => Ok(self.verified(Verdict::Good, String::new())),
            Err(e) => match Verdict::of(&e) {
                Some(verdict) => Ok(self.verified(verdict, e.message().to_owned())),
                None => Err(e),
            },
        }
    }

    fn poll(&mut self, now: Now) -> Output<Verified> {
        match self.read.poll(now).outward() {
            Ok(Output::Accept(range)) => {
                self.bytes += range.length;
                // The slices of a part are accepted one after the other, once it is verified.
                let is_new = self.last_part.replace(range.part) != Some(range.part);
                self.parts += u64::from(is_new && !self.manifest.has_no_hashes());
                Output::Accept(range)
            }
            Ok(output) => output,
            Err(result) => Output::Done(self.judge(result)),
        }
    }
}

impl Machine for Verify {
    type Done = Verified;

    fn handle(&mut self, now: Now, input: Input<'_>) {
        match &mut self.stage {
            Stage::Find(find, ..) => find.handle(now, input),
            Stage::Read(reading) => reading.read.handle(now, input),
            Stage::Over => {}
        }
    }

    fn poll(&mut self, now: Now) -> Output<Verified> {
        loop {
            let found = match &mut self.stage {
                Stage::Over => return Output::Wait(None),
                Stage::Read(reading) if reading.needs_md5() => {
                    let why = "it was adopted without hashes: only its MD5 can tell";
                    let verified = Verified { needs_md5: true, ..reading.verified(Verdict::Unverifiable, why.into()) };
                    self.stage = Stage::Over;
                    return Output::Done(Ok(verified));
                }
                Stage::Read(reading) => return reading.poll(now),
                Stage::Find(find, ..) => match find.poll(now).outward() {
                    Ok(output) => return output,
                    Err(found) => found,
                },
            };
            if let Some(result) = self.found(found) {
                return Output::Done(result);
            }
        }
    }
}

/// Chooses a share of all versions by their ids: with another seed other ones, and with consecutive seeds all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    percent: u64,
    seed: u64,
}

/// How finely versions are told apart, in parts of one percent.
const STEPS: u64 = 10_000;

impl Sample {
    /// This many percent, 1 to 100.
    pub fn new(percent: u64, seed: u64) -> Sample {
        Sample { percent: percent.clamp(1, 100), seed }
    }

    /// How far a version is from being chosen; 0 and up to the share if it is.
    fn distance(self, vid: Vid) -> u64 {
        let mut bits = [0; 8];
        bits.copy_from_slice(&blake3::hash(vid.to_string().as_bytes()).as_bytes()[..8]);
        let place = u64::from_le_bytes(bits) % (100 * STEPS);
        let share = self.percent * STEPS;
        let start = (u128::from(self.seed) * u128::from(share) % u128::from(100 * STEPS)) as u64;
        (place + 100 * STEPS - start) % (100 * STEPS)
    }

    /// Whether a version is chosen.
    pub fn has(self, vid: Vid) -> bool {
        self.distance(vid) < self.percent * STEPS
    }

    /// Which of two versions comes first if none is chosen.
    pub fn is_nearer(self, vid: Vid, than: Vid) -> bool {
        self.distance(vid) < self.distance(than)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn consecutive_samples_have_every_version_once() {
        let vids: Vec<Vid> = (0..2_000).map(|n| Vid::new(1_764_000_000_000 + n, [n as u8; 10])).collect();
        for (percent, runs) in [(5, 20), (25, 4), (50, 2), (100, 1)] {
            for first in [0, 7, 20_422] {
                for vid in &vids {
                    let times = (first..first + runs).filter(|seed| Sample::new(percent, *seed).has(*vid)).count();
                    assert_eq!(times, 1, "{percent} % from {first}");
                }
            }
        }
        let chosen = vids.iter().filter(|vid| Sample::new(5, 3).has(**vid)).count();
        assert!((60..=140).contains(&chosen), "about 5 % of 2,000: {chosen}");
    }

    #[test]
    fn the_verdict_follows_from_what_failed() {
        for (code, verdict) in [
            (Code::Damaged, Some(Verdict::Damaged)),
            (Code::DataMissing, Some(Verdict::Missing)),
            (Code::Untrusted, Some(Verdict::Untrusted)),
            (Code::Format, Some(Verdict::Untrusted)),
            (Code::Unsupported, Some(Verdict::Unverifiable)),
            (Code::AccessDenied, None),
            (Code::Unavailable, None),
            (Code::Cancelled, None),
        ] {
            assert_eq!(Verdict::of(&Error::new(code, "x")), verdict, "{code:?}");
        }
        let archived = Error::new(Code::Store, "x").with_reply(403, "InvalidObjectState", "");
        assert_eq!(Verdict::of(&archived), Some(Verdict::Unverifiable));
        for verdict in ["good", "damaged", "missing", "untrusted", "unverifiable"] {
            assert_eq!(Verdict::parse(verdict).map(Verdict::as_str), Some(verdict));
        }
    }
}
