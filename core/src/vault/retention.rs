//! Retention: which versions stay and which go, by number and age, for fulls and incrementals apart. A pure function of the
//! versions, the policy and the time, so that a dry run says exactly what the run does.
//!
//! Whichever limit is reached first lets a version go. A version stays in spite of its limits if one that stays depends on
//! it, if it is held or locked, or if it is the last of its backup.
//!
//! With [`Policy::together`] the paths of a container are judged together: from the oldest time that any of them keeps, the
//! whole container can be restored as it was at any later time.

use super::Vid;
use super::objects::Kind;
use crate::error::{Code, Error, Result};
use crate::mutation::{Mutation, is_active};
use crate::settings::Settings;

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// The limits. 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// How many fulls of a backup stay.
    pub full_versions: u64,
    /// How many days a full stays.
    pub full_days: u64,
    /// How many incrementals of a backup stay.
    pub inc_versions: u64,
    /// How many days an incremental stays.
    pub inc_days: u64,
    /// The newest version of a backup stays, however old it is, unless the backup was deleted.
    pub keep_last: bool,
    /// The paths of a container are judged together.
    pub together: bool,
}

/// A version to judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The version.
    pub vid: Vid,
    /// The instant that identifies it, in Unix milliseconds.
    pub recorded_ms: i64,
    /// Full, incremental, or deleted.
    pub kind: Kind,
    /// The version that it builds on.
    pub parent: Option<Vid>,
    /// It has the label `hold`.
    pub is_held: bool,
    /// Its data is locked until then, in Unix milliseconds.
    pub locked_until_ms: Option<i64>,
}

/// What happens to a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Stays(Why),
    /// It goes.
    Goes(Why),
}

/// The reason of a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is the nth of its kind, counted from the newest, and so many days old: within the limits.
    Within {
        /// Its place among its kind, from 1.
        rank: u64,
        /// Its age in whole days.
        days: i64,
    },
    /// A version that stays depends on it.
    NeededBy(Vid),
    /// It has the label `hold`.
    Held,
    /// Its data is locked until then, in Unix milliseconds.
    Locked(i64),
    /// It is the newest version of its backup.
    Last,
    /// Another path of the container keeps a version for which this one is needed.
    Together,
    /// The record of a deletion that still hides older versions.
    Hides,
    /// There are newer ones of its kind, as many as may stay.
    TooMany {
        /// Its place among its kind, from 1.
        rank: u64,
        /// How many may stay.
        limit: u64,
    },
    /// It is older than its kind may be.
    TooOld {
        /// Its age in whole days.
        days: i64,
        /// How many days it may stay.
        limit: u64,
    },
    /// The record of a deletion that hides nothing any more.
    HidesNothing,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Why::Within { rank, days } => write!(f, "number {rank} of its kind, {days} days old"),
            Why::NeededBy(vid) => write!(f, "version {vid} depends on it"),
            Why::Held => f.write_str("it has the label hold"),
            Why::Locked(until) => write!(f, "its data is locked until {}", crate::time::rfc3339(*until)),
            Why::Last => f.write_str("it is the last version of its backup (keep_last)"),
            Why::Together => {
                f.write_str("another path of the container keeps a version of that time (retention_scope)")
            }
            Why::Hides => f.write_str("the backup was deleted then, and older versions are left"),
            Why::TooMany { rank, limit } => write!(f, "number {rank} of its kind, and {limit} stay"),
            Why::TooOld { days, limit } => write!(f, "{days} days old, and {limit} days stay"),
            Why::HidesNothing => f.write_str("the backup was deleted then, and no older version is left"),
        }
    }
}

impl Policy {
    /// The policy that these settings describe.
    pub fn from_settings(settings: &Settings) -> Policy {
        Policy {
            full_versions: settings.number("retention_full_versions"),
            full_days: settings.number("retention_full_days"),
            inc_versions: settings.number("retention_inc_versions"),
            inc_days: settings.number("retention_inc_days"),
            keep_last: settings.flag("keep_last"),
            together: settings.text("retention_scope") == "container",
        }
    }

