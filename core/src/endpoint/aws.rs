//! AWS's partitions and their S3 hosts.
//!
//! Sources: "Amazon S3 endpoints and quotas", "Using dual-stack endpoints", "FIPS endpoints" and "AWS PrivateLink for
//! Amazon S3" (AWS documentation). They were checked against the endpoint rules in botocore.

use super::{bucket, invalid};
use crate::error::{Code, Error, Result};

/// A partition: regions that share a domain.
pub(super) struct Partition {
    /// Name of the partition in ARNs.
    pub(super) name: &'static str,
    pub(super) suffix: &'static str,
    /// Prefixes of its regions.
    prefix: &'static str,
    fips: bool,
}

const fn other(name: &'static str, prefix: &'static str, suffix: &'static str) -> Partition {
    Partition { name, suffix, prefix, fips: true }
}

/// The partition of all regions that are not in [`OTHERS`].
pub(super) const AWS: Partition = other("aws", "", "amazonaws.com");

const OTHERS: &[Partition] = &[
    other("aws-us-gov", "us-gov-", "amazonaws.com"),
    Partition { fips: false, ..other("aws-cn", "cn-", "amazonaws.com.cn") },
    other("aws-iso", "us-iso-", "c2s.ic.gov"),
    other("aws-iso-b", "us-isob-", "sc2s.sgov.gov"),
    other("aws-iso-e", "eu-isoe-", "cloud.adc-e.uk"),
    other("aws-iso-f", "us-isof-", "csp.hci.ic.gov"),
    other("aws-eusc", "eusc-", "amazonaws.eu"),
];

/// The partition of a region.
pub(super) fn partition(region: &str) -> &'static Partition {
    OTHERS.iter().find(|row| region.starts_with(row.prefix)).unwrap_or(&AWS)
}

/// Whether this has the form of an AWS region: `eu-central-1`, `us-gov-west-1`.
pub(super) fn is_region(text: &str) -> bool {
    let word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    let number = |number: &str| (1..=2).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = text.split('-').collect();
    let [area, words @ .., last] = &parts[..] else { return false };
    // The name of an area is short: `website-us-east-1` is the end of another service's host.
    word(area)
        && area.len() <= 4
        && text.len() <= 32
        && matches!(words.len(), 1 | 2)
        && words.iter().all(|w| word(w))
        && number(last)
}

/// Selects one of a region's hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AwsHost {
    pub(super) dualstack: bool,
    pub(super) fips: bool,
}

impl AwsHost {
    /// The host for buckets.
    pub(super) fn service(self, region: &str) -> String {
        self.named_after("s3", region)
    }

    /// The host for access points.
    pub(super) fn access_points(self, region: &str) -> String {
        self.named_after("s3-accesspoint", region)
    }

    fn named_after(self, service: &str, region: &str) -> String {
        let fips = if self.fips { "-fips" } else { "" };
        let dualstack = if self.dualstack { ".dualstack" } else { "" };
        format!("{service}{fips}{dualstack}.{region}.{}", partition(region).suffix)
    }

    /// The option that selected the host.
    pub(super) fn named(self) -> Option<&'static str> {
        if self.fips { Some("fips") } else { self.dualstack.then_some("dualstack") }
    }

    /// Fails if the region's partition does not have this host.
    pub(super) fn check(self, region: &str) -> Result<()> {
        if self.fips && !partition(region).fips {
            return Err(invalid(format!("fips = true, but region '{region}' has no FIPS endpoints"))
                .with_hint("Remove fips, or choose another region."));
        }
        Ok(())
    }
}

/// The kind of a host name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Not an AWS host, or an unknown one.
    Other,
    /// `s3.amazonaws.com`.
    Global,
    Regional {
        region: String,
        host: AwsHost,
    },
    /// `bucket.vpce-….s3.REGION.vpce.amazonaws.com`.
    Interface {
        region: String,
    },
}

/// Classifies the host of `api_url`, in lower case.
pub(super) fn recognise(api_url: &str, host: &str) -> Result<Found> {
    let Some((front, suffix)) = OTHERS
        .iter()
        .chain([&AWS])
        .find_map(|row| Some((host.strip_suffix(row.suffix)?.strip_suffix('.')?, row.suffix)))
    else {
        return Ok(Found::Other);
    };
    if let Some(found) = service(front, suffix) {
        return Ok(found);
    }
    let refuse = |what: &str, hint: &str| Err(invalid(format!("api_url = '{api_url}' is {what}")).with_hint(hint));
    let first = front.split('.').next().unwrap_or("");
    if first.starts_with("s3-website") {
        return refuse("a website endpoint, which does not serve S3 requests", "Leave api_url empty, and set region.");
    }
    if first.starts_with("s3-accelerate") {
        return refuse("the endpoint of Transfer Acceleration", "Leave api_url empty, and set region.");
    }
    if front.split('.').any(|label| label.starts_with("s3express")) {
        return Err(directory_buckets(&format!("api_url = '{api_url}'")));
    }
    if front.ends_with(".accesspoint.s3-global") {
        return Err(bucket::multi_region(&format!("api_url = '{api_url}'")));
    }
    if front.split('.').any(|label| label.starts_with("s3-accesspoint")) {
        return refuse("the address of an access point", "Leave api_url empty, and set bucket to its ARN or alias.");
    }
    if let Some((bucket, rest)) = front.split_once(".bucket.vpce-") {
        let hint = format!("Set bucket = {bucket}, and api_url to https://bucket.vpce-{rest}.{suffix}.");
        return refuse(&format!("the address of the bucket '{bucket}'"), &hint);
    }
    for (dot, _) in front.match_indices(".s3") {
        if service(&front[dot + 1..], suffix).is_some() {
            return refuse(
                &format!("the address of the bucket '{}'", &front[..dot]),
                &format!("Set bucket = {}, and api_url to https://{}.", &front[..dot], &host[dot + 1..]),
            );
        }
    }
    Ok(Found::Other)
}

/// The part of a host before a partition's suffix, if it is that of S3 itself.
fn service(front: &str, suffix: &str) -> Option<Found> {
    let fits = |region: &str| is_region(region) && partition(region).suffix == suffix;
    let regional = |region: &str, dualstack, fips| {
        fits(region).then(|| Found::Regional { region: region.to_owned(), host: AwsHost { dualstack, fips } })
    };
    if let Some((head, rest)) = front.split_once("vpce-")
        && matches!(head, "" | "bucket." | "accesspoint.")
        && let Some((_, region)) = rest.split_once(".s3.")
        && let Some(region) = region.strip_suffix(".vpce")
    {
        return fits(region).then(|| Found::Interface { region: region.to_owned() });
    }
    if suffix == AWS.suffix && matches!(front, "s3" | "s3-external-1") {
        return Some(Found::Global);
    }
    for (head, dualstack, fips) in [
        ("s3.dualstack.", true, false),
        ("s3-fips.dualstack.", true, true),
        ("s3-fips.", false, true),
        ("s3-fips-", false, true),
        ("s3.", false, false),
        ("s3-", false, false),
    ] {
        if let Some(found) = front.strip_prefix(head).and_then(|region| regional(region, dualstack, fips)) {
            return Some(found);
        }
    }
    None
}

/// The error for S3 Express, which cannot hold a vault.
pub(super) fn directory_buckets(what: &str) -> Error {
    let message =
        format!("{what} is for directory buckets (S3 Express One Zone), which list keys in no particular order");
    Error::new(Code::Unsupported, message).with_hint("Set bucket to a general purpose bucket, which a vault needs.")
}
