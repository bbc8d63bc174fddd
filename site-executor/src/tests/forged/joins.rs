//! Left joins below a release point, and rows of a join that are released: as the clause lists them, or nothing.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::JoinType;
use datafusion::datasource::provider_as_source;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::prelude::{Expr, col, lit};
use dynamos_planner::wire::{Leaf, LeafTable};
use dynamos_proto::ids::FragmentId;
use dynamos_proto::status::Code::SiteRefused;

use super::fixture::{columns, joined_on_null, joined_rows, joined_with, released_join, table};
use super::{Base, Case, refuse_all};
use crate::testing::{fragment, scan};

const PERSON: &str = "uva.wages.persons.id";
const HOURS: &str = "uva.wages.contracts.hours";

/// Contracts with their key, and this in place of their hours.
fn contracts_with(hours: Expr) -> LogicalPlan {
    let hours = hours.alias("hours");
    table("uva", "contracts").project([col("uva.wages.contracts.person"), hours]).unwrap().build().unwrap()
}

/// Groups by what is called hours, of persons with these contracts.
fn by_hours(contracts: LogicalPlan) -> LogicalPlan {
    let joined = joined_with(JoinType::Left, contracts, Vec::new());
    joined.project([col("hours").alias("grade"), col(PERSON)]).unwrap().build().unwrap()
}

