//! object_store as the bench runs it; the command line is that of every client (`clients/src/lib.rs`).

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{Certificate, ClientOptions, ObjectStoreExt, WriteMultipart};

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

const PART: u64 = 8 << 20;
const PARALLEL: usize = 8;
const PARALLEL_SMALL: usize = 32;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Ok([operation, url, ca, path, key]) = <[String; 5]>::try_from(arguments) else {
        return Err("OPERATION URL CA_FILE|- PATH KEY are wanted".into());
    };
    let mut options = ClientOptions::new().with_allow_http(true);
    if ca != "-" {
        options = options.with_root_certificate(Certificate::from_pem(&std::fs::read(ca)?)?);
    }
    let store = AmazonS3Builder::new()
        .with_endpoint(url)
        .with_region("us-east-1")
        .with_bucket_name("bench")
        .with_access_key_id("bench")
        .with_secret_access_key("bench-secret")
        .with_unsigned_payload(true)
        .with_client_options(options)
        .build()?;
    let store = Arc::new(store);
    let (path, key) = (FilePath::new(&path), Path::from(key));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match operation.as_str() {
            "up-file" => up(&store, &key, File::open(path)?).await,
            "up-stream" => up(&store, &key, File::open("/dev/stdin")?).await,
            "down-file" => down_file(store, key, path).await,
            "down-pipe" => down_pipe(&store, &key).await,
            "small" => small(store, path, &key).await,
            other => Err(format!("'{other}' is not known").into()),
        }
    })
}

/// Parts go up as they are read.
async fn up(store: &AmazonS3, key: &Path, mut source: File) -> Result<()> {
    let mut upload = WriteMultipart::new_with_chunk_size(store.put_multipart(key).await?, PART as usize);
    loop {
        upload.wait_for_capacity(PARALLEL).await?;
        let mut part = Vec::with_capacity(PART as usize);
        if (&mut source).take(PART).read_to_end(&mut part)? == 0 {
            break;
        }
        upload.put(Bytes::from(part));
    }
    upload.finish().await?;
    Ok(())
}

async fn ranges(store: &AmazonS3, key: &Path) -> Result<impl Iterator<Item = std::ops::Range<u64>>> {
    let size = store.head(key).await?.size;
    Ok((0..size.div_ceil(PART)).map(move |n| n * PART..size.min((n + 1) * PART)))
}

async fn down_file(store: Arc<AmazonS3>, key: Path, path: &FilePath) -> Result<()> {
    let file = Arc::new(File::create(path)?);
    let tasks = ranges(&store, &key).await?.map(|range| {
        let (store, key, file) = (store.clone(), key.clone(), file.clone());
        async move {
            let task = tokio::spawn(async move {
                let offset = range.start;
                file.write_all_at(&store.get_range(&key, range).await?, offset)?;
                Result::<()>::Ok(())
            });
            task.await?
        }
    });
    stream::iter(tasks).buffer_unordered(PARALLEL).try_collect().await
}

async fn down_pipe(store: &AmazonS3, key: &Path) -> Result<()> {
    let mut output = File::options().write(true).open("/dev/stdout")?;
    let parts = ranges(store, key).await?.map(|range| store.get_range(key, range));
    let mut parts = stream::iter(parts).buffered(PARALLEL);
    while let Some(part) = parts.next().await {
        output.write_all(&part?)?;
    }
    Ok(())
}

async fn small(store: Arc<AmazonS3>, folder: &FilePath, prefix: &Path) -> Result<()> {
    let files: Vec<_> =
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    let tasks = files.into_iter().map(|file| {
        let (store, key) =
            (store.clone(), prefix.clone().join(&*file.file_name().unwrap_or_default().to_string_lossy()));
        async move {
            let task = tokio::spawn(async move {
                store.put(&key, std::fs::read(&file)?.into()).await?;
                Result::<()>::Ok(())
            });
            task.await?
        }
    });
    stream::iter(tasks).buffer_unordered(PARALLEL_SMALL).try_collect().await
}
