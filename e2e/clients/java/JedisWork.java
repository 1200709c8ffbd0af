import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.stream.Collectors;
import redis.clients.jedis.AbstractPipeline;
import redis.clients.jedis.AbstractTransaction;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.JedisClientConfig;
import redis.clients.jedis.JedisPubSub;
import redis.clients.jedis.RedisClient;
import redis.clients.jedis.RedisClusterClient;
import redis.clients.jedis.RedisProtocol;
import redis.clients.jedis.RedisSentinelClient;
import redis.clients.jedis.Response;
import redis.clients.jedis.StreamEntryID;
import redis.clients.jedis.UnifiedJedis;
import redis.clients.jedis.exceptions.JedisDataException;
import redis.clients.jedis.params.ScanParams;
import redis.clients.jedis.params.SetParams;
import redis.clients.jedis.params.XReadGroupParams;
import redis.clients.jedis.resps.ScanResult;
import redis.clients.jedis.resps.Tuple;

/** Jedis: the usual work with one server, behind sentinels, and in a cluster. */
final class JedisWork {
    private final Main.Options options;
    private final UnifiedJedis jedis;

    JedisWork(Main.Options options) {
        this.options = options;
        this.jedis = connect(options);
    }

    private static UnifiedJedis connect(Main.Options options) {
        JedisClientConfig config = DefaultJedisClientConfig.builder()
                .password(options.password())
                .timeoutMillis((int) options.timeout().toMillis())
                .protocol(options.protocol() == 3 ? RedisProtocol.RESP3 : RedisProtocol.RESP2)
                .build();
        Set<HostAndPort> nodes =
                options.addresses().stream().map(a -> new HostAndPort(a.host(), a.port())).collect(Collectors.toSet());
        return switch (options.mode()) {
            // docs: sentinel
            case "sentinel" -> RedisSentinelClient.builder()
                    .masterName("orders")
                    .sentinels(nodes)
                    .sentinelClientConfig(DefaultJedisClientConfig.builder().password(options.password()).build())
                    .clientConfig(config)
                    .build();
            // end
            case "cluster" -> RedisClusterClient.builder().nodes(nodes).clientConfig(config).build();
            default -> RedisClient.builder().hostAndPort(nodes.iterator().next()).clientConfig(config).build();
        };
    }

    static Main.Store store(Main.Options options) {
        UnifiedJedis jedis = connect(options);
        return new Main.Store() {
            @Override
            public String set(String key, String value) {
                return jedis.set(key, value);
            }

            @Override
            public String get(String key) {
                return jedis.get(key);
            }

            @Override
            public void close() {
                jedis.close();
            }
        };
    }

    private static String k(String name) {
        return "{jedis}" + name;
    }

    Map<String, Main.Part> parts() {
        Map<String, Main.Part> parts = Main.ordered();
        parts.put("fresh", () -> {
            for (String name : List.of("s", "n", "h", "l", "set", "z", "x", "q", "counter", "t")) {
                jedis.del(k(name));
            }
        });
        parts.put("strings", () -> {
            Main.same("OK", jedis.set(k("s"), "v", SetParams.setParams().nx().ex(100)));
            Main.same(true, jedis.set(k("s"), "w", SetParams.setParams().nx()) == null);
            Main.same("v", jedis.mget(k("s"), k("none")).get(0));
            Main.same(42L, jedis.incrBy(k("n"), 42));
            Main.same(42.5, jedis.incrByFloat(k("n"), 0.5));
        });
        parts.put("hashes", () -> {
            Main.same(2L, jedis.hset(k("h"), Map.of("a", "1", "b", "2")));
            Main.same(Map.of("a", "1", "b", "2"), jedis.hgetAll(k("h")));
        });
        parts.put("lists", () -> {
            Main.same(3L, jedis.rpush(k("l"), "a", "b", "c"));
            Main.same(List.of("b", "c"), jedis.lrange(k("l"), 1, -1));
        });
        parts.put("sets", () -> {
            Main.same(2L, jedis.sadd(k("set"), "a", "b"));
            Main.same(List.of(true, false), jedis.smismember(k("set"), "a", "c"));
        });
        parts.put("sorted sets", () -> {
            Main.same(2L, jedis.zadd(k("z"), Map.of("a", 1.0, "b", 2.5)));
            Main.same(List.of(new Tuple("a", 1.0), new Tuple("b", 2.5)), jedis.zrangeWithScores(k("z"), 0, -1));
        });
        parts.put("streams", () -> {
            StreamEntryID id = jedis.xadd(k("x"), StreamEntryID.NEW_ENTRY, Map.of("f", "v"));
            jedis.xgroupCreate(k("x"), "g", new StreamEntryID("0-0"), false);
            var read = jedis.xreadGroup("g", "me", XReadGroupParams.xReadGroupParams().count(10),
                    Map.of(k("x"), StreamEntryID.XREADGROUP_UNDELIVERED_ENTRY));
            Main.same(id, read.get(0).getValue().get(0).getID());
            Main.same(1L, jedis.xack(k("x"), "g", id));
        });
        parts.put("blocking", () -> {
            Thread pusher = new Thread(() -> jedis.rpush(k("q"), "job"));
            pusher.start();
            Main.same(List.of(k("q"), "job"), jedis.blpop(5, k("q")));
            pusher.join();
        });
        parts.put("pipeline", () -> {
            try (AbstractPipeline pipeline = jedis.pipelined()) {
                List<Response<Long>> answers = new ArrayList<>();
                for (int n = 0; n < 1000; n++) {
                    answers.add(pipeline.incr(k("counter")));
                }
                pipeline.sync();
                Main.same(1000L, answers.get(999).get());
            }
        });
        parts.put("script", () -> {
            String script = "return {redis.call('incrby', KEYS[1], ARGV[1]), 'two'}";
            Main.same(List.of(42L, "two"), jedis.eval(script, List.of(k("t")), List.of("42")));
        });
        parts.put("expiry", () -> {
            jedis.psetex(k("soon"), 50, "1");
            Main.until("it has expired", () -> !jedis.exists(k("soon")));
        });
        parts.put("publish and subscribe", this::subscribe);
        parts.put("errors", () -> {
            try {
                jedis.lpush(k("s"), "x");
            } catch (JedisDataException e) {
                Main.same(true, e.getMessage().startsWith("WRONGTYPE "));
                return;
            }
            throw new AssertionError("a list in a string");
        });
        if (options.mode().equals("cluster")) {
            cluster(parts);
        } else {
            single(parts);
        }
        return parts;
    }

