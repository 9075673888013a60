//! How things stand: changes as they come, statistics, nodes.

use std::collections::HashMap;
use std::time::Duration;

use crate::access::Caller;
use crate::cluster::Roll;
use crate::error::{Error, Result};
use crate::feed::Position;
use crate::limits::STATISTICS_SPAN;
use crate::statistics::{Scope, Span, Statistics};
use crate::time::Timestamp;
use crate::watch::{Wanted, Watch};

use super::{Admin, AdminParts};

/// What statistics tell of where no span of time is named.
const HOUR: Duration = Duration::from_secs(3600);

impl Admin {
    /// Watches the changes of the caller's organization: what comes after the cursor `after`, or from
    /// now on.
    pub fn watch(&self, caller: &Caller, wanted: Wanted, after: Option<String>) -> Result<Watch> {
        let organization = caller.reader()?.clone();
        let place = |cursor: String| Position::parse(&cursor).ok_or(Error::UnknownCursor);
        let after = after.map(place).transpose()?;
        let AdminParts { feed, store, .. } = &self.parts;
        Ok(Watch::new(feed.clone(), store.clone(), organization, wanted, after))
    }

    /// How deliveries of the caller's organization went in a span of time, for each scope.
    pub async fn statistics(
        &self,
        caller: &Caller,
        scopes: &[Scope],
        span: Span,
    ) -> Result<HashMap<Scope, Statistics>> {
        let Span { from, to } = span;
        self.parts.store.statistics(caller.reader()?, scopes, from, to).await
    }

    /// The span that statistics are asked for: an hour up to now, where nothing else is said.
    pub fn span(&self, from: Option<Timestamp>, to: Option<Timestamp>) -> Result<Span> {
        let to = to.unwrap_or_else(|| self.parts.clock.now());
        let from = from.unwrap_or_else(|| to.minus(HOUR));
        if from > to || to.since(from) > STATISTICS_SPAN {
            return Err(Error::invalid("from", "an instant up to 7 days before to"));
        }
        Ok(Span { from, to })
    }

    /// The processes that serve, and what each of them has; for the platform.
    pub async fn cluster(&self, caller: &Caller) -> Result<Roll> {
        caller.platform()?;
        self.every_node().await
    }

    /// The processes that serve, and what each of them has; for whoever has the database.
    pub async fn every_node(&self) -> Result<Roll> {
        self.parts.cluster.roll().await
    }
}
