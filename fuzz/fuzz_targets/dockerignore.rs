//! `.dockerignore`: the first line is a path, the rest the file.
#![no_main]

// The module is private to its crate, so it is built here once more.
#[path = "../../kiops-registry/src/assemble"]
mod assemble {
    mod glob;
    mod ignore;

    /// Whether a path is left out, where the file can be read.
    pub(crate) fn leaves_out(file: &str, path: &str) -> Option<bool> {
        Some(ignore::Ignore::parse(file).ok()?.leaves_out(path))
    }

    /// Whether a pattern matches a path, as `COPY` reads it.
    pub(crate) fn copies(pattern: &str, path: &str) -> Option<bool> {
        let matches = glob::Glob::new(pattern, false).ok()?.matches(path);
        assert!(glob::Glob::is_wild(pattern) || matches == (pattern == path));
        Some(matches)
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let (path, file) = kiops_fuzz::text(data).split_once('\n').unwrap_or_default();
    if let Some(true) = assemble::leaves_out(file, path) {
        assert!(!file.trim().is_empty(), "nothing leaves nothing out");
        // What is below a folder that is left out is left out, unless a later line keeps it.
        if !file.contains('!') {
            assert_eq!(assemble::leaves_out(file, &format!("{path}/below")), Some(true));
        }
    }
    let pattern = file.lines().next().unwrap_or_default();
    assemble::copies(pattern, path);
});
