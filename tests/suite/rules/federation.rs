//! Which agreement governs, which tables a query needs, and what LOCAL means (rules C.1 to C.5).

use std::collections::BTreeSet;

use dynamos_planner::sql::parse_agreement;

use super::bench::{Bench, places};

#[test]
fn c1_clauses_of_different_agreements_never_combine() {
    let release = "RELEASE sum OF wage FROM s.people MINIMUM 5 DISTINCT id";
    let filter = "FILTER ON sex COMPARE WITH LITERALS";
    let sql = "SELECT sum(wage) FROM a.s.people WHERE sex = 'f'";
    let apart = Bench::none().with("a", "one", release).with("a", "two", filter);
    apart.refuses(sql, "no FILTER clause allows");
    let together =
        apart.with("a", "zwei", &format!("{release}, {filter}")).with("a", "yet", &format!("{release}, {filter}"));
    let governing = |bench: &Bench| {
        let query = bench.allows(sql);
        query.graph().governing.values().map(|one| one.agreement.clone()).collect::<Vec<_>>()
    };
    // The first by name of those that allow it, or the one that the requester names.
    assert_eq!(governing(&together), ["yet"]);
    let named = together.under("zwei");
    assert_eq!(governing(&named), ["zwei"]);
    // One that does not allow it does not stand in the way.
    assert_eq!(governing(&named.under("one")), ["yet"]);
    // Several ROWS are ANDed within one agreement.
    let edges = Bench::none()
        .with("a", "g", "RELEASE count OF * FROM s.people, SHIP ROWS (id, wage) FROM s.people TO p")
        .allows("SELECT count(*) FROM a.s.people");
    assert_eq!(edges.graph().releases[0].clauses.len(), 1, "one clause covers a release point");
}

#[test]
fn c1_the_tables_of_every_agreement_are_known_and_described() {
    let bench = Bench::none().with("a", "one", "RELEASE ROWS (sex) FROM s.people").with(
        "a",
        "two",
        "RELEASE ROWS (id) FROM s.visits",
    );
    assert_eq!(bench.shows(), ["a.s.people", "a.s.visits", "s.people", "s.visits"].map(str::to_owned).into());
    for (sql, column) in [("SELECT sex FROM a.s.people", "sex"), ("SELECT id FROM a.s.visits", "id")] {
        assert_eq!(bench.describes(sql), Ok(vec![column.to_owned()]));
        bench.allows(sql);
    }
    // No one agreement shows both.
    let both = "SELECT p.sex FROM a.s.people p JOIN a.s.visits v ON p.id = v.id";
    assert!(bench.describes(both).is_err() && bench.ask(both).is_err());
}

#[test]
fn c2_rows_and_mask_say_which_table_they_are_about() {
    let text = |clauses: &str| {
        format!(
            "CREATE AGREEMENT g ON SITE a FOR ANYONE PURPOSE statistics AS (RELEASE count OF * FROM s.people, {clauses})"
        )
    };
    let twice = parse_agreement(&text("MASK wage AS NULL, MASK people.wage AS 1")).unwrap_err().to_string();
    assert!(twice.contains("given twice"), "{twice}");
    // What no site accepts shows nothing, should it be in force all the same.
    for limit in ["MASK id AS 1", "MASK wgae AS NULL", "ROWS ON poeple WHERE wage < 9", "ROWS WHERE wgae < 9"] {
        let bench = Bench::none().with("a", "g", &format!("RELEASE count OF * FROM s.people, {limit}"));
        bench.refuses("SELECT count(*) FROM a.s.people", "clause 2 of agreement `g` cannot be applied");
    }
    // Masked values are the values: a text in place of a number is a text.
    let masked = "RELEASE ROWS (city, wage) FROM s.people, MASK people.wage AS 'hidden'";
    let bench = Bench::none().with("a", "g", masked);
    bench.allows("SELECT upper(wage) FROM a.s.people");
    assert!(bench.ask("SELECT wage + INTERVAL '1 day' FROM a.s.people").is_err());
}

