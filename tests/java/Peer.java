import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.sun.management.OperatingSystemMXBean;
import io.debezium.embedded.Connect;
import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.RecordChangeEvent;
import io.debezium.engine.format.ChangeEventFormat;
import io.debezium.engine.format.JsonByteArray;
import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.Reader;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.connect.header.Header;
import org.apache.kafka.connect.json.JsonConverter;
import org.apache.kafka.connect.source.SourceRecord;

/**
 * The real Debezium, run to be compared with. The connector's properties come on standard input.
 *
 *   java Peer records OUT    every record as a line of JSON: topic, key and value as the JSON converter prints them
 *                            without schemas and with, and the headers
 *   java Peer events OUT     topic, key, value and headers as the engine's own JSON format prints them, which is what
 *                            Debezium Server hands to its sink
 *   java Peer count OUT      the same, and nothing written: for benches
 *
 * Properties that begin with "peer." are ours:
 *   peer.until=PREFIX        stop after the logical message of that prefix, which the source emits last
 *   peer.until.value=TEXT    stop after a record whose value (without schemas) holds TEXT
 *   peer.crash.after=N       leave without a word (Runtime.halt) when batch N+1 comes, none of it taken
 *   peer.null.as.default=B   of the converters (their replace.null.with.default): true is their own default
 *
 * When it stops by itself, the last line on standard output is a JSON document of what was seen and what it cost.
 */
public final class Peer {
    private static final ObjectMapper JSON = new ObjectMapper();

    private final Properties properties;
    private final String until;
    private final byte[] untilValue;
    private final int crashAfter;
    private final JsonConverter[] keys;
    private final JsonConverter[] values;
    private final OutputStream out;
    private DebeziumEngine<?> engine;
    private Throwable failure;
    private int batches;
    private long records;
    private long bytes;
    private long firstAt;
    private long lastAt;

    private Peer(Properties properties, Path out) throws IOException {
        this.properties = properties;
        this.until = own("peer.until");
        String value = own("peer.until.value");
        this.untilValue = value == null ? null : value.getBytes(StandardCharsets.UTF_8);
        String crash = own("peer.crash.after");
        this.crashAfter = crash == null ? Integer.MAX_VALUE : Integer.parseInt(crash);
        boolean nulls = !"false".equals(own("peer.null.as.default"));
        this.keys = new JsonConverter[] {converter(false, true, nulls), converter(true, true, nulls)};
        this.values = new JsonConverter[] {converter(false, false, nulls), converter(true, false, nulls)};
        this.out = new BufferedOutputStream(
                Files.newOutputStream(out, StandardOpenOption.CREATE, StandardOpenOption.APPEND));
    }

    public static void main(String[] words) throws Exception {
        Properties properties = new Properties();
        try (Reader in = new InputStreamReader(System.in, StandardCharsets.UTF_8)) {
            properties.load(in);
        }
        Peer peer = new Peer(properties, Path.of(words[1]));
        peer.run(words[0]);
        if (peer.failure != null) {
            peer.failure.printStackTrace();
            Runtime.getRuntime().halt(1);
        }
        System.out.println(peer.summary());
        System.out.flush();
        Runtime.getRuntime().halt(0); // threads of the engine may linger; all that matters is written
    }

    private String own(String name) {
        return (String) properties.remove(name);
    }

    private void run(String mode) throws IOException {
        engine = "records".equals(mode) ? recorder() : teller("events".equals(mode));
        engine.run();
        out.close();
    }

    private DebeziumEngine<?> teller(boolean writing) {
        return DebeziumEngine.create(JsonByteArray.class, JsonByteArray.class, JsonByteArray.class)
                .using(properties)
                .using((success, message, error) -> failed(success, message, error))
                .notifying((List<ChangeEvent<byte[], byte[]>> batch, DebeziumEngine.RecordCommitter<ChangeEvent<byte[], byte[]>> committer) -> {
                    crashIfDue();
                    for (ChangeEvent<byte[], byte[]> event : batch) {
                        seen(size(event.key()) + size(event.value()));
                        if (writing) {
                            write(event);
                        }
                        committer.markProcessed(event);
                        if (isLast(event.destination(), event.value())) {
                            stop();
                        }
                    }
                    flush();
                    committer.markBatchFinished();
                    batches++;
                })
                .build();
    }