    /// Refuses a policy without a limit: nothing would ever go.
    pub fn check(&self) -> Result<()> {
        if self.full_versions | self.full_days | self.inc_versions | self.inc_days == 0 {
            let why = "no retention is set, so that every version stays";
            return Err(Error::new(Code::InvalidOption, why).with_hint(
                "Set retention_full_versions, retention_full_days, retention_inc_versions or retention_inc_days.",
            ));
        }
        Ok(())
    }

    fn limits(&self, kind: Kind) -> (u64, u64) {
        match kind {
            Kind::Full => (self.full_versions, self.full_days),
            Kind::Inc => (self.inc_versions, self.inc_days),
            Kind::Del => (0, 0),
        }
    }

    /// Judges the paths of a container, each with its visible versions, the newest first.
    pub fn judge(&self, now_ms: i64, paths: &[Vec<Candidate>]) -> Vec<Vec<Verdict>> {
        let mut verdicts: Vec<Vec<Verdict>> = paths.iter().map(|path| self.judge_alone(now_ms, path)).collect();
        if !self.together || paths.len() < 2 || is_active(Mutation::PruneApart) {
            return verdicts;
        }
        // The oldest time that any path keeps: from there on, each path keeps what it was.
        let kept = paths.iter().zip(&verdicts).flat_map(|(path, verdicts)| path.iter().zip(verdicts));
        let horizon = kept
            .filter(|(version, verdict)| version.kind != Kind::Del && matches!(verdict, Verdict::Stays(_)))
            .map(|(version, _)| version.recorded_ms)
            .min();
        let Some(horizon) = horizon else { return verdicts };
        for (path, verdicts) in paths.iter().zip(&mut verdicts) {
            // The newest one at the horizon is what the path was then.
            let at_horizon = path.iter().filter(|version| version.recorded_ms <= horizon).map(|v| v.recorded_ms).max();
            for (version, verdict) in path.iter().zip(verdicts.iter_mut()) {
                let is_needed = version.recorded_ms >= horizon || Some(version.recorded_ms) == at_horizon;
                if is_needed && matches!(verdict, Verdict::Goes(_)) {
                    *verdict = Verdict::Stays(Why::Together);
                }
            }
            keep_ancestors(path, verdicts);
        }
        verdicts
    }

    fn judge_alone(&self, now_ms: i64, path: &[Candidate]) -> Vec<Verdict> {
        let (mut fulls, mut incs) = (0, 0);
        let is_deleted = path.first().is_some_and(|newest| newest.kind == Kind::Del);
        let mut verdicts: Vec<Verdict> = path
            .iter()
            .enumerate()
            .map(|(n, version)| {
                let rank = match version.kind {
                    Kind::Full => &mut fulls,
                    Kind::Inc => &mut incs,
                    Kind::Del => return Verdict::Stays(Why::Hides),
                };
                *rank += 1;
                let (rank, days) = (*rank, now_ms.saturating_sub(version.recorded_ms).max(0) / DAY_MS);
                let (versions_limit, days_limit) = self.limits(version.kind);
                let too_many = versions_limit > 0 && rank > versions_limit;
                let too_old = days_limit > 0 && now_ms.saturating_sub(version.recorded_ms) > days_limit as i64 * DAY_MS;
                match version.locked_until_ms {
                    _ if !too_many && !too_old => Verdict::Stays(Why::Within { rank, days }),
                    _ if self.keep_last && n == 0 && !is_deleted => Verdict::Stays(Why::Last),
                    _ if version.is_held => Verdict::Stays(Why::Held),
                    Some(until) if until > now_ms => Verdict::Stays(Why::Locked(until)),
                    _ if too_many => Verdict::Goes(Why::TooMany { rank, limit: versions_limit }),
                    _ => Verdict::Goes(Why::TooOld { days, limit: days_limit }),
                }
            })
            .collect();
        keep_ancestors(path, &mut verdicts);
        // The record of a deletion goes with the last version that it hides.
        let mut is_any_older = false;
        for (version, verdict) in path.iter().zip(verdicts.iter_mut()).rev() {
            if version.kind == Kind::Del && !is_any_older {
                *verdict = Verdict::Goes(Why::HidesNothing);
            }
            is_any_older |= version.kind != Kind::Del && matches!(verdict, Verdict::Stays(_));
        }
        verdicts
    }
}

