//! What to do about an answer of any registry. One that is known better replaces it by its own words.

pub(crate) const NO_ACCOUNT: &str = "give an account: the registry answers this to nobody without one";

pub(crate) const LOGIN: &str =
    "the registry refuses the account: check its user name and its password or token";

pub(crate) const TOKEN_RIGHT: &str =
    "the account is known and lacks the right: let it push to, or pull from, this repository";

pub(crate) const RIGHT: &str = "the account lacks the right: let it push to, or pull from, this repository";

pub(crate) const NAME: &str =
    "check the image's name; some registries answer so to an account that may not see it";

pub(crate) const LIMIT: &str =
    "give an account, or a mirror: the registry lets nobody read more often just now";

/// Whether this is what is said of any registry.
pub(crate) fn is_general(remedy: &str) -> bool {
    [NO_ACCOUNT, LOGIN, TOKEN_RIGHT, RIGHT, NAME, LIMIT].contains(&remedy)
}
