//! The HTTP seam: one small trait, and above it the rules that every call of ours keeps.
