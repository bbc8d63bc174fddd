//! Tests of the language at its two doors, [`parse_statement`] and the canonical text. Cases are data.

use super::*;
use crate::random::Random;

const SEED_DEFAULT: u64 = 0x00d1_4a05;

/// The agreement of the wage-gap study, as a steward may write it.
const WAGE_GAP: &str = "create agreement Wage_Gap ON SITE vu
  FOR ROLE analyst OF uva, USER 'j.stutterheim@uva.nl'
  PURPOSE statistics
  VALID FROM '2026-01-01' UNTIL '2027-01-01T00:00:00Z'
AS (
  RELEASE avg, sum, count, median OF salschal
          BY geslacht, hoopgeb, year(gebdat)
          FROM personen JOIN aanstellingen ON unieknr
          MINIMUM 10 DISTINCT unieknr  ELSE REMAINDER,       -- DROP | REMAINDER | FAIL
  SHIP    PARTIALS OF 1 TO surf,                             -- of clause 1
  SHIP    ROWS (hash(unieknr), geslacht, salschal)
          FROM personen JOIN aanstellingen ON unieknr
          WHERE aanstellingen.peildat >= DATE '2019-12-31' TO surf,
  FILTER  ON geslacht, \"hoopgeb\" COMPARE WITH LITERALS,    /* what a predicate may touch */
  JOIN    ON unieknr WITH REQUESTER,
  MASK    personen.gebdat AS date_trunc('year', gebdat),
  ROWS    ON personen WHERE opted_out IS NOT TRUE,
  BUDGET  200 QUERIES PER MONTH, EPSILON 4.0 PER YEAR,
  ARCHETYPES compute_to_data, data_to_compute,
  OBLIGE  retention INTERVAL '0' HOUR AT surf
);";

const WAGE_GAP_CANONICAL: &str = "CREATE AGREEMENT wage_gap ON SITE vu
  FOR ROLE analyst OF uva, USER 'j.stutterheim@uva.nl'
  PURPOSE statistics
  VALID FROM '2026-01-01' UNTIL '2027-01-01'
AS (
  RELEASE avg, sum, count, median OF salschal BY geslacht, hoopgeb, year(gebdat) \
    FROM personen JOIN aanstellingen ON unieknr MINIMUM 10 DISTINCT unieknr ELSE REMAINDER,
  SHIP PARTIALS OF 1 TO surf,
  SHIP ROWS (hash(unieknr), geslacht, salschal) FROM personen JOIN aanstellingen ON unieknr \
    WHERE aanstellingen.peildat >= DATE '2019-12-31' TO surf,
  FILTER ON geslacht, hoopgeb COMPARE WITH LITERALS,
  JOIN ON unieknr WITH REQUESTER,
  MASK personen.gebdat AS date_trunc('year', gebdat),
  ROWS ON personen WHERE opted_out IS NOT TRUE,
  BUDGET 200 QUERIES PER MONTH, EPSILON 4 PER YEAR,
  ARCHETYPES compute_to_data, data_to_compute,
  OBLIGE RETENTION INTERVAL '0' HOUR AT surf
)";

/// An agreement of these clauses and nothing else of interest.
fn with_clauses(clauses: &str) -> String {
    format!("CREATE AGREEMENT a ON SITE vu FOR ANYONE PURPOSE statistics AS (\n{clauses}\n)")
}

#[test]
fn the_wage_gap_agreement_has_its_canonical_text() {
    let agreement = parse_agreement(WAGE_GAP).unwrap();
    assert_eq!(agreement.to_string(), WAGE_GAP_CANONICAL);
    assert_eq!(parse_agreement(WAGE_GAP_CANONICAL), Ok(agreement));
}

#[test]
fn random_agreements_read_back_from_their_canonical_text() {
    let seed = std::env::var("DYNAMOS_SEED").ok().map_or(SEED_DEFAULT, |seed| seed.parse().unwrap());
    for case in 0..2000 {
        let seed = seed.wrapping_add(case);
        let agreement = Random(seed).agreement();
        let text = agreement.to_string();
        let again = parse_agreement(&text).unwrap_or_else(|error| panic!("DYNAMOS_SEED={seed}\n{text}\n{error}"));
        for (before, after) in agreement.clauses.iter().zip(&again.clauses) {
            assert_eq!(before, after, "DYNAMOS_SEED={seed}\n{before}");
        }
        assert_eq!(agreement, again, "DYNAMOS_SEED={seed}\n{text}");
        assert_eq!(again.to_string(), text, "DYNAMOS_SEED={seed}");
    }
}

