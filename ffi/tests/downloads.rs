//! Restores over broken connections: exact bytes, none requested twice; holes, open files, reads by position.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use embedded_store::{Options, Server};
use s3vault::{Cancel, Code, Control, Error, Settings, Vault, Version};
use support::{bytes, reaching, settings};

const PART: usize = 8 << 20;
const SIZE: usize = 3 * PART + 12_345;
/// Lists, locators and heads of an open and a find, in bytes.
const OTHER: u64 = 64 << 10;

struct Rig {
    store: Server,
    vault: Vault,
    version: Version,
    data: Vec<u8>,
}

fn rig(data: Vec<u8>) -> Rig {
    rig_with(data, "true")
}

/// Whether restores read several parts at once.
fn rig_with(data: Vec<u8>, parallel: &str) -> Rig {
    let store = Server::start(Options::new("access", "secret").bucket("backups")).unwrap();
    let mut settings = reaching(&store.url(), "backups");
    settings.set("idle_timeout_ms", "1000").unwrap();
    settings.set("parallel_download", parallel).unwrap();
    let none = &mut Control::none();
    let vault = Vault::open(&settings, None, none).unwrap();
    let mut put = vault.put("vm", "disk", &Settings::new(), none).unwrap();
    put.write(&data, none).unwrap();
    let version = put.commit(none).unwrap();
    Rig { store, vault, version, data }
}

impl Rig {
    fn fault(&self, json: &str) {
        self.store.fault(serde_json::from_str(json).unwrap()).unwrap();
    }

