//! Settings from a TOML file and from the environment. Each is read only when the caller asks for it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use s3vault_core::settings::{Kind, OPTIONS, Scope, Settings, nearest};
use s3vault_core::{Code, Error, Result};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

/// Variables that start with `S3VAULT_` and are not settings: those of the command, of the build and of the tests.
const OTHER_VARIABLES: [&str; 4] = ["S3VAULT_CONFIG", "S3VAULT_LIBRARY", "S3VAULT_BUILD_LIBRARY", "S3VAULT_CASES"];

/// Loads a TOML file: one flat table of options. Values are strings, booleans, whole numbers, and arrays of strings; an
/// array is one value with a line for each string. The name of a file (`keyring`, `ca_file`) is relative to the folder
/// of the TOML file.
///
/// A file that holds a secret and that every user can read adds a warning.
///
/// Fails with [`Code::Config`] if the file cannot be read or is not such a table, and as [`Settings::set`] does for its
/// keys and values; the message names the file and the line. Options before the line that failed are set.
pub fn load(settings: &mut Settings, file: &Path) -> Result<()> {
    let shown = file.display();
    let text = fs::read_to_string(file).map(Zeroizing::new).map_err(|e| {
        Error::new(Code::Config, format!("cannot read {shown}: {e}"))
            .with_hint("Check the name and the permissions of the file.")
    })?;
    let place = |offset: usize| format!("{shown}, line {}", 1 + text[..offset].matches('\n').count());
    let table = DeTable::parse(&text).map_err(|e| {
        let place = place(e.span().map_or(text.len(), |span| span.start));
        Error::new(Code::Config, format!("{place}: {}", e.message())).with_hint(
            "Correct that line. A line is one setting, such as bucket = \"backups\", memory = \"64M\" or path_style = true.",
        )
    })?;
    let mut secrets = Vec::new();
    let mut entries: Vec<_> = table.into_inner().into_iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        let place = place(key.span().start);
        // An unknown key is reported before its value is checked: the value may be a whole table.
        let option = s3vault_core::settings::option(key.get_ref()).map_err(|e| e.context(&place))?;
        let mut value = plain(&value).ok_or_else(|| {
            let message = format!("{place}: {} is {}", key.get_ref(), kind(&value));
            Error::new(Code::Config, message)
                .with_hint("Use a string, true, false, a whole number, or an array of strings.")
        })?;
        if option.kind == Kind::File && !value.is_empty() {
            value = beside(file, &value).map_err(|e| e.context(&place))?;
        }
        settings.set(option.key, &value).map_err(|e| e.context(&place))?;
        // The URL of a proxy is a secret if it has a password.
        if option.secret && !value.is_empty() && (option.key != "proxy" || value.contains('@')) {
            secrets.push(option.key);
        }
    }
    let is_public = fs::metadata(file).is_ok_and(|found| found.permissions().mode() & 0o004 != 0);
    if is_public && !secrets.is_empty() {
        let what = secrets.join(" and ");
        settings
            .warn(format!("{shown} holds {what}, and every user of this machine can read it: run chmod 600 {shown}"));
    }
    Ok(())
}

/// The name of a file that a configuration file names.
fn beside(config: &Path, file: &str) -> Result<Zeroizing<String>> {
    let name = config.parent().unwrap_or(Path::new("")).join(file);
    match name.into_os_string().into_string() {
        Ok(name) => Ok(Zeroizing::new(name)),
        Err(_) => Err(Error::new(Code::Config, "the name of the folder is not UTF-8")
            .with_hint(format!("Give the absolute name of '{file}', or rename the folder."))),
    }
}

/// A value as `Settings::set` accepts it, or `None` if it accepts no such value.
fn plain(value: &Spanned<DeValue<'_>>) -> Option<Zeroizing<String>> {
    let text = match value.get_ref() {
        DeValue::String(text) => text.clone().into_owned(),
        DeValue::Boolean(yes) => yes.to_string(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok()?.to_string(),
        DeValue::Array(items) => {
            let lines: Option<Vec<&str>> = items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(line) => Some(line.as_ref()),
                    _ => None,
                })
                .collect();
            lines?.join("\n")
        }
        _ => return None,
    };
    Some(Zeroizing::new(text))
}

