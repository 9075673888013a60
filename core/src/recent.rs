//! What was asked for lately: bounded by its weight, and forgotten once nobody asks for it any more.
//!
//! Two generations: what is asked for moves into the younger one, and what is left in the older one goes when the
//! younger takes its place. That is as good as an order by last use, and costs one look-up.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// Values by key, which weigh as much as its bound at the most.
#[derive(Debug)]
pub struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    weigh: fn(&V) -> usize,
    /// Of the younger generation.
    weight: usize,
    /// Of each generation.
    bound: usize,
}

impl<K: Eq + Hash, V: Clone> Recent<K, V> {
    /// An empty one that keeps `bound` values, an even number.
    pub fn new(bound: usize) -> Self {
        Self::weighing(bound, |_| 1)
    }

    /// An empty one that keeps values which weigh `bound` together. One that weighs more than half of it is kept
    /// with no other of its generation.
    pub fn weighing(bound: usize, weigh: fn(&V) -> usize) -> Self {
        let (young, old) = (HashMap::new(), HashMap::new());
        Self { young, old, weigh, weight: 0, bound: (bound / 2).max(1) }
    }

    /// The value under `key`, which counts as asked for.
    pub fn get<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.put(key, value.clone());
        Some(value)
    }

    /// Keeps `value` under `key`.
    pub fn put(&mut self, key: K, value: V) {
        self.remove(&key);
        let weight = (self.weigh)(&value);
        if self.weight + weight > self.bound {
            self.age();
        }
        self.weight += weight;
        self.young.insert(key, value);
    }

    /// Forgets the value under `key`, and answers it.
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let Some(removed) = self.young.remove(key) else { return self.old.remove(key) };
        self.weight -= (self.weigh)(&removed);
        Some(removed)
    }

    /// Forgets what was not asked for since this was done last.
    pub fn age(&mut self) {
        self.old = std::mem::take(&mut self.young);
        self.weight = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes() {
        let mut recent = Recent::new(4);
        for key in ["a", "b"] {
            recent.put(key, 1);
        }
        recent.age();
        assert_eq!(recent.get("a"), Some(1));
        recent.age();
        assert_eq!((recent.get("a"), recent.get("b")), (Some(1), None));
        recent.age();
        recent.age();
        assert_eq!(recent.get("a"), None);
        recent.put("c", 1);
        recent.age();
        recent.put("c", 2);
        recent.remove("c");
        assert_eq!(recent.get("c"), None);
    }

    #[test]
    fn no_more_are_kept_than_the_bound() {
        let mut recent = Recent::new(4);
        for key in 0..100 {
            recent.put(key, key);
            assert!(recent.young.len() + recent.old.len() <= 4);
            assert_eq!(recent.get(&key), Some(key));
        }
        assert_eq!((recent.get(&99), recent.get(&90)), (Some(99), None));
    }

    #[test]
    fn heavy_values_leave_room_for_fewer() {
        let mut recent = Recent::weighing(20, |weight| *weight);
        let kept = |recent: &Recent<usize, usize>| {
            recent.young.values().chain(recent.old.values()).sum::<usize>()
        };
        for key in 0..100 {
            recent.put(key, 1 + key % 5);
            assert!(kept(&recent) <= 20);
            recent.put(key, 3);
            assert!(kept(&recent) <= 20);
        }
        assert!(recent.young.len() + recent.old.len() >= 3);
        recent.remove(&99);
        recent.put(7, 50);
        assert_eq!((recent.get(&7), recent.young.len(), recent.weight), (Some(50), 1, 50));
        recent.put(8, 1);
        assert_eq!((recent.get(&8), recent.young.len(), recent.weight), (Some(1), 1, 1));
    }
}
