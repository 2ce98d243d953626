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
    /// A range ended as HTTP says it should; the bytes lie where they belong, but are not trusted yet.
    RangeEnd {
        /// Of the reply to this request.
        id: RequestId,
        /// How many bytes came.
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
        /// In bytes; shorter than asked for only where it is the last.
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
    /// Keep the next part of the source ready: up to `length` bytes from `offset`.
    NeedPart {
        /// From 1, each number once, in order.
        number: u32,
        /// In bytes, from the source's begin.
        offset: u64,
        /// At most so many bytes; fewer only at the source's end.
        length: u64,
        /// Its digest must be known before it is sent. Else a driver that can read it at any time need not read it now.
        hashed: bool,
    },
    /// This part is not needed any more.
    ReleasePart(u32),
    /// This range is verified: deliver it. Ranges are accepted in any order.
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
    pub(crate) fn outward<U>(self) -> Result<Output<U>, Result<T, Error>> {
        Ok(match self {
            Output::Send(request) => Output::Send(request),
            Output::Abandon(id) => Output::Abandon(id),
            Output::NeedPart { number, offset, length, hashed } => Output::NeedPart { number, offset, length, hashed },
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
