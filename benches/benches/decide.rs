//! `decide` alone.

use criterion::Criterion;
use kiops_benches::Outcome;
use kiops_benches::decide::Case;

fn main() -> Outcome<()> {
    let mut criterion = Criterion::default().configure_from_args();
    let case = Case::new()?;
    criterion.bench_function("decide/900-files", |b| b.iter(|| case.decide()));
    criterion.final_summary();
    Ok(())
}
