//! The secrets that a hook accepts at a time.

use jiff::Timestamp;

use crate::secret::Secret;

/// The secrets of one hook, newest first: the current one and, for a window after a rotation, the previous (E18).
#[derive(Debug, Clone, Default)]
pub struct SecretSet {
    entries: Vec<SecretEntry>,
}

/// One secret and how long it counts.
#[derive(Debug, Clone)]
pub struct SecretEntry {
    /// The secret.
    pub secret: Secret,
    /// Until when it is accepted; `None`: it is current.
    pub until: Option<Timestamp>,
}

impl SecretSet {
    /// A set of secrets that are all current, newest first.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Self {
        Self { entries: secrets.into_iter().map(|secret| SecretEntry { secret, until: None }).collect() }
    }

    /// A set of entries, newest first.
    pub const fn of(entries: Vec<SecretEntry>) -> Self {
        Self { entries }
    }

    /// The secrets that count at `now`, newest first.
    pub fn valid(&self, now: Timestamp) -> impl Iterator<Item = &Secret> {
        self.entries
            .iter()
            .filter(move |entry| entry.until.is_none_or(|until| now < until))
            .map(|entry| &entry.secret)
    }

    /// Every entry, whether it still counts or not.
    pub fn entries(&self) -> &[SecretEntry] {
        &self.entries
    }

    /// The set after a rotation at `now`: `secret` is current, what was current counts for `overlap` more, what has run out is dropped.
    #[must_use]
    pub fn rotated(&self, secret: Secret, now: Timestamp, overlap: jiff::SignedDuration) -> Self {
        let last = now.checked_add(overlap).unwrap_or(Timestamp::MAX);
        let kept =
            self.entries.iter().filter(|entry| entry.until.is_none_or(|until| now < until)).map(|entry| {
                SecretEntry {
                    secret: entry.secret.clone(),
                    until: Some(entry.until.map_or(last, |until| until.min(last))),
                }
            });
        Self { entries: std::iter::once(SecretEntry { secret, until: None }).chain(kept).collect() }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_secret_counts_until_its_window_ends() {
        let now = Timestamp::UNIX_EPOCH;
        let secret = |s: &str| Secret::new(s).unwrap();
        let set =
            SecretSet::new([secret("old")]).rotated(secret("new"), now, jiff::SignedDuration::from_hours(1));
        assert_eq!(set.valid(now).count(), 2);
        assert_eq!(set.valid(now).next(), Some(&secret("new")));
        let later = now + jiff::SignedDuration::from_hours(1);
        assert_eq!(set.valid(later).collect::<Vec<_>>(), [&secret("new")]);
        let again = set.rotated(secret("newer"), later, jiff::SignedDuration::from_hours(1));
        assert_eq!(again.len(), 2);
    }
}
