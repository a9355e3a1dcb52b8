//! In-process implementations of every trait, with faults on demand.