/// Whatever bytes are cut out or doubled, the parser answers; it never panics and never accepts what it cannot print.
#[test]
fn damaged_agreements_get_an_answer() {
    for seed in 0..2000 {
        let mut random = Random(seed);
        let mut text: Vec<char> = random.agreement().to_string().chars().collect();
        for _ in 0..=random.below(3) {
            let (from, length) = (random.below(text.len()), random.below(12));
            let to = (from + length).min(text.len());
            if random.below(2) == 0 {
                text.drain(from..to);
            } else {
                let piece: Vec<char> = text[from..to].to_vec();
                text.splice(from..from, piece);
            }
            if text.is_empty() {
                text.push('(');
            }
        }
        let text: String = text.into_iter().collect();
        match parse_statement(&text) {
            Ok(DynamosStatement::CreateAgreement(agreement)) => {
                assert_eq!(parse_agreement(&agreement.to_string()), Ok(agreement), "seed {seed}");
            }
            Ok(other) => panic!("seed {seed}\n{text}\nread as {other:?}"),
            Err(error) => assert!(error.position <= Position::after(&text), "seed {seed}\n{text}\n{error}"),
        }
    }
}

/// Clauses and their canonical text.
#[test]
fn clauses_have_one_spelling() {
    for (written, canonical) in [
        ("RELEASE ROWS (*) FROM t", "RELEASE ROWS (*) FROM t"),
        ("release rows (A, \"B\", \"c\") from S.T where A = 1", "RELEASE ROWS (a, \"B\", c) FROM s.t WHERE a = 1"),
        ("SHIP ROWS (*) FROM t TO ANY, surf, SITE \"any\"", "SHIP ROWS (*) FROM t TO ANY, surf, \"any\""),
        (
            "SHIP ROWS (a) FROM t TO ROLE compute_provider, REGION eu, COORDINATOR",
            "SHIP ROWS (a) FROM t TO ROLE compute_provider, REGION eu, COORDINATOR",
        ),
        ("RELEASE avg, count OF a, * FROM t ELSE DROP", "RELEASE avg, count OF a, * FROM t"),
        (
            "RELEASE sum OF a FROM t ELSE FAIL ROUND TO 05.0 DOMINANCE .850 MINIMUM 3 SITES PER SITE MINIMUM 2 DISTINCT t.k",
            "RELEASE sum OF a FROM t MINIMUM 2 DISTINCT t.k MINIMUM 3 SITES PER SITE DOMINANCE 0.85 ROUND TO 5 ELSE FAIL",
        ),
        (
            "RELEASE count DISTINCT OF a FROM t INNER JOIN s.u ON t.k = s.u.k AND l LEFT OUTER JOIN v ON m",
            "RELEASE count DISTINCT OF a FROM t JOIN s.u ON t.k = s.u.k AND l LEFT JOIN v ON m",
        ),
        ("FILTER ON a, t.b COMPARE WITH COLUMNS, LITERALS", "FILTER ON a, t.b COMPARE WITH LITERALS, COLUMNS"),
        (
            "FILTER ON lower(a), b LIKE 'x%' COMPARE WITH COLUMNS",
            "FILTER ON lower(a), b LIKE 'x%' COMPARE WITH COLUMNS",
        ),
        ("JOIN ON a, t.b WITH SITE surf", "JOIN ON a, t.b WITH surf"),
        ("JOIN ON a WITH TABLE s.t", "JOIN ON a WITH TABLE s.t"),
        ("MASK a AS NULL", "MASK a AS NULL"),
        ("ROWS WHERE a IN (1, 2)", "ROWS WHERE a IN (1, 2)"),
        ("OBLIGE audit AT region eu", "OBLIGE AUDIT AT REGION eu"),
        ("OBLIGE notification", "OBLIGE NOTIFICATION"),
        ("BUDGET EPSILON 0.50 PER day", "BUDGET EPSILON 0.5 PER DAY"),
        ("1: MASK a AS 1", "MASK a AS 1"),
        ("7: C1: MASK a AS 1,\n c2: MASK b AS 2", "7: c1: MASK a AS 1,\n  c2: MASK b AS 2"),
        (
            "SHIP PARTIALS OF r TO surf,\n r: RELEASE sum OF a FROM t",
            "SHIP PARTIALS OF r TO surf,\n  r: RELEASE sum OF a FROM t",
        ),
        (
            "BUDGET 1 QUERIES PER HOUR, b2: ARCHETYPES compute_to_data",
            "BUDGET 1 QUERIES PER HOUR,\n  b2: ARCHETYPES compute_to_data",
        ),
    ] {
        let agreement = parse_agreement(&with_clauses(written)).unwrap_or_else(|error| panic!("{written}: {error}"));
        let expected =
            format!("CREATE AGREEMENT a ON SITE vu\n  FOR ANYONE\n  PURPOSE statistics\nAS (\n  {canonical}\n)");
        assert_eq!(agreement.to_string(), expected);
        assert_eq!(parse_agreement(&expected), Ok(agreement));
    }
}

