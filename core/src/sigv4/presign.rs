//! Presigned URLs: the signature is in the query, and expires.
//!
//! Source: "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)", S3 API reference.

use super::canonical::{self, Rule};
use super::{ALGORITHM, Payload, Signer, ToSign, check_target};
use crate::error::{Code, Error, Result};

/// Shortest lifetime of a URL, in seconds.
pub const SHORTEST_S: u32 = 1;
/// Longest lifetime of a URL, in seconds: seven days, for which a derived key is valid.
pub const LONGEST_S: u32 = 7 * 24 * 60 * 60;

impl Signer {
    /// Signs a request in its query. Returns the whole query in canonical order, with `X-Amz-Signature` at its end.
    ///
    /// The user of the URL must send each of `request.headers` as it was signed. For S3, the body is signed only if there
    /// is a header `x-amz-content-sha256`; `request.payload` is used for other services only. A URL that was signed with
    /// temporary credentials expires with them at the latest.
    ///
    /// Fails with [`Code::InvalidArgument`] if `expires_s` is not from [`SHORTEST_S`] to [`LONGEST_S`], or the query is
    /// already signed; and with [`Code::Unsupported`] for a host that [`check_target`] refuses.
    pub fn presign(&mut self, request: &ToSign<'_>, expires_s: u32, unix_ms: i64) -> Result<String> {
        check_target(request.host)?;
        if !(SHORTEST_S..=LONGEST_S).contains(&expires_s) {
            let message = format!("a presigned URL cannot be valid for {expires_s} seconds");
            let hint = format!("Use {SHORTEST_S} second to 7 days ({LONGEST_S} seconds).");
            return Err(Error::new(Code::InvalidArgument, message).with_hint(hint));
        }
        let own = |parameter: &str| parameter.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("X-Amz-"));
        let signed = ["algorithm", "credential", "date", "expires", "signedheaders", "signature", "security-token"];
        if let Some(found) = request
            .query
            .split('&')
            .map(|parameter| parameter.split('=').next().unwrap_or(""))
            .find(|name| own(name) && signed.iter().any(|known| name[6..].eq_ignore_ascii_case(known)))
        {
            let message = format!("the query already has {found}");
            let hint = "Pass the URL without a signature.";
            return Err(Error::new(Code::InvalidArgument, message).with_hint(hint));
        }
        self.set_time(unix_ms);
        let says = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-amz-content-sha256"));
        let payload = if self.rule == Rule::S3 { Payload::Unsigned } else { request.payload };
        self.set_payload(&payload);

        // The names of the headers may have changed.
        self.unsigned_length = 0;
        let hash = says.map(|(_, value)| value.trim()).or(payload.word()).unwrap_or(&self.hash);
        self.headers.set(request.headers, &[("host", request.host)], hash);
        let credential = format!("{}/{}", self.credentials.access_key, self.scope);
        let expires = expires_s.to_string();
        let mut more = vec![
            ("X-Amz-Algorithm", ALGORITHM),
            ("X-Amz-Credential", &credential),
            ("X-Amz-Date", &self.date),
            ("X-Amz-Expires", &expires),
            ("X-Amz-SignedHeaders", self.headers.names()),
        ];
        more.extend(self.credentials.session_token.as_ref().map(|token| ("X-Amz-Security-Token", token.as_str())));

        let text = &mut self.head;
        text.clear();
        text.extend_from_slice(request.method.as_str().as_bytes());
        text.push(b'\n');
        canonical::push_path(text, request.path, self.rule);
        text.push(b'\n');
        let start = text.len();
        self.query.push(text, request.query, &more);
        let mut query = String::from_utf8_lossy(&text[start..]).into_owned();
        text.push(b'\n');
        query.push_str("&X-Amz-Signature=");
        query.push_str(str::from_utf8(&self.signature()).unwrap_or_default());
        Ok(query)
    }
}