pub(super) const LEFT: &[Case] = &[
    Case {
        name: "an inner join",
        forge: |lie| lie.plan(columns(joined_rows(JoinType::Inner), ["grade", PERSON])),
        code: SiteRefused,
        because: "it is about another relation",
    },
    Case {
        name: "the other side kept",
        forge: |lie| lie.plan(columns(joined_rows(JoinType::Right), ["grade", PERSON])),
        code: SiteRefused,
        because: "it is about another relation",
    },
    Case {
        name: "both sides kept",
        forge: |lie| lie.plan(columns(joined_rows(JoinType::Full), ["grade", PERSON])),
        code: SiteRefused,
        because: "a Full join works on protected rows",
    },
    Case {
        name: "a further condition on what matches",
        forge: |lie| {
            let contracts = table("uva", "contracts").build().unwrap();
            let joined = joined_with(JoinType::Left, contracts, vec![col("grade").eq(lit("a"))]);
            lie.plan(columns(joined, ["grade", PERSON]));
        },
        code: SiteRefused,
        because: "another condition than equal keys",
    },
    Case {
        name: "a key that is nothing on both sides, so that nobody has a contract",
        forge: |lie| lie.plan(joined_on_null(JoinType::Left)),
        code: SiteRefused,
        because: "protected rows are joined by keys that are NULL",
    },
    Case {
        name: "some of the contracts only",
        forge: |lie| {
            let contracts = table("uva", "contracts").filter(col("hours").gt(lit(9_i64))).unwrap();
            let joined = joined_with(JoinType::Left, contracts.build().unwrap(), Vec::new());
            lie.plan(columns(joined, ["grade", PERSON]));
        },
        code: SiteRefused,
        because: "fills up more than one protected table as it is",
    },
    Case {
        name: "contracts counted as people",
        forge: |lie| lie.plan(columns(joined_rows(JoinType::Left), ["grade", "uva.wages.contracts.id"])),
        code: SiteRefused,
        because: "release point r0 does not count `id`",
    },
    Case {
        name: "those for whom there is nothing",
        forge: |lie| {
            let none = joined_rows(JoinType::Left).filter(col(HOURS).is_null()).unwrap();
            lie.plan(columns(none, ["grade", PERSON]));
        },
        code: SiteRefused,
        because: "no FILTER clause allows the predicate",
    },
    Case {
        name: "a constant that tells whether there is something",
        forge: |lie| lie.plan(by_hours(contracts_with(lit("yes")))),
        code: SiteRefused,
        because: "it does not list the grouping `wages.contracts.steward`",
    },
    Case {
        name: "a value in place of nothing",
        forge: |lie| lie.plan(by_hours(contracts_with(coalesce(vec![col(HOURS), lit(0_i64)])))),
        code: SiteRefused,
        because: "is computed below the Left join",
    },
    Case {
        name: "an inner join on what may be nothing",
        forge: |lie| {
            let more = table("uva", "contracts").build().unwrap();
            let on = col(HOURS).eq(col("more.hours"));
            let more = datafusion::logical_expr::LogicalPlanBuilder::from(more).alias("more").unwrap().build().unwrap();
            let joined = joined_rows(JoinType::Left).join_on(more, JoinType::Inner, [on]).unwrap();
            lie.plan(columns(joined, ["grade", PERSON]));
        },
        code: SiteRefused,
        because: "is joined with itself",
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_a_left_join_is_the_one_of_the_clause() {
    refuse_all(Base::LeftJoin, LEFT).await;
}

/// These columns of the joined rows that a clause releases.
fn released(table: &str, clause: u32, names: &[&str]) -> LogicalPlan {
    released_join(table, clause, names).build().unwrap()
}

/// The rows of contracts that a clause releases under a condition.
fn released_contracts(clause: u32) -> LogicalPlan {
    let leaf =
        Leaf::Table { site: "uva".into(), schema: "wages".into(), table: "contracts".into(), clause: Some(clause) };
    let schema = Arc::clone(table("uva", "contracts").schema().inner());
    let read = vec![schema.index_of("hours").unwrap()];
    let source = provider_as_source(LeafTable::new(schema));
    LogicalPlanBuilder::scan(leaf.to_reference(), source, Some(read)).unwrap().build().unwrap()
}

const REACHES: &str = "protected rows of `uva` reach the requester";

pub(super) const ROWS: &[Case] = &[
    Case {
        name: "one of the tables alone",
        forge: |lie| lie.straight_to_coordinator(columns(table("uva", "persons"), ["grade"])),
        code: SiteRefused,
        because: REACHES,
    },
    Case {
        name: "the join made by the fragment, where others could act before it",
        forge: |lie| lie.straight_to_coordinator(columns(joined_rows(JoinType::Inner), ["grade", HOURS])),
        code: SiteRefused,
        because: REACHES,
    },
    Case {
        name: "another key",
        forge: |lie| {
            let contracts = table("uva", "contracts").build().unwrap();
            let on = col(PERSON).eq(col("uva.wages.contracts.id"));
            let joined = table("uva", "persons").join_on(contracts, JoinType::Inner, [on]).unwrap();
            lie.straight_to_coordinator(columns(joined, ["grade", HOURS]));
        },
        code: SiteRefused,
        because: REACHES,
    },
    Case {
        name: "a column that is not listed",
        forge: |lie| lie.straight_to_coordinator(released("contracts", 13, &["t1_grade", "t1_salary"])),
        code: SiteRefused,
        because: REACHES,
    },
    Case {
        name: "a condition on a column that is not listed",
        forge: |lie| {
            let all = released_join("contracts", 13, &["t1_grade", "t0_hours", "t1_salary"]);
            let some = all.filter(col("t1_salary").gt(lit(150_i64))).unwrap();
            lie.straight_to_coordinator(columns(some, ["t1_grade", "t0_hours"]));
        },
        code: SiteRefused,
        because: REACHES,
    },
    Case {
        name: "the clause by the name of another of its tables",
        forge: |lie| lie.straight_to_coordinator(released("persons", 13, &["t1_grade"])),
        code: SiteRefused,
        because: "clause 13 of `uva` releases no rows of `wages.persons` under a condition or of a join",
    },
    Case {
        name: "a clause that releases groups of the join",
        forge: |lie| lie.straight_to_coordinator(released("contracts", 5, &["t1_grade"])),
        code: SiteRefused,
        because: "clause 5 of `uva` releases no rows",
    },
    Case {
        name: "rows of two clauses as those of the one that lets its rows go",
        forge: |lie| {
            let both = LogicalPlanBuilder::from(released_contracts(21)).union(released_contracts(22)).unwrap();
            let once = both.distinct().unwrap().build().unwrap();
            let read = |id| scan(&Leaf::Exchange(FragmentId(id)), Arc::clone(once.schema().inner())).build().unwrap();
            let (at_coordinator, at_vu) = (read(3), read(2));
            lie.graph.fragments = vec![
                fragment(0, "coordinator", None, at_coordinator),
                fragment(3, "vu", Some(0), at_vu),
                fragment(2, "uva", Some(3), once),
            ];
        },
        code: SiteRefused,
        because: "released rows of uva.wages.contracts (hours) may not be at `vu`",
    },
    Case {
        name: "columns of no table",
        forge: |lie| {
            let leaf =
                Leaf::Table { site: "uva".into(), schema: "wages".into(), table: "contracts".into(), clause: Some(13) };
            let int = DataType::Int64;
            let fields =
                [("t1_grade", DataType::Utf8), ("salary", int.clone()), ("t0_person", int.clone()), ("t1_id", int)];
            let fields: Vec<Field> = fields.into_iter().map(|(name, kind)| Field::new(name, kind, true)).collect();
            lie.straight_to_coordinator(scan(&leaf, Arc::new(Schema::new(fields))).build().unwrap());
        },
        code: SiteRefused,
        because: "has columns of no table",
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a3_rows_of_a_join_are_those_of_the_clause() {
    refuse_all(Base::JoinedRows, ROWS).await;
}
