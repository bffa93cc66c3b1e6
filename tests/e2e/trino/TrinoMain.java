/** Starts Trino's server with the version it is told: among loose jars it does not find its own. */
public class TrinoMain {
    public static void main(String[] arguments) {
        new io.trino.server.Server().start(System.getProperty("trino.version"));
    }
}
