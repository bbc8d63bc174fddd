// The Arrow Flight SQL JDBC driver asks the wage question: connect with TLS, query, parameters, metadata, a refusal.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.File;
import java.net.URI;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Types;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.logging.LogManager;

public final class WageQuestion {
    private static final String WAGES =
            "SELECT p.geslacht, avg(a.salschal) AS scale, count(*) AS n"
                    + " FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr";
    private static final String OF_ALL = WAGES + " GROUP BY p.geslacht ORDER BY p.geslacht";
    private static final String OF_ONE = WAGES + " WHERE p.geslacht = ? GROUP BY p.geslacht";

    private record Wage(String sex, double scale, long people) {}

    public static void main(String[] arguments) {
        // The driver logs every error that it throws, also those that are meant to be.
        LogManager.getLogManager().reset();
        try {
            run(new File(arguments[0]));
        } catch (Exception | AssertionError failure) {
            failure.printStackTrace();
            System.out.println("0 passed, 1 failed");
            System.exit(1);
        }
        System.out.println("1 passed, 0 failed");
        // The driver's threads would keep this process alive for a while.
        System.exit(0);
    }

    private static void run(File infoFile) throws Exception {
        JsonNode info = new ObjectMapper().readTree(infoFile);
        URI at = URI.create(info.get("uri").asText());
        Properties login = login(info, "analyst@uva.nl");
        String url = "jdbc:arrow-flight-sql://" + at.getHost() + ":" + at.getPort();
        try (Connection connection = DriverManager.getConnection(url, login)) {
            declarePurpose(connection);
            Map<String, Wage> wages = byStatement(connection);
            byParameter(connection, wages);
            refused(connection);
            metadata(connection.getMetaData());
        }
        try (Connection one = DriverManager.getConnection(url, login);
                Connection other = DriverManager.getConnection(url, login)) {
            sessionsApart(one, other);
        }
        withTokenAlone(url, login);
        login.setProperty("password", "no token");
        SQLException wrong = failure(() -> DriverManager.getConnection(url, login).close());
        check(wrong.getMessage().contains("token"), "a wrong password: " + wrong.getMessage());
    }

    private static Properties login(JsonNode info, String name) {
        for (JsonNode user : info.get("users")) {
            if (user.get("user").asText().equals(name)) {
                Properties login = new Properties();
                login.setProperty("user", name);
                login.setProperty("password", user.get("token").asText());
                login.setProperty("useEncryption", "true");
                login.setProperty("tlsRootCerts", info.get("ca_file").asText());
                return login;
            }
        }
        throw new AssertionError("there is no user " + name);
    }

