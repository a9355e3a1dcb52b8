//! Names and contents that nobody had before: what a check puts into a shared place must not meet what another put there.

/// Sixteen hexadecimal digits, drawn.
///
/// # Panics
/// If the system gives no random bytes.
#[allow(clippy::expect_used, reason = "a check fails by panicking, as a test does")]
pub(super) fn word() -> String {
    let mut drawn = [0; 8];
    getrandom::fill(&mut drawn).expect("the system gives random bytes");
    crate::name::hex(&drawn)
}
