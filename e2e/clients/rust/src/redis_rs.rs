//! redis-rs: the usual work with one server, behind sentinels, and in a cluster.

use std::time::Duration;

use redis::cluster::{ClusterClient, ClusterClientBuilder, ClusterConnection};
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    Client, Commands, Connection, ConnectionLike, ErrorKind, ProtocolVersion, RedisError, RedisResult,
    ServerErrorKind,
};

use tokio::runtime::Runtime;

use crate::follow::Store;
use crate::{Options, Outcome, checked, same, until};

const TIMEOUT: Duration = Duration::from_secs(2);
const LEAST_RETRY_WAIT_MS: u64 = 20;
const MOST_RETRY_WAIT_MS: u64 = 200;

impl Options {
    fn url(&self, address: &str) -> String {
        let protocol = if self.protocol == 3 { "resp3" } else { "resp2" };
        format!("redis://:{}@{address}/?protocol={protocol}", self.password)
    }

    fn version(&self) -> ProtocolVersion {
        if self.protocol == 3 { ProtocolVersion::RESP3 } else { ProtocolVersion::RESP2 }
    }

    // docs: sentinel
    fn sentinel(&self) -> RedisResult<SentinelClient> {
        let addresses = self.addresses.iter().filter_map(|a| {
            let (host, port) = a.rsplit_once(':')?;
            Some(redis::ConnectionAddr::Tcp(host.into(), port.parse().ok()?))
        });
        SentinelClientBuilder::new(addresses, String::from("orders"), SentinelServerType::Master)?
            .set_client_to_redis_password(&self.password)
            .set_client_to_redis_protocol(self.version())
            .set_client_to_sentinel_password(&self.password)
            .build()
    }
    // end

    fn cluster(&self) -> RedisResult<ClusterClient> {
        ClusterClientBuilder::new(self.addresses.iter().map(|a| self.url(a)))
            .password(&self.password)
            .use_protocol(self.version())
            .connection_timeout(TIMEOUT)
            .response_timeout(TIMEOUT)
            // Its pauses are seconds at first otherwise, and grow up to minutes.
            .min_retry_wait(LEAST_RETRY_WAIT_MS)
            .max_retry_wait(MOST_RETRY_WAIT_MS)
            .build()
    }
}

/// What connects, and its connection: taken anew from the same client object where it has failed.
enum Follower {
    Sentinel(SentinelClient, Option<Connection>),
    /// The asynchronous one: the other learns of a new master only by a MOVED.
    Cluster(Runtime, redis::cluster_async::ClusterConnection),
}

impl Follower {
    fn ask<T: redis::FromRedisValue>(&mut self, command: &redis::Cmd) -> Outcome<T> {
        match self {
            Follower::Cluster(runtime, connection) => Ok(runtime.block_on(command.query_async(connection))?),
            Follower::Sentinel(client, kept) => {
                let connection = match kept {
                    Some(connection) => connection,
                    None => kept.insert(client.get_connection()?),
                };
                connection.set_read_timeout(Some(TIMEOUT))?;
                let answer = command.query(connection);
                // A master that was demoted, or is gone: the sentinels know the next one.
                if answer.is_err() {
                    *kept = None;
                }
                Ok(answer?)
            }
        }
    }
}

impl Store for Follower {
    fn set(&mut self, key: &str, value: &str) -> Outcome {
        let answer: String = self.ask(redis::cmd("SET").arg(key).arg(value))?;
        same(answer.as_str(), "OK")
    }

    fn get(&mut self, key: &str) -> Outcome<Option<String>> {
        self.ask(redis::cmd("GET").arg(key))
    }
}

/// A client that lives through failovers.
pub fn follower(options: &Options) -> Outcome<impl Store> {
    Ok(match options.mode.as_str() {
        "sentinel" => Follower::Sentinel(options.sentinel()?, None),
        "cluster" => {
            let runtime = Runtime::new()?;
            let connection = runtime.block_on(options.cluster()?.get_async_connection())?;
            Follower::Cluster(runtime, connection)
        }
        mode => return Err(format!("nothing to follow in mode {mode}").into()),
    })
}

