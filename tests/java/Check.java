import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.debezium.config.Field;
import io.debezium.connector.postgresql.PostgresConnectorConfig;
import io.debezium.embedded.async.AsyncEngineConfig;
import io.debezium.transforms.ExtractNewRecordState;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.connect.connector.policy.AllConnectorClientConfigOverridePolicy;
import org.apache.kafka.connect.json.JsonConverter;
import org.apache.kafka.connect.json.JsonConverterConfig;
import org.apache.kafka.connect.runtime.SourceConnectorConfig;
import org.apache.kafka.connect.runtime.Worker;
import org.apache.kafka.connect.runtime.isolation.Plugins;
import org.apache.kafka.connect.runtime.rest.entities.ConfigInfo;
import org.apache.kafka.connect.runtime.rest.entities.ConfigInfos;
import org.apache.kafka.connect.runtime.standalone.StandaloneConfig;
import org.apache.kafka.connect.runtime.standalone.StandaloneHerder;
import org.apache.kafka.connect.storage.FileOffsetBackingStore;
import org.apache.kafka.connect.util.FutureCallback;
import org.yaml.snakeyaml.Yaml;

/**
 * What Kafka Connect and Debezium themselves say of connector configurations.
 *
 *   java Check < {"configs": [{...} or "a KafkaConnector in YAML", ...]}
 *
 * prints one JSON document. For each configuration: "errors", as the REST call /connector-plugins/.../config/validate of
 * a Connect worker gives them (it resolves ${env:...} and ${file:...}, connects to the database, and validates the
 * transforms and converters too); "unknown", names that neither Debezium nor Connect has, which Connect would pass over
 * in silence; "values", after the references are resolved. "allowed": name -> values, of all Debezium's options that have
 * a fixed set; "transform": the same for ExtractNewRecordState.
 */
public final class Check {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final String PROVIDERS = "org.apache.kafka.common.config.provider.";

    public static void main(String[] words) throws Exception {
        JsonNode asked = JSON.readTree(System.in);
        ObjectNode told = JSON.createObjectNode();
        StandaloneHerder herder = herder();
        ArrayNode checked = told.putArray("checked");
        for (JsonNode config : asked.path("configs")) {
            Map<String, String> properties = new HashMap<>();
            JsonNode flat = config.isTextual() ? connector(config.asText()) : config;
            flat.properties().forEach(each -> properties.put(each.getKey(), each.getValue().asText()));
            checked.add(check(herder, properties));
        }
        told.set("allowed", JSON.valueToTree(allowed(PostgresConnectorConfig.ALL_FIELDS)));
        told.set("transform", JSON.valueToTree(allowed(new ExtractNewRecordState<>().validateConfigFields())));
        System.out.println(told);
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    /** A standalone Connect worker that is never started: it validates, and needs no broker for that. */
    private static StandaloneHerder herder() throws Exception {
        Path offsets = Files.createTempFile("offsets", "");
        offsets.toFile().deleteOnExit();
        Map<String, String> settings = new HashMap<>(Map.of(
                "bootstrap.servers", "127.0.0.1:1",
                "key.converter", "org.apache.kafka.connect.json.JsonConverter",
                "value.converter", "org.apache.kafka.connect.json.JsonConverter",
                "offset.storage.file.filename", offsets.toString(),
                "plugin.discovery", "only_scan",
                "config.providers", "env,file",
                "config.providers.env.class", PROVIDERS + "EnvVarConfigProvider",
                "config.providers.file.class", PROVIDERS + "FileConfigProvider"));
        Plugins plugins = new Plugins(settings);
        plugins.compareAndSwapWithDelegatingLoader();
        AllConnectorClientConfigOverridePolicy policy = new AllConnectorClientConfigOverridePolicy();
        StandaloneConfig config = new StandaloneConfig(settings) {
            @Override
            public String kafkaClusterId() {
                return "none"; // asking for it would wait a minute for a broker
            }
        };
        JsonConverter keys = new JsonConverter();
        keys.configure(Map.of(), true);
        Worker worker = new Worker("check", Time.SYSTEM, plugins, config, new FileOffsetBackingStore(keys), policy);
        return new StandaloneHerder(worker, "cluster", policy);
    }

    /** The configuration that Strimzi's operator would give to Connect for this resource. */
    private static JsonNode connector(String yaml) {
        JsonNode resource = JSON.valueToTree(new Yaml().<Object>load(yaml));
        ObjectNode flat = resource.path("spec").path("config").deepCopy();
        flat.set("name", resource.path("metadata").path("name"));
        flat.set("connector.class", resource.path("spec").path("class"));
        flat.set("tasks.max", resource.path("spec").path("tasksMax"));
        return flat;
    }

    private static ObjectNode check(StandaloneHerder herder, Map<String, String> properties) throws Exception {
        FutureCallback<ConfigInfos> answer = new FutureCallback<>();
        herder.validateConnectorConfig(properties, answer);
        ObjectNode told = JSON.createObjectNode();
        ObjectNode errors = told.putObject("errors");
        ObjectNode values = told.putObject("values");
        Set<String> known = names();
        for (ConfigInfo info : answer.get(60, TimeUnit.SECONDS).configs()) {
            if (info.configKey() != null) {
                known.add(info.configKey().name());
            }
            if (info.configValue() != null && !info.configValue().errors().isEmpty()) {
                errors.set(info.configValue().name(), JSON.valueToTree(info.configValue().errors()));
            }
            if (info.configValue() != null && properties.containsKey(info.configValue().name())) {
                values.put(info.configValue().name(), info.configValue().value());
            }
        }
        Set<String> unknown = new LinkedHashSet<>(properties.keySet());
        unknown.removeAll(known);
        told.set("unknown", JSON.valueToTree(unknown));
        return told;
    }

    /** Every option that Debezium, its engine, a source connector of Connect, or its JSON converter has. */
    private static Set<String> names() {
        Set<String> names = new LinkedHashSet<>(SourceConnectorConfig.configDef().names());
        PostgresConnectorConfig.ALL_FIELDS.forEach(field -> names.add(field.name()));
        AsyncEngineConfig.ALL_FIELDS.forEach(field -> names.add(field.name()));
        ConfigDef converter = JsonConverterConfig.configDef();
        for (String name : converter.names()) {
            names.add("key.converter." + name);
            names.add("value.converter." + name);
        }
        return names;
    }

    private static Map<String, Set<?>> allowed(Iterable<Field> fields) {
        Map<String, Set<?>> table = new TreeMap<>();
        for (Field field : fields) {
            table.put(field.name(), field.allowedValues() == null ? Set.of() : field.allowedValues());
        }
        return table;
    }
}
