//! *Adopt*: makes versions of what other programs wrote as `container/path` into a bucket of the vault, without moving or
//! copying it.
//!
//! ```text
//!  GetBucketVersioning ──▶ vault.json ──▶ objects, page by page ──▶ look (catalogue, HEAD) ──▶ [read and hash] ──▶ locators ──▶ rows
//!                                              ▲                       ▲                            │ expired          │
//!                                              │                       └────────────────────────────┴──────────────────┤
//!                                              └───────────────────────────────────────────────────────────────────────┘
//! ```
//! The version id of an object follows from the object alone ([`adopted`](super::adopted)), so a second run finds what the
//! first has adopted, and one that was stopped is continued. An object that the vault wrote has its version id in its
//! metadata, and is no other program's.
//!
//! The rules of a put hold: the catalogue is listed first, what shows that the object is there comes after it, and both PUTs
//! are dated by that look. So no row is written for an object that a deletion of the same version removes at that time.
//!
//! An object that is encrypted with a customer key (SSE-C) is adopted if the caller gives its key ([`CustomerKeys`]): the
//! locator and the row have it as the version's data key, wrapped with the current key-encryption key.

mod keys;
mod look;
mod store;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

pub use keys::CustomerKeys;

use super::adopted::{random_bits, vid_of};
use super::delete::check_may_sign;
use super::encryption::Encryption;
use super::find::AHEAD_MS;
use super::job::{Action, Item, Report};
use super::layout::Place;
use super::names::OWN_FOLDER;
use super::objects::{Kind, VAULT_KEY};
use super::open::DESCRIPTION_LIMIT;
use super::stored::Stored;
use super::{Name, Vault, Vid};
use crate::crypto::data_key::{DataKey, WrappedKey};
use crate::error::{Code, Error, Result};
use crate::machine::Event;
use crate::op::{
    self, BucketVersioning, Call, Context, GetBucketVersioning, GetObject, ListObjectVersions, ListObjectsV2, Paged,
    Sequence, Step, Steps, VersionMarker,
};
use crate::text::presentable_key;
use crate::transfer::extent::PartHash;

/// What an adoption is asked for.
#[derive(Clone, Debug)]
pub struct AdoptRequest {
    /// The container; `None` for all of the bucket. In a vault with a bucket for each container it must be given.
    pub container: Option<String>,
    /// Says what would be adopted, and changes nothing.
    pub dry_run: bool,
    /// Reads all data, so that the versions have hashes as any other.
    pub hash: bool,
    /// Keys of objects that are encrypted with SSE-C.
    pub keys: Arc<CustomerKeys>,
    /// Drives the jitter of retries.
    pub seed: u64,
}

/// The machine that adopts.
pub type Adopt = Sequence<AdoptSteps>;

/// Most requests at the same time.
const WIDTH: usize = 16;

/// The key after all keys of the vault's own folder: `0` follows `/`.
const AFTER_OWN: &str = "_s3vault0";

/// An object that may be adopted.
struct Candidate {
    name: Name,
    object: Stored,
    vid: Vid,
    modified_ms: i64,
    /// MD5 of the object, if the store says that its ETag is one.
    md5: Option<String>,
    /// The SSE-C key that it is encrypted with.
    key: Option<DataKey>,
    /// The same, wrapped.
    wrapped: Option<WrappedKey>,
    /// It was seen after the catalogue was listed.
    is_seen: bool,
    /// The store shows it only with a key that was not sent.
    is_sealed: bool,
    /// It has a row without hashes.
    has_row: bool,
    /// Its parts, once it was read.
    parts: Option<Vec<PartHash>>,
    /// Its row is stored.
    is_adopted: bool,
}

impl Candidate {
    fn kind(&self) -> Kind {
        if self.object.is_delete_marker { Kind::Del } else { Kind::Full }
    }

    fn encryption(&self) -> Encryption {
        if self.key.is_some() { Encryption::SseC } else { Encryption::None }
    }

    /// What requests for the object say of its encryption.
    fn access(&self) -> op::Encryption {
        self.encryption().of_data(self.key.as_ref())
    }
}

/// A page of the bucket.
enum Page {
    Versions(ListObjectVersions),
    Objects(ListObjectsV2),
}

/// What [`Adopt`] knows on its way.
pub struct AdoptSteps {
    vault: Arc<Vault>,
    place: Arc<Place>,
    request: AdoptRequest,
    /// The page that follows.
    next: Option<Page>,
    /// Objects of the last key of the page before, which may have more.
    held: Vec<Stored>,
    /// What is looked at now.
    batch: Vec<Candidate>,
    /// What waits to be read, one object after the other.
    unread: VecDeque<Candidate>,
    /// Entries of the catalogue about the batch, and pages that are still to be listed.
    catalogue: look::Catalogue,
    /// When the catalogue was looked at, by the store's clock.
    looked_ms: i64,
    /// How often the batch was looked at because a PUT had expired.
    expired: u32,
    has_expired: bool,
    /// Why the object that is read cannot be.
    unreadable: Option<Error>,
    /// Ranges that were requested: each has another index.
    ranges: u32,
    report: Report,
}

