//! Signature schemes, as pure functions over raw bytes.
