//! Durable accepts, beside appends with fdatasync of the same bytes. The times are for one delivery.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use kiops_benches::Outcome;
use kiops_benches::accepts::Accepts;

fn main() -> Outcome<()> {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("accepts");
    group.sample_size(10).measurement_time(Duration::from_secs(3));
    for (name, bytes) in [("2KB", 2 << 10), ("10KB", 10 << 10)] {
        let mut accepts = Accepts::of(bytes)?;
        for callers in [1, 64] {
            let id = BenchmarkId::new(format!("sqlite, {callers} waiting"), name);
            group.bench_function(id, |b| b.iter_custom(|n| timed(n, |n| accepts.accept(n, callers))));
        }
        let id = BenchmarkId::new("append and fdatasync", name);
        group.bench_function(id, |b| b.iter_custom(|n| timed(n, |n| accepts.append(n))));
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}

/// The time of `n`.
#[expect(clippy::panic, reason = "a bench that cannot measure has no other way to say so")]
fn timed(n: u64, mut each: impl FnMut(usize) -> Outcome<Duration>) -> Duration {
    let count = u32::try_from(n).unwrap_or(u32::MAX);
    match each(count as usize) {
        Ok(one) => one * count,
        Err(error) => panic!("{error}"),
    }
}
