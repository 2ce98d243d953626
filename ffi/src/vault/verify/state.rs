//! The file that records which versions are verified, so that a run that was stopped continues: a line of JSON that says
//! what is verified, and one for each version. A line is appended with one write, and an incomplete last line is ignored.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use s3vault_core::vault::{Row, Verdict, Verified};
use s3vault_core::{Code, Error, Result};
use serde::{Deserialize, Serialize};

use crate::disk;

/// What is verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) vault: String,
    pub(super) container: String,
    pub(super) path: String,
    pub(super) sample: u64,
    pub(super) sample_seed: u64,
}

#[derive(Serialize, Deserialize)]
struct Head {
    s3vault: String,
    #[serde(flatten)]
    plan: Plan,
}

/// A version that is done.
#[derive(Serialize, Deserialize)]
struct Done {
    container: String,
    path: String,
    vid: String,
    verdict: String,
    bytes: u64,
    parts: u64,
    reason: String,
}

const FORM: &str = "verify 1";

pub(super) struct State {
    plan: Plan,
    file: Option<(PathBuf, File)>,
    done: HashMap<(String, String, String), Done>,
}

impl State {
    /// Opens the file, and reads what an earlier run has recorded. `is_fixed`: the seed of the sample was given;
    /// otherwise that of the file counts, so that a run may be continued on the next day.
    pub(super) fn open(path: Option<&Path>, mut plan: Plan, is_fixed: bool) -> Result<State> {
        let Some(path) = path else { return Ok(State { plan, file: None, done: HashMap::new() }) };
        let refused =
            |e: std::io::Error| disk::refused(format_args!("cannot use the state file {}", path.display()), &e);
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => String::new(),
            Err(e) => return Err(refused(e)),
        };
        // What follows the last line end was not written completely.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let mut lines = text[..whole].lines();
        let (mut done, mut is_new) = (HashMap::new(), true);
        if let Some(first) = lines.next() {
            let head: Option<Head> = serde_json::from_str(first).ok().filter(|head: &Head| head.s3vault == FORM);
            let Some(Head { plan: found, .. }) = head else {
                let why = format!("{} is not the state of a verification", path.display());
                return Err(Error::new(Code::InvalidOption, why).with_hint("Use another file as state."));
            };
            if !is_fixed {
                plan.sample_seed = found.sample_seed;
            }
            if found != plan {
                let why = format!("{} is the state of another verification: {first}", path.display());
                return Err(Error::new(Code::InvalidOption, why)
                    .with_hint("Make the same call again, or remove the file to start from scratch."));
            }
            for line in lines {
                let Ok(one) = serde_json::from_str::<Done>(line) else { continue };
                done.insert((one.container.clone(), one.path.clone(), one.vid.clone()), one);
            }
            is_new = false;
        }
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).mode(0o600).open(path).map_err(refused)?;
        file.set_len(whole as u64).map_err(refused)?;
        let mut state = State { plan, file: Some((path.to_owned(), file)), done };
        if is_new {
            let head = Head { s3vault: FORM.into(), plan: state.plan.clone() };
            state.append(&serde_json::to_string(&head).unwrap_or_default())?;
        }
        Ok(state)
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What an earlier run has found out about a version. One that was bad is read again: it may have been repaired.
    pub(super) fn done(&self, row: &Row) -> Option<Verified> {
        let one = self.done.get(&(row.container.clone(), row.path.clone(), row.vid.clone()))?;
        Some(Verified {
            verdict: Verdict::parse(&one.verdict).filter(|verdict| !verdict.is_bad())?,
            container: one.container.clone(),
            path: one.path.clone(),
            vid: one.vid.clone(),
            bytes: one.bytes,
            parts: one.parts,
            bad: None,
            reason: one.reason.clone(),
            needs_md5: false,
        })
    }

    /// Records a version.
    pub(super) fn add(&mut self, verified: &Verified) -> Result<()> {
        let Verified { container, path, vid, bytes, parts, reason, .. } = verified.clone();
        let verdict = verified.verdict.as_str().to_owned();
        let done = Done { container, path, vid, verdict, bytes, parts, reason };
        self.append(&serde_json::to_string(&done).unwrap_or_default())
    }

    fn append(&mut self, line: &str) -> Result<()> {
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        let written = file.write_all(format!("{line}\n").as_bytes()).and_then(|()| file.sync_data());
        written.map_err(|e| disk::refused(format_args!("cannot write the state file {}", path.display()), &e))
    }

    /// All is done.
    pub(super) fn remove(&mut self) -> Result<()> {
        let Some((path, _)) = self.file.take() else { return Ok(()) };
        fs::remove_file(&path)
            .map_err(|e| disk::refused(format_args!("cannot remove the state file {}", path.display()), &e))
    }
}
