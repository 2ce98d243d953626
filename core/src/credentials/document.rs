//! Parser for the JSON documents in which processes and endpoints return credentials.
//!
//! Sources: "Process credential provider" and "Container credential provider", AWS SDKs and Tools reference guide;
//! "Retrieve security credentials from instance metadata", Amazon EC2 user guide.
//!
//! No error shows any part of a document that may contain keys.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use zeroize::Zeroizing;

use super::{Credentials, unusable};
use crate::error::Result;
use crate::text::presentable;
use crate::time::parse_rfc3339;

/// The fields of both documents. Unknown fields are ignored.
#[derive(Deserialize)]
struct Keys {
    #[serde(rename = "Version")]
    version: Option<f64>,
    #[serde(rename = "Code")]
    code: Option<String>,
    #[serde(rename = "AccessKeyId")]
    access_key: Option<Zeroizing<String>>,
    #[serde(rename = "SecretAccessKey")]
    secret_key: Option<Zeroizing<String>>,
    #[serde(rename = "SessionToken")]
    session_token: Option<Zeroizing<String>>,
    #[serde(rename = "Token")]
    token: Option<Zeroizing<String>>,
    #[serde(rename = "Expiration")]
    expiration: Option<String>,
}

/// An endpoint's error document. Containers write the names in lower case.
#[derive(Deserialize)]
struct Excuse {
    #[serde(alias = "Code")]
    code: Option<String>,
    #[serde(alias = "Message")]
    message: Option<String>,
}

/// Parses the output of a `credential_process`: version 1 of its document.
pub fn parse_process(output: &[u8]) -> Result<Credentials> {
    process(output).map_err(|why| {
        unusable(format!("its output {why}")).with_hint(
            "Run the credential_process by hand: it must print {\"Version\": 1, \"AccessKeyId\": ..., \
             \"SecretAccessKey\": ..., \"SessionToken\": ..., \"Expiration\": ...}.",
        )
    })
}

fn process(output: &[u8]) -> Result<Credentials, String> {
    let keys: Keys = json(output)?;
    match keys.version {
        Some(1.0) => {}
        Some(version) => return Err(format!("has Version {version}, but only 1 is supported")),
        None => return Err("has no Version".to_owned()),
    }
    let token = keys.session_token.clone();
    keys.credentials(token)
}

/// Parses the reply of a container's endpoint. Its credentials need not expire.
pub(super) fn container(body: &[u8]) -> Result<Credentials, String> {
    let keys: Keys = json(body)?;
    let token = keys.token.clone();
    keys.credentials(token)
}

/// Parses the reply of the instance metadata service. Its credentials are always temporary.
pub(super) fn instance(body: &[u8]) -> Result<Credentials, String> {
    let keys: Keys = json(body)?;
    if let Some(code) = keys.code.as_deref().filter(|code| *code != "Success") {
        let excuse = excuse(body).unwrap_or_else(|| code.to_owned());
        return Err(format!("says {}", presentable(excuse)));
    }
    if keys.expiration.is_none() {
        return Err("has no Expiration".to_owned());
    }
    let token = Some(keys.token.clone().ok_or("has no Token")?);
    keys.credentials(token)
}

/// Code and message of an error document, as they are; `None` if the body is something else.
pub(super) fn excuse(body: &[u8]) -> Option<String> {
    let excuse: Excuse = serde_json::from_slice(body).ok()?;
    let parts: Vec<String> = excuse.code.into_iter().chain(excuse.message).collect();
    (!parts.is_empty()).then(|| parts.join(": "))
}

impl Keys {
    fn credentials(self, session_token: Option<Zeroizing<String>>) -> Result<Credentials, String> {
        let expires_ms = match self.expiration.as_deref() {
            None | Some("") => None,
            Some(text) => {
                Some(parse_rfc3339(text).ok_or("has an Expiration that is not a time such as 2026-11-24T13:30:00Z")?)
            }
        };
        let access_key = self.access_key.ok_or("has no AccessKeyId")?;
        let secret_key = self.secret_key.ok_or("has no SecretAccessKey")?;
        Credentials::checked(&access_key, &secret_key, session_token.as_deref().map(String::as_str), expires_ms)
            .map_err(|why| format!("is not usable: {why}"))
    }
}

