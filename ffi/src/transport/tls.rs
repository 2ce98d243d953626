//! TLS: rustls with ring, and whom it trusts.
//!
//! Without `ca_file` the roots are those of the operating system (rustls-native-certs), not a list that is
//! compiled in: backups run where a company's own authority stands in the system's store, and a root that is
//! withdrawn there must not live on in an old copy of this library. The crate reads OpenSSL's usual places, and
//! `SSL_CERT_FILE` and `SSL_CERT_DIR` as every other program on the machine does. With `ca_file` only the
//! authorities in it are trusted.
//!
//! The crypto provider is named explicitly, so that neither an installed default is needed nor one of the
//! host process disturbed.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use s3vault_core::{Code, Error, Result};

/// The client's side of TLS.
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
        Error::new(Code::InvalidOption, format!("ca_file = {}: {what}", file.display())).with_hint(
            "ca_file is a PEM file with the certificate of the authority that signed the store's certificate.",
        )
    };
    let pem = std::fs::read(file).map_err(|e| refused(format!("cannot be read: {e}")))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|e| refused(format!("is not PEM: {e}")))?;
        roots.add(certificate).map_err(|e| refused(format!("holds a certificate that cannot be used: {e}")))?;
    }
    if roots.is_empty() {
        return Err(refused("holds no certificate".to_owned()));
    }
    Ok(roots)
}

/// Certificates that cannot be parsed are left out, as every client does; a machine that has none at all fails
/// at its first connection, with a message that says so.
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
            ("empty.pem", Some(""), "holds no certificate"),
            ("cut.pem", Some("-----BEGIN CERTIFICATE-----\nAAAA\n"), "is not PEM"),
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
