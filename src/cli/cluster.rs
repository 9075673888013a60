//! Who serves, and who speaks for which endpoints, as the rows say.

use hookseal_core::cluster::{Node, Roll};
use hookseal_core::error::{Error, Result};
use hookseal_core::shard::Standing;

use super::with_admin;
use crate::config::Config;

pub(super) fn status(config: &Config) -> Result<()> {
    if !config.is_shared() {
        let expected = "set along with database_url: a node that is alone tells how it stands at \
                        /v1/platform/cluster";
        return Err(Error::invalid("redis_url", expected));
    }
    let roll = with_admin(config, async |admin| admin.every_node().await)?;
    print!("{}", table(&roll));
    Ok(())
}

fn table(Roll { nodes, shards }: &Roll) -> String {
    let header = ["node", "name", "version", "address", "standing", "shards", "endpoints"];
    let header = header.into_iter().chain(["waiting", "in flight", "breakers", "lag"]);
    let mut rows = vec![header.map(str::to_owned).collect::<Vec<_>>()];
    rows.extend(nodes.iter().map(cells));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..rows[0].len()).map(|n| width(n).unwrap_or_default()).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    let serving =
        |number| nodes.iter().any(|node| node.number == number && node.standing != Standing::Ended);
    let orphans = shards.iter().filter(|shard| !shard.owner.is_some_and(serving)).count();
    let handed_over: i64 = shards.iter().map(|shard| shard.epoch).sum();
    text.push_str(&format!(
        "{} shards, {orphans} without a node, handed over {handed_over} times in all\n",
        shards.len()
    ));
    text
}

fn cells(node: &Node) -> Vec<String> {
    let load = &node.workload;
    vec![
        node.number.to_string(),
        node.card.name.clone(),
        node.card.version.clone(),
        node.card.address.clone(),
        node.standing.as_str().to_owned(),
        node.shards.to_string(),
        load.endpoints.to_string(),
        load.waiting.to_string(),
        load.in_flight.to_string(),
        load.breakers_open.to_string(),
        format!("{} ms", load.lag.as_millis()),
    ]
}