/// The usual work.
pub fn work(options: &Options) -> Outcome {
    match options.mode.as_str() {
        "cluster" => {
            let client = options.cluster()?;
            let mut connection = client.get_connection()?;
            everywhere(&mut connection, client.get_connection()?)?;
            cluster(&mut connection)?;
        }
        mode => {
            let connect = || match mode {
                "sentinel" => options.sentinel()?.get_connection(),
                _ => Client::open(options.url(&options.addresses[0]))?.get_connection(),
            };
            let mut connection = connect()?;
            everywhere(&mut connection, connect()?)?;
            single(&mut connection, connect()?)?;
            subscribe(&mut connection, connect()?)?;
        }
    }
    Runtime::new()?.block_on(concurrent(options))
}

fn everywhere<C: ConnectionLike + Send>(c: &mut C, mut other: C) -> Outcome {
    let k = |name: &str| format!("{{rs}}{name}");
    for name in ["s", "n", "h", "l", "set", "z", "x", "q", "counter", "t", "w"] {
        c.del::<_, ()>(k(name))?;
    }

    same(c.set_nx(k("s"), "v")?, true)?;
    same(c.set_nx(k("s"), "w")?, false)?;
    same::<Vec<Option<String>>>(c.mget(&[k("s"), k("none")])?, vec![Some("v".into()), None])?;
    same(c.incr(k("n"), 41.5)?, 41.5)?;
    let bytes: Vec<u8> = (0..=255).collect();
    c.set::<_, _, ()>(k("b"), &bytes)?;
    same::<Vec<u8>>(c.get(k("b"))?, bytes)?;
    checked("strings");

    same(c.hset_multiple(k("h"), &[("a", 1), ("b", 2)])?, String::from("OK"))?;
    let found: std::collections::BTreeMap<String, i64> = c.hgetall(k("h"))?;
    same(found.into_iter().collect::<Vec<_>>(), vec![("a".into(), 1), ("b".into(), 2)])?;
    checked("hashes");

    same(c.rpush(k("l"), &["a", "b", "c"])?, 3)?;
    same::<Vec<String>>(c.lrange(k("l"), 1, -1)?, vec!["b".into(), "c".into()])?;
    checked("lists");

    same(c.sadd(k("set"), &["a", "b"])?, 2)?;
    same::<Vec<bool>>(c.smismember(k("set"), &["a", "c"])?, vec![true, false])?;
    checked("sets");

    same(c.zadd_multiple(k("z"), &[(1.0, "a"), (2.5, "b")])?, 2)?;
    same::<Vec<(String, f64)>>(
        c.zrange_withscores(k("z"), 0, -1)?,
        vec![("a".into(), 1.0), ("b".into(), 2.5)],
    )?;
    same::<Option<f64>>(c.zscore(k("z"), "b")?, Some(2.5))?;
    checked("sorted sets");

    let id: String = c.xadd(k("x"), "*", &[("f", "v")])?;
    c.xgroup_create::<_, _, _, ()>(k("x"), "g", "0")?;
    let options = redis::streams::StreamReadOptions::default().group("g", "me").count(10);
    let read: redis::streams::StreamReadReply =
        c.xread_options::<_, _, Option<_>>(&[k("x")], &[">"], &options)?.ok_or("nothing was read")?;
    same(read.keys[0].ids[0].id.clone(), id.clone())?;
    same(read.keys[0].ids[0].get::<String>("f"), Some("v".into()))?;
    same(c.xack(k("x"), "g", &[id])?, 1)?;
    checked("streams");

    let pushed = k("q");
    std::thread::scope(|scope| -> Outcome {
        // One connection: a blocked command holds up those behind it.
        let popped = scope.spawn(|| other_pop(&mut other, &pushed));
        std::thread::sleep(Duration::from_millis(50));
        c.rpush::<_, _, ()>(&pushed, "job")?;
        same(popped.join().map_err(|_| "the thread ended")??, (pushed.clone(), "job".into()))
    })?;
    checked("blocking");

    c.set::<_, _, ()>(k("t"), 2)?;
    let script = redis::Script::new("return {redis.call('incrby', KEYS[1], ARGV[1]), 'two'}");
    same::<(i64, String)>(script.key(k("t")).arg(40).invoke(c)?, (42, "two".into()))?;
    checked("script");

    c.pset_ex::<_, _, ()>(k("soon"), 1, 50)?;
    until("it has expired", || Ok(!c.exists(k("soon"))?))?;
    checked("expiry");

    let error: RedisError = c.lpush::<_, _, ()>(k("s"), "x").err().ok_or("a list in a string")?;
    same(error.code(), Some("WRONGTYPE"))?;
    checked("errors");
    Ok(())
}

