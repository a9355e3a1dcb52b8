//! The integration tests of kiops-core: one binary, one module for each area.

mod log_store;
mod sim;
mod store;
