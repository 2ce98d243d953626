//! The signers, each called as its documentation does.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials as AwsCredentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningParams,
    SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use hmac::{Hmac, KeyInit, Mac};
use http::request::Parts;
use reqsign_aws_v4::{Credential, RequestSigner};
use reqsign_core::SignRequest;
use rusty_s3::actions::{GetObject, S3Action};
use s3vault_core::credentials::Credentials;
use s3vault_core::http::Method;
use s3vault_core::sigv4::{Payload, Signer, ToSign};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{
    ACCESS_KEY, BUCKET, EXPIRES_S, GET_QUERY, HOST, KEY, PATH, PUT_QUERY, REGION, Result, SECRET_KEY, SSE, UNIX_S,
    VERSION_ID,
};

fn url(query: &str) -> String {
    format!("https://{HOST}{PATH}?{query}")
}

fn last(text: &str) -> String {
    text.rsplit('=').next().unwrap_or_default().to_owned()
}

pub struct S3Vault(Signer);

const PUT: ToSign<'_> =
    ToSign { method: Method::Put, host: HOST, path: PATH, query: PUT_QUERY, headers: &SSE, payload: Payload::Unsigned };
const GET: ToSign<'_> = ToSign { method: Method::Get, query: GET_QUERY, headers: &[], ..PUT };

impl S3Vault {
    pub fn new() -> S3Vault {
        let credentials = Credentials {
            access_key: ACCESS_KEY.into(),
            secret_key: Zeroizing::new(SECRET_KEY.into()),
            session_token: None,
            expires_ms: None,
        };
        S3Vault(Signer::new(credentials, REGION))
    }

    pub fn header(&mut self, unix_s: i64) -> String {
        self.0.sign(&PUT, unix_s * 1000).signature.to_owned()
    }

    /// The signature, and the whole query.
    pub fn presigned(&mut self, unix_s: i64) -> Result<(String, String)> {
        let query = self.0.presign(&GET, EXPIRES_S, unix_s * 1000)?;
        Ok((last(&query), query))
    }

    /// Canonical request and string to sign.
    pub fn canonical(&mut self, header: bool) -> Result<(String, String)> {
        if header {
            self.header(UNIX_S);
        } else {
            self.presigned(UNIX_S)?;
        }
        Ok((self.0.canonical_request().to_owned(), self.0.string_to_sign()))
    }

    pub fn header_turn(&mut self, turn: u32) {
        for _ in 0..turn {
            black_box(self.0.sign(black_box(&PUT), UNIX_S * 1000).authorization);
        }
    }

    pub fn presigned_turn(&mut self, turn: u32) {
        for _ in 0..turn {
            black_box(self.0.presign(black_box(&GET), EXPIRES_S, UNIX_S * 1000).expect("it was signed before"));
        }
    }
}

/// SHA-256 of the canonical request and HMAC of the string to sign, with the keyed state at hand: what no signer can
/// leave out.
pub struct Bare {
    key: Hmac<Sha256>,
    canonical: String,
    to_sign: String,
}

impl Bare {
    pub fn new((canonical, to_sign): (String, String), signature: &str) -> Result<Bare> {
        let mac = |key: &[u8], text: &str| -> Result<Vec<u8>> {
            Ok(Hmac::<Sha256>::new_from_slice(key)?.chain_update(text).finalize().into_bytes().to_vec())
        };
        let scope: Vec<&str> = to_sign.split('\n').nth(2).ok_or("no scope")?.split('/').collect();
        let mut key = format!("AWS4{SECRET_KEY}").into_bytes();
        for step in scope {
            key = mac(&key, step)?;
        }
        let hash = to_sign.rsplit('\n').next().unwrap_or_default();
        if hex::encode(Sha256::digest(&canonical)) != hash || hex::encode(mac(&key, &to_sign)?) != signature {
            return Err(format!("the bare hashes of {to_sign:?} are not {signature}").into());
        }
        Ok(Bare { key: Hmac::new_from_slice(&key)?, canonical, to_sign })
    }

    pub fn length(&self) -> [usize; 2] {
        [self.canonical.len(), self.to_sign.len()]
    }

    pub fn turn(&self, turn: u32) {
        for _ in 0..turn {
            black_box(Sha256::digest(black_box(&self.canonical)));
            black_box(self.key.clone().chain_update(black_box(&self.to_sign)).finalize().into_bytes());
        }
    }
}

pub struct AwsSigV4 {
    header: SigningParams<'static>,
    presigned: SigningParams<'static>,
}

impl AwsSigV4 {
    pub fn new() -> Result<AwsSigV4> {
        let identity: &'static Identity =
            Box::leak(Box::new(AwsCredentials::new(ACCESS_KEY, SECRET_KEY, None, None, "bench").into()));
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(UNIX_S.unsigned_abs());
        let params = |settings| {
            v4::SigningParams::builder().identity(identity).region(REGION).name("s3").time(time).settings(settings)
        };
        // As the SDK sets it for S3.
        let mut header = SigningSettings::default();
        header.percent_encoding_mode = PercentEncodingMode::Single;
        header.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let mut presigned = header.clone();
        header.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        presigned.signature_location = SignatureLocation::QueryParams;
        presigned.expires_in = Some(Duration::from_secs(EXPIRES_S.into()));
        Ok(AwsSigV4 { header: params(header).build()?.into(), presigned: params(presigned).build()?.into() })
    }