fn kind(value: &Spanned<DeValue<'_>>) -> &'static str {
    match value.get_ref() {
        DeValue::Table(_) => "a table",
        DeValue::Array(_) => "an array with elements that are not strings",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Datetime(_) => "a time without quotes",
        _ => "a number out of range",
    }
}

/// Loads the environment: for each option of a vault, of the process or of the command, the variable `S3VAULT_` and the
/// key in upper case. Options of a call are not read: a stray `S3VAULT_VERSION` must not choose what is restored. Any
/// other variable that starts with `S3VAULT_` adds a warning that names the nearest option.
///
/// Fails as [`Settings::set`] does; the message names the variable. Options before it are set.
pub fn environment(settings: &mut Settings) -> Result<()> {
    for option in OPTIONS.iter().filter(|option| option.scope != Scope::Call) {
        let name = variable(option.key);
        let Some(value) = std::env::var_os(&name) else { continue };
        let Ok(value) = value.into_string().map(Zeroizing::new) else {
            return Err(Error::new(Code::InvalidOption, format!("the environment variable {name} is not UTF-8")));
        };
        settings.set(option.key, &value).map_err(|e| e.context(format!("the environment variable {name}")))?;
    }
    warn_of_unknown(settings, std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()));
    Ok(())
}

fn variable(key: &str) -> String {
    format!("S3VAULT_{}", key.to_uppercase())
}