fn other_pop<C: ConnectionLike>(c: &mut C, key: &str) -> RedisResult<(String, String)> {
    c.blpop(key, 5.0)
}

fn single(c: &mut Connection, mut other: Connection) -> Outcome {
    c.del::<_, ()>(&["counter", "t", "w"])?;
    let mut pipe = redis::pipe();
    for _ in 0..1000 {
        pipe.incr("counter", 1);
    }
    same::<Vec<i64>>(pipe.query(c)?, (1..=1000).collect())?;
    checked("pipeline");

    let done: (String, i64, i64) = redis::pipe().atomic().set("t", 1).incr("t", 1).get("t").query(c)?;
    same(done, ("OK".into(), 2, 2))?;
    checked("transaction");

    let mut tries = 0;
    let (found,): (i64,) = redis::transaction(c, &["w"], |c, pipe| {
        tries += 1;
        if tries == 1 {
            other.set::<_, _, ()>("w", 10)?;
        }
        let old: i64 = c.get("w").unwrap_or(0);
        pipe.set("w", old + 1).ignore().get("w").query(c)
    })?;
    same((found, tries), (11, 2))?;
    checked("watch");

    for n in 0..500 {
        c.set::<_, _, ()>(format!("scan:{n}"), n)?;
    }
    let found: std::collections::BTreeSet<String> = c.scan_match("scan:*")?.collect::<RedisResult<_>>()?;
    same(found.len(), 500)?;
    checked("scan");
    Ok(())
}

fn subscribe(c: &mut Connection, mut other: Connection) -> Outcome {
    let mut listener = other.as_pubsub();
    listener.set_read_timeout(Some(TIMEOUT))?;
    listener.subscribe("news")?;
    listener.psubscribe("n?ws")?;
    c.publish::<_, _, ()>("news", "hello")?;
    for _ in 0..2 {
        let message = listener.get_message()?;
        same((message.get_channel_name(), message.get_payload::<String>()?), ("news", "hello".into()))?;
    }
    checked("publish and subscribe");
    Ok(())
}

fn cluster(c: &mut ClusterConnection) -> Outcome {
    for n in 0..600 {
        c.set::<_, _, ()>(format!("rs:{n}"), n)?;
    }
    for n in 0..600 {
        same(c.get(format!("rs:{n}"))?, n)?;
    }
    let mut pipe = redis::cluster::cluster_pipe();
    for n in 0..600 {
        pipe.get(format!("rs:{n}"));
    }
    same::<Vec<i64>>(pipe.query(c)?, (0..600).collect())?;
    checked("keys of all slots");

    let error = redis::cmd("SMOVE")
        .arg("a")
        .arg("b")
        .arg("c")
        .exec(c)
        .err()
        .ok_or("keys of several slots were taken")?;
    same(error.kind(), ErrorKind::Server(ServerErrorKind::CrossSlot))?;
    checked("cross-slot errors");
    Ok(())
}

/// Many tasks on one asynchronous connection.
async fn concurrent(options: &Options) -> Outcome {
    if options.mode == "cluster" {
        let connection = options.cluster()?.get_async_connection().await?;
        increments(connection).await?;
    } else if options.mode == "standalone" {
        let client = Client::open(options.url(&options.addresses[0]))?;
        increments(redis::aio::ConnectionManager::new(client).await?).await?;
    } else {
        increments(options.sentinel()?.get_async_connection().await?).await?;
    }
    checked("asynchronous");
    Ok(())
}

async fn increments<C>(connection: C) -> Outcome
where
    C: redis::aio::ConnectionLike + Clone + Send + Sync + 'static,
{
    use redis::AsyncCommands;
    let mut first = connection.clone();
    first.del::<_, ()>("together").await?;
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let mut connection = connection.clone();
            tokio::spawn(async move { connection.incr::<_, _, i64>("together", 1).await })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    same(first.get("together").await?, 200)
}
