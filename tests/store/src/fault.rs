//! Faults that a test orders: what they do, and to which request.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::HeaderMap;
use serde::{Deserialize, Serialize};

/// One ordered fault. In JSON, next to the fields below, exactly one effect: `answer`, `drop`, `truncate`, `stall`,
/// `flip`, `whole` or `delay_ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct Fault {
    /// The operation's name in S3, such as `UploadPart`; `*` is any.
    pub operation: String,
    /// The request's path and query, as sent, must contain this: `partNumber=3`.
    pub target: Option<String>,
    /// The request must have this header, in lower case: `x-amz-trailer`.
    pub header: Option<String>,
    /// How many matching requests pass unharmed first.
    pub skip: u32,
    /// How many requests are hit then.
    pub times: u32,
    /// What happens to them.
    pub effect: Effect,
}

/// What a fault does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// This answer is sent in place of the store's own.
    Answer(Answer),
    /// The connection is dropped without an answer, before or after the request took effect.
    Drop(When),
    /// The reply's body ends after this many bytes, and the connection with it.
    Truncate(u64),
    /// The reply's body stops after this many bytes, and the connection stays open.
    Stall(u64),
    /// One bit of the byte at this offset of the reply's body is flipped.
    Flip(u64),
    /// A GET of a range is answered with status 200 and the whole object.
    Whole,
    /// The request takes effect so much later.
    Delay(Duration),
}

/// Before or after a request takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// The request does nothing.
    Before,
    /// The request does what it is to do.
    After,
}

/// An answer made up for a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The code of the XML error; not used where `body` is given.
    pub code: String,
    /// The message of the XML error.
    pub message: String,
    /// Further headers, such as `retry-after`.
    pub headers: BTreeMap<String, String>,
    /// The body as it is sent, such as a proxy's HTML page.
    pub body: Option<String>,
    /// The body's type.
    pub content_type: String,
    /// Whether the request takes effect nevertheless.
    pub when: When,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            status: 500,
            code: "InternalError".to_owned(),
            message: "We encountered an internal error. Please try again.".to_owned(),
            headers: BTreeMap::new(),
            body: None,
            content_type: "application/xml".to_owned(),
            when: When::Before,
        }
    }
}

impl Fault {
    /// A fault that hits the next request of `operation`.
    pub fn new(operation: impl Into<String>, effect: Effect) -> Self {
        Self { operation: operation.into(), target: None, header: None, skip: 0, times: 1, effect }
    }

    fn matches(&self, operation: &str, target: &str, headers: &HeaderMap) -> bool {
        self.header.as_ref().is_none_or(|name| headers.contains_key(name.as_str()))
            && (self.operation == "*" || self.operation == operation)
            && self.target.as_ref().is_none_or(|part| target.contains(part.as_str()))
    }
}

/// The JSON form of a fault.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    operation: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    header: Option<String>,
    #[serde(default)]
    skip: u32,
    #[serde(default = "one")]
    times: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<Answer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    drop: Option<When>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    truncate: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stall: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    flip: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    whole: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
}

fn one() -> u32 {
    1
}

impl TryFrom<Wire> for Fault {
    type Error = &'static str;

    fn try_from(wire: Wire) -> Result<Self, Self::Error> {
        let effects = [
            wire.answer.map(Effect::Answer),
            wire.drop.map(Effect::Drop),
            wire.truncate.map(Effect::Truncate),
            wire.stall.map(Effect::Stall),
            wire.flip.map(Effect::Flip),
            wire.whole.then_some(Effect::Whole),
            wire.delay_ms.map(|ms| Effect::Delay(Duration::from_millis(ms))),
        ];
        let mut effects = effects.into_iter().flatten();
        let (Some(effect), None) = (effects.next(), effects.next()) else {
            return Err("a fault has exactly one of answer, drop, truncate, stall, flip, whole, delay_ms");
        };
        let Wire { operation, target, header, skip, times, .. } = wire;
        Ok(Self { operation, target, header, skip, times, effect })
    }
}