    private DebeziumEngine<?> recorder() {
        return DebeziumEngine.create(ChangeEventFormat.of(Connect.class))
                .using(properties)
                .using((success, message, error) -> failed(success, message, error))
                .notifying((List<RecordChangeEvent<SourceRecord>> batch, DebeziumEngine.RecordCommitter<RecordChangeEvent<SourceRecord>> committer) -> {
                    crashIfDue();
                    for (RecordChangeEvent<SourceRecord> event : batch) {
                        write(event.record());
                        committer.markProcessed(event);
                    }
                    flush();
                    committer.markBatchFinished();
                    batches++;
                })
                .build();
    }

    /** Die between being handed a batch and acknowledging it; the offsets of earlier batches have time to be stored. */
    private void crashIfDue() throws InterruptedException {
        if (batches >= crashAfter) {
            Thread.sleep(3000);
            Runtime.getRuntime().halt(9);
        }
    }

    private void write(ChangeEvent<byte[], byte[]> event) {
        ObjectNode line = JSON.createObjectNode();
        line.put("topic", event.destination()).put("key", text(event.key())).put("value", text(event.value()));
        ArrayNode headers = line.putArray("headers");
        for (io.debezium.engine.Header<byte[]> header : event.<byte[]>headers()) {
            headers.addArray().add(header.getKey()).add(text(header.getValue()));
        }
        print(line);
    }

    private void print(ObjectNode line) {
        try {
            out.write(JSON.writeValueAsBytes(line));
            out.write('\n');
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    private void write(SourceRecord record) {
        ObjectNode line = JSON.createObjectNode();
        line.put("topic", record.topic());
        for (int i = 0; i < 2; i++) {
            String suffix = i == 0 ? "" : "_with_schema";
            line.put("key" + suffix, text(keys[i].fromConnectData(record.topic(), record.keySchema(), record.key())));
            line.put("value" + suffix, text(values[i].fromConnectData(record.topic(), record.valueSchema(), record.value())));
        }
        ArrayNode headers = line.putArray("headers");
        for (Header header : record.headers()) {
            ArrayNode pair = headers.addArray().add(header.key());
            for (JsonConverter each : values) {
                pair.add(text(each.fromConnectData(record.topic(), header.schema(), header.value())));
            }
        }
        line.set("offset", JSON.valueToTree(record.sourceOffset()));
        print(line);
        seen(line.path("key").asText("").length() + line.path("value").asText("").length());
        String value = line.path("value").asText("");
        if (isLast(record.topic(), value.getBytes(StandardCharsets.UTF_8))) {
            stop();
        }
    }

    private void flush() {
        try {
            out.flush();
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    private void seen(long size) {
        long now = System.currentTimeMillis();
        if (records == 0) {
            firstAt = now;
        }
        lastAt = now;
        records++;
        bytes += size;
    }

    private boolean isLast(String topic, byte[] value) {
        if (until != null && topic.endsWith(".message")) {
            return new String(value, StandardCharsets.UTF_8).contains("\"prefix\":\"" + until + "\"");
        }
        return untilValue != null && value != null
                && new String(value, StandardCharsets.UTF_8).contains(new String(untilValue, StandardCharsets.UTF_8));
    }

    /** From a thread of its own: the engine waits for its consumer to return. */
    private void stop() {
        Thread closing = new Thread(() -> {
            try {
                engine.close();
            } catch (IOException error) {
                failure = error;
            }
        });
        closing.setDaemon(true);
        closing.start();
    }

    private void failed(boolean success, String message, Throwable error) {
        if (!success) {
            failure = error != null ? error : new IllegalStateException(message);
        }
    }

    private ObjectNode summary() throws IOException {
        OperatingSystemMXBean system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        ObjectNode summary = JSON.createObjectNode();
        summary.put("records", records).put("bytes", bytes).put("first_at", firstAt / 1e3).put("last_at", lastAt / 1e3);
        summary.put("started_at", ManagementFactory.getRuntimeMXBean().getStartTime() / 1e3);
        summary.put("cpu_seconds", system.getProcessCpuTime() / 1e9);
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM")) {
                summary.put("peak_mb", Integer.parseInt(line.replaceAll("\\D", "")) / 1024.0);
            }
        }
        return summary;
    }

    private static int size(byte[] value) {
        return value == null ? 0 : value.length;
    }

    private static String text(byte[] value) {
        return value == null ? null : new String(value, StandardCharsets.UTF_8);
    }

    private static JsonConverter converter(boolean schemas, boolean key, boolean nullAsDefault) {
        JsonConverter made = new JsonConverter();
        made.configure(Map.of("schemas.enable", schemas, "replace.null.with.default", nullAsDefault), key);
        return made;
    }
}
