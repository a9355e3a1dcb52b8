//! kiops-store
