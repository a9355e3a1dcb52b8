//! kiops benches
