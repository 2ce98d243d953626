//! What the transport costs: one file up in parts, against a server in another process that discards it.
//!
//! ```text
//! cargo run --release -p s3vault --example transport_cost [-- MIB [PART_MIB [PARTS_IN_FLIGHT]]]
//! ```
//!
//! Prints CPU seconds (user and system) and the peak of resident memory of the sending process, plain and over
//! TLS: without hashing, with a reading for both hashes before the one that is sent, and with both hashes in the one
//! that is sent (the CRC in a trailer). The file is read by position, in frames of 256 KiB.
//!
//! Each measurement runs in a process of its own (the peak never goes down), and with the sources of the
//! transport and the driver themselves: they are private to the library.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs
)]

#[path = "../src/budget/mod.rs"]
mod budget;
#[path = "../src/control.rs"]
mod control;
#[path = "../src/disk.rs"]
mod disk;
#[path = "../src/driver/mod.rs"]
mod driver;
#[path = "../src/entropy.rs"]
mod entropy;
#[path = "../src/source_file.rs"]
mod source_file;
#[path = "../src/transport/mod.rs"]
mod transport;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use s3vault_core::checksum::{Crc64, Digest, digest};
use s3vault_core::http::{Body, Method, Part, ReplyBody, Request, RequestId};
use s3vault_core::time::Now;
use s3vault_core::{Code, Error, Input, Machine, Output, PartRequest};

use control::Control;
use source_file::SourceFile;
use transport::{ClientKind, Proxies, Transport, TransportSettings};

const MIB: u64 = 1 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--discard") => discard(arguments.get(1).map(Path::new)),
        Some("--send") => send(&arguments[1..]),
        _ => measure(&arguments),
    }
}

