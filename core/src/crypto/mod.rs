//! Keys: the keyring, and the signatures made with it.

pub mod ed25519;
pub mod keyring;
