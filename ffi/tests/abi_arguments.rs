//! The C interface, without a store: arguments, errors, configuration, keyrings.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod abi_support;

use std::ffi::{CStr, c_char, c_void};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::{fs, ptr};

use abi_support::{c, call, config, keyring, made, refused, shown, taken, text};
use s3vault::abi::*;
use s3vault_core::Code;

const NOT_UTF8: *const c_char = c"\xff\xfe".as_ptr();

type Call<'a> = (&'a str, Box<dyn Fn(*mut *mut s3v_error) -> i32 + 'a>);

/// Every function with `err`, called with NULL for the named argument.
fn calls_with_a_null<'a>(config: *mut s3v_config) -> Vec<Call<'a>> {
    fn call<'a>(name: &'a str, call: impl Fn(*mut *mut s3v_error) -> i32 + 'a) -> Call<'a> {
        (name, Box::new(call))
    }
    let (n, t) = (ptr::null::<c_char>(), c"x".as_ptr());
    let (ctl, o) = (ptr::null::<s3v_ctl>(), ptr::null::<s3v_config>());
    unsafe {
        vec![
            call("config", move |e| s3v_config_set(ptr::null_mut(), t, t, e)),
            call("key", move |e| s3v_config_set(config, n, t, e)),
            call("value", move |e| s3v_config_set(config, t, n, e)),
            call("config", move |e| s3v_config_get(ptr::null(), n, ptr::dangling_mut(), e)),
            call("out", move |e| s3v_config_get(config, n, ptr::null_mut(), e)),
            call("config", move |e| s3v_config_warnings(ptr::null(), ptr::dangling_mut(), e)),
            call("out", move |e| s3v_config_warnings(config, ptr::null_mut(), e)),
            call("config", move |e| s3v_config_load(ptr::null_mut(), t, e)),
            call("file", move |e| s3v_config_load(config, n, e)),
            call("config", move |e| s3v_config_env(ptr::null_mut(), e)),
            call("out", move |e| s3v_keyring_open(n, ptr::null(), 0, 1, ptr::null_mut(), e)),
            call("buf", move |e| s3v_keyring_open(n, ptr::null(), 9, 0, ptr::dangling_mut(), e)),
            call("keyring", move |e| s3v_keyring_info(ptr::null(), ptr::dangling_mut(), e)),
            call("keyring", move |e| s3v_keyring_bytes(ptr::null(), ptr::dangling_mut(), e)),
            call("keyring", move |e| s3v_keyring_add(ptr::null_mut(), ptr::dangling_mut(), e)),
            call("keyring", move |e| s3v_keyring_activate(ptr::null_mut(), t, e)),
            call("keyring", move |e| s3v_keyring_new_signing_key(ptr::null_mut(), ptr::dangling_mut(), e)),
            call("keyring", move |e| s3v_keyring_distrust(ptr::null_mut(), t, e)),
            call("keyring", move |e| {
                s3v_keyring_export(ptr::null_mut(), o, t, ptr::null(), 0, n, ptr::dangling_mut(), e)
            }),
            call("keyring", move |e| {
                s3v_keyring_import(ptr::null_mut(), ptr::null(), 0, ptr::null(), 0, ptr::dangling_mut(), e)
            }),
            call("buf", move |e| s3v_keyring_restore(n, ptr::null(), 9, ptr::null(), 0, ptr::dangling_mut(), e)),
            call("secret", move |e| s3v_keyring_restore(n, ptr::null(), 0, ptr::null(), 9, ptr::dangling_mut(), e)),
            call("out", move |e| s3v_keyring_restore(n, ptr::null(), 0, ptr::null(), 0, ptr::null_mut(), e)),
            call("out", move |e| s3v_vault_open(o, ptr::null_mut(), ctl, ptr::null_mut(), e)),
            call("vault", move |e| s3v_put_open(ptr::null_mut(), t, t, o, ctl, ptr::dangling_mut(), e)),
            call("put", move |e| s3v_put_write(ptr::null_mut(), ptr::null(), 0, ctl, e)),
            call("put", move |e| s3v_put_commit(ptr::null_mut(), ctl, ptr::null_mut(), e)),
            call("put", move |e| s3v_put_abort(ptr::null_mut(), ctl, e)),
            call("put", move |e| s3v_put_suspend(ptr::null_mut(), ctl, e)),
            call("vault", move |e| s3v_put_fd(ptr::null_mut(), t, t, 0, o, ctl, ptr::null_mut(), e)),
            call("vault", move |e| s3v_put_file(ptr::null_mut(), t, t, t, o, ctl, ptr::null_mut(), e)),
            call("vault", move |e| s3v_version_find(ptr::null_mut(), t, t, o, ctl, ptr::dangling_mut(), e)),
            call("version", move |e| s3v_version_manifest(ptr::null_mut(), ctl, ptr::dangling_mut(), e)),
            call("version", move |e| s3v_version_key(ptr::null_mut(), ctl, ptr::dangling_mut(), e)),
            call("vault", move |e| s3v_vault_init(ptr::null_mut(), ctl, e)),
            call("version", move |e| s3v_version_delete(ptr::null_mut(), o, ctl, e)),
            call("vault", move |e| s3v_delete(ptr::null_mut(), t, t, ctl, ptr::dangling_mut(), e)),
            call("vault", move |e| s3v_undelete(ptr::null_mut(), t, t, ctl, ptr::dangling_mut(), e)),
            call("vault", move |e| s3v_prune(ptr::null_mut(), o, ctl, ptr::dangling_mut(), e)),
            call("vault", move |e| s3v_sweep(ptr::null_mut(), o, ctl, ptr::dangling_mut(), e)),
            call("vault", move |e| s3v_rotate(ptr::null_mut(), o, ctl, ptr::dangling_mut(), e)),
            call("vault", move |e| s3v_rekey(ptr::null_mut(), o, ctl, ptr::dangling_mut(), e)),
            call("vault", move |e| s3v_retire(ptr::null_mut(), t, ctl, ptr::dangling_mut(), e)),
            call("vault", move |e| s3v_adopt(ptr::null_mut(), o, ctl, ptr::dangling_mut(), e)),
            call("vault", move |e| s3v_verify(ptr::null_mut(), o, ctl, ptr::dangling_mut(), e)),
            call("version", move |e| s3v_get_verify(ptr::null_mut(), o, ctl, ptr::dangling_mut(), e)),
            call("version", move |e| s3v_get_open(ptr::null_mut(), o, ctl, ptr::dangling_mut(), e)),
            call("get", move |e| s3v_get_read(ptr::null_mut(), ptr::null_mut(), 0, ctl, ptr::dangling_mut(), e)),
            call("version", move |e| s3v_get_file(ptr::null_mut(), t, o, ctl, e)),
            call("vault", move |e| s3v_list_versions(ptr::null_mut(), n, n, o, ctl, ptr::dangling_mut(), e)),
            call("vault", move |e| s3v_list_containers(ptr::null_mut(), o, ctl, ptr::dangling_mut(), e)),
            call("vault", move |e| s3v_list_paths(ptr::null_mut(), t, n, o, ctl, ptr::dangling_mut(), e)),
            call("list", move |e| s3v_list_next(ptr::null_mut(), ctl, ptr::dangling_mut(), e)),
            call("object", move |e| s3v_manifest_verify(ptr::null(), 1, t, ptr::dangling_mut(), e)),
            call("public_keys", move |e| s3v_manifest_verify(ptr::null(), 0, n, ptr::dangling_mut(), e)),
            call("out", move |e| s3v_manifest_verify(ptr::null(), 0, c"".as_ptr(), ptr::null_mut(), e)),
            call("method", move |e| s3v_sign(o, 0, n, t, n, n, ptr::dangling_mut(), e)),
            call("url", move |e| s3v_sign(o, 0, t, n, n, n, ptr::dangling_mut(), e)),
            call("out", move |e| s3v_sign(o, 0, t, t, n, n, ptr::null_mut(), e)),
            call("method", move |e| s3v_presign(o, 0, n, t, n, 1, ptr::dangling_mut(), e)),
            call("url", move |e| s3v_presign(o, 0, t, n, n, 1, ptr::dangling_mut(), e)),
            call("out", move |e| s3v_presign(o, 0, t, t, n, 1, ptr::null_mut(), e)),
            call("request", move |e| s3v_explain(n, n, ptr::dangling_mut(), e)),
            call("out", move |e| s3v_explain(t, n, ptr::null_mut(), e)),
        ]
    }
}

