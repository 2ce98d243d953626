//! What keyrings and their files promise.
#![allow(clippy::unwrap_used)]

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};

use nix::unistd::geteuid;
use s3vault_core::Code;

use super::*;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("s3vault-keyring-{}-{name}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    folder
}

#[test]
fn a_new_keyring_belongs_to_its_owner_alone_and_can_be_read() {
    let folder = folder("made");
    let path = folder.join("k");
    let made = create(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(open(&path).unwrap().info_json(), made.info_json());
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "a temporary file was left");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn one_of_many_that_create_the_same_keyring_succeeds() {
    let folder = folder("race");
    let path = folder.join("k");
    let made: Vec<Result<Keyring>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| create(&path))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let winners: Vec<_> = made.iter().flatten().collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(open(&path).unwrap().info_json(), winners[0].info_json());
    assert!(made.iter().flat_map(|m| m.as_ref().err()).all(|e| e.code() == Code::Keyring));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn an_existing_file_is_never_replaced() {
    let folder = folder("exists");
    let path = folder.join("k");
    fs::write(&path, "mine").unwrap();
    let e = create(&path).map(|_| ()).unwrap_err();
    assert_eq!(e.code(), Code::Keyring);
    assert!(e.message().ends_with("it exists already"), "{e}");
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_keyring_that_others_can_read_is_refused() {
    let folder = folder("mode");
    let path = folder.join("k");
    create(&path).unwrap();
    for mode in [0o640, 0o604, 0o620] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let e = open(&path).map(|_| ()).unwrap_err();
        assert_eq!((e.code(), e.hint()), (Code::Keyring, format!("Run: chmod 600 {}", path.display()).as_str()));
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(open(&path).is_ok());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_keyring_of_another_user_is_refused() {
    let folder = folder("owner");
    let path = folder.join("k");
    create(&path).unwrap();
    // Only root can give a file away; for others, a file of root's.
    let theirs = if geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
        path.clone()
    } else {
        PathBuf::from("/etc/passwd")
    };
    let e = open(&theirs).map(|_| ()).unwrap_err();
    assert!(e.code() == Code::Keyring && e.message().contains("another user owns"), "{e}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_file_that_is_not_a_keyring_is_named() {
    let folder = folder("other");
    let path = folder.join("k");
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap().write_all(b"hello").unwrap();
    for path in [&path, &folder, &folder.join("absent")] {
        let e = open(path).map(|_| ()).unwrap_err();
        assert_eq!(e.code(), Code::Keyring);
        assert!(e.message().contains(&path.display().to_string()), "{e}");
    }
    fs::remove_dir_all(folder).unwrap();
}

fn keks(keyring: &Keyring) -> Vec<&str> {
    keyring.keks().iter().map(Kek::id).collect()
}

fn current(keys: &Keys) -> String {
    keys.keyring().current_kek().unwrap().id().to_owned()
}

/// Recipients, and their identities.
const KEYS: [(&str, &str); 2] = [
    (
        "age1xmwwc06ly3ee5rytxm9mflaz2u56jjj36s0mypdrwsvlul66mv4q47ryef",
        "AGE-SECRET-KEY-1EGTZVFFV20835NWYV6270LXYVK2VKNX2MMDKWYKLMGR48UAWX40Q2P2LM0",
    ),
    (
        "age1wgwxswkm3ugk7alwps4nkxmuvj6wkg8c0rwp3g5z303t5e0ytezqrm7h0t",
        "AGE-SECRET-KEY-10YWVXJV4QY45E9DHLFPF8D5MHLL05A0L6HACK7ERJ43H2ET94LYQMPF2D5",
    ),
];

/// A recipient, and its identity.
fn recipient() -> (Reader, String) {
    let (public, identity) = KEYS[0];
    (Reader::new("recipients", format!("# mine\n{public}\n").as_bytes()).unwrap(), identity.to_owned())
}

#[test]
fn a_new_keyring_has_a_first_kek_that_is_current_and_not_escrowed() {
    let keyring = generate().unwrap();
    let kek = keyring.current_kek().unwrap();
    assert!(keks(&keyring) == [kek.id()] && !kek.is_escrowed() && kek.created_ms() > 1_700_000_000_000);
}

#[test]
fn an_older_keyring_without_keks_gets_its_first_one_which_is_current() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k");
    file::create("keyring", &path, &Keyring::generate([7; 32]).to_bytes()).unwrap();
    let keys = Keys::open(&path).unwrap();
    let id = keys.add().unwrap();
    assert_eq!(current(&keys), id);
    assert_eq!(keks(&open(&path).unwrap()), [id]);
}

#[test]
fn changes_are_in_the_file_which_stays_private_and_leave_a_snapshot_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k");
    let keys = Keys::create(&path).unwrap();
    let (before, first) = (keys.keyring(), current(&keys));
    let second = keys.add().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(keks(&open(&path).unwrap()), [&*first, &*second]);
    assert_eq!((keks(&before), current(&keys)), (vec![&*first], first.clone()));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a file was left");
}

#[test]
fn a_later_kek_becomes_current_only_after_its_export() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k");
    let keys = Keys::create(&path).unwrap();
    let second = keys.add().unwrap();
    let e = keys.activate(&second).unwrap_err();
    assert!(e.code() == Code::Keyring && e.hint().contains("keys export"), "{e:?}");
    let copy = folder.path().join("copy");
    keys.export(None, &recipient().0, Some(&copy)).unwrap();
    assert_eq!(fs::metadata(&copy).unwrap().mode() & 0o777, 0o600);
    keys.activate(&second).unwrap();
    assert_eq!(open(&path).unwrap().current_kek().unwrap().id(), second);
}

