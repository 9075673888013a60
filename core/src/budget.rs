//! A bounded amount of something, lent in shares that come back by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is left of the bound.
#[derive(Debug)]
pub struct Budget {
    left: AtomicUsize,
}

/// A part of a budget; comes back when dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    amount: usize,
}

impl Budget {
    /// A budget of `bound`.
    pub fn new(bound: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(bound) })
    }

    /// Takes `amount`, if so much is left.
    pub fn take(self: &Arc<Self>, amount: usize) -> Option<Share> {
        self.left
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(amount))
            .ok()?;
        Some(Share { budget: self.clone(), amount })
    }

    /// What is left.
    pub fn left(&self) -> usize {
        self.left.load(Ordering::Acquire)
    }
}

impl Share {
    /// How much it is.
    pub fn amount(&self) -> usize {
        self.amount
    }

    /// Takes `more` into this share, if so much is left; answers whether it did.
    pub fn grow(&mut self, more: usize) -> bool {
        let Some(mut taken) = self.budget.take(more) else { return false };
        // It comes back with the rest.
        self.amount += std::mem::take(&mut taken.amount);
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.amount, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_come_back() {
        let budget = Budget::new(10);
        let six = budget.take(6).expect("there is enough");
        assert!(budget.take(5).is_none());
        let four = budget.take(4).expect("just enough");
        drop(six);
        assert_eq!(budget.left(), 6);
        drop(four);
        assert_eq!(budget.left(), 10);
    }

    #[test]
    fn a_share_that_grew_comes_back_whole() {
        let budget = Budget::new(10);
        let mut share = budget.take(2).expect("there is enough");
        assert!(share.grow(8) && !share.grow(1));
        assert_eq!((share.amount(), budget.left()), (10, 0));
        drop(share);
        assert_eq!(budget.left(), 10);
    }
}