#[test]
fn a_null_argument_is_named_with_and_without_err() {
    let config = s3v_config_new();
    for (argument, function) in calls_with_a_null(config) {
        let failure = refused(call(&function), Code::InvalidArgument);
        assert_eq!(failure.message, format!("argument {argument} is NULL"));
        assert_eq!(function(ptr::null_mut()), Code::InvalidArgument as i32);
    }
    unsafe { s3v_config_free(config) };
}

#[test]
fn null_handles_can_be_freed_and_read() {
    unsafe {
        s3v_error_free(ptr::null_mut());
        s3v_bytes_free(ptr::null_mut());
        s3v_config_free(ptr::null_mut());
        s3v_cancel_free(ptr::null_mut());
        s3v_cancel_trigger(ptr::null_mut());
        s3v_keyring_free(ptr::null_mut());
        s3v_vault_free(ptr::null_mut());
        s3v_put_free(ptr::null_mut());
        s3v_version_free(ptr::null_mut());
        s3v_get_free(ptr::null_mut());
        s3v_list_free(ptr::null_mut());
        assert_eq!(s3v_error_code(ptr::null()), 0);
        assert_eq!(s3v_error_http_status(ptr::null()), 0);
        assert_eq!(s3v_error_flags(ptr::null()), 0);
        assert!(s3v_error_get(ptr::null(), S3V_FIELD_MESSAGE).is_null());
        assert_eq!(s3v_put_offset(ptr::null()), 0);
        assert!(s3v_version_info(ptr::null()).is_null());
        let mut len = 7;
        assert!(s3v_bytes_data(ptr::null(), &mut len).is_null());
        assert_eq!(len, 0);
    }
}

