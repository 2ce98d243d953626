//! The shared cases (`tests/cases/*.json`) through the Rust API, on the store that the environment names, or on an
//! embedded one if it names none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::HashMap;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use s3vault::keyring::{Keys, escrow};
use s3vault::{Cancel, Code, Control, Error, Keyring, Kind, Put, Settings, Vault};
use serde_json::Value;

type Outcome<T = ()> = Result<T, Failed>;

/// The common state of all cases.
struct World {
    /// Settings of the environment's store.
    settings: Vec<(String, String)>,
    keyring: Arc<Keyring>,
}

fn main() {
    let arguments = Arguments::from_args();
    let embedded = std::env::var_os("S3VAULT_API_URL").is_none().then(|| {
        let options = embedded_store::Options::new("access", "secret").bucket("cases");
        embedded_store::Server::start(options).expect("the embedded store starts")
    });
    let mut settings: Vec<(String, String)> = s3vault_core::settings::OPTIONS
        .iter()
        .filter_map(|row| {
            Some((row.key.to_owned(), std::env::var(format!("S3VAULT_{}", row.key.to_uppercase())).ok()?))
        })
        .collect();
    if let Some(store) = &embedded {
        let own = [
            ("api_url", store.url()),
            ("access_key", "access".into()),
            ("secret_key", "secret".into()),
            ("bucket", "cases".into()),
        ];
        settings.extend(own.map(|(key, value)| (key.to_owned(), value)));
    }
    let world = Arc::new(World { settings, keyring: Arc::new(s3vault::keyring::generate().expect("a keyring")) });

    let folder = std::env::var_os("S3VAULT_CASES").map_or_else(|| PathBuf::from("../tests/cases"), PathBuf::from);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).expect("the folder of cases").map(|f| f.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "json"));
    files.sort();
    let mut trials = Vec::new();
    for file in files {
        let content: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).expect("a file of cases is JSON");
        let cases = content["cases"].as_array().expect("a list of cases");
        assert!(!cases.is_empty(), "no cases in {}", file.display());
        for case in cases {
            let (world, case) = (world.clone(), case.clone());
            let name = case["name"].as_str().expect("a case has a name").to_owned();
            if let Some(encryption) = case["encryption"].as_str()
                && world.setting("encryption") != Some(encryption)
            {
                println!("skip {name}: S3VAULT_ENCRYPTION is not {encryption}");
                continue;
            }
            trials.push(Trial::test(name, move || run(&world, &case)));
        }
    }
    assert!(!trials.is_empty(), "no cases in {}", folder.display());
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(embedded);
    conclusion.exit();
}

fn run(world: &World, case: &Value) -> Outcome {
    match case.get("verify") {
        Some(verify) => verify_case(verify),
        None => {
            let vault = world.open(&[], Some(world.keyring.clone()))?;
            let folder = tempfile::tempdir()?;
            Story { world, vault, keys: None, saved: HashMap::new(), folder }.tell(case)
        }
    }
}

impl World {
    fn setting(&self, key: &str) -> Option<&str> {
        self.settings.iter().find(|(own, _)| own == key).map(|(_, value)| &**value)
    }

    fn open(&self, changes: &[(String, String)], keyring: Option<Arc<Keyring>>) -> Result<Vault, Error> {
        let mut settings = Settings::new();
        for (key, value) in self.settings.iter().chain(changes) {
            settings.set(key, value)?;
        }
        Vault::open(&settings, keyring, &mut Control::none())
    }
}

/// A case with a store: runs its steps one after the other.
struct Story<'a> {
    world: &'a World,
    vault: Vault,
    /// The keyring that the case has made.
    keys: Option<Keys>,
    /// Version id and manifest hash by the names that steps saved them under.
    saved: HashMap<String, (String, String)>,
    /// The folder of its checkpoints.
    folder: tempfile::TempDir,
}

