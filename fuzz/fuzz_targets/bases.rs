//! The bases of a Dockerfile: a line with the target, a line with a build argument (`NAME=value`), and the Dockerfile.
#![no_main]

use std::collections::BTreeMap;

use kiops_core::build::bases;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let (target, rest) = kiops_fuzz::text(data).split_once('\n').unwrap_or_default();
    let (argument, dockerfile) = rest.split_once('\n').unwrap_or_default();
    let pair = argument.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let arguments = BTreeMap::from_iter(pair);
    let some = bases(dockerfile, &arguments, Some(target));
    for image in &some.images {
        assert!(image.tag.is_some() && image.digest.is_none(), "{image}");
    }
    let all = bases(dockerfile, &arguments, Some("no such stage"));
    assert!(some.images.is_subset(&all.images) || all.images.len() == 64);
    let _ = bases(dockerfile, &arguments, None);
});
