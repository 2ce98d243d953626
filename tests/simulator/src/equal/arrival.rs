//! The arrival of a put's requests at the store: what the reference does when one takes effect.

use s3vault_core::Code;
use s3vault_core::vault::objects::{CatalogueKey, Entry, LOCATORS, VAULT_KEY, catalogue_prefix};
use s3vault_core::vault::{Kind, Vid};

use super::operation::name;
use super::reference::{Version, is_future};
use super::run::{Checked, Run, Work};
use super::sequence::NAMES;
use crate::network::IDLE_MS;
use crate::process::Source;
use crate::wire::Wire;

/// How far a client's idea of the store's clock may be off: a `Date` has whole seconds, and may be as old as its request.
const CLOCK_MS: i64 = 1000 + IDLE_MS as i64;

/// A put: what it stores, and what became of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Storing {
    pub(super) name: usize,
    pub(super) parent: Option<Vid>,
    pub(super) source: Source,
    pub(super) entropy: [u8; 10],
    /// The store's clock at its newest first LIST; and the versions of its name that were there.
    pub(super) listed: Option<(i64, Vec<Vid>)>,
    /// The store's clock at its newest write of data.
    pub(super) data_ms: Option<i64>,
    /// Why that LIST makes it fail.
    pub(super) refused: Option<Code>,
    /// The version that it has stored.
    pub(super) stored: Option<usize>,
    /// It has a checkpoint.
    pub(super) is_saved: bool,
    /// The version id of its newest locator.
    pub(super) vid: Option<Vid>,
    /// It resumes, and has not looked for its version yet.
    pub(super) is_resuming: bool,
}

impl Run {
    /// A request took effect: the reference does what it stands for.
    pub(super) fn arrived(&mut self, number: usize, wire: &Wire, clock: i64) -> Checked<()> {
        if let Some(Work::Change(_)) = &self.writers[number].work {
            return self.changed(number, wire, clock);
        }
        let Run { writers, reference, buckets, .. } = self;
        let writer = &mut writers[number];
        let is_write = matches!(wire.request.method, "PUT" | "POST") && wire.request.key != VAULT_KEY;
        // Whether a locator that was sent beside the LIST is abandoned depends on what the process knew, and so on the mode.
        let is_second_locator = wire.request.key.starts_with(LOCATORS)
            && matches!(&writer.work, Some(Work::Put(Storing { vid: Some(_), .. })));
        writer.writes += u64::from(is_write && !wire.request.key.is_empty() && !is_second_locator);
        let entry = CatalogueKey::parse(&wire.request.key).map(|key| key.entry);
        let Some(Work::Put(storing)) = &mut writer.work else {
            return if is_write { Err(format!("{number} reads, and writes {}", wire.short())) } else { Ok(()) };
        };
        let is_first_list = wire.operation == "ListObjectsV2"
            && wire.parameter("prefix") == catalogue_prefix(&name(storing.name))
            && wire.parameter("continuation-token").is_empty();
        if is_first_list {
            let own = reference.all(storing.name);
            storing.listed = Some((clock, own.iter().map(|n| reference.versions[*n].vid).collect()));
            storing.refused = reference.refuses_put(storing.name, storing.parent, clock);
        }
        if let Some(locator) = wire.request.key.strip_prefix(LOCATORS).filter(|_| is_write) {
            let last = locator.rsplit('/').next().and_then(|last| last.split('.').next());
            storing.vid = last.and_then(|vid| Vid::parse(vid).ok());
        }
        // A put that resumes looks for the version that its checkpoint names first.
        let own = wire.parameter("prefix").strip_prefix(&catalogue_prefix(&name(storing.name)));
        if wire.operation == "ListObjectsV2"
            && storing.is_resuming
            && let Some(vid) = own.and_then(|own| Vid::parse(own.trim_end_matches('.')).ok())
        {
            storing.is_resuming = false;
            storing.refused = is_future(vid, clock).then_some(Code::FutureVersion);
        }
        if is_write && !wire.request.key.starts_with("_s3vault/") {
            storing.data_ms = Some(clock);
        }
        if let (true, Some(Entry::Row(row))) = (is_write, entry)
            && storing.stored.is_none_or(|stored| reference.versions[stored].vid != row.vid)
        {
            let Some((listed_ms, older)) = &storing.listed else {
                return Err(format!("{number} stores {} before it has listed", row.vid));
            };
            if storing.stored.is_some() || storing.refused.is_some() {
                return Err(format!("{number} stores {}, and should not: {storing:?}", row.vid));
            }
            if older.iter().any(|older| *older <= row.vid) {
                return Err(format!("{number} stores {}, and a version that it listed is newer", row.vid));
            }
            // The store's clock may have been set back since; then a version is recorded when its put started.
            let times = match (self.sequence.record_after_store, storing.data_ms) {
                (true, Some(data_ms)) => data_ms - CLOCK_MS..=clock.max(*listed_ms).max(data_ms) + CLOCK_MS,
                (true, None) => return Err(format!("{number} stores {} without data", row.vid)),
                (false, _) => listed_ms - CLOCK_MS..=listed_ms + CLOCK_MS,
            };
            if !times.contains(&row.recorded_ms) {
                return Err(format!("{number} stores {}, recorded at {}: not in {times:?}", row.vid, row.recorded_ms));
            }
            let parent = storing.parent.and_then(|vid| reference.versions.iter().position(|one| one.vid == vid));
            let kind = if parent.is_some() { Kind::Inc } else { Kind::Full };
            if (row.kind, row.parent, row.size) != (kind, storing.parent, storing.source.length) {
                return Err(format!("{number} stores another row than it was told to: {row:?}, {storing:?}"));
            }
            let Source { number: source, length, .. } = storing.source;
            let (vid, recorded_ms) = (row.vid, row.recorded_ms);
            storing.stored = Some(reference.versions.len());
            let (is_hidden, is_gone) = (false, false);
            let version =
                Version { name: storing.name, vid, kind, parent, recorded_ms, length, source, is_hidden, is_gone };
            reference.versions.push(version);
            buckets.insert(NAMES[storing.name].0, wire.request.bucket.clone());
        }
        Ok(())
    }
}