#[test]
fn e6_clauses_are_counted_from_one_and_keep_numbers_given() {
    let text = with_clauses("MASK a AS 1, 4: MASK b AS 2, x: MASK c AS 3");
    let numbers: Vec<_> =
        parse_agreement(&text).unwrap().clauses.into_iter().map(|clause| (clause.number, clause.name)).collect();
    assert_eq!(numbers, [(1, None), (4, None), (5, Some("x".to_owned()))]);
}

/// Clauses on line 2 of an agreement, and what is said about them.
#[test]
fn errors_in_clauses_say_where_and_what() {
    for (clauses, error) in [
        (
            "",
            "line 3, column 1: expected a clause (`RELEASE`, `SHIP`, `FILTER`, `JOIN`, `MASK`, `ROWS`, `BUDGET`, `ARCHETYPES` or `OBLIGE`), found `)`",
        ),
        (
            "RELEASE ROWS (a) FROM t MINIMUM 10 DISTINCT k",
            "line 2, column 25: `MINIMUM` says nothing about single rows; remove it, or release aggregates instead of ROWS",
        ),
        ("RELEASE ROWS a FROM t", "line 2, column 14: expected `(`, found `a`"),
        (
            "RELEASE avg OF * FROM t",
            "line 2, column 16: `*` can only be counted; add `count` to the functions or name a column",
        ),
        ("RELEASE avg OF a t", "line 2, column 18: expected `FROM`, found `t`"),
        (
            "RELEASE avg OF a FROM t MINIMUM 0 DISTINCT k",
            "line 2, column 33: expected a number of at least 1, found `0`",
        ),
        ("RELEASE avg OF a FROM t MINIMUM 1 k", "line 2, column 35: expected `DISTINCT` or `SITES`, found `k`"),
        ("RELEASE avg OF a FROM t DOMINANCE 1", "line 2, column 35: expected a share between 0 and 1, found `1`"),
        ("RELEASE avg OF a FROM t ELSE FAIL ELSE DROP", "line 2, column 35: `ELSE` is given twice; remove one"),
        (
            "RELEASE avg OF a FROM t ELSE NOISE",
            "line 2, column 30: expected `DROP`, `REMAINDER` or `FAIL`, found `noise`",
        ),
        ("RELEASE avg OF a FROM t JOIN u ON t.k", "line 3, column 1: expected `=`, found `)`"),
        (
            "RELEASE avg OF (SELECT 1) FROM t",
            "line 2, column 16: a clause cannot hold a subquery; write an expression of the columns of its own row",
        ),
        (
            "ROWS ON t WHERE a IN (SELECT b FROM u)",
            "line 2, column 17: a clause cannot hold a subquery; write an expression of the columns of its own row",
        ),
        (
            "ROWS ON t WHERE a = $1",
            "line 2, column 17: a clause cannot hold a placeholder; write an expression of the columns of its own row",
        ),
        (
            "ROWS ON t WHERE rank() OVER (ORDER BY a) = 1",
            "line 2, column 17: a clause cannot hold a window function; write an expression of the columns of its own row",
        ),
        ("ROWS ON t WHERE a = ", "line 3, column 1: expected an expression, found `)`"),
        ("MASK t.a AS 1, MASK b AS 2, MASK a AS 3", "line 2, column 34: `MASK a` is given twice; remove one"),
        (
            "SHIP PARTIALS OF 2 TO surf",
            "line 2, column 18: there is no clause `2` in this agreement; give the number or name of an aggregate RELEASE",
        ),
        (
            "MASK a AS 1, SHIP PARTIALS OF 1 TO surf",
            "line 2, column 31: clause `1` releases no aggregates, so it has no partials; name an aggregate RELEASE",
        ),
        (
            "RELEASE ROWS (*) FROM t, SHIP PARTIALS OF 1 TO surf",
            "line 2, column 43: clause `1` releases no aggregates, so it has no partials; name an aggregate RELEASE",
        ),
        (
            "SHIP ROWS (a) FROM t TO from",
            "line 2, column 25: expected a place (a site, `ROLE`, `REGION`, `COORDINATOR` or `ANY`), found `from`",
        ),
        (
            "SHIP ROWS (a) FROM t TO surf,\n",
            "line 4, column 1: expected a place (a site, `ROLE`, `REGION`, `COORDINATOR` or `ANY`), found `)`",
        ),
        ("FILTER ON a COMPARE WITH LITERALS, LITERALS", "line 2, column 26: `COMPARE WITH` is given twice; remove one"),
        ("c: MASK a AS 1, c: MASK b AS 1", "line 2, column 17: `c` is given twice; remove one"),
        (
            "2: MASK a AS 1, 2: MASK b AS 1",
            "line 2, column 17: clause number 2 does not exceed the one before it; numbers rise and are never used again",
        ),
        ("OBLIGE retention INTERVAL '1.5' HOUR", "line 2, column 27: expected a whole number in quotes, found `'1.5'`"),
        ("OBLIGE deletion", "line 2, column 8: expected `RETENTION`, `AUDIT` or `NOTIFICATION`, found `deletion`"),
        ("MASK a AS 1 MASK b AS 2", "line 2, column 13: expected `,` or `)`, found `mask`"),
        ("MASK a AS 'x", "line 2, column 11: unterminated string literal"),
    ] {
        let found = parse_agreement(&with_clauses(clauses)).map_err(|error| error.to_string());
        assert_eq!(found, Err(error.to_owned()), "{clauses}");
    }
}

