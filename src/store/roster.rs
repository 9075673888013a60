//! Nodes and shards in the rows of a PostgreSQL, on its clock. Work of their own connections, so that a
//! lease is not lost for want of one.

use std::time::Duration;

use async_trait::async_trait;
use hookseal_core::cluster::{
    Beat, Look, Neighbourhood, Node, NodeCard, Owners, Renewal, Roll, ShardState, Workload,
};
use hookseal_core::delivery::ClaimToken;
use hookseal_core::error::Result;
use hookseal_core::id::{DeliveryId, EndpointId};
use hookseal_core::ports::Roster;
use hookseal_core::shard::{NodeNumber, Shard, Shards, Standing, divide, owner_of};
use hookseal_core::time::Timestamp;
use hookseal_entity::{node, shard};
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DatabaseConnection, DatabaseTransaction, EntityTrait,
    Order, QueryFilter, QueryOrder, Statement, TransactionTrait, Value,
};

use super::{Connections, Failure};

/// The database's own clock, in milliseconds.
const NOW: &str = "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)";
/// How long nodes that ended are shown.
const SHOWN: Duration = Duration::from_secs(3600);

/// Nodes and shards in the rows.
#[derive(Clone, Debug)]
pub struct SqlRoster {
    connections: Connections,
}

impl SqlRoster {
    /// The roster in the database behind `connections`.
    pub(super) fn new(connections: Connections) -> Self {
        Self { connections }
    }

    fn db(&self) -> DatabaseConnection {
        self.connections.leases()
    }

    async fn heard<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T> {
        self.connections.heard(async { Ok(work.await?) }).await
    }

    async fn renewed(&self, me: NodeNumber, beat: &Beat) -> Result<Renewal, Failure> {
        let tx = self.db().begin().await?;
        let now = time(&tx).await?;
        if !renew(&tx, me, beat, now).await? {
            return Ok(Renewal::Ended);
        }
        let ended = end_late(&tx, now).await?;
        let over = node::Column::EndedAtMs.lt(now.minus(SHOWN).as_ms());
        node::Entity::delete_many().filter(over).exec(&tx).await?;
        let nodes = node::Entity::find().filter(node::Column::EndedAtMs.is_null()).all(&tx).await?;
        let standings: Vec<_> =
            nodes.iter().map(|node| (NodeNumber(node.number), standing(node, now))).collect();
        let owners: Vec<_> = owners(&tx).await?;
        let division = divide(me, &standings, &owners);
        if !division.take.is_empty() {
            take(&tx, me, division.take).await?;
        }
        let owners = self::owners(&tx).await?;
        tx.commit().await?;
        let serving = || standings.iter().filter(|(_, standing)| *standing == Standing::Serving);
        let target = |shard| owner_of(shard, serving().map(|(number, _)| *number));
        Ok(Renewal::Renewed(Neighbourhood {
            now,
            owners: owned(owners),
            serving: serving().count(),
            give: division.give.iter().filter_map(|s| Some((s, target(s)?))).collect(),
            ended,
        }))
    }
}

fn sql(db: &impl ConnectionTrait, text: String, values: Vec<Value>) -> Statement {
    Statement::from_sql_and_values(db.get_database_backend(), text, values)
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

async fn time(db: &impl ConnectionTrait) -> Result<Timestamp, Failure> {
    let row = db.query_one_raw(sql(db, format!("SELECT {NOW}"), vec![])).await?;
    let ms = row.map(|row| row.try_get_by_index(0)).transpose()?;
    Ok(Timestamp::from_ms(ms.unwrap_or_default()))
}

/// Renews a lease; answers whether there was one to renew.
async fn renew(
    tx: &DatabaseTransaction,
    me: NodeNumber,
    beat: &Beat,
    now: Timestamp,
) -> Result<bool, Failure> {
    use node::Column::{
        BreakersOpen, EndedAtMs, Endpoints, InFlight, LagMs, LeaseUntilMs, Leaving, Number, Waiting,
    };
    let Workload { endpoints, waiting, in_flight, breakers_open, lag } = beat.workload;
    let renewed = node::Entity::update_many()
        .col_expr(LeaseUntilMs, Expr::value(now.plus(beat.lease).as_ms()))
        .col_expr(Leaving, Expr::value(beat.leaving))
        .col_expr(Endpoints, Expr::value(count(endpoints)))
        .col_expr(Waiting, Expr::value(count(waiting)))
        .col_expr(InFlight, Expr::value(count(in_flight)))
        .col_expr(BreakersOpen, Expr::value(count(breakers_open)))
        .col_expr(LagMs, Expr::value(ms(lag)))
        .filter(Number.eq(me.0))
        .filter(EndedAtMs.is_null())
        .exec(tx)
        .await?;
    Ok(renewed.rows_affected > 0)
}

/// Ends nodes whose lease ran out; answers their names in the feed. Whose row is being written is not late.
async fn end_late(
    tx: &DatabaseTransaction,
    now: Timestamp,
) -> Result<Vec<Option<String>>, Failure> {
    let text = "UPDATE nodes SET ended_at_ms = $1 WHERE number IN (
            SELECT number FROM nodes WHERE ended_at_ms IS NULL AND lease_until_ms < $1
            ORDER BY number FOR UPDATE SKIP LOCKED
        ) RETURNING feed_writer";
    let rows = tx.query_all_raw(sql(tx, text.to_owned(), vec![now.as_ms().into()])).await?;
    let ended = rows.iter().map(|row| row.try_get_by_index(0));
    Ok(ended.collect::<Result<_, _>>()?)
}

