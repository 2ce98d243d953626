//! ASCII armor: base64 in lines of 64 columns between two lines, as in PEM (RFC 7468, strict).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;

use super::Failure;

const HEAD: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
const FOOT: &str = "-----END AGE ENCRYPTED FILE-----";
/// Columns of a line.
pub(super) const COLUMNS: usize = 64;

pub(super) fn encode(file: &[u8]) -> Vec<u8> {
    let text = STANDARD.encode(file);
    let mut armored = Vec::with_capacity(text.len() + text.len() / COLUMNS + HEAD.len() + FOOT.len() + 4);
    for line in [HEAD.as_bytes()].into_iter().chain(text.as_bytes().chunks(COLUMNS)).chain([FOOT.as_bytes()]) {
        armored.extend_from_slice(line);
        armored.push(b'\n');
    }
    armored
}

/// The binary file. One that has no armor is returned as it is.
pub(super) fn decode(file: &[u8]) -> Result<Cow<'_, [u8]>, Failure> {
    if !file.trim_ascii_start().starts_with(b"-----") {
        return Ok(file.into());
    }
    let text = std::str::from_utf8(file).map_err(|_| Failure::Armor)?;
    let mut lines = text.trim_ascii().split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    if lines.next() != Some(HEAD) || lines.next_back() != Some(FOOT) {
        return Err(Failure::Armor);
    }
    let mut base64 = String::with_capacity(text.len());
    let mut is_complete = false;
    for line in lines {
        if is_complete || line.is_empty() || line.len() > COLUMNS {
            return Err(Failure::Armor);
        }
        is_complete = line.len() < COLUMNS;
        base64.push_str(line);
    }
    STANDARD.decode(base64).map(Cow::Owned).map_err(|_| Failure::Armor)
}