#[test]
fn errors_in_statements_say_where_and_what() {
    const ACCEPTED: &str = "does not begin a statement that is accepted; write a query (SELECT, WITH, VALUES), EXPLAIN, EXPLAIN \
         POLICY, CREATE, ALTER, REVOKE, SHOW or SIMULATE AGREEMENT, SHOW AGREEMENTS, SHOW PERMISSIONS, SHOW EDGES, \
         SHOW DECISIONS or SET dynamos.…";
    for (sql, error) in [
        ("", format!("line 1, column 1: the end of the text {ACCEPTED}")),
        ("\n  INSERT INTO t VALUES (1)", format!("line 2, column 3: `insert` {ACCEPTED}")),
        ("CREATE TABLE t (a int)", format!("line 1, column 1: `create` {ACCEPTED}")),
        ("REVOKE SELECT ON t FROM u", format!("line 1, column 1: `revoke` {ACCEPTED}")),
        ("SELECT 1; SELECT 2", "line 1, column 11: expected the end of the only statement, found `select`".to_owned()),
        ("SELECT 1 +", "line 1, column 11: expected an expression, found the end of the text".to_owned()),
        ("SELECT a INTO b FROM c", "line 1, column 1: a query may only read; remove INTO".to_owned()),
        (
            "SELECT a FROM c FOR UPDATE",
            "line 1, column 1: a query may only read; remove FOR UPDATE or FOR SHARE".to_owned(),
        ),
        (
            "WITH x AS (DELETE FROM t RETURNING a) SELECT * FROM x",
            "line 1, column 1: a query may only read; remove INSERT, UPDATE, DELETE or MERGE".to_owned(),
        ),
        ("EXPLAIN DROP TABLE t", "line 1, column 9: expected `POLICY`, `ANALYZE` or a query, found `drop`".to_owned()),
        ("EXPLAIN POLICY", "line 1, column 15: expected a query, found the end of the text".to_owned()),
        (
            "SHOW TABLES",
            "line 1, column 6: expected `AGREEMENTS`, `AGREEMENT`, `PERMISSIONS`, `EDGES` or `DECISIONS`, found `tables`"
                .to_owned(),
        ),
        (
            "SET timezone = 'UTC'",
            "line 1, column 5: expected a setting that begins with `dynamos.`, found `timezone`".to_owned(),
        ),
        ("SET dynamos.purpose", "line 1, column 20: expected `=` or `TO`, found the end of the text".to_owned()),
        ("REVOKE AGREEMENT a", "line 1, column 19: expected `ON`, found the end of the text".to_owned()),
        (
            "CREATE AGREEMENT a ON SITE vu FOR ANYONE PURPOSE x\nVALID FROM '2026-01-02' UNTIL '2026-01-01' AS (MASK a AS 1)",
            "line 2, column 31: the agreement ends at 2026-01-01, which is not after its beginning at 2026-01-02"
                .to_owned(),
        ),
        (
            "CREATE AGREEMENT a ON SITE vu FOR ANYONE PURPOSE x VALID FROM '2026-02-30' AS (MASK a AS 1)",
            "line 1, column 63: expected a moment such as '2026-01-31' or '2026-01-31T12:00:00Z', found `'2026-02-30'`"
                .to_owned(),
        ),
        (
            "CREATE AGREEMENT a ON SITE vu FOR anyone, PURPOSE x AS (MASK a AS 1)",
            "line 1, column 43: expected `USER`, `ROLE`, `ORGANISATION` or `ANYONE`, found `purpose`".to_owned(),
        ),
        ("SELECT é, é + , 1", "line 1, column 15: expected an expression, found `,`".to_owned()),
    ] {
        assert_eq!(parse_statement(sql).map_err(|error| error.to_string()), Err(error), "{sql}");
    }
}

