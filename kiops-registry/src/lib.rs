//! kiops-registry
