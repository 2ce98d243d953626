//! Deletions and jobs through the Rust API, on an embedded store, in all modes: what is hidden and taken back, what a
//! prune and a sweep free, and that the items of a job come in order and complete, also after it was stopped.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use embedded_store::{Options, Server, Versioning};
use s3vault::{Cancel, Code, Control, Error, Event, EventKind, Initialized, Kind, Report, Settings, Vault, Version};
use serde_json::Value;
use support::settings;

const MODES: [&str; 4] = ["single-bucket", "single-bucket-no-versioning", "per-vm", "per-vm-emulated"];

/// The buckets of the containers vm, a, b and c.
const BUCKETS: [&str; 4] = ["vm-vm-lphjr5z7h3", "vm-a-zklycewkdo", "vm-b-hyr6qfqahf", "vm-c-fz6sya5jkb"];

struct Rig {
    store: Server,
    settings: Settings,
    vault: Vault,
}

fn rig(mode: &str, changes: &[(&str, &str)]) -> Rig {
    let mut options = Options::new("access", "secret").bucket("jobs");
    options.buckets.push(("plain".into(), Versioning::Off));
    if mode.starts_with("per-vm") {
        let versioning = if mode == "per-vm" { Versioning::Enabled } else { Versioning::Off };
        options.buckets.extend(BUCKETS.map(|name| (name.to_owned(), versioning)));
    }
    let store = Server::start(options).unwrap();
    let own: &[(&str, &str)] = match mode {
        "single-bucket" => &[],
        "single-bucket-no-versioning" => &[("mode", "single-bucket-no-versioning"), ("bucket", "plain")],
        "per-vm" => &[("mode", "bucket-per-vm"), ("bucket", ""), ("bucket_prefix", "vm-")],
        _ => &[("mode", "bucket-per-vm"), ("bucket", ""), ("bucket_prefix", "vm-"), ("per_vm_versioning", "emulated")],
    };
    let mut settings = support::reaching(&store.url(), "jobs");
    for (key, value) in own.iter().chain(changes) {
        settings.set(key, value).unwrap();
    }
    let keyring = Arc::new(s3vault::keyring::generate().unwrap());
    let vault = Vault::open(&settings, Some(keyring), &mut Control::none()).unwrap();
    Rig { store, settings, vault }
}

/// The result of a job, and its items.
type Told = (Result<Report, Error>, Vec<Value>);

impl Rig {
    fn put(&self, container: &str, path: &str, bytes: &[u8], parent: Option<&str>) -> String {
        let none = &mut Control::none();
        let mut options = Settings::new();
        if let Some(parent) = parent {
            options = settings(&[("kind", "incremental"), ("parent", parent)]);
        }
        let mut put = self.vault.put(container, path, &options, none).unwrap();
        put.write(bytes, none).unwrap();
        put.commit(none).unwrap().row().vid.clone()
    }

    fn find(&self, container: &str, path: &str, options: &[(&str, &str)]) -> Result<Version, Error> {
        self.vault.find(container, path, &settings(options), &mut Control::none())
    }

    fn listed(&self, container: &str, path: &str) -> Vec<String> {
        let mut list = self.vault.versions(Some(container), Some(path), &Settings::new()).unwrap();
        std::iter::from_fn(|| list.next(&mut Control::none()).unwrap()).map(|row| row.vid).collect()
    }

    /// Makes everything that hides something older than the time after which it may be freed.
    fn age_markers(&self) {
        for (bucket, part) in self.buckets().iter().flat_map(|bucket| [(bucket, ".-d"), (bucket, ".-s")]) {
            self.store.age(bucket, part, Duration::from_secs(3600)).unwrap();
        }
    }

    fn buckets(&self) -> Vec<String> {
        let client = s3vault::Client::open(&self.settings, &mut Control::none()).unwrap();
        let list = s3vault::op::ListBuckets::default();
        client.call(list, &mut Control::none()).unwrap().buckets.into_iter().map(|bucket| bucket.name).collect()
    }

    fn prune(&self, options: &[(&str, &str)]) -> Told {
        told(|control| self.vault.prune(&settings(options), control), |_| true)
    }

    fn sweep(&self, options: &[(&str, &str)]) -> Told {
        told(|control| self.vault.sweep(&settings(options), control), |_| true)
    }
}