    /// Breaks ranges in the middle: some at once, some late.
    fn cuts(&self) {
        for (skip, at) in [(0, 1_000_000), (0, 7_000_000), (0, 100), (2, 300_000), (1, 5_555_555), (0, 262_144)] {
            let target = r#""operation": "GetObject", "target": "vm/disk?""#;
            self.fault(&format!(r#"{{{target}, "skip": {skip}, "truncate": {at}}}"#));
        }
    }

    fn out(&self) -> u64 {
        self.store.stats().bytes_out
    }

    fn read(&self, options: &[(&str, &str)]) -> Result<Vec<u8>, Error> {
        let none = &mut Control::none();
        let mut get = self.version.open(&settings(options), none)?;
        let (mut all, mut buffer) = (Vec::new(), vec![0; 100_000]);
        loop {
            match get.read(&mut buffer, none)? {
                0 => return Ok(all),
                count => all.extend_from_slice(&buffer[..count]),
            }
        }
    }

    fn restore(&self, file: &Path, options: &[(&str, &str)]) -> Result<(), Error> {
        self.version.restore(file, &settings(options), &mut Control::none())
    }
}

fn left(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_broken_range_resumes_after_its_last_byte_and_no_byte_is_sent_twice() {
    let rig = rig(bytes(SIZE));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("restored");
    let ways: [(&str, &dyn Fn() -> Vec<u8>); 3] = [
        ("end", &|| rig.read(&[]).unwrap()),
        ("part", &|| rig.read(&[("verify", "part")]).unwrap()),
        ("file", &|| {
            rig.restore(&file, &[]).unwrap();
            std::fs::read(&file).unwrap()
        }),
    ];
    for (name, restored) in ways {
        rig.cuts();
        let before = rig.out();
        assert!(restored() == rig.data, "{name}");
        assert!(rig.store.pending_faults().is_empty(), "{name}: {:?}", rig.store.pending_faults());
        let came = rig.out() - before;
        assert!(came <= SIZE as u64 + OTHER, "{name}: {came} bytes came of {SIZE}");
    }
}

/// A store, or a proxy on the way, that answers each GET of a range with the whole object.
#[test]
fn a_store_that_ignores_ranges_is_read_in_one_request_if_nothing_is_read_in_parallel() {
    let whole = r#"{"operation": "GetObject", "target": "vm/disk?", "times": 1000, "whole": true}"#;
    let cut = r#"{"operation": "GetObject", "target": "vm/disk?", "truncate": 9000000}"#;
    let gets = |rig: &Rig| rig.store.stats().requests["GetObject"];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("restored");
    let rig = rig_with(bytes(SIZE), "false");
    rig.fault(whole);
    let (before, out) = (gets(&rig), rig.out());
    rig.restore(&file, &[]).unwrap();
    assert!(std::fs::read(&file).unwrap() == rig.data);
    // The locator, and the object.
    assert_eq!(gets(&rig), before + 2);
    assert!(rig.out() - out <= SIZE as u64 + OTHER, "{} bytes came of {SIZE}", rig.out() - out);
    for options in [&[][..], &[("verify", "part")]] {
        assert!(rig.read(options).unwrap() == rig.data);
    }
    let random = rig.version.open(&Settings::new(), &mut Control::none()).unwrap().positional();
    let mut buffer = [0; 100];
    for at in [SIZE - 200, 5, PART - 50] {
        assert_eq!(random.read(at as u64, &mut buffer, &mut Control::none()).unwrap(), 100);
        assert!(buffer == rig.data[at..at + 100], "{at}");
    }
    rig.store.clear_faults();
    // The connection breaks in the second part: the store answers with the whole object again.
    rig.fault(cut);
    rig.fault(whole);
    rig.restore(&file, &[]).unwrap();
    assert!(std::fs::read(&file).unwrap() == rig.data);

    let rig = rig_with(bytes(SIZE), "true");
    rig.fault(whole);
    let e = rig.restore(&file, &[]).unwrap_err();
    assert!(e.code() == Code::BadReply && e.hint().contains("parallel_download = false"), "{e:?}");
    let rig = rig_with(bytes(PART / 2), "true");
    rig.fault(whole);
    rig.restore(&file, &[]).unwrap();
    assert!(std::fs::read(&file).unwrap() == rig.data, "an object that is one range");
}

#[test]
fn holes_are_kept_where_the_data_is_zero() {
    let mut data = vec![0; SIZE];
    data[10_000_000..10_100_000].fill(1);
    let rig = rig(data);
    let folder = tempfile::tempdir().unwrap();
    for (holes, is_sparse) in [("false", false), ("true", true)] {
        let file = folder.path().join(holes);
        rig.cuts();
        rig.restore(&file, &[("holes", holes)]).unwrap();
        assert!(std::fs::read(&file).unwrap() == rig.data);
        let allocated = std::fs::metadata(&file).unwrap().blocks() * 512;
        assert_eq!(allocated < 1 << 20, is_sparse, "holes = {holes}: {allocated} bytes are allocated");
        rig.store.clear_faults();
    }
}

#[test]
fn after_a_lost_connection_or_a_cancel_the_next_restore_reads_only_the_missing_parts() {
    for cancelled in [false, true] {
        let came = read_again(cancelled);
        let less = (SIZE - PART) as u64 + OTHER;
        assert!(came < less, "cancelled {cancelled}: {came} bytes came again");
    }
}

/// A restore that ends early, and another one: how many bytes the second read.
fn read_again(cancelled: bool) -> u64 {
    // One after the other: the first part has arrived before the second is requested.
    let rig = rig_with(bytes(SIZE), "false");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("restored");
    let target = r#""operation": "GetObject", "target": "vm/disk?""#;
    let effect = if cancelled { r#""stall": 1000000"# } else { r#""truncate": 0"# };
    rig.fault(&format!(r#"{{{target}, "skip": 1, "times": 1000, {effect}}}"#));
    let cancel = Cancel::new();
    let trigger = cancel.clone();
    let mut on_event = |event: &s3vault::Event<'_>| {
        if event.parts > 0 && cancelled {
            trigger.trigger();
        }
        true
    };
    let mut control = Control { cancel: Some(cancel), on_event: Some(&mut on_event), ..Control::none() };
    let ended = rig.version.restore(&file, &Settings::new(), &mut control);
    let e = ended.expect_err(if cancelled { "it was cancelled" } else { "the line failed" });
    let code = if cancelled { Code::Cancelled } else { Code::ConnectionLost };
    assert_eq!(e.code(), code, "{e:?}");
    assert_eq!(e.hint().starts_with("Make the same call again to resume: the parts"), cancelled, "{}", e.hint());
    assert!(left(folder.path()).iter().all(|name| name.ends_with(".restoring")), "{:?}", left(folder.path()));
    assert_eq!(left(folder.path()).len(), 1);
    rig.store.clear_faults();
    let before = rig.out();
    rig.restore(&file, &[]).unwrap();
    assert!(std::fs::read(&file).unwrap() == rig.data);
    assert_eq!(left(folder.path()), ["restored"]);
    rig.out() - before
}

#[test]
fn an_open_file_is_written_from_its_start_and_a_pipe_in_order() {
    let rig = rig(bytes(SIZE));
    let none = &mut Control::none();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&vec![7; SIZE + 1000]).unwrap();
    for options in [&[][..], &[("holes", "true")]] {
        rig.version.restore_fd(file.as_file().as_fd(), &settings(options), none).unwrap();
        assert!(std::fs::read(file.path()).unwrap() == rig.data);
    }
    let appending = File::options().append(true).open(file.path()).unwrap();
    let e = rig.version.restore_fd(appending.as_fd(), &Settings::new(), none).unwrap_err();
    assert!(e.code() == Code::InvalidArgument && e.message().contains("appending"), "{e}");
    assert!(std::fs::read(file.path()).unwrap() == rig.data, "it is unchanged");

    for options in [&[][..], &[("verify", "part")]] {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all)
        });
        rig.version.restore_fd(writer.as_fd(), &settings(options), none).unwrap();
        drop(writer);
        assert!(reading.join().unwrap().unwrap() == rig.data);
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let e = rig.version.restore_fd(writer.as_fd(), &Settings::new(), none).unwrap_err();
    assert_eq!(e.code(), Code::Io, "a reader that is gone raises no signal: {e}");
}

#[test]
fn a_named_pipe_is_waited_for_until_its_other_end_is_opened_or_the_call_ends() {
    let rig = rig(bytes(SIZE));
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let soon = || Control { timeout: Some(Duration::from_millis(100)), ..Control::none() };
    let e = rig.version.restore(&pipe, &Settings::new(), &mut soon()).unwrap_err();
    assert_eq!(e.code(), Code::TimedOut, "nobody reads: {e:?}");
    let e = rig.vault.put_file("vm", "other", &pipe, &Settings::new(), &mut soon()).err().unwrap();
    assert_eq!(e.code(), Code::TimedOut, "nobody writes: {e:?}");

    std::thread::scope(|scope| {
        let reading = scope.spawn(|| std::fs::read(&pipe).unwrap());
        rig.restore(&pipe, &[]).unwrap();
        assert!(reading.join().unwrap() == rig.data);
        scope.spawn(|| std::fs::write(&pipe, &rig.data).unwrap());
        let version = rig.vault.put_file("vm", "other", &pipe, &Settings::new(), &mut Control::none()).unwrap();
        assert_eq!(version.row().bytes, SIZE as u64);
    });
}

#[test]
fn several_threads_read_at_any_position() {
    let rig = rig(bytes(SIZE));
    let none = &mut Control::none();
    for verify in ["end", "part"] {
        let random = rig.version.open(&settings(&[("verify", verify)]), none).unwrap().positional();
        let read = |offset: u64, length: usize| {
            let mut buffer = vec![0; length];
            let count = random.read(offset, &mut buffer, &mut Control::none()).unwrap();
            buffer.truncate(count);
            buffer
        };
        let (read, data) = (&read, &rig.data);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for n in 0..4 {
                        let (offset, length) = ((thread * 7 + n) * 899_999 % SIZE, 50_000 + n);
                        let end = (offset + length).min(data.len());
                        assert!(read(offset as u64, length) == data[offset..end], "{verify}: {offset}");
                    }
                });
            }
        });
        let across = PART - 10;
        assert!(read(across as u64, PART + 20) == rig.data[across..across + PART + 20], "{verify}");
        assert_eq!(read(SIZE as u64 - 3, 10), rig.data[SIZE - 3..], "{verify}");
        assert_eq!((read(SIZE as u64, 10), read(u64::MAX, 10), read(5, 0)), (vec![], vec![], vec![]));

        let gets = || rig.store.stats().requests["GetObject"];
        read(0, 1);
        let before = (gets(), rig.out());
        assert_eq!(read(5, 10), rig.data[5..15]);
        let after = if verify == "part" { before } else { (before.0 + 1, before.1 + 10) };
        assert_eq!((gets(), rig.out()), after, "{verify}: the last part is kept, and only the bytes are requested");
    }
}

