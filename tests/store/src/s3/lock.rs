//! Object lock: the configuration of a bucket, and the lock of a version.

use s3_model::{LockMode, ObjectLock, Refusal, Retention};
use s3s::S3Request;
use s3s::dto::*;

use super::convert::{Answer, answer, system_time, timestamp};
use crate::checksum::Announced;
use crate::shared::Shared;

/// The lock that a write asks for.
pub(super) fn requested(
    mode: Option<ObjectLockMode>,
    until: Option<ObjectLockRetainUntilDate>,
) -> Result<Option<Retention>, Refusal> {
    match (mode, until) {
        (None, None) => Ok(None),
        (Some(mode), Some(until)) => {
            let unknown = |_| Refusal::invalid_argument("Unknown wormMode directive.");
            let mode = LockMode::from_name(mode.as_str()).map_err(unknown)?;
            Ok(Some(Retention { mode, until: system_time(&until) }))
        }
        _ => Err(Refusal::invalid_argument(
            "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied",
        )),
    }
}

fn malformed() -> Refusal {
    Refusal::new(400, "MalformedXML", "The XML you provided was not well-formed.")
}

/// S3 demands a checksum of these documents.
fn check_announced(headers: &hyper::HeaderMap) -> Result<(), Refusal> {
    if Announced::of(headers)?.has_digest() {
        return Ok(());
    }
    Err(Refusal::invalid_request("Missing required header for this request: Content-MD5 OR x-amz-checksum-*"))
}

pub(super) async fn get(
    shared: &Shared,
    req: S3Request<GetObjectLockConfigurationInput>,
) -> Answer<GetObjectLockConfigurationOutput> {
    let lock = shared.store().lock(&req.input.bucket)?;
    let rule = lock.default.map(|default| ObjectLockRule {
        default_retention: Some(DefaultRetention {
            days: i32::try_from(default.days).ok(),
            mode: Some(ObjectLockRetentionMode::from_static(default.mode.name())),
            years: None,
        }),
    });
    let enabled = Some(ObjectLockEnabled::from_static(ObjectLockEnabled::ENABLED));
    let configuration = ObjectLockConfiguration { object_lock_enabled: enabled, rule };
    answer(GetObjectLockConfigurationOutput { object_lock_configuration: Some(configuration) })
}

pub(super) async fn set(
    shared: &Shared,
    req: S3Request<PutObjectLockConfigurationInput>,
) -> Answer<PutObjectLockConfigurationOutput> {
    check_announced(&req.headers)?;
    let configuration = req.input.object_lock_configuration.ok_or_else(malformed)?;
    if configuration.object_lock_enabled.as_ref().map(ObjectLockEnabled::as_str) != Some(ObjectLockEnabled::ENABLED) {
        return Err(malformed());
    }
    let default = configuration.rule.and_then(|rule| rule.default_retention);
    let default = default.map(|DefaultRetention { days, mode, years }| {
        let mode = LockMode::from_name(mode.ok_or_else(malformed)?.as_str())?;
        let days = match (days, years) {
            (Some(days), None) => days,
            (None, Some(years)) => years.saturating_mul(365),
            _ => return Err(malformed()),
        };
        let days = u32::try_from(days)
            .ok()
            .filter(|days| *days > 0)
            .ok_or_else(|| Refusal::invalid_argument("Default retention period must be a positive integer value."))?;
        Ok(s3_model::DefaultRetention { mode, days })
    });
    shared.store().set_lock(&req.input.bucket, ObjectLock { default: default.transpose()? })?;
    answer(PutObjectLockConfigurationOutput::default())
}

pub(super) async fn retention(
    shared: &Shared,
    req: S3Request<GetObjectRetentionInput>,
) -> Answer<GetObjectRetentionOutput> {
    let input = req.input;
    let Retention { mode, until } = shared.store().retention(&input.bucket, &input.key, input.version_id.as_deref())?;
    let mode = Some(ObjectLockRetentionMode::from_static(mode.name()));
    let retention = ObjectLockRetention { mode, retain_until_date: timestamp(until) };
    answer(GetObjectRetentionOutput { retention: Some(retention) })
}

pub(super) async fn set_retention(
    shared: &Shared,
    req: S3Request<PutObjectRetentionInput>,
) -> Answer<PutObjectRetentionOutput> {
    check_announced(&req.headers)?;
    let input = req.input;
    let ObjectLockRetention { mode, retain_until_date } = input.retention.unwrap_or_default();
    let retention = match (mode, retain_until_date) {
        (None, None) => None,
        (Some(mode), Some(until)) => {
            Some(Retention { mode: LockMode::from_name(mode.as_str())?, until: system_time(&until) })
        }
        _ => return Err(malformed()),
    };
    let (id, bypass) = (input.version_id.as_deref(), input.bypass_governance_retention == Some(true));
    shared.store().set_retention(&input.bucket, &input.key, id, retention, bypass, shared.clock.now())?;
    answer(PutObjectRetentionOutput::default())
}
