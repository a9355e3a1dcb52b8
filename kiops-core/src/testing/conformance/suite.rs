//! What all suites share: the subject, the check, and how they are run.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt as _;

/// An implementation that a suite is run on.
#[async_trait]
pub trait Subject<T: ?Sized + 'static>: Send + Sync {
    /// A new, empty one, which knows nothing of those before.
    async fn open(&self) -> Arc<T>;

    /// What [`Subject::open`] gave last, as the next process finds it after the one before was killed; `None`: it lives in
    /// memory only. Checks let go of the one before first.
    async fn reopen(&self) -> Option<Arc<T>>;
}

/// One check: a guarantee that is put to the proof. It panics, and says why, where the guarantee does not hold.
pub struct Check<T: ?Sized + 'static> {
    /// The guarantee as a sentence.
    pub name: &'static str,
    /// Puts it to the proof.
    pub run: for<'a> fn(&'a dyn Subject<T>) -> Proof<'a>,
}

/// A check under way.
pub type Proof<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

impl<T: ?Sized> std::fmt::Debug for Check<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Check").field(&self.name).finish()
    }
}

/// Runs every check, also after one has failed.
///
/// # Panics
/// If a check failed, with the name and the message of every one that did.
pub async fn run<T: ?Sized>(checks: &[Check<T>], subject: &dyn Subject<T>) {
    let mut failed = Vec::new();
    for check in checks {
        if let Err(panic) = AssertUnwindSafe((check.run)(subject)).catch_unwind().await {
            failed.push(format!("  {}: {}", check.name, message(panic.as_ref())));
        }
    }
    assert!(failed.is_empty(), "{} of {} checks failed:\n{}", failed.len(), checks.len(), failed.join("\n"));
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked")
}

/// Names the checks of a suite, module by module: a list of them, and their functions for whoever wants one alone.
macro_rules! checks {
    ($subject:ty: $($module:ident { $($name:ident,)* })*) => {
        $(pub use $module::{$($name),*};)*

        /// Every check of this suite.
        pub const CHECKS: &[$crate::testing::conformance::Check<$subject>] = &[
            $($($crate::testing::conformance::Check {
                name: stringify!($name),
                run: |subject| Box::pin($module::$name(subject)),
            },)*)*
        ];

        /// Runs every check of this suite.
        ///
        /// # Panics
        /// If a check failed, with the name and the message of every one that did.
        pub async fn all(subject: &dyn $crate::testing::conformance::Subject<$subject>) {
            $crate::testing::conformance::run(CHECKS, subject).await;
        }
    };
}
pub(super) use checks;
