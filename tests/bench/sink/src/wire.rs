//! A line to a client, plain or TLS: read, written, and dropped unread where that is possible.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use nix::sys::socket::{MsgFlags, recv};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What is dropped, or read and decrypted, at once.
const BLOCK: usize = 256 * 1024;
/// Size in bytes of the batches in which records of a reply are encrypted.
const SEALED: usize = 512 * 1024;

pub(crate) enum Wire {
    Plain { stream: TcpStream, scratch: Vec<u8> },
    Tls { stream: Box<StreamOwned<ServerConnection, Socket>>, scratch: Vec<u8> },
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, config: Option<Arc<ServerConfig>>) -> crate::Result<Wire> {
        Ok(match config {
            // The kernel never writes there, so it takes no memory.
            None => Wire::Plain { stream, scratch: vec![0; BLOCK] },
            Some(config) => {
                let mut connection = ServerConnection::new(config)?;
                connection.set_buffer_limit(Some(2 * SEALED));
                let socket = Socket(BufReader::with_capacity(BLOCK, stream));
                Wire::Tls { stream: Box::new(StreamOwned::new(connection, socket)), scratch: vec![0; BLOCK] }
            }
        })
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain { stream, .. } => stream.read(buffer),
            Wire::Tls { stream, .. } => stream.read(buffer),
        }
    }

    /// Drops at most `most` bytes and returns how many; 0 at the end.
    pub(crate) fn discard(&mut self, most: u64) -> io::Result<usize> {
        match self {
            Wire::Plain { stream, scratch } => {
                let count = usize::try_from(most).unwrap_or(BLOCK).min(BLOCK);
                Ok(recv(stream.as_raw_fd(), &mut scratch[..count], MsgFlags::MSG_TRUNC)?)
            }
            Wire::Tls { stream, scratch } => {
                let count = usize::try_from(most).unwrap_or(BLOCK).min(BLOCK);
                stream.read(&mut scratch[..count])
            }
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Wire::Plain { stream, .. } => stream.write_all(bytes),
            Wire::Tls { stream, .. } => {
                for batch in bytes.chunks(SEALED) {
                    stream.conn.writer().write_all(batch)?;
                    while stream.conn.wants_write() {
                        stream.conn.write_tls(&mut stream.sock)?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// Many records are read with one call; what is written goes out as it is.
pub(crate) struct Socket(BufReader<TcpStream>);

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
