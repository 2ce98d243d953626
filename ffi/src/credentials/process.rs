//! Runs a `credential_process` ("Process credential provider", AWS SDKs and Tools reference guide).
//!
//! It is started without a shell, with nothing on its standard input, and in a process group of its own, so that what it
//! starts itself ends with it. What it prints is a secret and never shown; what it says on its standard error is for
//! people, and stands in the error.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use s3vault_core::credentials::chain::Process;
use s3vault_core::credentials::{Credentials, parse_process};
use s3vault_core::{Code, Error, Result};
use tokio::runtime::Handle;
use zeroize::Zeroizing;

/// More than any document with keys has, in bytes.
const LARGEST: u64 = 64 * 1024;

/// So much of what it said is shown, in characters: the end, which has the reason.
const SHOWN: usize = 500;

/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(10);

/// What is still on its way when a process has ended has this long.
const REST: Duration = Duration::from_millis(500);

/// What came through a pipe.
type Bytes = Zeroizing<Vec<u8>>;

/// Runs it to its end, on a thread of the library; for `limit` at most, and until `stop` is set.
pub(super) fn run(process: &Process, limit: Duration, stop: &AtomicBool) -> Result<Credentials> {
    let Some((program, arguments)) = process.words.split_first() else {
        return Err(failed(process, "is empty", ""));
    };
    let started = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let mut child = started.map_err(|e| {
        failed(process, &format!("cannot be started: {e}"), "")
            .with_hint("Give the program's whole path; no shell is used, so ~ and variables are not expanded.")
    })?;
    let (printed, said) = (gather(child.stdout.take()), gather(child.stderr.take()));
    let end = Instant::now() + limit;
    let (mut output, mut complaint) = (None, None);
    while output.is_none() || complaint.is_none() {
        if stop.load(Ordering::Acquire) || Instant::now() >= end {
            break;
        }
        output = output.or_else(|| printed.try_recv().ok());
        complaint = complaint.or_else(|| said.try_recv().ok());
        sleep(LOOK);
    }
    // While it is not waited for, its number is its own, so the group is its own too.
    let ended = loop {
        if stop.load(Ordering::Acquire) || Instant::now() >= end {
            break None;
        }
        match child.try_wait() {
            Ok(Some(status)) => break Some(Some(status)),
            Ok(None) => sleep(LOOK),
            // Somebody else waited for it, or the host ignores SIGCHLD: what it printed must say whether it went well.
            Err(_) => break Some(None),
        }
    };
    let Some(status) = ended else {
        end_all(&mut child);
        let complaint = complaint.or_else(|| said.recv_timeout(REST).ok()).unwrap_or_default();
        let message = format!("did not end within {} ms", limit.as_millis());
        return Err(failed(process, &message, &shown(&complaint)).retryable());
    };
    let complaint = shown(&complaint.unwrap_or_default());
    if let Some(status) = status.filter(|status| !status.success()) {
        return Err(failed(process, &format!("failed ({status})"), &complaint));
    }
    parse_process(&output.unwrap_or_default()).map_err(|e| {
        let hint = e.hint().to_owned();
        failed(process, &format!("ended well, but {}", e.message()), &complaint).with_hint(hint)
    })
}

/// Ends the process and what it started.
fn end_all(child: &mut Child) {
    // The group may have ended by itself meanwhile.
    let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
    let _ = child.wait();
}

/// Reads a pipe to its end on a thread of the library, and keeps the first [`LARGEST`] bytes and one more.
fn gather(pipe: Option<impl Read + Send + 'static>) -> Receiver<Bytes> {
    let (sender, receiver) = bounded(1);
    if let Some(mut pipe) = pipe {
        Handle::current().spawn_blocking(move || {
            let mut bytes = Zeroizing::new(Vec::with_capacity(LARGEST as usize + 1));
            let _ = pipe.by_ref().take(LARGEST + 1).read_to_end(&mut bytes);
            // Nobody may wait for the pipe to become free.
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
            let _ = sender.send(bytes);
        });
    }
    receiver
}

/// The end of what it said, on one line.
fn shown(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let skip = line.chars().count().saturating_sub(SHOWN);
    let cut = if skip > 0 { "..." } else { "" };
    format!("{cut}{}", line.chars().skip(skip).collect::<String>().escape_debug())
}

/// The error of a process. Its arguments are not shown: a secret may stand in them.
fn failed(process: &Process, how: &str, said: &str) -> Error {
    let program = process.words.first().map_or("", String::as_str);
    let said = if said.is_empty() { String::new() } else { format!("; it said: {said}") };
    let profile = &process.profile;
    let message = format!("the credential_process '{program}' of the profile '{profile}' {how}{said}");
    Error::new(Code::Credentials, message).with_hint("Run it by hand.")
}