#[test]
fn verified_reads_detect_damage() {
    let rig = rig(bytes(SIZE));
    let none = &mut Control::none();
    let part = rig.version.open(&settings(&[("verify", "part")]), none).unwrap().positional();
    let end = rig.version.open(&Settings::new(), none).unwrap().positional();
    let flip = r#"{"bucket": "backups", "key": "vm/disk", "offset": 9000000}"#;
    let address = rig.store.url().replace("http://", "");
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    let length = flip.len();
    let head = "connection: close\r\ncontent-length:";
    write!(stream, "POST /_embedded/damage HTTP/1.1\r\nhost: {address}\r\n{head} {length}\r\n\r\n{flip}").unwrap();
    stream.read_to_string(&mut String::new()).unwrap();
    let mut buffer = [0; 10];
    end.read(8_999_999, &mut buffer, none).unwrap();
    assert_ne!(buffer, rig.data[8_999_999..9_000_009]);
    assert_eq!(part.read(PART as u64, &mut buffer, none).unwrap_err().code(), Code::Damaged);
    part.read(0, &mut buffer, none).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let e = rig.restore(&folder.path().join("restored"), &[]).unwrap_err();
    assert_eq!(e.code(), Code::Damaged);
    assert!(left(folder.path()).is_empty(), "another restore would not help");
}

/// The partial file of the rig's version for a file of this name.
fn partial(rig: &Rig, file: &Path) -> std::path::PathBuf {
    let name = file.file_name().unwrap().to_str().unwrap();
    file.with_file_name(format!(".{name}.{}.restoring", rig.version.row().vid))
}

