//! An in-memory S3 for the demo and the tests of s3vault.
//!
//! The wire protocol and the check of every signature come from the crate [`s3s`], so that s3vault's signer meets a judge
//! that is not its own. Behind it is the model of S3, `s3-model` (buckets, versions, multipart uploads, checksums,
//! conditions); in front of it a strict check refuses what s3s accepts and S3 does not. What the store does not
//! implement it answers with 501 `NotImplemented`; it ignores nothing in silence.
//!
//! It listens on 127.0.0.1 only, speaks HTTP/1.1 and path style, accepts any region, and forgets everything when it
//! stops.
//!
//! ```
//! use embedded_store::{Effect, Fault, Options, Server, When};
//!
//! # fn main() -> std::io::Result<()> {
//! let store = Server::start(Options::new("access", "secret").bucket("backups"))?;
//! store.fault(Fault::new("PutObject", Effect::Drop(When::After))).map_err(std::io::Error::other)?;
//! println!("{} {:?}", store.url(), store.stats());
//! # Ok(())
//! # }
//! ```
//!
//! # Hooks
//!
//! Any client may call these, unsigned. They answer JSON: 200 with the result, or an error as
//! `{"code": …, "message": …}`.
//!
//! | request | what it does |
//! |---|---|
//! | `GET /_embedded/stats` | [`Stats`]: `{"requests": {"PutObject": 2, …}, "bytes_in", "bytes_out", "stored_bytes"}` |
//! | `POST /_embedded/fault` | orders a [`Fault`] |
//! | `GET /_embedded/fault` | the faults that have not happened yet |
//! | `DELETE /_embedded/fault` | forgets them |
//! | `POST /_embedded/damage` | spoils stored bytes; ETag and checksums stay as they were |
//! | `POST /_embedded/clock` | `{"offset_seconds": -3600}` moves the store's clock: `Date`, `Last-Modified`, the judgement of dates |
//! | `POST /_embedded/age` | `{"bucket", "part", "seconds": 3600}` makes the objects older whose key contains `part`: their `Last-Modified` |
//! | `POST /_embedded/undeletable` | `{"bucket", "key", "denied": true}` refuses every deletion of this key with AccessDenied, until `false` |
//! | `POST /_embedded/keys` | `{"access_key", "secret_key"}` are the only keys that are known from now on |
//!
//! A fault names an operation (`*`: any) and one effect. `target` (a part of path and query as sent), `skip` (how many
//! matching requests pass first) and `times` (how many are hit then, 1 by default) are optional:
//!
//! ```json
//! {"operation": "CompleteMultipartUpload", "times": 1, "answer": {"status": 503, "code": "SlowDown"}}
//! {"operation": "CompleteMultipartUpload", "answer": {"status": 200, "code": "InternalError", "when": "after"}}
//! {"operation": "GetObject", "answer": {"status": 200, "body": "<html>…</html>", "content_type": "text/html"}}
//! {"operation": "PutObject", "answer": {"status": 503, "code": "SlowDown", "headers": {"retry-after": "1"}}}
//! {"operation": "UploadPart", "target": "partNumber=3", "drop": "before"}
//! {"operation": "PutObject", "skip": 2, "drop": "after"}
//! {"operation": "GetObject", "truncate": 1000}
//! {"operation": "GetObject", "stall": 1000}
//! {"operation": "GetObject", "times": 1000, "whole": true}
//! {"operation": "UploadPart", "delay_ms": 200}
//! ```
//!
//! `answer` sends an answer in place of the store's own; the request takes effect only with `"when": "after"`.
//! `drop` drops the connection without an answer, before or after the request took effect. `truncate` ends the reply's
//! body and the connection after this many bytes; `stall` keeps the connection open. `whole` ignores the request's range. A fault hits a request once its
//! signature is verified.
//!
//! Damage is one of:
//!
//! ```json
//! {"bucket": "b", "key": "k", "version_id": "…", "offset": 17}
//! {"bucket": "b", "key": "k", "cut": 100}
//! {"bucket": "b", "key": "k", "content_base64": "…"}
//! ```
//!
//! `offset` flips a bit of that byte, `cut` keeps this many bytes, `content_base64` puts other bytes in their place.
//! Without `version_id` the newest version is meant.
//!
//! # Where it differs from AWS
//!
//! - ListObjectVersions writes its delete markers before its versions, not in the order of keys (s3s's form).
//! - The expiry of presigned URLs is judged by the machine's clock too (s3s's check).
//! - Escapes in path and query must be canonical on the wire; AWS decodes them first.
//! - A default retention of years comes back in days, 365 for each.
//! - GET and HEAD show CRC64NVME next to the checksum that came with the PUT.

mod access;
mod admin;
mod body;
mod checksum;
mod clock;
mod fault;
mod front;
mod payload;
mod refusal;
mod s3;
mod server;
mod shared;
mod strict;

pub use access::OPERATIONS;
pub use fault::{Answer, Effect, Fault, When};
pub use s3_model::{Missing, Rules, Versioning};
pub use server::{Options, Server, Tls};
pub use shared::Stats;
