//! Aggregates that a clause releases over two people at least, merged at surf, and nothing finer, other or earlier.

use arrow::datatypes::DataType;
use datafusion::common::{JoinType, ScalarValue};
use datafusion::functions::unicode::expr_fn::left;
use datafusion::logical_expr::{LogicalPlanBuilder, cast};
use datafusion::prelude::{Expr, col, lit};
use dynamos_planner::fragment::{ReleaseInput, ReleasedAggregate};
use dynamos_planner::policy::MinimumScope;
use dynamos_proto::ids::{FragmentId, ReleaseId};
use dynamos_proto::status::Code::SiteRefused;

use super::fixture::{
    Forgery, columns, joined_on_null, joined_rows, released_join, sent_rows, shipped_rows, steward, submit,
    submit_everywhere, table,
};
use super::{Base, Case, refuse_all};
use crate::testing::{Federation, fragment, partial, scan};

fn input(columns: impl IntoIterator<Item = Expr>) -> datafusion::logical_expr::LogicalPlan {
    table("uva", "persons").project(columns).unwrap().build().unwrap()
}

/// A sum beside the average of the same column, widened to a double; gives the average.
fn sum_beside_average(lie: &mut Forgery) -> &mut ReleasedAggregate {
    let wide = cast(col("salary"), DataType::Float64).alias("wide");
    lie.plan(input([col("grade"), col("salary"), col("id"), wide]));
    let values = &mut lie.release().shape.aggregates;
    values.push(ReleasedAggregate { argument: Some(3), ..values[0].clone() });
    values[0].function = "sum".into();
    values.last_mut().unwrap()
}

/// The smallest number of a type: other numbers are cast to that, and large ones do not fit.
fn tiny(precision: u8, scale: i8) -> Expr {
    lit(ScalarValue::Decimal128(Some(1), precision, scale))
}

/// Joined rows of uva, of these persons, that are sent to surf and counted there.
fn counted_at_surf(lie: &mut Forgery, persons: LogicalPlanBuilder) {
    let contracts = table("uva", "contracts").build().unwrap();
    let key = col("uva.wages.persons.id").eq(col("uva.wages.contracts.person"));
    let joined = persons.join_on(contracts, JoinType::Inner, [key]).unwrap();
    let rows = columns(joined, ["uva.wages.persons.id", "grade"]);
    let sent = scan(&dynamos_planner::wire::Leaf::Exchange(FragmentId(2)), rows.schema().inner().clone());
    lie.fragment(2).partial_of = None;
    lie.plan(rows);
    lie.release().input = ReleaseInput::Complete(columns(sent, ["grade", "id"]));
}

/// One person of grade b who is not there.
fn nobody() -> datafusion::logical_expr::LogicalPlan {
    LogicalPlanBuilder::values(vec![vec![lit("b"), lit(0_i64), lit(99_i64)]]).unwrap().build().unwrap()
}