fn warn_of_unknown(settings: &mut Settings, variables: impl Iterator<Item = String>) {
    let mut unknown: Vec<String> = variables
        .filter(|name| name.starts_with("S3VAULT_") && !name.starts_with("S3VAULT_TEST_"))
        .filter(|name| !OTHER_VARIABLES.contains(&name.as_str()))
        .filter(|name| !OPTIONS.iter().any(|option| variable(option.key) == *name))
        .collect();
    unknown.sort();
    for name in unknown {
        let nearest = variable(nearest(&name["S3VAULT_".len()..].to_lowercase()));
        settings
            .warn(format!("the environment variable {name} is not a setting and is ignored; did you mean {nearest}?"));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn loaded(name: &str, text: &str) -> Result<Settings> {
        let file = std::env::temp_dir().join(format!("s3vault-config-{}-{name}.toml", std::process::id()));
        fs::write(&file, text).unwrap();
        let mut settings = Settings::new();
        let result = load(&mut settings, &file);
        fs::remove_file(&file).unwrap();
        result.map(|()| settings)
    }

    #[test]
    fn each_type_of_value_is_set() {
        let text = "# the store\nbucket = 'b'\npath_style = false\nconnect_timeout_ms = 0x64\n\
                    verify_keys = [\n  'ed25519 a x',\n  'ed25519 b y',\n]\n";
        let settings = loaded("kinds", text).unwrap();
        assert_eq!(settings.text("bucket"), "b");
        assert!(!settings.flag("path_style"));
        assert_eq!(settings.number("connect_timeout_ms"), 100);
        assert_eq!(settings.text("verify_keys"), "ed25519 a x\ned25519 b y");
    }

    #[test]
    fn a_relative_file_is_relative_to_the_configuration_file() {
        let file = std::env::temp_dir().join(format!("s3vault-config-{}-files.toml", std::process::id()));
        fs::write(&file, "keyring = 'vault.keys'\nca_file = '/etc/ca.pem'\n").unwrap();
        let mut settings = Settings::new();
        let result = load(&mut settings, &file);
        fs::remove_file(&file).unwrap();
        result.unwrap();
        assert_eq!(settings.text("keyring"), std::env::temp_dir().join("vault.keys").to_str().unwrap());
        assert_eq!(settings.text("ca_file"), "/etc/ca.pem");
        assert_eq!(loaded("unset", "keyring = ''\n").unwrap().text("keyring"), "");
        assert_eq!(*beside(Path::new("here.toml"), "vault.keys").unwrap(), "vault.keys");
    }

    #[test]
    fn an_unknown_variable_is_a_warning_that_names_the_nearest_option() {
        let mut settings = Settings::new();
        let known =
            ["PATH", "S3VAULT_BUCKET", "S3VAULT_VERSION", "S3VAULT_CONFIG", "S3VAULT_LIBRARY", "S3VAULT_TEST_STORE"];
        warn_of_unknown(&mut settings, known.map(String::from).into_iter());
        assert_eq!(settings.warnings(), [""; 0]);
        warn_of_unknown(&mut settings, ["S3VAULT_REGOIN", "S3VAULT_BUKCET"].map(String::from).into_iter());
        assert_eq!(
            settings.warnings(),
            [
                "the environment variable S3VAULT_BUKCET is not a setting and is ignored; did you mean S3VAULT_BUCKET?",
                "the environment variable S3VAULT_REGOIN is not a setting and is ignored; did you mean S3VAULT_REGION?",
            ]
        );
    }

    #[test]
    fn options_of_the_process_are_accepted_beside_those_of_a_vault() {
        let settings = loaded("process", "bucket = 'b'\nmemory = 0x4000000\nbandwidth_up = 1000\n").unwrap();
        assert_eq!((settings.number("memory"), settings.number("bandwidth_up")), (64 << 20, 1000));
        settings.only(Scope::Vault).unwrap();
        assert!(settings.only(Scope::Process).is_err(), "bucket is not an option of the process");
    }

    #[test]
    fn an_error_names_the_line() {
        for (name, text, line, code, said) in [
            ("syntax", "bucket = 'b'\nregion 'x'\n", 2, Code::Config, ""),
            ("end", "bucket = 'b", 1, Code::Config, ""),
            ("unknown", "bucket = 'b'\n\nacces_key = 'k'\n", 3, Code::UnknownOption, "'acces_key'"),
            ("unknown-table", "[vault]\nbucket = 'b'\n", 1, Code::UnknownOption, "'vault'"),
            ("table", "bucket = { name = 'b' }\n", 1, Code::Config, "bucket is a table"),
            ("array", "verify_keys = ['a', 1]\n", 1, Code::Config, "an array with elements that"),
            ("float", "connect_timeout_ms = 1.5\n", 1, Code::Config, "a number with a fraction"),
            ("value", "\npath_style = 'perhaps'\n", 2, Code::InvalidOption, "true or false"),
            ("twice", "bucket = 'a'\nbucket = 'b'\n", 2, Code::Config, ""),
        ] {
            let e = loaded(name, text).unwrap_err();
            assert_eq!(e.code(), code, "{name}: {e}");
            assert!(e.message().contains(&format!("-{name}.toml, line {line}: ")), "{name}: {e}");
            assert!(e.message().contains(said), "{name}: {e}");
        }
        let e = loaded("unquoted", "bucket = 'b'\nmemory = 64M\n").unwrap_err();
        assert!(e.message().contains("line 2: string values must be quoted"), "{e}");
        assert!(e.hint().contains("memory = \"64M\""), "{}", e.hint());
        assert_eq!(loaded("quoted", "memory = '64M'\n").unwrap().number("memory"), 64 << 20);
        let e = loaded("nearest", "acces_key = 'k'\n").unwrap_err();
        assert_eq!(e.hint(), "Did you mean 'access_key'?");
    }

    #[test]
    fn a_file_with_secrets_that_everybody_can_read_is_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("s3vault.toml");
        let warnings = |text: &str, mode: u32| {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let mut settings = Settings::new();
            load(&mut settings, &file).unwrap();
            settings.warnings().to_vec()
        };
        let secrets = "bucket = 'b'\nsecret_key = 'hush'\nsession_token = 'hush'\nproxy = 'http://u:hush@p:1'\n";
        let [warning] = &warnings(secrets, 0o644)[..] else { panic!("one warning was expected") };
        assert!(warning.contains("holds secret_key and session_token and proxy"), "{warning}");
        assert!(
            warning.ends_with(&format!("run chmod 600 {}", file.display())) && !warning.contains("hush"),
            "{warning}"
        );
        for (text, mode) in
            [(secrets, 0o600), (secrets, 0o640), ("bucket = 'b'\nsecret_key = ''\nproxy = 'http://p:1'\n", 0o644)]
        {
            assert_eq!(warnings(text, mode), [""; 0], "{mode:o} {text}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let e = load(&mut Settings::new(), Path::new("/nowhere/s3vault.toml")).unwrap_err();
        assert_eq!(e.code(), Code::Config);
        assert!(e.message().contains("/nowhere/s3vault.toml"), "{e}");
    }
}
