//! Time and chance, given from outside.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use jiff::Timestamp;

/// A sleep that is going on.
pub type Sleeping = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What deadlines and pauses between tries need: the time, sleep and chance.
pub trait Timer: Send + Sync + fmt::Debug {
    /// Now, to read the dates that servers send.
    fn now(&self) -> Timestamp;

    /// Resolves after `duration`, counted from this call. Runs on when the clock is set.
    fn sleep(&self, duration: Duration) -> Sleeping;

    /// Any number: spreads the tries of many callers. Needs no cryptographic strength.
    fn random(&self) -> u64;
}

/// The system's time with tokio's sleep. Needs a tokio runtime with time enabled.
#[cfg(feature = "runtime")]
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemTimer;

#[cfg(feature = "runtime")]
impl Timer for SystemTimer {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep(&self, duration: Duration) -> Sleeping {
        Box::pin(tokio::time::sleep(duration))
    }

    fn random(&self) -> u64 {
        // Without randomness tries are not spread; that is no reason to fail.
        getrandom::u64().unwrap_or_default()
    }
}
