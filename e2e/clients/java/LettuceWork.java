import io.lettuce.core.ClientOptions;
import io.lettuce.core.KeyScanCursor;
import io.lettuce.core.KeyValue;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisCommandExecutionException;
import io.lettuce.core.RedisFuture;
import io.lettuce.core.RedisURI;
import io.lettuce.core.ScanArgs;
import io.lettuce.core.ScoredValue;
import io.lettuce.core.ScriptOutputType;
import io.lettuce.core.SetArgs;
import io.lettuce.core.Consumer;
import io.lettuce.core.TrackingArgs;
import io.lettuce.core.XReadArgs;
import io.lettuce.core.api.StatefulConnection;
import io.lettuce.core.api.StatefulRedisConnection;
import io.lettuce.core.api.async.RedisAsyncCommands;
import io.lettuce.core.api.sync.RedisCommands;
import io.lettuce.core.cluster.ClusterClientOptions;
import io.lettuce.core.cluster.ClusterTopologyRefreshOptions;
import io.lettuce.core.cluster.RedisClusterClient;
import io.lettuce.core.cluster.api.StatefulRedisClusterConnection;
import io.lettuce.core.cluster.api.sync.RedisClusterCommands;
import io.lettuce.core.protocol.ProtocolVersion;
import io.lettuce.core.support.caching.CacheAccessor;
import io.lettuce.core.support.caching.CacheFrontend;
import io.lettuce.core.support.caching.ClientSideCaching;
import io.lettuce.core.pubsub.RedisPubSubAdapter;
import io.lettuce.core.pubsub.StatefulRedisPubSubConnection;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;

/** Lettuce: the usual work with one server, behind sentinels, and in a cluster. */
final class LettuceWork {
    private final Main.Options options;
    private final Link link;

    /** A connection, whatever it goes to. */
    private record Link(RedisClusterCommands<String, String> commands, StatefulRedisConnection<String, String> single,
            StatefulRedisClusterConnection<String, String> cluster, RedisClient client, RedisClusterClient clusterClient) {}

    LettuceWork(Main.Options options) {
        this.options = options;
        this.link = connect(options);
    }

    private static Link connect(Main.Options options) {
        ProtocolVersion protocol = options.protocol() == 3 ? ProtocolVersion.RESP3 : ProtocolVersion.RESP2;
        if (options.mode().equals("cluster")) {
            List<RedisURI> nodes = options.addresses().stream().map(a -> uri(a, options)).toList();
            RedisClusterClient client = RedisClusterClient.create(nodes);
            ClusterTopologyRefreshOptions refresh = ClusterTopologyRefreshOptions.builder()
                    .enableAllAdaptiveRefreshTriggers().adaptiveRefreshTriggersTimeout(Duration.ofMillis(200))
                    .enablePeriodicRefresh(Duration.ofSeconds(1)).build();
            client.setOptions(ClusterClientOptions.builder().protocolVersion(protocol).topologyRefreshOptions(refresh).build());
            StatefulRedisClusterConnection<String, String> connection = client.connect();
            return new Link(connection.sync(), null, connection, null, client);
        }
        RedisURI uri = options.mode().equals("sentinel") ? sentinel(options) : uri(options.addresses().get(0), options);
        RedisClient client = RedisClient.create(uri);
        client.setOptions(ClientOptions.builder().protocolVersion(protocol).build());
        StatefulRedisConnection<String, String> connection = client.connect();
        return new Link(connection.sync(), connection, null, client, null);
    }

    // docs: sentinel
    private static RedisURI sentinel(Main.Options options) {
        RedisURI.Builder uri = RedisURI.builder().withSentinelMasterId("orders").withPassword(options.password().toCharArray());
        for (Main.Address a : options.addresses()) {
            uri.withSentinel(uri(a, options));
        }
        return uri.withTimeout(options.timeout()).build();
    }
    // end

    private static RedisURI uri(Main.Address a, Main.Options options) {
        return RedisURI.builder().withHost(a.host()).withPort(a.port()).withPassword(options.password().toCharArray())
                .withTimeout(options.timeout()).build();
    }

