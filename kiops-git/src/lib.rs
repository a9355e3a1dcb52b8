//! kiops-git