/// Takes shards that no node has; of two that try, one does.
async fn take(tx: &DatabaseTransaction, me: NodeNumber, shards: Shards) -> Result<(), Failure> {
    let mut holders = Query::select();
    holders
        .expr(Expr::value(1))
        .from(node::Entity)
        .and_where(
            Expr::col((node::Entity, node::Column::Number))
                .equals((shard::Entity, shard::Column::Owner)),
        )
        .and_where(node::Column::EndedAtMs.is_null());
    shard::Entity::update_many()
        .col_expr(shard::Column::Owner, Expr::value(me.0))
        .col_expr(shard::Column::Epoch, Expr::col(shard::Column::Epoch).add(1))
        .filter(shard::Column::Shard.is_in(shards.iter().map(|shard| i64::from(shard.number()))))
        .filter(Expr::exists(holders).not())
        .exec(tx)
        .await?;
    Ok(())
}

async fn owners(db: &impl ConnectionTrait) -> Result<Vec<(Shard, Option<NodeNumber>)>, Failure> {
    let rows = shard::Entity::find().order_by(shard::Column::Shard, Order::Asc).all(db).await?;
    let owners = rows
        .into_iter()
        .filter_map(|row| Some((Shard::from_row(row.shard)?, row.owner.map(NodeNumber))));
    Ok(owners.collect())
}

fn owned(owners: Vec<(Shard, Option<NodeNumber>)>) -> Owners {
    owners.into_iter().filter_map(|(shard, owner)| Some((shard, owner?))).collect()
}

fn standing(node: &node::Model, now: Timestamp) -> Standing {
    if node.ended_at_ms.is_some() {
        Standing::Ended
    } else if node.lease_until_ms < now.as_ms() {
        Standing::Late
    } else if node.leaving {
        Standing::Leaving
    } else {
        Standing::Serving
    }
}

