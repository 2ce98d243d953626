//! A store on loopback that costs next to nothing: what it is sent it counts and drops, what it is asked for comes from
//! a fixed pattern. It speaks as much S3 as the bench's clients need, and checks nothing.
//!
//! ```text
//! sink [--tls CA_FILE] [--latency MS]        prints its URL; ends when its standard input does, and prints its counts
//! sink --pattern FILE BYTES                  writes the pattern to a file: what every object of that size reads as
//! ```
//! It keeps the bodies of objects below `_s3vault/` (they are small, and s3vault reads them again), and of all others
//! only the size. `GET /_sink/stats` returns the counts as JSON. The latency is a sleep before each reply, after the
//! request was read: a store that thinks, not a line that is long. One thread a connection; a body on a plain line is
//! dropped in the kernel (`MSG_TRUNC`), unread.

mod connection;
mod s3;
mod stats;
mod wire;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

use s3::Store;
use wire::Wire;

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    let (mut tls, mut latency) = (None, 0);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--tls" => tls = Some(PathBuf::from(value()?)),
            "--latency" => latency = value()?.parse()?,
            "--pattern" => return write_pattern(Path::new(&value()?), value()?.parse()?),
            _ => return Err(format!("'{argument}' is not known").into()),
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let config = tls.map(|file| certificate(&file)).transpose()?;
    println!("{scheme}://{}", listener.local_addr()?);
    std::io::stdout().flush()?;

    let store = Arc::new(Store::new(Duration::from_millis(latency)));
    let serving = store.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(std::result::Result::ok) {
            let (store, config) = (serving.clone(), config.clone());
            std::thread::spawn(move || serve(&store, stream, config));
        }
    });
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    println!("{}", store.stats.json());
    Ok(())
}

fn serve(store: &Store, stream: TcpStream, config: Option<Arc<ServerConfig>>) {
    // A client that goes away ends its connection, and nothing else.
    let _ = stream.set_nodelay(true);
    store.stats.connection();
    if let Ok(wire) = Wire::new(stream, config) {
        let _ = connection::run(store, wire);
    }
}

/// A certificate for 127.0.0.1 that is its own authority, written for the clients.
fn certificate(file: &Path) -> Result<Arc<ServerConfig>> {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    std::fs::write(file, made.cert.pem())?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    Ok(Arc::new(config))
}

fn write_pattern(file: &Path, mut bytes: usize) -> Result<()> {
    let pattern = s3::pattern();
    let mut file = std::fs::File::create(file)?;
    while bytes > 0 {
        let count = bytes.min(pattern.len());
        file.write_all(&pattern[..count])?;
        bytes -= count;
    }
    Ok(())
}
