//! Names of backups: what is allowed, and how a name becomes one segment of a key.

use sha2::{Digest as _, Sha256};

use crate::error::{Code, Error, Result};

/// Maximum length of a container's name, in bytes.
pub const CONTAINER_LIMIT: usize = 200;
/// Maximum length of a path, in bytes.
pub const PATH_LIMIT: usize = 700;
/// Maximum length of a path's segment, in bytes.
pub const SEGMENT_LIMIT: usize = 200;
/// Prefix of the vault's own objects; no container may have this name.
pub const OWN_FOLDER: &str = "_s3vault";

/// The name of a backup: container and path, both checked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    container: String,
    path: String,
}

impl Name {
    /// Checks container and path.
    pub fn new(container: &str, path: &str) -> Result<Name> {
        check_container(container)?;
        check_path(path)?;
        Ok(Name { container: container.to_owned(), path: path.to_owned() })
    }

    /// The container, for example a VM's name with an identifier.
    pub fn container(&self) -> &str {
        &self.container
    }

    /// The path in the container.
    pub fn path(&self) -> &str {
        &self.path
    }
}

fn refuse(what: &str, name: &str, why: String) -> Result<()> {
    Err(Error::new(Code::InvalidName, format!("{what} '{}' is not allowed: {why}", name.escape_debug())))
}

/// Refuses a name that is not allowed for a container.
pub fn check_container(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > CONTAINER_LIMIT {
        return refuse(
            "container",
            name,
            format!("it has {} bytes, but 1 to {CONTAINER_LIMIT} are allowed", name.len()),
        );
    }
    if name == OWN_FOLDER {
        return refuse("container", name, "the vault keeps its own objects there".into());
    }
    if name.contains(['/', '\0']) {
        return refuse("container", name, "it contains '/' or NUL".into());
    }
    check_dots("container", name, name)
}

/// Refuses a path that is not allowed.
pub fn check_path(path: &str) -> Result<()> {
    if path.is_empty() || path.len() > PATH_LIMIT {
        return refuse("path", path, format!("it has {} bytes, but 1 to {PATH_LIMIT} are allowed", path.len()));
    }
    if path.contains('\0') {
        return refuse("path", path, "it contains NUL".into());
    }
    for segment in path.split('/') {
        if segment.is_empty() || segment.len() > SEGMENT_LIMIT {
            let why = format!("a segment has {} bytes, but 1 to {SEGMENT_LIMIT} are allowed", segment.len());
            return refuse("path", path, why);
        }
        check_dots("path", path, segment)?;
    }
    Ok(())
}

/// Stores and HTTP clients rewrite `.` and `..`, some also with white space around them.
fn check_dots(what: &str, name: &str, segment: &str) -> Result<()> {
    match segment.trim() {
        "." | ".." => refuse(what, name, "'.' and '..' are rewritten on the way to the store".into()),
        _ => Ok(()),
    }
}

/// Encodes a name as one segment of a key: ASCII outside `[A-Za-z0-9._-]` as `=XX`; if that takes more than 200 bytes,
/// `~` and the name's SHA-256.
pub fn segment(name: &str) -> String {
    let encoded = segment_prefix(name);
    if encoded.len() > SEGMENT_LIMIT { format!("~{}", hex::encode(Sha256::digest(name))) } else { encoded }
}

/// The prefix of the segments of all names that start with `name`, except hashed ones.
pub fn segment_prefix(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii() && !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')) {
            encoded.push_str(&format!("={:02X}", c as u32));
        } else {
            encoded.push(c);
        }
    }
    encoded
}

/// Decodes the name of a segment; `None` for a hashed segment, and for text that [`segment`] does not produce.
pub fn parse_segment(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first == b'=' {
            let digits = rest.get(..2)?;
            bytes.push(*hex::decode(digits).ok()?.first()?);
            rest = &rest[2..];
        } else {
            bytes.push(*first);
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    // Each name has exactly one segment: `=41` for `A` would be a second one.
    (self::segment(&name) == segment).then_some(name)
}

/// Whether a segment is a hashed name.
pub(crate) fn is_hashed(segment: &str) -> bool {
    let digest = segment.strip_prefix('~').unwrap_or_default();
    digest.len() == 64 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_limits() {
        let long = "n".repeat(200);
        let wide = "ü".repeat(100);
        for (container, path) in [
            ("vm__1f2e", "disk.img"),
            ("a", "b"),
            (" ", " "),
            ("...", "a/.../ .b"),
            (&long, &format!("{long}/{long}/{long}/{}", "p".repeat(97))),
            (&wide, "\u{1}\u{7f}\n\t %+?#&=~@*\"'<>\\|"),
        ] {
            assert!(Name::new(container, path).is_ok(), "{container:?} {path:?}");
        }
        for (container, path) in [
            ("", "p"),
            ("c", ""),
            ("a/b", "p"),
            ("a\0b", "p"),
            ("c", "a\0b"),
            ("_s3vault", "p"),
            (".", "p"),
            ("..", "p"),
            (" .. ", "p"),
            ("\u{3000}.", "p"),
            ("c", "a/../b"),
            ("c", "a/./b"),
            ("c", "a/ ../b"),
            ("c", "/a"),
            ("c", "a/"),
            ("c", "a//b"),
            (&format!("{long}n"), "p"),
            ("c", &format!("{long}n")),
            ("c", &format!("{long}/{long}/{long}/{}", "p".repeat(98))),
        ] {
            assert_eq!(Name::new(container, path).unwrap_err().code(), Code::InvalidName, "{container:?} {path:?}");
        }
    }

    #[test]
    fn segments_round_trip() {
        for (name, text) in [
            ("disk.img", "disk.img"),
            ("a/b c", "a=2Fb=20c"),
            ("=~%+", "=3D=7E=25=2B"),
            ("größe-日本", "größe-日本"),
            ("\u{1}\u{7f}", "=01=7F"),
        ] {
            assert_eq!(segment(name), text);
            assert_eq!(parse_segment(text).as_deref(), Some(name));
        }
        let long = "/".repeat(67);
        assert_eq!(segment(&long).len(), 65);
        assert_eq!(parse_segment(&segment(&long)), None);
        assert_eq!(segment(&"/".repeat(66)).len(), 198);
        // A segment has 200 bytes at most.
        for (name, length) in [("n".repeat(200), 200), (format!("{}nn", "/".repeat(66)), 200)] {
            assert_eq!(segment(&name), segment_prefix(&name));
            assert_eq!((segment(&name).len(), parse_segment(&segment(&name))), (length, Some(name.clone())));
            assert!(is_hashed(&segment(&format!("{name}n"))), "{name} and one more");
        }
        let digest = "0123456789abcdef".repeat(4);
        assert!(is_hashed(&format!("~{digest}")));
        for other in [digest.clone(), format!("~{}", digest.to_uppercase()), format!("~{}", &digest[1..])] {
            assert!(!is_hashed(&other), "{other}");
        }
        for bad in ["=4", "=", "=41", "=2f", "a b", "=GG", "~x"] {
            assert_eq!(parse_segment(bad), None, "{bad}");
        }
    }

    #[cfg(not(target_family = "wasm"))]
    proptest::proptest! {
        #[test]
        fn every_name_has_a_segment_of_its_own(a in "\\PC{1,80}", b in "\\PC{1,80}") {
            let s = segment(&a);
            assert!(s.len() <= SEGMENT_LIMIT && !s.contains('/'));
            assert!(s.starts_with('~') || parse_segment(&s).as_deref() == Some(a.as_str()));
            assert_eq!(a == b, s == segment(&b));
        }
    }
}