    private void subscribe() throws Exception {
        ConcurrentLinkedQueue<String> heard = new ConcurrentLinkedQueue<>();
        JedisPubSub listener = new JedisPubSub() {
            @Override
            public void onMessage(String channel, String message) {
                heard.add(channel + " " + message);
            }

            @Override
            public void onPMessage(String pattern, String channel, String message) {
                heard.add(pattern + " " + channel + " " + message);
            }

            @Override
            public void onSubscribe(String channel, int number) {
                psubscribeQuietly(this);
            }
        };
        Thread thread = new Thread(() -> jedis.subscribe(listener, "news"));
        thread.start();
        Main.until("both are subscribed", () -> listener.getSubscribedChannels() == 2);
        jedis.publish("news", "hello");
        Main.until("both are heard", () -> heard.size() == 2);
        Main.same(Set.of("news hello", "n?ws news hello"), Set.copyOf(heard));
        listener.unsubscribe();
        listener.punsubscribe();
        thread.join();
    }

    private static void psubscribeQuietly(JedisPubSub listener) {
        listener.psubscribe("n?ws");
    }

    private void single(Map<String, Main.Part> parts) {
        parts.put("transaction", () -> {
            try (AbstractTransaction transaction = jedis.multi()) {
                transaction.set(k("t"), "1");
                Response<Long> two = transaction.incr(k("t"));
                Main.same(List.of("OK", 2L), transaction.exec());
                Main.same(2L, two.get());
            }
        });
        parts.put("watch", () -> {
            try (AbstractTransaction transaction = jedis.transaction(false)) {
                transaction.watch(k("t"));
                jedis.set(k("t"), "theirs");
                transaction.multi();
                transaction.set(k("t"), "mine");
                Main.same(true, transaction.exec() == null);
            }
            Main.same("theirs", jedis.get(k("t")));
        });
        parts.put("scan", () -> {
            for (String key : Main.names("scan:", 500)) {
                jedis.set(key, "1");
            }
            Set<String> found = new HashSet<>();
            String cursor = ScanParams.SCAN_POINTER_START;
            do {
                ScanResult<String> page = jedis.scan(cursor, new ScanParams().match("scan:*").count(50));
                found.addAll(page.getResult());
                cursor = page.getCursor();
            } while (!cursor.equals(ScanParams.SCAN_POINTER_START));
            Main.same(500, found.size());
        });
    }

    private void cluster(Map<String, Main.Part> parts) {
        parts.put("keys of all slots", () -> {
            Map<String, String> wanted = new HashMap<>();
            for (String key : Main.names("jedis:", 600)) {
                wanted.put(key, "value of " + key);
                jedis.set(key, wanted.get(key));
            }
            for (String key : wanted.keySet()) {
                Main.same(wanted.get(key), jedis.get(key));
            }
            Main.same(true, ((RedisClusterClient) jedis).getClusterNodes().size() >= 3);
        });
    }
}