    static Main.Store store(Main.Options options) {
        Link link = connect(options);
        return new Main.Store() {
            @Override
            public String set(String key, String value) {
                return link.commands().set(key, value);
            }

            @Override
            public String get(String key) {
                return link.commands().get(key);
            }

            @Override
            public void close() {
                StatefulConnection<String, String> open = link.single() == null ? link.cluster() : link.single();
                open.close();
            }
        };
    }

    private static String k(String name) {
        return "{lettuce}" + name;
    }

    Map<String, Main.Part> parts() {
        RedisClusterCommands<String, String> c = link.commands();
        Map<String, Main.Part> parts = Main.ordered();
        parts.put("fresh", () -> {
            for (String name : List.of("s", "n", "h", "l", "set", "z", "x", "q", "counter", "t")) {
                c.del(k(name));
            }
        });
        parts.put("strings", () -> {
            Main.same("OK", c.set(k("s"), "v", SetArgs.Builder.nx().ex(100)));
            Main.same(true, c.set(k("s"), "w", SetArgs.Builder.nx()) == null);
            Main.same("v", c.mget(k("s"), k("none")).get(0).getValue());
            Main.same(42.5, c.incrbyfloat(k("n"), 42.5));
        });
        parts.put("hashes", () -> {
            Main.same(2L, c.hset(k("h"), Map.of("a", "1", "b", "2")));
            Main.same(Map.of("a", "1", "b", "2"), c.hgetall(k("h")));
        });
        parts.put("lists", () -> {
            Main.same(3L, c.rpush(k("l"), "a", "b", "c"));
            Main.same(List.of("b", "c"), c.lrange(k("l"), 1, -1));
        });
        parts.put("sets", () -> {
            Main.same(2L, c.sadd(k("set"), "a", "b"));
            Main.same(List.of(true, false), c.smismember(k("set"), "a", "c"));
        });
        parts.put("sorted sets", () -> {
            Main.same(2L, c.zadd(k("z"), ScoredValue.just(1, "a"), ScoredValue.just(2.5, "b")));
            Main.same(List.of(ScoredValue.just(1, "a"), ScoredValue.just(2.5, "b")), c.zrangeWithScores(k("z"), 0, -1));
        });
        parts.put("streams", () -> {
            String id = c.xadd(k("x"), Map.of("f", "v"));
            c.xgroupCreate(XReadArgs.StreamOffset.from(k("x"), "0"), "g");
            var read = c.xreadgroup(Consumer.from("g", "me"), XReadArgs.StreamOffset.lastConsumed(k("x")));
            Main.same(id, read.get(0).getId());
            Main.same(Map.of("f", "v"), read.get(0).getBody());
            Main.same(1L, c.xack(k("x"), "g", id));
        });
        parts.put("blocking", () -> {
            Link other = connect(options);
            Thread pusher = new Thread(() -> c.rpush(k("q"), "job"));
            pusher.start();
            Main.same(KeyValue.just(k("q"), "job"), other.commands().blpop(1, k("q")));
            pusher.join();
        });
        parts.put("script", () -> {
            String script = "return redis.call('incrby', KEYS[1], ARGV[1])";
            Main.same(42L, c.eval(script, ScriptOutputType.INTEGER, new String[] {k("t")}, "42"));
            Main.same(43L, c.evalsha(c.digest(script), ScriptOutputType.INTEGER, new String[] {k("t")}, "1"));
        });
        parts.put("expiry", () -> {
            c.psetex(k("soon"), 50, "1");
            Main.until("it has expired", () -> c.exists(k("soon")) == 0);
        });
        parts.put("publish and subscribe", this::subscribe);
        parts.put("errors", () -> {
            try {
                c.lpush(k("s"), "x");
            } catch (RedisCommandExecutionException e) {
                Main.same(true, e.getMessage().startsWith("WRONGTYPE "));
                return;
            }
            throw new AssertionError("a list in a string");
        });
        if (link.cluster() != null) {
            cluster(parts);
        } else {
            single(parts);
        }
        return parts;
    }

