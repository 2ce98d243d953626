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

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use s3vault_core::{Code, Error, Result};

/// Makes the client's TLS configuration.
pub(crate) fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig> {
    let roots = match ca_file {
        Some(file) => from_file(file)?,
        None => from_system(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::new(Code::Internal, format!("configuring TLS: {e}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn from_file(file: &Path) -> Result<RootCertStore> {
    let refused = |what: String| {
        Error::new(Code::InvalidOption, format!("ca_file = {}: {what}", file.display()))
            .with_hint("Set ca_file to a PEM file with the certificate of the CA that signed the store's certificate.")
    };
    let pem = std::fs::read(file).map_err(|e| refused(format!("the file cannot be read: {e}")))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|e| refused(format!("the file is not valid PEM: {e}")))?;
        roots.add(certificate).map_err(|e| refused(format!("a certificate in it cannot be used: {e}")))?;
    }
    if roots.is_empty() {
        return Err(refused("the file contains no certificate".to_owned()));
    }
    Ok(roots)
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
    fn a_ca_file_that_cannot_be_used_is_named() {
        let folder = std::env::temp_dir().join(format!("s3vault-tls-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for (name, text, says) in [
            ("none", None, "cannot be read"),
            ("empty.pem", Some(""), "contains no certificate"),
            ("cut.pem", Some("-----BEGIN CERTIFICATE-----\nAAAA\n"), "not valid PEM"),
            ("other.pem", Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "cannot be used"),
        ] {
            let file = folder.join(name);
            if let Some(text) = text {
                std::fs::write(&file, text).unwrap();
            }
            let error = client_config(Some(&file)).unwrap_err();
            assert_eq!(error.code(), Code::InvalidOption);
            assert!(error.message().contains(says) && error.message().contains(name), "{error}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
