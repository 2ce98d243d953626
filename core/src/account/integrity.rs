//! How the bytes of a backup are checked on their way to the store, as far as the store supports it.
//!
//! The first requests ask for the most. What a store refuses is left out from then on, for the whole account:
//!
//! ```text
//!  Trailer ──refused, or kept as data──▶ Header ──refused──▶ Md5
//! ```
//! A store that has accepted payload at a level is not asked for less any more: a refusal is about something else then.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use crate::error::Error;
use crate::http::Part;
use crate::mutation::{Mutation, is_active};
use crate::profile::Profile;

/// What is sent with the payload, for the store to compare. A later one asks less of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Integrity {
    /// The CRC64NVME in a trailer: a part of a file is hashed while it is sent.
    Trailer,
    /// The CRC64NVME in a header: the part is hashed before it is sent.
    Header,
    /// `Content-MD5`, which every store has, and no checksums: the part is hashed before it is sent.
    Md5,
}

impl From<&Part> for Integrity {
    fn from(part: &Part) -> Integrity {
        match (part.md5, part.digest) {
            (Some(_), _) => Integrity::Md5,
            (None, Some(_)) => Integrity::Header,
            (None, None) => Integrity::Trailer,
        }
    }
}

impl Integrity {
    fn from_level(level: u8) -> Integrity {
        match level {
            0 => Integrity::Trailer,
            1 => Integrity::Header,
            _ => Integrity::Md5,
        }
    }
}

/// What the store has accepted and refused so far.
#[derive(Debug)]
pub(crate) struct Negotiated {
    level: AtomicU8,
    /// The store has accepted payload at this level.
    proven: AtomicBool,
    completes: AtomicU8,
}

/// What a Complete says about the checksums of its upload. A later one asks less of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Completes {
    /// The checksum of the whole object, and of each part.
    Whole,
    /// The checksum of each part, because the store computes a wrong one of the whole.
    Parts,
    /// Neither, because the store refuses them.
    Plain,
}

impl Negotiated {
    /// What a store with this profile is asked for first.
    pub(super) fn new(profile: &Profile) -> Negotiated {
        let level = if profile.trailers { Integrity::Trailer } else { Integrity::Header };
        Negotiated {
            level: AtomicU8::new(level as u8),
            proven: AtomicBool::new(false),
            completes: AtomicU8::new(Completes::Whole as u8),
        }
    }

    /// What is sent with the payload now.
    pub(crate) fn level(&self) -> Integrity {
        Integrity::from_level(self.level.load(Ordering::Relaxed))
    }

    /// The store has accepted payload that was sent at this level, and has it as it was sent.
    pub(crate) fn accepted(&self, used: Integrity) {
        if used == self.level() {
            self.proven.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the store is known to accept payload at this level: it accepted it at this one, or at one that asks for more.
    pub(crate) fn is_proven(&self, used: Integrity) -> bool {
        used >= self.level() && self.proven.load(Ordering::Relaxed)
    }

    /// Asks no more than `next` of the store. Returns whether that is less than before.
    pub(crate) fn lower(&self, next: Integrity) -> bool {
        let before = self.level.fetch_max(next as u8, Ordering::Relaxed);
        let is_less = before < next as u8;
        if is_less {
            self.proven.store(false, Ordering::Relaxed);
        }
        is_less
    }

    /// What a Complete says about checksums now.
    pub(crate) fn completes(&self) -> Completes {
        match self.completes.load(Ordering::Relaxed) {
            _ if self.level() == Integrity::Md5 => Completes::Plain,
            0 => Completes::Whole,
            1 => Completes::Parts,
            _ => Completes::Plain,
        }
    }

    /// Says no more than `next` in a Complete. Returns whether that is less than before.
    pub(crate) fn lower_complete(&self, next: Completes) -> bool {
        let before = self.completes();
        self.completes.fetch_max(next as u8, Ordering::Relaxed);
        before < next
    }
}

/// Whether a refusal may be about the checksum of a request, which was sent at this level. There is no error code for it:
/// these are the ones that stores were seen to answer with.
pub(crate) fn may_be_about_checksums(used: Integrity, refusal: &Error) -> bool {
    let code = refusal.s3_code();
    if used == Integrity::Md5 || is_active(Mutation::NeverSendLess) {
        return false;
    }
    let is_general = is_about_form(refusal) || code == "MissingContentLength";
    // A payload with a trailer is not signed, so its hash cannot be wrong: the store does not know this form.
    let is_about_trailer = matches!(code, "XAmzContentSHA256Mismatch" | "MalformedTrailerError" | "InvalidTrailer");
    is_general || used == Integrity::Trailer && is_about_trailer
}

/// Whether a refusal may be about something that a request has, and that the store does not know.
pub(crate) fn is_about_form(refusal: &Error) -> bool {
    let code = refusal.s3_code();
    refusal.status() == 501 || matches!(code, "NotImplemented" | "InvalidArgument" | "InvalidRequest" | "InvalidHeader")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use crate::profile;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_store_is_asked_for_less_and_never_for_more() {
        let negotiated = Negotiated::new(&profile::S3);
        assert_eq!(negotiated.level(), Integrity::Trailer);
        assert!(!negotiated.is_proven(Integrity::Trailer));
        assert!(negotiated.lower(Integrity::Header));
        assert!(!negotiated.lower(Integrity::Header), "once");
        negotiated.accepted(Integrity::Trailer);
        assert!(!negotiated.is_proven(Integrity::Header), "a late reply to a trailer says nothing about headers");
        negotiated.accepted(Integrity::Header);
        assert!(negotiated.is_proven(Integrity::Header) && !negotiated.is_proven(Integrity::Trailer));
        assert_eq!(negotiated.completes(), Completes::Whole);
        assert!(negotiated.lower_complete(Completes::Parts) && !negotiated.lower_complete(Completes::Parts), "once");
        assert_eq!(negotiated.completes(), Completes::Parts);
        assert!(negotiated.lower(Integrity::Md5));
        assert_eq!((negotiated.level(), negotiated.completes()), (Integrity::Md5, Completes::Plain));
    }

    #[test]
    fn a_store_that_takes_trailers_takes_headers() {
        let negotiated = Negotiated::new(&profile::S3);
        negotiated.accepted(Integrity::Trailer);
        assert!(negotiated.is_proven(Integrity::Trailer) && negotiated.is_proven(Integrity::Header));
    }

    #[test]
    fn refusals_that_may_be_about_checksums() {
        let refusal = |status, code: &str| Error::new(Code::Store, "x").with_reply(status, code, "");
        for (used, status, code, expected) in [
            (Integrity::Trailer, 501, "NotImplemented", true),
            (Integrity::Header, 501, "", true),
            (Integrity::Header, 400, "InvalidArgument", true),
            (Integrity::Trailer, 400, "XAmzContentSHA256Mismatch", true),
            (Integrity::Header, 400, "XAmzContentSHA256Mismatch", false),
            (Integrity::Trailer, 411, "MissingContentLength", true),
            (Integrity::Header, 400, "BadDigest", false),
            (Integrity::Header, 403, "AccessDenied", false),
            (Integrity::Md5, 501, "NotImplemented", false),
        ] {
            assert_eq!(may_be_about_checksums(used, &refusal(status, code)), expected, "{used:?} {status} {code}");
        }
    }
}
