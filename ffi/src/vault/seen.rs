//! The newest versions that this machine has seen. Signatures prove that a version is genuine, not that it is the newest: a
//! store, or a client that can write to it, may remove rows and so show an older one. A vault with a `seen` file notes the
//! newest version of each backup that it stores or finds, and fails when an older one is shown as the newest.
//!
//! A version that was deleted is no longer the newest. While its marker is there, the marker proves that; a deletion by this
//! machine is noted, since nothing in the store tells of it once its space is freed.
//!
//! The file has a line of JSON for each note; the last one of a backup counts. Lines are appended; when most of them are
//! outdated, the file is written again without those. It is locked while it is read or written.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use s3vault_core::time::rfc3339;
use s3vault_core::vault::{Find, Found, Name, Selector, Vid};
use s3vault_core::{Code, Error, Result};
use serde::{Deserialize, Serialize};

use super::Vault;
use crate::control::{Control, Event, EventKind};
use crate::disk::{self, NotOpened, PrivateFile};
use crate::{driver, entropy};

/// How long to wait while another process reads or writes the file.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// Maximum size of the file in bytes: about 200,000 backups. Beyond it, the oldest notes are dropped.
const LARGEST: u64 = 64 << 20;
/// The file is written again if its outdated lines have at least this many bytes, and more than the others.
const OUTDATED: usize = 64 << 10;

/// A backup's newest version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    vault: String,
    container: String,
    path: String,
    vid: String,
    /// Hash of its manifest.
    manifest: String,
    /// This machine deleted it, or freed it after its marker was verified.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
}

impl Note {
    /// Whether this version is newer than that of the other note: a version id of a later time is less.
    fn is_newer_than(&self, other: &Note) -> bool {
        self.vid < other.vid
    }

    fn is_of(&self, other: &Note) -> bool {
        (&self.vault, &self.container, &self.path) == (&other.vault, &other.container, &other.path)
    }
}

/// A version that was deleted: container, path and version id.
type Gone = (String, String, String);

/// Deleted versions that are noted together: the file is read each time.
const TOGETHER: usize = 10_000;

/// The file.
#[derive(Clone, Debug)]
pub(super) struct SeenFile(PathBuf);

impl SeenFile {
    pub(super) fn new(path: &str) -> SeenFile {
        SeenFile(PathBuf::from(path))
    }

    /// The note about the same backup.
    fn noted(&self, about: &Note, control: &mut Control<'_>) -> Result<Option<Note>> {
        let (path, about) = (self.0.clone(), about.clone());
        driver::blocking(move |stop| Notes::open(&path, stop).map(|mut notes| notes.take(&about)), control)?
    }

    /// Notes that these versions were deleted, as far as they are noted: container, path and version id.
    fn deleted(&self, vault: &str, gone: Vec<Gone>) -> Result<()> {
        let (path, vault) = (self.0.clone(), vault.to_owned());
        // What has happened is noted, also if the caller has stopped the call.
        let work = move |stop: &AtomicBool| Notes::open(&path, stop)?.mark_deleted(&path, &vault, &gone);
        driver::blocking(work, &mut Control::none())?
    }

    /// Notes a version, unless a newer one is noted already. `replaces` is one that was newer and is deleted.
    fn note(&self, note: Note, replaces: Option<Note>, control: &mut Control<'_>) -> Result<()> {
        let path = self.0.clone();
        driver::blocking(move |stop| Notes::open(&path, stop)?.add(&path, note, replaces.as_ref()), control)?
    }
}

impl Vault {
    fn note_of(&self, name: &Name, found: &Found) -> Note {
        Note {
            vault: self.0.vault.id().to_owned(),
            container: name.container().to_owned(),
            path: name.path().to_owned(),
            vid: found.row.vid.clone(),
            manifest: found.row.manifest_hash.clone().unwrap_or_default(),
            deleted: false,
        }
    }