pub(super) const PARTIALS: &[Case] = &[
    Case {
        name: "another function",
        forge: |lie| lie.release().shape.aggregates[0].function = "min".into(),
        code: SiteRefused,
        because: "it does not list `min`",
    },
    Case {
        name: "a function that goes with `*` only as count",
        forge: |lie| {
            let all = ReleasedAggregate {
                function: "sum".into(),
                distinct: false,
                argument: None,
                origin: None,
                family: None,
                known: false,
                filter: None,
            };
            lie.release().shape.aggregates.push(all);
        },
        code: SiteRefused,
        because: "it does not list `sum` of `*`",
    },
    Case {
        name: "a sum and an average that tell how many rows lack a value, said to be of two columns",
        forge: |lie| sum_beside_average(lie).origin = Some(3),
        code: SiteRefused,
        because: "release point r0 does not say which of its values are of one column",
    },
    Case {
        name: "values that are of no column, so that nothing is left of one without the other",
        forge: |lie| lie.release().shape.aggregates[0].family = None,
        code: SiteRefused,
        because: "release point r0 does not say which of its values are of one column",
    },
    Case {
        name: "a sum and an average that tell how many rows lack the value, said to have no column in common",
        forge: |lie| sum_beside_average(lie).family = Some(3),
        code: SiteRefused,
        because: "release point r0 does not say which of its values are of one column",
    },
    Case {
        name: "a sum of what a condition says something of, said to be unknown, so that it counts nobody",
        forge: |lie| {
            sum_beside_average(lie);
            lie.filter((col("salary") % lit(1000_i64)).eq(lit(300_i64)));
        },
        code: SiteRefused,
        because: "release point r0 does not say which of its values tell how many rows there are",
    },
    Case {
        name: "averages by several sets of groups, said to tell no portions",
        forge: |lie| {
            sum_beside_average(lie);
            lie.release().shape.sets = [vec![0], vec![]].map(|keys| keys.into_iter().collect()).into();
        },
        code: SiteRefused,
        because: "release point r0 does not say which of its values tell how many rows there are",
    },
    Case {
        name: "another column",
        forge: |lie| lie.plan(input(["grade", "born", "id"].map(col))),
        code: SiteRefused,
        because: "it does not list `avg` of `wages.persons.born`",
    },
    Case {
        name: "a function of the column",
        forge: |lie| lie.plan(input([col("grade"), col("salary") * lit(2_i64), col("id")])),
        code: SiteRefused,
        because: "it does not list `avg` of",
    },
    Case {
        name: "another grouping",
        forge: |lie| lie.plan(input(["born", "salary", "id"].map(col))),
        code: SiteRefused,
        because: "it does not list the grouping `wages.persons.born`",
    },
    Case {
        name: "a finer grouping",
        forge: |lie| {
            lie.plan(input(["grade", "born", "salary", "id"].map(col)));
            let shape = &mut lie.release().shape;
            (shape.keys, shape.aggregates[0].argument, shape.entities[0].column) = (2, Some(2), 3);
        },
        code: SiteRefused,
        because: "it does not list the grouping `wages.persons.born`",
    },
    Case {
        name: "keys and values swapped",
        forge: |lie| lie.plan(input(["salary", "grade", "id"].map(col))),
        code: SiteRefused,
        because: "it does not list the grouping `wages.persons.salary`",
    },
    Case {
        name: "a condition on a column that FILTER does not list",
        forge: |lie| lie.filter(col("salary").gt(lit(150_i64))),
        code: SiteRefused,
        because: "no FILTER clause allows the predicate",
    },
    Case {
        name: "a condition on the person",
        forge: |lie| lie.filter(col("id").eq(lit(3_i64))),
        code: SiteRefused,
        because: "no FILTER clause allows the predicate",
    },
    Case {
        name: "a comparison with a column where FILTER allows literals",
        forge: |lie| lie.filter(col("grade").gt_eq(col("grade"))),
        code: SiteRefused,
        because: "no FILTER clause allows the predicate",
    },
    Case {
        name: "a condition of one value only",
        forge: |lie| {
            lie.plan(input([col("grade"), col("salary"), col("id"), col("id").eq(lit(3_i64))]));
            lie.release().shape.aggregates[0].filter = Some(3);
        },
        code: SiteRefused,
        because: "no FILTER clause allows the condition of `avg`",
    },
    Case {
        name: "a condition that fails on a value",
        forge: |lie| lie.filter((lit(1_i64) / (col("salary") - lit(300_i64))).gt_eq(lit(0_i64))),
        code: SiteRefused,
        because: "no FILTER clause allows the predicate",
    },
    Case {
        name: "a narrowing cast of a listed column",
        forge: |lie| lie.filter(cast(col("grade"), DataType::Int64).gt(lit(0_i64))),
        code: SiteRefused,
        because: "no FILTER clause allows the predicate",
    },
    Case {
        name: "a comparison that the engine would make such a cast of",
        forge: |lie| lie.filter(col("grade").gt(lit(0_i64))),
        code: SiteRefused,
        because: "no FILTER clause allows the predicate",
    },
    Case {
        name: "a pattern whose cost depends on the data",
        forge: |lie| lie.filter(col("grade").like(lit("%a%a%a%a%"))),
        code: SiteRefused,
        because: "no FILTER clause allows the predicate",
    },
    Case {
        name: "the minimum left out",
        forge: |lie| lie.release().shape.entities.clear(),
        code: SiteRefused,
        because: "release point r0 does not count `id`",
    },
    Case {
        name: "another column counted as people",
        forge: |lie| lie.release().shape.entities[0].column = 1,
        code: SiteRefused,
        because: "release point r0 counts something else as `id`",
    },
    Case {
        name: "a constant counted as people",
        forge: |lie| lie.plan(input([col("grade"), col("salary"), lit(7_i64).alias("id")])),
        code: SiteRefused,
        because: "release point r0 counts something else as `id`",
    },
    Case {
        name: "a further entity that the rows do not have",
        forge: |lie| {
            let mut more = lie.release().shape.entities[0].clone();
            more.name = "household".into();
            lie.release().shape.entities.push(more);
        },
        code: SiteRefused,
        because: "release point r0 counts something else as `household`",
    },
    Case {
        name: "partials to a steward that SHIP does not name",
        forge: |lie| {
            lie.fragment(1).place = "vu".into();
        },
        code: SiteRefused,
        because: "partials may not go to `vu`",
    },
    Case {
        name: "partials to the coordinator",
        forge: |lie| lie.fragment(1).place = "coordinator".into(),
        code: SiteRefused,
        because: "partials may not go to `coordinator`",
    },
    Case {
        name: "partials past their release point",
        forge: |lie| lie.fragment(2).consumer = Some(FragmentId(0)),
        code: SiteRefused,
        because: "partials go to another place than their release point",
    },
    Case {
        name: "rows in place of partials",
        forge: |lie| {
            lie.fragment(2).partial_of = None;
            lie.release().input = ReleaseInput::Merge(vec![FragmentId(3)]);
        },
        code: SiteRefused,
        because: "rows may not go to `surf`",
    },
    Case {
        name: "partials of every person, which no release point merges",
        forge: |lie| {
            lie.plan(input(
                ["id", "salary", "id"].map(col).into_iter().enumerate().map(|(at, one)| one.alias(format!("c{at}"))),
            ));
            lie.release().input = ReleaseInput::Merge(vec![FragmentId(3)]);
        },
        code: SiteRefused,
        because: "release point r0 does not merge its partials",
    },
    Case {
        name: "partials that are merged twice",
        forge: |lie| lie.release().input = ReleaseInput::Merge([2, 2, 3].map(FragmentId).to_vec()),
        code: SiteRefused,
        because: "a steward's rows enter release point r0 twice",
    },
    Case {
        name: "made-up people among the rows",
        forge: |lie| {
            let rows = LogicalPlanBuilder::from(input(["grade", "salary", "id"].map(col)));
            lie.plan(rows.union(nobody()).unwrap().build().unwrap());
        },
        code: SiteRefused,
        because: "partials are made of one steward's protected rows and of nothing else",
    },
    Case {
        name: "partials that the coordinator makes up",
        forge: |lie| {
            lie.graph.fragments.push(partial(4, "coordinator", 1, nobody()));
            lie.release().input = ReleaseInput::Merge([2, 3, 4].map(FragmentId).to_vec());
        },
        code: SiteRefused,
        because: "partials are made of one steward's protected rows and of nothing else",
    },
    Case {
        name: "partials of a table that the coordinator says it has",
        forge: |lie| {
            let rows = columns(table("coordinator", "persons"), ["grade", "salary", "id"]);
            lie.graph.fragments.push(partial(4, "coordinator", 1, rows));
            lie.release().input = ReleaseInput::Merge([2, 3, 4].map(FragmentId).to_vec());
        },
        code: SiteRefused,
        because: "the coordinator has no tables",
    },
    Case {
        name: "another steward's rows by way of the coordinator",
        forge: |lie| {
            lie.fragment(3).place = "coordinator".into();
            let rows = scan_of(lie, 4);
            lie.fragment(3).plan = rows;
            let vu = columns(table("vu", "persons"), ["grade", "salary", "id"]);
            lie.graph.fragments.push(fragment(4, "vu", Some(3), vu));
        },
        code: SiteRefused,
        because: "partials are made of one steward's protected rows and of nothing else",
    },
    Case {
        name: "a release point without the steward's clause",
        forge: |lie| lie.release().clauses.retain(|clause| clause.steward.as_str() == "vu"),
        code: SiteRefused,
        because: "names no clause of `uva`",
    },
    Case {
        name: "a clause about other tables",
        forge: |lie| lie.release().clauses[0].clause = 5,
        code: SiteRefused,
        because: "it is about another relation",
    },
    Case {
        name: "a clause that releases nothing",
        forge: |lie| lie.release().clauses[0].clause = 2,
        code: SiteRefused,
        because: "clause 2: it is about another clause",
    },
    Case {
        name: "partials of a release point that does not exist",
        forge: |lie| lie.fragment(2).partial_of = Some(ReleaseId(7)),
        code: SiteRefused,
        because: "release point r7 does not merge its partials",
    },
];

