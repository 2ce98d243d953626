//! Bucket names, and the aliases and ARNs of access points, which AWS accepts instead.
//!
//! Sources: "General purpose bucket naming rules", "Referencing access points with ARNs, access point aliases, or
//! virtual-hosted-style URIs", "Naming access points" (S3 user guide).

use super::{aws, invalid};
use crate::error::{Code, Error, Result};

/// A regional access point, parsed from its ARN.
pub(super) struct AccessPoint<'a> {
    pub(super) arn: &'a str,
    pub(super) region: &'a str,
    account: &'a str,
    name: &'a str,
}

impl AccessPoint<'_> {
    /// The label of the access point in a host name.
    pub(super) fn label(&self) -> String {
        format!("{}-{}", self.name, self.account)
    }
}

/// The access point that an ARN names; `None` if the text is not an ARN.
pub(super) fn access_point(arn: &str) -> Result<Option<AccessPoint<'_>>> {
    if !arn.starts_with("arn:") {
        return Ok(None);
    }
    let refuse = |why: &str| {
        let hint =
            "Set bucket to a bucket name, or to an access point's ARN: arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME.";
        Err(invalid(format!("bucket = '{arn}': {why}")).with_hint(hint))
    };
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let [_, partition, service, region, account, resource] = parts[..] else {
        return refuse("an ARN has six parts");
    };
    match service {
        "s3" => {}
        "s3express" => return Err(aws::directory_buckets(&format!("bucket = '{arn}'"))),
        "s3-outposts" => return Err(outposts(arn)),
        "s3-object-lambda" => return Err(object_lambda(arn)),
        _ => return refuse("it is not an ARN of S3"),
    }
    if region.is_empty() && account.is_empty() {
        return Err(invalid(format!("bucket = '{arn}' is a bucket's ARN"))
            .with_hint(format!("Set bucket to the name alone: {resource}.")));
    }
    let Some(name) = resource.strip_prefix("accesspoint").and_then(|rest| rest.strip_prefix(['/', ':'])) else {
        return refuse("it does not name an access point");
    };
    if region.is_empty() || name.ends_with(".mrap") {
        return Err(multi_region(&format!("bucket = '{arn}'")));
    }
    if !aws::is_region(region) {
        return refuse("its region is not an AWS region");
    }
    let own = aws::partition(region).name;
    if partition != own {
        return refuse(&format!("its region is in the partition {own}, not {partition}"));
    }
    if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
        return refuse("its account is not 12 digits");
    }
    if !(3..=50).contains(&name.len()) || !is_label(name) {
        return refuse("its access point's name is not 3 to 50 characters of a-z, 0-9 and '-'");
    }
    Ok(Some(AccessPoint { arn, region, account, name }))
}

/// Checks the rules that all stores share; they allow the capitals and `_` of old buckets.
pub(super) fn check_name(bucket: &str) -> Result<()> {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if (3..=255).contains(&bucket.len()) && bucket.chars().all(valid) && !bucket.contains("..") {
        return Ok(());
    }
    Err(invalid(format!("bucket = '{bucket}' is not a valid bucket name"))
        .with_hint("Use 3 to 63 characters of a-z, 0-9, '.' and '-'."))
}

/// Refuses the name endings that AWS reserves for other resources than buckets.
pub(super) fn check_aws_name(bucket: &str) -> Result<()> {
    if bucket.ends_with("--x-s3") || bucket.ends_with("--xa-s3") {
        return Err(aws::directory_buckets(&format!("bucket = '{bucket}'")));
    }
    if bucket.ends_with(".mrap") {
        return Err(multi_region(&format!("bucket = '{bucket}'")));
    }
    if bucket.ends_with("--op-s3") {
        return Err(outposts(bucket));
    }
    if bucket.ends_with("--ol-s3") {
        return Err(object_lambda(bucket));
    }
    if bucket.ends_with("--table-s3") {
        let message = format!("bucket = '{bucket}' is a table bucket, which does not store other objects");
        return Err(Error::new(Code::Unsupported, message).with_hint("Set bucket to a general purpose bucket."));
    }
    Ok(())
}

/// Whether this is an access point's alias, which is used like a bucket name, but only in the host name.
pub(super) fn is_alias(bucket: &str) -> bool {
    bucket.ends_with("-s3alias")
}

/// Whether the bucket can be the prefix of a host name.
pub(super) fn fits_host(bucket: &str) -> bool {
    (3..=63).contains(&bucket.len()) && bucket.split('.').all(is_label)
}

fn is_label(text: &str) -> bool {
    let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(valid) && !text.starts_with('-') && !text.ends_with('-')
}

/// The error for Multi-Region Access Points. `what` is the option with its value.
pub(super) fn multi_region(what: &str) -> Error {
    let message = format!("{what} is a Multi-Region Access Point: it needs SigV4a, which s3vault does not support");
    Error::new(Code::Unsupported, message).with_hint("Set bucket to a bucket, or to an access point of one region.")
}

fn outposts(bucket: &str) -> Error {
    let message = format!("bucket = '{bucket}' is on S3 on Outposts, whose requests are signed for another service");
    Error::new(Code::Unsupported, message).with_hint("Set bucket to a bucket of a region, or api_url to another store.")
}

fn object_lambda(bucket: &str) -> Error {
    let message = format!("bucket = '{bucket}' is an Object Lambda Access Point, which changes the data that is read");
    Error::new(Code::Unsupported, message).with_hint("Set bucket to the bucket behind it.")
}