    /// Notes that versions were deleted. They are, whether or not it can be noted.
    pub(super) fn note_deleted(&self, gone: Vec<Gone>, control: &mut Control<'_>) {
        let Some(seen) = self.0.seen.as_ref().filter(|_| !gone.is_empty()) else { return };
        if let Err(e) = seen.deleted(self.0.vault.id(), gone) {
            let _ = control.log(&format!("versions were deleted, but that could not be noted: {e}"));
        }
    }

    /// Runs a job, and notes what its items say was deleted or freed.
    pub(super) fn noting_deletions<T>(
        &self,
        control: &mut Control<'_>,
        job: impl FnOnce(&mut Control<'_>) -> Result<T>,
    ) -> Result<T> {
        if self.0.seen.is_none() {
            return job(control);
        }
        let (mut gone, mut outer) = (Vec::new(), control.on_event.take());
        let mut on_event = |event: &Event<'_>| {
            gone.extend(event.text.filter(|_| event.kind == EventKind::Item).and_then(deleted_by));
            if gone.len() >= TOGETHER {
                self.note_deleted(std::mem::take(&mut gone), &mut Control::none());
            }
            outer.as_mut().is_none_or(|outer| outer(event))
        };
        let mut inner = Control {
            on_event: Some(&mut on_event),
            cancel: control.cancel.clone(),
            timeout: control.timeout,
            in_progress: control.in_progress,
        };
        let result = job(&mut inner);
        control.in_progress = inner.in_progress;
        control.on_event = outer;
        self.note_deleted(gone, control);
        result
    }

    /// Notes a version that was stored. The put has succeeded, whether or not it can be noted.
    pub(super) fn note_seen(&self, found: &Found, control: &mut Control<'_>) {
        let Some(seen) = &self.0.seen else { return };
        let noted = Name::new(&found.row.container, &found.row.path)
            .and_then(|name| seen.note(self.note_of(&name, found), None, control));
        if let Err(e) = noted {
            // Nothing else can be done with a callback that wants to stop now.
            let _ = control.log(&format!("the version is stored, but could not be noted as seen: {e}"));
        }
    }

    /// Compares what was found as the newest version with the newest that was seen, and notes it.
    pub(super) fn check_seen(&self, name: &Name, found: Result<Found>, control: &mut Control<'_>) -> Result<Found> {
        let Some(seen) = &self.0.seen else { return found };
        let vid = |found: &Found| self.note_of(name, found);
        let own = match &found {
            Ok(found) => vid(found),
            Err(e) if e.code() == Code::NotFound => {
                let (vault, container, path) =
                    (self.0.vault.id().to_owned(), name.container().to_owned(), name.path().to_owned());
                let about =
                    Note { vault, container, path, vid: String::new(), manifest: String::new(), deleted: false };
                let noted = seen.noted(&about, control)?.filter(|note| !note.deleted);
                return found.map_err(|e| match noted {
                    Some(note) => e.append(&format!("; the newest version that this machine has seen is {}", note.vid)),
                    None => e,
                });
            }
            Err(_) => return found,
        };
        let Some(noted) = seen.noted(&own, control)? else {
            seen.note(own, None, control)?;
            return found;
        };
        if own == noted {
            return found;
        }
        if own.is_newer_than(&noted) {
            seen.note(own, None, control)?;
            return found;
        }
        if own.vid == noted.vid {
            if own.manifest == noted.manifest {
                return found;
            }
            let why = format!(
                "the manifest of version {} has the hash {}, but this machine has seen it with the hash {}",
                own.vid, own.manifest, noted.manifest
            );
            return Err(rolled_back(why, &seen.removed_hint()));
        }
        if noted.deleted {
            seen.note(own, Some(noted), control)?;
            return found;
        }
        let find = |which| Ok::<_, Error>(Find::new(self.0.vault.clone(), name.clone(), which, None, entropy::seed()?));
        let host = &self.0.client.host;
        match driver::run(host, find(Selector::Version(Vid::parse(&noted.vid)?))?, control) {
            // A verified marker hides it.
            Err(e) if e.code() == Code::NotFound && e.key().ends_with(".-d") => {
                seen.note(own, Some(noted), control)?;
                found
            }
            Err(e) if e.code() != Code::NotFound => Err(e),
            // It may have been stored by another process after the first look.
            answer => match answer.and_then(|_| driver::run(host, find(Selector::Latest)?, control)) {
                Ok(again) if !noted.is_newer_than(&vid(&again)) => Ok(again),
                _ => {
                    let recorded = found.as_ref().map(|found| rfc3339(found.row.recorded_ms)).unwrap_or_default();
                    let why = format!(
                        "the newest version of {} {} is {}, recorded at {recorded}, but this machine has seen {}, which is newer and not deleted",
                        name.container(),
                        name.path(),
                        own.vid,
                        noted.vid
                    );
                    Err(rolled_back(why, &seen.deleted_hint()))
                }
            },
        }
    }
}

