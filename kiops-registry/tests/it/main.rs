//! The crate's behaviour from outside.