#[test]
fn statements_are_told_apart() {
    let agreement = || parse_agreement(&with_clauses("MASK a AS 1")).unwrap();
    let body = with_clauses("MASK a AS 1").replacen("CREATE ", "", 1);
    let text = str::to_owned;
    for (sql, statement) in [
        (format!("create {body};"), DynamosStatement::CreateAgreement(agreement())),
        (format!("ALTER {body}"), DynamosStatement::AlterAgreement(agreement())),
        (
            format!("SIMULATE {body} FOR SELECT 1;"),
            DynamosStatement::SimulateAgreement { agreement: agreement(), query: Some(text("SELECT 1")) },
        ),
        (
            format!("SIMULATE {body} FOR RECENT QUERIES"),
            DynamosStatement::SimulateAgreement { agreement: agreement(), query: None },
        ),
        (
            text("REVOKE AGREEMENT wage_gap ON SITE \"VU\";"),
            DynamosStatement::RevokeAgreement { name: text("wage_gap"), steward: text("VU") },
        ),
        (text("SHOW AGREEMENTS"), DynamosStatement::ShowAgreements),
        (text("SHOW AGREEMENT a"), DynamosStatement::ShowAgreement { name: text("a"), steward: None }),
        (
            text("SHOW AGREEMENT a ON SITE vu"),
            DynamosStatement::ShowAgreement { name: text("a"), steward: Some(text("vu")) },
        ),
        (text("show edges for last query"), DynamosStatement::ShowEdges),
        (text("SHOW DECISIONS"), DynamosStatement::ShowDecisions),
        (text("SHOW PERMISSIONS"), DynamosStatement::ShowPermissions { purpose: None }),
        (
            text("SHOW PERMISSIONS FOR PURPOSE 'DUO:0000042'"),
            DynamosStatement::ShowPermissions { purpose: Some(text("DUO:0000042")) },
        ),
        (text("EXPLAIN POLICY SELECT A FROM t"), DynamosStatement::ExplainPolicy { sql: text("SELECT A FROM t") }),
        (
            text("EXPLAIN ANALYZE VALUES (1)"),
            DynamosStatement::Explain { mode: ExplainMode::Analyze, sql: text("VALUES (1)") },
        ),
        (text("EXPLAIN (SELECT 1)"), DynamosStatement::Explain { mode: ExplainMode::Plan, sql: text("(SELECT 1)") }),
        (
            text("SET dynamos.purpose = 'DUO:0000042'"),
            DynamosStatement::Set { name: text("dynamos.purpose"), value: Some(text("DUO:0000042")) },
        ),
        (
            text("SET dynamos.placement TO compute_to_data"),
            DynamosStatement::Set { name: text("dynamos.placement"), value: Some(text("compute_to_data")) },
        ),
        (
            text("SET dynamos.retries = 3"),
            DynamosStatement::Set { name: text("dynamos.retries"), value: Some(text("3")) },
        ),
        (text("SET dynamos.purpose TO DEFAULT"), DynamosStatement::Set { name: text("dynamos.purpose"), value: None }),
        (text("RESET dynamos.purpose"), DynamosStatement::Set { name: text("dynamos.purpose"), value: None }),
        (
            text("  -- the first\n WITH x AS (SELECT 'é;' AS \"É\") SELECT * FROM x UNION ALL SELECT 'b' ; "),
            DynamosStatement::Query(text("WITH x AS (SELECT 'é;' AS \"É\") SELECT * FROM x UNION ALL SELECT 'b'")),
        ),
    ] {
        assert_eq!(parse_statement(&sql), Ok(statement), "{sql}");
    }
}

