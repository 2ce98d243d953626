//! Whether the store encrypts with the vault's keys (SSE-C): tried with a small object before the first backup of a process
//! in a bucket. Some stores accept the key and keep the data in the clear, and AWS blocks SSE-C in new buckets.
//!
//! ```text
//!  PUT with a key ──stored──▶ GET with the key, and beside it without ──▶ Remove ──▶ Done: works, or is ignored
//!    │ refused            └ not confirmed: GET without the key ──────────┘
//!    ▼
//!  GetBucketEncryption ──blocks SSE-C──▶ Done: blocked
//!    │ does not say
//!    ▼
//!  PUT without a key ──stored──▶ Remove ──▶ Done: blocked, or unknown to the store
//!    └ refused ──▶ Done: the first refusal is about something else
//! ```
//! That it works takes four requests in three round trips. The object and its key are used for nothing else: its bytes are
//! the same text everywhere, so nothing is revealed where it is kept in the clear. It has no lock of the vault's. Where it
//! cannot be deleted (a default retention locks it), that is reported, and the backup continues; sweep deletes it later.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::error::{Code, Error, Result};
use crate::machine::Event;
use crate::op::{
    BucketEncryption, Call, Content, Context, CustomerKey, DeleteObject, DeleteObjectVersion, Encryption,
    EncryptionRule, GetBucketEncryption, GetObject, ListObjectVersions, PutObject, Step, Steps,
};
use crate::vault::Vault;
use crate::vault::layout::{Place, Versioning};
use crate::vault::objects::PROBES;

/// What the probe object holds.
const CONTENT: &[u8] = b"s3vault: this object tries whether the store encrypts with SSE-C. It may be deleted.\n";

/// The data of the trial.
pub(super) struct Preflight {
    vault: Arc<Vault>,
    place: Arc<Place>,
    key: String,
    customer_key: CustomerKey,
    /// The version that a PUT made, if its reply says so.
    stored: Option<String>,
    /// More than one version may have been made.
    is_repeated: bool,
}

impl Steps for Preflight {
    type Done = ();
    const WHAT: &'static str = "trying SSE-C";
}

impl Preflight {
    /// Tries it in this bucket. `entropy` is that of the version id of a put, which is public: the key protects nothing.
    pub(super) fn start(vault: &Arc<Vault>, place: &Arc<Place>, entropy: &[u8; 10]) -> (Preflight, Step<Preflight>) {
        let derive = |what: &str| -> [u8; 32] {
            Sha256::new().chain_update(b"s3vault/1 probe ").chain_update(what).chain_update(entropy).finalize().into()
        };
        let preflight = Preflight {
            vault: vault.clone(),
            place: place.clone(),
            key: format!("{PROBES}{}", hex::encode(&derive("name")[..16])),
            customer_key: CustomerKey::new(derive("key")),
            stored: None,
            is_repeated: false,
        };
        let first = Step::with(
            Call::new(preflight.put(preflight.encryption())),
            |preflight: &mut Preflight, _, call, answer| {
                preflight.is_repeated = call.maybe_done();
                match answer {
                    Ok(reply) => {
                        preflight.stored = reply.version_id;
                        preflight.read()
                    }
                    Err(e) if e.code() == Code::BadReply && (200..300).contains(&e.status()) => {
                        preflight.is_repeated = true;
                        preflight.read_unconfirmed(e)
                    }
                    Err(e) if is_refusal(&e) => preflight.ask(e),
                    Err(e) => Step::done(Err(e)),
                }
            },
        );
        (preflight, first)
    }

    fn encryption(&self) -> Encryption {
        Encryption::SseC(self.customer_key.clone())
    }

    fn put(&self, encryption: Encryption) -> PutObject {
        let headers = vec![("content-type".into(), "text/plain".into())];
        PutObject { encryption, ..PutObject::new(&*self.key, Content::Bytes(CONTENT.into()), headers) }
    }

    fn get(&self, encryption: Encryption) -> GetObject {
        GetObject { encryption, ..GetObject::new(&*self.key, 64 << 10) }
    }

    /// Reads the object without the key, which must fail, and with it.
    fn read(&mut self) -> Step<Preflight> {
        let (without, with) = (self.get(Encryption::BucketDefault), self.get(self.encryption()));
        Step::both(
            with,
            without,
            |_, _| None,
            |preflight: &mut Preflight, with, without| {
                let verdict = match (without, with) {
                    (Some(Ok(_)), _) => Err(preflight.ignored("confirmed")),
                    (Some(Err(_)), Err(e)) if e.code() == Code::AccessDenied => Ok(false),
                    (_, Err(e)) => {
                        Err(e.context("reading an object back with its key, before the first backup with SSE-C"))
                    }
                    (_, Ok(bytes)) if bytes != CONTENT => Err(preflight.damaged()),
                    (Some(Err(e)), _) if is_refusal(&e) || e.code() == Code::WrongKey => Ok(true),
                    (Some(Err(e)), _) => Err(e),
                    // Both answers are waited for.
                    (None, _) => Ok(true),
                };
                preflight.remove(verdict)
            },
        )
    }