pub(super) const CASTS: &[Case] = &[
    Case {
        name: "a listed function compared so that the engine would cast its values",
        forge: |lie| lie.filter(left(col("grade"), lit(1_i64)).eq(lit(5_i64))),
        code: SiteRefused,
        because: "of type Utf8, would be cast to Int64",
    },
    Case {
        name: "a condition of one value compared so",
        forge: |lie| {
            lie.plan(input([col("grade"), col("salary"), col("id"), col("grade").eq(lit(3_i64))]));
            lie.release().shape.aggregates[0].filter = Some(3);
        },
        code: SiteRefused,
        because: "of type Utf8, would be cast to Int64",
    },
    Case {
        name: "a list to whose type only small keys can be cast",
        forge: |lie| {
            let list = LogicalPlanBuilder::values(vec![vec![tiny(38, 37)]]).unwrap().build().unwrap();
            let some = table("uva", "persons").join_on(list, JoinType::LeftSemi, [col("id").eq(col("column1"))]);
            lie.plan(columns(some.unwrap(), ["grade", "salary", "id"]));
        },
        code: SiteRefused,
        because: "of type Int64, would be cast to Decimal128(38, 37)",
    },
];

/// A scan of another fragment's rows with the columns of fragment 3.
fn scan_of(lie: &mut Forgery, id: u32) -> datafusion::logical_expr::LogicalPlan {
    let columns = lie.fragment(3).plan.schema().inner().clone();
    scan(&dynamos_planner::wire::Leaf::Exchange(FragmentId(id)), columns).build().unwrap()
}