impl SeenFile {
    /// What to do if a version was replaced.
    fn removed_hint(&self) -> String {
        format!(
            "Do not trust the store's state: somebody without the vault's key replaced a version. To restore an older one all the same, set version or as_of. If you replaced it yourself, remove its line from {}.",
            self.0.display()
        )
    }

    /// What to do if a version is gone.
    fn deleted_hint(&self) -> String {
        format!(
            "Find out whether another machine has deleted the newer version: after a prune or a sweep has freed it, nothing in the store tells of that. If so, remove its line from {}. If not, do not trust the store's state: somebody without the vault's key removed the version. To restore an older one all the same, set version or as_of.",
            self.0.display()
        )
    }
}

fn rolled_back(why: String, hint: &str) -> Error {
    Error::new(Code::RolledBack, why).with_hint(hint)
}

/// The version that an item of a job says was deleted or freed.
fn deleted_by(item: &str) -> Option<Gone> {
    #[derive(Deserialize)]
    struct Item {
        action: String,
        dry_run: bool,
        container: String,
        path: String,
        vid: Option<String>,
    }
    let item: Item = serde_json::from_str(item).ok()?;
    let is_gone = matches!(&*item.action, "delete" | "free") && !item.dry_run;
    Some((item.container, item.path, item.vid?)).filter(|_| is_gone)
}

/// The open file and its notes.
struct Notes {
    file: File,
    /// In the order of the file, without those that a later one replaces.
    notes: Vec<Note>,
    /// Length of the file in bytes.
    length: usize,
    /// Whether its last line is incomplete: a writer was killed.
    is_torn: bool,
}

impl Notes {
    fn open(path: &Path, stop: &AtomicBool) -> Result<Notes> {
        let PrivateFile { mut file, is_new } =
            disk::open_private(path, LOCK_WAIT, stop).map_err(|e| not_opened(path, e))?;
        if is_new {
            disk::sync_name(path).map_err(|e| failed("create", path, &e))?;
        }
        let mut bytes = Vec::new();
        (&mut file).take(2 * LARGEST).read_to_end(&mut bytes).map_err(|e| failed("read", path, &e))?;
        let mut newest: HashMap<(String, String, String), usize> = HashMap::new();
        let mut notes: Vec<Option<Note>> = Vec::new();
        for line in bytes.split(|byte| *byte == b'\n') {
            // An incomplete line says nothing.
            let Ok(note) = serde_json::from_slice::<Note>(line) else { continue };
            let key = (note.vault.clone(), note.container.clone(), note.path.clone());
            if let Some(before) = newest.insert(key, notes.len()) {
                notes[before] = None;
            }
            notes.push(Some(note));
        }
        let is_torn = bytes.last().is_some_and(|byte| *byte != b'\n');
        Ok(Notes { file, notes: notes.into_iter().flatten().collect(), length: bytes.len(), is_torn })
    }

    fn take(&mut self, about: &Note) -> Option<Note> {
        let at = self.notes.iter().position(|note| note.is_of(about))?;
        Some(self.notes.swap_remove(at))
    }

