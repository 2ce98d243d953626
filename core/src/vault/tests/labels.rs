//! Labels: stored in the manifest, shown with a version, and part of what a checkpoint was started with.

use super::super::*;
use super::world::*;
use crate::Code;
use crate::transfer::checkpoint::Checkpoint;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn labelled(labels: &str, checkpoint: Option<Checkpoint>) -> PutRequest {
    PutRequest { labels: Labels::parse(labels).unwrap(), checkpoint, ..request(None, None, 1) }
}

#[test]
fn the_labels_of_a_put_are_those_of_its_version() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let request = labelled("policy=daily,hold=", None);
    let stored = world.run(&mut Put::new(vault.clone(), request.clone()).unwrap(), b"x").unwrap();
    let found = find(&mut world, &vault, Selector::Latest).unwrap();
    assert_eq!((&found.manifest.labels, &found.row.labels), (&request.labels, &Some(request.labels.clone())));
    assert!(found.manifest.labels.holds() && stored.row == found.row);
    let list = ListPage::new(vault.clone(), Scope::All, Cursor::default(), 1);
    let (rows, _) = world.run(&mut { list }, &[]).unwrap();
    assert_eq!(rows[0].labels, None, "a listing reads no manifests");
    let plain = super::world::stored(&mut world, &vault, b"x", 2);
    assert!(!String::from_utf8_lossy(&plain.object).contains("labels"));
}

#[test]
fn a_put_resumes_with_its_own_labels_only() {
    let (mut world, vault) = (World::new(), vault(&[]));
    let mut machine = Put::new(vault.clone(), labelled("a=1", Some(Checkpoint::default()))).unwrap();
    world.fault("CompleteMultipartUpload", "", Fault::Refused(403, "AccessDenied"));
    world.run(&mut machine, &large()).unwrap_err();
    for other in ["", "a=2", "a=1,b=2"] {
        let (checkpoint, _) = Checkpoint::parse(&world.saved, &vault.checkpoint_key()).unwrap();
        let e = Put::new(vault.clone(), labelled(other, Some(checkpoint))).err().unwrap();
        assert_eq!(e.code(), Code::BadCheckpoint);
        assert!(e.message().starts_with("the checkpoint was started with other labels: a=1, not "), "{e}");
    }
    let (checkpoint, _) = Checkpoint::parse(&world.saved, &vault.checkpoint_key()).unwrap();
    let found = world.run(&mut Put::new(vault, labelled("a=1", Some(checkpoint))).unwrap(), &large()).unwrap();
    assert_eq!(found.manifest.labels.get("a"), Some("1"));
}
