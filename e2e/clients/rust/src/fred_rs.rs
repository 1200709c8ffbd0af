//! fred: the usual work with one server, behind sentinels, and in a cluster.

use std::time::Duration;

use fred::prelude::*;
use fred::types::{Builder, RespVersion};
use tokio::runtime::Runtime;

use crate::follow::Store;
use crate::{Options, Outcome, checked, same};

fn config(options: &Options) -> Outcome<Config> {
    let (first, others) = options.addresses.split_first().ok_or("no address")?;
    let others: String = others.iter().map(|a| format!("&node={a}")).collect();
    let password = &options.password;
    let url = match options.mode.as_str() {
        // docs: sentinel
        "sentinel" => format!(
            "redis-sentinel://:{password}@{first}?sentinelServiceName=orders&sentinelPassword={password}{others}"
        ),
        // end
        "cluster" => format!("redis-cluster://:{password}@{first}?{}", others.trim_start_matches('&')),
        _ => format!("redis://:{password}@{first}"),
    };
    let mut config = Config::from_url(&url)?;
    config.version = if options.protocol == 3 { RespVersion::RESP3 } else { RespVersion::RESP2 };
    Ok(config)
}

async fn connect(options: &Options) -> Outcome<Client> {
    let client = Builder::from_config(config(options)?)
        .with_performance_config(|p| p.default_command_timeout = Duration::from_secs(5))
        .set_policy(ReconnectPolicy::new_constant(0, 50))
        .build()?;
    client.init().await?;
    Ok(client)
}

struct Follower {
    runtime: Runtime,
    client: Client,
}

impl Store for Follower {
    fn set(&mut self, key: &str, value: &str) -> Outcome {
        let set = self.client.set::<String, _, _>(key, value, None, None, false);
        same(self.runtime.block_on(set)?.as_str(), "OK")
    }

    fn get(&mut self, key: &str) -> Outcome<Option<String>> {
        Ok(self.runtime.block_on(self.client.get(key))?)
    }
}

/// A client that lives through failovers.
pub fn follower(options: &Options) -> Outcome<impl Store> {
    let runtime = Runtime::new()?;
    let client = runtime.block_on(connect(options))?;
    Ok(Follower { runtime, client })
}

/// The usual work.
pub fn work(options: &Options) -> Outcome {
    Runtime::new()?.block_on(async {
        let client = connect(options).await?;
        everywhere(&client, options).await?;
        if options.mode == "cluster" {
            cluster(&client).await?;
        }
        client.quit().await?;
        Ok(())
    })
}

async fn everywhere(c: &Client, options: &Options) -> Outcome {
    let k = |name: &str| format!("{{fred}}{name}");
    for name in ["s", "n", "h", "l", "set", "z", "q", "counter", "t"] {
        c.del::<(), _>(k(name)).await?;
    }

    let set =
        c.set::<Option<String>, _, _>(k("s"), "v", Some(Expiration::EX(100)), Some(SetOptions::NX), false);
    same(set.await?, Some("OK".into()))?;
    same::<Vec<Option<String>>>(c.mget(vec![k("s"), k("none")]).await?, vec![Some("v".into()), None])?;
    same(c.incr_by_float::<f64, _>(k("n"), 41.5).await?, 41.5)?;
    checked("strings");

    same(c.hset::<i64, _, _>(k("h"), vec![("a", 1), ("b", 2)]).await?, 2)?;
    let found: std::collections::BTreeMap<String, i64> = c.hgetall(k("h")).await?;
    same(found.into_iter().collect::<Vec<_>>(), vec![("a".into(), 1), ("b".into(), 2)])?;
    checked("hashes");

    same(c.rpush::<i64, _, _>(k("l"), vec!["a", "b", "c"]).await?, 3)?;
    same::<Vec<String>>(c.lrange(k("l"), 1, -1).await?, vec!["b".into(), "c".into()])?;
    checked("lists");

    same(c.sadd::<i64, _, _>(k("set"), vec!["a", "b"]).await?, 2)?;
    same(c.sismember::<bool, _, _>(k("set"), "a").await?, true)?;
    checked("sets");

    same(c.zadd::<i64, _, _>(k("z"), None, None, false, false, vec![(1.0, "a"), (2.5, "b")]).await?, 2)?;
    same(c.zscore::<f64, _, _>(k("z"), "b").await?, 2.5)?;
    checked("sorted sets");

    let other = connect(options).await?;
    let key = k("q");
    let popped = tokio::spawn({
        let key = key.clone();
        async move { other.blpop::<(String, String), _>(key, 5.0).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    c.rpush::<(), _, _>(&key, "job").await?;
    same(popped.await??, (key, "job".into()))?;
    checked("blocking");

    let pipeline = c.pipeline();
    for _ in 0..1000 {
        pipeline.incr::<(), _>(k("counter")).await?;
    }
    same::<Vec<i64>>(pipeline.all().await?, (1..=1000).collect())?;
    checked("pipeline");

    let multi = c.multi();
    multi.set::<(), _, _>(k("t"), 1, None, None, false).await?;
    multi.incr::<(), _>(k("t")).await?;
    same::<(String, i64)>(multi.exec(true).await?, ("OK".into(), 2))?;
    checked("transaction");

    let script = "return redis.call('incrby', KEYS[1], ARGV[1])";
    same(c.eval::<i64, _, _, _>(script, vec![k("t")], vec![40]).await?, 42)?;
    checked("script");

    let subscriber = Builder::from_config(config(options)?).build_subscriber_client()?;
    subscriber.init().await?;
    let mut heard = subscriber.message_rx();
    subscriber.subscribe("news").await?;
    // It returns before the server has answered: the first messages may find nobody.
    let mut tries = 0;
    let message = loop {
        c.publish::<(), _, _>("news", "hello").await?;
        match tokio::time::timeout(Duration::from_millis(100), heard.recv()).await {
            Ok(message) => break message?,
            Err(elapsed) if tries == 100 => return Err(elapsed.into()),
            Err(_) => tries += 1,
        }
    };
    same(message.value.convert::<String>()?.as_str(), "hello")?;
    subscriber.quit().await?;
    checked("publish and subscribe");

    let error = c.lpush::<(), _, _>(k("s"), "x").await.err().ok_or("a list in a string")?;
    same(error.details().contains("WRONGTYPE"), true)?;
    checked("errors");
    Ok(())
}

async fn cluster(c: &Client) -> Outcome {
    for n in 0..300 {
        c.set::<(), _, _>(format!("fred:{n}"), n, None, None, false).await?;
    }
    for n in 0..300 {
        same(c.get::<i64, _>(format!("fred:{n}")).await?, n)?;
    }
    checked("keys of all slots");
    Ok(())
}
