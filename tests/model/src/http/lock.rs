//! Object lock: the headers of a write, the lock of a version, and the configuration of a bucket.

use std::time::SystemTime;

use super::xml::{Document, malformed, value};
use super::{Reply, Request, parse_xml_date, xml_date};
use crate::{DefaultRetention, LockMode, ObjectLock, Payload, Refusal, Retention, Store};

/// The lock that the headers of a write ask for.
pub(super) fn of_headers<C>(request: &Request<C>) -> Result<Option<Retention>, Refusal> {
    let (mode, until) = ("x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date");
    match (request.header(mode), request.header(until)) {
        (None, None) => Ok(None),
        (Some(mode), Some(until)) => {
            let mode =
                LockMode::from_name(mode).map_err(|_| Refusal::invalid_argument("Unknown wormMode directive."))?;
            Ok(Some(Retention { mode, until: parse_xml_date(until).ok_or_else(|| wrong_date(until))? }))
        }
        _ => Err(Refusal::invalid_argument(format!("{until} and {mode} must both be supplied"))),
    }
}

fn wrong_date(text: &str) -> Refusal {
    Refusal::invalid_argument(format!("The retain until date must be provided in ISO 8601 format, not as {text:?}."))
}

impl<C: Payload> Store<C> {
    pub(super) fn answer_lock(&self, request: &Request<C>) -> Result<Reply<C>, Refusal> {
        let lock = self.lock(&request.bucket)?;
        let mut xml = Document::new();
        xml.element("ObjectLockConfiguration", |xml| {
            xml.text("ObjectLockEnabled", "Enabled");
            if let Some(default) = lock.default {
                xml.element("Rule", |xml| {
                    xml.element("DefaultRetention", |xml| {
                        xml.text("Mode", default.mode.name());
                        xml.text("Days", default.days);
                    });
                });
            }
        });
        Ok(Reply::xml(xml.finish()))
    }

    pub(super) fn answer_set_lock(&mut self, request: &Request<C>) -> Result<Reply<C>, Refusal> {
        let received = self.receive_document(request)?;
        let document = received.content.bytes().unwrap_or_default();
        let of = |name: &str| value(document, &format!("ObjectLockConfiguration/{name}"));
        if of("ObjectLockEnabled")?.as_deref() != Some("Enabled") {
            return Err(malformed());
        }
        let number = |text: String| {
            text.parse::<u32>()
                .ok()
                .filter(|count| *count > 0)
                .ok_or_else(|| Refusal::invalid_argument("Default retention period must be a positive integer value."))
        };
        let days = of("Rule/DefaultRetention/Days")?.map(number).transpose()?;
        let years = of("Rule/DefaultRetention/Years")?.map(number).transpose()?;
        let default = match (of("Rule/DefaultRetention/Mode")?, days, years) {
            (None, None, None) => None,
            (Some(mode), Some(days), None) => Some((mode, days)),
            (Some(mode), None, Some(years)) => Some((mode, years.saturating_mul(365))),
            _ => return Err(malformed()),
        };
        let default = default.map(|(mode, days)| Ok(DefaultRetention { mode: LockMode::from_name(&mode)?, days }));
        self.set_lock(&request.bucket, ObjectLock { default: default.transpose()? })?;
        Ok(Reply::empty(200))
    }

    pub(super) fn answer_retention(&self, request: &Request<C>) -> Result<Reply<C>, Refusal> {
        let retention = self.retention(&request.bucket, &request.key, request.parameter("versionId"))?;
        let mut xml = Document::new();
        xml.element("Retention", |xml| {
            xml.text("Mode", retention.mode.name());
            xml.text("RetainUntilDate", xml_date(retention.until));
        });
        Ok(Reply::xml(xml.finish()))
    }

    pub(super) fn answer_set_retention(&mut self, request: &Request<C>, now: SystemTime) -> Result<Reply<C>, Refusal> {
        let received = self.receive_document(request)?;
        let document = received.content.bytes().unwrap_or_default();
        let retention = match (value(document, "Retention/Mode")?, value(document, "Retention/RetainUntilDate")?) {
            (None, None) => None,
            (Some(mode), Some(until)) => {
                let mode = LockMode::from_name(&mode)?;
                Some(Retention { mode, until: parse_xml_date(&until).ok_or_else(|| wrong_date(&until))? })
            }
            _ => return Err(malformed()),
        };
        let (id, bypass) = (request.parameter("versionId"), request.bypasses_governance());
        self.set_retention(&request.bucket, &request.key, id, retention, bypass, now)?;
        Ok(Reply::empty(200))
    }

    /// Compares a document with its checksum, which these operations demand.
    fn receive_document(&self, request: &Request<C>) -> Result<crate::Received<C>, Refusal> {
        if !request.has_digest() {
            return Err(Refusal::invalid_request(
                "Missing required header for this request: Content-MD5 OR x-amz-checksum-*",
            ));
        }
        self.receive(request)
    }
}
