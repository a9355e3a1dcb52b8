mod client;
#[cfg(feature = "reqwest")]
mod reqwest_service;
