//! Runs one program to its end and prints what it took, as a line of JSON on standard error.
//!
//! ```text
//! measure [--stdin FILE] [--drain] -- PROGRAM [ARGUMENT]...
//! ```
//! `--stdin` feeds a file through a pipe, so that the program sees a stream; `--drain` takes its output from a pipe and
//! drops it unread. Both are spliced by this process, whose time does not count: seconds and the peak of resident memory
//! are the child's (`getrusage`, RUSAGE_CHILDREN). Linux begins a child's peak with its parent's, so it is this small
//! program that starts it, and not the Python that asks.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::fcntl::{FcntlArg, SpliceFFlags, fcntl, splice};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// What the pipes hold, and what is spliced at once.
const PIPE: usize = 1 << 20;

fn main() -> Result<()> {
    let (mut stdin, mut drain) = (None, false);
    let mut arguments = std::env::args_os().skip(1);
    loop {
        let argument = arguments.next().ok_or("a program is missing")?;
        match argument.to_str() {
            Some("--stdin") => stdin = Some(File::open(arguments.next().ok_or("--stdin needs a file")?)?),
            Some("--drain") => drain = true,
            Some("--") => break,
            _ => return Err("that is not known".into()),
        }
    }
    let mut command = Command::new(arguments.next().ok_or("a program is missing")?);
    command.args(arguments).stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    if drain {
        command.stdout(Stdio::piped());
    }
    let started = Instant::now();
    let mut child = command.spawn()?;
    let feeder = child.stdin.take().zip(stdin).map(|(pipe, file)| std::thread::spawn(move || pass(file, pipe)));
    let drained = match child.stdout.take() {
        Some(pipe) => pass(pipe, File::options().write(true).open("/dev/null")?)?,
        None => 0,
    };
    let status = child.wait()?;
    let wall = started.elapsed().as_secs_f64();
    if let Some(feeder) = feeder {
        // A child that ended early has closed the pipe.
        let _ = feeder.join();
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    eprintln!(
        "{}",
        serde_json::json!({
            "status": status.code().unwrap_or(-1),
            "user": seconds(usage.user_time()),
            "system": seconds(usage.system_time()),
            "wall": wall,
            "peak_kib": usage.max_rss(),
            "drained": drained,
        })
    );
    Ok(())
}

/// Moves all there is, and says how much; one of the two is a pipe.
fn pass(from: impl AsFd, to: impl AsFd) -> io::Result<u64> {
    // What cannot be enlarged stays as it is.
    let _ = fcntl(from.as_fd(), FcntlArg::F_SETPIPE_SZ(PIPE as i32));
    let _ = fcntl(to.as_fd(), FcntlArg::F_SETPIPE_SZ(PIPE as i32));
    let mut sum = 0;
    loop {
        match splice(from.as_fd(), None, to.as_fd(), None, PIPE, SpliceFFlags::empty())? {
            0 => return Ok(sum),
            count => sum += count as u64,
        }
    }
}
