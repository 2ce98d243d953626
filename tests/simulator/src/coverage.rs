//! Coverage of the simulator: how often each event occurred in a run and took effect. An event that no longer occurs is
//! coverage that was lost.

use std::collections::BTreeMap;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// An event that a run has to reach.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Probe { $($(#[doc = $doc])+ $name,)+ }

        impl Probe {
            /// All probes.
            pub const ALL: &[Probe] = &[$(Probe::$name,)+];

            /// Description of the event.
            pub fn text(self) -> &'static str {
                match self { $(Probe::$name => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

kinds! {
    /// A request was lost before it arrived.
    LostBefore,
    /// A request was surely not sent.
    NotSent,
    /// A write took effect, and its answer was lost.
    LostAfter,
    /// A write took effect after the client had abandoned it.
    Late,
    /// A write took effect after its process had died.
    LateAfterCrash,
    /// A write took effect twice.
    Twice,
    /// A part was replaced by an older attempt, under another ETag.
    PartReplaced,
    /// A request overtook another one of its task.
    Overtaken,
    /// A slow reply was abandoned.
    NotWaitedFor,
    /// A reply did not come in time.
    TimedOut,
    /// A request was refused with SlowDown.
    SlowDown,
    /// A request was refused with 429.
    TooManyRequests,
    /// A request was refused with `Retry-After`.
    RetryAfter,
    /// A 5xx other than SlowDown.
    ServerError,
    /// A write took effect, and was answered with a 5xx.
    FailedAfter,
    /// A proxy answered a request with a web page: one of the status 200, 403, 502.
    Page,
    /// A write took effect, and a proxy answered it with a web page.
    PageAfter,
    /// A request was signed for another region than the bucket's, which had to be learned.
    RegionLearned,
    /// A put ended because the configured region is wrong.
    RegionRefused,
    /// A retry waited for its token.
    TokenAwaited,
    /// A request that the store throttles was tried more often than others.
    LongThrottled,
    /// The delays of a run were enough to tell how they are spread.
    ManyDelays,
    /// A request was sent while all requests are refused.
    Storm,
    /// A request was sent while no request is answered.
    Outage,
    /// A reply had status 200 and an error in its body.
    ErrorIn200,
    /// A reply broke off.
    Truncated,
    /// The connection of a range broke, and some of its bytes were kept.
    RangeBroke,
    /// A request with a damaged body was refused.
    FlippedUp,
    /// A damaged body was stored, by a store without checksums.
    FlippedAndStored,
    /// The body of a reply was damaged on the network.
    FlippedDown,
    /// A part was read again because its bytes were wrong.
    ReadAgain,
    /// The store's clock stepped back.
    StoreClockBack,
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
    /// A row was deleted between the LIST and the GET of a listing.
    RowGone,
    /// A put ended because its source had changed.
    ChangeNoticed,
    /// A put's process was killed.
    Crash,
    /// A put was killed with parts in an open upload.
    CrashWithParts,
    /// A put was killed after its Complete was sent.
    CrashAfterComplete,
    /// A put was killed between two extents.
    CrashBetweenExtents,
    /// A put was killed after its row was built.
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
    /// Another client aborted an upload.
    UploadVanished,
    /// A store failed while it completed an upload.
    UploadBroken,
    /// The store lost a part of an upload.
    PartVanished,
    /// A list of parts lacked one that the checkpoint names.
    PartMissed,
    /// A list of parts had a part with another ETag than that of the reply.
    PartListedOtherwise,
    /// A Complete was refused because of the ETag of a part.
    InvalidPart,
    /// A Complete or a part was refused because the upload no longer exists.
    NoSuchUpload,
    /// An object was looked for after a Complete without a reply, and found.
    Settled,
    /// An object was looked for after a Complete without a reply, and not found.
    NotSettled,
    /// A put did not know its outcome and committed again.
    Again,
    /// A backup of several extents was stored.
    Extents,
    /// An incremental was stored.
    Incremental,
    /// A version id ran ahead of the store's clock.
    VidAhead,
    /// The latest version was found.
    FoundLatest,
    /// A version was found as of a time.
    FoundAsOf,
    /// A lookup found no version.
    FoundNothing,
    /// Versions were listed.
    Listed,
    /// The newest version of each path was listed.
    ListedPaths,
    /// A version was read by position.
    ReadByPosition,
    /// A version was read in order.
    ReadInOrder,
    /// A version was read in whole parts.
    ReadWholeParts,
    /// Some bytes of a version were read.
    ReadBytes,
    /// A restore into a file succeeded.
    Restored,
    /// A restore was killed.
    RestoreKilled,
    /// A power failure lost bytes of a restore that were not on disk yet.
    PowerCut,
    /// A part was found in the file of a restore and not read again.
    PartKept,
    /// A part was marked as verified, but its bytes were missing in the file of the restore.
    MarkWithoutBytes,
    /// A restore succeeded with parts that were in its file already.
    RestoreResumed,
    /// The data of a version was damaged or replaced in the store.
    Spoiled,
    /// A read failed because the data was wrong or missing.
    DamageNoticed,
}

/// How often each probe was hit.
pub type Counts = BTreeMap<Probe, u64>;
