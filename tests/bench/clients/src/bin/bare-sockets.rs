//! Bare blocking sockets, one thread and one connection a part in flight: a part is read by position, hashed, and written
//! in frames of 256 KiB; downwards read, hashed, and written by position. No retry, no signature, no S3 but the two
//! requests. `up-file` and `down-file` hash as s3vault does (CRC64NVME and BLAKE3); `up-file-unhashed` and
//! `down-file-unhashed` do not.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use bench_clients::{BUCKET, FRAME, PARALLEL, Result, Run, parts};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use s3vault_core::checksum::Digester;

fn main() -> Result<()> {
    let run = Run::from_arguments()?;
    let (operation, hashed) = match run.operation.strip_suffix("-unhashed") {
        Some(operation) => (operation, false),
        None => (run.operation.as_str(), true),
    };
    let config = run.ca.as_deref().map(|ca| bench_clients::tls(Some(ca))).transpose()?.map(Arc::new);
    let connect = || Wire::connect(run.authority(), config.clone());
    let (up, file, size) = match operation {
        "up-file" => {
            let file = File::open(&run.path)?;
            let size = file.metadata()?.len();
            (true, file, size)
        }
        "down-file" => {
            let mut wire = connect()?;
            let size = wire.request(&format!("HEAD /{BUCKET}/{} HTTP/1.1\r\n", run.key), run.authority(), 0)?;
            (false, File::create(&run.path)?, size)
        }
        other => return Err(format!("'{other}' is not known").into()),
    };
    let next = Mutex::new(parts(size).zip(1_u32..));
    std::thread::scope(|scope| {
        let work = || -> Result<()> {
            let (mut wire, mut frame) = (connect()?, vec![0; FRAME]);
            loop {
                let Some((part, number)) = next.lock().map_err(|_| "a worker panicked")?.next() else { return Ok(()) };
                let hashes = hashed.then(Digester::new);
                let target = format!("/{BUCKET}/{}", run.key);
                if up {
                    let line = format!("PUT {target}?partNumber={number}&uploadId=bare HTTP/1.1\r\n");
                    send(&mut wire, &file, part, &mut frame, hashes, (&line, run.authority()))?;
                } else {
                    receive(&mut wire, &file, part, &mut frame, hashes, (&target, run.authority()))?;
                }
            }
        };
        let workers: Vec<_> = (0..PARALLEL).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a worker panicked")?)
    })
}

type Part = (u64, u64);

fn send(
    wire: &mut Wire,
    file: &File,
    (mut offset, mut length): Part,
    frame: &mut [u8],
    mut hashes: Option<Digester>,
    (line, host): (&str, &str),
) -> Result<()> {
    wire.write(head(line, host, length).as_bytes())?;
    while length > 0 {
        let count = length.min(FRAME as u64) as usize;
        file.read_exact_at(&mut frame[..count], offset)?;
        if let Some(hashes) = &mut hashes {
            hashes.update(&frame[..count]);
        }
        wire.write(&frame[..count])?;
        offset += count as u64;
        length -= count as u64;
    }
    std::hint::black_box(hashes.map(|hashes| hashes.finish()));
    wire.reply()?;
    Ok(())
}

fn receive(
    wire: &mut Wire,
    file: &File,
    (mut offset, length): Part,
    frame: &mut [u8],
    mut hashes: Option<Digester>,
    (target, host): (&str, &str),
) -> Result<()> {
    let line = format!("GET {target} HTTP/1.1\r\nRange: bytes={offset}-{}\r\n", offset + length - 1);
    let mut left = wire.request(&line, host, 0)?;
    while left > 0 {
        // Full frames, as few calls as can be.
        let count = left.min(FRAME as u64) as usize;
        wire.read_exact(&mut frame[..count])?;
        if let Some(hashes) = &mut hashes {
            hashes.update(&frame[..count]);
        }
        file.write_all_at(&frame[..count], offset)?;
        offset += count as u64;
        left -= count as u64;
    }
    std::hint::black_box(hashes.map(|hashes| hashes.finish()));
    Ok(())
}

fn head(line: &str, host: &str, length: u64) -> String {
    format!("{line}Host: {host}\r\nx-amz-content-sha256: UNSIGNED-PAYLOAD\r\nContent-Length: {length}\r\n\r\n")
}

enum Wire {
    Plain(BufReader<TcpStream>),
    Tls(Box<StreamOwned<ClientConnection, Socket>>),
}

impl Wire {
    fn connect(authority: &str, config: Option<Arc<ClientConfig>>) -> Result<Wire> {
        let stream = TcpStream::connect(authority)?;
        stream.set_nodelay(true)?;
        Ok(match config {
            None => Wire::Plain(BufReader::with_capacity(4096, stream)),
            Some(config) => {
                let mut connection = ClientConnection::new(config, ServerName::try_from("127.0.0.1")?)?;
                connection.set_buffer_limit(Some(2 * FRAME));
                let socket = Socket(BufReader::with_capacity(FRAME, stream));
                Wire::Tls(Box::new(StreamOwned::new(connection, socket)))
            }
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Wire::Plain(stream) => stream.get_mut().write_all(bytes),
            Wire::Tls(stream) => {
                // Not before the handshake, whose output comes first.
                if stream.conn.is_handshaking() {
                    return stream.write_all(bytes);
                }
                stream.conn.writer().write_all(bytes)?;
                while stream.conn.wants_write() {
                    stream.conn.write_tls(&mut stream.sock)?;
                }
                Ok(())
            }
        }
    }

    fn read_exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        match self {
            Wire::Plain(stream) => stream.read_exact(bytes),
            Wire::Tls(stream) => stream.read_exact(bytes),
        }
    }

    fn request(&mut self, line: &str, host: &str, length: u64) -> Result<u64> {
        self.write(head(line, host, length).as_bytes())?;
        self.reply()
    }

    /// Reads a reply's head, and says how long its body is.
    fn reply(&mut self) -> Result<u64> {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            self.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head)?;
        if !head.starts_with("HTTP/1.1 20") {
            return Err(head.into());
        }
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).ok_or("no length")?;
        Ok(length.parse()?)
    }
}

/// Many records are read with one call; what is written goes out as it is.
struct Socket(BufReader<TcpStream>);

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.get_mut().write(bytes)
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.get_mut().write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
