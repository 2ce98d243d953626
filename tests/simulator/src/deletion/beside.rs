//! What the sixth set of inputs adds to a plan: a bucket for each container, objects of other programs and their adoption,
//! locks, retention by days and for all paths together, and processes whose clocks are wrong.

use super::plan::{DAY, HOUR, MINUTE, Op, Plan, Planned, SECOND, WAIT_MS, mishaps, put};
use crate::mode::Mode;

pub(super) fn extend(plan: &mut Plan, random: &mut fastrand::Rng) {
    if random.u32(0..3) == 0 {
        plan.mode = match plan.mode {
            Mode::Native | Mode::PerVmNative => Mode::PerVmNative,
            Mode::Emulated | Mode::PerVmEmulated => Mode::PerVmEmulated,
        };
    }
    let start = plan.planned[plan.firsts - 1].at + MINUTE;
    let end = plan.planned.iter().map(|one| one.at).max().unwrap_or(start) + MINUTE;
    if random.u32(0..2) == 0 {
        others(plan, random, start, end);
    }
    if random.u32(0..3) == 0 {
        locks(plan, random, start, end);
    }
    if random.u32(0..4) == 0 {
        days(plan, random, end);
    }
    for one in &mut plan.planned[plan.firsts..] {
        if let Op::Prune(policy) = &mut one.op {
            policy.together = random.u32(0..2) == 0;
        }
        let off = [2, -2, 60, -60, 3 * 1440, -3 * 1440];
        if random.u32(0..8) == 0 {
            one.off_ms = off[random.usize(0..off.len())] * MINUTE as i64;
        }
    }
}

/// Other programs write beside the vault, and what they wrote is adopted.
fn others(plan: &mut Plan, random: &mut fastrand::Rng, start: u64, end: u64) {
    plan.has_others = true;
    let is_calm = plan.planned.iter().all(|one| one.mishaps.is_empty());
    let grace = plan.grace_ms.unsigned_abs();
    let path = |random: &mut fastrand::Rng| usize::from(random.u32(0..3) == 0);
    let mut adopted = Vec::new();
    for _ in 0..random.u32(1..4) {
        let at = random.u64(start..=end);
        plan.planned.push(Planned::new(at, Op::Write { name: path(random), count: random.u32(1..4) }));
        if random.u32(0..4) == 0 {
            let later = [MINUTE, HOUR][random.usize(0..2)];
            plan.planned.push(Planned::new(at + random.u64(0..later), Op::Hide { name: path(random) }));
        }
        adopted.push(at + random.u64(0..2 * MINUTE));
    }
    for _ in 0..random.u32(0..3) {
        adopted.push(random.u64(start..=end + HOUR));
    }
    for mut at in adopted {
        // Sometimes two of them run beside each other.
        for _ in 0..random.u32(1..3) {
            let op = Op::Adopt { hash: random.u32(0..4) == 0 };
            let mishaps = if is_calm { Vec::new() } else { mishaps(random, &op, grace) };
            plan.planned.push(Planned { at, op, mishaps, off_ms: 0 });
            at += random.u64(0..3 * SECOND);
        }
        // What was adopted is deleted, and removed, and adopted again.
        if random.bool() {
            let name = path(random);
            let deleted = at + random.u64(SECOND..HOUR);
            let removed = deleted + WAIT_MS as u64 + random.u64(SECOND..2 * HOUR);
            plan.planned.push(Planned::new(deleted, Op::Delete { name, pick: random.usize(..) }));
            let mishaps = if is_calm { Vec::new() } else { mishaps(random, &Op::Sweep, grace) };
            plan.planned.push(Planned { at: removed, op: Op::Sweep, mishaps, off_ms: 0 });
            let again = removed + random.u64(0..MINUTE);
            plan.planned.push(Planned::new(again, Op::Adopt { hash: false }));
        }
    }
}

/// For some time the store does not delete what one of the versions has.
fn locks(plan: &mut Plan, random: &mut fastrand::Rng, start: u64, end: u64) {
    for _ in 0..random.u32(1..4) {
        let name = usize::from(random.u32(0..3) == 0);
        plan.planned.push(Planned::new(random.u64(start..=end), Op::Lock { name, pick: random.usize(..) }));
    }
    if random.bool() {
        plan.planned.push(Planned::new(random.u64(start..=end + HOUR), Op::Unlock));
    }
}

/// Backups of several days, then prunes by days.
fn days(plan: &mut Plan, random: &mut fastrand::Rng, end: u64) {
    let mut at = end;
    for _ in 0..random.u32(2..7) {
        at += random.u64(6 * HOUR..DAY);
        plan.planned.push(Planned::new(at, put(random)));
    }
    for _ in 0..random.u32(1..3) {
        let policy = s3vault_core::vault::retention::Policy {
            full_days: random.u64(1..4),
            inc_days: random.u64(0..3),
            full_versions: [0, 0, 2][random.usize(0..3)],
            keep_last: random.bool(),
            ..Default::default()
        };
        at += random.u64(SECOND..DAY);
        plan.planned.push(Planned::new(at, Op::Prune(policy)));
    }
}
