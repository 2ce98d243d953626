//! The bucket of a container, if each container has its own: before the first put of a process uses it, it is looked at,
//! and created where it is missing.
//!
//! ```text
//!  Look: `vault.json` beside the versioning ──fits, or refused──▶ Done
//!    │ no bucket             │ no versioning, no `vault.json`, native
//!    ▼                       ▼
//!  Create ──────────────▶ Switch on ─▶ Look again ─▶ Describe: write `vault.json` ─▶ Done
//!    │ the account's limit
//!    └▶ Count the vault's buckets ─▶ Done: an error that names them
//! ```
//! Writers that race do the same things: a bucket that another one has just created is their own, versioning may be
//! switched on twice, and `vault.json` has the same bytes. It is written last, so that a bucket with one is complete.

use std::sync::Arc;

use crate::error::{Code, Error, Result};
use crate::op::{
    BucketList, BucketVersioning, CreateBucket, GetBucketVersioning, GetObject, ListBuckets, Paged,
    PutBucketVersioning, Step, Steps,
};
use crate::text::presentable_key;
use crate::vault::Vault;
use crate::vault::layout::{Place, Versioning};
use crate::vault::objects::VAULT_KEY;
use crate::vault::open::DESCRIPTION_LIMIT;

/// The data of the look at a container's bucket.
pub(super) struct Prepare {
    vault: Arc<Vault>,
    place: Arc<Place>,
    container: String,
}

impl Steps for Prepare {
    type Done = ();
    const WHAT: &'static str = "preparing the container's bucket";
}

impl Prepare {
    /// Looks at the bucket, and creates it where it is missing.
    pub(super) fn start(vault: &Arc<Vault>, place: &Arc<Place>, container: &str) -> (Prepare, Step<Prepare>) {
        let (vault, place, container) = (vault.clone(), place.clone(), container.to_owned());
        let description = GetObject::new(VAULT_KEY, DESCRIPTION_LIMIT);
        let first = Step::both(description, GetBucketVersioning, |_, _| None, Prepare::looked);
        (Prepare { vault, place, container }, first)
    }

    fn looked(&mut self, description: Result<Vec<u8>>, versioning: Option<Result<BucketVersioning>>) -> Step<Prepare> {
        let versioning = versioning.unwrap_or(Ok(BucketVersioning::Off));
        match (description, &versioning) {
            (Err(e), _) if e.code() == Code::NoSuchBucket => return self.create(),
            (_, Err(e)) if e.code() == Code::NoSuchBucket => return self.create(),
            (Ok(found), _) => match self.compare(&found) {
                Ok(()) => self.place.set_described(true),
                Err(e) => return Step::done(Err(e)),
            },
            (Err(e), _) if e.code() == Code::NotFound => {}
            (Err(e), _) => return Step::done(Err(self.refused(e))),
        }
        match versioning {
            // It was created by a process that was stopped before it could switch versioning on.
            Ok(BucketVersioning::Off) if self.is_native() && !self.place.is_described() => self.switch_on(),
            Ok(status) => self.check(status),
            Err(e) if e.status() == 501 => self.check(BucketVersioning::Off),
            // These keys may not ask: the reply to the locator's PUT shows it.
            Err(e) if e.code() == Code::AccessDenied => self.describe(),
            Err(e) => Step::done(Err(e)),
        }
    }

    fn is_native(&self) -> bool {
        self.vault.layout.versioning() == Versioning::Native
    }

    /// Compares `vault.json` with this vault and this container.
    fn compare(&self, found: &[u8]) -> Result<()> {
        let container = self.vault.compare(&self.place.bucket, found)?;
        if container.as_ref() == Some(&self.container) {
            return Ok(());
        }
        let whose = container.map_or("no container".into(), |name| format!("container {}", presentable_key(name)));
        let (bucket, own) = (self.place.bucket.name(), &self.container);
        let why = format!("s3://{bucket}/{VAULT_KEY} says that the bucket is that of {whose}, not of {own}");
        Err(Error::new(Code::VaultMismatch, why)
            .with_hint("Look who can write to the bucket, and whether it was copied."))
    }

