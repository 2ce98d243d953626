//! The chain of an incremental: the full backup that it starts with, and all incrementals up to it. Each row is verified.
//!
//! ```text
//!  List ──page without an end──▶ List
//!    │ rows of all ancestors, by the text of their keys
//!    └──▶ Get … (16 at a time) ──▶ Done: by what the verified manifests say
//! ```
//! A parent that a marker hides is still part of the chain: its data is kept until nothing depends on it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::objects::{CatalogueKey, Entry, Kind, RowKey, catalogue_prefix};
use super::proof::{Outcome, ReadVerified, WIDTH, ignore};
use super::{Manifest, Name, Row, Vault, Vid, manifest};
use crate::account::Bucket;
use crate::error::{Code, Error, Result};
use crate::op::{Context, ListObjectsV2, ListedObject, Listing, Paged, Sequence, Step, Steps};

/// The machine that reads the chain of a version: the full backup comes first, the version itself last.
pub type Chain = Sequence<ChainSteps>;

/// What [`Chain`] knows on its way.
pub struct ChainSteps {
    vault: Arc<Vault>,
    bucket: Arc<Bucket>,
    name: Name,
    /// The version itself.
    own: Row,
    /// Rows by version id, in the order of their keys. Ancestors are older, so they are listed after the version.
    listed: HashMap<Vid, Vec<(String, u64, RowKey)>>,
    /// What verified, by key, and what did not.
    verified: HashMap<String, Row>,
    refused: HashMap<String, Error>,
}

impl Steps for ChainSteps {
    type Done = Vec<Row>;
    const WHAT: &'static str = "reading the chain";
    const IS_QUERY: bool = true;
}

impl Chain {
    /// Reads the chain of the version with this verified manifest, whose row is `own`. `seed` drives the jitter of retries.
    pub fn new(vault: Arc<Vault>, manifest: &Manifest, own: Row, seed: u64) -> Result<Chain> {
        vault.check_trust()?;
        let name = Name::new(&manifest.container, &manifest.path)?;
        let bucket = vault.bucket(name.container());
        let prefix = catalogue_prefix(&name);
        // `/` sorts after the `.` in the keys of the version's own entries.
        let list =
            ListObjectsV2 { start_after: Some(format!("{prefix}{}/", manifest.vid)), prefix, ..Default::default() };
        let (listed, verified, refused) = (HashMap::new(), HashMap::new(), HashMap::new());
        let first = match own.parent {
            Some(_) => Step::call(list, ChainSteps::page),
            None => Step::done(Ok(vec![own.clone()])),
        };
        let steps = ChainSteps { vault, bucket: bucket.clone(), name, own, listed, verified, refused };
        Ok(Sequence::start(&bucket, steps, first, seed))
    }
}

impl ChainSteps {
    fn page(&mut self, asked: &ListObjectsV2, page: Listing) -> Step<Self> {
        let next = asked.next(&page);
        for ListedObject { key, size, .. } in page.objects {
            if let Some(CatalogueKey { entry: Entry::Row(row), .. }) = CatalogueKey::parse(&key)
                && row.kind != Kind::Del
            {
                self.listed.entry(row.vid).or_default().push((key, size, row));
            }
        }
        match next {
            Some(next) => Step::call(next, Self::page),
            None => self.read(),
        }
    }

    /// Reads the rows of all that may be an ancestor.
    fn read(&mut self) -> Step<Self> {
        let mut open: Vec<Vid> = self.own.parent.as_deref().and_then(Vid::try_parse).into_iter().collect();
        let (mut seen, mut reads) = (HashSet::new(), Vec::new());
        while let Some(vid) = open.pop() {
            if !seen.insert(vid) {
                continue;
            }
            for (key, size, row) in self.listed.get(&vid).into_iter().flatten() {
                open.extend(row.parent);
                match manifest::read_limit(key, row.size, *size) {
                    Ok(limit) => reads.push(ReadVerified::row(&self.vault, &self.bucket, key, limit)),
                    Err(e) => drop(self.refused.insert(key.clone(), e)),
                }
            }
        }
        self.listed.retain(|vid, _| seen.contains(vid));
        Step::each_asking(
            reads,
            WIDTH,
            |steps: &mut Self, _, read: &ReadVerified<_>, answer| {
                let key = read.key().to_owned();
                match answer? {
                    Outcome::Counts(opened) => drop(steps.verified.insert(key, opened.row())),
                    Outcome::Gone(e) | Outcome::Refused(e) => drop(steps.refused.insert(key, e)),
                }
                Ok(())
            },
            |steps, context| {
                let chain = steps.follow(context);
                Step::done(chain)
            },
        )
    }

    /// Follows the parents from the version to its full backup.
    fn follow(&mut self, context: &mut Context<'_>) -> Result<Vec<Row>> {
        let mut chain = vec![self.own.clone()];
        let mut child = &self.own;
        while let Some(parent) = &child.parent {
            let rows = Vid::try_parse(parent).and_then(|vid| self.listed.get(&vid));
            // A put makes its parent's id the older one, so there is no circle.
            let rows = rows.filter(|_| *parent > child.vid).map(Vec::as_slice).unwrap_or_default();
            let Some(n) = rows.iter().position(|(key, ..)| self.verified.contains_key(key)) else {
                return Err(self.missing(parent, child, rows));
            };
            for (key, ..) in &rows[..n] {
                if let Some(why) = self.refused.get(key) {
                    ignore(context, &self.bucket, key, why);
                }
            }
            child = &self.verified[&rows[n].0];
            chain.push(child.clone());
        }
        chain.reverse();
        Ok(chain)
    }

    fn missing(&self, parent: &str, child: &Row, rows: &[(String, u64, RowKey)]) -> Error {
        let (container, path, bucket) = (self.name.container(), self.name.path(), self.bucket.name());
        let needs = format!("version {} of {container} {path} needs version {parent}", child.vid);
        match rows.iter().find_map(|(key, ..)| self.refused.get(key)).filter(|e| e.code() != Code::NotFound) {
            Some(e) => e.clone().context(needs),
            None => Error::new(Code::DataMissing, format!("{needs}, which is not in bucket {bucket}"))
                .on("ListObjectsV2", bucket, &catalogue_prefix(&self.name))
                .with_hint("Restore a full backup, or an incremental whose chain is complete, and find out what removed this version outside of s3vault."),
        }
    }
}
