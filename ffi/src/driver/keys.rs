//! New keys for a machine whose keys the store refuses, from their source or from the caller.

use std::sync::Arc;

use s3vault_core::Result;
use tokio::sync::mpsc::UnboundedSender;

use super::engine::{KeyReply, Message};
use super::progress::Progress;

/// The keys of a store, and where new ones come from.
pub(crate) trait KeySource: Send + Sync {
    /// Counts how often the keys were replaced.
    fn generation(&self) -> u64;

    /// Names the keys in messages.
    fn describe(&self) -> String;

    /// Gets new keys from their source and starts to use them; returns `None` if only the caller can provide keys.
    /// Blocks.
    fn fetch(&self) -> Option<Result<()>>;
}

/// A machine's request for keys newer than a generation.
pub(super) struct KeyRequest {
    generation: u64,
    keys: Arc<dyn KeySource>,
    engine: UnboundedSender<Message>,
}

impl KeyRequest {
    pub(super) fn new(generation: u64, keys: Arc<dyn KeySource>, engine: UnboundedSender<Message>) -> KeyRequest {
        KeyRequest { generation, keys, engine }
    }

    /// Asks the source. If there is none, the request waits for the calling thread.
    pub(super) fn start(self, progress: Arc<Progress>) {
        tokio::task::spawn_blocking(move || match self.keys.fetch() {
            None => progress.set_key_request(self),
            Some(Ok(())) => self.answer(),
            Some(Err(why)) => self.send(KeyReply::Unchanged(Some(why))),
        });
    }

    /// Text of the event.
    pub(super) fn text(&self) -> String {
        format!("the store refused {}: invalid or expired", self.keys.describe())
    }

    /// Answers the machine, after the source or the caller had the chance to replace the keys.
    pub(super) fn answer(self) {
        let renewed = self.keys.generation() > self.generation;
        self.send(if renewed { KeyReply::Renewed } else { KeyReply::Unchanged(None) });
    }

    fn send(&self, answer: KeyReply) {
        // The engine may have ended in the meantime.
        let _ = self.engine.send(Message::Keys(answer));
    }
}
