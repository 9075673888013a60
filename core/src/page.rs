//! Pages of a list: how they are asked for and answered (contract 2.3).

use crate::error::{Error, Result};
use crate::limits::{PAGE, PAGE_MAX};

/// Which part of a list is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Most items, 1 to 100.
    pub limit: usize,
    /// Id of the last item of the page before.
    pub starting_after: Option<String>,
}

impl PageRequest {
    /// Judges a page request; 10 items from the start unless it says otherwise.
    pub fn judge(limit: Option<i64>, starting_after: Option<String>) -> Result<Self> {
        let limit = match limit {
            None => PAGE,
            Some(limit) => usize::try_from(limit)
                .ok()
                .filter(|limit| (1..=PAGE_MAX).contains(limit))
                .ok_or_else(|| {
                    Error::invalid("limit", format!("an integer from 1 to {PAGE_MAX}"))
                })?,
        };
        if let Some(cursor) = &starting_after {
            crate::id::EventId::parse("starting_after", cursor)?;
        }
        Ok(Self { limit, starting_after })
    }
}

/// One page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, in the order of the list.
    pub items: Vec<T>,
    /// Whether another page follows.
    pub has_more: bool,
}

impl<T> Page<T> {
    /// A page from up to `limit + 1` items that were read.
    pub fn from_read(mut items: Vec<T>, limit: usize) -> Self {
        let has_more = items.len() > limit;
        items.truncate(limit);
        Self { items, has_more }
    }
}
