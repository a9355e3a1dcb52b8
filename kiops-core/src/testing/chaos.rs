//! Faults drawn from a seed: any call can be slow, fail before or after it took effect, hang, or be cut by a crash.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::error::{Error, Result};

/// A small generator: the same seed draws the same numbers on every machine.
#[derive(Debug, Clone)]
pub struct Draw(u64);

impl Draw {
    /// A generator of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number (SplitMix64).
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub const fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.next() % n }
    }

    /// True in `permille` of a thousand cases.
    pub const fn hits(&mut self, permille: u32) -> bool {
        self.below(1000) < permille as u64
    }
}

/// How often what goes wrong, in cases of a thousand calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// The call takes up to two seconds.
    pub slow: u32,
    /// It fails, and nothing was done.
    pub fail: u32,
    /// It fails, and everything was done: the answer is lost.
    pub lose: u32,
    /// It takes ten minutes.
    pub hang: u32,
    /// The process ends here.
    pub crash: u32,
}

/// Where faults come from. Clones are one.
#[derive(Debug, Clone)]
pub struct Chaos {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    crashed: Notify,
}

#[derive(Debug)]
struct State {
    draw: Draw,
    rates: Rates,
    calls: u64,
    crashes: u64,
}

impl Chaos {
    /// No faults.
    pub fn none() -> Self {
        Self::new(0, Rates::default())
    }

    /// Faults of this seed at these rates.
    pub fn new(seed: u64, rates: Rates) -> Self {
        let state = State { draw: Draw::new(seed), rates, calls: 0, crashes: 0 };
        Self { inner: Arc::new(Inner { state: Mutex::new(state), crashed: Notify::new() }) }
    }

    /// Other rates from now on.
    pub fn set(&self, rates: Rates) {
        self.state().rates = rates;
    }

    /// How many calls there were, and how many of them were cut by a crash.
    pub fn counts(&self) -> (u64, u64) {
        let state = self.state();
        (state.calls, state.crashes)
    }

    /// Resolves when the process is to end.
    pub async fn crashed(&self) {
        self.inner.crashed.notified().await;
    }

    /// Performs a call under whatever fault is drawn for it. After a crash it never resolves: whoever waits is gone.
    pub async fn around<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        enum Fault {
            None,
            Slow(u64),
            Fail,
            Lose,
            Hang,
            Crash { after: bool },
        }
        let fault = {
            let mut state = self.state();
            state.calls += 1;
            let rates = state.rates;
            let draw = &mut state.draw;
            if draw.hits(rates.crash) {
                let after = draw.below(2) == 0;
                state.crashes += 1;
                Fault::Crash { after }
            } else if draw.hits(rates.fail) {
                Fault::Fail
            } else if draw.hits(rates.lose) {
                Fault::Lose
            } else if draw.hits(rates.hang) {
                Fault::Hang
            } else if draw.hits(rates.slow) {
                Fault::Slow(draw.below(2000))
            } else {
                Fault::None
            }
        };
        let failed = || Error::unavailable(operation, "the simulated world said no");
        match fault {
            Fault::None => call.await,
            Fault::Slow(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                call.await
            }
            Fault::Fail => Err(failed()),
            Fault::Lose => {
                call.await?;
                Err(failed())
            }
            Fault::Hang => {
                tokio::time::sleep(Duration::from_secs(600)).await;
                call.await
            }
            Fault::Crash { after } => {
                if after {
                    let _ = call.await;
                }
                self.inner.crashed.notify_one();
                std::future::pending().await
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