    /// The reply to the PUT did not confirm the key: reads the object without it.
    fn read_unconfirmed(&mut self, unconfirmed: Error) -> Step<Preflight> {
        Step::try_call(self.get(Encryption::BucketDefault), |preflight: &mut Preflight, _, answer| {
            let why = if answer.is_ok() { preflight.ignored("accepted") } else { unconfirmed };
            preflight.remove(Err(why))
        })
    }

    /// The PUT with a key was refused: asks whether the bucket blocks SSE-C.
    fn ask(&mut self, refusal: Error) -> Step<Preflight> {
        Step::try_call(GetBucketEncryption, |preflight: &mut Preflight, _, answer| match answer {
            Ok(rules) if rules.blocks_sse_c() == Some(true) => Step::done(Err(preflight.blocked(refusal, Some(rules)))),
            answer => preflight.put_twin(refusal, answer.ok()),
        })
    }

    /// Stores the same object without the key, to see whether the key was the reason.
    fn put_twin(&mut self, refusal: Error, rules: Option<BucketEncryption>) -> Step<Preflight> {
        let twin = self.put(Encryption::BucketDefault);
        Step::with(Call::new(twin), |preflight: &mut Preflight, _, call, answer| match answer {
            Ok(reply) => {
                preflight.stored = reply.version_id;
                preflight.is_repeated |= call.maybe_done();
                let why = match refusal.status() {
                    403 => preflight.blocked(refusal, rules),
                    _ => preflight.unsupported(refusal),
                };
                preflight.remove(Err(why))
            }
            Err(_) => Step::done(Err(refusal)),
        })
    }

    /// Deletes the object, then ends: with `Ok(false)` if nothing could be read back.
    fn remove(&mut self, verdict: Result<bool>) -> Step<Preflight> {
        let is_native = self.vault.layout.versioning() == Versioning::Native;
        let version_id = self.stored.take().filter(|id| is_native || id == "null");
        match version_id {
            Some(version_id) if !self.is_repeated => self.delete(vec![version_id], verdict),
            version_id if is_native || version_id.is_some() => {
                let list = ListObjectVersions { prefix: self.key.clone(), ..Default::default() };
                Step::with(Call::new(list), move |preflight: &mut Preflight, context, _, answer| match answer {
                    Ok(page) => {
                        let own = page.versions.into_iter().filter(|version| version.key == preflight.key);
                        let ids: Vec<String> = own.map(|version| version.version_id).collect();
                        if ids.is_empty() { preflight.end(context, verdict) } else { preflight.delete(ids, verdict) }
                    }
                    // Without its version id, a deletion would only hide it.
                    Err(e) if is_native => {
                        context.report(preflight.left(&e));
                        preflight.end(context, verdict)
                    }
                    Err(_) => preflight.delete(Vec::new(), verdict),
                })
            }
            _ => self.delete(Vec::new(), verdict),
        }
    }

    /// Deletes these versions; the object, if there are none.
    fn delete(&mut self, version_ids: Vec<String>, verdict: Result<bool>) -> Step<Preflight> {
        if version_ids.is_empty() {
            return Step::with(
                Call::new(DeleteObject { key: self.key.clone() }),
                |preflight: &mut Preflight, context, _, answer| {
                    if let Err(e) = answer {
                        context.report(preflight.left(&e));
                    }
                    preflight.end(context, verdict)
                },
            );
        }
        let key = &self.key;
        let delete = |version_id| DeleteObjectVersion { key: key.clone(), version_id, bypass_governance: false };
        let deletes: Vec<DeleteObjectVersion> = version_ids.into_iter().map(delete).collect();
        Step::each(
            deletes,
            4,
            |preflight: &mut Preflight, context, _, answer| {
                if let Err(e) = answer {
                    context.report(preflight.left(&e));
                }
                Ok(())
            },
            |preflight, context| preflight.end(context, verdict),
        )
    }

    fn end(&mut self, context: &mut Context<'_>, verdict: Result<bool>) -> Step<Preflight> {
        match verdict {
            Err(e) => return Step::done(Err(e)),
            Ok(true) => {}
            Ok(false) => context.report(Event::Without {
                what: format!(
                    "these credentials may not read objects of bucket {}, so whether the store encrypts with SSE-C was not tried: only its replies say so. Try it once with credentials that may read",
                    self.place.bucket.name()
                ),
            }),
        }
        self.place.set_keeps_keys();
        Step::done(Ok(()))
    }

    fn left(&self, why: &Error) -> Event {
        let (bucket, key) = (self.place.bucket.name().to_owned(), self.key.clone());
        Event::ProbeLeft { bucket, key, why: why.message().to_owned() }
    }

    fn error(&self, why: &str) -> Error {
        let bucket = self.place.bucket.name();
        let why = format!("encryption = sse-c, but {why} (bucket {bucket}, object {})", self.key);
        Error::new(Code::InvalidOption, why).on("PutObject", bucket, &self.key)
    }

