//! Reports of checks: a report has no findings that it does not have itself.
#![no_main]

use kiops_core::checks::Sarif;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(report) = Sarif::parse(kiops_fuzz::text(data)) else { return };
    let counts = report.counts(Some(&report));
    assert_eq!(counts.new, Some(0));
    let all = u64::from(counts.errors) + u64::from(counts.warnings) + u64::from(counts.notes);
    // Beside a report without findings every one is new.
    assert_eq!(report.counts(Some(&Sarif::default())).new.map(u64::from), Some(all));
});
