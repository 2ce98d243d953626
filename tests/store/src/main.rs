//! `embedded-store`: the in-memory S3 as a program.

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use embedded_store::{Missing, OPERATIONS, Options, Server, Tls, Versioning};
use lexopt::prelude::*;

const USAGE: &str = "\
Usage: embedded-store --access-key KEY --secret-key KEY [options]

An in-memory S3 on 127.0.0.1, for tests. When it is ready it prints one line:
listening on http://127.0.0.1:PORT

  --port PORT                 the port; 0, the default: one that is free
  --bucket NAME[:HOW]         a bucket that is there from the start, with versioning; again for more.
                              HOW: unversioned, suspended, or locked (with object lock)
  --max-buckets N             the most buckets there may be; 10000 by default
  --without OPERATION         answer this operation with 501 NotImplemented; again for more
  --access-key KEY            the access key that is known
  --secret-key KEY            its secret key
  --max-bytes N               the most payload bytes held; 17179869184, 16 GiB, by default
  --idle-exit SECONDS         stop after so long without a request; 600 by default
  --exit-with-stdin           stop when standard input ends
  --tls-cert FILE             certificate chain, PEM: speak TLS
  --tls-key FILE              its private key, PEM
  --help                      this text
";

struct Arguments {
    options: Options,
    exit_with_stdin: bool,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("embedded-store: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let Some(arguments) = arguments()? else {
        print!("{USAGE}");
        return Ok(());
    };
    let server = Server::start(arguments.options)?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "listening on {}", server.url())?;
    stdout.flush()?;
    drop(stdout);
    if arguments.exit_with_stdin {
        std::thread::spawn(|| {
            let mut stdin = io::stdin().lock();
            let mut ignored = [0; 4096];
            while matches!(stdin.read(&mut ignored), Ok(1..)) {}
            std::process::exit(0);
        });
    }
    server.wait();
    Ok(())
}

fn arguments() -> Result<Option<Arguments>, Box<dyn std::error::Error>> {
    let (mut access_key, mut secret_key) = (None, None);
    let (mut certificate, mut key) = (None, None);
    let mut options = Options::new("", "");
    options.idle_exit = Some(Duration::from_secs(600));
    let mut exit_with_stdin = false;
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("port") => options.port = parser.value()?.parse()?,
            Long("bucket") => add_bucket(&mut options, &parser.value()?.string()?)?,
            Long("max-buckets") => options.rules.max_buckets = parser.value()?.parse()?,
            Long("without") => {
                let operation = operation(&parser.value()?.string()?)?;
                options.rules.missing.insert(operation, Missing::NotImplemented);
            }
            Long("access-key") => access_key = Some(parser.value()?.string()?),
            Long("secret-key") => secret_key = Some(parser.value()?.string()?),
            Long("max-bytes") => options.max_bytes = parser.value()?.parse()?,
            Long("idle-exit") => options.idle_exit = Some(Duration::from_secs(parser.value()?.parse()?)),
            Long("exit-with-stdin") => exit_with_stdin = true,
            Long("tls-cert") => certificate = Some(file(parser.value()?)?),
            Long("tls-key") => key = Some(file(parser.value()?)?),
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    options.access_key = access_key.ok_or("--access-key is missing; --help lists the options")?;
    options.secret_key = secret_key.ok_or("--secret-key is missing; --help lists the options")?;
    options.tls = match (certificate, key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some(Tls { certificate, key }),
        _ => return Err("--tls-cert and --tls-key go together".into()),
    };
    Ok(Some(Arguments { options, exit_with_stdin }))
}

fn add_bucket(options: &mut Options, text: &str) -> Result<(), String> {
    let (name, how) = text.split_once(':').map_or((text, None), |(name, how)| (name, Some(how)));
    let versioning = match how {
        None => Versioning::Enabled,
        Some("unversioned") => Versioning::Off,
        Some("suspended") => Versioning::Suspended,
        Some("locked") => {
            options.locked_buckets.push(name.to_owned());
            return Ok(());
        }
        Some(other) => {
            return Err(format!("--bucket {text}: {other:?} is not unversioned, suspended or locked"));
        }
    };
    options.buckets.push((name.to_owned(), versioning));
    Ok(())
}

fn operation(name: &str) -> Result<&'static str, String> {
    let known = OPERATIONS.into_iter().find(|operation| *operation == name);
    known.ok_or_else(|| format!("--without {name}: there are {}", OPERATIONS.join(", ")))
}

fn file(path: std::ffi::OsString) -> Result<Vec<u8>, String> {
    std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
}
