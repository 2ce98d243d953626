//! Runs a `credential_process` ("Process credential provider", AWS SDKs and Tools reference guide).
//!
//! It is started without a shell, without standard input, and in its own process group, so that the processes it
//! starts are ended with it. Its standard output is secret and never shown; its standard error is meant for users and
//! becomes part of the error.

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

/// Larger than any document with keys, in bytes.
const LARGEST: u64 = 64 * 1024;

/// How many characters of its standard error are shown: the end, which has the reason.
const SHOWN: usize = 500;

/// Time between two checks of the process.
const LOOK: Duration = Duration::from_millis(10);

/// How long to wait for remaining output after the process has ended.
const REST: Duration = Duration::from_millis(500);

/// Bytes read from a pipe.
type Bytes = Zeroizing<Vec<u8>>;

/// Runs it to its end on a thread of the library, for at most `limit`, or until `stop` is set.
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
            .with_hint("Give the full path of the program; no shell is used, so ~ and variables are not expanded.")
    })?;
    let (stdout, stderr) = (gather(child.stdout.take()), gather(child.stderr.take()));
    let end = Instant::now() + limit;
    let (mut output, mut errors) = (None, None);
    while output.is_none() || errors.is_none() {
        if stop.load(Ordering::Acquire) || Instant::now() >= end {
            break;
        }
        output = output.or_else(|| stdout.try_recv().ok());
        errors = errors.or_else(|| stderr.try_recv().ok());
        sleep(LOOK);
    }
    // Until it was waited for, no other process can have its id, so the group is its own too.
    let ended = loop {
        if stop.load(Ordering::Acquire) || Instant::now() >= end {
            break None;
        }
        match child.try_wait() {
            Ok(Some(status)) => break Some(Some(status)),
            Ok(None) => sleep(LOOK),
            // Somebody else waited for it, or the host ignores SIGCHLD: its output must tell whether it succeeded.
            Err(_) => break Some(None),
        }
    };
    let Some(status) = ended else {
        end_all(&mut child);
        let errors = errors.or_else(|| stderr.recv_timeout(REST).ok()).unwrap_or_default();
        let message = format!("did not end within {} ms", limit.as_millis());
        return Err(failed(process, &message, &shown(&errors)).retryable());
    };
    let errors = shown(&errors.unwrap_or_default());
    if let Some(status) = status.filter(|status| !status.success()) {
        return Err(failed(process, &format!("failed ({status})"), &errors));
    }
    parse_process(&output.unwrap_or_default()).map_err(|e| {
        let hint = e.hint().to_owned();
        failed(process, &format!("succeeded, but {}", e.message()), &errors).with_hint(hint)
    })
}

/// Ends the process and the processes it started.
fn end_all(child: &mut Child) {
    // The group may have ended by itself.
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
            // Drain the pipe, so that the process never blocks on it.
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
            let _ = sender.send(bytes);
        });
    }
    receiver
}

/// The end of its standard error, on one line.
fn shown(errors: &[u8]) -> String {
    let text = String::from_utf8_lossy(errors);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let skip = line.chars().count().saturating_sub(SHOWN);
    let cut = if skip > 0 { "..." } else { "" };
    format!("{cut}{}", line.chars().skip(skip).collect::<String>().escape_debug())
}

/// Makes the error of a process. Its arguments are not shown, since they may contain a secret.
fn failed(process: &Process, how: &str, stderr: &str) -> Error {
    let program = process.words.first().map_or("", String::as_str);
    let stderr = if stderr.is_empty() { String::new() } else { format!("; its standard error: {stderr}") };
    let profile = &process.profile;
    let message = format!("the credential_process '{program}' of the profile '{profile}' {how}{stderr}");
    Error::new(Code::Credentials, message).with_hint("Run the command by hand to see why.")
}