#[test]
fn an_export_that_cannot_be_written_escrows_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Keys::create(&folder.path().join("k")).unwrap();
    let copy = folder.path().join("copy");
    fs::write(&copy, "mine").unwrap();
    for copy in [&copy, &folder.path().join("absent/copy")] {
        assert_eq!(keys.export(None, &recipient().0, Some(copy)).unwrap_err().code(), Code::Keyring);
        assert!(!open(&folder.path().join("k")).unwrap().keks()[0].is_escrowed());
    }
    assert_eq!(fs::read(&copy).unwrap(), b"mine");
}

#[test]
fn many_that_add_keks_at_once_lose_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k");
    let first = current(&Keys::create(&path).unwrap());
    let mut added: Vec<String> = std::thread::scope(|scope| {
        // Each opens the file, so it has the lock as another process would.
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let keys = Keys::open(&path).unwrap();
                scope.spawn(move || (0..5).map(|_| keys.add().unwrap()).collect::<Vec<_>>())
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    added.push(first.clone());
    added.sort();
    let kept = open(&path).unwrap();
    let mut ids = keks(&kept);
    ids.sort();
    assert_eq!(ids, added);
    assert_eq!(kept.current_kek().unwrap().id(), first);
}

#[test]
fn a_change_keeps_keys_that_an_older_file_lacks_and_refuses_another_keyring() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("k"), folder.path().join("other"));
    let keys = Keys::create(&path).unwrap();
    let older = fs::read(&path).unwrap();
    let second = keys.add().unwrap();
    fs::write(&path, older).unwrap();
    let third = keys.add().unwrap();
    let kept = open(&path).unwrap();
    assert!([&second, &third].iter().all(|id| kept.kek(id).is_some()));

    Keys::create(&other).unwrap();
    fs::rename(&other, &path).unwrap();
    let before = fs::read(&path).unwrap();
    let e = keys.add().unwrap_err();
    assert!(e.code() == Code::Keyring && e.message().contains("was replaced by another"), "{e}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

/// A keyring file whose first KEK of two was retired, and the id of that.
fn with_retired(path: &Path) -> (Keys, String) {
    let keys = Keys::create(path).unwrap();
    let (first, second) = (current(&keys), keys.add().unwrap());
    keys.export(None, &recipient().0, None).unwrap();
    keys.activate(&second).unwrap();
    keys.retire(&first).unwrap();
    (keys, first)
}

#[test]
fn a_retired_kek_leaves_the_file_and_the_current_one_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k");
    let (keys, first) = with_retired(&path);
    let (before, second) = (fs::read(&path).unwrap(), current(&keys));
    let e = keys.retire(&second).unwrap_err();
    assert!(e.code() == Code::Keyring && e.message().contains("is current"), "{e}");
    let e = keys.retire("0123456789abcdef").unwrap_err();
    assert!(e.code() == Code::Keyring && e.hint().contains(&second), "{e:?}");
    keys.retire(&first).unwrap();
    assert_eq!(fs::read(&path).unwrap(), before);
    let kept = open(&path).unwrap();
    assert_eq!((keks(&kept), kept.retired()), (vec![&*second], &[first][..]));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn a_process_that_has_a_retired_kek_in_memory_does_not_bring_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k");
    let older = Keys::create(&path).unwrap();
    let (first, second) = (current(&older), older.add().unwrap());
    older.export(None, &recipient().0, None).unwrap();
    let other = Keys::open(&path).unwrap();
    other.activate(&second).unwrap();
    other.retire(&first).unwrap();
    let third = older.add().unwrap();
    let kept = open(&path).unwrap();
    assert_eq!((keks(&kept), kept.retired()), (vec![&*second, &*third], &[first][..]));
    assert_eq!(older.keyring().info_json(), kept.info_json());
}