/// Parses JSON. serde's own messages quote the document, so they are not shown.
fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|e| match (e.classify(), bytes.trim_ascii_start().first()) {
        (_, None) => "is empty".to_owned(),
        (_, Some(b'<')) => "is HTML or XML, not JSON".to_owned(),
        (Category::Eof, _) => format!("is truncated: the JSON is incomplete after {} bytes", bytes.len()),
        (Category::Data, _) => format!("is JSON with another structure (line {}, column {})", e.line(), e.column()),
        _ => format!("is not JSON (line {}, column {})", e.line(), e.column()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// The document of the reference guide, with some fields changed.
    fn document(changes: &[(&str, serde_json::Value)]) -> Vec<u8> {
        let mut document = serde_json::json!({
            "Version": 1, "AccessKeyId": "AKIA", "SecretAccessKey": "hush", "SessionToken": "hush-token",
            "Expiration": "2026-11-24T13:30:00Z",
        });
        for (name, value) in changes {
            match value {
                serde_json::Value::Null => drop(document.as_object_mut().unwrap().remove(*name)),
                value => document[*name] = value.clone(),
            }
        }
        document.to_string().into_bytes()
    }

    #[test]
    fn what_a_process_prints_is_read() {
        let keys = parse_process(&document(&[])).unwrap();
        assert_eq!((keys.access_key.as_str(), keys.secret_key.as_str()), ("AKIA", "hush"));
        assert_eq!(keys.session_token.unwrap().as_str(), "hush-token");
        assert_eq!(keys.expires_ms, Some(1_795_527_000_000));
        let plain = document(&[("SessionToken", ().into()), ("Expiration", ().into()), ("AccountId", "1".into())]);
        let keys = parse_process(&plain).unwrap();
        assert!(keys.session_token.is_none() && keys.expires_ms.is_none());
    }

    #[test]
    fn times_of_the_end_have_several_forms() {
        for (text, ms) in [
            ("2026-11-24T13:30:00Z", Some(1_795_527_000_000)),
            ("2026-11-24T13:30:00.5Z", Some(1_795_527_000_500)),
            ("2026-11-24T13:30:00+00:00", Some(1_795_527_000_000)),
            ("2026-11-24T13:30:00+0000", Some(1_795_527_000_000)),
            ("2026-11-24T15:30:00.000+02:00", Some(1_795_527_000_000)),
            ("2026-11-24 13:30:00Z", Some(1_795_527_000_000)),
            ("20261124T133000Z", Some(1_795_527_000_000)),
            ("", None),
        ] {
            let keys = parse_process(&document(&[("Expiration", text.into())])).unwrap();
            assert_eq!(keys.expires_ms, ms, "{text}");
        }
    }

    #[test]
    fn what_is_no_document_is_refused_and_not_shown() {
        let cut = document(&[]);
        for (output, why) in [
            (document(&[("Version", ().into())]), "has no Version"),
            (document(&[("Version", 2.into())]), "has Version 2, but only 1"),
            (document(&[("Version", "hush".into())]), "is JSON with another structure"),
            (document(&[("AccessKeyId", ().into())]), "has no AccessKeyId"),
            (document(&[("SecretAccessKey", ().into())]), "has no SecretAccessKey"),
            (document(&[("SecretAccessKey", "".into())]), "is not usable: its secret key is empty"),
            (document(&[("SecretAccessKey", "hush\n".repeat(2).into())]), "is not usable: its secret key contains"),
            (document(&[("AccessKeyId", "hush\r\nx: y".into())]), "is not usable: its access key contains a line end"),
            (
                document(&[("SessionToken", "hush\nx: y".into())]),
                "is not usable: its session token contains a line end",
            ),
            (document(&[("SecretAccessKey", 1.into())]), "is JSON with another structure"),
            (document(&[("Expiration", "hush".into())]), "has an Expiration that is not a time"),
            (document(&[("Expiration", "2026-11-24T13:30:00".into())]), "has an Expiration that is not a time"),
            (document(&[("Expiration", 1_795_527_000.into())]), "is JSON with another structure"),
            (cut[..cut.len() - 9].to_vec(), "is truncated"),
            (b"export AWS_SECRET_ACCESS_KEY=hush".to_vec(), "is not JSON (line 1"),
            (b"<html>hush".to_vec(), "is HTML or XML"),
            (b"[\"hush\"]".to_vec(), "is JSON with another structure"),
            (b"\"hush\"".to_vec(), "is JSON with another structure"),
            (b"\xff\xfehush".to_vec(), "is not JSON"),
            (b" \n".to_vec(), "is empty"),
        ] {
            let e = parse_process(&output).unwrap_err();
            assert_eq!(e.code(), Code::Credentials);
            assert!(e.message().starts_with(&format!("its output {why}")), "{e}");
            assert!(!format!("{e} {e:?}").contains("hush"), "{e}");
        }
    }

    #[test]
    fn endpoints_use_other_names() {
        let token = [("SessionToken", ().into()), ("Token", "hush-token".into()), ("Code", "Success".into())];
        assert_eq!(instance(&document(&token)).unwrap(), parse_process(&document(&[])).unwrap());
        assert_eq!(container(&document(&token)).unwrap(), parse_process(&document(&[])).unwrap());
        assert_eq!(container(&document(&[])).unwrap().session_token, None);
        for read in [instance, container] {
            let forged = document(&[("Token", "hush\nx: y".into())]);
            assert!(read(&forged).unwrap_err().starts_with("is not usable: its session token contains a line end"));
        }
        assert_eq!(instance(&document(&[])).unwrap_err(), "has no Token");
        assert_eq!(instance(&document(&[("Expiration", ().into())])).unwrap_err(), "has no Expiration");
        let failed = br#"{"Code": "AssumeRoleUnauthorizedAccess", "Message": "EC2 cannot assume the role"}"#;
        assert_eq!(instance(failed).unwrap_err(), "says AssumeRoleUnauthorizedAccess: EC2 cannot assume the role");
        assert_eq!(excuse(br#"{"code": "Denied", "message": "no\nrole"}"#).unwrap(), "Denied: no\nrole");
        assert_eq!(excuse(b"<html>"), None);
    }
}
