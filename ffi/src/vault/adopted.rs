//! Reading what was adopted without hashes: it is compared with the MD5 of the object, where the store made one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use s3vault_core::checksum::ContentMd5;
use s3vault_core::vault::Manifest;
use s3vault_core::{Code, Error, Result};

/// Bytes that are read from a file at once.
const PIECE: usize = 1 << 18;

/// What is logged before such a version is read; `None` for any other version.
pub(super) fn warning(manifest: &Manifest) -> Option<String> {
    if !manifest.has_no_hashes() {
        return None;
    }
    let compared = match md5(manifest) {
        Some(_) => "its size and its MD5 are compared",
        None => "only its size and its ETag are compared",
    };
    let (container, path, vid) = (&manifest.container, &manifest.path, &manifest.vid);
    Some(format!(
        "version {vid} of {container} {path} was adopted without hashes: {compared} (adopt it with --hash to verify it as any other)"
    ))
}

/// The MD5 of the data, if nothing else verifies it.
pub(super) fn md5(manifest: &Manifest) -> Option<[u8; 16]> {
    manifest.adopted.as_ref().filter(|_| manifest.has_no_hashes())?.md5()
}

/// Hashes the data while it is read in order, and compares it at its end.
pub(super) struct Comparison {
    wanted: [u8; 16],
    md5: ContentMd5,
}

impl Comparison {
    /// `None` if there is nothing to compare with.
    pub(super) fn of(manifest: &Manifest) -> Option<Comparison> {
        Some(Comparison { wanted: md5(manifest)?, md5: ContentMd5::default() })
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
    }

    /// All of the data was hashed.
    pub(super) fn end(&self, manifest: &Manifest) -> Result<()> {
        if self.md5.finish() == self.wanted {
            return Ok(());
        }
        let (container, path, vid) = (&manifest.container, &manifest.path, &manifest.vid);
        let why = format!("version {vid} of {container} {path} is damaged: its MD5 is not the ETag of the object");
        Err(Error::new(Code::Damaged, why))
    }
}

/// Compares a file that was written in any order.
pub(super) fn compare_file(file: &File, manifest: &Manifest, stop: &AtomicBool) -> io::Result<Result<()>> {
    let Some(mut comparison) = Comparison::of(manifest) else { return Ok(Ok(())) };
    let (mut buffer, mut done) = (vec![0; PIECE], 0);
    while done < manifest.size && !stop.load(Ordering::Acquire) {
        let next = (manifest.size - done).min(PIECE as u64) as usize;
        file.read_exact_at(&mut buffer[..next], done)?;
        comparison.update(&buffer[..next]);
        done += next as u64;
    }
    Ok(comparison.end(manifest))
}