    pub fn header(&self) -> Result<String> {
        let request = SignableRequest::new("PUT", url(PUT_QUERY), SSE.into_iter(), SignableBody::UnsignedPayload)?;
        Ok(sign(request, &self.header)?.signature().to_owned())
    }

    pub fn presigned(&self) -> Result<String> {
        let request = SignableRequest::new("GET", url(GET_QUERY), std::iter::empty(), SignableBody::UnsignedPayload)?;
        Ok(sign(request, &self.presigned)?.signature().to_owned())
    }

    pub fn header_turn(&self, turn: u32) {
        let url = url(PUT_QUERY);
        for _ in 0..turn {
            let request = SignableRequest::new("PUT", black_box(&*url), SSE.into_iter(), SignableBody::UnsignedPayload);
            black_box(sign(request.expect("it was taken before"), &self.header).expect("it was signed before"));
        }
    }

    pub fn presigned_turn(&self, turn: u32) {
        let url = url(GET_QUERY);
        for _ in 0..turn {
            let request =
                SignableRequest::new("GET", black_box(&*url), std::iter::empty(), SignableBody::UnsignedPayload);
            black_box(sign(request.expect("it was taken before"), &self.presigned).expect("it was signed before"));
        }
    }
}

/// It signs for the present time only.
pub struct Reqsign {
    signer: RequestSigner,
    context: reqsign_core::Context,
    credential: Credential,
    put: Parts,
    get: Parts,
}

impl Reqsign {
    pub fn new() -> Result<Reqsign> {
        let mut put = http::Request::put(url(PUT_QUERY));
        for (name, value) in SSE {
            put = put.header(name, value);
        }
        Ok(Reqsign {
            signer: RequestSigner::new("s3", REGION),
            context: reqsign_core::Context::new(),
            credential: Credential {
                access_key_id: ACCESS_KEY.into(),
                secret_access_key: SECRET_KEY.into(),
                ..Credential::default()
            },
            put: put.body(())?.into_parts().0,
            get: http::Request::get(url(GET_QUERY)).body(())?.into_parts().0,
        })
    }

    fn sign(&self, parts: &mut Parts, header: bool) {
        let expires = (!header).then(|| Duration::from_secs(EXPIRES_S.into()));
        let future = pin!(self.signer.sign_request(&self.context, parts, Some(&self.credential), expires));
        // Its future has nothing to wait for.
        let Poll::Ready(signed) = future.poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("reqsign waits");
        };
        signed.expect("it was signed before");
    }

    /// When, in Unix seconds, and the signature.
    pub fn header(&self) -> Result<(i64, String)> {
        let mut parts = self.put.clone();
        self.sign(&mut parts, true);
        let date = parts.headers["x-amz-date"].to_str()?;
        Ok((unix_s(date)?, last(parts.headers["authorization"].to_str()?)))
    }

    pub fn presigned(&self) -> Result<(i64, String)> {
        let mut parts = self.get.clone();
        self.sign(&mut parts, false);
        let query = parts.uri.query().unwrap_or_default();
        let date = query.split('&').find_map(|parameter| parameter.strip_prefix("X-Amz-Date=")).ok_or("no date")?;
        Ok((unix_s(date)?, last(query)))
    }

    /// Signing changes the request, so each needs its own.
    pub fn prepare(&self, header: bool, turn: u32) -> Vec<Parts> {
        (0..turn).map(|_| if header { self.put.clone() } else { self.get.clone() }).collect()
    }

    pub fn turn(&self, prepared: &mut [Parts], header: bool) {
        for parts in prepared {
            self.sign(black_box(parts), header);
        }
    }
}

fn unix_s(date: &str) -> Result<i64> {
    let date = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", date)?;
    Ok(date.to_zoned(jiff::tz::TimeZone::UTC)?.timestamp().as_second())
}

pub struct RustyS3 {
    bucket: rusty_s3::Bucket,
    credentials: rusty_s3::Credentials,
    time: jiff::Timestamp,
}

impl RustyS3 {
    pub fn new() -> Result<RustyS3> {
        let endpoint = format!("https://{HOST}").parse()?;
        Ok(RustyS3 {
            bucket: rusty_s3::Bucket::new(endpoint, rusty_s3::UrlStyle::Path, BUCKET, REGION)?,
            credentials: rusty_s3::Credentials::new(ACCESS_KEY, SECRET_KEY),
            time: jiff::Timestamp::from_second(UNIX_S)?,
        })
    }

    fn action(&self) -> GetObject<'_> {
        let mut action = GetObject::new(&self.bucket, Some(&self.credentials), KEY);
        action.query_mut().insert("versionId", VERSION_ID);
        action
    }

    fn sign(&self, action: &GetObject<'_>) -> url::Url {
        action.sign_with_time(Duration::from_secs(EXPIRES_S.into()), &self.time)
    }

    pub fn presigned(&self) -> String {
        last(self.sign(&self.action()).as_str())
    }

    pub fn presigned_turn(&self, turn: u32) {
        let action = self.action();
        for _ in 0..turn {
            black_box(self.sign(black_box(&action)));
        }
    }
}