/// Runs a job, and keeps its items. `more` says whether it may continue after an item.
fn told(job: impl FnOnce(&mut Control<'_>) -> Result<Report, Error>, mut more: impl FnMut(usize) -> bool) -> Told {
    let mut items = Vec::new();
    let mut counts = Vec::new();
    let mut on_event = |event: &Event<'_>| {
        if event.kind == EventKind::Item {
            items.push(serde_json::from_str(event.text.unwrap()).unwrap());
            counts.push(event.done);
        }
        more(items.len())
    };
    let result = job(&mut Control { on_event: Some(&mut on_event), ..Control::none() });
    assert_eq!(counts, (1..=counts.len() as u64).collect::<Vec<_>>(), "each item counts");
    (result, items)
}

/// Action, container and path of each item.
fn said(items: &[Value]) -> Vec<(String, String)> {
    let text = |item: &Value, key: &str| item[key].as_str().unwrap().to_owned();
    let one = |item: &Value| (text(item, "action"), format!("{}/{}", text(item, "container"), text(item, "path")));
    items.iter().map(one).collect()
}

#[test]
fn a_deleted_backup_is_gone_until_it_is_taken_back_and_its_versions_stay() {
    for mode in MODES {
        let rig = rig(mode, &[]);
        let none = &mut Control::none();
        let first = rig.put("vm", "disk", b"one", None);
        let second = rig.put("vm", "disk", b"two", None);
        let deleted = rig.vault.delete("vm", "disk", none).unwrap();
        assert_eq!(deleted.row().kind, Some(Kind::Del), "{mode}");
        assert_eq!(rig.find("vm", "disk", &[]).map(|_| ()).unwrap_err().code(), Code::NotFound, "{mode}");
        assert!(rig.find("vm", "disk", &[("version", &first)]).is_ok(), "{mode}: by its id");
        let again = rig.vault.delete("vm", "disk", none).map(|_| ()).unwrap_err();
        assert_eq!(again.code(), Code::NotFound, "{mode}");
        assert!(again.message().contains("already deleted"), "{mode}: {}", again.message());
        let back = rig.vault.undelete("vm", "disk", none).unwrap();
        assert_eq!(back.row().vid, second, "{mode}");
        assert_eq!(rig.listed("vm", "disk"), [second, first], "{mode}");
        assert_eq!(rig.vault.undelete("vm", "disk", none).map(|_| ()).unwrap_err().code(), Code::NotFound, "{mode}");
        assert_eq!(rig.vault.delete("vm", "none", none).map(|_| ()).unwrap_err().code(), Code::NotFound, "{mode}");
    }
}

#[test]
fn a_deleted_version_frees_its_bytes_with_a_sweep_half_an_hour_later() {
    for mode in MODES {
        let rig = rig(mode, &[]);
        let none = &mut Control::none();
        let full = rig.put("vm", "disk", &[1; 1000], None);
        let inc = rig.put("vm", "disk", &[2; 100], Some(&full));
        let find = |vid: &str| rig.find("vm", "disk", &[("version", vid)]).unwrap();
        let e = find(&full).delete(&Settings::new(), none).unwrap_err();
        assert_eq!(e.code(), Code::HasDependents, "{mode}");
        assert!(e.message().contains(&inc), "{mode}: {}", e.message());
        let (old, older) = (find(&inc), find(&full));
        old.delete(&Settings::new(), none).unwrap();
        old.delete(&Settings::new(), none).unwrap();
        older.delete(&Settings::new(), none).unwrap();
        assert_eq!(rig.listed("vm", "disk"), [""; 0], "{mode}");
        let (report, items) = rig.sweep(&[]);
        assert_eq!((report.unwrap().waiting, items.len()), (2, 2), "{mode}: too early");
        rig.age_markers();
        let (report, items) = rig.sweep(&[("dry_run", "true")]);
        assert_eq!((report.unwrap().freed, items.len()), (2, 2), "{mode}");
        let before = rig.store.stats().stored_bytes;
        let (report, items) = rig.sweep(&[]);
        let report = report.unwrap();
        assert_eq!((report.freed, report.freed_bytes, report.problems, items.len()), (2, 1100, 0, 2), "{mode}");
        assert!(rig.store.stats().stored_bytes <= before - 1100, "{mode}");
        let (report, items) = rig.sweep(&[]);
        assert_eq!((report.unwrap().items(), items.len()), (0, 0), "{mode}");
        assert_eq!(old.delete(&Settings::new(), none).unwrap_err().code(), Code::NotFound, "{mode}: it is gone");
    }
}

