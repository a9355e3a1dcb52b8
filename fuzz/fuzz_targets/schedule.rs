//! A schedule: eight bytes that say from when, a line with the time zone, and the expression.
#![no_main]

use jiff::Timestamp;
use kiops_core::service::Schedule;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((after, rest)) = data.split_first_chunk::<8>() else { return };
    let (zone, cron) = kiops_fuzz::text(rest).split_once('\n').unwrap_or_default();
    let Ok(schedule) = Schedule::parse(cron, zone) else { return };
    // From 1900 to 3000: before, zones had offsets with seconds; much later, time ends.
    let second = i64::from_be_bytes(*after).rem_euclid(34_700_000_000) - 2_208_988_800;
    let mut last = Timestamp::from_second(second).expect("within the range of time");
    for _ in 0..3 {
        let next = schedule.next(last).expect("there is time enough");
        assert!(next > last);
        last = next;
    }
    let text = serde_json::to_string(&schedule).expect("a schedule is written");
    assert_eq!(serde_json::from_str::<Schedule>(&text).expect("what was written is read"), schedule);
});
