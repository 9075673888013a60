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
}