/// What a version that stays builds on stays too.
fn keep_ancestors(path: &[Candidate], verdicts: &mut [Verdict]) {
    // A parent is older than its children, so one pass from the newest is enough.
    for n in 0..path.len() {
        let (Verdict::Stays(_), Some(parent)) = (&verdicts[n], path[n].parent) else { continue };
        let place = path[n + 1..].iter().position(|version| version.vid == parent).map(|place| n + 1 + place);
        if let Some(place) = place.filter(|place| matches!(verdicts[*place], Verdict::Goes(_))) {
            verdicts[place] = Verdict::Stays(Why::NeededBy(path[n].vid));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const NOW: i64 = 1_764_000_000_000;

    /// Versions of a backup, the newest first: the age in days, and for an incremental how many places after it its parent
    /// is. A negative age is the record of a deletion.
    fn path(versions: &[(i64, usize)]) -> Vec<Candidate> {
        let at = |n: usize| {
            let days = versions[n].0.abs();
            (Vid::new(NOW - days * DAY_MS, [0; 10]), NOW - days * DAY_MS)
        };
        let one = |n: usize| {
            let (vid, recorded_ms) = at(n);
            let kind = match versions[n] {
                (..0, _) => Kind::Del,
                (_, 0) => Kind::Full,
                _ => Kind::Inc,
            };
            let parent = (kind == Kind::Inc).then(|| at(n + versions[n].1).0);
            Candidate { vid, recorded_ms, kind, parent, is_held: false, locked_until_ms: None }
        };
        (0..versions.len()).map(one).collect()
    }

    /// One character for each version: `+` stays within the limits, `^` is needed by another, `-` goes, others as below.
    fn shown(verdicts: &[Verdict]) -> String {
        let one = |verdict: &Verdict| match verdict {
            Verdict::Goes(_) => '-',
            Verdict::Stays(Why::Within { .. }) => '+',
            Verdict::Stays(Why::NeededBy(_)) => '^',
            Verdict::Stays(Why::Last) => 'l',
            Verdict::Stays(Why::Held) => 'h',
            Verdict::Stays(Why::Locked(_)) => 'k',
            Verdict::Stays(Why::Together) => 't',
            Verdict::Stays(_) => 'd',
        };
        verdicts.iter().map(one).collect()
    }

    fn judged(policy: Policy, versions: &[(i64, usize)]) -> String {
        shown(&policy.judge(NOW, &[path(versions)])[0])
    }

    #[test]
    fn whichever_limit_is_reached_first_lets_a_version_go() {
        let fulls = [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0)];
        for (full_versions, full_days, expected) in
            [(0, 0, "+++++"), (2, 0, "++---"), (0, 3, "++++-"), (2, 3, "++---"), (4, 1, "++---"), (9, 9, "+++++")]
        {
            let policy = Policy { full_versions, full_days, ..Policy::default() };
            assert_eq!(judged(policy, &fulls), expected, "{full_versions} versions, {full_days} days");
        }
    }

    #[test]
    fn a_version_exactly_as_old_as_the_limit_stays() {
        let policy = Policy { full_days: 3, ..Policy::default() };
        let mut versions = path(&[(3, 0)]);
        assert_eq!(shown(&policy.judge(NOW, &[versions.clone()])[0]), "+");
        versions[0].recorded_ms -= 1;
        assert_eq!(shown(&policy.judge(NOW, &[versions])[0]), "-");
    }

    #[test]
    fn kinds_are_counted_apart_and_what_is_needed_stays() {
        // A full each week, incrementals each day, newest first.
        let chain = [(0, 1), (1, 1), (2, 0), (3, 1), (4, 1), (5, 0), (6, 1), (7, 0)];
        let policy = Policy { full_versions: 1, inc_versions: 3, ..Policy::default() };
        assert_eq!(judged(policy, &chain), "++++^^--");
        let policy = Policy { full_versions: 1, inc_days: 4, ..Policy::default() };
        assert_eq!(judged(policy, &chain), "+++++^--", "the full outlives its incrementals");
        let policy = Policy { inc_versions: 1, ..Policy::default() };
        assert_eq!(judged(policy, &chain), "+^+--+-+", "and so does an incremental in the middle of a chain");
    }

    #[test]
    fn the_last_version_stays_unless_the_backup_was_deleted() {
        let policy = Policy { full_days: 1, keep_last: true, ..Policy::default() };
        assert_eq!(judged(policy, &[(5, 0), (6, 0)]), "l-");
        assert_eq!(judged(policy, &[(5, 1), (6, 0)]), "+^", "with what it needs");
        assert_eq!(judged(policy, &[(-4, 0), (5, 0), (6, 0)]), "---");
        assert_eq!(judged(Policy { keep_last: false, ..policy }, &[(5, 0), (6, 0)]), "--");
    }

    #[test]
    fn the_record_of_a_deletion_goes_with_the_last_version_that_it_hides() {
        let policy = Policy { full_days: 10, keep_last: true, ..Policy::default() };
        assert_eq!(judged(policy, &[(-4, 0), (5, 0), (60, 0)]), "d+-");
        assert_eq!(judged(policy, &[(1, 0), (-4, 0), (50, 0)]), "+--");
        assert_eq!(judged(policy, &[(-1, 0), (-4, 0)]), "--");
        assert_eq!(judged(policy, &[(-1, 0), (2, 0), (-4, 0), (50, 0)]), "d+--");
    }

    #[test]
    fn held_and_locked_versions_stay_with_what_they_need() {
        let policy = Policy { full_versions: 1, inc_versions: 1, ..Policy::default() };
        let mut versions = path(&[(0, 0), (1, 1), (2, 1), (3, 0), (4, 0)]);
        versions[2].is_held = true;
        versions[4].locked_until_ms = Some(NOW + 1);
        assert_eq!(shown(&policy.judge(NOW, &[versions.clone()])[0]), "++h^k");
        versions[2].is_held = false;
        versions[4].locked_until_ms = Some(NOW);
        versions[1].kind = Kind::Full;
        versions[1].parent = None;
        assert_eq!(shown(&policy.judge(NOW, &[versions])[0]), "+-+^-", "a lock that has ended holds nothing");
    }

    #[test]
    fn together_the_container_can_be_restored_from_the_oldest_kept_time_on() {
        let policy = Policy { full_versions: 2, together: true, ..Policy::default() };
        let frequent = path(&[(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (5, 0)]);
        let rare = path(&[(0, 0), (3, 0), (9, 0)]);
        let both = policy.judge(NOW, &[frequent.clone(), rare.clone()]);
        assert_eq!((shown(&both[0]), shown(&both[1])), ("++tt--".into(), "++-".into()));
        let apart = Policy { together: false, ..policy }.judge(NOW, &[frequent, rare]);
        assert_eq!((shown(&apart[0]), shown(&apart[1])), ("++----".into(), "++-".into()));
        // What was the newest at the oldest kept time is needed, also if it is older.
        let both = policy.judge(NOW, &[path(&[(0, 0), (4, 0)]), path(&[(0, 0), (1, 0), (3, 0), (6, 0), (7, 0)])]);
        assert_eq!((shown(&both[0]), shown(&both[1])), ("++".into(), "++tt-".into()));
    }

    #[test]
    fn nothing_that_a_kept_version_needs_ever_goes() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..2_000 {
            let length = random.usize(1..12);
            let versions: Vec<(i64, usize)> = (0..length)
                .map(|n| {
                    let age = n as i64 + 1;
                    let parent = if n + 1 < length && random.bool() { 1 } else { 0 };
                    (if random.u8(..8) == 0 { -age } else { age }, parent)
                })
                .collect();
            let mut limit = || random.u64(0..6);
            let policy = Policy {
                full_versions: limit(),
                full_days: limit(),
                inc_versions: limit(),
                inc_days: limit(),
                keep_last: random.bool(),
                together: false,
            };
            let versions = path(&versions);
            let verdicts = &policy.judge(NOW, std::slice::from_ref(&versions))[0];
            for (version, verdict) in versions.iter().zip(verdicts) {
                if let (Verdict::Stays(_), Some(parent)) = (verdict, version.parent)
                    && let Some(place) = versions.iter().position(|other| other.vid == parent)
                    && versions[place].kind != Kind::Del
                {
                    assert!(matches!(verdicts[place], Verdict::Stays(_)), "{policy:?} {}", shown(verdicts));
                }
            }
        }
    }
}