    /// The store returned the object without its key.
    fn ignored(&self, how: &str) -> Error {
        self.error(&format!(
            "the store ignores the key: it {how} an object with a customer key (SSE-C), and returned it to a request without the key, so it keeps the data in the clear; nothing was stored"
        ))
        .with_hint(ENVELOPE)
    }

    fn damaged(&self) -> Error {
        self.error("the store returned other bytes with the key than were stored with it; nothing was stored")
            .with_hint(ENVELOPE)
    }

    fn unsupported(&self, refusal: Error) -> Error {
        let bucket = self.place.bucket.name();
        refusal
            .recode(Code::InvalidOption)
            .context(format_args!(
                "encryption = sse-c, but the store of bucket {bucket} does not support it: it refuses an object with a customer key (SSE-C), and accepts the same object without one"
            ))
            .with_hint(ENVELOPE)
    }

    /// The bucket blocks SSE-C. `rules`: its encryption configuration, if these credentials may read it.
    fn blocked(&self, refusal: Error, rules: Option<BucketEncryption>) -> Error {
        let bucket = self.place.bucket.name();
        let is_known = rules.as_ref().is_some_and(|rules| rules.blocks_sse_c() == Some(true));
        let how = match is_known {
            true => "its BlockedEncryptionTypes has SSE-C",
            false => {
                "the store refuses an object with a customer key (SSE-C), and accepts the same object without one; AWS blocks SSE-C in buckets whose BlockedEncryptionTypes does not say NONE"
            }
        };
        let replaces = match rules {
            Some(_) => "which keeps the bucket's other rules".to_owned(),
            None => "which replaces the bucket's encryption configuration (these credentials may not read it: that takes s3:GetEncryptionConfiguration)".to_owned(),
        };
        let command = unblock(bucket, rules.unwrap_or_default());
        refusal.context(format_args!("encryption = sse-c, but bucket {bucket} blocks it: {how}")).with_hint(format!(
            "Allow SSE-C in the bucket, {replaces}, with the permission s3:PutEncryptionConfiguration on arn:aws:s3:::{bucket}: {command} (if it stays refused, a policy denies SSE-C). Or set encryption = envelope, which the store need not support."
        ))
    }
}

const ENVELOPE: &str = "Set encryption = envelope: the data is then encrypted on this machine, and any store will do.";

/// Whether the store refused a request for what it asks for.
fn is_refusal(e: &Error) -> bool {
    matches!(e.code(), Code::AccessDenied | Code::Store) && matches!(e.status(), 400 | 403 | 405 | 501)
}

/// The command that allows SSE-C in a bucket and keeps these rules.
fn unblock(bucket: &str, rules: BucketEncryption) -> String {
    let rule = |rule: &EncryptionRule| {
        let mut default = serde_json::json!({ "SSEAlgorithm": rule.algorithm.as_deref().unwrap_or("AES256") });
        if let Some(key) = &rule.kms_key {
            default["KMSMasterKeyID"] = key.as_str().into();
        }
        let mut json = serde_json::json!({
            "ApplyServerSideEncryptionByDefault": default,
            "BlockedEncryptionTypes": { "EncryptionType": rule.blocked },
        });
        if let Some(bucket_key) = rule.bucket_key {
            json["BucketKeyEnabled"] = bucket_key.into();
        }
        json
    };
    let rules: Vec<serde_json::Value> = rules.with_sse_c(false).rules.iter().map(rule).collect();
    let json = serde_json::json!({ "Rules": rules }).to_string();
    let words =
        ["aws", "s3api", "put-bucket-encryption", "--bucket", bucket, "--server-side-encryption-configuration", &json];
    shlex::try_join(words).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// The JSON has the form of "PutBucketEncryption" in the AWS CLI reference.
    #[test]
    fn the_command_allows_sse_c_and_keeps_the_other_rules() {
        assert_eq!(
            unblock("b", BucketEncryption::default()),
            "aws s3api put-bucket-encryption --bucket b --server-side-encryption-configuration \
             '{\"Rules\":[{\"ApplyServerSideEncryptionByDefault\":{\"SSEAlgorithm\":\"AES256\"},\
             \"BlockedEncryptionTypes\":{\"EncryptionType\":[\"NONE\"]}}]}'"
        );
        let rule = EncryptionRule {
            algorithm: Some("aws:kms".into()),
            kms_key: Some("it's".into()),
            bucket_key: Some(true),
            blocked: vec!["SSE-C".into()],
        };
        let command = unblock("b", BucketEncryption { rules: vec![rule] });
        let words = shlex::split(&command).unwrap();
        let json: serde_json::Value = serde_json::from_str(words.last().unwrap()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({ "Rules": [{
                "ApplyServerSideEncryptionByDefault": { "SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "it's" },
                "BlockedEncryptionTypes": { "EncryptionType": ["NONE"] },
                "BucketKeyEnabled": true,
            }] })
        );
    }
}