impl Steps for AdoptSteps {
    type Done = Report;
    const WHAT: &'static str = "adopting";
}

impl Adopt {
    /// Adopts what is in the bucket of this vault, or in the container's.
    pub fn new(vault: Arc<Vault>, request: AdoptRequest) -> Result<Adopt> {
        check_may_sign(&vault)?;
        if !request.keys.is_empty() {
            vault.current_kek().map_err(|e| e.context("the keys of SSE-C data are kept wrapped"))?;
        }
        let place = vault.layout.place_of(request.container.as_deref())?;
        let (bucket, seed) = (place.bucket.clone(), request.seed);
        let report = Report { dry_run: request.dry_run, ..Report::default() };
        let steps = AdoptSteps {
            vault,
            place,
            request,
            next: None,
            held: Vec::new(),
            batch: Vec::new(),
            unread: VecDeque::new(),
            catalogue: look::Catalogue::default(),
            looked_ms: 0,
            expired: 0,
            has_expired: false,
            unreadable: None,
            ranges: 0,
            report,
        };
        Ok(Sequence::start(&bucket, steps, Step::try_call(GetBucketVersioning, AdoptSteps::versioning), seed))
    }
}

impl AdoptSteps {
    fn versioning(&mut self, _: &GetBucketVersioning, answer: Result<BucketVersioning>) -> Step<Self> {
        // Without an answer the first PUT tells whether the bucket fits.
        if let Ok(status) = &answer
            && let Err(e) = self.vault.layout.check_place(&self.place, *status)
        {
            return Step::done(Err(e));
        }
        let has_versions = match self.vault.layout.has_versions(answer) {
            Ok(has_versions) => has_versions,
            Err(e) => return Step::done(Err(e)),
        };
        let slash = if self.vault.layout.has_leading_slash() { "/" } else { "" };
        let prefix = self.request.container.as_ref().map(|container| format!("{slash}{container}/"));
        let prefix = prefix.unwrap_or_default();
        self.next = Some(match has_versions {
            true => Page::Versions(ListObjectVersions { prefix, ..Default::default() }),
            false => Page::Objects(ListObjectsV2 { prefix, ..Default::default() }),
        });
        if self.place.is_described() {
            return self.next_page();
        }
        Step::try_call(GetObject::new(VAULT_KEY, DESCRIPTION_LIMIT), |steps: &mut Self, _, answer| match answer {
            Ok(found) => match steps.vault.compare(&steps.place.bucket, &found) {
                Ok(_) => {
                    steps.place.set_described(true);
                    steps.next_page()
                }
                Err(e) => Step::done(Err(e)),
            },
            Err(e) if e.code() == Code::NotFound && steps.request.dry_run => steps.next_page(),
            Err(e) if e.code() == Code::NotFound => steps.describe(),
            Err(e) => Step::done(Err(e)),
        })
    }

    /// Nothing was stored in the vault yet.
    fn describe(&mut self) -> Step<Self> {
        let container = self.request.container.as_deref().unwrap_or_default();
        let put = self.vault.put_json(VAULT_KEY, self.vault.description(container));
        Step::call(put, |steps: &mut Self, _, _| {
            steps.place.set_described(true);
            steps.next_page()
        })
    }

    fn next_page(&mut self) -> Step<Self> {
        match self.next.take() {
            Some(Page::Versions(list)) => Step::with(Call::new(list), |steps: &mut Self, context, call, answer| {
                let page = match answer {
                    Ok(page) => page,
                    Err(e) => return Step::done(Err(e)),
                };
                let next = call.op().next(&page);
                let objects = page.versions.into_iter().map(Stored::from);
                steps.listed(context, objects.collect(), next.map(Page::Versions))
            }),
            Some(Page::Objects(list)) => Step::with(Call::new(list), |steps: &mut Self, context, call, answer| {
                let page = match answer {
                    Ok(page) => page,
                    Err(e) => return Step::done(Err(e)),
                };
                let next = call.op().next(&page);
                let objects = page.objects.into_iter().map(Stored::from);
                steps.listed(context, objects.collect(), next.map(Page::Objects))
            }),
            None => Step::done(Ok(std::mem::take(&mut self.report))),
        }
    }

    /// A page was listed: works on the keys that are complete.
    fn listed(&mut self, context: &mut Context<'_>, objects: Vec<Stored>, next: Option<Page>) -> Step<Self> {
        let own = format!("{OWN_FOLDER}/");
        let ends_in_own = objects.last().is_some_and(|object| object.key.starts_with(&own));
        self.next = next.map(|page| if ends_in_own { after_own(page) } else { page });
        // Some stores list delete markers after the versions of the page.
        let mut keys: BTreeMap<String, Vec<Stored>> = BTreeMap::new();
        for object in std::mem::take(&mut self.held).into_iter().chain(objects) {
            if !object.key.starts_with(&own) {
                keys.entry(object.key.clone()).or_default().push(object);
            }
        }
        if self.next.is_some() && !ends_in_own {
            self.held = keys.pop_last().map(|(_, objects)| objects).unwrap_or_default();
        }
        for (key, objects) in keys {
            self.consider(context, &key, objects);
        }
        self.look_again(context)
    }

