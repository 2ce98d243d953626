//! The contract of every machine: `handle` an input, then `poll` until the machine waits or is done.

use std::fmt;
use std::sync::Arc;

use crate::checksum::Digest;
use crate::crypto::segment::{Salt, Segments};
use crate::error::{Code, Error, Result};
use crate::http::{Part, Range, ReplyHead, Request, RequestId, TransportFailure};
use crate::text::{line, presentable_key};
use crate::time::Now;

/// What happened: an input of a machine.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// The head of a reply arrived.
    Head {
        /// The request.
        id: RequestId,
        /// Status and headers of the reply.
        head: ReplyHead,
    },
    /// A piece of a collected body arrived.
    Body {
        /// The request.
        id: RequestId,
        /// The bytes of the piece.
        bytes: &'a [u8],
    },
    /// A collected body is complete.
    End {
        /// The request.
        id: RequestId,
    },
    /// The connection of a range broke after `length` of its bytes were put in place; the next request for the range
    /// starts after them. Comes before [`Input::Failed`].
    RangeProgress {
        /// The request.
        id: RequestId,
        /// Number of stored bytes in place from the start of the range, those of earlier requests included.
        length: u64,
    },
    /// The body of a range is complete. Its bytes are in place, but not verified yet.
    RangeEnd {
        /// The request.
        id: RequestId,
        /// Number of stored bytes that arrived, those of earlier requests included.
        length: u64,
        /// Digest of these bytes.
        digest: Digest,
    },
    /// The request failed without a complete reply. Nothing more comes for it.
    Failed {
        /// The request.
        id: RequestId,
        /// Why the request failed.
        failure: TransportFailure,
    },
    /// A part that [`Output::NeedPart`] asked for is ready to be sent.
    PartReady {
        /// Number of the part.
        number: u32,
        /// Length in bytes. Only the last part may be shorter than [`PartRequest::min_length`].
        length: u64,
        /// Digest of the bytes; `None` if they will be hashed while they are sent.
        digest: Option<Digest>,
        /// Whether the source ends with this part.
        last: bool,
        /// The salt that it was encrypted with, if the backup is.
        salt: Option<Salt>,
    },
    /// Answer to [`Output::HashPart`].
    PartHashed {
        /// Number of the part.
        number: u32,
        /// Digest of its bytes.
        digest: Digest,
        /// MD5 of its bytes.
        md5: [u8; 16],
    },
    /// All bytes of a part whose digest was not known were sent. Comes before the end of the reply.
    PartSent {
        /// The request that sends the part.
        id: RequestId,
        /// Digest of the bytes that were sent.
        digest: Digest,
    },
    /// The source of parts failed; the transfer ends with this error.
    SourceFailed(Error),
    /// All bytes of a request were sent, and the connection waits for the reply. Comes at most once for a request,
    /// before its end. The time from here to the reply's head is spent by the store alone.
    Sent {
        /// The request.
        id: RequestId,
    },
    /// The oldest record of [`Output::Save`] that was not yet acknowledged is on disk.
    Saved,
    /// A record of [`Output::Save`] could not be saved. Earlier records stay valid.
    SaveFailed(Error),
    /// Stop, and leave everything so that a put with the checkpoint can resume; ends in
    /// [`Code::Suspended`](crate::Code::Suspended).
    Suspend,
    /// The reader has consumed all of an accepted range, and its memory is free. File downloads send this at once.
    RangeConsumed {
        /// [`Range::index`] of the range.
        index: u32,
    },
    /// Answer to [`Output::NeedCredentials`]: the store has new credentials now.
    CredentialsRenewed,
    /// Answer to [`Output::NeedCredentials`]: there are no others. Contains the error if getting new ones failed.
    CredentialsKept(Option<Error>),
    /// Stop soon, and leave as little as possible on the store.
    Cancel,
    /// Retry the last step. Allowed only after [`Output::Done`] with
    /// [`Code::OutcomeUnknown`](crate::Code::OutcomeUnknown), and the only input allowed then.
    Retry,
}

/// Where an upload's source starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceStart {
    /// Offset in the source of the first byte that is needed; not 0 when the put resumes from a checkpoint. Parts of a
    /// file after this offset may be stored already.
    pub offset: u64,
    /// The source had already ended: nothing more of it is accepted or asked for.
    pub ended: bool,
    /// Number of bytes that the store already has; of a file, including those after `offset`.
    pub stored: u64,
}

impl SourceStart {
    /// Everything before `offset` is stored, and nothing after it.
    pub(crate) fn at(offset: u64, ended: bool) -> SourceStart {
        SourceStart { offset, ended, stored: offset }
    }
}

