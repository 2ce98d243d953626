//! The operations on buckets.

use std::time::SystemTime;

use super::xml::{Document, value};
use super::{Reply, Request, xml_date};
use crate::{ObjectLock, Payload, Position, Refusal, Store, Versioning};

/// The region of a bucket that names none.
const REGION: &str = "us-east-1";

impl<C: Payload> Store<C> {
    pub(super) fn answer_create_bucket(&mut self, request: &Request<C>, now: SystemTime) -> Result<Reply<C>, Refusal> {
        let name = &request.bucket;
        if !is_bucket_name(name) {
            return Err(Refusal::new(400, "InvalidBucketName", "The specified bucket is not valid."));
        }
        let document = request.body.bytes().unwrap_or_default();
        let region = match document {
            [] => None,
            document => value(document, "CreateBucketConfiguration/LocationConstraint")?,
        };
        if region.as_deref() == Some(REGION) {
            return Err(Refusal::new(
                400,
                "InvalidLocationConstraint",
                "The specified location-constraint is not valid",
            ));
        }
        let is_locked = request.header("x-amz-bucket-object-lock-enabled").is_some_and(|value| value == "true");
        let versioning = if is_locked { Versioning::Enabled } else { Versioning::Off };
        self.create_bucket(name, versioning, now)?;
        let bucket = self.bucket_mut(name)?;
        bucket.region = region;
        bucket.lock = is_locked.then(ObjectLock::default);
        Ok(Reply::empty(200).with("location", format!("/{name}")))
    }

    pub(super) fn answer_head_bucket(&self, request: &Request<C>) -> Result<Reply<C>, Refusal> {
        let bucket = self.bucket(&request.bucket)?;
        Ok(Reply::empty(200).with("x-amz-bucket-region", bucket.region.as_deref().unwrap_or(REGION)))
    }

    pub(super) fn answer_location(&self, request: &Request<C>) -> Result<Reply<C>, Refusal> {
        let mut xml = Document::new();
        xml.text("LocationConstraint", self.bucket(&request.bucket)?.region.as_deref().unwrap_or_default());
        Ok(Reply::xml(xml.finish()))
    }

    pub(super) fn answer_list_buckets(&self, request: &Request<C>) -> Result<Reply<C>, Refusal> {
        let prefix = request.parameter("prefix").unwrap_or_default();
        let max = request.number("max-buckets")?.unwrap_or(usize::MAX);
        let after = request.parameter("continuation-token").map(Position::of_token).transpose()?;
        let page = self.list_buckets(prefix, &after.unwrap_or(Position::Start), max);
        let mut xml = Document::new();
        xml.element("ListAllMyBucketsResult", |xml| {
            xml.element("Buckets", |xml| {
                for (name, bucket) in page.entries {
                    xml.element("Bucket", |xml| {
                        xml.text("Name", name);
                        xml.text("CreationDate", xml_date(bucket.created));
                    });
                }
            });
            if let Some(position) = page.next {
                xml.text("ContinuationToken", position.token());
            }
        });
        Ok(Reply::xml(xml.finish()))
    }

    pub(super) fn answer_versioning(&self, request: &Request<C>) -> Result<Reply<C>, Refusal> {
        let status = match self.bucket(&request.bucket)?.versioning {
            Versioning::Off => "",
            Versioning::Enabled => "<Status>Enabled</Status>",
            Versioning::Suspended => "<Status>Suspended</Status>",
        };
        Ok(Reply::xml(format!("<VersioningConfiguration>{status}</VersioningConfiguration>")))
    }

    pub(super) fn answer_set_versioning(&mut self, request: &Request<C>) -> Result<Reply<C>, Refusal> {
        let status = value(request.body.bytes().unwrap_or_default(), "VersioningConfiguration/Status")?;
        let enabled = match status.as_deref() {
            Some("Enabled") => true,
            Some("Suspended") => false,
            other => {
                let message = format!("The versioning status must be Enabled or Suspended, not {other:?}.");
                return Err(Refusal::new(400, "IllegalVersioningConfigurationException", message));
            }
        };
        self.set_versioning(&request.bucket, enabled)?;
        Ok(Reply::empty(200))
    }
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>
fn is_bucket_name(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    let is_outer = |byte: Option<u8>| byte.is_some_and(|byte| is_inner(byte) && !matches!(byte, b'-' | b'.'));
    (3..=63).contains(&name.len())
        && name.bytes().all(is_inner)
        && is_outer(name.bytes().next())
        && is_outer(name.bytes().next_back())
        && !name.contains("..")
}