impl Story<'_> {
    fn tell(&mut self, case: &Value) -> Outcome {
        for (n, step) in case["steps"].as_array().ok_or("a case has steps")?.iter().enumerate() {
            let place = |what: String| Failed::from(format!("step {}, {}: {what}", n + 1, step["do"]));
            let outcome = self.step(step);
            match (step["error"].as_str(), outcome) {
                (None, Ok(())) => {}
                (None, Err(Trouble::Refused(e))) => return Err(place(format!("{e:?}"))),
                (_, Err(Trouble::Wrong(why))) => return Err(place(why)),
                (Some(wanted), Ok(())) => return Err(place(format!("it went well, and {wanted} was expected"))),
                (Some(wanted), Err(Trouble::Refused(e))) => {
                    let row = e.code().info();
                    if row.name != wanted || e.message().is_empty() || (e.hint().is_empty() && !row.hint.is_empty()) {
                        return Err(place(format!("{wanted} was expected, and {e:?} came")));
                    }
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &Value) -> Result<(), Trouble> {
        let text = |key: &str| step[key].as_str().unwrap_or_default();
        let (container, path) = (text("container"), text("path"));
        let none = &mut Control::none();
        let mut options = self.options(&step["options"])?;
        let checkpoint = step["checkpoint"].as_str().map(|name| self.folder.path().join(name));
        if let Some(file) = &checkpoint {
            options.set("checkpoint", file.to_str().unwrap())?;
        }
        match text("do") {
            "put" => {
                let data = data(&step["data"]);
                let version = match text("from") {
                    "file" => self.vault.put_file(container, path, temporary(&data).path(), &options, none)?,
                    "fd" => {
                        let file = temporary(&data);
                        self.vault.put_fd(container, path, file.as_file().as_fd(), &options, none)?
                    }
                    _ => {
                        let mut put = self.vault.put(container, path, &options, none)?;
                        write(&mut put, step, &data, data.len())?;
                        put.commit(none)?
                    }
                };
                if let Some(file) = &checkpoint {
                    same((file.exists(), "of a stored backup"), (false, "of a stored backup"))?;
                }
                let row = version.row();
                same((&*row.container, &*row.path, row.bytes), (container, path, data.len() as u64))?;
                same(row.vid.len(), 26)?;
                let hash = row.manifest_hash.clone().unwrap_or_default();
                self.saved.insert(text("save").to_owned(), (row.vid.clone(), hash));
            }
            "suspend" => {
                let data = data(&step["data"]);
                let mut put = self.vault.put(container, path, &options, none)?;
                write(&mut put, step, &data, step["after"].as_u64().unwrap() as usize)?;
                if step["cancel"] == true {
                    let cancel = Cancel::new();
                    cancel.trigger();
                    let control = &mut Control { cancel: Some(cancel), ..Control::none() };
                    let code = put.write(&data[..1], control).err().map(|e| e.code());
                    same(code, Some(Code::Cancelled))?;
                    put.suspend(control)?;
                } else {
                    put.suspend(none)?;
                }
                same((checkpoint.unwrap().exists(), "of a suspended backup"), (true, "of a suspended backup"))?;
            }
            "abandon" => {
                let mut put = self.vault.put(container, path, &options, none)?;
                put.write(&data(&step["data"]), none)?;
                put.abort(none)?;
            }
            "get" => {
                let version = self.vault.find(container, path, &options, none)?;
                let wanted = data(&step["data"]);
                let reading = self.options(&step["reading"])?;
                let got = match text("to") {
                    "file" => {
                        let file = temporary(b"what was there before");
                        version.restore(file.path(), &reading, none)?;
                        std::fs::read(file.path()).unwrap()
                    }
                    "fd" => {
                        let file = temporary(b"what was there before");
                        version.restore_fd(file.as_file().as_fd(), &reading, none)?;
                        std::fs::read(file.path()).unwrap()
                    }
                    "pread" => read_backwards(&version, wanted.len(), &reading)?,
                    _ => read(&version, &reading)?,
                };
                same(got.len(), wanted.len())?;
                same(got == wanted, true)?;
            }
            "rm" => {
                let deleted = self.vault.delete(container, path, none)?;
                let row = deleted.row();
                same((row.kind, &*row.path), (Some(Kind::Del), path))?;
                let hash = row.manifest_hash.clone().unwrap_or_default();
                self.saved.insert(text("save").to_owned(), (row.vid.clone(), hash));
            }
            "undelete" => {
                let newest = self.vault.undelete(container, path, none)?;
                same(newest.row().vid.clone(), self.resolve(text("expect")))?;
            }
            "delete" => {
                let mut which = Settings::new();
                which.set("version", &self.resolve(text("version")))?;
                self.vault.find(container, path, &which, none)?.delete(&options, none)?;
            }
            "prune" | "sweep" | "rotate" | "rekey" => {
                options.set("container", container)?;
                let (mut items, mut done) = (Vec::new(), Vec::new());
                let mut on_event = |event: &s3vault::Event<'_>| {
                    if event.kind == s3vault::EventKind::Item {
                        done.push(event.done);
                        let item: Value = serde_json::from_str(event.text.unwrap_or_default()).unwrap();
                        items.push(format!("{} {}", item["action"].as_str().unwrap(), item["vid"].as_str().unwrap()));
                    }
                    true
                };
                let control = &mut Control { on_event: Some(&mut on_event), ..Control::none() };
                let report = match text("do") {
                    "prune" => self.vault.prune(&options, control)?,
                    "rotate" => self.vault.rotate(&options, control)?,
                    "rekey" => self.vault.rekey(&options, control)?,
                    _ => self.vault.sweep(&options, control)?,
                };
                let expected = step["expect"].as_array().into_iter().flatten().map(|item| {
                    let (action, vid) = item.as_str().unwrap().split_once(' ').unwrap();
                    format!("{action} {}", self.resolve(vid))
                });
                same(&items, &expected.collect())?;
                same((report.items(), report.problems), (items.len() as u64, 0))?;
                same(done, (1..=report.items()).collect())?;
                let report: Value = serde_json::from_str(&report.to_json()).unwrap();
                for (number, wanted) in step["report"].as_object().into_iter().flatten() {
                    same((number, &report[number]), (number, wanted))?;
                }
            }
            "versions" => {
                let list = self.vault.versions(Some(container), Some(path), &options)?;
                same(rows(list, |row| row.vid.clone())?, self.expected(&step["expect"]))?;
            }
            "chain" => {
                let list = self.vault.find(container, path, &options, none)?.chain(none)?;
                same(rows(list, |row| row.vid.clone())?, self.expected(&step["expect"]))?;
            }
            "paths" => {
                let list = self.vault.paths(container, step["prefix"].as_str(), &options)?;
                same(rows(list, |row| row.path.clone())?, self.expected(&step["expect"]))?;
            }
            "containers" => {
                let names = rows(self.vault.containers(&options)?, |row| row.container.clone())?;
                for name in self.expected(&step["includes"]) {
                    same((&*name, names.contains(&name)), (&*name, true))?;
                }
                for name in self.expected(&step["excludes"]) {
                    same((&*name, names.contains(&name)), (&*name, false))?;
                }
            }
            "vault" => {
                let changes = step["settings"].as_object().into_iter().flatten();
                let changes: Vec<(String, String)> =
                    changes.map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned())).collect();
                let keyring = match text("keyring") {
                    "none" => None,
                    "new" => {
                        let keys = Keys::in_memory(s3vault::keyring::generate()?);
                        Some(self.keys.insert(keys).keyring())
                    }
                    "rotated" => {
                        let keys = self.keys.as_ref().ok_or("the case has no keyring of its own")?;
                        rotate_keyring(keys)?;
                        Some(keys.keyring())
                    }
                    _ => Some(self.world.keyring.clone()),
                };
                self.vault = self.world.open(&changes, keyring)?;
            }
            other => return Err(Trouble::Wrong(format!("there is no step '{other}'"))),
        }
        Ok(())
    }

    fn options(&self, options: &Value) -> Result<Settings, Error> {
        let mut settings = Settings::new();
        for (key, value) in options.as_object().into_iter().flatten() {
            settings.set(key, &self.resolve(value.as_str().unwrap()))?;
        }
        Ok(settings)
    }

    /// `$name` stands for a saved version id, `$name.hash` for its manifest's hash.
    fn resolve(&self, text: &str) -> String {
        let Some(name) = text.strip_prefix('$') else { return text.to_owned() };
        match name.strip_suffix(".hash") {
            Some(name) => self.saved[name].1.clone(),
            None => self.saved[name].0.clone(),
        }
    }

    fn expected(&self, list: &Value) -> Vec<String> {
        list.as_array().into_iter().flatten().map(|text| self.resolve(text.as_str().unwrap())).collect()
    }
}

