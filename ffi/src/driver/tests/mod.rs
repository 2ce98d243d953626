#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod calls;
mod downloads;
mod items;
mod uploads;

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use s3vault_core::settings::Settings;

use super::Host;
use crate::budget::Budget;
use crate::source_file::SourceFile;
use crate::transport::{ClientKind, Names, Proxies, Transport, TransportSettings};

fn host() -> Host {
    host_with(Duration::from_secs(60))
}

/// The transport is the one that S3VAULT_TRANSPORT names; the default is `direct`.
fn host_with(idle_timeout: Duration) -> Host {
    let client = match std::env::var("S3VAULT_TRANSPORT").as_deref() {
        #[cfg(feature = "reqwest")]
        Ok("reqwest") => ClientKind::Reqwest,
        _ => ClientKind::Direct,
    };
    let settings = TransportSettings {
        client,
        ca_file: None,
        connect_timeout: Duration::from_secs(60),
        idle_timeout,
        resolve_once: false,
        proxies: Proxies::default(),
    };
    let transport = Transport::with(&settings, Names::new(false), Budget::new(&Settings::new())).unwrap();
    Host { transport, keys: None }
}

/// Bytes without a pattern that a shifted or swapped frame would repeat.
fn payload(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state >> 8).to_le_bytes()[..7]);
    }
    bytes.truncate(length);
    bytes
}

/// A file that is gone after the test.
struct TempFile(PathBuf);

impl TempFile {
    fn new(bytes: &[u8]) -> TempFile {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("s3vault-driver-{}-{count}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        TempFile(path)
    }

    fn open(&self) -> File {
        File::open(&self.0).unwrap()
    }

    fn source(&self) -> SourceFile {
        SourceFile::new(self.open()).unwrap()
    }

    fn open_to_write(&self) -> File {
        File::options().write(true).open(&self.0).unwrap()
    }

    fn read(&self) -> Vec<u8> {
        std::fs::read(&self.0).unwrap()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
