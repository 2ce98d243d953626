//! TLS configuration: rustls with ring, and the CA certificates that are trusted.
//!
//! Without `ca_file` the root certificates are the operating system's (rustls-native-certs), not a compiled-in list: backups
//! run where a company's own CA is in the system's store, and a root that was removed there must not stay trusted by an old
//! copy of this library. rustls-native-certs reads OpenSSL's usual places and honours `SSL_CERT_FILE` and `SSL_CERT_DIR`, as
//! other programs on the machine do. With `ca_file` only the CA certificates in that file are trusted.
//!
//! The crypto provider is passed explicitly, so that no process-wide default is needed or changed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use s3vault_core::{Code, Error, Result};

use super::clock;

/// The client's TLS configuration, and what was skipped in `ca_file`.
pub(crate) struct Tls {
    pub(crate) config: ClientConfig,
    pub(crate) warnings: Vec<String>,
}

/// Makes the client's TLS configuration.
pub(crate) fn client_config(ca_file: Option<&Path>) -> Result<Tls> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let internal = |e: &dyn std::fmt::Display| Error::new(Code::Internal, format!("configuring TLS: {e}"));
    let builder = ClientConfig::builder_with_details(provider.clone(), Arc::new(WallClock))
        .with_safe_default_protocol_versions()
        .map_err(|e| internal(&e))?;
    let (builder, warnings) = match ca_file {
        None => (builder.with_root_certificates(from_system()), Vec::new()),
        Some(file) => {
            let Bundle { roots, certificates, skipped } = Bundle::read(file)?;
            let by_ca = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
            let verifier = Verifier { by_ca: by_ca.map_err(|e| internal(&e))?, certificates };
            (builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)), skipped)
        }
    };
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Tls { config, warnings })
}

/// The clock that certificates' dates are compared with. rustls's own panics before 1970, which is where the clock of a
/// machine starts that has no battery for it.
#[derive(Debug)]
struct WallClock;

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(clock::now().unix_ms))
    }
}

/// This time for rustls. A time before 1970 is the start of 1970: every certificate is not valid yet.
fn unix_time(unix_ms: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(unix_ms).unwrap_or(0)))
}

/// Verifies a server's certificate with the CA certificates of `ca_file`.
///
/// A server may also use one of these certificates itself, as it does with the self-signed certificate that
/// `openssl req -x509` makes: it is a CA certificate, which rustls does not accept from a server. Dates and names are
/// checked all the same.
#[derive(Debug)]
struct Verifier {
    by_ca: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        match self.by_ca.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The dates are checked before that.
            Err(rustls::Error::InvalidCertificate(why))
                if is_ca_as_server(&why) && self.certificates.contains(end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.by_ca.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.by_ca.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_ca.supported_verify_schemes()
    }
}

/// Whether a certificate is refused because it is a CA certificate.
pub(super) fn is_ca_as_server(why: &CertificateError) -> bool {
    matches!(why, CertificateError::Other(_)) && why.to_string().contains("CaUsedAsEndEntity")
}

/// The certificates of a `ca_file`.
struct Bundle {
    roots: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
    /// Warnings about certificates that cannot be used.
    skipped: Vec<String>,
}

impl Bundle {
    fn read(file: &Path) -> Result<Bundle> {
        let refused = |what: String| {
            Error::new(Code::InvalidOption, format!("ca_file = {}: {what}", file.display())).with_hint(
                "Set ca_file to a PEM file with the certificate of the CA that signed the store's certificate.",
            )
        };
        let bytes = std::fs::read(file).map_err(|e| refused(format!("the file cannot be read: {e}")))?;
        let mut bundle = Bundle { roots: RootCertStore::empty(), certificates: Vec::new(), skipped: Vec::new() };
        for (certificate, number) in certificates(&bytes).into_iter().zip(1..) {
            let certificate = certificate.map_err(|e| refused(format!("the file is not valid PEM: {e}")))?;
            match bundle.roots.add(certificate.clone()) {
                Ok(()) => bundle.certificates.push(certificate),
                Err(e) => bundle.skipped.push(format!(
                    "ca_file = {}: certificate {number} in it cannot be used and is skipped: {e}",
                    file.display()
                )),
            }
        }
        match bundle.skipped.first() {
            _ if !bundle.certificates.is_empty() => Ok(bundle),
            None => Err(refused("the file contains no certificate".to_owned())),
            Some(why) => {
                let why = why.rsplit_once(": ").map_or("", |(_, why)| why);
                Err(refused(format!("no certificate in it can be used: {why}")))
            }
        }
    }
}

/// The certificates in a file: PEM, also with a byte order mark or in OpenSSL's form with trust settings
/// (`TRUSTED CERTIFICATE`), or one certificate in DER.
fn certificates(bytes: &[u8]) -> Vec<std::result::Result<CertificateDer<'static>, rustls::pki_types::pem::Error>> {
    if bytes.first() == Some(&DER_SEQUENCE) {
        return vec![Ok(CertificateDer::from(first_element(bytes).to_vec()))];
    }
    let text = String::from_utf8_lossy(bytes);
    let pem = text.trim_start_matches('\u{feff}').replace(" TRUSTED CERTIFICATE-----", " CERTIFICATE-----");
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|found| found.map(|der| CertificateDer::from(first_element(&der).to_vec())))
        .collect()
}

/// The first byte of a certificate in DER.
const DER_SEQUENCE: u8 = 0x30;

/// The first element of DER: OpenSSL's trust settings follow after the certificate. Source: X.690, §8.1.3.
fn first_element(der: &[u8]) -> &[u8] {
    let length = match der.get(1) {
        Some(&short) if short < 0x80 => Some(2 + usize::from(short)),
        Some(&long) => {
            let count = usize::from(long & 0x7f);
            let bytes = der.get(2..2 + count).filter(|_| (1..=4).contains(&count));
            bytes.map(|bytes| bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)) + 2 + count)
        }
        None => None,
    };
    length.and_then(|length| der.get(..length)).unwrap_or(der)
}

/// Certificates that cannot be parsed are skipped, as in other clients. On a machine without any certificate the first
/// connection fails with a message that says so.
fn from_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_clock_before_1970_is_no_reason_to_panic() {
        for (unix_ms, expected) in [(i64::MIN, 0), (-1, 0), (0, 0), (1_764_000_000_999, 1_764_000_000)] {
            assert_eq!(unix_time(unix_ms).as_secs(), expected);
        }
        let Tls { config, .. } = client_config(None).unwrap();
        assert_eq!(format!("{:?}", config.time_provider), "WallClock", "and it is the one that is asked");
    }

    #[test]
    fn a_ca_file_that_cannot_be_used_is_named() {
        let folder = std::env::temp_dir().join(format!("s3vault-tls-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for (name, text, says) in [
            ("none", None, "cannot be read"),
            ("empty.pem", Some(""), "contains no certificate"),
            ("cut.pem", Some("-----BEGIN CERTIFICATE-----\nAAAA\n"), "not valid PEM"),
            ("other.pem", Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "can be used"),
        ] {
            let file = folder.join(name);
            if let Some(text) = text {
                std::fs::write(&file, text).unwrap();
            }
            let error = client_config(Some(&file)).map(|_| ()).unwrap_err();
            assert_eq!(error.code(), Code::InvalidOption);
            assert!(error.message().contains(says) && error.message().contains(name), "{error}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
