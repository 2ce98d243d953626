//! What happens to the bucket beside the vault: somebody without the key, other programs, and locks.

use s3_model::{Attributes, Object, Received, Refusal, WriteCondition};
use s3vault_core::vault::Vid;
use s3vault_core::vault::objects::catalogue_prefix;

use super::actor::{CONTAINER, PATHS, name};
use super::plan::Op;
use super::run::Run;
use super::snapshot::{Held, locator};
use crate::content::Content;
use crate::store::at;

impl Run {
    /// Somebody without the key stores rows that look newer than all others.
    pub(super) fn forge(&mut self) {
        for n in 0..3_u8 {
            let clock = self.clock();
            let vid = Vid::new(clock - i64::from(n) * 1000, [n; 10]);
            let key = format!("{}{vid}.{clock}.full.1.-", catalogue_prefix(&name(usize::from(n % 2))));
            self.store_as_another(&key, Content::default(), clock);
            self.rules.forged.insert(key);
        }
    }

    /// Stores an object as another program does.
    fn store_as_another(&mut self, key: &str, content: Content, clock: i64) {
        let (etag, crc64nvme) = (content.md5(), content.digest().crc64nvme);
        let object = Object::whole(Received { content, etag, crc64nvme, checksum: None }, Attributes::default());
        let put = self.store.put(&self.bucket, key, object, &WriteCondition::None, at(clock));
        put.unwrap_or_else(|refusal| unreachable!("the bucket is there: {refusal:?}"));
    }

    /// Somebody else does something in the bucket.
    pub(super) fn interfere(&mut self, number: usize, op: Op) {
        if self.store.bucket(&self.bucket).is_err() {
            return;
        }
        match op {
            Op::Write { name, count } => {
                let key = format!("{CONTAINER}/{}", PATHS[name]);
                for n in 0..count {
                    self.replaces(&key);
                    let text = format!("object {n} of program {number:06}");
                    self.store_as_another(&key, Content::bytes(text.as_bytes()), self.clock());
                }
            }
            Op::Hide { name } => {
                let key = format!("{CONTAINER}/{}", PATHS[name]);
                self.replaces(&key);
                // What is locked can be hidden.
                let now = at(self.clock());
                let _ = self.store.delete(&self.bucket, &key, None, false, now);
            }
            Op::Lock { name, pick } => self.lock(name, pick),
            Op::Unlock => self.unlock(),
            _ => unreachable!("the vault does this"),
        }
    }

    /// Another program writes over a key, or deletes it: without versions, what was there is gone.
    fn replaces(&mut self, key: &str) {
        let now = self.snapshot();
        let of_key = now.objects.iter().filter(|((own, id), _)| own == key && id == "null");
        self.rules.replaced.extend(of_key.map(|((key, _), Held { etag, .. })| (key.clone(), etag.clone())));
        self.rules.written.insert(key.to_owned(), self.rules.arrivals);
    }

    /// From now on the store does not delete the rows, the locators and the data of a version.
    fn lock(&mut self, name: usize, pick: usize) {
        let of_name = self.rules.committed.iter().filter(|(_, one)| one.name == name).map(|(vid, _)| *vid);
        let versions: Vec<Vid> = of_name.collect();
        let Some(vid) = pick.checked_rem(versions.len()).map(|pick| versions[pick]) else { return };
        let row = self.rules.committed[&vid].key.clone();
        let now = self.snapshot();
        let of =
            |key: &str, held: &Held| locator(key).map(|locator| locator.vid).or(held.vid) == Some(vid) || *key == row;
        let own = now.objects.iter().filter(|((key, _), held)| of(key, held)).map(|((key, _), _)| key.clone());
        let refusal = Refusal::access_denied("Access Denied because object protected by object lock.");
        if let Ok(bucket) = self.store.bucket_mut(&self.bucket) {
            bucket.undeletable.extend(own.map(|key| (key, refusal.clone())));
        }
    }

    /// The store deletes everything again.
    pub(super) fn unlock(&mut self) {
        if let Ok(bucket) = self.store.bucket_mut(&self.bucket) {
            bucket.undeletable.clear();
        }
        self.unlocked = self.rules.arrivals;
    }
}