#[test]
fn c3_without_filter_no_predicate_touches_protected_rows() {
    let release = "RELEASE sum, count OF wage, * BY sex FROM s.people MINIMUM 5 DISTINCT id";
    let none = Bench::none().with("a", "g", release);
    for sql in [
        "SELECT sum(wage) FROM a.s.people WHERE sex = 'f'",
        "SELECT sum(wage) FILTER (WHERE sex = 'f') FROM a.s.people",
        "SELECT sex, sum(wage) FROM a.s.people WHERE sex IS NOT NULL GROUP BY sex",
    ] {
        none.refuses(sql, "no FILTER clause allows");
    }
    none.allows("SELECT sex, sum(wage) FROM a.s.people GROUP BY sex HAVING sex = 'f' AND sum(wage) > 10");
    let literals = Bench::none().with("a", "g", &format!("{release}, FILTER ON sex, wage COMPARE WITH LITERALS"));
    for predicate in ["sex = 'f'", "wage BETWEEN 1 AND 9", "sex IN ('f', 'm') OR NOT wage < 3", "wage IS NULL"] {
        literals.allows(&format!("SELECT sum(wage) FROM a.s.people WHERE {predicate}"));
        literals.allows(&format!("SELECT sum(wage) FILTER (WHERE {predicate}) FROM a.s.people"));
    }
    for predicate in ["sex LIKE 'f%'", "wage + 1 = 3", "city = 'x'", "upper(sex) = 'F'", "wage = pension", "sex = city"]
    {
        literals.refuses(&format!("SELECT sum(wage) FROM a.s.people WHERE {predicate}"), "no FILTER clause allows");
    }
    let written = Bench::none().with(
        "a",
        "g",
        &format!("{release}, FILTER ON upper(sex), city LIKE 'a%', wage + 1 COMPARE WITH LITERALS"),
    );
    for predicate in ["upper(sex) = 'F'", "city LIKE 'a%' AND NOT upper(sex) IN ('F', 'M')", "wage + 1 > 3"] {
        written.allows(&format!("SELECT sum(wage) FROM a.s.people WHERE {predicate}"));
    }
    for predicate in
        ["sex = 'f'", "lower(sex) = 'f'", "city LIKE 'b%'", "wage + 2 > 3", "upper(sex) = city", "wage > 3"]
    {
        written.refuses(&format!("SELECT sum(wage) FROM a.s.people WHERE {predicate}"), "no FILTER clause allows");
    }
    let columns = Bench::none().with("a", "g", &format!("{release}, FILTER ON sex, city COMPARE WITH COLUMNS"));
    columns.allows("SELECT sum(wage) FROM a.s.people WHERE sex = city");
    columns.refuses("SELECT sum(wage) FROM a.s.people WHERE sex = 'f'", "no FILTER clause allows");
    // A predicate over released rows is above the release.
    Bench::none()
        .with("a", "g", "RELEASE ROWS (sex, wage) FROM s.people")
        .allows("SELECT wage FROM a.s.people WHERE sex LIKE 'f%'");
}

#[test]
fn c4_a_federated_table_needs_all_of_its_stewards() {
    let release = "RELEASE count OF * FROM s.people MINIMUM 5 DISTINCT id, SHIP PARTIALS OF 1 TO p";
    let only_a = Bench::none().with("a", "g", release);
    only_a.refuses("SELECT count(*) FROM s.people", "b");
    let query = only_a.allows("SELECT count(*) FROM s.people WHERE steward IN ('a')");
    assert!(!places(&query).contains("b"));
    let both = Bench::both(release).allows("SELECT count(*) FROM s.people");
    assert_eq!(BTreeSet::from(["a", "b"]), both.graph().governing.keys().map(|steward| steward.as_str()).collect());
}

