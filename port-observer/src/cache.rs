//! A map that forgets. What others can make grow is kept in a bound of bytes, not of entries.

use std::{borrow::Borrow, hash::Hash, mem};

use foldhash::HashMap;

/// Keeps what was used last, within a limit of bytes. What is forgotten is worked out anew.
///
/// Two halves: new entries and those that are used go into the young half; when that is full, it
/// becomes the old half, and what the old half held until then is forgotten.
#[derive(Debug)]
pub struct Cache<K, V> {
    young: HashMap<K, (V, usize)>,
    old: HashMap<K, (V, usize)>,
    /// Of the young half.
    bytes: usize,
    /// Of one half.
    limit: usize,
}

impl<K: Eq + Hash, V> Cache<K, V> {
    /// An empty one, of at most so many bytes.
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            young: HashMap::default(),
            old: HashMap::default(),
            bytes: 0,
            limit: limit_bytes / 2,
        }
    }

    /// What is known of a key.
    pub fn get<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        if !self.young.contains_key(key)
            && let Some((key, (value, bytes))) = self.old.remove_entry(key)
        {
            self.put(key, value, bytes);
        }
        self.young.get(key).map(|(value, _)| value)
    }

    /// Remembers a value. `bytes`: what key and value take beside their own sizes.
    pub fn insert(&mut self, key: K, value: V, bytes: usize) {
        self.put(key, value, bytes.saturating_add(Self::ENTRY_BYTES));
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.young = HashMap::default();
        self.old = HashMap::default();
        self.bytes = 0;
    }

    /// An entry's own place: the table is between half and fully in use.
    const ENTRY_BYTES: usize = 2 * size_of::<(K, (V, usize))>();

    fn put(&mut self, key: K, value: V, bytes: usize) {
        if !self.young.is_empty() && self.bytes.saturating_add(bytes) > self.limit {
            self.old = mem::take(&mut self.young);
            self.bytes = 0;
        }
        if let Some((_, before)) = self.young.insert(key, (value, bytes)) {
            self.bytes -= before;
        }
        self.bytes += bytes;
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        let bytes =
            |half: &HashMap<K, (V, usize)>| half.values().map(|(_, bytes)| bytes).sum::<usize>();
        bytes(&self.young) + bytes(&self.old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_in_bytes_whatever_their_number() {
        let mut cache = Cache::new(1 << 20);
        for number in 0..100_000u32 {
            cache.insert(number, (), number as usize % 4096);
            assert!(cache.bytes <= 1 << 19, "{number}: {}", cache.bytes);
        }
        assert!(cache.bytes() <= 1 << 20);
        assert!(cache.bytes() > 1 << 18);
        assert!(cache.get(&99_999).is_some() && cache.get(&0).is_none());
    }

    #[test]
    fn what_is_used_stays() {
        let mut cache = Cache::new(100 << 10);
        cache.insert("kept".to_owned(), 1, 1 << 10);
        for number in 0..10_000 {
            cache.insert(number.to_string(), 2, 1 << 10);
            assert_eq!(cache.get("kept"), Some(&1), "{number}");
        }
        cache.insert("kept".to_owned(), 3, 1 << 10);
        assert_eq!(cache.get("kept"), Some(&3));
    }

    #[test]
    fn one_that_is_larger_than_all_is_kept_alone() {
        let mut cache = Cache::new(1000);
        cache.insert(1, 'a', 10);
        cache.insert(2, 'b', 1 << 20);
        assert_eq!(cache.get(&2), Some(&'b'));
        assert_eq!(cache.get(&1), Some(&'a'));
        cache.insert(3, 'c', 10);
        cache.insert(4, 'd', 10);
        assert!(cache.bytes() < 1000 + (1 << 20) * 2);
        cache.clear();
        assert_eq!(cache.get(&2), None);
        assert_eq!(cache.bytes(), 0);
    }
}
