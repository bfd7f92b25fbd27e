//! Bounded rows behind the figures of a report, however many records there are.

use std::collections::BTreeMap;

/// The rows with the greatest keys, as many as a page shows below a figure.
#[derive(Debug, Clone)]
pub(super) struct Kept<K, T, const ROWS: usize = 10>(BTreeMap<K, T>);

impl<K, T, const ROWS: usize> Default for Kept<K, T, ROWS> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord, T, const ROWS: usize> Kept<K, T, ROWS> {
    /// Takes a row in, if it is among the rows to keep.
    pub(super) fn offer(&mut self, key: K, row: impl FnOnce() -> T) {
        let full = self.0.len() >= ROWS;
        if full && self.0.first_key_value().is_some_and(|(least, _)| key <= *least) {
            return;
        }
        self.0.insert(key, row());
        if self.0.len() > ROWS {
            self.0.pop_first();
        }
    }

    /// The rows, that with the greatest key first.
    pub(super) fn rows(&self) -> impl ExactSizeIterator<Item = &T> {
        self.0.values().rev()
    }

    /// The rows with their keys.
    pub(super) fn into_pairs(self) -> impl Iterator<Item = (K, T)> {
        self.0.into_iter()
    }
}

/// Values by a key that strangers may have chosen: for keys beyond [`KEYS`](Self::KEYS) there is one value.
#[derive(Debug)]
pub(super) struct Sorted<K, T> {
    rows: BTreeMap<K, T>,
    rest: Option<T>,
}

impl<K, T> Default for Sorted<K, T> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), rest: None }
    }
}

impl<K: Ord, T: Default> Sorted<K, T> {
    /// Keys that have a value of their own.
    pub(super) const KEYS: usize = 256;

    /// The value of `key`.
    pub(super) fn of(&mut self, key: K) -> &mut T {
        if self.rows.len() >= Self::KEYS && !self.rows.contains_key(&key) {
            return self.rest.get_or_insert_default();
        }
        self.rows.entry(key).or_default()
    }

    /// Keys and values, that with the greatest `measure` first; at last the value of all other keys.
    pub(super) fn by(&self, measure: impl Fn(&T) -> u64) -> Vec<(Option<&K>, &T)> {
        let mut rows: Vec<_> = self.rows.iter().map(|(key, value)| (Some(key), value)).collect();
        rows.sort_by_key(|(_, value)| std::cmp::Reverse(measure(value)));
        rows.extend(self.rest.iter().map(|rest| (None, rest)));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_are_kept_in_whatever_order_they_come() {
        let most = 10;
        let orders: [Box<dyn Iterator<Item = u32>>; 2] = [Box::new(0..100), Box::new((0..100).rev())];
        for order in orders {
            let mut kept = Kept::<u32, u32>::default();
            let mut made = 0;
            order.for_each(|key| {
                kept.offer(key, || {
                    made += 1;
                    key
                });
            });
            assert_eq!(kept.rows().copied().collect::<Vec<_>>(), (100 - most..100).rev().collect::<Vec<_>>());
            assert!(made == 100 || made == most, "{made}");
        }
    }

    #[test]
    fn keys_beyond_the_bound_are_counted_together() {
        let mut sorted = Sorted::<u32, u64>::default();
        for key in 0..1000 {
            *sorted.of(key) += 1;
        }
        *sorted.of(7) += 1;
        let rows = sorted.by(|count| *count);
        assert_eq!(rows.len(), Sorted::<u32, u64>::KEYS + 1);
        assert_eq!(rows.first(), Some(&(Some(&7), &2)));
        assert_eq!(rows.last(), Some(&(None, &744)));
    }
}
