import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Scanner;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.table.api.TableResult;
import org.apache.flink.types.Row;
import org.apache.flink.util.CloseableIterator;

/**
 * Flink in one process: each line of its input is a statement in JSON, each line of its output the answer: the rows as lists,
 * or text that says what went wrong. Values that JSON has no word for, and all numbers but whole ones, are text; bytes are in
 * base64; a map is a list of pairs.
 */
public class FlinkMain {
    private static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] arguments) throws Exception {
        Configuration settings = new Configuration();
        for (String address : List.of("rest.address", "rest.bind-address", "jobmanager.rpc.address", "jobmanager.bind-host",
                "taskmanager.host", "taskmanager.bind-host")) {
            settings.setString(address, "127.0.0.1");
        }
        settings.setString("parallelism.default", "1");
        settings.setString("table.local-time-zone", "UTC");
        // A statement that changes something is answered when it is done.
        settings.setString("table.dml-sync", "true");
        TableEnvironment flink = TableEnvironment.create(
                EnvironmentSettings.newInstance().inBatchMode().withConfiguration(settings).build());
        Scanner statements = new Scanner(System.in, "UTF-8");
        while (statements.hasNextLine()) {
            Object answer = answer(flink, JSON.readValue(statements.nextLine(), String.class));
            System.out.write(JSON.writeValueAsBytes(answer));
            System.out.write('\n');
            System.out.flush();
        }
        // Its connections would be waited for; nothing of it is kept.
        Runtime.getRuntime().halt(0);
    }

    private static Object answer(TableEnvironment flink, String statement) {
        try {
            List<Object> rows = new ArrayList<>();
            TableResult result = flink.executeSql(statement);
            // Of a statement that changes something the cluster is gone by now, and with it what could be collected.
            if (statement.startsWith("SELECT")) {
                try (CloseableIterator<Row> found = result.collect()) {
                    found.forEachRemaining(row -> rows.add(plain(row)));
                }
            }
            return rows;
        } catch (Exception error) {
            StringBuilder why = new StringBuilder();
            for (Throwable cause = error; cause != null; cause = cause.getCause()) {
                why.append(cause).append('\n');
            }
            return why.toString();
        }
    }

    private static Object plain(Object value) {
        if (value instanceof Row row) {
            List<Object> fields = new ArrayList<>();
            for (int at = 0; at < row.getArity(); at++) {
                fields.add(plain(row.getField(at)));
            }
            return fields;
        }
        if (value instanceof Object[] elements) {
            return Arrays.stream(elements).map(FlinkMain::plain).toList();
        }
        if (value instanceof Map<?, ?> map) {
            List<Object> pairs = new ArrayList<>();
            map.forEach((key, held) -> pairs.add(Arrays.asList(plain(key), plain(held))));
            return pairs;
        }
        if (value instanceof byte[] bytes) {
            return Base64.getEncoder().encodeToString(bytes);
        }
        boolean known = value == null || value instanceof Boolean || value instanceof Integer || value instanceof Long;
        return known ? value : value.toString();
    }
}