impl From<Fault> for Wire {
    fn from(fault: Fault) -> Self {
        let Fault { operation, target, header, skip, times, effect } = fault;
        let none = Self {
            operation,
            target,
            header,
            skip,
            times,
            answer: None,
            drop: None,
            truncate: None,
            stall: None,
            flip: None,
            whole: false,
            delay_ms: None,
        };
        match effect {
            Effect::Answer(answer) => Self { answer: Some(answer), ..none },
            Effect::Drop(when) => Self { drop: Some(when), ..none },
            Effect::Truncate(bytes) => Self { truncate: Some(bytes), ..none },
            Effect::Stall(bytes) => Self { stall: Some(bytes), ..none },
            Effect::Flip(offset) => Self { flip: Some(offset), ..none },
            Effect::Whole => Self { whole: true, ..none },
            Effect::Delay(time) => Self { delay_ms: Some(time.as_millis() as u64), ..none },
        }
    }
}

/// The faults still to happen, in the order they were asked for.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    pub(crate) fn add(&self, fault: Fault) {
        self.lock().push(fault);
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    pub(crate) fn pending(&self) -> Vec<Fault> {
        self.lock().clone()
    }

    /// What happens to this request. The first fault that matches and has nothing to skip is used up by one.
    pub(crate) fn take(&self, operation: &str, target: &str, headers: &HeaderMap) -> Option<Effect> {
        let mut faults = self.lock();
        for at in 0..faults.len() {
            let fault = &mut faults[at];
            if !fault.matches(operation, target, headers) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            let effect = fault.effect.clone();
            fault.times = fault.times.saturating_sub(1);
            if fault.times == 0 {
                faults.remove(at);
            }
            return Some(effect);
        }
        None
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(json: &str) -> Result<Fault, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn json_goes_both_ways() {
        for json in [
            r#"{"operation":"CompleteMultipartUpload","times":1,"answer":{"status":503,"code":"SlowDown"}}"#,
            r#"{"operation":"*","target":"partNumber=3","skip":2,"drop":"after"}"#,
            r#"{"operation":"UploadPart","header":"x-amz-trailer","drop":"before"}"#,
            r#"{"operation":"GetObject","truncate":10}"#,
            r#"{"operation":"GetObject","flip":10}"#,
            r#"{"operation":"GetObject","whole":true}"#,
            r#"{"operation":"GetObject","stall":0,"times":7}"#,
            r#"{"operation":"PutObject","delay_ms":50}"#,
        ] {
            let fault = parse(json).unwrap();
            assert_eq!(parse(&serde_json::to_string(&fault).unwrap()).unwrap(), fault, "{json}");
        }
    }

    #[test]
    fn none_two_or_unknown_effects_are_errors() {
        assert!(parse(r#"{"operation":"GetObject"}"#).unwrap_err().contains("exactly one"));
        assert!(parse(r#"{"operation":"GetObject","stall":1,"truncate":1}"#).unwrap_err().contains("exactly one"));
        assert!(parse(r#"{"operation":"GetObject","tuncate":1}"#).unwrap_err().contains("unknown field"));
    }

    #[test]
    fn a_fault_hits_what_it_names_after_the_skipped_and_then_is_gone() {
        let faults = Faults::default();
        let effect = Effect::Drop(When::Before);
        let fault =
            Fault { target: Some("partNumber=3".to_owned()), skip: 1, times: 2, ..Fault::new("UploadPart", effect) };
        faults.add(fault);
        let hit = |operation, target| faults.take(operation, target, &HeaderMap::new()).is_some();
        assert!(!hit("PutObject", "/b/k?partNumber=3"));
        assert!(!hit("UploadPart", "/b/k?partNumber=4"));
        assert_eq!([0; 4].map(|_| hit("UploadPart", "/b/k?partNumber=3")), [false, true, true, false]);
        assert!(faults.pending().is_empty());
    }

    #[test]
    fn a_fault_of_a_header_hits_requests_that_have_it() {
        let faults = Faults::default();
        faults.add(Fault { header: Some("x-amz-trailer".to_owned()), ..Fault::new("*", Effect::Drop(When::Before)) });
        let with =
            HeaderMap::from_iter([(hyper::header::HeaderName::from_static("x-amz-trailer"), "x".parse().unwrap())]);
        assert!(faults.take("UploadPart", "/b/k", &HeaderMap::new()).is_none());
        assert!(faults.take("UploadPart", "/b/k", &with).is_some());
    }
}
