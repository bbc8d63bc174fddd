//! What becomes of LOCAL keys, as texts of plans.

use arrow::datatypes::{Field, Schema};
use datafusion::prelude::col;

use super::*;
use crate::bind::{VisibleTable, VisibleTables, bind, normalize, optimize, parse};
use crate::catalog::TableName;
use crate::function::engine_state;

/// Two federated tables of two stewards with a LOCAL key.
pub fn tables() -> VisibleTables {
    let mut all = Vec::new();
    for name in ["people", "visits"] {
        let key = Field::new("k", DataType::Int64, true);
        let own = vec![key.clone(), Field::new("n", DataType::Int64, true)];
        let mut whole = own.clone();
        whole.push(Field::new(STEWARD, DataType::Utf8, true));
        for (site, stewards, fields) in
            [(Some("uva"), vec!["uva"], own.clone()), (Some("vu"), vec!["vu"], own), (None, vec!["uva", "vu"], whole)]
        {
            all.push(VisibleTable {
                site: site.map(SiteId::new),
                name: TableName::new("s", name),
                stewards: stewards.into_iter().map(SiteId::new).collect(),
                local: Some("k".into()),
                shared: None,
                colocated: crate::catalog::Colocated::new(),
                schema: Arc::new(Schema::new(fields)),
                within: std::collections::BTreeMap::new(),
                joined: Vec::new(),
            });
        }
    }
    VisibleTables::new(all, None)
}

fn planned(sql: &str, state: &SessionState) -> Result<LogicalPlan> {
    let bound = bind(&parse(sql).unwrap(), &[], &tables(), state).unwrap();
    localize(normalize(bound.plan().clone(), state).unwrap(), state)
}

fn localized(sql: &str) -> String {
    let state = engine_state();
    let plan = planned(sql, &state).unwrap_or_else(|error| panic!("{sql}: {error}"));
    // The rules of the engine must keep what was added.
    optimize(plan, state.optimizers().to_vec(), &state).unwrap().display_indent().to_string()
}