pub(super) const JOIN: &[Case] = &[
    Case {
        name: "contracts counted as people, by a key of the same name",
        forge: |lie| lie.plan(columns(joined_rows(JoinType::Inner), ["grade", "uva.wages.contracts.id"])),
        code: SiteRefused,
        because: "release point r0 does not count `id`",
    },
    Case {
        name: "another join",
        forge: |lie| {
            let contracts = table("uva", "contracts").build().unwrap();
            let on = col("uva.wages.persons.id").eq(col("uva.wages.contracts.id"));
            let joined = table("uva", "persons").join_on(contracts, JoinType::Inner, [on]);
            lie.plan(columns(joined.unwrap(), ["grade", "uva.wages.persons.id"]));
        },
        code: SiteRefused,
        because: "it is about another relation",
    },
    Case {
        name: "a further key that is nothing on both sides, so that there are no rows",
        forge: |lie| lie.plan(joined_on_null(JoinType::Inner)),
        code: SiteRefused,
        because: "protected rows are joined by keys that are NULL",
    },
    Case {
        name: "a number to whose type only small keys can be cast",
        forge: |lie| {
            let some = joined_rows(JoinType::Inner).filter(col("person").gt(tiny(38, 37))).unwrap();
            lie.plan(columns(some, ["grade", "uva.wages.persons.id"]));
        },
        code: SiteRefused,
        because: "of type Int64, would be cast to Decimal128(38, 37)",
    },
    Case {
        name: "such a number, and keys that were made doubles before",
        forge: |lie| {
            let wide = cast(col("person"), DataType::Float64).alias("wide");
            let rows = joined_rows(JoinType::Inner).project([col("grade"), col("uva.wages.persons.id"), wide]).unwrap();
            lie.plan(columns(rows.filter(col("wide").gt(tiny(19, 18))).unwrap(), ["grade", "id"]));
        },
        code: SiteRefused,
        because: "of type Float64, would be cast to Decimal128(33, 18)",
    },
    Case {
        name: "every pair of rows",
        forge: |lie| {
            let pairs = table("uva", "persons").cross_join(table("uva", "contracts").build().unwrap());
            lie.plan(columns(pairs.unwrap(), ["grade", "uva.wages.persons.id"]));
        },
        code: SiteRefused,
        because: "it is about another relation",
    },
    Case {
        name: "an outer join",
        forge: |lie| lie.plan(columns(joined_rows(JoinType::Left), ["grade", "uva.wages.persons.id"])),
        code: SiteRefused,
        because: "it is about another relation",
    },
];

