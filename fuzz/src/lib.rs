//! What the fuzz targets share: deliveries made of bytes, and what must hold of whatever is decoded from them.
//!
//! A target is a file in `fuzz_targets/` and an entry in `Cargo.toml`. docs/FUZZING.md says how they are run.

mod hold;
pub mod sender;

use std::sync::LazyLock;

use sender::{Sender, now, other_secrets, secrets};

/// Puts one delivery through every call of the sender of this name: the first byte picks the event's header and the proof,
/// the rest is the body (see [`Sender::delivery`]).
///
/// # Panics
/// If there is no such sender, or if something does not hold.
pub fn webhook(name: &str, data: &[u8]) {
    static SENDERS: LazyLock<Vec<Sender>> = LazyLock::new(sender::all);
    let Some(sender) = SENDERS.iter().find(|sender| sender.name() == name) else {
        panic!("neither crate's sources() and fuzz/src/sender.rs have `{name}` both");
    };
    let Some((&pick, body)) = data.split_first() else { return };
    let (delivery, proven) = sender.delivery(pick, body);
    let source = sender.source();

    assert_eq!(source.verify(&delivery, secrets(), now()).verdict.is_verified(), proven);
    if proven {
        let guessed = source.verify(&delivery, other_secrets(), now());
        assert!(!guessed.verdict.is_verified() && guessed.macs <= other_secrets().len());
        source.replay_key(&delivery);
    }
    hold::decoding(source, &delivery);
}

/// Bytes as text, or the part of them that is text.
pub fn text(data: &[u8]) -> &str {
    match std::str::from_utf8(data) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&data[..error.valid_up_to()]).unwrap_or_default(),
    }
}
