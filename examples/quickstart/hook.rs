//! What the repository's post-receive hook runs: sign the push, send it, and never stand in its way.

use std::io::Read as _;
use std::path::Path;

use kiops_core::secret::Secret;
use kiops_git::plain::{Delivered, HOOK_INPUT_MAX, Notice, deliver as send, parse_post_receive};

/// Reads the changes from standard input and sends them. Whatever goes wrong is said and forgotten: the server finds the push
/// when it lists heads.
pub(crate) fn deliver(folder: &Path) {
    let said = match attempt(folder) {
        Ok(Delivered::Accepted(_)) => "kiops: the push was received".to_owned(),
        Ok(Delivered::GaveUp(why)) => format!("kiops: not told yet ({why}); the push will be found"),
        Err(error) => format!("kiops: {error}; the push will be found"),
    };
    super::show::error(&said);
}

fn attempt(folder: &Path) -> kiops_core::Result<Delivered> {
    let read = |error: std::io::Error| kiops_core::Error::unavailable("read hook", error.to_string());
    let mut input = Vec::new();
    std::io::stdin().lock().take(HOOK_INPUT_MAX as u64 + 1).read_to_end(&mut input).map_err(read)?;
    let changes = parse_post_receive(&input)?;
    let secret = std::fs::read(folder.join("hook-secret")).map_err(read)?;
    let secret =
        Secret::new(secret).ok_or_else(|| kiops_core::Error::corrupt("read hook", "the secret is empty"))?;
    let repository = folder.join("repo.git");
    let notice = Notice {
        repository: repository.to_string_lossy(),
        pusher: std::env::var("USER").unwrap_or_default().into(),
        changes,
    };
    let port = folder.join("port");
    // A server that starts again listens elsewhere: the port is read before each try.
    send(&notice, &secret, || std::fs::read_to_string(&port).ok()?.trim().parse().ok())
}
