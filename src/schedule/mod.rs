//! Due times of what waits for a retry: hints that can be thrown away and rebuilt from rows.

pub mod memory;
pub mod redis;
