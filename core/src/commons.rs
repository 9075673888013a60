//! A bounded amount that all organizations share, and of which none holds more than a part: whoever takes all that
//! he may leaves enough for the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::budget::{Budget, Share};
use crate::id::OrganizationId;

/// What is left of the bound, and who holds how much.
#[derive(Debug)]
pub struct Commons {
    all: Arc<Budget>,
    each: usize,
    held: Mutex<HashMap<OrganizationId, usize>>,
}

/// A part of what is shared; comes back when dropped.
#[derive(Debug)]
pub struct Portion {
    commons: Arc<Commons>,
    /// None where it is the platform's, which may hold all.
    holder: Option<OrganizationId>,
    share: Share,
}

impl Commons {
    /// An amount of `bound`, of which each organization may hold `each`.
    pub fn new(bound: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { all: Budget::new(bound), each, held: Mutex::default() })
    }

    /// Takes `amount` for `holder`, if so much is left and he may have it.
    pub fn take(
        self: &Arc<Self>,
        holder: Option<&OrganizationId>,
        amount: usize,
    ) -> Option<Portion> {
        let share = self.all.take(amount)?;
        self.entrust(holder, amount).then(|| Portion {
            commons: self.clone(),
            holder: holder.cloned(),
            share,
        })
    }

    /// What is left for all.
    pub fn left(&self) -> usize {
        self.all.left()
    }

    fn entrust(&self, holder: Option<&OrganizationId>, amount: usize) -> bool {
        let Some(holder) = holder else { return true };
        let mut held = self.held();
        let before = held.get(holder).copied().unwrap_or_default();
        let fits = before + amount <= self.each;
        if fits {
            held.insert(holder.clone(), before + amount);
        }
        fits
    }

    fn held(&self) -> MutexGuard<'_, HashMap<OrganizationId, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Portion {
    /// Takes `more` into this portion, if so much is left and its holder may have it; answers whether it did.
    pub fn grow(&mut self, more: usize) -> bool {
        if !self.commons.entrust(self.holder.as_ref(), more) {
            return false;
        }
        let grown = self.share.grow(more);
        if !grown {
            self.give_back(more);
        }
        grown
    }

    fn give_back(&self, amount: usize) {
        let Some(holder) = &self.holder else { return };
        let mut held = self.commons.held();
        match held.get_mut(holder) {
            Some(standing) if *standing > amount => *standing -= amount,
            // Whoever holds nothing is not remembered.
            Some(_) | None => drop(held.remove(holder)),
        }
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        self.give_back(self.share.amount());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_organization_leaves_the_rest_to_others() {
        let commons = Commons::new(10, 4);
        let [a, b] = ["a", "b"].map(OrganizationId::from_row);
        let mut of_a = commons.take(Some(&a), 3).expect("there is enough");
        assert!(of_a.grow(1) && !of_a.grow(1), "as much as one may have");
        assert!(commons.take(Some(&a), 1).is_none());
        let of_b = commons.take(Some(&b), 4).expect("another has his own");
        let rest = commons.take(None, 2).expect("the platform has what is left");
        assert!(commons.take(None, 1).is_none());
        drop(of_b);
        assert!(!of_a.grow(1), "what others give back is not his");
        drop(of_a);
        drop(rest);
        assert_eq!(commons.left(), 10);
        assert!(commons.held().is_empty());
        assert!(commons.take(Some(&a), 4).is_some());
    }

    #[test]
    fn what_all_hold_bounds_each() {
        let commons = Commons::new(5, 4);
        let [a, b] = ["a", "b"].map(OrganizationId::from_row);
        let _of_a = commons.take(Some(&a), 3).expect("there is enough");
        let mut of_b = commons.take(Some(&b), 1).expect("there is enough");
        assert!(of_b.grow(1) && !of_b.grow(1));
        assert_eq!(commons.held()[&b], 2, "what he did not get he does not hold");
    }
}
