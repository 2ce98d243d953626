//! The HTTP client that s3vault stands on, without s3vault: reqwest with rustls, a file's parts up in frames of 256 KiB that
//! are read by position and hashed with CRC64NVME and BLAKE3 while they are warm. `up-file` only: the bench's "bare transport".

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bench_clients::{BUCKET, FRAME, PARALLEL, Result, Run, parts};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use s3vault_core::checksum::Digester;

/// Frames are used again: memory that is new has to be cleared by the kernel first.
type Pool = Arc<Mutex<Vec<Box<[u8]>>>>;

fn main() -> Result<()> {
    let run = Arc::new(Run::from_arguments()?);
    if run.operation != "up-file" {
        return Err(format!("'{}' is not known", run.operation).into());
    }
    let tls = bench_clients::tls(run.ca.as_deref())?;
    let builder = reqwest::Client::builder().tls_backend_preconfigured(tls).http1_only().no_proxy();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(up(run, builder))
}

async fn up(run: Arc<Run>, builder: reqwest::ClientBuilder) -> Result<()> {
    let client = builder.build()?;
    let file = Arc::new(File::open(&run.path)?);
    let pool = Pool::default();
    let next = Arc::new(Mutex::new(parts(file.metadata()?.len()).zip(1_u32..).collect::<Vec<_>>().into_iter()));
    let mut workers = tokio::task::JoinSet::<Result<()>>::new();
    for _ in 0..PARALLEL {
        let (run, client, file, pool, next) = (run.clone(), client.clone(), file.clone(), pool.clone(), next.clone());
        workers.spawn(async move {
            loop {
                let part = next.lock().map_err(|_| "a worker panicked")?.next();
                let Some(((offset, length), number)) = part else { return Ok(()) };
                let part = Part { file: file.clone(), pool: pool.clone(), offset, length, hashes: Digester::new() };
                let url = format!("{}/{BUCKET}/{}?partNumber={number}&uploadId=bare", run.url, run.key);
                let request = client.put(url).header("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
                request.body(reqwest::Body::wrap(part)).send().await?.error_for_status()?;
            }
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    Ok(())
}

struct Part {
    file: Arc<File>,
    pool: Pool,
    offset: u64,
    /// In bytes, of what was not handed over yet.
    length: u64,
    hashes: Digester,
}

impl Body for Part {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        if this.length == 0 {
            return Poll::Ready(None);
        }
        let free = this.pool.lock().ok().and_then(|mut free| free.pop());
        let mut bytes = free.unwrap_or_else(|| vec![0; FRAME].into());
        let count = this.length.min(FRAME as u64) as usize;
        if let Err(e) = this.file.read_exact_at(&mut bytes[..count], this.offset) {
            return Poll::Ready(Some(Err(e)));
        }
        this.hashes.update(&bytes[..count]);
        this.offset += count as u64;
        this.length -= count as u64;
        if this.length == 0 {
            std::hint::black_box(this.hashes.finish());
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(Pooled { bytes, count, pool: this.pool.clone() })))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}

struct Pooled {
    bytes: Box<[u8]>,
    count: usize,
    pool: Pool,
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.count]
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        if let Ok(mut free) = self.pool.lock() {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}
