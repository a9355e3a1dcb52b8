//! Masking of secrets in text that arrives in chunks.
