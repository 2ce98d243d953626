//! New keys for a machine whose keys the store refuses: from where the vault has them, or from the caller.

use std::sync::Arc;

use s3vault_core::Result;
use tokio::sync::mpsc::UnboundedSender;

use super::engine::{KeysAnswer, Message};
use super::progress::Progress;

/// Where the keys of a store come from.
pub(crate) trait Keys: Send + Sync {
    /// Counts how often they were renewed.
    fn generation(&self) -> u64;

    /// Whose keys they are, for people.
    fn describe(&self) -> String;

    /// Gets new ones from their source and puts them in place; `None` where only the caller can give some. Blocks.
    fn fetch(&self) -> Option<Result<()>>;
}

/// A machine's wish for other keys than those of a generation.
pub(super) struct Wish {
    generation: u64,
    keys: Arc<dyn Keys>,
    engine: UnboundedSender<Message>,
}

impl Wish {
    pub(super) fn new(generation: u64, keys: Arc<dyn Keys>, engine: UnboundedSender<Message>) -> Wish {
        Wish { generation, keys, engine }
    }

    /// Asks the source; where there is none, the wish waits for the calling thread.
    pub(super) fn make(self, progress: Arc<Progress>) {
        tokio::task::spawn_blocking(move || match self.keys.fetch() {
            None => progress.wish(self),
            Some(Ok(())) => self.answer(),
            Some(Err(why)) => self.say(KeysAnswer::Kept(Some(why))),
        });
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        format!("the store refuses {}, or they have expired", self.keys.describe())
    }

    /// Whoever could renew the keys had the chance.
    pub(super) fn answer(self) {
        let renewed = self.keys.generation() > self.generation;
        self.say(if renewed { KeysAnswer::Renewed } else { KeysAnswer::Kept(None) });
    }

    fn say(&self, answer: KeysAnswer) {
        // The engine may have ended meanwhile.
        let _ = self.engine.send(Message::Keys(answer));
    }
}
