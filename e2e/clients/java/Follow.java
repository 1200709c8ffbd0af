import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentLinkedQueue;

/** Writes through one client object for as long as it is told to, and reads back what was acknowledged. */
final class Follow {
    private static final long PAUSE_MS = 5;
    private static final long PAUSE_AFTER_ERROR_MS = 20;
    private static final int IN_A_ROW = 100;
    private static final int ERROR_TEXT = 80;

    private Follow() {}

    static void follow(Main.Store store) throws Exception {
        ConcurrentLinkedQueue<String> lines = new ConcurrentLinkedQueue<>();
        Thread reader = new Thread(() -> new BufferedReader(new InputStreamReader(System.in)).lines().forEach(lines::add));
        reader.setDaemon(true);
        reader.start();
        String prefix = "follow:" + ProcessHandle.current().pid() + ":";
        List<Integer> acknowledged = new ArrayList<>();
        Map<String, Integer> errors = new TreeMap<>();
        int row = 0;
        boolean waiting = true;
        boolean ending = false;
        long last = 0;
        long outage = 0;
        for (int n = 0; !ending; n++) {
            try {
                Main.same("OK", store.set(prefix + n, "value " + n));
                long now = System.nanoTime();
                outage = last == 0 ? 0 : Math.max(outage, now - last);
                last = now;
                acknowledged.add(n);
                row++;
                Thread.sleep(PAUSE_MS);
            } catch (Exception e) {
                row = 0;
                String text = e.toString().replaceAll("[^ -~]|[\"\\\\]", "?");
                errors.merge(text.substring(0, Math.min(text.length(), ERROR_TEXT)), 1, Integer::sum);
                Thread.sleep(PAUSE_AFTER_ERROR_MS);
            }
            if (waiting && row >= IN_A_ROW) {
                waiting = false;
                System.out.println("{\"going\": " + acknowledged.size() + ", \"outage_ms\": " + outage / 1_000_000 + "}");
                outage = 0;
            }
            for (String line = lines.poll(); line != null; line = lines.poll()) {
                switch (line) {
                    case "end" -> ending = true;
                    case "mark" -> outage = 0;
                    default -> {
                        waiting = true;
                        row = 0;
                    }
                }
            }
        }
        List<Integer> missing = new ArrayList<>();
        for (int n : acknowledged) {
            if (!("value " + n).equals(store.get(prefix + n))) {
                missing.add(n);
            }
        }
        StringBuilder counted = new StringBuilder();
        errors.forEach((text, count) -> counted.append(counted.isEmpty() ? "" : ", ").append("\"" + text + "\": " + count));
        System.out.println("{\"acknowledged\": " + acknowledged.size() + ", \"missing\": " + missing + ", \"errors\": {" + counted + "}}");
        store.close();
    }
}
