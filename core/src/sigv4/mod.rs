//! AWS Signature Version 4 for S3, in headers.
//!
//! Source: "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)", S3 API reference.
//! S3 does not normalise the path and encodes it once.

mod canonical;
mod header;
mod key;

pub use header::{Payload, Signer, ToSign};