/// Writes from the offset of the put, which must be within `resumes_at`, up to byte `end`.
fn write(put: &mut Put, step: &Value, data: &[u8], end: usize) -> Result<(), Trouble> {
    let start = put.offset() as usize;
    if let Some(bounds) = step["resumes_at"].as_array() {
        let bounds: Vec<usize> = bounds.iter().map(|bound| bound.as_u64().unwrap() as usize).collect();
        if !(bounds[0]..=bounds[1]).contains(&start) || !start.is_multiple_of(8 << 20) {
            let wanted = format!("a multiple of 8 MiB from {} to {}", bounds[0], bounds[1]);
            return Err(Trouble::Wrong(format!("the put resumes at byte {start}, and {wanted} was expected")));
        }
    }
    for piece in data[start..end].chunks(step["chunk"].as_u64().unwrap_or(1 << 20) as usize) {
        put.write(piece, &mut Control::none())?;
    }
    same(put.offset(), end as u64)
}

/// Reads by position, the last piece first; a read across the end returns what is there.
fn read_backwards(version: &s3vault::Version, size: usize, reading: &Settings) -> Result<Vec<u8>, Trouble> {
    const PIECE: usize = 5_000_000;
    let none = &mut Control::none();
    let random = version.open(reading, none)?.positional();
    let mut all = vec![0; size];
    same(random.read(size as u64, &mut [0; 10], none)?, 0)?;
    for start in (0..size).step_by(PIECE).rev() {
        let mut piece = vec![0; PIECE];
        let count = random.read(start as u64, &mut piece, none)?;
        same(count, PIECE.min(size - start))?;
        all[start..start + count].copy_from_slice(&piece[..count]);
    }
    Ok(all)
}

