//! Nodes that were said to be gone write nothing more: every batch asks, in its own transaction, which of
//! the nodes that its claims were made on still stand, and which shards they hold.

use std::collections::{BTreeSet, HashMap};

use hookseal_core::delivery::ClaimToken;
use hookseal_core::id::EndpointId;
use hookseal_core::ports::{Acceptance, Settlement};
use hookseal_core::shard::{NodeNumber, Shard, Shards};
use sea_orm::{ConnectionTrait, DatabaseTransaction, Statement};

use super::cell::Kind::Number;
use super::change::Change;
use super::given::{Given, Writes};
use super::{ClaimRequest, Write};
use crate::store::Failure;

/// Where a node has only to stand.
const ANY_SHARD: i64 = -1;

/// Has nothing stand of what goes together with it unless the nodes stand that `settlements` were claimed on, and hold
/// what `acceptances` come with. [`Standing`] tells the same of each.
pub(super) fn stand<'a>(settlements: &[&Settlement], acceptances: &[&Acceptance]) -> Writes<'a> {
    let ended = settlements.iter().map(|settlement| (settlement.token.node(), ANY_SHARD));
    let reserved =
        acceptances.iter().flat_map(|acceptance| &acceptance.deliveries).filter_map(|new| {
            let token = new.reservation.as_ref()?.token();
            Some((token.node(), Shard::of(&new.delivery.endpoint_id).number().into()))
        });
    let asked: BTreeSet<(i64, i64)> = ended
        .chain(reserved)
        .filter(|(node, _)| *node != NodeNumber::SOLE)
        .map(|(node, shard)| (node.0, shard))
        .collect();
    let source = format!(
        "SELECT 1 FROM nodes WHERE ended_at_ms IS NULL AND number & {mask} = given.node AND (given.shard = {ANY_SHARD} \
         OR EXISTS (SELECT 1 FROM shards WHERE owner = nodes.number AND shards.shard = given.shard))",
        mask = ClaimToken::NODE_MASK,
    );
    let asked = asked.into_iter().map(|(node, shard)| [node.into(), shard.into()]);
    Given::of([("node", Number), ("shard", Number)], asked).write(Change::Find { source })
}

/// Nodes that stand, and what each holds.
#[derive(Debug, Default)]
pub(super) struct Standing(HashMap<NodeNumber, Shards>);

impl Standing {
    /// Reads how the nodes of `batch` stand. The only node of a database has no row, and always does.
    pub(super) async fn read(tx: &DatabaseTransaction, batch: &[Write]) -> Result<Self, Failure> {
        let nodes: BTreeSet<i64> = batch
            .iter()
            .flat_map(tokens)
            .map(|token| token.node().0)
            .filter(|node| *node != NodeNumber::SOLE.0)
            .collect();
        if nodes.is_empty() {
            return Ok(Self::default());
        }
        let list: Vec<_> = nodes.iter().map(ToString::to_string).collect();
        let sql = format!(
            "SELECT nodes.number & {mask}, bit_or(CAST(1 AS bigint) << CAST(shards.shard AS integer)) \
             FROM nodes LEFT JOIN shards ON shards.owner = nodes.number \
             WHERE nodes.ended_at_ms IS NULL AND nodes.number & {mask} IN ({list}) \
             GROUP BY nodes.number",
            mask = ClaimToken::NODE_MASK,
            list = list.join(", "),
        );
        let statement = Statement::from_string(tx.get_database_backend(), sql);
        let mut standing = HashMap::new();
        for row in tx.query_all_raw(statement).await? {
            let held: Option<i64> = row.try_get_by_index(1)?;
            let held = Shards::from_bits(held.unwrap_or_default().cast_unsigned());
            standing.insert(NodeNumber(row.try_get_by_index(0)?), held);
        }
        Ok(Self(standing))
    }

    /// Whether a claim made under `token` may be ended by its holder: also when the shard was given away
    /// since, so that nothing in flight is sent twice.
    pub(super) fn may_settle(&self, token: ClaimToken) -> bool {
        token.node() == NodeNumber::SOLE || self.0.contains_key(&token.node())
    }

    /// Those of `requests` whose deliveries may be claimed.
    pub(super) fn of_claims<'a>(&self, requests: &[&'a ClaimRequest]) -> Vec<&'a ClaimRequest> {
        let may = |request: &&&ClaimRequest| self.may_claim(request.claim.token, &request.endpoint);
        requests.iter().filter(may).copied().collect()
    }

    /// Whether a delivery to `endpoint` may be claimed under `token`.
    fn may_claim(&self, token: ClaimToken, endpoint: &EndpointId) -> bool {
        token.node() == NodeNumber::SOLE
            || self.0.get(&token.node()).is_some_and(|held| held.hold(endpoint))
    }

    /// Whether all that is inserted claimed may be.
    pub(super) fn may_accept(&self, acceptance: &Acceptance) -> bool {
        acceptance.deliveries.iter().all(|new| match &new.reservation {
            None => true,
            Some(place) => self.may_claim(place.token(), &new.delivery.endpoint_id),
        })
    }
}

fn tokens(write: &Write) -> Vec<ClaimToken> {
    match write {
        Write::Accept(acceptance, _) => {
            let places = acceptance.deliveries.iter().filter_map(|new| new.reservation.as_ref());
            places.map(|place| place.token()).collect()
        }
        Write::Claim(request, _) => vec![request.claim.token],
        Write::Settle(settlements, ..) => settlements.iter().map(|s| s.token).collect(),
    }
}