#[test]
fn a_kek_that_another_process_made_current_is_not_retired() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k");
    let keys = Keys::create(&path).unwrap();
    let (first, second) = (current(&keys), keys.add().unwrap());
    keys.export(None, &recipient().0, None).unwrap();
    keys.activate(&second).unwrap();
    Keys::open(&path).unwrap().activate(&first).unwrap();
    assert!(keys.retire(&first).unwrap_err().message().contains("is current"));
    assert!(open(&path).unwrap().kek(&first).is_some());
}

#[test]
fn many_that_change_a_keyring_at_once_keep_a_retired_kek_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k");
    let keys = Keys::create(&path).unwrap();
    let (first, second) = (current(&keys), keys.add().unwrap());
    keys.export(None, &recipient().0, None).unwrap();
    keys.activate(&second).unwrap();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (keys, first) = (Keys::open(&path).unwrap(), first.clone());
            scope.spawn(move || {
                if n == 2 {
                    keys.retire(&first).unwrap();
                }
                (0..5).for_each(|_| drop(keys.add().unwrap()));
            });
        }
    });
    let kept = open(&path).unwrap();
    assert_eq!((kept.keks().len(), kept.retired()), (21, &[first][..]));
}

#[test]
fn an_import_leaves_out_what_was_retired_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k");
    let keys = Keys::create(&path).unwrap();
    let (first, (reader, identity)) = (current(&keys), recipient());
    let older = keys.export(None, &reader, None).unwrap();
    let second = keys.add().unwrap();
    let newer = keys.export(None, &reader, None).unwrap();
    keys.activate(&second).unwrap();
    keys.retire(&first).unwrap();
    for escrow in [&older, &newer] {
        let report: serde_json::Value =
            serde_json::from_str(&keys.import(escrow, identity.as_bytes()).unwrap()).unwrap();
        assert_eq!((&report["added"], &report["left_out"]), (&serde_json::json!([]), &serde_json::json!([first])));
    }
    assert_eq!(keks(&open(&path).unwrap()), [&*second]);
    // An escrow that was made since says what was retired.
    let escrow = keys.export(None, &reader, None).unwrap();
    let restored = Keys::restore(Some(&folder.path().join("restored")), &escrow, identity.as_bytes()).unwrap();
    assert_eq!(restored.keyring().info_json(), keys.keyring().info_json());
    let report = restored.import(&older, identity.as_bytes()).unwrap();
    assert!(report.contains(&format!("\"left_out\":[\"{first}\"]")), "{report}");
}

#[test]
fn a_keyring_behind_a_link_is_changed_and_the_link_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (path, link) = (folder.path().join("k"), folder.path().join("link"));
    create(&path).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let id = Keys::open(&link).unwrap().add().unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(open(&path).unwrap().kek(&id).is_some());
}

#[test]
fn a_keyring_in_memory_changes_and_gives_its_bytes() {
    let keys = Keys::in_memory(generate().unwrap());
    let second = keys.add().unwrap();
    keys.export(None, &recipient().0, None).unwrap();
    keys.activate(&second).unwrap();
    let again = Keyring::from_bytes(&keys.to_bytes()).unwrap();
    assert_eq!(again.info_json(), keys.keyring().info_json());
    assert_eq!(again.current_kek().unwrap().id(), second);
}

#[test]
fn an_escrow_file_gives_the_whole_keyring_back_and_says_where_the_vault_is() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Keys::in_memory(generate().unwrap());
    let second = keys.add().unwrap();
    let (reader, identity) = recipient();
    let mut settings = Settings::new();
    let secret = "a-secret-access-key";
    for (key, value) in [("bucket", "backups"), ("access_key", "id"), ("secret_key", secret)] {
        settings.set(key, value).unwrap();
    }
    let file = keys.export(Some(&settings), &reader, None).unwrap();
    assert!(file.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----\n"));

    let path = folder.path().join("k");
    let restored = Keys::restore(Some(&path), &file, identity.as_bytes()).unwrap();
    // The export of a rotation is made before the new KEK becomes current.
    assert_ne!(current(&keys), second);
    keys.activate(&second).unwrap();
    assert_eq!(restored.keyring().info_json(), keys.keyring().info_json());
    assert_eq!(open(&path).unwrap().to_bytes(), keys.to_bytes());
    assert_eq!(Keys::restore(Some(&path), &file, identity.as_bytes()).map(|_| ()).unwrap_err().code(), Code::Keyring);
    let report: serde_json::Value =
        serde_json::from_str(&restored.import(&file, identity.as_bytes()).unwrap()).unwrap();
    assert_eq!((&report["added"], &report["settings"]["bucket"]), (&serde_json::json!([]), &"backups".into()));
    assert_eq!(report["vault_id"], s3vault_core::vault::vault_id(&settings).unwrap());
    assert_eq!(report["verify_keys"][0], keys.keyring().signing_key().public().to_string());
    assert!(!report.to_string().contains(secret), "{report}");
}

