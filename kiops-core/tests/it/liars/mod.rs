//! The conformance suites bite: adapters that break one promise each are found out by the check of that promise.

mod deployer;
mod git;

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use kiops_core::testing::conformance::{Check, Subject};

/// Whether this check finds that the subject breaks its promise.
async fn finds<T: ?Sized>(checks: &[Check<T>], name: &str, subject: &dyn Subject<T>) -> bool {
    let check = checks.iter().find(|check| check.name == name);
    let check = check.unwrap_or_else(|| panic!("there is no check {name}"));
    AssertUnwindSafe((check.run)(subject)).catch_unwind().await.is_err()
}