    private void subscribe() throws Exception {
        ConcurrentLinkedQueue<String> heard = new ConcurrentLinkedQueue<>();
        StatefulRedisPubSubConnection<String, String> connection =
                link.client() != null ? link.client().connectPubSub() : link.clusterClient().connectPubSub();
        connection.addListener(new RedisPubSubAdapter<>() {
            @Override
            public void message(String channel, String message) {
                heard.add(channel + " " + message);
            }

            @Override
            public void message(String pattern, String channel, String message) {
                heard.add(pattern + " " + channel + " " + message);
            }
        });
        connection.sync().subscribe("news");
        connection.sync().psubscribe("n?ws");
        link.commands().publish("news", "hello");
        Main.until("both are heard", () -> heard.size() == 2);
        Main.same(Set.of("news hello", "n?ws news hello"), Set.copyOf(heard));
        connection.close();
    }

    private void single(Map<String, Main.Part> parts) {
        parts.put("pipeline", () -> {
            RedisAsyncCommands<String, String> async = link.single().async();
            List<RedisFuture<Long>> answers = new ArrayList<>();
            for (int n = 0; n < 1000; n++) {
                answers.add(async.incr(k("counter")));
            }
            Main.same(1000L, answers.get(999).get(10, TimeUnit.SECONDS));
        });
        parts.put("transaction", () -> {
            RedisCommands<String, String> c = link.single().sync();
            c.multi();
            c.set(k("t"), "1");
            c.incr(k("t"));
            Main.same(List.of("OK", 2L), c.exec().stream().toList());
        });
        parts.put("watch", () -> {
            RedisCommands<String, String> c = link.single().sync();
            c.watch(k("t"));
            connect(options).commands().set(k("t"), "theirs");
            c.multi();
            c.set(k("t"), "mine");
            Main.same(true, c.exec().wasDiscarded());
            Main.same("theirs", c.get(k("t")));
        });
        parts.put("scan", () -> {
            RedisCommands<String, String> c = link.single().sync();
            for (String key : Main.names("scan:", 500)) {
                c.set(key, "1");
            }
            Set<String> found = new HashSet<>();
            KeyScanCursor<String> page = c.scan(ScanArgs.Builder.matches("scan:*").limit(50));
            found.addAll(page.getKeys());
            while (!page.isFinished()) {
                page = c.scan(page, ScanArgs.Builder.matches("scan:*").limit(50));
                found.addAll(page.getKeys());
            }
            Main.same(500, found.size());
        });
        if (options.protocol() == 3) {
            parts.put("client side caching", () -> {
                RedisCommands<String, String> writer = link.single().sync();
                Map<String, String> kept = new ConcurrentHashMap<>();
                CacheFrontend<String, String> cache = ClientSideCaching.enable(
                        CacheAccessor.forMap(kept), connect(options).single(), TrackingArgs.Builder.enabled());
                writer.set(k("cached"), "1");
                Main.same("1", cache.get(k("cached")));
                Main.same(Map.of(k("cached"), "1"), kept);
                writer.set(k("cached"), "2");
                Main.until("the entry is invalidated", () -> cache.get(k("cached")).equals("2"));
            });
        }
        parts.put("reactive", () -> {
            Long sum = link.single().reactive().mget(Main.names("scan:", 100).toArray(String[]::new))
                    .map(one -> Long.parseLong(one.getValue())).reduce(Long::sum).block(options.timeout());
            Main.same(100L, sum);
        });
    }

    private void cluster(Map<String, Main.Part> parts) {
        parts.put("keys of all slots", () -> {
            var c = link.cluster().sync();
            for (String key : Main.names("lettuce:", 600)) {
                c.set(key, key);
            }
            // Keys of several slots: split by the client.
            List<KeyValue<String, String>> found = c.mget(Main.names("lettuce:", 600).toArray(String[]::new));
            Main.same(true, found.stream().allMatch(one -> one.getKey().equals(one.getValue())));
            Main.same(6, link.cluster().getPartitions().size());
        });
        parts.put("shard channels", () -> {
            ConcurrentLinkedQueue<String> heard = new ConcurrentLinkedQueue<>();
            var connection = link.clusterClient().connectPubSub();
            connection.addListener(new RedisPubSubAdapter<>() {
                @Override
                public void smessage(String channel, String message) {
                    heard.add(channel + " " + message);
                }
            });
            connection.sync().ssubscribe("{a}news");
            link.cluster().sync().spublish("{a}news", "hello");
            Main.until("it is heard", () -> heard.contains("{a}news hello"));
            connection.close();
        });
    }
}