#[test]
fn an_import_adds_what_is_missing_and_refuses_another_keyring() {
    let keys = Keys::in_memory(generate().unwrap());
    let copy = Keys::in_memory(Keyring::from_bytes(&keys.to_bytes()).unwrap());
    let second = keys.add().unwrap();
    let (reader, identity) = recipient();
    let file = keys.export(None, &reader, None).unwrap();
    let report: serde_json::Value = serde_json::from_str(&copy.import(&file, identity.as_bytes()).unwrap()).unwrap();
    assert_eq!((&report["added"], &report["vault_id"]), (&serde_json::json!([second]), &serde_json::Value::Null));
    assert!(copy.keyring().keks().iter().all(Kek::is_escrowed));
    assert_ne!(current(&copy), second);
    let e = Keys::in_memory(generate().unwrap()).import(&file, identity.as_bytes()).unwrap_err();
    assert!(
        e.code() == Code::Keyring && e.message().contains("another keyring") && e.hint().contains("new file"),
        "{e:?}"
    );
}

#[test]
fn an_escrow_opens_with_its_passphrase_only_and_a_refusal_shows_no_secret() {
    let keys = Keys::in_memory(generate().unwrap());
    let file = keys.export(None, &Reader::new("passphrase", b"correct horse").unwrap(), None).unwrap();
    assert_eq!(Escrow::open(&file, b"correct horse").unwrap().keyring.keks().len(), 1);
    let (_, identity) = recipient();
    let refusals =
        [(b"wrong horse".as_slice(), "the passphrase is wrong"), (identity.as_bytes(), "an identity was given")];
    for (secret, why) in refusals {
        let e = Escrow::open(&file, secret).unwrap_err();
        assert!(e.code() == Code::Keyring && e.message().contains(why), "{e}");
        assert!(!format!("{e:?}{e}").contains(std::str::from_utf8(secret).unwrap()), "{e:?}");
    }
}

#[test]
fn an_escrow_for_recipients_that_is_damaged_or_not_for_this_identity_is_refused() {
    let keys = Keys::in_memory(generate().unwrap());
    let (reader, identity) = recipient();
    let file = keys.export(None, &reader, None).unwrap();
    let refused = |file: &[u8], secret: &[u8], why: &str| {
        let e = Escrow::open(file, secret).unwrap_err();
        assert!(e.code() == Code::Keyring && e.message().contains(why), "{e}");
        assert!(!format!("{e:?}{e}").contains(&identity), "{e:?}");
    };
    refused(&file, KEYS[1].1.as_bytes(), "none of the identities");
    refused(&file, b"a passphrase", "are not age identities");
    refused(b"hello", identity.as_bytes(), "not an age file");
    refused(b"", identity.as_bytes(), "not an age file");
    for position in [40, file.len() / 2, file.len() - 60] {
        let mut damaged = file.clone();
        damaged[position] = if damaged[position] == b'A' { b'B' } else { b'A' };
        assert_eq!(Escrow::open(&damaged, identity.as_bytes()).unwrap_err().code(), Code::Keyring, "{position}");
    }
    assert_eq!(Escrow::open(&file[..file.len() - 100], identity.as_bytes()).unwrap_err().code(), Code::Keyring);
}

#[test]
fn readers_that_are_wrong_are_refused_and_a_secret_is_not_shown() {
    let (reader, identity) = recipient();
    for (how, secret) in [
        ("passphrase", b"".as_slice()),
        ("passphrase", b"\xff"),
        ("recipients", b"# none\n"),
        ("recipients", b"age1typo"),
        ("recipients", identity.as_bytes()),
        ("other", b"x"),
    ] {
        let e = Reader::new(how, secret).unwrap_err();
        assert_eq!(e.code(), Code::InvalidArgument);
        assert!(!format!("{e:?}{e}").contains(&identity), "{e:?}");
    }
    assert!(!format!("{:?}{reader:?}", Keys::in_memory(generate().unwrap())).contains("seed"));
}
