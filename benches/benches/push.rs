//! A signed GitLab push from bytes to a decision, beside HMAC and a typed parse of the same bytes.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use kiops_benches::Outcome;
use kiops_benches::push::Push;

fn main() -> Outcome<()> {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("push");
    group.measurement_time(Duration::from_secs(3));
    for (name, bytes) in [("10KB", 10 << 10), ("100KB", 100 << 10), ("1MB", 1 << 20)] {
        let push = Push::of(bytes)?;
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::new("verify+decode+decide", name), |b| b.iter(|| push.handle()));
        group.bench_function(BenchmarkId::new("hmac+parse", name), |b| b.iter(|| push.bare()));
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}
