//! The `Authorization` header.

use sha2::{Digest as _, Sha256};

use super::{canonical, key};
use crate::credentials::Credentials;
use crate::http::Method;
use crate::time::amz_date;

/// How a request's body is signed.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// By the SHA-256 of these bytes.
    Bytes(&'a [u8]),
    /// Not at all: `UNSIGNED-PAYLOAD`. The checksum among the headers is signed.
    Unsigned,
    /// Chunks that are not signed, with a checksum in the trailer: `STREAMING-UNSIGNED-PAYLOAD-TRAILER`.
    UnsignedTrailer,
}

/// A request that is to be signed.
#[derive(Clone, Copy, Debug)]
pub struct ToSign<'a> {
    /// The method.
    pub method: Method,
    /// Host, with its port where it is not the scheme's own.
    pub host: &'a str,
    /// The path, encoded.
    pub path: &'a str,
    /// The query, encoded and sorted.
    pub query: &'a str,
    /// The body.
    pub payload: Payload<'a>,
}

/// Signs for one pair of keys in one region. The derived key is kept for the day.
#[derive(Clone)]
pub struct Signer {
    credentials: Credentials,
    region: String,
    day: String,
    key: key::Key,
}

impl Signer {
    /// For these keys and this region.
    pub fn new(credentials: Credentials, region: &str) -> Signer {
        Signer { credentials, region: region.to_owned(), day: String::new(), key: key::Key::default() }
    }

    /// Adds to `headers` what the store needs: `x-amz-date`, `x-amz-content-sha256`, `x-amz-security-token` and
    /// `authorization`. All headers that are there and `host` are signed. Names must be in lower case.
    pub fn sign(&mut self, to_sign: &ToSign<'_>, headers: &mut Vec<(String, String)>, unix_ms: i64) {
        let date = amz_date(unix_ms);
        let day = &date[..8];
        let payload = match to_sign.payload {
            Payload::Bytes(bytes) => hex::encode(Sha256::digest(bytes)),
            Payload::Unsigned => "UNSIGNED-PAYLOAD".into(),
            Payload::UnsignedTrailer => "STREAMING-UNSIGNED-PAYLOAD-TRAILER".into(),
        };
        headers.push(("x-amz-content-sha256".into(), payload.clone()));
        headers.push(("x-amz-date".into(), date.clone()));
        if let Some(token) = &self.credentials.session_token {
            headers.push(("x-amz-security-token".into(), token.to_string()));
        }
        let mut signed: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        signed.push(("host", to_sign.host));
        signed.sort();
        let (request, names) = canonical::request(to_sign, &signed, &payload);

        if self.day != day {
            self.key = key::derive(&self.credentials.secret_key, day, &self.region);
            self.day = day.to_owned();
        }
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let hash = hex::encode(Sha256::digest(request));
        let signature =
            hex::encode(key::hmac(&*self.key, format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{hash}").as_bytes()));
        let access_key = &self.credentials.access_key;
        let value =
            format!("AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}");
        headers.push(("authorization".into(), value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;
    use zeroize::Zeroizing;

    fn signature(method: Method, path: &str, query: &str, payload: Payload<'_>, extra: &[(&str, &str)]) -> String {
        let credentials = Credentials {
            access_key: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_key: Zeroizing::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into()),
            session_token: None,
        };
        let mut signer = Signer::new(credentials, "us-east-1");
        let to_sign = ToSign { method, host: "examplebucket.s3.amazonaws.com", path, query, payload };
        let mut headers: Vec<(String, String)> = extra.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        signer.sign(&to_sign, &mut headers, 1_369_353_600_000);
        let value = &headers.last().unwrap().1;
        value.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    /// The examples of the page that the module names.
    #[test]
    fn the_documented_examples() {
        let empty = Payload::Bytes(b"");
        assert_eq!(
            signature(Method::Get, "/test.txt", "", empty, &[("range", "bytes=0-9")]),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        let put = [("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
        assert_eq!(
            signature(Method::Put, "/test%24file.text", "", Payload::Bytes(b"Welcome to Amazon S3."), &put),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
        assert_eq!(
            signature(Method::Get, "/", "lifecycle=", empty, &[]),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
        assert_eq!(
            signature(Method::Get, "/", "max-keys=2&prefix=J", empty, &[]),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }

    #[test]
    fn odd_spaces_in_a_value_are_signed_as_one() {
        let sign = |value| signature(Method::Get, "/", "", Payload::Unsigned, &[("x-amz-meta-a", value)]);
        assert_eq!(sign("  a   b "), sign("a b"));
        assert_ne!(sign("a b"), sign("ab"));
    }

    #[test]
    fn a_session_token_is_signed() {
        let credentials = Credentials {
            access_key: "A".into(),
            secret_key: Zeroizing::new("S".into()),
            session_token: Some(Zeroizing::new("T".into())),
        };
        let mut headers = Vec::new();
        let to_sign = ToSign { method: Method::Get, host: "h", path: "/", query: "", payload: Payload::Unsigned };
        Signer::new(credentials, "r").sign(&to_sign, &mut headers, 0);
        assert!(headers.contains(&("x-amz-security-token".into(), "T".into())));
        let names = "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,";
        assert!(headers.last().unwrap().1.contains(names));
    }
}
