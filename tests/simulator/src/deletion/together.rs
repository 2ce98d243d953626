//! The rule about a prune for all paths of a container together: from the time at which what it deleted was replaced, the
//! whole container can be restored, and nothing older is kept but what that takes.

use std::collections::BTreeSet;

use s3vault_core::vault::{Kind, Vid};

use super::rules::{Checked, Committed, Rules, Sender};
use super::snapshot::locator;

impl Rules {
    /// A prune for all paths together has ended.
    pub(super) fn together(&self, who: (usize, u32), sender: &Sender) -> Checked {
        // What is stored while the prune runs may be judged with the rest or not.
        if self.committed.values().any(|one| one.since >= sender.since) {
            return Ok(());
        }
        let judged: Vec<&Committed> =
            self.committed.values().filter(|one| one.hidden.is_none_or(|at| at >= sender.since)).collect();
        // A single path is judged by its limits alone.
        if judged.iter().all(|one| one.name == judged[0].name) {
            return Ok(());
        }
        let needed = self.needed();
        let is_gone = |one: &&&Committed| one.hidden_by == Some(who) && one.row.kind != Kind::Del;
        for gone in judged.iter().filter(is_gone) {
            let at = gone.row.recorded_ms;
            let after = judged.iter().filter(|one| one.name == gone.name && one.row.recorded_ms > at);
            let replaced = after.map(|one| one.row.recorded_ms).min().unwrap_or(i64::MAX);
            for left in judged.iter().filter(|one| one.hidden.is_none() && one.row.kind != Kind::Del) {
                let is_between = |one: &&Committed| {
                    one.name == left.name && (left.row.recorded_ms + 1..=replaced).contains(&one.row.recorded_ms)
                };
                if !needed.contains(&left.row.vid) && judged.iter().any(is_between) {
                    return Err(format!(
                        "version {} is pruned, and version {} of the same container stays, which had been replaced then",
                        gone.row.vid, left.row.vid
                    ));
                }
            }
        }
        Ok(())
    }

    /// Versions on which others build that stay, or puts that have not stored their rows.
    fn needed(&self) -> BTreeSet<Vid> {
        let of_puts = self.locators.keys().filter_map(|key| locator(key)?.parent);
        let visible = self.committed.values().filter(|one| one.hidden.is_none());
        let mut needed: BTreeSet<Vid> = of_puts.chain(visible.filter_map(|one| one.row.parent)).collect();
        // The newest come first, and are newer than what they build on.
        for (vid, one) in &self.committed {
            if needed.contains(vid) {
                needed.extend(one.row.parent);
            }
        }
        needed
    }
}
