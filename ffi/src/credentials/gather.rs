//! The input of core's chain: the variables of AWS's tools, the shared files, the token file of a container.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use s3vault_core::credentials::chain::{
    CONFIG_FILE, CONTAINER_TOKEN_FILE, CREDENTIALS_FILE, Content, Environment, File, VARIABLES,
};
use s3vault_core::{Code, Error, Result};
use zeroize::Zeroizing;

/// Larger than any of these files; a larger file is something else.
const LARGEST: u64 = 1 << 20;

/// The environment of this process.
pub(super) fn environment() -> Result<Environment> {
    environment_of(|name| std::env::var_os(name), std::env::home_dir())
}

/// The environment with these variables and this home directory.
pub(super) fn environment_of(var: impl Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Result<Environment> {
    let text = |name: &str| match var(name) {
        None => Ok(None),
        Some(value) => value.into_string().map(|value| Some(Zeroizing::new(value))).map_err(|_| not_text(name)),
    };
    let mut vars = BTreeMap::new();
    for name in VARIABLES {
        if let Some(value) = text(name)? {
            vars.insert((*name).to_owned(), value);
        }
    }
    let at_home = |path: &Path| match &home {
        Some(home) if !home.as_os_str().is_empty() => home.join(path),
        _ => Path::new("~").join(path),
    };
    // A path need not be UTF-8. An empty variable counts as unset.
    let named = |name: &str| {
        let path = PathBuf::from(var(name).filter(|path| !path.is_empty())?);
        Some(path.strip_prefix("~").map_or_else(|_| path.clone(), at_home))
    };
    Ok(Environment {
        vars,
        config_file: read(&named(CONFIG_FILE).unwrap_or_else(|| at_home(Path::new(".aws/config")))),
        credentials_file: read(&named(CREDENTIALS_FILE).unwrap_or_else(|| at_home(Path::new(".aws/credentials")))),
        container_token: named(CONTAINER_TOKEN_FILE).map(|path| read(&path)),
    })
}

fn not_text(name: &str) -> Error {
    Error::new(Code::Credentials, format!("the environment variable {name} is not UTF-8"))
        .with_hint("Correct the variable, or unset it.")
}

fn read(path: &Path) -> File {
    let content = match text(path) {
        Ok(text) => Content::Text(text),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Content::Absent,
        Err(e) => Content::Unreadable(e.to_string()),
    };
    File { name: path.display().to_string(), content }
}

fn text(path: &Path) -> std::io::Result<Zeroizing<String>> {
    let file = fs::File::open(path)?;
    let length = file.metadata()?.len().min(LARGEST);
    // Large enough from the start, so that growing leaves no copy in memory.
    let mut text = Zeroizing::new(String::with_capacity(length as usize + 1));
    file.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(std::io::Error::new(ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    Ok(text)
}