/// A part of the source that a machine needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartRequest {
    /// Part number, from 1. Each number is requested once, in ascending order.
    pub number: u32,
    /// Offset of the part in the source, in bytes.
    pub offset: u64,
    /// Maximum length of the part, in bytes.
    pub length: u64,
    /// Minimum length of the part, in bytes, unless the source ends: a stream's part may end before `length` where memory
    /// is short. For files, and for providers that want parts of equal size, it equals `length`.
    pub min_length: u64,
    /// The length of the part is a multiple of this, unless the source ends with it.
    pub multiple_of: u64,
    /// The digest must be known before the part is sent. Otherwise a driver that can read the part at any time need not
    /// read it now.
    pub hash_first: bool,
}

impl PartRequest {
    /// Refuses a part that was not requested like this.
    pub(crate) fn check(&self, number: u32, length: u64, digest: Option<&Digest>, last: bool) -> Result<()> {
        let wanted = self.length;
        if number != self.number {
            return Err(misuse(format!("part {number} was supplied, but part {} was asked for", self.number)));
        }
        if length > wanted || length < self.min_length && !last {
            return Err(misuse(format!("part {number} has {length} bytes, but {wanted} were asked for")));
        }
        if !length.is_multiple_of(self.multiple_of.max(1)) && !last {
            let whole = self.multiple_of;
            return Err(misuse(format!("part {number} has {length} bytes, which is not a multiple of {whole}")));
        }
        if self.hash_first && digest.is_none() {
            return Err(misuse(format!("part {number} was supplied without its digest")));
        }
        Ok(())
    }
}

/// The error of a driver that breaks the contract. It ends the machine and leaves everything on the store as it is.
pub(crate) fn misuse(why: impl Into<String>) -> Error {
    Error::new(Code::WrongState, why).with_hint("Report this message: the driver broke the contract of the machine.")
}

/// What to do: an output of a machine.
#[derive(Debug)]
pub enum Output<T> {
    /// Send this request, once. Its results are [`Input`]s.
    Send(Request),
    /// Drop the connection of this request, and discard what still arrives for it.
    Abandon(RequestId),
    /// An upload can accept its source now. Comes before the first [`Output::NeedPart`], and again if a file is restarted
    /// from scratch.
    Start(SourceStart),
    /// Append this record to the checkpoint, and have it on disk before [`Input::Saved`]. Records come in order, and only
    /// to a put that has a checkpoint.
    Save {
        /// The bytes to append.
        record: Vec<u8>,
        /// Replace everything in the checkpoint with this record: the put restarts from scratch.
        restart: bool,
    },
    /// Keep this part of the source ready, then answer with [`Input::PartReady`].
    NeedPart(PartRequest),
    /// Hash this part, which is ready, then answer with [`Input::PartHashed`] or [`Input::SourceFailed`]. Only for stores
    /// that refuse checksums, or trailers.
    HashPart(Part),
    /// This part is no longer needed.
    ReleasePart(u32),
    /// The ranges that are requested from here on consist of encrypted segments. Hash the bytes that arrive, decrypt each
    /// segment with this, and write or deliver only what was decrypted.
    Segments(Arc<Segments>),
    /// Deliver this range. It is verified, unless the machine was told to deliver unverified ranges too. Ranges come in
    /// any order; when delivered by position, those of a part come together once the part is verified.
    Accept(Range),
    /// The store refused the keys of this generation, or they expired. Give other keys to
    /// [`Account::renew`](crate::account::Account::renew) and answer [`Input::CredentialsRenewed`], or answer
    /// [`Input::CredentialsKept`]. This may be emitted again before it is answered: one answer is enough for all.
    NeedCredentials {
        /// Generation of the refused keys. If [`Account::generation`](crate::account::Account::generation) is higher, they
        /// were already renewed.
        generation: u64,
    },
    /// Tell the caller. The machine continues without an answer.
    Event(Event),
    /// There is nothing to do until an input arrives or this monotonic time is reached.
    Wait(Option<u64>),
    /// The machine is done. Nothing may be handled or polled after this, except [`Input::Retry`].
    Done(Result<T>),
}

impl<T> Output<T> {
    /// The same output for a machine that contains this one; the result of [`Output::Done`] comes back as `Err`.
    pub fn outward<U>(self) -> std::result::Result<Output<U>, Result<T>> {
        Ok(match self {
            Output::Send(request) => Output::Send(request),
            Output::Abandon(id) => Output::Abandon(id),
            Output::Start(start) => Output::Start(start),
            Output::Save { record, restart } => Output::Save { record, restart },
            Output::NeedPart(part) => Output::NeedPart(part),
            Output::HashPart(part) => Output::HashPart(part),
            Output::ReleasePart(number) => Output::ReleasePart(number),
            Output::Segments(segments) => Output::Segments(segments),
            Output::Accept(range) => Output::Accept(range),
            Output::NeedCredentials { generation } => Output::NeedCredentials { generation },
            Output::Event(event) => Output::Event(event),
            Output::Wait(until) => Output::Wait(until),
            Output::Done(result) => return Err(result),
        })
    }
}