#[test]
fn a_prune_follows_the_configuration_and_a_call_may_say_otherwise() {
    for mode in MODES {
        let rig = rig(mode, &[("retention_full_versions", "2")]);
        let vids: Vec<String> = (0..4).map(|n| rig.put("vm", "disk", &[n; 10], None)).collect();
        let (dry, would) = rig.prune(&[("dry_run", "true")]);
        let dry = dry.unwrap();
        assert_eq!((dry.deleted, dry.kept, dry.deleted_bytes, dry.dry_run), (2, 2, 20, true), "{mode}");
        assert_eq!(rig.listed("vm", "disk").len(), 4, "{mode}: a dry run changes nothing");
        let (more, _) = rig.prune(&[("dry_run", "true"), ("retention_full_versions", "1")]);
        assert_eq!(more.unwrap().deleted, 3, "{mode}");
        let e = rig.prune(&[("retention_full_versions", "0")]).0.unwrap_err();
        assert_eq!(e.code(), Code::InvalidOption, "{mode}: nothing would ever go");
        let (report, items) = rig.prune(&[]);
        assert_eq!(Report { dry_run: true, ..report.unwrap() }, dry, "{mode}");
        assert_eq!(said(&items), said(&would), "{mode}: the run does what its dry run said");
        assert_eq!(rig.listed("vm", "disk"), [vids[3].clone(), vids[2].clone()], "{mode}");
        rig.age_markers();
        let report = rig.prune(&[]).0.unwrap();
        assert_eq!((report.freed, report.freed_bytes, report.problems), (2, 20, 0), "{mode}");
    }
}

#[test]
fn a_job_may_be_for_one_container_and_is_for_all_otherwise() {
    for mode in MODES {
        let rig = rig(mode, &[]);
        for container in ["a", "b", "c"] {
            for n in 0..2 {
                rig.put(container, "disk", &[n; 10], None);
            }
        }
        let limit = ("retention_full_versions", "1");
        let (report, items) = rig.prune(&[limit, ("container", "b")]);
        assert_eq!(report.unwrap().deleted, 1, "{mode}");
        assert_eq!(said(&items), [("keep".into(), "b/disk".into()), ("delete".into(), "b/disk".into())], "{mode}");
        let (report, items) = rig.prune(&[limit]);
        let report = report.unwrap();
        assert_eq!((report.deleted, report.kept, report.waiting, report.backups), (2, 3, 1, 3), "{mode}");
        let mut paths: Vec<String> = said(&items).into_iter().map(|(_, path)| path).collect();
        paths.dedup();
        if !rig.settings.text("mode").starts_with("bucket") {
            assert_eq!(paths, ["a/disk", "b/disk", "c/disk"], "{mode}: in order");
        }
        assert_eq!(rig.prune(&[limit, ("container", "a/b")]).0.unwrap_err().code(), Code::InvalidName, "{mode}");
    }
}

#[test]
fn items_come_in_order_and_none_is_lost() {
    let rig = rig("single-bucket", &[("retention_full_versions", "1")]);
    let paths: Vec<String> = (0..120).map(|n| format!("disk-{n:04}")).collect();
    for path in &paths {
        rig.put("vm", path, b"old", None);
        rig.put("vm", path, b"new", None);
    }
    let (report, items) = rig.prune(&[]);
    let report = report.unwrap();
    assert_eq!((report.items(), report.deleted), (240, 120));
    let expected = paths.iter().flat_map(|path| ["keep", "delete"].map(|word| (word.into(), format!("vm/{path}"))));
    assert_eq!(said(&items), expected.collect::<Vec<(String, String)>>());
}