#[async_trait]
impl Roster for SqlRoster {
    async fn join(&self, card: &NodeCard, lease: Duration) -> Result<NodeNumber> {
        let text = format!(
            "INSERT INTO nodes (name, version, address, feed_writer, started_at_ms, lease_until_ms,
                leaving, endpoints, waiting, in_flight, breakers_open, lag_ms)
             VALUES ($1, $2, $3, $4, {NOW}, {NOW} + $5, false, 0, 0, 0, 0, 0) RETURNING number"
        );
        let NodeCard { name, version, address, feed_writer } = card.clone();
        let values =
            vec![name.into(), version.into(), address.into(), feed_writer.into(), ms(lease).into()];
        let join = async {
            let db = self.db();
            let row = db.query_one_raw(sql(&db, text, values)).await?;
            let number = row.map(|row| row.try_get_by_index(0)).transpose()?;
            Ok::<_, Failure>(NodeNumber(number.unwrap_or_default()))
        };
        let number = self.heard(join).await?;
        // In a token it would look like a node that is alone.
        if number.0 & ClaimToken::NODE_MASK == NodeNumber::SOLE.0 {
            self.end(number).await?;
            return self.join(card, lease).await;
        }
        Ok(number)
    }

    async fn renew(&self, me: NodeNumber, beat: &Beat) -> Result<Renewal> {
        self.heard(self.renewed(me, beat)).await
    }

    async fn give(&self, me: NodeNumber, to: &[(Shard, NodeNumber)]) -> Result<()> {
        let give = async {
            let tx = self.db().begin().await?;
            for (shard, heir) in to {
                let text = "UPDATE shards SET owner = $1, epoch = epoch + 1
                    WHERE shard = $2 AND owner = $3 AND EXISTS (
                        SELECT 1 FROM nodes WHERE number = $1 AND ended_at_ms IS NULL)";
                let values = vec![heir.0.into(), i64::from(shard.number()).into(), me.0.into()];
                tx.execute_raw(sql(&tx, text.to_owned(), values)).await?;
            }
            Ok::<_, Failure>(tx.commit().await?)
        };
        self.heard(give).await
    }

    async fn look(&self, since: Timestamp) -> Result<Look> {
        let look = async {
            let db = self.db();
            let text = "SELECT 0, id, '', revision FROM endpoints WHERE updated_at_ms > $1
                UNION ALL SELECT 1, endpoint_id, id, 0 FROM deliveries
                WHERE status = 'delivering' AND payload_scrubbed_at_ms IS NOT NULL";
            let values = vec![since.as_ms().into()];
            let rows = db.query_all_raw(sql(&db, text.to_owned(), values)).await?;
            let (mut changed, mut revoked) = (Vec::new(), Vec::new());
            for row in rows {
                let endpoint = EndpointId::from_row(row.try_get_by_index::<String>(1)?);
                match row.try_get_by_index::<i32>(0)? {
                    0 => changed.push((endpoint, row.try_get_by_index(3)?)),
                    _ => {
                        let id = DeliveryId::from_row(row.try_get_by_index::<String>(2)?);
                        revoked.push((endpoint, id));
                    }
                }
            }
            Ok::<_, Failure>(Look { owners: owned(owners(&db).await?), changed, revoked })
        };
        self.heard(look).await
    }

    async fn end(&self, me: NodeNumber) -> Result<()> {
        let end = async {
            let text = format!(
                "UPDATE nodes SET ended_at_ms = {NOW} WHERE number = $1 AND ended_at_ms IS NULL"
            );
            let db = self.db();
            db.execute_raw(sql(&db, text, vec![me.0.into()])).await?;
            Ok::<_, Failure>(())
        };
        self.heard(end).await
    }

    async fn roll(&self) -> Result<Roll> {
        let roll = async {
            let db = self.db();
            let now = time(&db).await?;
            let shards =
                shard::Entity::find().order_by(shard::Column::Shard, Order::Asc).all(&db).await?;
            let shown = Condition::any()
                .add(node::Column::EndedAtMs.is_null())
                .add(node::Column::EndedAtMs.gt(now.minus(SHOWN).as_ms()));
            let nodes = node::Entity::find()
                .filter(shown)
                .order_by(node::Column::Number, Order::Asc)
                .all(&db)
                .await?;
            let mut nodes: Vec<_> = nodes
                .into_iter()
                .map(|row| {
                    let held = shards.iter().filter(|shard| shard.owner == Some(row.number));
                    shown_node(&row, held.count(), now)
                })
                .collect();
            nodes.sort_by_key(|node| (node.standing == Standing::Ended, node.number));
            let shards = shards.into_iter().filter_map(|row| {
                Some(ShardState {
                    shard: Shard::from_row(row.shard)?,
                    owner: row.owner.map(NodeNumber),
                    epoch: row.epoch,
                })
            });
            Ok::<_, Failure>(Roll { nodes, shards: shards.collect() })
        };
        self.heard(roll).await
    }

    async fn time(&self) -> Result<Timestamp> {
        self.heard(async { time(&self.db()).await }).await
    }
}

fn shown_node(row: &node::Model, shards: usize, now: Timestamp) -> Node {
    let many = |count: i64| usize::try_from(count).unwrap_or_default();
    Node {
        number: NodeNumber(row.number),
        card: NodeCard {
            name: row.name.clone(),
            version: row.version.clone(),
            address: row.address.clone(),
            feed_writer: row.feed_writer.clone(),
        },
        started_at: Timestamp::from_ms(row.started_at_ms),
        lease_until: Some(Timestamp::from_ms(row.lease_until_ms)),
        standing: standing(row, now),
        shards,
        workload: Workload {
            endpoints: many(row.endpoints),
            waiting: many(row.waiting),
            in_flight: many(row.in_flight),
            breakers_open: many(row.breakers_open),
            lag: Duration::from_millis(row.lag_ms.unsigned_abs()),
        },
    }
}
