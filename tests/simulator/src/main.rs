//! `simulator`: runs seeds, and tells the story of one that fails.

use std::collections::BTreeMap;
use std::process::ExitCode;

use lexopt::prelude::*;
use simulator::coverage::{Counts, Probe};
use simulator::equal::{Sequence, check};
use simulator::mode::Mode;
use simulator::{Case, regressions, run, run_deletions, run_rekeyings, shrink};

const USAGE: &str = "\
Usage: simulator [options]
       simulator deletions [options]
       simulator rekeyings [options]
       simulator equal [--seeds N] [--from S] [--seed X]

Runs the regression cases, then one seed after the other. Of the first that breaks a promise it finds a shorter case and
prints its story; the line of the case belongs into tests/simulator/regressions.txt.

With `deletions` each seed runs its deletions only: puts, rm, prune, sweep and adopt beside each other.
With `rekeyings` it runs its re-keyings only; one of 32 seeds has some.

With `equal` a seed is a sequence of operations instead, which must have the same results in all modes and those of a
reference.

  --seeds N    how many seeds; 2000 by default
  --from S     the first seed; 0 by default
  --seed X     only this one
  --case LINE  only this line of regressions.txt
  --story      tell the story of the one in any case
  --help       this text
";

struct Arguments {
    seeds: u64,
    from: u64,
    one: Option<Case>,
    story: bool,
    is_equal: bool,
    run: shrink::Run,
}

fn arguments() -> Result<Option<Arguments>, lexopt::Error> {
    let mut arguments = Arguments { seeds: 2000, from: 0, one: None, story: false, is_equal: false, run };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("seeds") => arguments.seeds = parser.value()?.parse()?,
            Long("from") => arguments.from = parser.value()?.parse()?,
            Long("seed") => arguments.one = Some(Case::of(parser.value()?.parse()?)),
            Long("case") => {
                let line = parser.value()?.string()?;
                arguments.one = Some(Case::parse(&line).ok_or(format!("'{line}' is no case"))?);
            }
            Long("story") => arguments.story = true,
            Value(word) if word == "equal" => arguments.is_equal = true,
            Value(word) if word == "deletions" => arguments.run = run_deletions,
            Value(word) if word == "rekeyings" => arguments.run = run_rekeyings,
            Long("help") => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(arguments))
}

fn equal_results(arguments: &Arguments) -> ExitCode {
    let all = arguments.from..arguments.from.saturating_add(arguments.seeds);
    let seeds = arguments.one.as_ref().map_or(all, |case| case.seed..case.seed.saturating_add(1));
    let (mut compared, mut runs) = (0, 0u64);
    for seed in seeds {
        match check(&Sequence::new(seed)) {
            Ok(count) => compared += count,
            Err(why) => {
                println!("{why}");
                return ExitCode::FAILURE;
            }
        }
        runs += 1;
    }
    println!("simulator: {runs} sequences in {} modes, {compared} results, all equal", Mode::ALL.len());
    ExitCode::SUCCESS
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(e) => {
            eprintln!("simulator: {e}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if arguments.is_equal {
        return equal_results(&arguments);
    }
    let (mut outcomes, mut requests, mut faults, mut runs) = (BTreeMap::<String, u64>::new(), 0, 0, 0u64);
    let (mut hits, mut reached) = (Counts::new(), Counts::new());
    let cases: Box<dyn Iterator<Item = Case>> = match &arguments.one {
        Some(case) => Box::new(std::iter::once(case.clone())),
        None => Box::new(regressions().chain((arguments.from..).take(arguments.seeds as usize).map(Case::of))),
    };
    for case in cases {
        let run = arguments.run;
        let report = run(&case, arguments.story && arguments.one.is_some());
        if let Some(why) = report.violation {
            println!("{case} fails: {why}");
            let short = shrink::shrink(&case, run);
            let report = run(&short, true);
            println!("{}", report.story.join("\n"));
            println!("shortest: {short}\n{}", report.violation.unwrap_or_default());
            return ExitCode::FAILURE;
        }
        for line in report.story {
            println!("{line}");
        }
        for (outcome, count) in report.outcomes {
            *outcomes.entry(outcome).or_default() += count;
        }
        for (what, count) in report.hits {
            *hits.entry(what).or_default() += count;
            *reached.entry(what).or_default() += 1;
        }
        requests += report.requests;
        faults += report.faults.len() as u64;
        runs += 1;
    }
    for what in Probe::ALL {
        let of = |counts: &Counts| counts.get(what).copied().unwrap_or(0);
        println!("{:>8} {:>4} ‰ {}", of(&hits), of(&reached) * 1000 / runs.max(1), what.text());
    }
    println!();
    for (outcome, count) in outcomes {
        println!("{count:>8} {outcome}");
    }
    println!("simulator: {runs} runs, {requests} requests, {faults} faults, no promise broken");
    ExitCode::SUCCESS
}
