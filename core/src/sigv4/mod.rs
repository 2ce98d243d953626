//! AWS Signature Version 4: signatures in headers, in presigned URLs and for the chunks of a streamed body, and the
//! explanation of a refused one.
//!
//! Sources: "Authenticating Requests (AWS Signature Version 4)" with its pages on the header, query parameters, chunked
//! uploads and trailers, S3 API reference; "Create a signed AWS API request", IAM user guide.
//!
//! S3 encodes a path once and does not normalise it; other services normalise it and encode it twice. The parameters of a
//! query are sorted by their encoded names, then by their values.

mod canonical;
mod chunked;
pub mod explain;
mod header;
mod headers;
mod key;
mod presign;

pub use chunked::ChunkSigner;
pub use header::{Payload, Signed, Signer, ToSign};
pub use presign::{LONGEST_S, SHORTEST_S};

use crate::error::{Code, Error, Result};

/// Name of the algorithm in headers, queries and strings to sign.
pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Refuses the host or the ARN of a Multi-Region Access Point, which needs SigV4a.
pub fn check_target(host_or_arn: &str) -> Result<()> {
    let name = host_or_arn.split_once(':').map_or(host_or_arn, |(host, _)| host).to_ascii_lowercase();
    let global = name.ends_with(".accesspoint.s3-global.amazonaws.com");
    // arn:PARTITION:s3:REGION:ACCOUNT:accesspoint/NAME.mrap, without a region.
    let arn: Vec<&str> = host_or_arn.splitn(6, ':').collect();
    let global_arn = matches!(arn[..], ["arn", _, "s3", "", _, rest] if rest.starts_with("accesspoint"));
    if global || global_arn {
        let message = format!("{host_or_arn} is a Multi-Region Access Point, which accepts only SigV4a signatures");
        let hint = "Use the bucket itself, or an access point of one region: s3vault signs with SigV4.";
        return Err(Error::new(Code::Unsupported, message).with_hint(hint));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