/// What a machine reports while it runs: it does not end the machine, but somebody should know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A multipart upload stays on the store, because it could not be aborted.
    Orphan {
        /// The bucket.
        bucket: String,
        /// The key of the object that it was for.
        key: String,
        /// The upload's id.
        upload_id: String,
        /// Why it was not aborted.
        why: String,
    },
    /// A put was to be stopped when its data was complete: its version is stored all the same.
    StoredAnyway {
        /// The container.
        container: String,
        /// The path.
        path: String,
        /// The version's id.
        vid: String,
    },
    /// The store has not answered for some time; the machine keeps trying. Repeated while that lasts.
    Away {
        /// Why the last attempt failed.
        why: String,
        /// How long no request has succeeded, in milliseconds.
        for_ms: u64,
        /// How long the machine keeps trying from the first attempt, in milliseconds.
        retry_time_ms: u64,
    },
    /// The store refuses something that S3 has, or gets it wrong: the machine does without it from now on.
    Without {
        /// What the machine does without, and why.
        what: String,
    },
    /// An object that would hide a version, or decide on one, was not signed by a trusted key: it is ignored.
    Ignored {
        /// The bucket.
        bucket: String,
        /// Key of the object.
        key: String,
        /// Why it does not count.
        why: String,
    },
    /// A small object that tried the store stays, because it could not be deleted.
    ProbeLeft {
        /// The bucket.
        bucket: String,
        /// Key of the object.
        key: String,
        /// Why it was not deleted.
        why: String,
    },
    /// What a job did with one version, as a line of JSON.
    Item {
        /// The JSON.
        json: String,
    },
    /// The store answers again, after [`Event::Away`].
    Back {
        /// How long it was away, in milliseconds.
        after_ms: u64,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Orphan { bucket, key, upload_id, why } => {
                let (key, upload_id, why) = (presentable_key(key), presentable_key(upload_id), line(why.clone()));
                write!(
                    f,
                    "upload {upload_id} of s3://{bucket}/{key} stays on the store, and its parts take space: {why}"
                )
            }
            Event::StoredAnyway { container, path, vid } => {
                let name = presentable_key(format!("{container}/{path}"));
                write!(f, "{name} was complete before the put could be stopped, and is stored as version {vid}")
            }
            Event::Away { why, for_ms, retry_time_ms } => {
                let (away, limit) = (for_ms.div_ceil(1000), retry_time_ms / 1000);
                write!(f, "the store has been away for {away} s; retrying for up to {limit} s (retry_time): {why}")
            }
            Event::Ignored { bucket, key, why } => {
                write!(f, "s3://{bucket}/{} is ignored: {}", presentable_key(key), line(why.clone()))
            }
            Event::ProbeLeft { bucket, key, why } => {
                let (key, why) = (presentable_key(key), line(why.clone()));
                write!(
                    f,
                    "s3://{bucket}/{key} tried whether the store encrypts, and could not be deleted: {why}; a later sweep deletes it"
                )
            }
            Event::Item { json } => f.write_str(json),
            Event::Without { what } => f.write_str(&line(what.clone())),
            Event::Back { after_ms } => write!(f, "the store answers again, after {} s", after_ms.div_ceil(1000)),
        }
    }
}

/// A machine: it decides what to do, and its driver does it.
pub trait Machine {
    /// Result of the machine.
    type Done;

    /// Processes an input. One that does not fit (a late reply to an abandoned request) is ignored.
    fn handle(&mut self, now: Now, input: Input<'_>);

    /// Returns what to do next. Call it until it returns [`Output::Wait`] or [`Output::Done`].
    fn poll(&mut self, now: Now) -> Output<Self::Done>;
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_part_that_must_be_hashed_first_has_its_digest() {
        let digest = crate::checksum::digest(b"x");
        let request = PartRequest { number: 1, offset: 0, length: 8, min_length: 8, multiple_of: 1, hash_first: true };
        assert!(request.check(1, 8, Some(&digest), false).is_ok());
        assert_eq!(request.check(1, 8, None, true).unwrap_err().code(), Code::WrongState);
        assert!(PartRequest { hash_first: false, ..request }.check(1, 8, None, false).is_ok());
    }

    #[test]
    fn an_event_shows_what_a_store_said_on_one_line_and_short() {
        let foreign = "\x1b[31m\n\u{202e}".repeat(1 << 20);
        let (bucket, key) = ("b".to_owned(), foreign.clone());
        let event = Event::Orphan { bucket, key, upload_id: foreign.clone(), why: foreign };
        let text = event.to_string();
        assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}') && text.len() < 11_000, "{text}");
        let (bucket, key, upload_id, why) = ("b".into(), "vm/größe".into(), "x".repeat(300), "403".into());
        let text = Event::Orphan { bucket, key, upload_id: upload_id.clone(), why }.to_string();
        assert!(text.contains(&upload_id) && text.contains("s3://b/vm/größe"), "an administrator needs both: {text}");
    }
}
