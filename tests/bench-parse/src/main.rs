//! What a listing costs. `make bench-parse` runs it on the embedded store.
//!
//! First a page of ListObjectVersions with 1,000 rows, as AWS writes it, parsed in memory: rows visited, rows kept, and
//! quick-xml's own event loop over the same bytes, in turns; the medians count. Then end to end: the versions of a bucket
//! listed through `Client::pages`, again and again; seconds are this process's (user and system, by getrusage) and the
//! wall's.

mod end_to_end;
mod page;

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    page::run()?;
    end_to_end::run()
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
