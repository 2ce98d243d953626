//! A download that is read in order: verified ranges wait in frames until the reader takes them.

use std::collections::{BTreeMap, VecDeque};

use crossbeam_channel::Sender;
use s3vault_core::http::Range;
use s3vault_core::{Code, Error, Machine, Result};

use super::Host;
use super::engine::{Message, Payload};
use super::progress::Progress;
use super::request::{Received, Sink};
use super::task::{News, Task};
use super::wait::Deadline;
use crate::control::Control;
use crate::transport::frames::Frame;

/// A reader of a backup. Dropped before its end, it cancels the download.
///
/// Memory: the ranges that the machine has open. One is open until its last byte was read
/// ([`Input::RangeConsumed`](s3vault_core::Input::RangeConsumed)), so a slow reader holds the machine back.
pub(crate) struct StreamDownload {
    task: Task<(), RangeFrames>,
    current: Option<RangeFrames>,
    /// In the first frame of the current range.
    position: usize,
    /// How the download ended.
    end: Option<Result<()>>,
}

impl StreamDownload {
    /// Starts the machine; its first error is the first read's.
    pub(crate) fn start<M>(host: &Host, machine: M, _control: &mut Control<'_>) -> Result<StreamDownload>
    where
        M: Machine<Done = ()> + Send + 'static,
    {
        let task = Task::start_with(host, machine, Progress::new(None), |_, to_reader| StreamTarget {
            received: BTreeMap::new(),
            accepted: BTreeMap::new(),
            next: 0,
            to_reader,
        })?;
        Ok(StreamDownload { task, current: None, position: 0, end: None })
    }

    /// Reads at least one byte, and as many as are there without waiting; 0 is the end, after all ranges were
    /// verified. A wait that was ended (cancel, time-out, callback) can be begun again.
    pub(crate) fn read(&mut self, buffer: &mut [u8], control: &mut Control<'_>) -> Result<usize> {
        let deadline = Deadline::of(control);
        self.task.look(deadline, control)?;
        let mut count = 0;
        while count < buffer.len() {
            if self.current.is_none() {
                // What was said already is still there after the end.
                let news = match self.task.next_now() {
                    Some(news) => news,
                    None if count > 0 => break,
                    None => match &self.end {
                        Some(end) => return end.clone().map(|()| 0),
                        None => self.task.next(deadline, control)?,
                    },
                };
                match news {
                    News::Ask(frames) => self.current = Some(frames),
                    News::Done(result) => {
                        self.end = Some(result);
                        continue;
                    }
                }
            }
            count += self.take(&mut buffer[count..]);
        }
        if self.end.is_some() {
            self.task.tell_last(control);
        }
        Ok(count)
    }

    /// Copies from the current range, and lets go of what was read.
    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let Some(range) = &mut self.current else { return 0 };
        let mut count = 0;
        while let Some(frame) = range.frames.front() {
            let rest = &frame.filled()[self.position..];
            let part = rest.len().min(buffer.len() - count);
            buffer[count..count + part].copy_from_slice(&rest[..part]);
            count += part;
            self.position += part;
            if part < rest.len() {
                return count;
            }
            range.frames.pop_front();
            self.position = 0;
        }
        self.task.say(Message::RangeConsumed { index: range.index });
        self.current = None;
        count
    }
}

/// A range in memory.
pub(super) struct RangeFrames {
    index: u32,
    frames: VecDeque<Frame>,
}

/// Keeps the frames of one attempt.
pub(super) struct FrameSink(RangeFrames);

impl FrameSink {
    pub(super) fn put(&mut self, frame: Frame) {
        self.0.frames.push_back(frame);
    }

    pub(super) fn finish(self) -> RangeFrames {
        self.0
    }
}

struct StreamTarget {
    /// Came whole, but not verified.
    received: BTreeMap<u32, RangeFrames>,
    /// Verified, and waiting for an earlier one.
    accepted: BTreeMap<u32, RangeFrames>,
    /// The index that the reader gets next.
    next: u32,
    to_reader: Sender<News<(), RangeFrames>>,
}

impl Payload for StreamTarget {
    fn sink(&mut self, range: Range) -> Result<Sink> {
        Ok(Sink::Frames(FrameSink(RangeFrames { index: range.index, frames: VecDeque::new() })))
    }

    fn received(&mut self, received: Received) {
        if let Received::Frames(range) = received {
            self.received.insert(range.index, range);
        }
    }

    fn accept(&mut self, range: Range) -> Result<()> {
        let held = self
            .received
            .remove(&range.index)
            .ok_or_else(|| Error::new(Code::Internal, format!("range {} was accepted, and never came", range.index)))?;
        self.accepted.insert(range.index, held);
        while let Some(next) = self.accepted.remove(&self.next) {
            self.next += 1;
            // The reader may be gone; then the engine hears of it.
            let _ = self.to_reader.send(News::Ask(next));
        }
        Ok(())
    }
}