#[test]
fn c5_local_keys_are_compared_with_their_steward() {
    let rows = "RELEASE ROWS (*) FROM s.people, RELEASE ROWS (*) FROM s.visits, SHIP ROWS (*) FROM s.people TO ANY,
                SHIP ROWS (*) FROM s.visits TO ANY";
    let bench = Bench::both(rows);
    bench.refuses("SELECT count(*) FROM a.s.people x JOIN b.s.people y ON x.id = y.id", "are different people");
    let cast = "SELECT count(*) FROM a.s.people x JOIN b.s.people y ON CAST(x.id AS VARCHAR) = CAST(y.id AS VARCHAR)";
    bench.refuses(cast, "are different people");
    for sql in [
        "SELECT count(*) FROM a.s.people x, b.s.people y WHERE x.id IN (1, 2, 3, 4, y.id)",
        "SELECT count(*) FROM a.s.people x, b.s.people y WHERE x.id NOT IN (1, 2, 3, 4, y.id)",
        "SELECT CASE x.id WHEN y.id THEN 1 ELSE 0 END FROM a.s.people x, b.s.people y",
    ] {
        bench.refuses(sql, "are different people");
    }
    for sql in taken_keys() {
        bench.refuses(&sql, "are different people");
    }
    // One of several stewards' keys has none beside it.
    let least = "SELECT count(*) FROM (SELECT sex, min(id) AS id FROM s.people GROUP BY sex) x";
    bench.refuses(&format!("{least} JOIN s.people y ON x.id = y.id"), "does not say whose it is");
    bench.allows(&format!("{least} JOIN s.people y ON x.id = y.wage"));
    let listed = (1..=200).map(|number| number.to_string()).collect::<Vec<_>>().join(", ");
    let join = "SELECT count(*) FROM s.people x JOIN s.visits y ON x.id = y.id";
    bench.allows(&format!("{join} WHERE x.id IN ({listed}, y.id)"));
    // The value counts against another column or a literal.
    bench.allows("SELECT count(*) FROM a.s.people x JOIN b.s.people y ON x.id = y.wage");
    let by_key = bench.allows("SELECT id, count(*) FROM s.people GROUP BY id");
    let text = by_key.graph().fragments.iter().map(|one| one.plan.display_indent().to_string()).collect::<String>();
    assert!(text.contains("Utf8(\"a\")") && text.contains("Utf8(\"b\")"), "no steward beside the key: {text}");
}

/// Questions that compare keys of `a` with keys of `b` where the keys are not the tables' own columns, or not by `=`.
fn taken_keys() -> Vec<String> {
    let joined = |keys: &str| format!("SELECT count(*) FROM ({keys}) x JOIN b.s.people y ON x.id = y.id");
    let compared = |condition: &str| {
        format!("SELECT count(*) FROM a.s.people x JOIN b.s.people y ON ({condition}) AND x.wage = y.wage")
    };
    let keys = [
        "SELECT DISTINCT ON (id) id, wage FROM a.s.people ORDER BY id, wage",
        "SELECT DISTINCT ON (wage) wage, id FROM a.s.people ORDER BY wage, id",
        "SELECT sex, max(id) AS id FROM a.s.people GROUP BY sex",
        "SELECT last_value(id ORDER BY wage) AS id FROM a.s.people GROUP BY sex",
        "SELECT lag(id) OVER (ORDER BY wage) AS id FROM a.s.people",
        "SELECT first_value(id) OVER (PARTITION BY sex ORDER BY wage) AS id FROM a.s.people",
    ];
    let conditions = [
        "nullif(x.id, y.id) IS NULL",
        "(x.id, x.wage) = (y.id, y.wage)",
        "(x.id, x.wage) <> (y.id, y.wage)",
        "(x.id, x.wage) IS DISTINCT FROM (y.id, y.wage)",
        "(x.id, x.wage) IN ((y.wage, y.wage), (y.id, y.wage), (x.wage, x.wage), (x.wage, y.wage))",
    ];
    keys.map(joined).into_iter().chain(conditions.map(compared)).collect()
}

