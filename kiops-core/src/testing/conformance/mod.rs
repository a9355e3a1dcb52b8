//! One conformance suite per trait: what its documentation guarantees, as a list of checks that any implementation can be put through.
