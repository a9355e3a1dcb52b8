//! kiops examples
