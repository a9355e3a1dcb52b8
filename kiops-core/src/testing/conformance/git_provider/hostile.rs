//! Names that were made to break out: each reaches the host as data, or not at all.

use super::GitBench;
use super::fixtures::{assert_refusal, branches, everything_below, folder, full_ref, names, repositories};
use crate::event::Repository;
use crate::provider::Search;
use crate::stream;
use crate::testing::conformance::Subject;
use crate::testing::conformance::fresh::word;

/// Longer than any name, and than what a command line or an address takes.
const LONG: usize = 300_000;

/// What is none of any host's.
fn hostile() -> Vec<String> {
    let names = [
        "",
        " ",
        ".",
        "..",
        "/",
        "//",
        "../..",
        "../../../../../../etc",
        "/etc",
        "/dev/zero",
        "-",
        "--",
        "--upload-pack=touch pwned",
        "--output=pwned",
        "-oProxyCommand=touch pwned",
        "-c core.sshCommand=touch",
        "ext::sh -c touch% pwned",
        "file:///etc",
        "ssh://-oProxyCommand=touch/x",
        "$(touch pwned)",
        "`touch pwned`",
        ";touch pwned",
        "|touch pwned",
        "%2e%2e%2f%2e%2e",
        "a\0b",
        "a\nb",
        "a\r\nHost: evil",
        "\u{202e}",
        "\u{feff}",
        "' OR '1'='1",
        "{{7*7}}",
        "HEAD",
        "refs/heads/main",
        ":/",
        "^{tree}",
        "@{-1}",
    ];
    names.into_iter().map(str::to_owned).chain([LONG, 5000].map(|length| "x".repeat(length))).collect()
}

fn shown(name: &str) -> String {
    name.chars().take(80).collect::<String>().escape_debug().to_string()
}

/// Also those that begin like one that is there.
pub async fn hostile_repository_names_reach_nothing(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (provider, (repository, commit)) = (bench.provider.as_ref(), bench.with(&[("a", "1")]).await);
    let path = &repository.path;
    let near = ["\n", "\0", "/../..", "/.git", "/..", "?x", "#x", "/-/raw/a", "%00", " --help"]
        .map(|end| format!("{path}{end}"));
    for name in hostile().into_iter().chain(near) {
        let shown = shown(&name);
        let hostile = Repository { id: None, path: name };
        match provider.head(&hostile, &full_ref("refs/heads/main")).await {
            Ok(found) => assert_eq!(found, None, "{shown}"),
            Err(error) => assert_refusal(&shown, &error),
        }
        match provider.commit(&hostile, &commit).await {
            Ok(found) => assert_eq!(found, None, "{shown}"),
            Err(error) => assert_refusal(&shown, &error),
        }
        match provider.file(&hostile, &commit, "a", 10).await {
            Ok(found) => assert_eq!(found, None, "{shown}"),
            Err(error) => assert_refusal(&shown, &error),
        }
        assert_refusal(&shown, &provider.heads(&hostile).await.expect_err(&shown));
        assert_refusal(&shown, &provider.branches(&hostile, &Search::all()).await.expect_err(&shown));
        assert_refusal(&shown, &provider.tree(&hostile, &commit, &folder("")).await.expect_err(&shown));
        assert_refusal(&shown, &provider.compare(&hostile, &commit, &commit).await.expect_err(&shown));
        let archive = async { stream::collect(provider.archive(&hostile, &commit).await?, 1 << 20).await };
        assert_refusal(&shown, &archive.await.expect_err(&shown));
    }
    let head = provider.head(&repository, &full_ref("refs/heads/main")).await.unwrap();
    assert_eq!(head, Some(commit), "what is there is as it was");
}

/// Nothing outside the tree, and nothing in it by another name than its own.
pub async fn hostile_paths_reach_nothing(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (provider, (repository, commit)) =
        (bench.provider.as_ref(), bench.with(&[("a/b", "content of a/b"), ("c", "content of c")]).await);
    let near = [
        "/a/b", "a/b/", "./a/b", "a/./b", "a//b", "a/../a/b", "a/x/../b", "a/b/.", "x/../c", "a\\b", "a%2fb",
        "a/b\0", "a/b\n", "HEAD:c", ":c", "*", "?", "[c]", ":(top)c", "a/*",
    ];
    for path in hostile().into_iter().chain(near.map(str::to_owned)) {
        let shown = shown(&path);
        match provider.file(&repository, &commit, &path, 1 << 20).await {
            Ok(found) => assert_eq!(found, None, "{shown}"),
            Err(error) => assert_refusal(&shown, &error),
        }
        if path.is_empty() {
            continue;
        }
        for query in [folder(&path), everything_below(&path)] {
            let answer = provider.tree(&repository, &commit, &query).await;
            assert_refusal(&shown, &answer.expect_err(&shown));
        }
    }
    let found = provider.file(&repository, &commit, "a/b", 100).await.unwrap();
    assert_eq!(found.unwrap(), "content of a/b");
}

/// None is a pattern, an option, or the place of another page.
pub async fn hostile_search_texts_find_what_contains_them(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (provider, (repository, commit)) = (bench.provider.as_ref(), bench.with(&[("a", "1")]).await);
    bench.point(&repository, "refs/heads/a-b/c", Some(&commit)).await;
    let patterns = ["*", ".*", "%", "_", "?", "^", "$", "[a-z]", "main|a", "\\", "^main$"].map(str::to_owned);
    for text in hostile().into_iter().chain(patterns) {
        let shown = shown(&text);
        let expected: Vec<&str> =
            ["a-b/c", "main"].into_iter().filter(|name| name.contains(&text.to_lowercase())).collect();
        match provider.branches(&repository, &Search::text(text.as_str())).await {
            Ok(page) => assert_eq!(names(&page.items), expected, "{shown}"),
            Err(error) => assert_refusal(&shown, &error),
        }
        match provider.branches(&repository, &Search::all().after(text.as_str())).await {
            Ok(page) => assert!(page.items.len() <= 2, "{shown}"),
            Err(error) => assert_refusal(&shown, &error),
        }
        if !text.is_empty() {
            // With a word in it that no path has.
            let text = format!("{text}{}", word());
            match provider.repositories(&Search::text(text)).await {
                Ok(page) => assert_eq!((page.items, page.next), (vec![], None), "{shown}"),
                Err(error) => assert_refusal(&shown, &error),
            }
        }
    }
    assert_eq!(names(&branches(provider, &repository, "", 0).await), ["a-b/c", "main"]);
    assert!(repositories(provider, &word(), 0).await.is_empty());
}
