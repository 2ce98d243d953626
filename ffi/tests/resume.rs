//! Resumed puts: a checkpoint finishes a stream or a file in another vault, and belongs to one put alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::fs::Permissions;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use embedded_store::{Options, Server};
use s3vault::{Cancel, Code, Control, Error, Put, Settings, Vault, Version};
use s3vault_core::crypto::keyring::Keyring;
use support::bytes;

struct Rig {
    store: Server,
    keyring: Arc<Keyring>,
    folder: tempfile::TempDir,
}

const MIB: usize = 1 << 20;

fn rig() -> Rig {
    Rig {
        store: Server::start(Options::new("access", "secret").bucket("resume")).unwrap(),
        keyring: Arc::new(s3vault::keyring::generate().unwrap()),
        folder: tempfile::tempdir().unwrap(),
    }
}

impl Rig {
    /// A vault as another process would open it.
    fn vault(&self) -> Vault {
        let settings = support::reaching(&self.store.url(), "resume");
        Vault::open(&settings, Some(self.keyring.clone()), &mut Control::none()).unwrap()
    }

    fn checkpoint(&self) -> PathBuf {
        self.folder.path().join("checkpoint")
    }

    fn options(&self) -> Settings {
        let mut settings = Settings::new();
        settings.set("checkpoint", self.checkpoint().to_str().unwrap()).unwrap();
        settings
    }

    fn open(&self, path: &str) -> Result<Put, Error> {
        self.vault().put("vm", path, &self.options(), &mut Control::none())
    }

    fn fault(&self, json: &str) {
        self.store.fault(serde_json::from_str(json).unwrap()).unwrap();
    }

    fn stored(&self, path: &str) -> Vec<u8> {
        let none = &mut Control::none();
        let version = self.vault().find("vm", path, &Settings::new(), none).unwrap();
        let file = self.folder.path().join("restored");
        version.restore(&file, &Settings::new(), none).unwrap();
        std::fs::read(file).unwrap()
    }

    fn versions(&self, path: &str) -> usize {
        let mut list = self.vault().versions(Some("vm"), Some(path), &Settings::new()).unwrap();
        std::iter::from_fn(|| list.next(&mut Control::none()).unwrap()).count()
    }

    fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join("source");
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// Writes a source from the offset of the put, and commits.
fn write_rest(put: &mut Put, source: &[u8]) -> Result<Version, Error> {
    let none = &mut Control::none();
    put.write(&source[put.offset() as usize..], none)?;
    put.commit(none)
}

#[test]
fn a_stream_that_was_suspended_or_dropped_resumes_in_another_vault() {
    for suspends in [true, false] {
        let rig = rig();
        let data = bytes(40 * MIB);
        let mut put = rig.open("disk").unwrap();
        assert_eq!(put.offset(), 0);
        put.write(&data[..30 * MIB], &mut Control::none()).unwrap();
        // The store has the parts that were full.
        std::thread::sleep(Duration::from_millis(500));
        let cancel = Cancel::new();
        cancel.trigger();
        let mut cancelled = Control { cancel: Some(cancel), ..Control::none() };
        if suspends {
            put.suspend(&mut cancelled).unwrap();
            assert_eq!(put.write(b"x", &mut Control::none()).unwrap_err().code(), Code::Suspended);
            assert_eq!(put.suspend(&mut cancelled).unwrap_err().code(), Code::Suspended);
            // It would not remove the checkpoint.
            assert_eq!(put.abort(&mut Control::none()).unwrap_err().code(), Code::Suspended);
        }
        drop(put);
        let mut put = rig.open("disk").unwrap();
        assert!(put.offset() >= 8 * MIB as u64 && put.offset() <= 30 * MIB as u64, "{}", put.offset());
        let mode = std::fs::metadata(rig.checkpoint()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!String::from_utf8(std::fs::read(rig.checkpoint()).unwrap()).unwrap().contains("secret"));
        write_rest(&mut put, &data).unwrap();
        assert!(!rig.checkpoint().exists(), "the checkpoint of a stored backup still exists");
        assert!(rig.stored("disk") == data);
        assert_eq!(rig.versions("disk"), 1);
    }
}

#[test]
fn an_incomplete_record_is_dropped_and_the_put_resumes() {
    let rig = rig();
    let data = bytes(30 * MIB);
    let mut put = rig.open("disk").unwrap();
    put.write(&data[..25 * MIB], &mut Control::none()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    put.suspend(&mut Control::none()).unwrap();
    let whole = std::fs::read(rig.checkpoint()).unwrap();
    let mut file = std::fs::File::options().append(true).open(rig.checkpoint()).unwrap();
    file.write_all(b"0123456789abcdef {\"record\":\"pa").unwrap();
    let mut put = rig.open("disk").unwrap();
    assert!(put.offset() >= 8 * MIB as u64);
    assert!(std::fs::read(rig.checkpoint()).unwrap().starts_with(&whole));
    assert!(!String::from_utf8(std::fs::read(rig.checkpoint()).unwrap()).unwrap().contains("\"pa{"));
    write_rest(&mut put, &data).unwrap();
    assert!(rig.stored("disk") == data);
}

#[test]
fn a_checkpoint_belongs_to_one_put_at_a_time_and_to_one_backup() {
    let rig = rig();
    let mut put = rig.open("disk").unwrap();
    let e = rig.open("disk").err().unwrap();
    assert_eq!(e.code(), Code::Busy, "{e}");
    assert!(e.message().contains("checkpoint") && !e.hint().is_empty(), "{e:?}");
    put.suspend(&mut Control::none()).unwrap();
    let before = std::fs::read(rig.checkpoint()).unwrap();
    assert_eq!(rig.open("other").err().unwrap().code(), Code::BadCheckpoint);
    assert!(std::fs::read(rig.checkpoint()).unwrap() == before, "another's checkpoint was changed");
    let mut put = rig.open("disk").unwrap();
    put.abort(&mut Control::none()).unwrap();
    assert!(!rig.checkpoint().exists(), "an aborted put left its checkpoint");
}

#[test]
fn a_file_that_is_not_a_checkpoint_is_unchanged() {
    let hash = format!("{}  disk.img\n", "0123456789abcdef".repeat(4));
    let blank = "\0".repeat(1 << 20);
    for content in ["a note without an end", "one line\n", "two\nlines\n", &hash, &blank, "\0", "0123456789abcdef"] {
        let rig = rig();
        private(&rig.checkpoint(), content);
        let e = rig.open("disk").err().unwrap();
        assert_eq!(e.code(), Code::BadCheckpoint, "{content:?}");
        assert!(e.message().contains("it is not a checkpoint") && !e.hint().is_empty(), "{e}");
        assert!(std::fs::read_to_string(rig.checkpoint()).unwrap() == content);
    }
    // An empty file, as mktemp makes it, is a checkpoint without records.
    let rig = rig();
    private(&rig.checkpoint(), "");
    write_rest(&mut rig.open("disk").unwrap(), b"data").unwrap();
    assert!(!rig.checkpoint().exists());
}

/// A file that only its owner can access.
fn private(path: &Path, content: &str) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_checkpoint_that_others_could_have_prepared_is_left_alone() {
    let data = bytes(20 * MIB);
    let make = |rig: &Rig| {
        let mut put = rig.open("disk").unwrap();
        put.write(&data, &mut Control::none()).unwrap();
        put.suspend(&mut Control::none()).unwrap();
        std::fs::read(rig.checkpoint()).unwrap()
    };
    let is_root = nix::unistd::geteuid().is_root();
    type Prepare = fn(&Path);
    let link: Prepare = |path| {
        std::fs::rename(path, path.with_extension("own")).unwrap();
        std::os::unix::fs::symlink(path.with_extension("own"), path).unwrap();
    };
    let name: Prepare = |path| std::fs::hard_link(path, path.with_extension("own")).unwrap();
    let open: Prepare = |path| std::fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap();
    let read: Prepare = |path| std::fs::set_permissions(path, Permissions::from_mode(0o640)).unwrap();
    let theirs: Prepare = |path| std::os::unix::fs::chown(path, Some(65_534), None).unwrap();
    let mut cases = vec![(link, "a symbolic link"), (name, "more than one name"), (open, "0666"), (read, "0640")];
    // Only root can give a file away; for others the last case is one of root's.
    if is_root {
        cases.push((theirs, "belongs to another user (uid 65534"));
    }
    for (prepare, why) in cases {
        let rig = rig();
        let before = make(&rig);
        prepare(&rig.checkpoint());
        let e = rig.open("disk").err().unwrap();
        assert!(e.code() == Code::BadCheckpoint && e.message().contains(why), "{why}: {e}");
        assert!(e.message().ends_with("was left as it is") && e.hint().contains("0600"), "{e}");
        assert!(std::fs::read(rig.checkpoint()).unwrap() == before);
    }
    let rig = rig();
    std::fs::create_dir(rig.checkpoint()).unwrap();
    assert!(rig.open("disk").err().unwrap().message().contains("is a folder"));
    std::fs::remove_dir(rig.checkpoint()).unwrap();
    // A pipe without a reader would be waited for.
    nix::unistd::mkfifo(&rig.checkpoint(), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    assert!(rig.open("disk").err().unwrap().message().contains("is not a regular file"));
}

#[test]
fn a_checkpoint_of_another_keyring_is_left_alone() {
    let mut rig = rig();
    rig.open("disk").unwrap().suspend(&mut Control::none()).unwrap();
    let before = std::fs::read(rig.checkpoint()).unwrap();
    rig.keyring = Arc::new(s3vault::keyring::generate().unwrap());
    let e = rig.open("disk").err().unwrap();
    assert!(e.code() == Code::BadCheckpoint && e.message().contains("another signing key"), "{e}");
    assert!(std::fs::read(rig.checkpoint()).unwrap() == before);
}

#[test]
fn a_failed_put_of_a_file_resumes_with_the_missing_parts() {
    let rig = rig();
    let data = bytes(40 * MIB);
    let path = rig.file(&data);
    let put = || rig.vault().put_file("vm", "disk", &path, &rig.options(), &mut Control::none());
    rig.fault(r#"{"operation": "CompleteMultipartUpload", "answer": {"status": 403, "code": "AccessDenied"}}"#);
    assert_eq!(put().err().unwrap().code(), Code::AccessDenied);
    assert!(rig.checkpoint().exists());
    // The store has every part: none is sent again.
    rig.fault(r#"{"operation": "UploadPart", "times": 100, "answer": {"status": 403, "code": "AccessDenied"}}"#);
    put().unwrap();
    assert!(rig.stored("disk") == data);
    assert!(!rig.checkpoint().exists());
    assert_eq!(rig.versions("disk"), 1);
}

fn grow(path: &Path) {
    std::fs::File::options().append(true).open(path).unwrap().write_all(b"more").unwrap();
}

/// Writes other bytes, and sets the time of modification back.
fn rewrite(path: &Path) {
    let mut file = std::fs::File::options().write(true).open(path).unwrap();
    let times = std::fs::FileTimes::new().set_modified(file.metadata().unwrap().modified().unwrap());
    // Later than the clock tick of the last change.
    std::thread::sleep(Duration::from_millis(50));
    file.write_all(b"other").unwrap();
    file.set_times(times).unwrap();
}

#[test]
fn a_changed_file_does_not_resume() {
    for (change, how) in [(grow as fn(&Path), "size changed"), (rewrite, "ctime")] {
        let rig = rig();
        let path = rig.file(&bytes(20 * MIB));
        let put = || rig.vault().put_file("vm", "disk", &path, &rig.options(), &mut Control::none());
        rig.fault(r#"{"operation": "CompleteMultipartUpload", "answer": {"status": 403, "code": "AccessDenied"}}"#);
        put().err().unwrap();
        change(&path);
        let e = put().err().unwrap();
        assert!(e.code() == Code::SourceChanged && e.message().contains(how), "{how}: {e}");
        assert!(e.hint().contains("Remove the checkpoint") && rig.checkpoint().exists(), "{e:?}");
    }
}

#[test]
fn a_live_file_resumes_although_it_changed() {
    for (operation, skip) in [("CompleteMultipartUpload", 0), ("UploadPart", 1)] {
        let rig = rig();
        let data = bytes(20 * MIB);
        let path = rig.file(&data);
        let mut options = rig.options();
        options.set("source", "live").unwrap();
        let put = |options: &Settings| rig.vault().put_file("vm", "disk", &path, options, &mut Control::none());
        let fault = r#""answer": {"status": 403, "code": "AccessDenied"}"#;
        rig.fault(&format!(r#"{{"operation": "{operation}", "skip": {skip}, {fault}}}"#));
        assert_eq!(put(&options).err().unwrap().code(), Code::AccessDenied);
        rewrite(&path);
        let e = put(&rig.options()).err().unwrap();
        assert!(e.code() == Code::BadCheckpoint && e.hint().contains("Set source = live"), "{e:?}");
        put(&options).unwrap();
        // Only what was not stored yet is read again.
        assert!(rig.stored("disk")[5..] == data[5..] && !rig.checkpoint().exists());
    }
}

#[test]
fn a_descriptor_is_stored_from_the_first_byte_and_its_position_is_unchanged() {
    let rig = rig();
    let data = bytes(9 * MIB);
    let mut file = std::fs::File::open(rig.file(&data)).unwrap();
    file.seek(SeekFrom::Start(1234)).unwrap();
    let none = &mut Control::none();
    rig.vault().put_fd("vm", "disk", file.as_fd(), &Settings::new(), none).unwrap();
    assert_eq!(file.stream_position().unwrap(), 1234);
    assert!(rig.stored("disk") == data);
    assert!(file.metadata().unwrap().size() == data.len() as u64, "the descriptor is still open");
}

/// Stores what a thread writes into a pipe that does not block its reader.
fn put_pipe(rig: &Rig, data: &[u8], control: &mut Control<'_>) -> Result<Version, Error> {
    let (reader, mut writer) = std::os::unix::net::UnixStream::pair().unwrap();
    reader.set_nonblocking(true).unwrap();
    let data = data.to_vec();
    let writing = std::thread::spawn(move || {
        let _ = writer.write_all(&data);
    });
    let stored = rig.vault().put_fd("vm", "disk", reader.as_fd(), &rig.options(), control);
    drop(reader);
    writing.join().unwrap();
    stored
}

#[test]
fn a_pipe_is_written_from_its_start_again_and_the_stored_part_is_skipped() {
    let rig = rig();
    let data = bytes(40 * MIB);
    let (reader, mut writer) = std::os::unix::net::UnixStream::pair().unwrap();
    let first = data[..30 * MIB].to_vec();
    let writing = std::thread::spawn(move || {
        writer.write_all(&first).unwrap();
        writer
    });
    let mut short = Control { timeout: Some(Duration::from_secs(3)), ..Control::none() };
    let stored = rig.vault().put_fd("vm", "disk", reader.as_fd(), &rig.options(), &mut short);
    assert_eq!(stored.err().unwrap().code(), Code::TimedOut);
    drop(writing.join().unwrap());
    // A source that is shorter than what is stored is not the same.
    let e = put_pipe(&rig, &data[..100], &mut Control::none()).err().unwrap();
    assert_eq!(e.code(), Code::SourceChanged, "{e}");
    assert_eq!((rig.versions("disk"), rig.checkpoint().exists()), (0, true));
    put_pipe(&rig, &data, &mut Control::none()).unwrap();
    assert!(rig.stored("disk") == data);
    assert_eq!((rig.versions("disk"), rig.checkpoint().exists()), (1, false));
}

#[test]
fn a_pipe_that_had_ended_is_stored_and_another_length_is_reported() {
    let data = bytes(20 * MIB);
    let longer = [&data[..], b"more"].concat();
    for (source, code) in
        [(&data[..], None), (&data[..100], Some(Code::SourceChanged)), (&longer, Some(Code::SourceChanged))]
    {
        let rig = rig();
        rig.fault(r#"{"operation": "CompleteMultipartUpload", "answer": {"status": 403, "code": "AccessDenied"}}"#);
        assert_eq!(put_pipe(&rig, &data, &mut Control::none()).err().unwrap().code(), Code::AccessDenied);
        assert_eq!(rig.versions("disk"), 0);
        let stored = put_pipe(&rig, source, &mut Control::none());
        assert_eq!(stored.err().map(|e| e.code()), code, "{}", source.len());
        assert_eq!((rig.versions("disk"), rig.checkpoint().exists()), (1, false));
        assert!(rig.stored("disk") == data);
    }
}

#[test]
fn a_silent_pipe_ends_at_the_time_limit_and_its_put_resumes() {
    let rig = rig();
    let (reader, mut writer) = std::os::unix::net::UnixStream::pair().unwrap();
    writer.write_all(b"few").unwrap();
    let mut short = Control { timeout: Some(Duration::from_millis(600)), ..Control::none() };
    let stored = rig.vault().put_fd("vm", "disk", reader.as_fd(), &rig.options(), &mut short);
    assert_eq!(stored.err().unwrap().code(), Code::TimedOut);
    assert_eq!(short.timeout, Some(Duration::from_millis(600)));
    drop(writer);
    put_pipe(&rig, b"few bytes", &mut Control::none()).unwrap();
    assert_eq!(rig.stored("disk"), b"few bytes");
}

#[test]
fn a_stream_that_had_ended_accepts_no_more_bytes_and_is_committed() {
    let rig = rig();
    let data = bytes(20 * MIB);
    let mut put = rig.open("disk").unwrap();
    put.write(&data, &mut Control::none()).unwrap();
    rig.fault(r#"{"operation": "CompleteMultipartUpload", "answer": {"status": 403, "code": "AccessDenied"}}"#);
    assert_eq!(put.commit(&mut Control::none()).err().unwrap().code(), Code::AccessDenied);
    drop(put);
    let done = Mutex::new(0);
    let mut note = |event: &s3vault::Event<'_>| {
        *done.lock().unwrap() = event.done;
        true
    };
    let mut put = rig.open("disk").unwrap();
    assert_eq!(put.offset(), data.len() as u64);
    assert_eq!(put.write(b"x", &mut Control::none()).unwrap_err().code(), Code::WrongState);
    put.commit(&mut Control { on_event: Some(&mut note), ..Control::none() }).unwrap();
    assert_eq!(done.into_inner().unwrap(), data.len() as u64, "bytes of the earlier run count as done");
    assert!(rig.stored("disk") == data);
}

#[test]
fn a_put_with_an_unknown_outcome_can_be_suspended_and_resumed() {
    for operation in ["CompleteMultipartUpload", "PutObject"] {
        let rig = rig();
        let data = bytes(20 * MIB);
        let mut put = rig.open("disk").unwrap();
        put.write(&data, &mut Control::none()).unwrap();
        rig.fault(&format!(r#"{{"operation": "{operation}", "times": 1000, "drop": "after"}}"#));
        if operation == "CompleteMultipartUpload" {
            rig.fault(r#"{"operation": "HeadObject", "times": 1000, "answer": {"status": 503, "code": "SlowDown", "headers": {"retry-after": "100"}}}"#);
        }
        let e = put.commit(&mut Control::none()).err().unwrap();
        assert_eq!(e.code(), Code::OutcomeUnknown, "{operation}: {e:?}");
        assert_eq!(put.abort(&mut Control::none()).unwrap_err().code(), Code::WrongState);
        put.suspend(&mut Control::none()).unwrap();
        rig.store.clear_faults();
        let mut put = rig.open("disk").unwrap_or_else(|e| panic!("{operation}: {e:?}"));
        assert_eq!(put.offset(), data.len() as u64);
        put.commit(&mut Control::none()).unwrap();
        assert_eq!((rig.versions("disk"), rig.checkpoint().exists()), (1, false));
        assert!(rig.stored("disk") == data);
    }
}