#[test]
fn a_job_that_was_stopped_continues_when_it_is_run_again() {
    for by_callback in [true, false] {
        let rig = rig("single-bucket", &[("retention_full_versions", "1")]);
        for n in 0..60 {
            rig.put("vm", &format!("disk-{n:03}"), b"old", None);
            rig.put("vm", &format!("disk-{n:03}"), b"new", None);
        }
        rig.store
            .fault(serde_json::from_str(r#"{"operation": "PutObject", "times": 1000, "delay_ms": 30}"#).unwrap())
            .unwrap();
        let cancel = Cancel::new();
        let trigger = cancel.clone();
        let (result, items) = told(
            |control| {
                control.cancel = Some(cancel);
                rig.vault.prune(&Settings::new(), control)
            },
            |count| {
                if count >= 10 && !by_callback {
                    trigger.trigger();
                }
                count < 10 || !by_callback
            },
        );
        let e = result.unwrap_err();
        assert_eq!(e.code(), if by_callback { Code::Stopped } else { Code::Cancelled });
        assert!(e.hint().starts_with("Run it again"), "{}", e.hint());
        assert!((10..120).contains(&items.len()), "{}", items.len());
        rig.store.clear_faults();
        let (report, items) = rig.prune(&[]);
        let report = report.unwrap();
        assert_eq!((report.kept, report.deleted + report.waiting, report.problems), (60, 60, 0));
        assert!(report.waiting > 0, "what was done before stays done");
        assert_eq!(items.len() as u64, report.items());
        let (report, _) = rig.prune(&[]);
        assert_eq!(report.unwrap().deleted, 0);
    }
}

#[test]
fn nothing_is_pruned_while_the_clocks_differ_and_nothing_is_deleted_without_a_keyring() {
    let rig = rig("single-bucket", &[("retention_full_versions", "1")]);
    rig.put("vm", "disk", b"old", None);
    rig.put("vm", "disk", b"new", None);
    let public = {
        let version = rig.find("vm", "disk", &[]).unwrap();
        version.row().signed_by.clone().unwrap()
    };
    assert!(!public.is_empty());
    let blind = Vault::open(&rig.settings, None, &mut Control::none()).unwrap();
    let report = blind.prune(&Settings::new(), &mut Control::none()).unwrap();
    assert_eq!((report.deleted, report.kept), (0, 2));
    rig.store.set_clock_offset(600);
    let other = Vault::open(&rig.settings, None, &mut Control::none()).unwrap();
    assert_eq!(other.prune(&Settings::new(), &mut Control::none()).unwrap_err().code(), Code::ClockSkew);
    assert_eq!(rig.listed("vm", "disk").len(), 2);
}

#[test]
fn keys_are_tried_before_they_are_used_in_every_mode() {
    for mode in MODES {
        let rig = rig(mode, &[]);
        let none = &mut Control::none();
        let keys = |secret| settings(&[("access_key", "access"), ("secret_key", secret)]);
        let e = rig.vault.update(&keys("wrong"), none).unwrap_err();
        assert_eq!(e.code(), Code::SignatureRefused, "{mode}");
        rig.vault.update(&keys("secret"), none).unwrap();
        rig.put("vm", "disk", b"x", None);
    }
}

#[test]
fn options_of_jobs_are_checked_before_anything_is_sent() {
    let rig = rig("single-bucket", &[]);
    let e = rig.prune(&[]).0.unwrap_err();
    assert_eq!(e.code(), Code::InvalidOption);
    assert!(e.hint().contains("retention_full_versions"), "{}", e.hint());
    for (key, value) in [("grace", "1m"), ("keep_last", "true"), ("parent", "x")] {
        assert_eq!(rig.sweep(&[(key, value)]).0.unwrap_err().code(), Code::InvalidOption, "{key}");
    }
}

#[test]
fn a_vault_is_made_once_and_a_bucket_that_does_not_fit_is_refused() {
    for mode in MODES {
        let rig = rig(mode, &[]);
        let none = &mut Control::none();
        let (first, second) = (rig.vault.init(none).unwrap(), rig.vault.init(none).unwrap());
        let expected = match mode.starts_with("single") {
            true => (Initialized::Made, Initialized::WasThere),
            false => (Initialized::BucketPerContainer, Initialized::BucketPerContainer),
        };
        assert_eq!((first, second), expected, "{mode}");
        rig.put("vm", "disk", b"x", None);
    }
    let rig = rig("single-bucket", &[("bucket", "plain")]);
    let e = rig.vault.init(&mut Control::none()).unwrap_err();
    assert_eq!(e.code(), Code::Versioning);
    assert!(e.hint().contains("single-bucket-no-versioning"), "{}", e.hint());
}

/// The first answer in each bucket takes long: meanwhile, the jobs in the other buckets have started.
#[test]
fn where_each_container_has_a_bucket_several_are_worked_on_at_once_and_items_come_in_their_order() {
    let rig = rig("per-vm", &[("retention_full_versions", "1")]);
    let containers = ["a", "b", "c"];
    for container in containers {
        for n in 0..2 {
            rig.put(container, "disk", &[n; 10], None);
        }
    }
    let (_, expected) = rig.prune(&[("dry_run", "true")]);
    assert_eq!(expected.len(), 6);
    let slow = r#"{"operation": "GetBucketVersioning", "times": 3, "delay_ms": 5000}"#;
    rig.store.fault(serde_json::from_str(slow).unwrap()).unwrap();
    let count = |operation: &str| rig.store.stats().requests.get(operation).copied().unwrap_or(0);
    let (asked, marked) = (count("GetBucketVersioning"), count("PutObject"));
    std::thread::scope(|scope| {
        let job = scope.spawn(|| rig.prune(&[]));
        while count("GetBucketVersioning") < asked + 3 {
            assert_eq!(count("PutObject"), marked, "a bucket is pruned before the next one is looked at");
            assert!(!job.is_finished());
            std::thread::sleep(Duration::from_millis(10));
        }
        rig.store.clear_faults();
        let (report, items) = job.join().unwrap();
        assert_eq!(report.unwrap().deleted, 3);
        assert_eq!(said(&items), said(&expected));
    });
}
