//! What release 7.2.3 stored of networks becomes ours.
//!
//! Its bridges are taken over with it, so that no two have one subnet: `inherited`
//! says that a bridge of the old name is not a stranger's. Counters of traffic
//! come along as they are, under the names of its firewall chains.

use rusqlite::params;
use tracing::info;

use super::names;
use super::store::{self, Stored};
use crate::model::{NetworkId, NetworkParameters};
use crate::storage::{Nonsense, OldRelease, OldRow, StorageError, TakeOver};

const DAY: i64 = 24 * 60 * 60;

/// Takes over the networks of release 7.2.3, and its counters of traffic.
#[must_use]
pub fn take_over() -> TakeOver {
    TakeOver::new("networks", run)
}

fn run(old: &OldRelease<'_>) -> Result<(), StorageError> {
    let networks = old.rows("network", network)?;
    for network in &networks {
        store::insert(old.transaction(), network)?;
    }
    let counters = old.rows("trafficmonitor", counter)?;
    for counter in &counters {
        old.transaction().execute(
            "INSERT INTO traffic (chain, day, bytes) VALUES (?1, ?2, ?3)",
            params![counter.chain, counter.day, counter.bytes],
        )?;
    }

    info!(
        networks = networks.len(),
        counters = counters.len(),
        "networks of release 7.2.3 are taken over"
    );
    Ok(())
}

/// A subnet or address that makes no sense is the network's own error when it is
/// made.
fn network(row: &OldRow) -> Result<Stored, Nonsense> {
    let network_id = NetworkId::new(row.name("networkID")?);
    Ok(Stored {
        bridge: names::bridge(&network_id, |_| false),
        removed: false,
        inherited: true,
        parameters: NetworkParameters {
            network_id,
            subnet: row.text("subnet")?.unwrap_or_default(),
            ip: row.text("ip")?.unwrap_or_default(),
            vlan_id: row
                .integer("vlanID")?
                .unwrap_or_default()
                .max(0)
                .cast_unsigned(),
            ..NetworkParameters::default()
        },
    })
}

/// Bytes of one day.
struct Counter {
    chain: String,
    day: i64,
    bytes: i64,
}

fn counter(row: &OldRow) -> Result<Counter, Nonsense> {
    let time = row
        .time("time")?
        .ok_or(Nonsense::new("time", "is missing"))?;
    Ok(Counter {
        chain: row.name("chain")?,
        day: time.div_euclid(DAY),
        bytes: row.integer("value")?.unwrap_or_default().max(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Database, OldDatabase};

    async fn traffic(database: &Database) -> Vec<(String, i64, i64)> {
        database
            .call(|connection| {
                let mut select = connection.prepare("SELECT * FROM traffic ORDER BY chain")?;
                let rows =
                    select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn networks_of_both_schemas_keep_their_place_and_their_bridge() {
        for (version, vlan) in [(6, ""), (7, ", 'vlan-12345678'")] {
            let old = OldDatabase::new(version);
            old.execute(&format!(
                "INSERT INTO network VALUES ('provider', '10.0.0.1', '10.0.0.0/24', 7{vlan})"
            ));

            let networks = store::load(&old.taken_over(take_over())).await.unwrap();

            let expected = Stored {
                bridge: "br-provider".into(),
                removed: false,
                inherited: true,
                parameters: NetworkParameters {
                    network_id: "provider".into(),
                    subnet: "10.0.0.0/24".into(),
                    ip: "10.0.0.1".into(),
                    vlan_id: 7,
                    ..NetworkParameters::default()
                },
            };
            assert_eq!(networks, [expected]);
        }
    }

    #[tokio::test]
    async fn rows_that_make_no_sense_are_left_out_alone() {
        let old = OldDatabase::new(6);
        old.execute(
            "INSERT INTO network VALUES ('', '10.0.0.1', '10.0.0.0/24', 0);
             INSERT INTO network VALUES (x'ff', '10.0.0.1', '10.0.0.0/24', 0);
             INSERT INTO network VALUES ('vlan', '10.0.0.1', '10.0.0.0/24', 'seven');
             INSERT INTO network VALUES ('nulls', NULL, NULL, NULL);
             INSERT INTO trafficmonitor VALUES ('no time', NULL, 1);
             INSERT INTO trafficmonitor VALUES ('bad time', 'yesterday', 1);
             INSERT INTO trafficmonitor VALUES ('bad value', 0, 'much');
             INSERT INTO trafficmonitor VALUES ('negative', 0, -5);",
        );

        let database = old.taken_over(take_over());

        let networks = store::load(&database).await.unwrap();
        assert_eq!(networks.len(), 1);
        assert_eq!(networks[0].parameters.network_id.as_str(), "nulls");
        assert_eq!(traffic(&database).await, [("negative".into(), 0, 0)]);
    }

    #[tokio::test]
    async fn counters_of_traffic_count_for_their_day() {
        let old = OldDatabase::new(6);
        old.execute(
            "INSERT INTO trafficmonitor VALUES ('AOS_SYSTEM_IN', '1970-01-03 23:59:59+00:00', 12);
             INSERT INTO trafficmonitor VALUES ('AOS_SYSTEM_OUT', 86400, 34);",
        );

        let counters = traffic(&old.taken_over(take_over())).await;

        let expected = [
            ("AOS_SYSTEM_IN".to_owned(), 2, 12),
            ("AOS_SYSTEM_OUT".to_owned(), 1, 34),
        ];
        assert_eq!(counters, expected);
    }
}
