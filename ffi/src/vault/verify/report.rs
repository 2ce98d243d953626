//! The report of a run over many versions.

use s3vault_core::vault::{Verdict, Verified};
use serde_json::json;

/// Most versions that the report shows which are not good.
const SHOWN: usize = 100;

/// What was found out about the versions of a vault.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// Number of versions that were listed, and of those that are hidden and still needed.
    pub versions: u64,
    /// Number of versions that are not listed, and that a restore of a listed one needs: they are hidden, or gone.
    pub hidden: u64,
    /// Number of versions that the sample has.
    pub chosen: u64,
    /// Number of those that an earlier run had verified, by the state file.
    pub resumed: u64,
    /// Number of versions that are as they were stored.
    pub good: u64,
    /// Number of versions with bytes that differ.
    pub damaged: u64,
    /// Number of versions with data that is gone.
    pub missing: u64,
    /// Number of versions that no trusted key signed.
    pub untrusted: u64,
    /// Number of versions that are there, but cannot be verified.
    pub unverifiable: u64,
    /// Bytes that were read and are right.
    pub bytes: u64,
    /// The first versions that are not good.
    pub not_good: Vec<Verified>,
    sample: u64,
    sample_seed: u64,
}

impl VerifyReport {
    pub(super) fn set_sample(&mut self, sample: u64, sample_seed: u64) {
        (self.sample, self.sample_seed) = (sample, sample_seed);
    }

    pub(super) fn count(&mut self, verified: &Verified) {
        *match verified.verdict {
            Verdict::Good => &mut self.good,
            Verdict::Damaged => &mut self.damaged,
            Verdict::Missing => &mut self.missing,
            Verdict::Untrusted => &mut self.untrusted,
            _ => &mut self.unverifiable,
        } += 1;
        self.bytes += verified.bytes;
        if verified.verdict != Verdict::Good && self.not_good.len() < SHOWN {
            self.not_good.push(verified.clone());
        }
    }

    /// Number of versions that have a verdict.
    pub(super) fn done(&self) -> u64 {
        self.good + self.damaged + self.missing + self.untrusted + self.unverifiable
    }

    /// Whether a version cannot be restored as it was stored.
    pub fn has_bad(&self) -> bool {
        self.damaged + self.missing + self.untrusted > 0
    }

    /// The report as JSON.
    pub fn to_json(&self) -> String {
        let parsed = |one: &Verified| serde_json::from_str::<serde_json::Value>(&one.to_json()).unwrap_or_default();
        let not_good: Vec<serde_json::Value> = self.not_good.iter().map(parsed).collect();
        json!({
            "versions": self.versions, "hidden": self.hidden, "chosen": self.chosen, "resumed": self.resumed, "sample": self.sample,
            "sample_seed": self.sample_seed, "good": self.good, "damaged": self.damaged, "missing": self.missing,
            "untrusted": self.untrusted, "unverifiable": self.unverifiable, "bytes": self.bytes, "not_good": not_good,
        })
        .to_string()
    }
}
