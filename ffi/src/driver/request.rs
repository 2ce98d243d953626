//! One attempt of one request: sends it, and says to the engine what comes of it.

use std::sync::Arc;

use s3vault_core::checksum::{Digest, Digester};
use s3vault_core::http::{ERROR_LIMIT, Range, ReplyBody, Request, TransportFailure};
use s3vault_core::{Code, Error, Result};
use tokio::sync::mpsc::UnboundedSender;

use super::download_file::FileSink;
use super::download_stream::{FrameSink, RangeFrames};
use super::engine::Message;
use crate::transport::activity::Activity;
use crate::transport::body::Outgoing;
use crate::transport::frames::Frame;
use crate::transport::{Reply, Transport};

/// Where the bytes of a range go. Each attempt has its own.
pub(super) enum Sink {
    File(FileSink),
    Frames(FrameSink),
}

/// What a sink hands over when its range came whole.
pub(super) enum Received {
    /// The bytes are in the file.
    InFile,
    /// The bytes are in these frames.
    Frames(RangeFrames),
}

impl Sink {
    /// Before the first frame. `false`: the bytes are not wanted any more.
    async fn begin(&mut self) -> bool {
        match self {
            Sink::File(file) => file.begin().await,
            Sink::Frames(_) => true,
        }
    }

    async fn put(&mut self, frame: Frame) -> Result<()> {
        match self {
            Sink::File(file) => file.put(frame).await,
            Sink::Frames(frames) => {
                frames.put(frame);
                Ok(())
            }
        }
    }

    async fn finish(self) -> Result<Received> {
        match self {
            Sink::File(file) => file.finish().await.map(|()| Received::InFile),
            Sink::Frames(frames) => Ok(Received::Frames(frames.finish())),
        }
    }
}

/// What a request's task owns.
pub(super) struct Attempt {
    pub(super) transport: Transport,
    pub(super) engine: UnboundedSender<Message>,
    pub(super) request: Request,
    pub(super) body: Option<Outgoing>,
    pub(super) sink: Option<Sink>,
    pub(super) activity: Arc<Activity>,
}

/// Why an attempt has no whole reply.
enum Stop {
    /// The machine decides what follows.
    Failed(TransportFailure),
    /// This machine is at fault: no other attempt can help.
    Fatal(Error),
}

impl From<TransportFailure> for Stop {
    fn from(failure: TransportFailure) -> Stop {
        Stop::Failed(failure)
    }
}

impl Attempt {
    pub(super) async fn run(self) {
        let (id, engine) = (self.request.id, self.engine.clone());
        let _guard = OnPanic(engine.clone());
        let message = match self.attempt().await {
            Ok(message) => message,
            Err(Stop::Failed(failure)) => Message::Failed { id, failure },
            Err(Stop::Fatal(error)) => Message::Fatal(error),
        };
        let _ = engine.send(message);
    }

    /// The last message of the attempt.
    async fn attempt(self) -> Result<Message, Stop> {
        let Attempt { transport, engine, request, body, sink, activity } = self;
        let id = request.id;
        if body.as_ref().is_none_or(|body| body.length() == 0) {
            let _ = engine.send(Message::Sent { id });
        }
        let mut reply = transport.send(&request, body, activity.clone()).await?;
        let success = reply.head.is_success();
        let _ = engine.send(Message::Head { id, head: std::mem::take(&mut reply.head) });
        match (request.reply, sink) {
            (ReplyBody::Range(range), Some(sink)) if success => {
                let (length, digest, received) = take_range(&transport, reply, range, sink, &activity).await?;
                Ok(Message::RangeEnd { id, length, digest, received })
            }
            (ReplyBody::Collect { limit }, _) if success => {
                let mut length = 0;
                while let Some(bytes) = reply.chunk().await? {
                    length += bytes.len();
                    if length > limit {
                        return Err(reply.broken(format!("the reply's body is longer than {limit} bytes")).into());
                    }
                    let _ = engine.send(Message::Body { id, bytes });
                }
                Ok(Message::End { id })
            }
            // A refusal. Its status matters, however long a page a proxy adds to it.
            _ => {
                let mut left = ERROR_LIMIT;
                while left > 0
                    && let Some(bytes) = reply.chunk().await?
                {
                    let bytes = bytes.slice(..bytes.len().min(left));
                    left -= bytes.len();
                    let _ = engine.send(Message::Body { id, bytes });
                }
                Ok(Message::End { id })
            }
        }
    }
}

/// Gathers the body of a range in frames, so that what is held is what came (a piece as it comes from the
/// connection pins a buffer that may be many times as large), hashes each while it is warm, and passes it on.
async fn take_range(
    transport: &Transport,
    mut reply: Reply,
    range: Range,
    mut sink: Sink,
    activity: &Activity,
) -> Result<(u64, Digest, Received), Stop> {
    if !sink.begin().await {
        return Err(reply.broken(format!("range {} came by another request", range.index)).into());
    }
    let (mut length, mut digester) = (0_u64, Digester::new());
    let mut frame = transport.pool().take();
    while let Some(bytes) = reply.chunk().await? {
        length += bytes.len() as u64;
        if length > range.length {
            return Err(reply.broken(format!("more than the {} bytes of the range came", range.length)).into());
        }
        activity.moved(bytes.len() as u64);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            rest = &rest[frame.fill(rest)..];
            if frame.is_full() {
                digester.update(frame.filled());
                let full = std::mem::replace(&mut frame, transport.pool().take());
                sink.put(full).await.map_err(Stop::Fatal)?;
            }
        }
    }
    if !frame.filled().is_empty() {
        digester.update(frame.filled());
        sink.put(frame).await.map_err(Stop::Fatal)?;
    }
    let received = sink.finish().await.map_err(Stop::Fatal)?;
    Ok((length, digester.finish(), received))
}

impl Reply {
    /// The failure of a reply that is not what it should be.
    fn broken(&self, how: String) -> TransportFailure {
        TransportFailure { code: Code::ConnectionLost, maybe_sent: true, detail: format!("{}: {how}", self.what()) }
    }
}

/// A task that panics must not leave its machine waiting.
struct OnPanic(UnboundedSender<Message>);

impl Drop for OnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = Error::new(Code::Internal, "the task of a request panicked");
            let _ = self.0.send(Message::Fatal(error));
        }
    }
}
