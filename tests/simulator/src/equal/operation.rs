//! What an operation is for core: its machine, with the versions that it names.

use s3vault_core::crypto::data_key::DataKey;
use s3vault_core::transfer::checkpoint::{Checkpoint, FileIdentity};
use s3vault_core::vault::{Cursor, Find, ListPage, Name, Put, PutRequest, Selector, Vid};

use super::arrival::Storing;
use super::run::{Checked, Run, Work};
use super::sequence::{NAMES, Op, Parent, Scope, Which};
use crate::process::Source;
use crate::task::{Ended, Machine};
use crate::world::START;

impl Run {
    /// Starts an operation.
    pub(super) fn start(&mut self, number: usize, op: Op) -> Checked<()> {
        self.story.push(format!("{number} at {} s: {op:?}", self.time / 1000));
        let (work, machine) = match op {
            Op::Put { name, parent, length, is_file, has_checkpoint } => {
                self.sources += 1;
                let source = Source { number: self.sources, length, is_file };
                let mut entropy = [0; 10];
                entropy[..4].copy_from_slice(&self.sources.wrapping_mul(0x9E37_79B9).to_be_bytes());
                let parent = self.parent(name, parent);
                let is_saved = has_checkpoint;
                let storing = Storing { name, parent, source, entropy, is_saved, ..Storing::default() };
                self.writers[number].process.disk.clear();
                (Work::Put(storing.clone()), self.put(number, &storing)?)
            }
            Op::Resume => {
                let Some((mut storing, disk)) = self.writers[number].killed.take() else { return Ok(()) };
                storing.is_resuming = true;
                // A version that was removed is stored again, under another id.
                storing.stored = storing.stored.filter(|n| !self.reference.versions[*n].is_gone);
                self.writers[number].process.disk = disk;
                (Work::Put(storing.clone()), self.put(number, &storing)?)
            }
            Op::Delete { .. } | Op::Remove { .. } | Op::Undelete { .. } => {
                let outcome = self.stranger(op)?;
                let writer = &mut self.writers[number];
                writer.work = Some(Work::Stranger(outcome));
                writer.result = Some(Ok(Ended::Read));
                return Ok(());
            }
            Op::Own(change) => match self.change(number, change)? {
                Some(started) => started,
                None => return Ok(()),
            },
            Op::Latest { name } => self.find(number, name, Which::Latest)?,
            Op::Version { name, pick } => {
                let own = self.reference.all(name);
                let any = Vid::first_of(START + pick as i64 % 1_000_000);
                let vid = pick.checked_rem(own.len()).map_or(any, |pick| self.reference.versions[own[pick]].vid);
                self.find(number, name, Which::Version(vid))?
            }
            Op::AsOf { name, pick, off_ms } => {
                let at = self.recorded(name, pick) + off_ms;
                self.find(number, name, Which::AsOf(at))?
            }
            Op::Recorded { name, pick, off_ms, tolerance_ms } => {
                let at = self.recorded(name, pick) + off_ms;
                self.find(number, name, Which::Recorded { at, tolerance_ms })?
            }
            Op::List(_) | Op::Containers if self.mode.is_per_vm() => return Ok(()),
            Op::List(scope) => {
                let list = self.list(number, Some(scope), Cursor::default());
                (Work::List { scope: Some(scope), rows: Vec::new() }, list)
            }
            Op::Containers => {
                (Work::List { scope: None, rows: Vec::new() }, self.list(number, None, Cursor::default()))
            }
        };
        if let Work::Put(Storing { source, .. }) = &work {
            self.writers[number].process.source = *source;
        }
        let now = self.now();
        let writer = &mut self.writers[number];
        (writer.writes, writer.requests) = (0, 0);
        writer.work = Some(work);
        writer.result = writer.process.start(now, machine);
        Ok(())
    }

    pub(super) fn find(&self, number: usize, name: usize, which: Which) -> Checked<(Work, Machine)> {
        let selector = match which {
            Which::Latest => Selector::Latest,
            Which::Version(vid) => Selector::Version(vid),
            Which::AsOf(at) => Selector::AsOf(at),
            Which::Recorded { at, tolerance_ms } => Selector::Recorded { at, tolerance_ms },
        };
        let vault = self.writers[number].process.vault.clone();
        let machine = Machine::Find(Find::new(vault, self::name(name), selector, None, self.time));
        Ok((Work::Find { expected: self.reference.find(name, which), found: None }, machine))
    }

    pub(super) fn list(&self, number: usize, scope: Option<Scope>, cursor: Cursor) -> Machine {
        let scope = match scope {
            None => s3vault_core::vault::Scope::Containers,
            Some(Scope::All) => s3vault_core::vault::Scope::All,
            Some(Scope::Container(container)) => s3vault_core::vault::Scope::Container(container.to_owned()),
            Some(Scope::Backup(backup)) => s3vault_core::vault::Scope::Backup(name(backup)),
            Some(Scope::Paths(container, prefix)) => {
                s3vault_core::vault::Scope::Paths { container: container.to_owned(), prefix: prefix.to_owned() }
            }
        };
        Machine::List(ListPage::new(self.writers[number].process.vault.clone(), scope, cursor, self.time))
    }

    pub(super) fn put(&self, number: usize, storing: &Storing) -> Checked<Machine> {
        let process = &self.writers[number].process;
        let checkpoint = match storing.is_saved {
            true => match Checkpoint::parse(&process.disk, &process.vault.checkpoint_key()) {
                Ok((checkpoint, _)) => Some(checkpoint),
                Err(e) => return Err(format!("{number} cannot read its own checkpoint: {e:?}")),
            },
            false => None,
        };
        let Source { number: source, length, is_file } = storing.source;
        let identity =
            FileIdentity { device: 1, inode: u64::from(source), size: length, modified_ns: 0, changed_ns: Some(0) };
        let request = PutRequest {
            name: name(storing.name),
            parent: storing.parent,
            length: is_file.then_some(length),
            source: is_file.then_some(identity),
            live: false,
            labels: Default::default(),
            checkpoint,
            memory: 256 << 20,
            entropy: storing.entropy,
            data_key: DataKey::new([3; 32]),
            seed: self.time,
        };
        let put = Put::new(process.vault.clone(), request).map_err(|e| format!("{number} cannot put: {e:?}"))?;
        Ok(Machine::Put(put))
    }

    pub(super) fn parent(&self, name: usize, parent: Parent) -> Option<Vid> {
        let own = self.reference.all(name);
        let number = match parent {
            Parent::None => None,
            Parent::Newest => self.reference.of(name).first().copied(),
            Parent::Any(pick) => pick.checked_rem(own.len()).map(|pick| own[pick]),
            Parent::Foreign => self.reference.versions.iter().position(|version| version.name != name),
        };
        number.map(|number| self.reference.versions[number].vid)
    }

    /// When some version of this name was recorded; now, if there is none.
    pub(super) fn recorded(&self, name: usize, pick: usize) -> i64 {
        let own = self.reference.all(name);
        let chosen = pick.checked_rem(own.len()).map(|pick| &self.reference.versions[own[pick]]);
        chosen.map_or_else(|| self.clock(), |version| version.recorded_ms)
    }
}

/// The name of this number.
pub(super) fn name(number: usize) -> Name {
    let (container, path) = NAMES[number];
    Name::new(container, path).unwrap_or_else(|e| unreachable!("this name is good: {e}"))
}
