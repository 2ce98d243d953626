//! Counts what happened in runs and took effect: a kind that no longer occurs is coverage that was lost.

use std::collections::BTreeMap;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A kind of happening.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Seen { $($(#[doc = $doc])+ $name,)+ }

        impl Seen {
            /// All of them.
            pub const ALL: &[Seen] = &[$(Seen::$name,)+];

            /// What it means.
            pub fn text(self) -> &'static str {
                match self { $(Seen::$name => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

kinds! {
    /// A request was lost before it arrived.
    LostBefore,
    /// A write took effect, and its answer was lost.
    LostAfter,
    /// A write took effect after the client had abandoned it.
    Late,
    /// A write took effect after its process had died.
    LateOfTheDead,
    /// A write took effect twice.
    Twice,
    /// A part was replaced by an older attempt, under another ETag.
    PartReplaced,
    /// A request overtook another one of its task.
    Overtaken,
    /// A slow answer was not waited for.
    NotWaitedFor,
    /// A reply did not come in time.
    TimedOut,
    /// A refusal with SlowDown.
    SlowDown,
    /// A refusal with `Retry-After`.
    RetryAfter,
    /// A 5xx that is no SlowDown.
    ServerError,
    /// A request in a storm of refusals.
    Storm,
    /// A request while nothing is answered.
    Outage,
    /// A 200 with an error in it.
    ErrorIn200,
    /// A reply broke off.
    Truncated,
    /// A range broke, and bytes of it stayed.
    RangeBroke,
    /// A body that changed on its way was refused.
    FlippedUp,
    /// A body that changed on its way was stored, by a store without checksums.
    FlippedAndStored,
    /// A reply's body changed on its way.
    FlippedDown,
    /// A part was read again, since its bytes were wrong.
    ReadAgain,
    /// A clock stepped.
    ClockStep,
    /// A date was refused.
    Skewed,
    /// A request's date had passed, and its connection was dropped.
    DatePassed,
    /// The store refused keys that had expired.
    ExpiredKeys,
    /// New keys were found.
    NewKeys,
    /// No new keys were found.
    NoKeys,
    /// A source changed while it was stored.
    SourceChanged,
    /// A second reading of a part gave other bytes.
    ReadingsDiffer,
    /// A put ended since its source had changed.
    ChangeNoticed,
    /// A put's process was killed.
    Crash,
    /// A put was killed with parts in an open upload.
    CrashWithParts,
    /// A put was killed after its Complete was sent.
    CrashAfterComplete,
    /// A put was killed between two extents.
    CrashBetweenExtents,
    /// A put was killed with its row fixed.
    CrashWithRow,
    /// A record was torn.
    Torn,
    /// A put resumed after bytes that were stored already.
    Resumed,
    /// A put with a checkpoint restarted from scratch.
    Restarted,
    /// A put was suspended.
    Suspended,
    /// A put was cancelled.
    Cancelled,
    /// A checkpoint's disk was full.
    DiskFull,
    /// An upload vanished.
    UploadVanished,
    /// A store failed while it completed an upload.
    UploadBroken,
    /// A part vanished from an upload.
    PartVanished,
    /// A list of parts lacked one that the checkpoint names.
    PartMissed,
    /// A list of parts had one under another ETag than was answered.
    PartListedOtherwise,
    /// A Complete was refused for a part's ETag.
    InvalidPart,
    /// A Complete, or a part, was refused since its upload is gone.
    NoSuchUpload,
    /// An object was looked for after a Complete in doubt, and found.
    Settled,
    /// An object was looked for after a Complete in doubt, and not found.
    NotSettled,
    /// A put did not know its outcome, and committed again.
    Again,
    /// A backup of several extents was stored.
    Extents,
    /// A version was read by position.
    ReadByPosition,
    /// A version was read in order.
    ReadInOrder,
    /// A version was read in whole parts.
    ReadWholeParts,
    /// Some bytes of a version were read.
    ReadBytes,
    /// A restore into a file ended well.
    Restored,
    /// A restore was killed.
    RestoreKilled,
    /// A restore lost what was not on its disk.
    PowerCut,
    /// A part was in a restore's file, and not read again.
    PartKept,
    /// A part was marked in a restore's file, and its bytes were not there.
    MarkWithoutBytes,
    /// A restore ended well with parts that were in its file.
    RestoreResumed,
    /// A version's data rotted or moved in the store.
    Spoiled,
    /// A reading ended since its data was wrong or gone.
    DamageNoticed,
}

/// How often each was seen.
pub type Counts = BTreeMap<Seen, u64>;
