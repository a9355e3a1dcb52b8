//! Masking a build's log, beside bare aho-corasick.

use criterion::{BenchmarkId, Criterion, Throughput};
use kiops_benches::Outcome;
use kiops_benches::masking::Masking;

fn main() -> Outcome<()> {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("masking");
    group.sample_size(30);
    for secrets in [5, 1000] {
        let masking = Masking::of(secrets)?;
        group.throughput(Throughput::Bytes(masking.len() as u64));
        group.bench_function(BenchmarkId::new("masker", secrets), |b| b.iter(|| masking.mask()));
        group.bench_function(BenchmarkId::new("aho-corasick", secrets), |b| b.iter(|| masking.bare()));
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}