#[test]
fn an_argument_that_is_not_utf8_is_named() {
    let config = s3v_config_new();
    for (argument, key, value) in [("key", NOT_UTF8, c"b".as_ptr()), ("value", c"bucket".as_ptr(), NOT_UTF8)] {
        let result = call(|err| unsafe { s3v_config_set(config, key, value, err) });
        let failure = refused(result, Code::InvalidArgument);
        assert!(failure.message.starts_with(&format!("argument {argument} is not UTF-8")), "{failure:?}");
    }
    unsafe { s3v_config_free(config) };
}

#[test]
fn an_impossible_length_is_refused() {
    let object = [0_u8; 1];
    let result =
        made(|out, err| unsafe { s3v_manifest_verify(object.as_ptr().cast(), usize::MAX, c"".as_ptr(), out, err) });
    assert!(refused(result, Code::InvalidArgument).message.contains("impossible length"));
}

#[test]
fn the_fields_of_an_error_match_its_json() {
    let config = s3v_config_new();
    let mut err = ptr::null_mut();
    let code = unsafe { s3v_config_set(config, c"bukket".as_ptr(), c"b".as_ptr(), &mut err) };
    unsafe { s3v_config_free(config) };
    assert_eq!(code, Code::UnknownOption as i32);
    let json: serde_json::Value = serde_json::from_str(&text(unsafe { s3v_error_get(err, S3V_FIELD_JSON) })).unwrap();
    for (field, key) in [
        (S3V_FIELD_NAME, "name"),
        (S3V_FIELD_MESSAGE, "message"),
        (S3V_FIELD_HINT, "hint"),
        (S3V_FIELD_S3_CODE, "s3_code"),
        (S3V_FIELD_REQUEST_ID, "request_id"),
        (S3V_FIELD_OPERATION, "operation"),
        (S3V_FIELD_BUCKET, "bucket"),
        (S3V_FIELD_KEY, "key"),
    ] {
        assert_eq!(json[key], text(unsafe { s3v_error_get(err, field) }), "{key}");
    }
    assert_eq!((&json["name"], &json["hint"]), (&"S3V_E_UNKNOWN_OPTION".into(), &"Did you mean 'bucket'?".into()));
    assert_eq!((&json["code"], &json["flags"], &json["status"]), (&code.into(), &S3V_FLAG_MISUSE.into(), &0.into()));
    assert_eq!((unsafe { s3v_error_flags(err) }, unsafe { s3v_error_http_status(err) }), (S3V_FLAG_MISUSE, 0));
    for unknown in [-1, 9, i32::MIN, i32::MAX] {
        assert!(unsafe { s3v_error_get(err, unknown) }.is_null());
    }
    unsafe { s3v_error_free(err) };
}