#[test]
fn a_partial_file_that_others_could_have_prepared_is_left_alone() {
    type Prepare = fn(&Path, &Path);
    let link: Prepare = |path, victim| std::os::unix::fs::symlink(victim, path).unwrap();
    let name: Prepare = |path, victim| std::fs::hard_link(victim, path).unwrap();
    let open: Prepare = |path, _| {
        std::fs::write(path, "").unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap();
    };
    let theirs: Prepare = |path, _| {
        std::fs::write(path, "").unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(path, Some(65_534), None).unwrap();
    };
    let mut cases = vec![(link, "a symbolic link"), (name, "more than one name"), (open, "mode 0666")];
    // Only root can give a file away.
    if nix::unistd::geteuid().is_root() {
        cases.push((theirs, "belongs to another user"));
    }
    let rig = rig(bytes(1 << 20));
    for (prepare, why) in cases {
        let folder = tempfile::tempdir().unwrap();
        let (file, victim) = (folder.path().join("restored"), folder.path().join("victim"));
        std::fs::write(&victim, "mine").unwrap();
        std::fs::set_permissions(&victim, Permissions::from_mode(0o600)).unwrap();
        prepare(&partial(&rig, &file), &victim);
        let e = rig.restore(&file, &[]).unwrap_err();
        assert!(e.code() == Code::Io && e.message().contains(why) && e.hint().contains("Remove it"), "{why}: {e}");
        assert!(!file.exists() && std::fs::read_to_string(&victim).unwrap() == "mine", "{why}");
        assert!(std::fs::symlink_metadata(partial(&rig, &file)).is_ok(), "{why}: it was removed");
    }
}

#[test]
fn a_file_is_private_until_it_is_verified_and_then_has_the_mode_of_the_one_before() {
    let rig = rig_with(bytes(SIZE), "false");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("restored");
    let mode = |path: &Path| std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
    let (during, own) = (std::sync::Mutex::new(None), partial(&rig, &file));
    let mut on_event = |_: &s3vault::Event<'_>| {
        if own.exists() {
            during.lock().unwrap().get_or_insert(mode(&own));
        }
        true
    };
    let mut control = Control { on_event: Some(&mut on_event), ..Control::none() };
    rig.version.restore(&file, &Settings::new(), &mut control).unwrap();
    assert_eq!(*during.lock().unwrap(), Some(0o600));
    let new = folder.path().join("new");
    std::fs::write(&new, "").unwrap();
    assert_eq!(mode(&file), mode(&new), "as any new file");
    for before in [0o600, 0o640, 0o755] {
        std::fs::set_permissions(&file, Permissions::from_mode(before)).unwrap();
        rig.restore(&file, &[]).unwrap();
        assert_eq!(mode(&file), before);
    }
}

#[test]
fn a_part_that_is_read_again_leaves_no_damaged_byte_where_its_data_is_zero() {
    let mut data = vec![0; SIZE];
    data[10_000_000..10_100_000].fill(1);
    let rig = rig(data);
    let folder = tempfile::tempdir().unwrap();
    for holes in ["true", "false"] {
        let file = folder.path().join(holes);
        // Bytes of the first and the second part arrive changed, once.
        for skip in [0, 1] {
            rig.fault(&format!(
                r#"{{"operation": "GetObject", "target": "vm/disk?", "skip": {skip}, "flip": 4000000}}"#
            ));
        }
        rig.restore(&file, &[("holes", holes)]).unwrap();
        assert!(rig.store.pending_faults().is_empty(), "{:?}", rig.store.pending_faults());
        assert!(std::fs::read(&file).unwrap() == rig.data, "holes = {holes}");
    }
}

#[test]
fn a_resumed_restore_leaves_no_damaged_byte_of_the_one_before() {
    let mut data = vec![0; SIZE];
    data[..PART].fill(1);
    let rig = rig_with(data, "false");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("restored");
    let target = r#""operation": "GetObject", "target": "vm/disk?""#;
    // The second part arrives changed; when it is read again, the connection is lost.
    rig.fault(&format!(r#"{{{target}, "skip": 1, "flip": 4000000}}"#));
    rig.fault(&format!(r#"{{{target}, "skip": 1, "times": 1000, "truncate": 0}}"#));
    rig.restore(&file, &[("holes", "true")]).unwrap_err();
    let own = std::fs::read(partial(&rig, &file)).unwrap();
    assert_eq!(own[PART + 4_000_000], 1, "the changed byte is in the partial file");
    rig.store.clear_faults();
    rig.restore(&file, &[("holes", "true")]).unwrap();
    assert!(std::fs::read(&file).unwrap() == rig.data);
}