#[test]
fn refuses_texts_over_the_limit_before_reading_them() {
    let fits = format!("SELECT '{}'", "x".repeat(MAX_BYTES - 9));
    assert_eq!(fits.len(), MAX_BYTES);
    assert!(parse_statement(&fits).is_ok());
    let error = parse_statement(&format!("{fits} ")).unwrap_err();
    assert_eq!(error.problem, SqlProblem::TooLong { bytes: MAX_BYTES + 1, limit: MAX_BYTES });
}

/// Each shape, repeated as often as the text may be long, would overflow the stack if it were read.
#[test]
fn refuses_texts_that_would_be_too_deep_a_tree() {
    for (before, repeated, after) in [
        ("SELECT 1", " + 1", ""),
        ("SELECT a FROM t WHERE a", " OR a", ""),
        ("SELECT a", "::int", ""),
        ("SELECT a", " IS NULL", ""),
        ("SELECT 1, 2", " UNION SELECT 1, 2", ""),
        ("SELECT ", "(", "1"),
        ("SELECT ", "- ", "1"),
        ("SELECT ", "NOT ", "a"),
        ("SELECT ", "f(1, ", "1"),
        ("SELECT ", "CASE WHEN a THEN ", "1"),
        ("", "(", "SELECT 1"),
        ("SELECT * FROM ", "(", "t"),
        ("SELECT a", " AT TIME ZONE 'x'", ""),
        ("SELECT a", " COLLATE x", ""),
    ] {
        let times = (MAX_BYTES - 100) / repeated.len();
        let sql = format!("{before}{}{after}", repeated.repeat(times));
        let problem = parse_statement(&sql).unwrap_err().problem;
        assert_eq!(problem, SqlProblem::TooDeep, "{before}{repeated}…");
    }
}

/// What the depth check lets through can be cloned, compared, printed and dropped on a thread of tokio's size.
#[test]
fn accepts_long_lists_and_the_deepest_chains_it_allows() {
    let chain = with_clauses(&format!("ROWS ON t WHERE a{}", " + 1".repeat(990)));
    let work = move || {
        let agreement = parse_agreement(&chain).unwrap();
        assert_eq!(agreement.clone(), agreement);
        assert!(!format!("{agreement:?}").is_empty());
    };
    std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(work).unwrap().join().unwrap();

    let rows = vec!["(1, -1, 'x')"; 15_000].join(", ");
    assert!(parse_statement(&format!("VALUES {rows}")).is_ok());
    let numbers = vec!["1"; 60_000].join(", ");
    assert!(parse_statement(&format!("SELECT a FROM t WHERE a IN ({numbers})")).is_ok());
}
