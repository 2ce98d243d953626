//! The contract of every machine: `handle` what happened, then `poll` until it waits or is done.

use crate::checksum::Digest;
use crate::error::Error;
use crate::http::{Range, ReplyHead, Request, RequestId, TransportFailure};
use crate::time::Now;

/// What happened.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// The head of a reply came.
    Head {
        /// Of this request.
        id: RequestId,
        /// Status and headers.
        head: ReplyHead,
    },
    /// A piece of a collected body came.
    Body {
        /// Of the reply to this request.
        id: RequestId,
        /// The piece.
        bytes: &'a [u8],
    },
    /// A collected body ended as it should.
    End {
        /// Of the reply to this request.
        id: RequestId,
    },
    /// A range's connection broke, and so many of its bytes lie where they belong; the next request for it begins behind
    /// them. Comes before [`Input::Failed`].
    Arrived {
        /// The request.
        id: RequestId,
        /// In bytes, from the range's begin: those of earlier requests too.
        length: u64,
    },
    /// A range ended as HTTP says it should; the bytes lie where they belong, but are not trusted yet.
    RangeEnd {
        /// Of the reply to this request.
        id: RequestId,
        /// How many bytes came, with those of earlier requests.
        length: u64,
        /// What they were.
        digest: Digest,
    },
    /// No whole reply came. Nothing more comes for this request.
    Failed {
        /// The request.
        id: RequestId,
        /// Why.
        failure: TransportFailure,
    },
    /// A part that [`Output::NeedPart`] asked for is there, and its bytes can be sent.
    PartReady {
        /// The number that was asked for.
        number: u32,
        /// In bytes; shorter than `least` of [`Output::NeedPart`] only where it is the last.
        length: u64,
        /// What the bytes are; `None` where they will be hashed while they are sent.
        digest: Option<Digest>,
        /// Whether the source ends with it.
        last: bool,
    },
    /// All bytes of a part whose digest was not known are on their way. Comes before the end of the reply.
    PartSent {
        /// The request that sends it.
        id: RequestId,
        /// What the bytes were.
        digest: Digest,
    },
    /// The source of parts failed; the transfer ends with this error.
    SourceFailed(Error),
    /// All bytes of a request are on their way, and the connection waits for its reply. Comes once for a request, before
    /// its end; the time from here on to the reply's head is the store's alone.
    Sent {
        /// The request.
        id: RequestId,
    },
    /// The oldest record of [`Output::Save`] that was not answered yet is on disk.
    Saved,
    /// A record of [`Output::Save`] could not be saved. What the checkpoint has stays good.
    SaveFailed(Error),
    /// Stop where it stands, and leave everything so that the checkpoint can go on from it; ends in
    /// [`Code::Suspended`](crate::Code::Suspended).
    Suspend,
    /// The reader has taken all of an accepted range: its memory is free. File downloads send it at once.
    RangeConsumed {
        /// Of this range.
        index: u32,
    },
    /// [`Output::NeedCredentials`] was answered: the store has new ones now.
    CredentialsRenewed,
    /// [`Output::NeedCredentials`] was answered: there are no others. Why, where somebody tried to get some.
    CredentialsKept(Option<Error>),
    /// Come to an end soon, and leave as little behind as can be.
    Cancel,
    /// Try the last step again. Only after [`Output::Done`] with [`Code::OutcomeUnknown`](crate::Code::OutcomeUnknown),
    /// and the one thing that may be handled then.
    Again,
}

/// What to do.
#[derive(Debug)]
pub enum Output<T> {
    /// Send this request, once. Whatever comes of it is an [`Input`].
    Send(Request),
    /// Drop this request's connection; nothing that still comes of it is wanted.
    Abandon(RequestId),
    /// An upload can take its source: from this byte on, which is not 0 where it goes on from a checkpoint. Comes
    /// before the first [`Output::NeedPart`], and once more where a file is begun anew.
    Begin {
        /// In bytes, from the source's begin. Of a file the first part that is wanted begins here, but others behind it
        /// may be there.
        offset: u64,
        /// The source was at its end before: nothing more is taken, and nothing asked for.
        ended: bool,
        /// What the store has already, in bytes: of a file also behind `offset`.
        done: u64,
    },
    /// Append this record to the checkpoint, and have it on disk before [`Input::Saved`]. Records come in order, and only
    /// to a put that has a checkpoint.
    Save {
        /// To be appended as it stands.
        record: Vec<u8>,
        /// In place of all that the checkpoint has: the put begins anew.
        anew: bool,
    },
    /// Keep the next part of the source ready: up to `length` bytes from `offset`.
    NeedPart {
        /// From 1, each number once, in order.
        number: u32,
        /// In bytes, from the source's begin.
        offset: u64,
        /// At most so many bytes.
        length: u64,
        /// At least so many, but at the source's end: where memory is short, a stream's part may end before `length`. A
        /// file's parts, and those of a provider that wants equal ones, have exactly `length`.
        least: u64,
        /// Its digest must be known before it is sent. Else a driver that can read it at any time need not read it now.
        hashed: bool,
    },
    /// This part is not needed any more.
    ReleasePart(u32),
    /// Deliver this range. It is verified, or the machine was told to deliver others too. Ranges are accepted in any order;
    /// those of a part that go into a file together, when all of it is verified.
    Accept(Range),
    /// The store refuses the keys of this generation, or they have expired: find others, give them to
    /// [`Store::renew`](crate::store::Store::renew), and say [`Input::CredentialsRenewed`]; or say
    /// [`Input::CredentialsKept`]. It may be asked again before it is answered: one answer is enough for all.
    NeedCredentials {
        /// Of the keys that were refused; where [`Store::generation`](crate::store::Store::generation) is higher,
        /// somebody has renewed them already.
        generation: u64,
    },
    /// Nothing to do until an input comes or this monotonic time is reached.
    Wait(Option<u64>),
    /// The end. Nothing may be handled or polled after it, but for [`Input::Again`].
    Done(Result<T, Error>),
}

impl<T> Output<T> {
    /// The same for a machine that has this one inside of it; the end comes back as it is.
    pub fn outward<U>(self) -> Result<Output<U>, Result<T, Error>> {
        Ok(match self {
            Output::Send(request) => Output::Send(request),
            Output::Abandon(id) => Output::Abandon(id),
            Output::Begin { offset, ended, done } => Output::Begin { offset, ended, done },
            Output::Save { record, anew } => Output::Save { record, anew },
            Output::NeedPart { number, offset, length, least, hashed } => {
                Output::NeedPart { number, offset, length, least, hashed }
            }
            Output::ReleasePart(number) => Output::ReleasePart(number),
            Output::Accept(range) => Output::Accept(range),
            Output::NeedCredentials { generation } => Output::NeedCredentials { generation },
            Output::Wait(until) => Output::Wait(until),
            Output::Done(result) => return Err(result),
        })
    }
}

/// A machine: it decides, and the driver does.
pub trait Machine {
    /// What it ends with.
    type Done;

    /// Takes notice of what happened. An input that does not fit (a late reply to an abandoned request) is ignored.
    fn handle(&mut self, now: Now, input: Input<'_>);

    /// Says what to do next. Call it until it answers [`Output::Wait`] or [`Output::Done`].
    fn poll(&mut self, now: Now) -> Output<Self::Done>;
}
