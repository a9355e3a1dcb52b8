//! Branch, tag and path filters: the first byte picks which, the last line is the name, the lines before it are the patterns.
#![no_main]

use kiops_core::filter::{PathFilter, RefFilter, TagFilter, Verdict, literal};
use kiops_core::name::BranchName;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((pick, rest)) = data.split_first() else { return };
    let (patterns, name) = kiops_fuzz::text(rest).rsplit_once('\n').unwrap_or_default();
    let patterns: Vec<&str> = patterns.split('\n').collect();
    match pick % 4 {
        0 => {
            let Ok(filter) = RefFilter::parse(patterns.clone()) else { return };
            assert_eq!(filter.patterns(), patterns);
            match filter.verdict(name) {
                Verdict::Matched(pattern) => assert!(pattern == "*" || patterns.contains(&pattern)),
                Verdict::Excluded(pattern) => {
                    assert!(pattern.starts_with('!') && patterns.contains(&pattern))
                }
                Verdict::NotMatched => {}
            }
        }
        1 => {
            let Ok(filter) = TagFilter::parse(patterns.clone()) else { return };
            assert_eq!(filter.patterns(), patterns);
            filter.verdict(name);
        }
        2 => {
            let Ok(filter) = PathFilter::parse(patterns) else { return };
            let matched = filter.matched_by(name);
            assert!(matched.is_some() || !filter.is_empty(), "no pattern means all paths");
            // What a filter says of itself is read as the same filter.
            let again = PathFilter::parse(filter.patterns()).expect("its patterns were taken before");
            assert_eq!(again.matched_by(name), matched);
        }
        _ => {
            let pattern = literal(name);
            if BranchName::parse(name).is_err() || pattern.len() > 1024 {
                return;
            }
            let filter = RefFilter::parse([pattern.clone()]).expect("the literal of a branch is a pattern");
            assert_eq!(filter.matched_by(name), Some(&*pattern));
            assert_eq!(filter.matched_by(&format!("{name}x")), None);
        }
    }
});
