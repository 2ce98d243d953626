//! Key-encryption keys (KEKs) that are kept elsewhere: in a key management service (KMS) or in a hardware security module
//! (HSM). Their owner's functions wrap and unwrap data keys, and are not trusted to work: each key that they wrap is
//! unwrapped and compared before it is used, and what they return has a bounded length.

use zeroize::Zeroizing;

use super::aead::KEY_LENGTH;
use super::data_key::DataKey;
use crate::error::{Code, Error, Result};

/// Most bytes of a wrapped data key.
pub const LONGEST: usize = 4 << 10;

/// A KEK that is kept elsewhere. Several threads may call it at the same time, and a call blocks the operation that makes it.
///
/// `associated` says which version of which vault the data key belongs to. Both functions get the same bytes for the same
/// wrapped key. A key that was wrapped with some of them must not be unwrapped with others: pass them as the associated
/// data of an AEAD, or as the encryption context of a KMS (their SHA-256, if it accepts texts or short ones only). A
/// function that ignores them lets those who can write to the bucket exchange the keys of versions.
///
/// The code of their errors is [`Code::ExternalKey`].
pub trait ExternalKek: Send + Sync {
    /// Wraps a data key: 1 to [`LONGEST`] bytes, which may be others each time.
    fn wrap(&self, data_key: &[u8; KEY_LENGTH], associated: &[u8]) -> Result<Vec<u8>>;

    /// Unwraps what [`wrap`](ExternalKek::wrap) returned: the 32 bytes of the data key.
    fn unwrap(&self, wrapped: &[u8], associated: &[u8]) -> Result<Zeroizing<Vec<u8>>>;
}

/// Wraps a data key, and makes sure that it can be unwrapped.
pub(super) fn wrap(kek: &dyn ExternalKek, id: &str, key: &DataKey, associated: &[u8]) -> Result<Vec<u8>> {
    let wrapped = kek
        .wrap(key.bytes(), associated)
        .map_err(|e| e.context(format!("the external key {id} did not wrap a data key")))?;
    if wrapped.is_empty() || wrapped.len() > LONGEST {
        let length = wrapped.len();
        return Err(refused(id, &format!("made {length} bytes of a data key; 1 to {LONGEST} are accepted")));
    }
    match unwrap(kek, id, &wrapped, associated) {
        Ok(again) if again == *key => Ok(wrapped),
        Ok(_) => Err(refused(id, "unwrapped another data key than it had wrapped just before")),
        Err(e) => Err(e.context("a data key that was wrapped just before")),
    }
}

/// Unwraps a data key.
pub(super) fn unwrap(kek: &dyn ExternalKek, id: &str, wrapped: &[u8], associated: &[u8]) -> Result<DataKey> {
    let key = kek
        .unwrap(wrapped, associated)
        .map_err(|e| e.context(format!("the external key {id} did not unwrap the data key")))?;
    match <[u8; KEY_LENGTH]>::try_from(key.as_slice()) {
        Ok(key) => Ok(DataKey::new(*Zeroizing::new(key))),
        Err(_) => Err(refused(id, &format!("unwrapped {} bytes, not the {KEY_LENGTH} of a data key", key.len()))),
    }
}

fn refused(id: &str, did: &str) -> Error {
    Error::new(Code::ExternalKey, format!("the external key {id} {did}"))
}

/// A token for tests: AES-256-GCM under a nonce that no call shares, and what may go wrong with it.
#[cfg(test)]
pub(crate) mod token {
    use std::sync::{Mutex, PoisonError};

    use super::super::aead::{Aead, NONCE_LENGTH, TAG_LENGTH};
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Behaviour {
        Right,
        /// Both functions fail.
        Fails,
        /// Wraps to nothing, or to more than is accepted.
        WrapsTo(usize),
        /// Unwraps to this many bytes.
        UnwrapsTo(usize),
        /// Unwraps to 32 bytes that are not those that were wrapped.
        UnwrapsToAnother,
        /// Fails once it was called this often.
        FailsAfter(u64),
    }

    pub(crate) struct Token {
        aead: Aead,
        state: Mutex<(Behaviour, u64)>,
    }

    impl Token {
        pub(crate) fn new(number: u8) -> Token {
            Token { aead: Aead::new(&[number; KEY_LENGTH]), state: Mutex::new((Behaviour::Right, 0)) }
        }

        pub(crate) fn set(&self, behaviour: Behaviour) {
            self.state.lock().unwrap().0 = behaviour;
        }

        /// How often its functions were called.
        pub(crate) fn calls(&self) -> u64 {
            self.state.lock().unwrap().1
        }

        fn call(&self) -> Result<(Behaviour, u64)> {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.1 += 1;
            match *state {
                (Behaviour::FailsAfter(calls), number) if number <= calls => Ok((Behaviour::Right, number)),
                (Behaviour::Fails | Behaviour::FailsAfter(_), _) => Err(Error::new(Code::ExternalKey, "session lost")),
                state => Ok(state),
            }
        }
    }

    impl ExternalKek for Token {
        fn wrap(&self, data_key: &[u8; KEY_LENGTH], associated: &[u8]) -> Result<Vec<u8>> {
            let (behaviour, number) = self.call()?;
            if let Behaviour::WrapsTo(length) = behaviour {
                return Ok(vec![1; length]);
            }
            let mut nonce = [0; NONCE_LENGTH];
            nonce[..8].copy_from_slice(&number.to_be_bytes());
            let mut sealed = *data_key;
            let tag = self.aead.seal(nonce, associated, &mut sealed);
            Ok([&nonce[..], &sealed, &tag].concat())
        }

        fn unwrap(&self, wrapped: &[u8], associated: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
            let (behaviour, _) = self.call()?;
            let refused = || Error::new(Code::ExternalKey, "the tag does not match");
            let (nonce, rest) = wrapped.split_at_checked(NONCE_LENGTH).ok_or_else(refused)?;
            let (sealed, tag) = rest.split_at_checked(KEY_LENGTH).ok_or_else(refused)?;
            let tag: [u8; TAG_LENGTH] = tag.try_into().map_err(|_| refused())?;
            let mut key = sealed.to_vec();
            if !self.aead.open(nonce.try_into().map_err(|_| refused())?, associated, &mut key, tag) {
                return Err(refused());
            }
            match behaviour {
                Behaviour::UnwrapsTo(length) => key.resize(length, 0),
                Behaviour::UnwrapsToAnother => key[0] ^= 1,
                _ => {}
            }
            Ok(key.into())
        }
    }
}