    /// Adds the objects of one key to the batch, oldest first, if they may be adopted.
    fn consider(&mut self, context: &mut Context<'_>, key: &str, mut objects: Vec<Stored>) {
        if super::job::own_vid(key).is_some() {
            return;
        }
        self.report.versions += objects.len() as u64;
        let name = match self.name_of(key) {
            Ok(name) => name,
            Err(why) => return self.refuse(context, key, None, &why),
        };
        self.report.backups += 1;
        // Where the last version of a page was removed before the next was asked for, the store may list its key again.
        let mut ids = HashSet::new();
        objects.retain(|object| ids.insert(object.version_id.clone()));
        // A list has the newest first; markers may come after the versions.
        objects.reverse();
        objects.sort_by_key(|object| object.modified_ms);
        let mut before = None;
        for object in objects {
            let Some(modified_ms) = object.modified_ms else {
                self.refuse(context, key, object.version_id.as_deref(), "the store does not say when it was written");
                continue;
            };
            if modified_ms > context.clock().saturating_add(AHEAD_MS) {
                self.refuse(context, key, object.version_id.as_deref(), "it is dated in the future");
                continue;
            }
            let random = random_bits(key, object.version_id.as_deref(), &object.etag, object.size);
            let vid = vid_of(modified_ms, before, random);
            before = Some(vid.unix_ms());
            let name = name.clone();
            self.batch.push(Candidate {
                name,
                object,
                vid,
                modified_ms,
                md5: None,
                key: None,
                wrapped: None,
                is_seen: false,
                is_sealed: false,
                has_row: false,
                parts: None,
                is_adopted: false,
            });
        }
    }

    /// Container and path that a key names.
    fn name_of(&self, key: &str) -> Result<Name, String> {
        let named = match (self.vault.layout.has_leading_slash(), key.strip_prefix('/')) {
            (true, Some(rest)) => rest,
            (false, None) => key,
            (true, None) => return Err("it does not start with '/', as keys of this vault do (leading_slash)".into()),
            (false, Some(_)) => return Err("it starts with '/': set leading_slash to adopt it".into()),
        };
        let (container, path) = named.split_once('/').ok_or("it has no container: there is no '/' in it")?;
        Name::new(container, path).map_err(|e| e.message().to_owned())
    }

    /// Says that an object is left as it is.
    fn refuse(&mut self, context: &mut Context<'_>, key: &str, version_id: Option<&str>, why: &str) {
        let version = version_id.map(|id| format!(" (version {})", presentable_key(id))).unwrap_or_default();
        let reason = format!("{}{version} is not adopted: {why}", presentable_key(key));
        let (container, path) = self.name_of(key).map_or_else(
            |_| (self.request.container.clone().unwrap_or_default(), presentable_key(key)),
            |name| (name.container().to_owned(), name.path().to_owned()),
        );
        self.say(
            context,
            Item {
                action: Action::Problem,
                container,
                path,
                vid: String::new(),
                kind: None,
                recorded_ms: None,
                bytes: 0,
                reason,
                dry_run: self.request.dry_run,
            },
        );
    }

    fn say(&mut self, context: &mut Context<'_>, item: Item) {
        self.report.count(&item);
        context.report(Event::Item { json: item.to_json() });
    }

    /// Says what becomes of a candidate.
    fn say_of(&mut self, context: &mut Context<'_>, candidate: &Candidate, action: Action, reason: String) {
        let item = Item {
            action,
            container: candidate.name.container().to_owned(),
            path: candidate.name.path().to_owned(),
            vid: candidate.vid.to_string(),
            kind: Some(candidate.kind()),
            recorded_ms: Some(candidate.modified_ms),
            bytes: candidate.object.size,
            reason,
            dry_run: self.request.dry_run,
        };
        self.say(context, item);
    }

    /// The candidates by the random bits of their version ids, which no other object has.
    fn by_random_bits(&self) -> HashMap<[u8; 10], usize> {
        self.batch.iter().enumerate().map(|(n, candidate)| (candidate.vid.random(), n)).collect()
    }
}

/// The page after the vault's own objects.
fn after_own(page: Page) -> Page {
    let after = || Some(AFTER_OWN.to_owned());
    match page {
        Page::Versions(list) => {
            let marker = VersionMarker { key: AFTER_OWN.into(), version_id: String::new() };
            Page::Versions(ListObjectVersions { marker: Some(marker), after: after(), ..list })
        }
        Page::Objects(list) => Page::Objects(ListObjectsV2 { start_after: after(), token: None, ..list }),
    }
}