fn read(version: &s3vault::Version, reading: &Settings) -> Result<Vec<u8>, Error> {
    let mut get = version.open(reading, &mut Control::none())?;
    let (mut all, mut buffer) = (Vec::new(), vec![0; 100_000]);
    loop {
        match get.read(&mut buffer, &mut Control::none())? {
            0 => return Ok(all),
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
}

fn rows(mut list: s3vault::List, each: impl Fn(&s3vault::Row) -> String) -> Result<Vec<String>, Error> {
    let mut texts = Vec::new();
    while let Some(row) = list.next(&mut Control::none())? {
        texts.push(each(&row));
    }
    Ok(texts)
}

/// Makes another key-encryption key current.
fn rotate_keyring(keys: &Keys) -> Result<(), Error> {
    let kek = keys.add()?;
    keys.export(None, &escrow::Reader::new("recipients", RECIPIENT.as_bytes())?, None)?;
    keys.activate(&kek)
}

/// Who can open the escrow files of the cases.
const RECIPIENT: &str = "age1xmwwc06ly3ee5rytxm9mflaz2u56jjj36s0mypdrwsvlul66mv4q47ryef";

/// A failed step: the library returned an error, or a wrong result.
enum Trouble {
    Refused(Error),
    Wrong(String),
}

impl From<Error> for Trouble {
    fn from(e: Error) -> Trouble {
        Trouble::Refused(e)
    }
}

impl From<&str> for Trouble {
    fn from(why: &str) -> Trouble {
        Trouble::Wrong(why.to_owned())
    }
}

fn same<T: PartialEq + std::fmt::Debug>(got: T, wanted: T) -> Result<(), Trouble> {
    if got == wanted { Ok(()) } else { Err(Trouble::Wrong(format!("{got:?} came, and {wanted:?} was expected"))) }
}

fn temporary(content: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    file
}

/// `{"text"}`, or `{"size", "seed"}`: xorshift64*, as `tests/cases/README.md` says.
fn data(value: &Value) -> Vec<u8> {
    if let Some(text) = value["text"].as_str() {
        return text.as_bytes().to_vec();
    }
    let size = value["size"].as_u64().unwrap_or(0) as usize;
    let mut x = value["seed"].as_u64().unwrap_or(0).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1).max(1);
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        bytes.extend_from_slice(&x.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// A case without a store: the verdict of the signature, then of every part of the data.
fn verify_case(case: &Value) -> Outcome {
    use s3vault_core::checksum::digest;
    let object = case["object"].as_str().ok_or("a verify case has an object")?;
    let report = s3vault::verify_manifest(object.as_bytes(), case["public_keys"].as_str().unwrap_or_default())
        .map_err(|e| format!("{e:?}"))?;
    let report: Value = serde_json::from_str(&report)?;
    let mut verdict = report["verdict"].as_str().unwrap_or_default().to_owned();
    let mut bad_part = None;
    if verdict != "bad" {
        let damaged = damage(data(&case["data"]), &case["damage"]);
        let json = object.lines().next().unwrap_or_default();
        let manifest: s3vault_core::vault::Manifest = serde_json::from_str(json)?;
        let mut rest = damaged.as_slice();
        for (n, part) in manifest.parts().map(|part| part.hash).enumerate() {
            let (piece, after) = rest.split_at((part.length as usize).min(rest.len()));
            if !part.matches(piece.len() as u64, &digest(piece)) && bad_part.is_none() {
                bad_part = Some(n as u64 + 1);
            }
            rest = after;
        }
        if bad_part.is_some() || !rest.is_empty() {
            verdict = "bad".into();
        }
    }
    let wanted = &case["expect"];
    if verdict != wanted["verdict"].as_str().unwrap_or_default() {
        return Err(format!("the verdict is {verdict}, and {} was expected: {report}", wanted["verdict"]).into());
    }
    if wanted["part"].is_u64() && bad_part != wanted["part"].as_u64() {
        return Err(format!("part {bad_part:?} is the first bad one, and {} was expected", wanted["part"]).into());
    }
    Ok(())
}

fn damage(mut data: Vec<u8>, damage: &Value) -> Vec<u8> {
    if let Some(offset) = damage["flip"].as_u64() {
        data[offset as usize] ^= 1;
    }
    if let Some(length) = damage["cut"].as_u64() {
        data.truncate(length as usize);
    }
    let _ = damage["append"].as_str().map(|text| text.as_bytes()).map(|mut more| more.read_to_end(&mut data));
    data
}
