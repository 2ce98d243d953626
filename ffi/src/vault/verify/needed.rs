//! The versions that are hidden, but still needed: a version that is not hidden builds on them, so a restore reads them.

use std::collections::{BTreeMap, BTreeSet};

use s3vault_core::settings::Settings;
use s3vault_core::vault::{Row, Verdict, Verified};
use s3vault_core::{Code, Result};

use crate::control::Control;
use crate::vault::{Vault, Version};

/// The versions of one backup that were listed, and what they build on.
#[derive(Default)]
pub(super) struct Needed {
    of: Option<(String, String)>,
    listed: BTreeSet<String>,
    /// The parents that versions name, each with one of these versions.
    parents: BTreeMap<String, Row>,
}

/// A version that was not listed, and that one which was listed builds on.
pub(super) enum Ancestor {
    /// It is hidden.
    Hidden(Row),
    /// It cannot be found: what is known of it.
    Bad(Verified),
}

impl Needed {
    /// Whether a row is of another backup than those before.
    pub(super) fn ends_before(&self, row: &Row) -> bool {
        self.of.as_ref().is_some_and(|(container, path)| (container, path) != (&row.container, &row.path))
    }

    /// Takes note of a version that was listed.
    pub(super) fn add(&mut self, row: &Row) {
        self.of.get_or_insert_with(|| (row.container.clone(), row.path.clone()));
        self.listed.insert(row.vid.clone());
        if let Some(parent) = &row.parent {
            self.parents.entry(parent.clone()).or_insert_with(|| row.clone());
        }
    }

    /// The ancestors that were not listed. Nothing is asked of the store unless there is one.
    pub(super) fn ancestors(self, vault: &Vault, control: &mut Control<'_>) -> Result<Vec<Ancestor>> {
        let (mut ancestors, mut known) = (Vec::new(), self.listed);
        // A newer parent first: its chain has the older ones.
        for (parent, child) in self.parents {
            if known.contains(&parent) {
                continue;
            }
            let Some(child) = find(vault, &child, control)? else { continue };
            match chain(&child, control) {
                Ok(rows) => {
                    let hidden = rows.into_iter().filter(|row| known.insert(row.vid.clone()));
                    ancestors.extend(hidden.map(Ancestor::Hidden));
                }
                Err(e) => {
                    let child = child.row();
                    ancestors.push(Ancestor::Bad(Verified::of_error(&child.container, &child.path, &parent, e)?));
                    known.insert(parent);
                }
            }
        }
        Ok(ancestors)
    }
}

/// Finds a version that was listed. One that was deleted meanwhile needs nothing; what is wrong with one that cannot be
/// trusted, its own verification says.
fn find(vault: &Vault, row: &Row, control: &mut Control<'_>) -> Result<Option<Version>> {
    let mut which = Settings::new();
    which.set("version", &row.vid)?;
    match vault.find(&row.container, &row.path, &which, control) {
        Ok(version) => Ok(Some(version)),
        Err(e) if e.code() == Code::NotFound || Verdict::of(&e).is_some() => Ok(None),
        Err(e) => Err(e),
    }
}

/// The versions that this one builds on, and itself.
fn chain(version: &Version, control: &mut Control<'_>) -> Result<Vec<Row>> {
    let (mut list, mut rows) = (version.chain(control)?, Vec::new());
    while let Some(row) = list.next(control)? {
        rows.push(row);
    }
    Ok(rows)
}
