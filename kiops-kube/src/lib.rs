//! kiops-kube
