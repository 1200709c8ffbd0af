import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Drives Jedis and Lettuce through the usual work: PROGRAM JOB CLIENT PROTOCOL MODE PASSWORD ADDRESS…, see ../README.md. */
public final class Main {
    private static final long LIMIT_MS = 120_000;
    private static final Duration WORK_TIMEOUT = Duration.ofSeconds(10);
    private static final Duration FOLLOW_TIMEOUT = Duration.ofSeconds(2);

    /** Where to go, and how. */
    record Options(int protocol, String mode, String password, List<Address> addresses, Duration timeout) {}

    record Address(String host, int port) {
        static Address parse(String text) {
            String[] parts = text.split(":");
            return new Address(parts[0], Integer.parseInt(parts[1]));
        }
    }

    /** A part of the work, which fails by throwing. */
    interface Part {
        void run() throws Exception;
    }

    /** A client object that lives through whatever happens to the servers. */
    interface Store {
        String set(String key, String value) throws Exception;

        String get(String key) throws Exception;

        void close();
    }

    interface Probe {
        boolean reached() throws Exception;
    }

    private Main() {}

    public static void main(String[] args) throws Exception {
        Thread guard = new Thread(() -> {
            try {
                Thread.sleep(LIMIT_MS);
                System.err.println("not done within " + LIMIT_MS + " ms");
            } catch (InterruptedException e) {
                System.err.println("interrupted");
            }
            Runtime.getRuntime().halt(2);
        });
        guard.setDaemon(true);
        guard.start();
        try {
            run(args);
            System.out.flush();
            Runtime.getRuntime().halt(0);
        } catch (Throwable e) {
            e.printStackTrace();
            System.err.flush();
            Runtime.getRuntime().halt(1);
        }
    }

    private static void run(String[] args) throws Exception {
        List<Address> addresses = Arrays.stream(args).skip(5).map(Address::parse).toList();
        Duration timeout = args[0].equals("follow") ? FOLLOW_TIMEOUT : WORK_TIMEOUT;
        Options options = new Options(Integer.parseInt(args[2]), args[3], args[4], addresses, timeout);
        switch (args[0] + " " + args[1]) {
            case "work jedis" -> checkAll(new JedisWork(options).parts());
            case "work lettuce" -> checkAll(new LettuceWork(options).parts());
            case "follow jedis" -> Follow.follow(JedisWork.store(options));
            case "follow lettuce" -> Follow.follow(LettuceWork.store(options));
            default -> throw new IllegalArgumentException("no such job or client: " + args[0] + " " + args[1]);
        }
    }

    private static void checkAll(Map<String, Part> parts) throws Exception {
        for (Map.Entry<String, Part> part : parts.entrySet()) {
            try {
                part.getValue().run();
            } catch (Throwable e) {
                throw new AssertionError(part.getKey(), e);
            }
            System.out.println("{\"checked\": \"" + part.getKey() + "\"}");
        }
    }

    static void same(Object wanted, Object found) {
        if (!wanted.equals(found)) {
            throw new AssertionError("wanted " + wanted + ", found " + found);
        }
    }

    static void until(String what, Probe probe) throws Exception {
        long end = System.nanoTime() + 10_000_000_000L;
        while (!probe.reached()) {
            if (System.nanoTime() > end) {
                throw new AssertionError("not reached: " + what);
            }
            Thread.sleep(10);
        }
    }

    static <T> Map<String, T> ordered() {
        return new LinkedHashMap<>();
    }

    static List<String> names(String prefix, int count) {
        List<String> names = new ArrayList<>();
        for (int n = 0; n < count; n++) {
            names.add(prefix + n);
        }
        return names;
    }
}
