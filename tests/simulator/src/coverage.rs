//! Coverage of the simulator: how often each event occurred in a run and took effect. An event that no longer occurs is
//! coverage that was lost.

use std::collections::BTreeMap;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident: $share:literal,)+) => {
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

            /// Number of seeds of 1,000 that reach it at least: about half of those that do.
            pub fn share(self) -> u64 {
                match self { $(Probe::$name => $share,)+ }
            }
        }
    };
}

kinds! {
    /// A backup was hidden.
    BackupRemoved: 50,
    /// That was taken back.
    Undeleted: 10,
    /// A version was deleted by its id.
    VersionDeleted: 200,
    /// A prune deleted a version.
    Pruned: 200,
    /// The row of an incremental came after its parent was deleted.
    ParentDeletedBefore: 3,
    /// A sweep suspected a put.
    Suspected: 100,
    /// A suspected put had only been slow, and a sweep saw that.
    SuspectLived: 10,
    /// The data of a deleted version was removed.
    VersionFreed: 300,
    /// The data of an abandoned put was removed.
    PutSwept: 50,
    /// An object of another program was adopted.
    Adopted: 200,
    /// The object of an adopted version was removed with it.
    AdoptedFreed: 120,
    /// A version was pruned because of its age.
    PrunedByAge: 70,
    /// The store refused to delete what a job removes.
    DeletionRefused: 50,
    /// A process slept while jobs ran.
    Slept: 300,
    /// A process was killed at a request of prune or sweep.
    JobKilled: 100,
    /// A data key was wrapped with another key.
    Rotated: 50,
    /// A key was retired.
    KeyRetired: 50,
    /// A put or a rotation found that its key was closed.
    KeyWasClosed: 20,
    /// A version was copied under a new data key.
    Rekeyed: 15,
    /// What a re-keying replaced was removed.
    ReplacedFreed: 15,
    /// A copy that no locator names was removed.
    CopyFreed: 3,
    /// The store damaged a copy.
    CopyDamaged: 3,
    /// An object was copied in parts.
    CopiedInParts: 10,
    /// A process was killed at a request of a re-keying.
    RekeyingKilled: 10,
    /// A version that was encrypted on this side was read, and decrypted.
    Decrypted: 30,
    /// A version was read while keys were rotated.
    ReadAmid: 50,
    /// A request was lost before it arrived.
    LostBefore: 200,
    /// A request was surely not sent.
    NotSent: 200,
    /// A write took effect, and its answer was lost.
    LostAfter: 100,
    /// A write took effect after the client had abandoned it.
    Late: 100,
    /// A write took effect after its process had died.
    LateAfterCrash: 150,
    /// A write took effect twice.
    Twice: 100,
    /// A part was replaced by an older attempt, under another ETag.
    PartReplaced: 50,
    /// A request overtook another one of its task.
    Overtaken: 500,
    /// A slow reply was abandoned.
    NotWaitedFor: 50,
    /// A reply did not come in time.
    TimedOut: 300,
    /// A request was refused with SlowDown.
    SlowDown: 150,
    /// A request was refused with 429.
    TooManyRequests: 200,
    /// A store refused a checksum or a trailer, and it was left out.
    SentLess: 75,
    /// A store stored the framing of aws-chunked as data, and trailers were left out.
    FramingFound: 10,
    /// A store's checksums of whole objects were wrong.
    WholeDistrusted: 25,
    /// A request was refused with `Retry-After`.
    RetryAfter: 150,
    /// A 5xx other than SlowDown.
    ServerError: 150,
    /// A write took effect, and was answered with a 5xx.
    FailedAfter: 100,
    /// A proxy answered a request with a web page: one of the status 200, 403, 502.
    Page: 100,
    /// A write took effect, and a proxy answered it with a web page.
    PageAfter: 20,
    /// A request was signed for another region than the bucket's, which had to be learned.
    RegionLearned: 50,
    /// A put ended because the configured region is wrong.
    RegionRefused: 15,
    /// A retry waited for its token.
    TokenAwaited: 10,
    /// A request that the store throttles was tried more often than others.
    LongThrottled: 75,
    /// The delays of a run were enough to tell how they are spread.
    ManyDelays: 50,
    /// A request was sent while all requests are refused.
    Storm: 100,
    /// A request was sent while no request is answered.
    Outage: 100,
    /// A reply had status 200 and an error in its body.
    ErrorIn200: 20,
    /// A reply broke off.
    Truncated: 200,
    /// The connection of a range broke, and some of its bytes were kept.
    RangeBroke: 75,
    /// A request with a damaged body was refused.
    FlippedUp: 30,
    /// A damaged body was stored, by a store without checksums.
    FlippedAndStored: 5,
    /// The body of a reply was damaged on the network.
    FlippedDown: 75,
    /// A part was read again because its bytes were wrong.
    ReadAgain: 50,
    /// The store's clock stepped back.
    StoreClockBack: 100,
    /// A clock stepped.
    ClockStep: 150,
    /// A date was refused.
    Skewed: 100,
    /// A request's date had passed, and its connection was dropped.
    DatePassed: 75,
    /// The store refused keys that had expired.
    ExpiredKeys: 100,
    /// New keys were found.
    NewKeys: 100,
    /// No new keys were found.
    NoKeys: 40,
    /// A source changed while it was stored.
    SourceChanged: 50,
    /// A second reading of a part gave other bytes.
    ReadingsDiffer: 15,
    /// A row was deleted between the LIST and the GET of a listing.
    RowGone: 15,
    /// The Date of a reply was by the wrong clock of a proxy.
    ProxyDate: 100,
    /// A truncated page said so in another word than true.
    OtherTruncated: 3,
    /// A put ended because its source had changed.
    ChangeNoticed: 30,
    /// A put's process was killed.
    Crash: 200,
    /// A put was killed with parts in an open upload.
    CrashWithParts: 30,
    /// A put was killed after its Complete was sent.
    CrashAfterComplete: 30,
    /// A put was killed between two extents.
    CrashBetweenExtents: 5,
    /// A put was killed after its row was built.
    CrashWithRow: 20,
    /// A record was torn.
    Torn: 20,
    /// A put resumed after bytes that were stored already.
    Resumed: 100,
    /// A put with a checkpoint restarted from scratch.
    Restarted: 150,
    /// A put was suspended.
    Suspended: 50,
    /// A put was cancelled.
    Cancelled: 75,
    /// A checkpoint's disk was full.
    DiskFull: 15,
    /// Another client aborted an upload.
    UploadVanished: 20,
    /// A store failed while it completed an upload.
    UploadBroken: 10,
    /// The store lost a part of an upload.
    PartVanished: 30,
    /// A list of parts lacked one that the checkpoint names.
    PartMissed: 20,
    /// A list of parts had a part with another ETag than that of the reply.
    PartListedOtherwise: 20,
    /// A Complete was refused because of the ETag of a part.
    InvalidPart: 40,
    /// A Complete or a part was refused because the upload no longer exists.
    NoSuchUpload: 50,
    /// An object was looked for after a Complete without a reply, and found.
    Settled: 50,
    /// An object was looked for after a Complete without a reply, and not found.
    NotSettled: 10,
    /// A put did not know its outcome and committed again.
    Again: 75,
    /// A backup of several extents was stored.
    Extents: 40,
    /// An incremental was stored.
    Incremental: 100,
    /// A version id ran ahead of the store's clock.
    VidAhead: 15,
    /// The latest version was found.
    FoundLatest: 500,
    /// A version was found as of a time.
    FoundAsOf: 400,
    /// A lookup found no version.
    FoundNothing: 500,
    /// Versions were listed.
    Listed: 500,
    /// The newest version of each path was listed.
    ListedPaths: 200,
    /// A version was read by position.
    ReadByPosition: 400,
    /// A version was read in order.
    ReadInOrder: 300,
    /// A version was read in whole parts.
    ReadWholeParts: 300,
    /// Some bytes of a version were read.
    ReadBytes: 150,
    /// A restore into a file succeeded.
    Restored: 200,
    /// A restore was killed.
    RestoreKilled: 100,
    /// A power failure lost bytes of a restore that were not on disk yet.
    PowerCut: 50,
    /// A part was found in the file of a restore and not read again.
    PartKept: 30,
    /// A part was marked as verified, but its bytes were missing in the file of the restore.
    MarkWithoutBytes: 10,
    /// A restore succeeded with parts that were in its file already.
    RestoreResumed: 30,
    /// The data of a version was damaged or replaced in the store.
    Spoiled: 40,
    /// A read failed because the data was wrong or missing.
    DamageNoticed: 50,
}

/// How often each probe was hit.
pub type Counts = BTreeMap<Probe, u64>;