    /// Marks the notes of versions that were deleted.
    fn mark_deleted(mut self, path: &Path, vault: &str, gone: &[Gone]) -> Result<()> {
        let gone: HashSet<(&str, &str, &str)> =
            gone.iter().map(|(container, path, vid)| (&**container, &**path, &**vid)).collect();
        let mut text = if self.is_torn { vec![b'\n'] } else { Vec::new() };
        let is_gone = |note: &Note| note.vault == vault && gone.contains(&(&*note.container, &*note.path, &*note.vid));
        for note in self.notes.iter_mut().filter(|note| !note.deleted && is_gone(note)) {
            note.deleted = true;
            text.extend(line(note)?);
        }
        if text.len() <= 1 {
            return Ok(());
        }
        self.append(&text).map_err(|e| failed("write", path, &e))
    }

    fn add(mut self, path: &Path, note: Note, replaces: Option<&Note>) -> Result<()> {
        let at = self.notes.iter().position(|before| before.is_of(&note));
        if let Some(before) = at.map(|at| &self.notes[at]) {
            let is_known = *before == note || (before.is_newer_than(&note) && Some(before) != replaces);
            if is_known {
                return Ok(());
            }
        }
        at.map(|at| self.notes.remove(at));
        let line = line(&note)?;
        self.notes.push(note);
        let lines = self.notes.iter().map(line_length).sum::<usize>();
        let outdated = (self.length + line.len()).saturating_sub(lines);
        if (outdated >= OUTDATED && outdated > lines) || self.length as u64 > LARGEST {
            return self.write_again(path).map_err(|e| failed("write", path, &e));
        }
        let text = [if self.is_torn { &b"\n"[..] } else { b"" }, &line].concat();
        self.append(&text).map_err(|e| failed("write", path, &e))
    }

    fn append(&mut self, text: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::End(0))?;
        self.file.write_all(text)?;
        disk::sync_data(&self.file)
    }

    /// Writes the file again under another name and gives it its own: the notes are there before and after.
    fn write_again(&self, path: &Path) -> io::Result<()> {
        let suffix = "new";
        let prefix = disk::draft_prefix(path, suffix.len())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path does not name a file"))?;
        let draft = path.with_file_name(prefix + suffix);
        // Left by a process that was killed. Nobody else writes one: the file is locked.
        let _ = fs::remove_file(&draft);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        let (mut lines, mut length) = (Vec::new(), 0);
        for note in self.notes.iter().rev() {
            let line = line(note).map_err(io::Error::other)?;
            length += line.len() as u64;
            if length > LARGEST / 2 {
                break;
            }
            lines.push(line);
        }
        lines.reverse();
        let written = file.write_all(&lines.concat()).and_then(|()| disk::sync_data(&file));
        written.and_then(|()| fs::rename(&draft, path)).and_then(|()| disk::sync_name(path)).inspect_err(|_| {
            let _ = fs::remove_file(&draft);
        })
    }
}

fn line(note: &Note) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(note).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
    line.push(b'\n');
    Ok(line)
}

/// About how long the line of a note is, in bytes.
fn line_length(note: &Note) -> usize {
    note.vault.len() + note.container.len() + note.path.len() + note.vid.len() + note.manifest.len() + 57
}

fn not_opened(path: &Path, why: NotOpened) -> Error {
    let shown = path.display();
    match why {
        NotOpened::Io(what, e) => failed(what, path, &e),
        NotOpened::Locked => Error::new(Code::Busy, format!("another process is using the file of seen versions {shown}"))
            .with_hint("Try again later."),
        NotOpened::Unprotected(why) => Error::new(Code::Io, format!("the file of seen versions {shown} {why}"))
            .with_hint("Put it on a local disk."),
        NotOpened::NotPrivate(why) => {
            Error::new(Code::Io, format!("the file of seen versions {shown} {why}, and was left as it is"))
                .with_hint("Set seen to a file in a folder that only you can write to, with mode 0600; it is created if it does not exist.")
        }
    }
}