pub(super) const KEPT: &[Case] = &[Case {
    name: "rows at surf by a list of released ones that may not be there, and joined after that",
    forge: |lie| {
        let list = released_join("contracts", 13, &["t0_hours"]).build().unwrap();
        let on = [col("uva.wages.persons.id").eq(col("t0_hours"))];
        counted_at_surf(lie, table("uva", "persons").join_on(list, JoinType::LeftSemi, on).unwrap());
    },
    code: SiteRefused,
    because: "may not be at `surf`",
}];

pub(super) const PER_SITE: &[Case] = &[
    Case {
        name: "one decision over what all stewards have",
        forge: |lie| lie.release().scope = MinimumScope::Federation,
        code: SiteRefused,
        because: "release point r0 is not decided by each steward over its own groups",
    },
    Case {
        name: "a decision over rows that have left",
        forge: |lie| {
            lie.graph.fragments.retain(|fragment| fragment.id != FragmentId(3));
            lie.fragment(2).partial_of = None;
            lie.plan(columns(shipped_rows(), ["id", "grade", "salary"]));
            let point = lie.release();
            point.clauses.truncate(1);
            point.input = ReleaseInput::Complete(columns(sent_rows(2), ["grade", "salary", "id"]));
        },
        code: SiteRefused,
        because: "release point r0 is not decided by each steward over its own groups",
    },
    Case {
        name: "an average of what may only be summed",
        forge: |lie| lie.release().shape.aggregates[0].function = "avg".into(),
        code: SiteRefused,
        because: "it does not list `count` of",
    },
    Case {
        name: "the coordinator as a place for states that are not released",
        forge: |lie| {
            lie.release().scope = MinimumScope::Federation;
            for clause in &mut lie.release().clauses {
                clause.clause = 1;
            }
            lie.fragment(1).place = "coordinator".into();
        },
        code: SiteRefused,
        because: "partials may not go to `coordinator`",
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b6_per_site_groups_are_decided_before_they_leave() {
    refuse_all(Base::PerSite, PER_SITE).await;
}

/// What each steward has released may be at the coordinator without a SHIP clause.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b6_per_site_groups_are_released_where_they_arrive() {
    let federation = Federation::start_checked(&steward).await;
    let mut forgery = Forgery::new(Base::PerSite.graph(&federation, "q1"));
    forgery.fragment(1).place = "coordinator".into();
    submit_everywhere(&federation, forgery.graph.clone()).await;
    assert_eq!(federation.rows(&forgery.graph).await.unwrap(), "|a|900|");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_is_what_its_clause_says_or_nothing() {
    refuse_all(Base::Partials, PARTIALS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_counted_by_their_own_key() {
    refuse_all(Base::Join, JOIN).await;
}

/// The engine casts what is compared so that the types agree, and its error would tell of the values on which that fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c3_nothing_is_compared_by_a_cast_that_fails() {
    refuse_all(Base::Partials, CASTS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a5_rows_that_a_list_keeps_are_where_the_list_may_be() {
    refuse_all(Base::Join, KEPT).await;
}

/// Without the list they may be there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a5_joined_rows_are_counted_where_they_may_be() {
    let federation = Federation::start_checked(&steward).await;
    let mut forgery = Forgery::new(Base::Join.graph(&federation, "q1"));
    counted_at_surf(&mut forgery, table("uva", "persons"));
    submit_everywhere(&federation, forgery.graph.clone()).await;
    assert_eq!(federation.rows(&forgery.graph).await.unwrap(), "|a|2|");
}

/// A key that means the same person everywhere counts one person at two stewards as two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_of_people_who_can_be_at_two_stewards_are_not_added() {
    let federation = Federation::start_checked(&|federation, name| {
        let mut config = steward(federation, name);
        config.tables[0].shared_domain = Some("citizen".into());
        config
    })
    .await;
    let permit = Forgery::new(Base::Partials.graph(&federation, "both")).permit(&federation);
    let error = submit(&federation, "uva", permit).await.unwrap_err();
    assert_eq!(error.code, SiteRefused);
    assert!(error.message.contains("counts `id`, which may be the same at several stewards"), "{error}");
    // Where each steward decides by itself, nothing is added.
    let each = Forgery::new(Base::PerSite.graph(&federation, "each")).permit(&federation);
    submit(&federation, "uva", each).await.unwrap();
    let alone = Forgery::new(Base::Rows.graph(&federation, "alone")).permit(&federation);
    submit(&federation, "uva", alone).await.unwrap();
}
