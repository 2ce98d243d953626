//! A disk that takes no more of the checkpoint. A process of its own, since its limit holds for all of its files.
#![allow(clippy::unwrap_used, missing_docs)]

use embedded_store::{Options, Server};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use s3vault::{Code, Control, Settings, Vault};

#[test]
fn a_full_disk_ends_the_put_and_the_checkpoint_goes_on_when_there_is_room() {
    let store = Server::start(Options::new("access", "secret").bucket("full")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("checkpoint");
    let mut settings = Settings::new();
    let url = store.url();
    for (key, value) in [("api_url", &*url), ("access_key", "access"), ("secret_key", "secret"), ("bucket", "full")] {
        settings.set(key, value).unwrap();
    }
    let none = &mut Control::none();
    let vault = Vault::open(&settings, None, none).unwrap();
    let mut options = Settings::new();
    options.set("checkpoint", checkpoint.to_str().unwrap()).unwrap();
    let data = vec![7; 40 << 20];

    let mut put = vault.put("vm", "disk", &options, none).unwrap();
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    let room = std::fs::metadata(&checkpoint).unwrap().len() + 10;
    setrlimit(Resource::RLIMIT_FSIZE, room, hard).unwrap();
    let e = put.write(&data, none).and_then(|()| put.commit(none).map(|_| ())).unwrap_err();
    setrlimit(Resource::RLIMIT_FSIZE, hard, hard).unwrap();
    assert_eq!(e.code(), Code::DiskFull, "{e:?}");
    assert!(e.message().contains(checkpoint.to_str().unwrap()), "{e}");
    drop(put);

    let mut put = vault.put("vm", "disk", &options, none).unwrap();
    put.write(&data[put.offset() as usize..], none).unwrap();
    put.commit(none).unwrap();
    assert!(!checkpoint.exists());
    vault.find("vm", "disk", &Settings::new(), none).unwrap();
}