#[test]
fn c5_shared_keys_are_the_same_only_within_one_domain() {
    let release = "RELEASE ROWS (*) FROM s.people, SHIP ROWS (*) FROM s.people TO ANY";
    let by_key = |bench: Bench| {
        let query = bench.allows("SELECT id, count(*) FROM s.people GROUP BY id");
        query.graph().fragments.iter().map(|one| one.plan.display_indent().to_string()).collect::<String>()
    };
    let told_apart = |text: &str| text.contains("Utf8(\"a\")") && text.contains("Utf8(\"b\")");
    let one_domain = by_key(Bench::both(release).sharing([("a", "citizens"), ("b", "citizens")]));
    assert!(!told_apart(&one_domain), "{one_domain}");
    let two_domains = by_key(Bench::both(release).sharing([("a", "citizens"), ("b", "students")]));
    assert!(told_apart(&two_domains), "equal keys of two domains are one person: {two_domains}");
    // Of two tables no column says whose a key is.
    let named = Bench::both(release).sharing([("a", "citizens"), ("b", "students")]);
    for sql in [
        "SELECT count(*) FROM a.s.people x JOIN b.s.people y ON x.id = y.id",
        "SELECT count(*) FROM a.s.people x JOIN b.s.people y ON CAST(x.id AS VARCHAR) = CAST(y.id AS VARCHAR)",
        "SELECT count(*) FROM a.s.people x, b.s.people y WHERE x.id < y.id",
        "SELECT wage FROM a.s.people WHERE id NOT IN (SELECT id FROM b.s.people)",
        "SELECT id FROM a.s.people INTERSECT SELECT id FROM (SELECT id FROM b.s.people GROUP BY id)",
    ] {
        named.refuses(sql, "of the domain `citizens` and of the domain `students` are different people");
    }
    named.allows("SELECT count(*) FROM a.s.people x JOIN b.s.people y ON x.id = y.wage");
    // Nor does one say it of a union's rows, which go into an answer and are not compared.
    let union = "(SELECT id, wage FROM a.s.people UNION ALL SELECT CAST(id AS BIGINT), wage FROM b.s.people) u";
    for sql in [
        format!("SELECT id, count(*) FROM {union} GROUP BY id"),
        format!("SELECT wage, id, count(*) FROM {union} GROUP BY CUBE (wage, id)"),
        format!("SELECT count(DISTINCT id) FROM {union}"),
        format!("SELECT DISTINCT id FROM {union}"),
        format!("SELECT DISTINCT ON (id) wage FROM {union} ORDER BY id, wage"),
        format!("SELECT wage, count(*) OVER (PARTITION BY id) FROM {union}"),
        format!("SELECT u.wage FROM {union} JOIN a.s.people p ON u.id = p.id"),
        format!("SELECT p.wage FROM a.s.people p WHERE p.id IN (SELECT id FROM {union})"),
        "SELECT id FROM a.s.people UNION SELECT id FROM b.s.people".to_owned(),
        "SELECT count(*) FROM a.s.people x, b.s.people y WHERE x.id IN (1, 2, 3, 4, y.id)".to_owned(),
        "SELECT CASE x.id WHEN y.id THEN 1 ELSE 0 END AS same FROM a.s.people x, b.s.people y".to_owned(),
    ] {
        named.refuses(&sql, "of the domain `citizens` and of the domain `students` are different people");
    }
    for sql in taken_keys() {
        named.refuses(&sql, "of the domain `citizens` and of the domain `students` are different people");
    }
    named.allows(&format!("SELECT id, wage FROM {union} WHERE id > 3"));
    named.allows(&format!("SELECT wage, count(id) FROM {union} GROUP BY wage"));
    named.allows(&format!("SELECT DISTINCT ON (wage) id FROM {union} ORDER BY wage, id DESC"));
    named.allows("SELECT id FROM a.s.people UNION ALL SELECT wage FROM b.s.people");
    let mixed = Bench::both(release).sharing([("b", "students")]);
    for sql in [
        "SELECT id FROM a.s.people UNION SELECT id FROM b.s.people",
        "SELECT count(*) FROM s.people x JOIN b.s.people y ON x.id = y.id",
    ] {
        mixed.refuses(sql, "of one steward alone and of the domain `students` are different people");
    }
    let same = Bench::both(release).sharing([("a", "citizens"), ("b", "citizens")]);
    same.allows("SELECT count(*) FROM a.s.people x JOIN b.s.people y ON x.id = y.id");
    same.allows(&format!("SELECT id, count(*) FROM {union} GROUP BY id"));
}

#[test]
fn c1_agreements_about_other_tables_take_no_turns() {
    // More combinations than are tried, if those that speak of another table counted.
    let visits = (0..12).map(|number| (format!("a{number:02}"), "RELEASE ROWS (*) FROM s.visits"));
    let mut bench = Bench::none();
    for (name, clauses) in visits {
        bench = bench.with("a", &name, clauses).with("b", &name, clauses);
    }
    let release = "RELEASE ROWS (*) FROM s.people, SHIP ROWS (*) FROM s.people TO ANY";
    bench.with("a", "z", release).with("b", "z", release).allows("SELECT wage FROM s.people");
}
