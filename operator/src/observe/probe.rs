//! What members and sentinels are asked: one bounded question each.

use std::net::SocketAddr;
use std::time::Duration;

use datanode::shardmap::{NodeStatus, ShardMap};
use serde::de::DeserializeOwned;

use super::resp::{self, PROBE, Value};
use crate::snapshot::{Answer, Failure};

/// Asks a member or sentinel for its STATUS and MAP.
pub async fn ask<T: DeserializeOwned>(
    at: SocketAddr,
    password: &str,
    limit: Duration,
) -> Result<Answer<T>, Failure> {
    let mut answers = resp::call(at, password, &[&["REPLICASET", "STATUS"], &["REPLICASET", "MAP"]], limit)
        .await?
        .into_iter();
    let status = parse(answers.next().unwrap_or(Value::Null))?;
    let map = match answers.next().unwrap_or(Value::Null) {
        Value::Null => None,
        Value::Bulk(json) => Some(map(&json)?),
        other => return Err(unexpected(&other)),
    };
    Ok(Answer { status, map })
}

/// Asks a member for its promise.
pub async fn promise(at: SocketAddr, password: &str, shard: u32, epoch: u64) -> Result<NodeStatus, Failure> {
    let command: &[&str] = &["REPLICASET", "PROMISE", &shard.to_string(), &epoch.to_string()];
    parse(one(at, password, command, PROBE).await?)
}

/// Offers the map; the answer is the merged one.
pub async fn offer(at: SocketAddr, password: &str, offered: &ShardMap) -> Result<ShardMap, Failure> {
    match one(at, password, &["REPLICASET", "OFFER", &offered.to_json()], PROBE).await? {
        Value::Bulk(json) => map(&json),
        other => Err(unexpected(&other)),
    }
}

/// Sends a command whose answer is `OK` or STATUS.
pub async fn order(at: SocketAddr, password: &str, command: &[&str], limit: Duration) -> Result<(), Failure> {
    match one(at, password, command, limit).await? {
        Value::Simple(_) | Value::Bulk(_) => Ok(()),
        other => Err(unexpected(&other)),
    }
}

async fn one(at: SocketAddr, password: &str, command: &[&str], limit: Duration) -> Result<Value, Failure> {
    Ok(resp::call(at, password, &[command], limit).await?.pop().unwrap_or(Value::Null))
}

fn map(json: &[u8]) -> Result<ShardMap, Failure> {
    ShardMap::from_json(json).map_err(|error| Failure::Error(error.to_string()))
}

fn parse<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    match value {
        Value::Bulk(json) => serde_json::from_slice(&json)
            .map_err(|error| Failure::Error(format!("an unknown STATUS: {error}"))),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(value: &Value) -> Failure {
    match value {
        Value::Error(text) => Failure::Error(text.clone()),
        other => Failure::Error(format!("unexpectedly {other:?}")),
    }
}
