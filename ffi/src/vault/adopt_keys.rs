//! The file with the SSE-C keys of objects that another program wrote (`adopt_keys`).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use s3vault_core::vault::CustomerKeys;
use s3vault_core::{Code, Error, Result};
use zeroize::Zeroizing;

use crate::disk;

/// Larger than any key file, which has about 150 bytes for each object.
const LARGEST: u64 = 1 << 30;

/// Reads the key file `path`. A file that other users own, can read or can write is refused.
pub(super) fn read(path: &Path) -> Result<CustomerKeys> {
    let shown = path.display();
    let cannot = |e: io::Error| Error::new(Code::Io, format!("cannot read the key file {shown}: {e}"));
    let file = File::open(path).map_err(cannot)?;
    if let Some(why) = disk::not_private(&file).map_err(cannot)? {
        return Err(Error::new(Code::InvalidOption, format!("the key file {shown} {why}"))
            .with_hint(format!("Use a regular file of your own that nobody else can access. Run: chmod 600 {shown}")));
    }
    let length = file.metadata().map_err(cannot)?.len();
    // The buffer has its length from the start: growing it would leave copies of keys in memory.
    let mut content = Zeroizing::new(Vec::with_capacity(length.min(LARGEST) as usize + 1));
    file.take(length.min(LARGEST)).read_to_end(&mut content).map_err(cannot)?;
    if length > LARGEST {
        return Err(Error::new(Code::InvalidOption, format!("{shown} is too large for a key file")));
    }
    CustomerKeys::parse(&content).map_err(|e| e.context(shown.to_string()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_file_that_others_can_read_is_refused_and_a_bad_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let key = "CwsLCwsLCwsLCwsLCwsLCwsLCwsLCwsLCwsLCwsLCws=";
        fs::write(&path, format!("{{\"key\":\"vm/disk\",\"sse_c_key\":\"{key}\"}}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let e = read(&path).unwrap_err();
        assert!(
            e.message().contains("can be accessed by other users (mode 0640)") && e.hint().contains("chmod 600"),
            "{e}"
        );
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert!(!read(&path).unwrap().is_empty());
        fs::write(&path, format!("{{\"key\":\"vm/disk\",\"sse_c_key\":\"{key}\"}}\nvm/disk {key}\n")).unwrap();
        let e = read(&path).unwrap_err();
        assert!(e.message().contains("line 2") && !e.to_string().contains(&key[..8]), "{e}");
        assert_eq!(read(&folder.path().join("missing")).unwrap_err().code(), Code::Io);
        assert!(read(folder.path()).unwrap_err().message().contains("is not a regular file"));
    }
}
