//! What the programs of this package share: their command line, which is that of every client of the bench, and the parts.
//!
//! ```text
//! PROGRAM OPERATION URL CA_FILE|- PATH KEY
//! ```
//! | operation | PATH | KEY |
//! |---|---|---|
//! | up-file | the file to store | of the object |
//! | up-stream | unused; the stream is standard input | of the object |
//! | down-file | where to write it | of the object |
//! | down-pipe | unused; the bytes go to standard output | of the object |
//! | small | a folder; each file in it becomes an object | what their keys begin with |

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// What goes wrong is printed, and the run does not count.
pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// In bytes; every client is told so.
pub const PART: u64 = 8 << 20;
/// Parts in flight.
pub const PARALLEL: usize = 8;
/// Small objects in flight.
pub const PARALLEL_SMALL: usize = 32;
/// What is read, hashed and written at once.
pub const FRAME: usize = 256 * 1024;
/// The bucket.
pub const BUCKET: &str = "bench";

/// A variable of the environment, or what it is where it is not set.
pub fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.into())
}

/// What a run is told.
pub struct Run {
    /// Which scenario.
    pub operation: String,
    /// Of the store.
    pub url: String,
    /// Whom to trust, over TLS.
    pub ca: Option<PathBuf>,
    /// See the table above.
    pub path: PathBuf,
    /// See the table above.
    pub key: String,
}

impl Run {
    /// From the command line.
    pub fn from_arguments() -> Result<Run> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let Ok([operation, url, ca, path, key]) = <[String; 5]>::try_from(arguments) else {
            return Err("OPERATION URL CA_FILE|- PATH KEY are wanted".into());
        };
        let ca = (ca != "-").then(|| ca.into());
        Ok(Run { operation, url, ca, path: path.into(), key })
    }

    /// Host and port.
    pub fn authority(&self) -> &str {
        self.url.split_once("://").map_or("", |(_, authority)| authority)
    }
}

/// Parts of this many bytes: offset and length of each.
pub fn parts(size: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..size.div_ceil(PART)).map(move |n| (n * PART, PART.min(size - n * PART)))
}

/// TLS as s3vault has it: rustls, ring, one authority; none where there is no TLS.
pub fn tls(ca: Option<&Path>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if let Some(ca) = ca {
        roots.add(CertificateDer::from_pem_file(ca)?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
