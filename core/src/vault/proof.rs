//! Proof: an object decides something only once it was read and verified, where the vault trusts a key.
//!
//! ```text
//!  ReadVerified: GET ──verifies──▶ Counts
//!                 │ ▲ does not, for the first time: its bytes may have been changed on the way
//!                 ├─┘
//!                 ├──does not, again──▶ Refused
//!                 └──it is not there──▶ Gone
//! ```
//! Readers, puts, deletions, jobs and adoptions prove what they decide on in this way. They differ in what they read
//! ([`Proving::must_read`]) and in what follows ([`Proving::proven`]).

use std::collections::HashSet;
use std::sync::Arc;

use super::Vault;
use super::locator::{LOCATOR_LIMIT, Locator};
use super::manifest::Opened;
use crate::account::Bucket;
use crate::error::{Code, Error, Result};
use crate::machine::{Event, Input};
use crate::op::{Asking, Call, Calling, Context, GetObject, Next, Session, Step, Steps};
use crate::time::Now;

/// Objects that are read at a time.
pub(super) const WIDTH: usize = 16;

/// An object of the catalogue that decides something, as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) key: String,
    /// Size in bytes.
    pub(super) size: u64,
}

/// What became of an object that was to be proven.
#[derive(Debug)]
pub(super) enum Outcome<T> {
    /// It was verified, or need not be.
    Counts(T),
    /// It was removed after the LIST.
    Gone(Error),
    /// It is not what a trusted key signed, so it decides nothing.
    Refused(Error),
}

/// Verifies the bytes of an object at a key.
type Open<T> = fn(&Vault, &Bucket, &str, Vec<u8>) -> Result<T>;

/// Reads a signed object and verifies it. What does not verify is read once more, since its bytes may have been changed on
/// the way.
pub(super) struct ReadVerified<T> {
    call: Call<GetObject>,
    vault: Arc<Vault>,
    bucket: Arc<Bucket>,
    open: Open<T>,
    is_again: bool,
}

impl<T> ReadVerified<T> {
    /// Reads the object at `key`, at most `limit` bytes of it.
    pub(super) fn new(
        vault: &Arc<Vault>,
        bucket: &Arc<Bucket>,
        key: impl Into<String>,
        limit: usize,
        open: Open<T>,
    ) -> ReadVerified<T> {
        let call = Call::new(GetObject::new(key, limit));
        ReadVerified { call, vault: vault.clone(), bucket: bucket.clone(), open, is_again: false }
    }

    pub(super) fn key(&self) -> &str {
        &self.call.op().key
    }
}

impl ReadVerified<Opened> {
    /// Reads a row.
    pub(super) fn row(vault: &Arc<Vault>, bucket: &Arc<Bucket>, key: impl Into<String>, limit: usize) -> Self {
        ReadVerified::new(vault, bucket, key, limit, |vault, bucket, key, object| {
            vault.open_manifest(bucket, &object, key)
        })
    }
}

impl ReadVerified<Option<Opened>> {
    /// Reads a row or a marker.
    pub(super) fn entry(vault: &Arc<Vault>, bucket: &Arc<Bucket>, key: impl Into<String>, limit: usize) -> Self {
        ReadVerified::new(vault, bucket, key, limit, |vault, bucket, key, object| vault.prove(bucket, key, &object))
    }
}

impl ReadVerified<Locator> {
    /// Reads a locator.
    pub(super) fn locator(vault: &Arc<Vault>, bucket: &Arc<Bucket>, key: impl Into<String>) -> Self {
        ReadVerified::new(vault, bucket, key, LOCATOR_LIMIT, |vault, bucket, key, object| {
            let (json, _) = vault.open_signed(bucket, &object, key)?;
            Locator::parse(json, key)
        })
    }
}

impl<T> Calling for ReadVerified<T> {
    fn poll(&mut self, session: &mut Session, now: Now) -> Next {
        self.call.poll(session, now)
    }

    fn abandon(&mut self, session: &mut Session) {
        self.call.abandon(session);
    }
}

impl<T> Asking for ReadVerified<T> {
    type Answer = Result<Outcome<T>>;

    fn handle(&mut self, session: &mut Session, now: Now, input: &Input<'_>) -> Option<Self::Answer> {
        let object = match self.call.handle(session, now, input)? {
            Ok(object) => object,
            Err(e) if e.code() == Code::NotFound => return Some(Ok(Outcome::Gone(e))),
            // It is too large to be what its key says.
            Err(e) if is_untrusted(&e) => return Some(Ok(Outcome::Refused(e))),
            Err(e) => return Some(Err(e)),
        };
        match (self.open)(&self.vault, &self.bucket, self.key(), object) {
            Ok(proof) => Some(Ok(Outcome::Counts(proof))),
            Err(e) if !is_untrusted(&e) => Some(Err(e)),
            Err(e) if std::mem::replace(&mut self.is_again, true) => Some(Ok(Outcome::Refused(e))),
            Err(_) => {
                self.call = Call::new(self.call.op().clone());
                None
            }
        }
    }
}

/// A machine that decides on objects of the catalogue once they are proven.
pub(super) trait Proving: Steps + 'static {
    /// The vault, and the bucket that the objects are in.
    fn place(&self) -> (&Arc<Vault>, Arc<Bucket>);

    /// Whether an object has to be read before it counts. Returns the most bytes to read of it, or why it cannot count.
    fn must_read(&self, claim: &Claim) -> Option<Result<usize>> {
        self.place().0.must_prove(&claim.key, claim.size)
    }

    /// What became of an object. One that counts comes with its manifest if it is a row and was read.
    fn proven(&mut self, context: &mut Context<'_>, key: &str, outcome: Outcome<Option<Opened>>);
}

/// Reads these objects, as far as they have to be, and verifies them, then continues with `then`.
pub(super) fn prove<S, F>(steps: &S, claims: impl IntoIterator<Item = Claim>, then: F) -> Step<S>
where
    S: Proving,
    F: FnOnce(&mut S, &mut Context<'_>) -> Step<S> + Send + 'static,
{
    let (vault, bucket) = steps.place();
    let (mut reads, mut settled, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    for claim in claims {
        // Several rows of one version have one marker.
        if !seen.insert(claim.key.clone()) {
            continue;
        }
        match steps.must_read(&claim) {
            None => settled.push((claim.key, Outcome::Counts(None))),
            Some(Err(why)) => settled.push((claim.key, Outcome::Refused(why))),
            Some(Ok(limit)) => reads.push(ReadVerified::entry(vault, &bucket, claim.key, limit)),
        }
    }
    Step::each_asking(
        reads,
        WIDTH,
        |steps: &mut S, context, read: &ReadVerified<_>, answer| {
            steps.proven(context, read.key(), answer?);
            Ok(())
        },
        move |steps, context| {
            for (key, outcome) in settled {
                steps.proven(context, &key, outcome);
            }
            then(steps, context)
        },
    )
}

/// Reports an object that does not count.
pub(super) fn ignore(context: &mut Context<'_>, bucket: &Bucket, key: &str, why: &Error) {
    context.report(ignored(bucket, key, why));
}

/// What is reported of an object that does not count.
pub(super) fn ignored(bucket: &Bucket, key: &str, why: &Error) -> Event {
    let (bucket, key, why) = (bucket.name().to_owned(), key.to_owned(), why.message().to_owned());
    Event::Ignored { bucket, key, why }
}

/// Whether an object is not what a trusted key signed, so that it decides nothing.
fn is_untrusted(e: &Error) -> bool {
    matches!(e.code(), Code::Untrusted | Code::Format | Code::Unsupported)
}