#[test]
fn the_library_reports_its_version_and_options() {
    assert_eq!(s3v_abi_version(), S3V_ABI_VERSION);
    assert_eq!(text(s3v_version_text()), format!("s3vault {}", env!("CARGO_PKG_VERSION")));
    let options: serde_json::Value = serde_json::from_str(&text(s3v_settings_json())).unwrap();
    assert!(options.as_array().unwrap().iter().any(|option| option["key"] == "bucket"));
    assert_eq!(s3v_settings_json(), s3v_settings_json());
}

#[test]
fn a_config_shows_values_defaults_and_never_a_secret() {
    let config = config(&[("bucket", "b"), ("secret_key", "hush")]);
    assert_eq!(shown(config, Some("bucket")).unwrap(), "b");
    assert_eq!(shown(config, Some("mode")).unwrap(), "single-bucket");
    assert_eq!(shown(config, Some("secret_key")).unwrap(), "***");
    assert_eq!(shown(config, None).unwrap(), r#"{"bucket":"b","secret_key":"***"}"#);
    refused(shown(config, Some("bukket")), Code::UnknownOption);
    unsafe { s3v_config_free(config) };
}

#[test]
fn a_file_with_an_invalid_line_sets_nothing() {
    let folder = folder("load");
    let file = folder.join("s3vault.toml");
    let path = c(file.to_str().unwrap());
    let config = config(&[("bucket", "before")]);
    fs::write(&file, "bucket = 'after'\nregion = 7.5\n").unwrap();
    let failure = refused(call(|err| unsafe { s3v_config_load(config, path.as_ptr(), err) }), Code::Config);
    assert!(failure.message.contains("s3vault.toml, line 2: region is "), "{failure:?}");
    assert_eq!(shown(config, Some("bucket")).unwrap(), "before");
    fs::write(&file, "bucket = 'after'\n").unwrap();
    call(|err| unsafe { s3v_config_load(config, path.as_ptr(), err) }).unwrap();
    assert_eq!(shown(config, Some("bucket")).unwrap(), "after");
    unsafe { s3v_config_free(config) };
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_ctl_has_the_size_that_it_states() {
    // A later version may have a larger ctl, whose additional fields this version ignores.
    #[repr(C)]
    struct Later {
        ctl: s3v_ctl,
        more: [u64; 4],
    }
    let ctl = |size| s3v_ctl { size, ctx: ptr::null_mut(), on_event: None, cancel: ptr::null_mut(), timeout_ms: 0 };
    let open =
        |ctl: *const s3v_ctl| made(|out, err| unsafe { s3v_vault_open(ptr::null(), ptr::null_mut(), ctl, out, err) });
    let size = size_of::<s3v_ctl>() as u32;
    for wrong in [0, 4, size - 1] {
        let failure = refused(open(&ctl(wrong)), Code::InvalidArgument);
        assert!(failure.message.starts_with(&format!("ctl.size is {wrong}, ")), "{failure:?}");
        assert_eq!(failure.hint, "Set size to sizeof(s3v_ctl).");
    }
    // The ctl is accepted: the error is that the vault has no bucket.
    refused(open(&ctl(size)), Code::InvalidOption);
    let later = Later { ctl: ctl(size_of::<Later>() as u32), more: [u64::MAX; 4] };
    refused(open(ptr::from_ref(&later).cast()), Code::InvalidOption);
    assert_eq!(later.more, [u64::MAX; 4]);
}

#[test]
fn a_keyring_is_created_once_and_opened_from_its_file_or_its_content() {
    let folder = folder("keyring");
    let file = folder.join("k");
    let path = c(file.to_str().unwrap());
    let open = |create| made(|out, err| unsafe { s3v_keyring_open(path.as_ptr(), ptr::null(), 0, create, out, err) });
    refused(open(0), Code::Keyring);
    let made_now = open(1).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(refused(open(1), Code::Keyring).message.ends_with("it exists already"));
    let read = open(0).unwrap();
    let content = fs::read(&file).unwrap();
    let from_content =
        made(|out, err| unsafe { s3v_keyring_open(ptr::null(), content.as_ptr().cast(), content.len(), 0, out, err) })
            .unwrap();
    let infos: Vec<String> = [made_now, read, from_content].map(info).to_vec();
    assert_eq!((&infos[0], &infos[0]), (&infos[1], &infos[2]));
    let info: serde_json::Value = serde_json::from_str(&infos[0]).unwrap();
    let (id, public) = (info["signing"]["id"].as_str().unwrap(), info["signing"]["public"].as_str().unwrap());
    assert_eq!(id.len(), 16);
    assert!(public.starts_with(&format!("ed25519 {id} ")), "{public}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refused(open(0), Code::Keyring).hint.starts_with("Run: chmod 600 "));
    fs::remove_dir_all(folder).unwrap();
}

fn info(keyring: *mut s3v_keyring) -> String {
    let info = made(|out, err| unsafe { s3v_keyring_info(keyring, out, err) }).unwrap();
    unsafe { s3v_keyring_free(keyring) };
    String::from_utf8(taken(info)).unwrap()
}

#[test]
fn keyrings_in_memory_differ_and_contradictory_arguments_are_refused() {
    assert_ne!(info(keyring()), info(keyring()));
    let data: *const c_void = c"data".as_ptr().cast();
    for (path, buf, len, create) in [
        (ptr::null(), ptr::null(), 0, 0),
        (c"k".as_ptr(), data, 4, 0),
        (c"k".as_ptr(), data, 4, 1),
        (ptr::null(), data, 4, 1),
        (c"k".as_ptr(), ptr::null(), 0, 2),
    ] {
        let result = made(|out, err| unsafe { s3v_keyring_open(path, buf, len, create, out, err) });
        refused(result, Code::InvalidArgument);
    }
    let garbage = made(|out, err| unsafe { s3v_keyring_open(ptr::null(), data, 4, 0, out, err) });
    refused(garbage, Code::Keyring);
}

fn id_of_current(keyring: *mut s3v_keyring) -> String {
    let info = taken(made(|out, err| unsafe { s3v_keyring_info(keyring, out, err) }).unwrap());
    let info: serde_json::Value = serde_json::from_slice(&info).unwrap();
    let keks = info["keks"].as_array().unwrap();
    keks.iter().find(|kek| kek["current"] == true).unwrap()["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_keyring_is_rotated_and_restored_from_its_escrow() {
    let folder = folder("rotated");
    let (file, escrow) = (folder.join("k"), folder.join("escrow"));
    let (path, restored, copy) = (c(file.to_str().unwrap()), folder.join("restored"), c(escrow.to_str().unwrap()));
    let config = config(&[("bucket", "backups"), ("secret_key", "hidden")]);
    let secret = b"correct horse";
    unsafe {
        let keyring = made(|out, err| s3v_keyring_open(path.as_ptr(), ptr::null(), 0, 1, out, err)).unwrap();
        let first = id_of_current(keyring);
        let second = String::from_utf8(taken(made(|out, err| s3v_keyring_add(keyring, out, err)).unwrap())).unwrap();
        let id = c(&second);
        refused(call(|err| s3v_keyring_activate(keyring, id.as_ptr(), err)), Code::Keyring);
        assert_eq!(id_of_current(keyring), first);
        let export = |how: &CStr| {
            made(|out, err| {
                let (how, secret, len) = (how.as_ptr(), secret.as_ptr().cast(), secret.len());
                s3v_keyring_export(keyring, config, how, secret, len, copy.as_ptr(), out, err)
            })
        };
        refused(export(c"other"), Code::InvalidArgument);
        let exported = taken(export(c"passphrase").unwrap());
        assert_eq!(fs::read(&escrow).unwrap(), exported);
        call(|err| s3v_keyring_activate(keyring, id.as_ptr(), err)).unwrap();
        assert_eq!(id_of_current(keyring), second);

        let path = c(restored.to_str().unwrap());
        let (buf, len, key) = (exported.as_ptr().cast(), exported.len(), secret.as_ptr().cast());
        let again = made(|out, err| s3v_keyring_restore(path.as_ptr(), buf, len, key, secret.len(), out, err)).unwrap();
        let report = made(|out, err| s3v_keyring_import(again, buf, len, key, secret.len(), out, err)).unwrap();
        let report: serde_json::Value = serde_json::from_slice(&taken(report)).unwrap();
        assert_eq!(report["settings"], serde_json::json!({"bucket": "backups"}));
        let content = taken(made(|out, err| s3v_keyring_bytes(again, out, err)).unwrap());
        assert_eq!(fs::read(&restored).unwrap(), content);
        assert_eq!(info(again), info(keyring));
        s3v_config_free(config);
    }
    fs::remove_dir_all(folder).unwrap();
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("s3vault-abi-{}-{name}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    folder
}
