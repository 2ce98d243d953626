//! Walking through the buckets of a vault whose containers have one each, for listings of all containers.
//!
//! ```text
//!  ListBuckets ──▶ vault.json of the first bucket ──▶ what is listed of it, page by page ──▶ the next bucket … ──▶ ListBuckets …
//! ```
//! Only buckets with a name as this vault makes them are looked at. One without a description is not a vault's. One of
//! another vault, one that names a container which has another bucket, and one that may not be read are reported and
//! skipped; where every bucket counts, only one of another vault is.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Vault;
use super::names::check_container;
use super::objects::VAULT_KEY;
use super::open::DESCRIPTION_LIMIT;
use super::proof::ignore;
use crate::account::Bucket;
use crate::error::{Code, Error, Result};
use crate::op::{BucketList, Call, Context, GetObject, ListBuckets, Paged, Step, Steps};

/// Buckets that are asked for at a time.
const BUCKETS: u32 = 1_000;

/// Where a walk is.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    /// The next page of the list of buckets.
    page: Option<ListBuckets>,
    /// Buckets of this page that are not done. The first is the current one.
    names: VecDeque<String>,
    /// The container of the current bucket, once its description was read.
    container: Option<String>,
}

/// A machine that lists something of each bucket, and ends with each page.
pub(super) trait Walking: Steps {
    fn vault(&self) -> &Arc<Vault>;

    fn walk(&mut self) -> Option<&mut Walk>;

    /// Whether a bucket is skipped that may be the vault's and cannot be read.
    fn may_skip(&self) -> bool {
        true
    }

    /// Lists a page of this container's bucket.
    fn enter(&mut self, container: String) -> Step<Self>
    where
        Self: Sized;

    /// Ends the page without having listed anything.
    fn rest(&mut self) -> Step<Self>
    where
        Self: Sized;
}

impl Walk {
    /// A walk through the buckets of a vault; `None` if it has only one.
    pub(super) fn of(vault: &Vault) -> Option<Walk> {
        let prefix = vault.layout.bucket_prefix()?.to_owned();
        let page = Some(ListBuckets { prefix, max_buckets: Some(BUCKETS), ..Default::default() });
        Some(Walk { page, names: VecDeque::new(), container: None })
    }

    /// The bucket of the next request.
    pub(super) fn bucket(&self, vault: &Vault) -> Arc<Bucket> {
        match (&self.container, self.names.front()) {
            (Some(container), _) => vault.bucket(container),
            (None, Some(name)) => vault.layout.bucket_named(name),
            (None, None) => vault.layout.home().clone(),
        }
    }

    /// The current bucket is done. Returns where the walk continues; `None` at its end.
    pub(super) fn next(mut self) -> Option<Walk> {
        self.names.pop_front();
        self.container = None;
        self.or_end()
    }

    /// This walk, unless it is at its end.
    pub(super) fn or_end(self) -> Option<Walk> {
        (!self.names.is_empty() || self.page.is_some()).then_some(self)
    }

    /// The first step of a page.
    pub(super) fn start<S: Walking + 'static>(&self) -> Step<S> {
        match (&self.container, self.names.is_empty()) {
            (Some(container), _) => {
                let container = container.clone();
                Step::each([], 1, |_: &mut S, _, _: &GetObject, _| Ok(()), |steps, _| steps.enter(container))
            }
            (None, false) => Step::with(
                Call::new(GetObject::new(VAULT_KEY, DESCRIPTION_LIMIT)),
                |steps: &mut S, context, _, answer| described(steps, context, answer),
            ),
            (None, true) => Step::call(self.page.clone().unwrap_or_default(), buckets),
        }
    }
}

fn buckets<S: Walking>(steps: &mut S, asked: &ListBuckets, page: BucketList) -> Step<S> {
    let next = asked.next(&page);
    let vault = steps.vault().clone();
    let names = page.buckets.into_iter().map(|bucket| bucket.name);
    let names = names.filter(|name| vault.layout.may_be_container_bucket(name)).collect();
    if let Some(walk) = steps.walk() {
        (walk.page, walk.names) = (next, names);
    }
    steps.rest()
}

/// The description of the current bucket was read, or there is none.
fn described<S: Walking>(steps: &mut S, context: &mut Context<'_>, answer: Result<Vec<u8>>) -> Step<S> {
    let vault = steps.vault().clone();
    let bucket = context.session.bucket.clone();
    let described = match answer {
        Ok(found) => vault.compare(&bucket, &found).and_then(|container| own_container(&vault, &bucket, container)),
        Err(e) if matches!(e.code(), Code::NotFound | Code::NoSuchBucket) => return skip(steps),
        Err(e) if e.code() == Code::AccessDenied => Err(e),
        Err(e) => return Step::done(Err(e)),
    };
    match described {
        Ok(container) => {
            if let Some(walk) = steps.walk() {
                walk.container = Some(container.clone());
            }
            steps.enter(container)
        }
        Err(e) if e.code() != Code::VaultMismatch && !steps.may_skip() => Step::done(Err(e)),
        Err(e) => {
            ignore(context, &bucket, VAULT_KEY, &e);
            skip(steps)
        }
    }
}

fn skip<S: Walking>(steps: &mut S) -> Step<S> {
    if let Some(walk) = steps.walk() {
        walk.names.pop_front();
    }
    steps.rest()
}

/// The container that a description names, if this is its bucket.
fn own_container(vault: &Vault, bucket: &Bucket, container: Option<String>) -> Result<String> {
    let Some(container) = container else {
        return Err(Error::new(Code::Format, "the description names no container"));
    };
    check_container(&container)?;
    let own = vault.bucket(&container);
    if own.name() != bucket.name() {
        let why = format!("the description names a container whose bucket is {}", own.name());
        return Err(Error::new(Code::Untrusted, why));
    }
    Ok(container)
}
