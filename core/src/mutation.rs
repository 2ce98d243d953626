//! Mutations: deliberate bugs in the engine that the simulator must find. Without the feature `mutations`, which only
//! the simulator's tests enable, none is ever active and the checks compile to nothing.

macro_rules! mutations {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A deliberate bug in the engine.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutation { $($(#[doc = $doc])+ $name,)+ }

        #[cfg(feature = "mutations")]
        impl Mutation {
            /// All mutations. The simulator's test iterates over this list, so each of them must be found by a seed.
            pub const ALL: &[Mutation] = &[$(Mutation::$name,)+];
        }
    };
}

mutations! {
    /// A part's digests are not compared with the manifest's.
    SkipPartVerification,
    /// A part is delivered before it is verified.
    DeliverUnverifiedPart,
    /// Ranges are requested although the reader has not consumed the ones before.
    IgnoreSlowReader,
    /// The rest of a broken slice is requested from the slice's start.
    RestartBrokenSlice,
    /// A retry of a dated request is signed with a new date.
    RedateRetry,
    /// A request is retried without a limit.
    RetryForever,
    /// The number of attempts has no limit; their time has.
    IgnoreAttempts,
    /// The time for retries does not end.
    IgnoreRetryTime,
    /// A retry is sent at once.
    SkipBackoff,
    /// A retry is sent after its largest delay, always.
    SkipJitter,
    /// The delay before a retry doubles without a limit.
    DoubleForever,
    /// A `Retry-After` is ignored.
    IgnoreRetryAfter,
    /// A `Retry-After` of any length is waited for.
    WaitForLongRetryAfter,
    /// A `Retry-After` of more than a minute ends the retries.
    EndAtLongRetryAfter,
    /// What a store refuses is sent again and again.
    NeverSendLess,
    /// A store that accepts a part with a trailer is taken to have understood it.
    TrustTrailers,
    /// A retry does not wait for its token.
    SkipTokens,
    /// A 5xx is taken as a sign that the request had no effect.
    BelieveServerError,
    /// A request that was surely not sent may have taken effect.
    DoubtUnsentRequest,
    /// A region that was configured is corrected.
    CorrectConfiguredRegion,
    /// A read takes the newest version of the object, not the one that the manifest names.
    ReadNewestVersion,
    /// The `Date` of a proxy whose clock is wrong is believed.
    BelieveProxyDate,
    /// New credentials are ignored.
    IgnoreNewCredentials,
    /// Only the first page of a listing is requested.
    StopAfterFirstPage,
    /// A page that says in other words than `true` that it is truncated is the last.
    EndAtOtherTruncated,
    /// A page of a listing does not know the last row of the page before.
    ForgetLastRow,
    /// A listing fails if a row is deleted between its LIST and its GET.
    FailOnDeletedRow,
    /// A lookup by time does not know that version ids may run ahead.
    IgnoreVersionsAhead,
    /// A version id is not later than those that are there.
    IgnoreNewerVersions,
    /// The recorded time is always the put's start.
    RecordStart,
    /// A put's parent is not recorded.
    ForgetParent,
    /// More parts are under way than the window allows.
    ExceedWindow,
    /// An upload is aborted after its Complete was sent.
    AbortAfterComplete,
    /// An upload that can never be completed is kept.
    KeepBrokenUpload,
    /// A part is released before it was sent.
    ReleasePartTooEarly,
    /// After a Complete of unknown outcome the newest version of the key counts as its result.
    SettleOnNewestVersion,
    /// A Complete that may have been sent counts, although the upload lacks parts of it.
    BelieveCompleteWithoutParts,
    /// The second extent has the number 1.
    NumberExtentsFromZero,
    /// Data is sent before its locator.
    WriteDataBeforeLocator,
    /// A put succeeds before its catalogue row is stored.
    AcknowledgeBeforeRow,
    /// A row PUT of unknown outcome is reported as a failure.
    ReportUnknownAsFailed,
    /// A resumed upload sends parts that are stored already.
    ResendStoredParts,
    /// A suspended upload is aborted.
    AbortOnSuspend,
    /// A resumed source starts one part too late.
    ResumeSourceTooLate,
    /// The checkpoint has no record of the row.
    SkipRowRecord,
    /// A checkpoint record with a wrong checksum is accepted.
    AcceptTornRecord,
    /// Requests are sent before the checkpoint records they depend on are saved.
    SendBeforeSaved,
    /// A part that the checkpoint names counts as stored although ListParts lacks it.
    TrustCheckpointOverList,
    /// The ETag of the checkpoint is used where ListParts has another one.
    KeepOutdatedEtag,
    /// Two readings of a part are not compared.
    SkipRereadComparison,
    /// A resumed restore reads parts again that its file has already.
    RereadKeptParts,
    /// A resumed restore skips the part after one that its file has already.
    SkipPartAfterKeptOne,
    /// The row of a deletion may be older than the newest version.
    RemoveBeforeNewest,
    /// A version is deleted although another depends on it.
    DeleteNeededVersion,
    /// A prune believes the text of keys.
    PruneByKeys,
    /// A prune compares ages although a version is dated in the future.
    PruneInTheFuture,
    /// A prune does not see that a put in progress builds on a version.
    PruneIgnoresLocators,
    /// A prune marks parents before their children.
    MarkParentsFirst,
    /// A marker is acted on as soon as it is there.
    FinishAtOnce,
    /// A row that only a sweep suspects is removed.
    FinishSuspectedRow,
    /// A version is removed although another needs it.
    FinishNeededVersion,
    /// A version is removed although a put in progress builds on it.
    FinishIgnoresLocators,
    /// All objects of the plain key that were written at the time of a version are removed with it.
    FinishWholeKey,
    /// An upload on which somebody works is aborted.
    AbortBusyUpload,
    /// The uploads of a version are aborted after its data was removed.
    AbortAfterData,
    /// The markers of a version are removed before its locators.
    MarkersBeforeLocators,
    /// A sweep suspects puts that are young.
    SweepYoungPuts,
    /// A sweep does not look again whether a row is there.
    SweepWithoutLook,
    /// A sweep removes what it suspects without a marker.
    SweepWithoutMarker,
    /// What the vault wrote itself is adopted.
    AdoptOwnObjects,
    /// What is adopted is dated by the time at which it is stored, not by the look at the catalogue.
    AdoptUndated,
    /// An adopted object is removed although another one has replaced it.
    FinishReplacedObject,
    /// The entry of an adopted version is removed before its object.
    FinishAdoptedRowFirst,
    /// A job forgets what the store refused to delete.
    FinishIgnoresRefusal,
    /// Ages are those of this machine's clock.
    JobsByOwnClock,
    /// The paths of a container are pruned each for itself.
    PruneApart,
    /// A rotation deletes the old locators before the new one is stored.
    RotateDeletesFirst,
    /// A rotation deletes all locators but its own, not only lower generations.
    RotateDeletesOthers,
    /// A rotation changes the locators of puts that have not ended.
    RotateUncommitted,
    /// A rotation does not look whether its key is closed.
    RotateIgnoresClosed,
    /// A re-keying writes its locator although the copy differs from what was stored.
    RekeyWithoutCheck,
    /// What a re-keying replaced is removed as soon as the new locator is there.
    RekeyIgnoresGrace,
    /// A re-keying writes the next generation, as a rotation does.
    RekeyInEpoch,
    /// What a re-keying replaced is removed although the copy is not there.
    ClearWithoutLook,
    /// A key is retired as soon as it is closed.
    RetireAtOnce,
    /// A key is retired although locators name it.
    RetireWithoutLook,
    /// A put does not look whether its key is closed.
    PutIgnoresClosed,
    /// A put looks whether its key is closed once for a process, not again when that is old.
    PutLooksOnce,
    /// A read takes the locator with the highest generation, whether it opens or not.
    ReadHighestLocator,
    /// A read does not list the locators again after a rotation has replaced those that it saw.
    ReadLocatorsOnce,
    /// A read of some bytes starts at the start of their part.
    ReadFromPartStart,
}

/// Whether this mutation is active.
#[cfg(not(feature = "mutations"))]
pub(crate) const fn is_active(_mutation: Mutation) -> bool {
    false
}

#[cfg(feature = "mutations")]
mod active {
    use std::cell::Cell;

    use super::Mutation;

    thread_local! {
        static ACTIVE: Cell<Option<Mutation>> = const { Cell::new(None) };
    }

    /// Activates this mutation in all machines of this thread, and deactivates the one before.
    pub fn activate(mutation: Option<Mutation>) {
        ACTIVE.set(mutation);
    }

    pub(crate) fn is_active(mutation: Mutation) -> bool {
        ACTIVE.get() == Some(mutation)
    }
}

#[cfg(feature = "mutations")]
pub use active::activate;
#[cfg(feature = "mutations")]
pub(crate) use active::is_active;
