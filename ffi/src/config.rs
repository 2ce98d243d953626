//! Settings from a TOML file and from the environment. Each is read only when it is asked for.

use std::fs;
use std::path::Path;

use s3vault_core::settings::{OPTIONS, Scope, Settings};
use s3vault_core::{Code, Error, Result};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

/// Sets what a TOML file holds: one flat table of options. Values are strings, booleans, whole numbers, and arrays of
/// strings, which stand for one value of as many lines.
///
/// Fails with [`Code::Config`] where the file cannot be read or is no such table, and as [`Settings::set`] does for its
/// keys and values; the message names file and line. What stands before the line that failed is set.
pub fn load(settings: &mut Settings, file: &Path) -> Result<()> {
    let shown = file.display();
    let text = fs::read_to_string(file).map(Zeroizing::new).map_err(|e| {
        Error::new(Code::Config, format!("cannot read {shown}: {e}"))
            .with_hint("Check the file's name and permissions.")
    })?;
    let place = |offset: usize| format!("{shown}, line {}", 1 + text[..offset].matches('\n').count());
    let table = DeTable::parse(&text).map_err(|e| {
        let place = place(e.span().map_or(text.len(), |span| span.start));
        Error::new(Code::Config, format!("{place}: {}", e.message()))
    })?;
    let mut entries: Vec<_> = table.into_inner().into_iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        let place = place(key.span().start);
        // An unknown key is told before its value is looked at: the value may be a whole table.
        s3vault_core::settings::option(key.get_ref()).map_err(|e| e.context(&place))?;
        let value = plain(&value).ok_or_else(|| {
            let message = format!("{place}: {} is {}", key.get_ref(), kind(&value));
            Error::new(Code::Config, message)
                .with_hint("Give a string, true, false, a whole number, or an array of strings.")
        })?;
        settings.set(key.get_ref(), &value).map_err(|e| e.context(&place))?;
    }
    Ok(())
}

/// A value as `Settings::set` takes it; none where the file's kind of value has no such form.
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
        DeValue::Array(_) => "an array with other things than strings in it",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Datetime(_) => "a time without quotes",
        _ => "a number out of range",
    }
}

/// Sets what the environment holds: for each option of a vault, of the process or of the command, the variable `S3VAULT_` and the key in
/// upper case. Other variables are ignored, those of a call's options too: a stray `S3VAULT_VERSION` must not choose
/// what is restored.
///
/// Fails as [`Settings::set`] does; the message names the variable. What came before it is set.
pub fn environment(settings: &mut Settings) -> Result<()> {
    for option in OPTIONS.iter().filter(|option| option.scope != Scope::Call) {
        let name = format!("S3VAULT_{}", option.key.to_uppercase());
        let Some(value) = std::env::var_os(&name) else { continue };
        let Ok(value) = value.into_string().map(Zeroizing::new) else {
            return Err(Error::new(Code::InvalidOption, format!("the environment's {name} is not UTF-8")));
        };
        settings.set(option.key, &value).map_err(|e| e.context(format!("the environment's {name}")))?;
    }
    Ok(())
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
    fn each_kind_of_value_is_set() {
        let text = "# the store\nbucket = 'b'\npath_style = false\nconnect_timeout_ms = 0x64\n\
                    verify_keys = [\n  'ed25519 a x',\n  'ed25519 b y',\n]\n";
        let settings = loaded("kinds", text).unwrap();
        assert_eq!(settings.text("bucket"), "b");
        assert!(!settings.flag("path_style"));
        assert_eq!(settings.number("connect_timeout_ms"), 100);
        assert_eq!(settings.text("verify_keys"), "ed25519 a x\ned25519 b y");
    }

    #[test]
    fn what_the_whole_process_shares_may_stand_beside_a_vault() {
        let settings = loaded("process", "bucket = 'b'\nmemory = 0x4000000\nbandwidth_up = 1000\n").unwrap();
        assert_eq!((settings.number("memory"), settings.number("bandwidth_up")), (64 << 20, 1000));
        settings.only(Scope::Vault).unwrap();
        assert!(settings.only(Scope::Process).is_err(), "bucket is not the process's");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (name, text, line, code, said) in [
            ("syntax", "bucket = 'b'\nregion 'x'\n", 2, Code::Config, ""),
            ("end", "bucket = 'b", 1, Code::Config, ""),
            ("unknown", "bucket = 'b'\n\nacces_key = 'k'\n", 3, Code::UnknownOption, "'acces_key'"),
            ("unknown-table", "[vault]\nbucket = 'b'\n", 1, Code::UnknownOption, "'vault'"),
            ("table", "bucket = { name = 'b' }\n", 1, Code::Config, "bucket is a table"),
            ("array", "verify_keys = ['a', 1]\n", 1, Code::Config, "an array with other things"),
            ("float", "connect_timeout_ms = 1.5\n", 1, Code::Config, "a number with a fraction"),
            ("value", "\npath_style = 'perhaps'\n", 2, Code::InvalidOption, "true or false"),
            ("twice", "bucket = 'a'\nbucket = 'b'\n", 2, Code::Config, ""),
        ] {
            let e = loaded(name, text).unwrap_err();
            assert_eq!(e.code(), code, "{name}: {e}");
            assert!(e.message().contains(&format!("-{name}.toml, line {line}: ")), "{name}: {e}");
            assert!(e.message().contains(said), "{name}: {e}");
        }
        let e = loaded("nearest", "acces_key = 'k'\n").unwrap_err();
        assert_eq!(e.hint(), "Did you mean 'access_key'?");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let e = load(&mut Settings::new(), Path::new("/nowhere/s3vault.toml")).unwrap_err();
        assert_eq!(e.code(), Code::Config);
        assert!(e.message().contains("/nowhere/s3vault.toml"), "{e}");
    }
}