fn measure(arguments: &[String]) {
    let number = |at: usize, default: u64| arguments.get(at).map_or(default, |text| text.parse().expect("a number"));
    let (size, part, window) = (number(0, 1024) * MIB, number(1, 8) * MIB, number(2, 8));
    let folder = std::env::temp_dir().join(format!("s3vault-cost-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (file, certificate) = (folder.join("data"), folder.join("ca.pem"));
    write_file(&file, size);
    println!("{} MiB in parts of {} MiB, {window} in flight", size / MIB, part / MIB);
    println!("{:<10}{:<10}{:>10}{:>10}{:>12}{:>10}", "", "", "CPU s", "wall s", "peak MiB", "MiB/s");
    for tls in [false, true] {
        let mut server = Server::start(tls.then_some(certificate.as_path()));
        for hashing in ["sent", "before", "trailer"] {
            let ca = if tls { certificate.to_str().unwrap() } else { "-" };
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["--send", &server.address, ca, file.to_str().unwrap()])
                .args([part.to_string().as_str(), &window.to_string(), hashing])
                .status()
                .unwrap();
            assert!(status.success());
        }
        server.child.kill().unwrap();
        server.child.wait().unwrap();
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

fn write_file(path: &Path, size: u64) {
    let mut file = File::create(path).unwrap();
    let block: Vec<u8> = (0..MIB).map(|n| ((n * n) >> 5) as u8).collect();
    for _ in 0..size / MIB {
        file.write_all(&block).unwrap();
    }
}

fn send(arguments: &[String]) {
    let [address, ca, file, part, window, hashing] = arguments else { panic!("six arguments") };
    let tls = ca != "-";
    let patience = Duration::from_secs(60);
    let ca_file = tls.then(|| PathBuf::from(ca));
    let transport = Transport::new(&TransportSettings {
        client: ClientKind::Direct,
        ca_file,
        connect_timeout: patience,
        idle_timeout: patience,
        resolve_once: false,
        proxies: Proxies::default(),
    })
    .unwrap();
    let length = std::fs::metadata(file).unwrap().len();
    let machine = Upload {
        url: format!("{}://{address}/bucket/key", if tls { "https" } else { "http" }),
        part_length: part.parse().unwrap(),
        length,
        window: window.parse().unwrap(),
        // "sent": the reading for the hash is left out; the body's own CRC is always compared, and the same file was
        // hashed before. "trailer": one reading, which hashes.
        digests: (hashing == "sent").then(|| crcs(Path::new(file), part.parse().unwrap())),
        hashed: hashing == "before",
        asked: 0,
        open: 0,
        done: 0,
        outputs: Vec::new(),
    };
    let (before, start) = (cpu(), Instant::now());
    let host = driver::Host { transport, keys: None };
    driver::upload::upload_file(
        &host,
        machine,
        SourceFile::new(File::open(file).unwrap()).unwrap(),
        None,
        &mut Control::none(),
    )
    .unwrap();
    let (cpu, wall) = (cpu() - before, start.elapsed().as_secs_f64());
    println!(
        "{:<10}{:<10}{cpu:>10.2}{wall:>10.2}{:>12.1}{:>10.0}",
        if tls { "TLS" } else { "plain" },
        match hashing.as_str() {
            "sent" => "sent",
            "before" => "+ hashed",
            _ => "trailer",
        },
        getrusage(UsageWho::RUSAGE_SELF).unwrap().max_rss() as f64 / 1024.0,
        (length / MIB) as f64 / wall,
    );
}

fn cpu() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    [usage.user_time(), usage.system_time()].iter().map(|t| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6).sum()
}

/// The CRC of each part, made outside of what is measured.
fn crcs(file: &Path, part_length: u64) -> Vec<u64> {
    let mut file = File::open(file).unwrap();
    let mut buffer = vec![0; 256 * 1024];
    let mut crcs = Vec::new();
    loop {
        let (mut crc, mut left) = (Crc64::default(), part_length);
        while left > 0 {
            let most = buffer.len().min(left as usize);
            let count = file.read(&mut buffer[..most]).unwrap();
            if count == 0 {
                break;
            }
            crc.update(&buffer[..count]);
            left -= count as u64;
        }
        if left == part_length {
            return crcs;
        }
        crcs.push(crc.finish());
    }
}

/// Puts each part once.
struct Upload {
    url: String,
    part_length: u64,
    length: u64,
    window: u64,
    /// Of parts that need not be hashed.
    digests: Option<Vec<u64>>,
    hashed: bool,
    asked: u64,
    open: u64,
    done: u64,
    outputs: Vec<Output<()>>,
}

impl Upload {
    fn send(&self, part: Part) -> Output<()> {
        Output::Send(Request {
            id: RequestId(u64::from(part.number)),
            operation: "UploadPart",
            method: Method::Put,
            url: format!("{}?partNumber={}&uploadId=u", self.url, part.number),
            headers: vec![("host".to_owned(), "store".into())],
            body: Body::Part(part),
            reply: ReplyBody::Collect { limit: 1024 },
            is_data: false,
            drop_at: None,
        })
    }
}

impl Machine for Upload {
    type Done = ();

    fn handle(&mut self, _now: Now, input: Input<'_>) {
        match input {
            Input::PartReady { number, length, digest, .. } => {
                let offset = u64::from(number - 1) * self.part_length;
                let output = self.send(Part { number, offset, length, stored: length, digest, md5: None, salt: None });
                self.outputs.push(output);
            }
            Input::End { id } => {
                self.open -= 1;
                self.done += 1;
                self.outputs.push(Output::ReleasePart(id.0 as u32));
            }
            Input::Failed { failure, .. } => {
                self.outputs.push(Output::Done(Err(Error::new(failure.code, failure.detail))));
            }
            Input::SourceFailed(error) => self.outputs.push(Output::Done(Err(error))),
            _ => {}
        }
    }

    fn poll(&mut self, _now: Now) -> Output<()> {
        if let Some(output) = self.outputs.pop() {
            return output;
        }
        let parts = self.length.div_ceil(self.part_length);
        if self.done == parts {
            return Output::Done(Ok(()));
        }
        if self.open == self.window || self.asked == parts {
            return Output::Wait(None);
        }
        let (number, offset) = (self.asked as u32 + 1, self.asked * self.part_length);
        self.asked += 1;
        self.open += 1;
        let length = self.part_length.min(self.length - offset);
        match &self.digests {
            None => Output::NeedPart(PartRequest {
                number,
                offset,
                length,
                min_length: length,
                multiple_of: 1,
                hash_first: self.hashed,
            }),
            Some(crcs) => {
                let digest = Some(Digest { crc64nvme: crcs[number as usize - 1], blake3: [0; 32] });
                self.send(Part { number, offset, length, stored: length, digest, md5: None, salt: None })
            }
        }
    }
}

/// The other process.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(certificate: Option<&Path>) -> Server {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("--discard").args(certificate).stdout(Stdio::piped()).stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Server { child, address: address.trim().to_owned() }
    }
}

/// Answers every request with 200 after reading its body; ends when its standard input does.
fn discard(certificate: Option<&Path>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tls = certificate.map(tls_config);
    println!("{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let tls = tls.clone();
            std::thread::spawn(move || match tls {
                Some(tls) => serve(StreamOwned::new(ServerConnection::new(tls).unwrap(), stream)),
                None => serve(stream),
            });
        }
    });
    let _ = std::io::stdin().read(&mut [0]);
}

fn tls_config(certificate: &Path) -> Arc<ServerConfig> {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(certificate, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    Arc::new(config)
}

fn serve(wire: impl Read + Write) {
    let mut wire = BufReader::with_capacity(256 * 1024, wire);
    loop {
        let mut length = 0;
        let mut line = String::new();
        loop {
            line.clear();
            if !wire.read_line(&mut line).is_ok_and(|count| count > 0) {
                return;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let copied = std::io::copy(&mut (&mut wire).take(length), &mut std::io::sink());
        if copied.ok() != Some(length)
            || wire.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_err()
            || wire.get_mut().flush().is_err()
        {
            return;
        }
    }
}