fn failed(what: &str, path: &Path, e: &io::Error) -> Error {
    disk::refused(format_args!("cannot {what} the file of seen versions {}", path.display()), e)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("s3vault-seen-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        folder
    }

    fn note(path: usize, vid: &str) -> Note {
        let text = |text: &str| text.to_owned();
        let path = format!("disk{path}");
        let (manifest, deleted) = ("0".repeat(64), false);
        Note { vault: text("v"), container: text("vm"), path, vid: text(vid), manifest, deleted }
    }

    fn open(path: &Path) -> Notes {
        Notes::open(path, &AtomicBool::new(false)).unwrap()
    }

    fn add(path: &Path, note: Note, replaces: Option<&Note>) {
        open(path).add(path, note, replaces).unwrap();
    }

    #[test]
    fn the_newest_version_of_each_backup_is_noted() {
        let folder = folder("newest");
        let path = folder.join("seen");
        add(&path, note(1, "5"), None);
        add(&path, note(2, "7"), None);
        add(&path, note(1, "3"), None);
        add(&path, note(1, "4"), None);
        assert_eq!(open(&path).take(&note(1, "")), Some(note(1, "3")));
        assert_eq!(open(&path).take(&note(2, "")), Some(note(2, "7")));
        assert_eq!(open(&path).take(&note(3, "")), None);
        // One that is deleted is replaced by an older one, but only that one.
        add(&path, note(1, "4"), Some(&note(1, "2")));
        assert_eq!(open(&path).take(&note(1, "")), Some(note(1, "3")));
        add(&path, note(1, "4"), Some(&note(1, "3")));
        assert_eq!(open(&path).take(&note(1, "")), Some(note(1, "4")));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_version_that_was_deleted_is_noted_as_such() {
        let folder = folder("deleted");
        let path = folder.join("seen");
        add(&path, note(1, "5"), None);
        add(&path, note(2, "7"), None);
        let gone = |path: &str, vid: &str| ("vm".to_owned(), path.to_owned(), vid.to_owned());
        // Of another vault, another version, and one that is not noted.
        open(&path).mark_deleted(&path, "w", &[gone("disk1", "5")]).unwrap();
        open(&path).mark_deleted(&path, "v", &[gone("disk1", "6"), gone("disk3", "1")]).unwrap();
        assert_eq!(open(&path).take(&note(1, "")), Some(note(1, "5")));
        open(&path).mark_deleted(&path, "v", &[gone("disk1", "5")]).unwrap();
        let deleted = Note { deleted: true, ..note(1, "5") };
        assert_eq!(open(&path).take(&note(1, "")), Some(deleted.clone()));
        assert_eq!(open(&path).take(&note(2, "")), Some(note(2, "7")));
        add(&path, note(1, "6"), Some(&deleted));
        assert_eq!(open(&path).take(&note(1, "")), Some(note(1, "6")), "an older one replaces it");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_line_that_was_cut_costs_no_other() {
        let folder = folder("torn");
        let path = folder.join("seen");
        add(&path, note(1, "5"), None);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"vault\":\"v\",\"cont").unwrap();
        drop(file);
        add(&path, note(2, "5"), None);
        assert_eq!(open(&path).take(&note(1, "")), Some(note(1, "5")));
        assert_eq!(open(&path).take(&note(2, "")), Some(note(2, "5")));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_of_outdated_notes_is_written_again_and_stays_small() {
        let folder = folder("again");
        let path = folder.join("seen");
        for n in (1_000..3_000).rev() {
            add(&path, note(n % 2, &n.to_string()), None);
        }
        let found = fs::metadata(&path).unwrap();
        assert!(found.len() < 80 << 10 && found.mode() & 0o777 == 0o600, "{} bytes", found.len());
        assert_eq!(open(&path).take(&note(0, "")), Some(note(0, "1000")));
        assert_eq!(open(&path).take(&note(1, "")), Some(note(1, "1001")));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "a draft was left");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn many_writers_lose_no_note() {
        let folder = folder("many");
        let path = folder.join("seen");
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let path = &path;
                scope.spawn(move || (0..20).for_each(|n| add(path, note(100 * thread + n, "5"), None)));
            }
        });
        assert_eq!(open(&path).notes.len(), 80);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_others_can_read_is_left_as_it_is() {
        let folder = folder("mode");
        let path = folder.join("seen");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        let e = Notes::open(&path, &AtomicBool::new(false)).err().unwrap();
        assert!(e.code() == Code::Io && e.message().contains("can be accessed by other users"), "{e}");
        fs::remove_dir_all(folder).unwrap();
    }
}
