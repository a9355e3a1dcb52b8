//! Which refs and which changed files matter: patterns compiled once, immutable.
