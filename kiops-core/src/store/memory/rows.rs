//! Rows that remember the order in which they came.

use std::collections::BTreeMap;

use crate::store::{Listed, Page};

/// Rows by key. One that is replaced keeps its place.
#[derive(Debug)]
pub(super) struct Rows<K, V> {
    places: BTreeMap<K, u64>,
    rows: BTreeMap<u64, V>,
}

impl<K, V> Default for Rows<K, V> {
    fn default() -> Self {
        Self { places: BTreeMap::new(), rows: BTreeMap::new() }
    }
}

impl<K: Ord, V> Rows<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(self.places.get(key)?)
    }

    pub(super) fn put(&mut self, key: K, row: V) {
        let next = self.rows.last_key_value().map_or(0, |(last, _)| last + 1);
        let place = *self.places.entry(key).or_insert(next);
        self.rows.insert(place, row);
    }

    pub(super) fn newest_first(&self) -> impl Iterator<Item = &V> {
        self.rows.values().rev()
    }

    pub(super) fn each_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.rows.values_mut()
    }
}

/// A page of these rows.
pub(super) fn listed<'a, T: Clone + 'a>(rows: impl Iterator<Item = &'a T>, page: Page) -> Listed<T> {
    let (mut items, mut total) = (Vec::new(), 0);
    for row in rows {
        if total >= page.offset && items.len() < page.limit as usize {
            items.push(row.clone());
        }
        total += 1;
    }
    Listed { items, total }
}