    private static void declarePurpose(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            check(!statement.execute("SET dynamos.purpose = 'statistics'"), "SET gives no rows");
        }
    }

    private static Map<String, Wage> byStatement(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            Map<String, Wage> wages = readAll(statement.executeQuery(OF_ALL));
            check(wages.keySet().equals(Set.of("M", "V")), "sexes: " + wages);
            for (Wage wage : wages.values()) {
                check(wage.scale > 5 && wage.scale < 15 && wage.people > 1000, "implausible: " + wage);
            }
            return wages;
        }
    }

    /** One statement, prepared once, gives for each sex what the question about all gave. */
    private static void byParameter(Connection connection, Map<String, Wage> wages) throws SQLException {
        try (PreparedStatement prepared = connection.prepareStatement(OF_ONE)) {
            check(prepared.getParameterMetaData().getParameterCount() == 1, "one parameter");
            check(prepared.getMetaData().getColumnName(2).equals("scale"), "columns of a prepared statement");
            for (String sex : List.of("V", "M", "V")) {
                prepared.setString(1, sex);
                Map<String, Wage> answer = readAll(prepared.executeQuery());
                check(answer.equals(Map.of(sex, wages.get(sex))), sex + ": " + answer + ", of all: " + wages);
            }
            prepared.setString(1, "nobody");
            check(readAll(prepared.executeQuery()).isEmpty(), "nobody has no wage");
        }
    }

    private static void refused(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            SQLException refused = failure(() -> statement.executeQuery("SELECT * FROM wages.personen").next());
            check(refused.getMessage().contains("RELEASE"), "the refusal names no clause: " + refused.getMessage());
        }
        // The connection is as good as before.
        byStatement(connection);
    }

    /** What one connection sets holds for that one only, and for all its statements. */
    private static void sessionsApart(Connection one, Connection other) throws SQLException {
        try (Statement here = one.createStatement(); Statement there = other.createStatement()) {
            check(here.executeUpdate("SET dynamos.placement = 'compute_to_data'") == 0, "SET changes no rows");
            there.executeUpdate("SET dynamos.placement = 'data_to_compute'");
        }
        try (Statement here = one.createStatement(); Statement there = other.createStatement()) {
            List<String> beside = texts(here.executeQuery("EXPLAIN " + OF_ALL), "plan");
            List<String> moved = texts(there.executeQuery("EXPLAIN " + OF_ALL), "plan");
            check(!beside.equals(moved), "both connections have one placement: " + beside);
            SQLException purpose = failure(() -> here.execute("SET dynamos.purpose = 'advertising'"));
            check(purpose.getMessage().contains("statistics"), "a purpose of nobody: " + purpose.getMessage());
        }
    }

    /** Without a user name the driver does not log in but shows the token with every call. */
    private static void withTokenAlone(String url, Properties login) throws SQLException {
        Properties bearer = new Properties();
        bearer.putAll(login);
        bearer.remove("user");
        bearer.setProperty("token", String.valueOf(bearer.remove("password")));
        try (Connection connection = DriverManager.getConnection(url, bearer)) {
            declarePurpose(connection);
            byStatement(connection);
        }
    }

    private static void metadata(DatabaseMetaData metadata) throws SQLException {
        check(metadata.getDatabaseProductName().equals("DYNAMOS"), "product " + metadata.getDatabaseProductName());
        check(metadata.getIdentifierQuoteString().equals("\""), "quote " + metadata.getIdentifierQuoteString());
        check(texts(metadata.getTableTypes(), "TABLE_TYPE").contains("TABLE"), "table types");
        check(texts(metadata.getSchemas(), "TABLE_SCHEM").contains("wages"), "schemas");
        List<String> tables = texts(metadata.getTables(null, "wages", "%", new String[] {"TABLE"}), "TABLE_NAME");
        check(tables.containsAll(List.of("personen", "aanstellingen")), "tables " + tables);
        check(texts(metadata.getTables(null, "wages", "nothing%", null), "TABLE_NAME").isEmpty(), "a pattern of none");
        Map<String, Integer> types = new TreeMap<>();
        Set<Integer> positions = new TreeSet<>();
        try (ResultSet columns = metadata.getColumns("uva", "wages", "personen", null)) {
            while (columns.next()) {
                types.put(columns.getString("COLUMN_NAME"), columns.getInt("DATA_TYPE"));
                positions.add(columns.getInt("ORDINAL_POSITION"));
            }
        }
        check(types.getOrDefault("unieknr", Types.OTHER) == Types.BIGINT, "columns " + types);
        check(types.getOrDefault("geslacht", Types.OTHER) == Types.VARCHAR, "columns " + types);
        check(types.getOrDefault("gebdat", Types.OTHER) == Types.DATE, "columns " + types);
        check(positions.size() == types.size() && positions.contains(1), "positions " + positions);
        List<String> federated = texts(metadata.getColumns(null, "wages", "aanstellingen", "s%"), "COLUMN_NAME");
        check(federated.containsAll(List.of("salschal", "steward")), "columns " + federated);
    }

    private static Map<String, Wage> readAll(ResultSet rows) throws SQLException {
        Map<String, Wage> wages = new TreeMap<>();
        try (rows) {
            while (rows.next()) {
                Wage wage = new Wage(rows.getString("geslacht"), rows.getDouble("scale"), rows.getLong("n"));
                check(wages.put(wage.sex, wage) == null, "a group came twice: " + wage);
            }
        }
        return wages;
    }

    private static List<String> texts(ResultSet rows, String column) throws SQLException {
        List<String> texts = new ArrayList<>();
        try (rows) {
            while (rows.next()) {
                texts.add(rows.getString(column));
            }
        }
        return texts;
    }

    private interface Attempt {
        void make() throws SQLException;
    }

    private static SQLException failure(Attempt attempt) {
        try {
            attempt.make();
        } catch (SQLException failure) {
            return failure;
        }
        throw new AssertionError("what must fail did not");
    }

    private static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }
}
