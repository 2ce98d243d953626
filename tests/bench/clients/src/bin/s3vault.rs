//! s3vault through its Rust API, as a caller has it: backups of a vault. A backup is more than an object: a listing, a
//! locator before the data and a row after it. `small-put` stores the same files as bare objects, one PutObject each (signed
//! by SHA-256, as single operations of the client are). S3VAULT_TRANSPORT chooses the transport, S3VAULT_CONNECTIONS limits the requests in flight,
//! S3VAULT_KEYRING is the keyring's file, which is made if it is missing, and S3VAULT_ENCRYPTION the kind of encryption.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bench_clients::{BUCKET, PARALLEL_SMALL, Result, Run, setting};
use s3vault::op::{Content, PutObject};
use s3vault::{Client, Control, Keyring, Settings, Vault, keyring};

fn main() -> Result<()> {
    let run = Run::from_arguments()?;
    let settings = settings(&run)?;
    s3vault::process::set("connections", &std::env::var("S3VAULT_CONNECTIONS").unwrap_or_default())?;
    let none = Settings::new();
    let control = &mut Control::none();
    if run.operation == "small-put" {
        let client = Client::open(&settings, control)?;
        return each_file(&run, |name, path| {
            let content = Content::Bytes(std::fs::read(path)?.into());
            client.call(PutObject::new(format!("{}/{name}", run.key), content, Vec::new()), &mut Control::none())?;
            Ok(())
        });
    }
    let vault = Vault::open(&settings, keyring()?, control)?;
    let (container, path) = run.key.split_once('/').unwrap_or((&run.key, "disk"));
    match run.operation.as_str() {
        "up-file" => {
            vault.put_file(container, path, &run.path, &none, control)?;
        }
        "up-stream" => {
            let mut put = vault.put(container, path, &none, control)?;
            let mut buffer = vec![0; 1 << 20];
            let mut stdin = std::io::stdin().lock();
            loop {
                match stdin.read(&mut buffer)? {
                    0 => break,
                    count => put.write(&buffer[..count], control)?,
                }
            }
            put.commit(control)?;
        }
        "down-file" => vault.find(container, path, &none, control)?.restore(&run.path, &none, control)?,
        "down-pipe" => {
            let mut get = vault.find(container, path, &none, control)?.open(&none, control)?;
            let mut buffer = vec![0; 1 << 20];
            // Unbuffered: std's own stdout looks for line ends.
            let mut stdout = std::fs::File::options().write(true).open("/dev/stdout")?;
            loop {
                match get.read(&mut buffer, control)? {
                    0 => break,
                    count => stdout.write_all(&buffer[..count])?,
                }
            }
        }
        "small" => each_file(&run, |name, path| {
            vault.put_file(&run.key, name, path, &Settings::new(), &mut Control::none())?;
            Ok(())
        })?,
        other => return Err(format!("'{other}' is not known").into()),
    }
    Ok(())
}

fn keyring() -> Result<Option<Arc<Keyring>>> {
    let path = setting("S3VAULT_KEYRING", "");
    let path = Path::new(&path);
    let keyring = match path {
        _ if path.as_os_str().is_empty() => return Ok(None),
        _ if path.exists() => keyring::open(path)?,
        _ => keyring::create(path)?,
    };
    Ok(Some(keyring.into()))
}

fn settings(run: &Run) -> Result<Settings> {
    let mut settings = Settings::new();
    let transport = std::env::var("S3VAULT_TRANSPORT").unwrap_or_default();
    let ca = run.ca.as_deref().map(|ca| ca.to_string_lossy().into_owned()).unwrap_or_default();
    for (key, value) in [
        ("api_url", run.url.as_str()),
        ("access_key", &setting("S3VAULT_ACCESS_KEY", "bench")),
        ("secret_key", &setting("S3VAULT_SECRET_KEY", "bench-secret")),
        ("region", "us-east-1"),
        ("bucket", &setting("S3VAULT_BUCKET", BUCKET)),
        ("encryption", &setting("S3VAULT_ENCRYPTION", "none")),
        ("ca_file", &ca),
        ("transport", &transport),
    ] {
        settings.set(key, value)?;
    }
    Ok(settings)
}

/// Stores the files of the folder, many at once.
fn each_file(run: &Run, store: impl Fn(&str, &PathBuf) -> Result<()> + Sync) -> Result<()> {
    let files: Vec<_> =
        std::fs::read_dir(&run.path)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    let next = Mutex::new(files.iter());
    std::thread::scope(|scope| {
        let work = || -> Result<()> {
            loop {
                let Some(path) = next.lock().map_err(|_| "a worker panicked")?.next() else { return Ok(()) };
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                store(&name, path)?;
            }
        };
        let workers: Vec<_> = (0..PARALLEL_SMALL).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a worker panicked")?)
    })
}
