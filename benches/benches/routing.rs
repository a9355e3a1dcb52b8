//! Finding the services of a delivery, among 10 and among 10,000.

use criterion::{BenchmarkId, Criterion};
use kiops_benches::Outcome;
use kiops_benches::routing::{Kind, Routing};

fn main() -> Outcome<()> {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("routing");
    for kind in Kind::ALL {
        for services in [10, 10_000] {
            let mut routing = Routing::among(services, kind)?;
            group.bench_function(BenchmarkId::new(kind.name(), services), |b| b.iter(|| routing.find(1)));
        }
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}