fn refused(sql: &str) -> String {
    match planned(sql, &engine_state()) {
        Ok(plan) => panic!("{sql}: {}", plan.display_indent()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_named_table_meets_only_its_own_stewards_rows() {
    let plan = localized("SELECT p.n FROM uva.s.people p JOIN s.visits v ON p.k = v.k");
    assert!(plan.contains("steward = Utf8(\"uva\")"), "{plan}");
}

#[test]
fn c5_a_key_of_another_type_is_still_one() {
    for sql in [
        "SELECT p.n FROM uva.s.people p JOIN s.visits v ON CAST(p.k AS VARCHAR) = CAST(v.k AS VARCHAR)",
        "SELECT p.n FROM uva.s.people p JOIN (SELECT TRY_CAST(k AS INT) AS i FROM s.visits) v ON p.k = v.i",
    ] {
        let plan = localized(sql);
        assert!(plan.contains("steward = Utf8(\"uva\")"), "{plan}");
    }
}

#[test]
fn c5_a_key_that_has_lost_its_steward_is_not_compared() {
    for sql in [
        "SELECT count(*) FROM (SELECT n, min(k) AS k FROM s.people GROUP BY n) p JOIN s.visits v ON p.k = v.k",
        "SELECT count(*) FROM (SELECT n, max(k) AS k FROM s.people GROUP BY n) p JOIN uva.s.visits v ON p.k = v.k",
        "SELECT max(k) FROM s.people GROUP BY n HAVING max(k) = min(k)",
        "SELECT k, count(*) FROM (SELECT first_value(k) OVER (PARTITION BY n ORDER BY k) AS k FROM s.people) p GROUP BY k",
        "SELECT DISTINCT lag(k) OVER (ORDER BY n) AS k FROM s.people",
        "SELECT sum(n) OVER (PARTITION BY k) FROM (SELECT n, max(k) AS k FROM s.people GROUP BY n) p",
        "SELECT count(DISTINCT k) FROM (SELECT DISTINCT ON (n) k FROM s.people ORDER BY n, k) p",
        "SELECT count(*) FROM (SELECT k FROM s.people UNION ALL SELECT n FROM s.visits) p JOIN s.people q ON p.k = q.k",
    ] {
        let refused = refused(sql);
        assert!(refused.contains("does not say whose it is"), "{sql}: {refused}");
    }
    for sql in [
        "SELECT p.n FROM (SELECT n, max(k) AS k FROM uva.s.people GROUP BY n) p JOIN vu.s.visits v ON p.k = v.k",
        "SELECT p.n FROM (SELECT DISTINCT ON (n) n, k FROM uva.s.people ORDER BY n) p JOIN vu.s.visits v ON p.k = v.k",
        "SELECT p.n FROM (SELECT DISTINCT ON (k) n, k FROM uva.s.people ORDER BY k) p JOIN vu.s.visits v ON p.k = v.k",
        "SELECT p.k FROM (SELECT k FROM uva.s.people UNION ALL SELECT 1) p JOIN vu.s.visits v ON p.k = v.k",
    ] {
        let refused = refused(sql);
        assert!(refused.contains("are different people"), "{sql}: {refused}");
    }
}

#[test]
fn c5_a_key_that_is_chosen_within_its_steward_is_still_one() {
    for sql in [
        "SELECT p.n FROM (SELECT DISTINCT ON (k) k, n FROM s.people ORDER BY k, n) p JOIN s.visits v ON p.k = v.k",
        "SELECT p.n FROM (SELECT steward, n, max(k) AS k FROM s.people GROUP BY steward, n) p \
         JOIN s.visits v ON p.k = v.k",
        "SELECT p.n FROM (SELECT n, lag(k) OVER (PARTITION BY k ORDER BY n) AS k FROM s.people) p \
         JOIN s.visits v ON p.k = v.k",
    ] {
        let plan = localized(sql);
        assert!(plan.contains("= v.steward"), "{sql}: {plan}");
    }
    let named = "SELECT p.n FROM (SELECT n, min(k) AS k FROM uva.s.people GROUP BY n) p JOIN s.visits v ON p.k = v.k";
    let plan = localized(named);
    assert!(plan.contains("steward = Utf8(\"uva\")"), "{plan}");
    for sql in [
        "SELECT n, min(k), max(k) - min(k) FROM s.people GROUP BY n HAVING max(k) > 3",
        "SELECT DISTINCT ON (n) n, k FROM s.people ORDER BY n, k",
    ] {
        assert!(localized(sql).contains("s.people"), "{sql}");
    }
}

#[test]
fn c5_nullif_and_row_values_compare_keys() {
    for condition in [
        "nullif(p.k, v.k) IS NULL",
        "(p.k, p.n) = (v.k, v.n)",
        "struct(p.n AS a, p.k AS b) = struct(v.k AS b, v.n AS a)",
        "struct(p.n AS a, p.k AS b) = struct(v.k AS b, v.n AS c)",
        "(p.k, p.n) IN ((v.n, v.n), (v.k, v.n), (p.n, v.n), (v.n, p.n))",
    ] {
        let plan = localized(&format!("SELECT p.n FROM s.people p JOIN s.visits v ON {condition}"));
        let compared = ["p.steward = v.steward", "v.steward = p.steward"].iter().any(|text| plan.contains(text));
        assert!(compared, "{condition}: {plan}");
        let refused = refused(&format!("SELECT p.n FROM uva.s.people p JOIN vu.s.visits v ON {condition}"));
        assert!(refused.contains("are different people"), "{condition}: {refused}");
    }
    let other = "SELECT p.n FROM s.people p, s.visits v WHERE (p.k, p.n) IS DISTINCT FROM (v.k, v.n)";
    let plan = localized(other);
    assert!(plan.contains("v.steward != p.steward"), "{plan}");
    // A row value in a column is compared as a whole.
    let row = |table: &str| format!("(SELECT struct(k, n) AS r FROM {table})");
    let join = |one: &str, other: &str| format!("SELECT 1 FROM {} p JOIN {} v ON p.r = v.r", row(one), row(other));
    assert!(localized(&join("s.people", "s.visits")).contains("p.steward$0 = v.steward$1"));
    assert!(refused(&join("uva.s.people", "vu.s.visits")).contains("are different people"));
    // Its other parts are values.
    let values = "SELECT p.n FROM uva.s.people p JOIN vu.s.visits v ON (p.k, p.n) = (v.n, v.k)";
    assert!(localized(values).contains("struct("));
}

#[test]
fn c5_a_key_that_coalesce_or_case_takes_is_still_one() {
    for sql in [
        // The same row's.
        "SELECT p.n FROM s.people p JOIN s.visits v ON nullif(p.k, 3) = v.k",
        "SELECT p.n FROM s.people p JOIN s.visits v ON CASE WHEN p.n > 3 THEN p.k END = coalesce(v.k, NULL)",
        "SELECT p.n FROM s.people p JOIN s.visits v ON greatest(p.k, NULL) = nvl2(v.n, v.k, v.k)",
    ] {
        let plan = localized(sql);
        assert!(plan.contains("p.steward = v.steward"), "{sql}: {plan}");
    }
    // Of several columns: whichever it was.
    let either = "(SELECT coalesce(p.k, v.k) AS k, p.n FROM s.people p FULL JOIN s.visits v ON p.k = v.k)";
    let whose = "THEN p.steward ELSE v.steward END";
    for (sql, steward) in [
        (format!("SELECT k, count(*) FROM {either} GROUP BY k"), "groupBy=[[k, steward$0"),
        (format!("SELECT DISTINCT k FROM {either}"), "groupBy=[[k, steward$0"),
        (format!("SELECT e.n FROM {either} e JOIN s.people q ON e.k = q.k"), ".steward$0 = q.steward"),
    ] {
        let plan = localized(&sql);
        assert!(plan.contains(whose) && plan.contains(steward), "{sql}: {plan}");
    }
    let volatile = "SELECT CASE WHEN random() < 0.5 THEN p.k ELSE v.k END AS k FROM s.people p, s.visits v GROUP BY 1";
    let largest = "SELECT greatest(p.k, v.k) AS k FROM s.people p, s.visits v GROUP BY 1";
    // A value is of no steward.
    let valued = "SELECT CASE WHEN n > 3 THEN 0 ELSE k END AS k, count(*) FROM s.people GROUP BY 1";
    let instead = "SELECT p.n FROM s.people p JOIN s.visits v ON coalesce(p.k, p.n) = v.k";
    let at_least = "SELECT DISTINCT greatest(k, 3) FROM s.people";
    for sql in [volatile, largest, valued, instead, at_least] {
        assert!(refused(sql).contains("does not say whose it is"), "{sql}");
    }
    // Nor is it where two keys are compared on the way.
    let three = "SELECT q.n FROM s.people p JOIN s.visits v ON p.n = v.n JOIN s.people q ON";
    for key in ["nullif(p.k, v.k) = q.k", "CASE WHEN p.k = v.k THEN p.k ELSE v.k END = q.k"] {
        let plan = localized(&format!("{three} {key}"));
        assert!(plan.contains("p.k = v.k AND steward$0 = steward$1"), "{key}: {plan}");
    }
    let named = "SELECT p.n FROM uva.s.people p JOIN vu.s.visits v ON coalesce(p.k, 0) = v.k";
    assert!(refused(named).contains("are different people"));
    assert!(localized("SELECT greatest(p.k, v.k) FROM s.people p, s.visits v").contains("greatest"));
}

#[test]
fn c5_a_long_list_of_values_and_keys_makes_no_deep_tree() {
    let values = (1..=20_000).map(|number| number.to_string()).collect::<Vec<_>>().join(", ");
    let state = engine_state();
    let listed = |not: &str| {
        let sql = format!("SELECT p.n FROM s.people p, s.visits v WHERE p.k {not} IN ({values}, v.k, v.k)");
        planned(&sql, &state).unwrap().display_indent().to_string()
    };
    let plan = listed("");
    assert_eq!(plan.matches(" OR ").count(), 1);
    assert!(plan.contains("p.k = v.k AND p.steward = v.steward"));
    let plan = listed("NOT");
    assert_eq!(plan.matches(" OR ").count(), 1);
    assert!(plan.contains(" NOT IN ") && plan.contains("p.k != v.k OR p.steward != v.steward"));
}

#[test]
fn c5_a_list_compares_a_key_with_few_others() {
    let split = |keys: usize| {
        let members = (0..40).map(lit).chain((0..keys * 2).map(|number| col(format!("k{}", number % keys))));
        let list = col("k").in_list(members.collect(), true);
        as_equalities(list, |_, member| matches!(member, Expr::Column(_))).map(|split| split.data.to_string())
    };
    let text = split(LISTED_KEYS_MAX).unwrap();
    assert_eq!(text.matches(" != ").count(), LISTED_KEYS_MAX, "{text}");
    assert_eq!(text.matches(" NOT IN ").count(), 1, "{text}");
    let refused = split(LISTED_KEYS_MAX + 1).unwrap_err().to_string();
    assert!(refused.contains("list fewer, or join with them"), "{refused}");
}

#[test]
fn keys_of_two_relations_can_meet_whatever_carries_them() {
    for sql in [
        "SELECT n FROM (SELECT k, n FROM s.people) p RIGHT JOIN (SELECT k FROM s.visits) v ON p.k = v.k",
        "SELECT (SELECT sum(n) FROM s.people p WHERE p.k = v.k) FROM s.visits v LEFT JOIN s.people q ON v.n = q.n",
        "SELECT k FROM s.people UNION ALL (SELECT k FROM s.visits GROUP BY k, n UNION ALL SELECT k FROM uva.s.people)",
        "(SELECT k, n FROM s.people EXCEPT SELECT k, n FROM s.visits) INTERSECT SELECT k, n FROM s.visits",
        "SELECT n, sum(k) FROM s.people GROUP BY ROLLUP (n, CASE WHEN k > 3 THEN n END)",
        "SELECT p.k = v.k, p.k IN (1, 2, 3, 4, v.k), CASE p.k WHEN v.k THEN 1 END FROM s.people p, s.visits v",
    ] {
        assert!(localized(sql).contains("s.people"), "{sql}");
    }
}
