//! External KEKs: the caller's functions, as core's machines may call them.

use std::sync::Arc;

use s3vault_core::Result;
use s3vault_core::crypto::external::ExternalKek;
use zeroize::Zeroizing;

use crate::driver::external::call;

/// The caller's functions.
pub(super) struct Caller(pub(super) Arc<dyn ExternalKek>);

impl ExternalKek for Caller {
    fn wrap(&self, data_key: &[u8; 32], associated: &[u8]) -> Result<Vec<u8>> {
        call(|| self.0.wrap(data_key, associated))
    }

    fn unwrap(&self, wrapped: &[u8], associated: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        call(|| self.0.unwrap(wrapped, associated))
    }
}
