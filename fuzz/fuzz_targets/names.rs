//! Every name: what is taken is printed as it came, and taken again; a refusal is short and printable.
#![no_main]

use kiops_core::image::{TagTemplate, tag_from_branch};
use kiops_core::name::*;

fn refused(error: &NameError) {
    let text = error.to_string();
    // 80 characters of the value, each escaped, and a sentence around them.
    assert!(text.len() <= 80 * 10 + 300 && !text.contains(char::is_control), "{text:?}");
}

macro_rules! round_trips {
    ($text:expr, $($name:ty),*) => {$(
        match <$name>::parse($text) {
            Ok(name) => {
                assert_eq!(name.to_string(), $text);
                let json = serde_json::to_string(&name).expect("a name is a string");
                assert_eq!(serde_json::from_str::<$name>(&json).ok(), Some(name));
            }
            Err(error) => refused(&error),
        }
    )*};
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let text = kiops_fuzz::text(data);
    round_trips!(
        text,
        GitRef,
        BranchName,
        GitTag,
        CommitId,
        RepoId,
        ImageRef,
        ImageName,
        Tag,
        Digest,
        ServiceName,
        ProviderName,
        HookId,
        SecretName,
        MemberId,
        BuildId,
        RunId
    );
    if let Ok(image) = ImageRef::parse_familiar(text) {
        assert_eq!(ImageRef::parse(&image.to_string()).ok(), Some(image.clone()));
        assert_eq!(PinnedImage::try_from(image.clone()).is_ok(), image.digest.is_some());
    }
    assert!(ServiceName::parse(dns_label([text]).as_str()).is_ok());
    assert!(ServiceName::parse(dns_name(text, "registry-cred", 63)).is_ok());
    if BranchName::parse(text).is_ok() {
        assert!(Tag::parse(tag_from_branch(text)).is_ok());
    }
    if let Ok(template) = TagTemplate::parse(text) {
        assert_eq!(String::from(template), text);
    }
});
