//! Closed key-encryption keys (KEKs). A marker says that no data key may be wrapped with a KEK any more. It is signed, has
//! the same bytes no matter who writes it, and is never withdrawn.
//!
//! ```text
//!  look: LIST of the marker's key ──it is there──▶ GET ──verifies──▶ closed
//! ```
//! A put looks at most W before the date of its locator. So once a marker is 2W old, no new locator names its KEK.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Vault;
use super::objects::closed_key;
use super::proof::{Outcome, ReadVerified, ignore};
use super::signed::{self, FORMAT};
use crate::account::Bucket;
use crate::crypto::keyring::SigningKey;
use crate::error::{Code, Error, Result};
use crate::op::{Call, Context, ListObjectsV2, Listing, Paged, Step, Steps};
use crate::text::presentable_key;

/// Maximum size of a marker that is read, in bytes.
const LIMIT: usize = 4 << 10;

/// What the marker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Says {
    Closed,
}

/// The marker of a closed KEK.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    format: u32,
    /// Key of this object.
    pub key: String,
    /// The vault's id.
    pub vault: String,
    /// The KEK's id.
    pub kek: String,
    marker: Says,
}

impl Closed {
    /// The marker of a KEK.
    pub(crate) fn new(vault: &str, kek: &str) -> Closed {
        let (vault, kek) = (vault.to_owned(), kek.to_owned());
        Closed { format: FORMAT, key: closed_key(&kek), vault, kek, marker: Says::Closed }
    }

    /// The object to store.
    pub(crate) fn to_object(&self, key: Option<&SigningKey>) -> Vec<u8> {
        signed::encode(serde_json::to_vec(self).unwrap_or_default(), key)
    }

    /// Parses the JSON of an object that was found at a key.
    pub(crate) fn parse(json: &[u8], found_at: &str) -> Result<Closed> {
        let closed: Closed = signed::parse(json, Some(found_at))?;
        if closed_key(&closed.kek) == closed.key {
            return Ok(closed);
        }
        let why = format!("the marker at {} is not valid: its key does not match it", presentable_key(found_at));
        Err(Error::new(Code::Format, why))
    }
}

/// What a look at a KEK has shown.
pub(super) struct Look {
    /// When it was listed, by the store's clock.
    pub(super) listed_ms: i64,
    /// When the marker was stored, if there is one that verifies.
    pub(super) closed_ms: Option<i64>,
}

type Then<S> = Box<dyn FnOnce(&mut S, &mut Context<'_>, Look) -> Step<S> + Send>;

/// Looks whether a KEK is closed.
pub(super) fn look<S, F>(vault: &Arc<Vault>, bucket: &Arc<Bucket>, kek: &str, then: F) -> Step<S>
where
    S: Steps + 'static,
    F: FnOnce(&mut S, &mut Context<'_>, Look) -> Step<S> + Send + 'static,
{
    let list = ListObjectsV2 { prefix: closed_key(kek), ..Default::default() };
    page(vault.clone(), bucket.clone(), list, None, Box::new(then))
}

/// A page of the list. A store may answer with an empty one and say that more follow.
fn page<S: Steps + 'static>(
    vault: Arc<Vault>,
    bucket: Arc<Bucket>,
    list: ListObjectsV2,
    first_ms: Option<i64>,
    then: Then<S>,
) -> Step<S> {
    Step::with(Call::new(list), move |steps: &mut S, context, call: &Call<ListObjectsV2>, answer: Result<Listing>| {
        let answer = match answer {
            Ok(answer) => answer,
            Err(e) => return Step::done(Err(e)),
        };
        let (listed_ms, key) = (first_ms.unwrap_or_else(|| call.sent_ms()), call.op().prefix.clone());
        match (answer.objects.iter().find(|object| object.key == key), call.op().next(&answer)) {
            (Some(object), _) => {
                // An object without a time is never old.
                let closed_ms = object.last_modified_ms.unwrap_or(i64::MAX);
                prove(&vault, bucket, key, Look { listed_ms, closed_ms: Some(closed_ms) }, then)
            }
            (None, Some(next)) => page(vault, bucket, next, Some(listed_ms), then),
            (None, None) => then(steps, context, Look { listed_ms, closed_ms: None }),
        }
    })
}

/// A marker closes a KEK once it was verified.
fn prove<S: Steps + 'static>(
    vault: &Arc<Vault>,
    bucket: Arc<Bucket>,
    key: String,
    look: Look,
    then: Then<S>,
) -> Step<S> {
    let read = ReadVerified::new(vault, &bucket, key, LIMIT, |vault, bucket, key, object| {
        let (json, _) = vault.open_signed(bucket, &object, key)?;
        let closed = Closed::parse(json, key)?;
        vault.check_vault(bucket, key, &closed.vault)
    });
    Step::with(read, move |steps: &mut S, context, read, answer| {
        let look = match answer {
            Ok(Outcome::Counts(())) => look,
            Ok(Outcome::Gone(_)) => Look { closed_ms: None, ..look },
            Ok(Outcome::Refused(why)) => {
                ignore(context, &bucket, read.key(), &why);
                Look { closed_ms: None, ..look }
            }
            Err(e) => return Step::done(Err(e)),
        };
        then(steps, context, look)
    })
}

impl Vault {
    /// The error of those who would wrap a data key with a KEK that is closed.
    pub(super) fn closed(&self, kek: &str) -> Error {
        let why = format!("key {kek} was closed: no data key may be wrapped with it any more");
        let mut others = self.keyring.iter().flat_map(|keyring| keyring.keks()).filter(|other| other.id() != kek);
        let hint = match others.next_back() {
            Some(other) => {
                format!(
                    "Make another key current: s3vault keys activate FILE {}. Then open the vault again.",
                    other.id()
                )
            }
            None => {
                "Another key is current in the keyring of the vault's owner: open the vault with that keyring.".into()
            }
        };
        Error::new(Code::Keyring, why).with_hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// The format on the store is a promise: this test changes only together with the format's number.
    #[test]
    fn the_exact_format() {
        let closed = Closed::new("00ff", "0123456789abcdef");
        let object = closed.to_object(None);
        let expected = "{\"format\":1,\"key\":\"_s3vault/1/kek/0123456789abcdef.closed\",\"vault\":\"00ff\",\
                        \"kek\":\"0123456789abcdef\",\"marker\":\"closed\"}\n";
        assert_eq!(String::from_utf8(object.clone()).unwrap(), expected);
        assert_eq!(Closed::parse(signed::json(&object).unwrap(), &closed.key).unwrap(), closed);
        let other = expected.replace("\"kek\":\"0", "\"kek\":\"1");
        let e = Closed::parse(signed::json(other.as_bytes()).unwrap(), &closed.key).unwrap_err();
        assert_eq!(e.code(), Code::Format);
    }
}