    fn create(&mut self) -> Step<Prepare> {
        let region = self.place.bucket.endpoint().region().to_owned();
        let create = CreateBucket { region, object_lock: self.vault.immutable.is_some() };
        Step::try_call(create, |prepare: &mut Prepare, _, answer| match answer {
            Ok(()) => prepare.created(),
            // Another writer was faster, or the answer to an earlier attempt was lost.
            Err(e) if e.s3_code() == "BucketAlreadyOwnedByYou" => prepare.created(),
            Err(e) if e.s3_code() == "TooManyBuckets" => prepare.count(e),
            Err(e) => Step::done(Err(prepare.refused(e))),
        })
    }

    fn created(&mut self) -> Step<Prepare> {
        if self.is_native() { self.switch_on() } else { self.look_again() }
    }

    fn switch_on(&mut self) -> Step<Prepare> {
        Step::call(PutBucketVersioning { enabled: true }, |prepare: &mut Prepare, _, ()| prepare.look_again())
    }

    fn look_again(&mut self) -> Step<Prepare> {
        Step::try_call(GetBucketVersioning, |prepare: &mut Prepare, _, answer| match answer {
            Ok(status) => prepare.check(status),
            Err(e) if e.status() == 501 => prepare.check(BucketVersioning::Off),
            Err(e) if e.code() == Code::AccessDenied => prepare.describe(),
            Err(e) => Step::done(Err(e)),
        })
    }

    fn check(&mut self, status: BucketVersioning) -> Step<Prepare> {
        if let Err(e) = self.vault.layout.check_place(&self.place, status) {
            return Step::done(Err(e));
        }
        self.describe()
    }

    fn describe(&mut self) -> Step<Prepare> {
        if self.place.is_described() {
            return Step::done(Ok(()));
        }
        Step::call(
            self.vault.put_json(VAULT_KEY, self.vault.description(&self.container)),
            |prepare: &mut Prepare, _, _| {
                prepare.place.set_described(true);
                Step::done(Ok(()))
            },
        )
    }

    /// The account may have no more buckets: says how many of them are the vault's.
    fn count(&mut self, full: Error) -> Step<Prepare> {
        let prefix = self.vault.layout.bucket_prefix().unwrap_or_default().to_owned();
        self.count_page(ListBuckets { prefix, ..ListBuckets::default() }, full, 0)
    }

    fn count_page(&mut self, list: ListBuckets, full: Error, before: usize) -> Step<Prepare> {
        Step::try_call(list, move |prepare: &mut Prepare, list, answer: Result<BucketList>| {
            let Ok(page) = answer else { return Step::done(Err(prepare.too_many(full, None))) };
            let own = page.buckets.iter().filter(|entry| prepare.vault.layout.may_be_container_bucket(&entry.name));
            let count = before + own.count();
            match list.next(&page) {
                Some(next) => prepare.count_page(next, full, count),
                None => Step::done(Err(prepare.too_many(full, Some(count)))),
            }
        })
    }

    fn too_many(&self, full: Error, count: Option<usize>) -> Error {
        let needed = match count {
            Some(count) => format!("the vault has {count} buckets, one for each container, and needs {}", count + 1),
            None => "the vault needs one for each container".to_owned(),
        };
        full.context(format_args!(
            "the account's limit of buckets is reached, so there is none for container {}: {needed}",
            self.container
        ))
        .with_hint("Ask the provider for a higher limit of buckets. A vault with mode = single-bucket needs only one, whatever the number of containers.")
    }

    /// A bucket of this name is there, and these credentials may not use it.
    fn refused(&self, e: Error) -> Error {
        let is_other = e.s3_code() == "BucketAlreadyExists";
        if !is_other && e.code() != Code::AccessDenied {
            return e;
        }
        let hint = match is_other {
            true => "Set another bucket_prefix: names of buckets are shared by all accounts of a store.".to_owned(),
            false => format!("{} If the bucket belongs to another account, set another bucket_prefix.", e.hint()),
        };
        let what = if is_other { "belongs to another account" } else { "cannot be used" };
        let (bucket, container) = (self.place.bucket.name(), &self.container);
        e.context(format_args!("bucket {bucket} of container {container} {what}")).with_hint(hint)
    }
}
