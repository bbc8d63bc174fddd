//! Rows that may be at surf, under a condition and in three columns, and nowhere else.

use datafusion::common::ScalarValue;
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::logical_expr::{ExprFunctionExt, LogicalPlanBuilder};
use datafusion::prelude::{col, lit};
use dynamos_planner::fragment::ReleaseInput;
use dynamos_planner::wire::Leaf;
use dynamos_proto::ids::FragmentId;
use dynamos_proto::status::Code::SiteRefused;

use super::fixture::{columns, groups, sent_rows, shipped_rows, table};
use super::{Base, Case, refuse_all};
use crate::testing::{fragment, scan};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "raw rows to the coordinator",
        forge: |lie| lie.straight_to_coordinator(table("uva", "persons").build().unwrap()),
        code: SiteRefused,
        because: "protected rows of `uva` reach the requester",
    },
    Case {
        name: "the rows that surf may have, to the coordinator, which seems to make nothing of them",
        forge: |lie| {
            lie.straight_to_coordinator(columns(shipped_rows(), ["id", "grade", "salary"]));
            lie.fragment(0).plan = LogicalPlanBuilder::values(vec![vec![lit(1_i64)]]).unwrap().build().unwrap();
        },
        code: SiteRefused,
        because: "it names another place",
    },
    Case {
        name: "to another place than SHIP names",
        forge: |lie| lie.fragment(1).place = "vu".into(),
        code: SiteRefused,
        because: "rows may not go to `vu`",
    },
    Case {
        name: "a column more than SHIP lists",
        forge: |lie| lie.plan(columns(shipped_rows(), ["id", "grade", "salary", "born"])),
        code: SiteRefused,
        because: "it does not list `wages.persons.born`",
    },
    Case {
        name: "a function of a listed column",
        forge: |lie| {
            let double = (col("salary") + col("salary")).alias("salary");
            lie.plan(shipped_rows().project([col("id"), col("grade"), double]).unwrap().build().unwrap());
        },
        code: SiteRefused,
        because: "it does not list `wages.persons.salary + wages.persons.salary`",
    },
    Case {
        name: "a projection that would undo a mask",
        forge: |lie| {
            let born = (col("born") + lit(0_i64)).alias("salary");
            lie.plan(shipped_rows().project([col("id"), col("grade"), born]).unwrap().build().unwrap());
        },
        code: SiteRefused,
        because: "it does not list `wages.persons.born + Int64(0)`",
    },
    Case {
        name: "the condition of SHIP left out",
        forge: |lie| lie.plan(columns(table("uva", "persons"), ["id", "grade", "salary"])),
        code: SiteRefused,
        because: "it needs the condition",
    },
    Case {
        name: "the condition of SHIP widened",
        forge: |lie| {
            let wider = col("grade").not_eq(lit("x")).or(col("grade").eq(lit("x")));
            lie.plan(columns(table("uva", "persons").filter(wider).unwrap(), ["id", "grade", "salary"]));
        },
        code: SiteRefused,
        because: "it needs the condition",
    },
    Case {
        name: "the condition of SHIP at the receiver only",
        forge: |lie| {
            lie.plan(columns(table("uva", "persons"), ["id", "grade", "salary"]));
            let late = sent_rows(2).filter(col("grade").not_eq(lit("x"))).unwrap();
            lie.release().input = ReleaseInput::Complete(columns(late, ["grade", "salary", "id"]));
        },
        code: SiteRefused,
        because: "it needs the condition",
    },
    Case {
        name: "another condition on a column that is not listed",
        forge: |lie| {
            let plan = shipped_rows().filter(col("born").gt(lit(1980_i64))).unwrap();
            lie.plan(columns(plan, ["id", "grade", "salary"]));
        },
        code: SiteRefused,
        because: "it does not list `wages.persons.born`",
    },
    Case {
        name: "a condition whose error tells of a row that SHIP keeps",
        forge: |lie| lie.filter((lit(1_i64) / (col("salary") - lit(900_i64))).gt_eq(lit(0_i64))),
        code: SiteRefused,
        because: "could tell of rows that its condition keeps",
    },
    Case {
        name: "a comparison that fails on a row that SHIP keeps",
        forge: |lie| lie.filter(col("salary").gt(lit(ScalarValue::Decimal128(Some(1), 38, 37)))),
        code: SiteRefused,
        because: "of type Int64, would be cast to Decimal128(38, 37)",
    },
    Case {
        name: "a table that no clause ships",
        forge: |lie| lie.plan(columns(table("uva", "contracts"), ["id", "person", "hours"])),
        code: SiteRefused,
        because: "it is about another relation",
    },
    Case {
        name: "the raw table beside its view",
        forge: |lie| {
            let leaf = Leaf::Table { site: "uva".into(), schema: "raw".into(), table: "persons".into(), clause: None };
            let raw = scan(&leaf, table("uva", "persons").schema().inner().clone());
            lie.plan(columns(raw.filter(col("grade").not_eq(lit("x"))).unwrap(), ["id", "grade", "salary"]));
        },
        code: SiteRefused,
        because: "it is about another relation",
    },
    Case {
        name: "a file by its path",
        forge: |lie| {
            let path = "/srv/data/uva.csv";
            let leaf = Leaf::Table { site: "uva".into(), schema: "wages".into(), table: path.into(), clause: None };
            let file = scan(&leaf, table("uva", "persons").schema().inner().clone());
            lie.plan(columns(file.filter(col("grade").not_eq(lit("x"))).unwrap(), ["id", "grade", "salary"]));
        },
        code: SiteRefused,
        because: "it is about another relation",
    },
    Case {
        name: "another steward's table",
        forge: |lie| lie.plan(columns(table("vu", "persons"), ["id", "grade", "salary"])),
        code: SiteRefused,
        because: "a table of `vu` cannot be read at `uva`",
    },
    Case {
        name: "onwards from surf to the coordinator",
        forge: |lie| {
            lie.fragment(1).plan = sent_rows(2).build().unwrap();
            lie.fragment(0).plan = sent_rows(1).build().unwrap();
            lie.graph.releases.clear();
        },
        code: SiteRefused,
        because: "protected rows of `uva` reach the requester",
    },
    Case {
        name: "onwards from surf to another steward",
        forge: |lie| {
            lie.graph.fragments.push(fragment(3, "surf", Some(1), sent_rows(2).build().unwrap()));
            lie.fragment(2).consumer = Some(FragmentId(3));
            lie.fragment(1).place = "vu".into();
            lie.release().input = ReleaseInput::Complete(columns(sent_rows(3), ["grade", "salary", "id"]));
        },
        code: SiteRefused,
        because: "rows may not go to `vu`",
    },
    Case {
        name: "one row of them",
        forge: |lie| lie.plan(LogicalPlanBuilder::from(lie_rows()).limit(0, Some(1)).unwrap().build().unwrap()),
        code: SiteRefused,
        because: "`Limit` may not work on protected rows",
    },
    Case {
        name: "in the order of a hidden column",
        forge: |lie| {
            lie.plan(
                LogicalPlanBuilder::from(lie_rows()).sort([col("salary").sort(true, false)]).unwrap().build().unwrap(),
            )
        },
        code: SiteRefused,
        because: "`Sort` may not work on protected rows",
    },
    Case {
        name: "joined with rows that the query brings",
        forge: |lie| {
            let own = LogicalPlanBuilder::values(vec![vec![lit(1_i64)]]).unwrap().build().unwrap();
            let joined = shipped_rows().cross_join(own).unwrap();
            lie.plan(columns(joined, ["id", "grade", "salary"]));
        },
        code: SiteRefused,
        because: "protected rows are joined with rows of others",
    },
    Case {
        name: "an aggregate straight to the coordinator, without a release point",
        forge: |lie| {
            let groups = table("uva", "persons").aggregate([col("grade")], [sum(col("salary"))]).unwrap();
            lie.straight_to_coordinator(groups.build().unwrap());
        },
        code: SiteRefused,
        because: "`Aggregate` may not work on protected rows",
    },
    Case {
        name: "a filtered aggregate as a fragment of its own",
        forge: |lie| {
            let one = sum(col("salary")).filter(col("id").eq(lit(3_i64))).build().unwrap();
            let groups = table("uva", "persons").aggregate(Vec::<datafusion::prelude::Expr>::new(), [one]).unwrap();
            lie.straight_to_coordinator(groups.build().unwrap());
        },
        code: SiteRefused,
        because: "`Aggregate` may not work on protected rows",
    },
    Case {
        name: "rows aggregated with made-up people",
        forge: |lie| {
            let nobody = vec![lit(99_i64), lit("b"), lit(0_i64)];
            let nobody = LogicalPlanBuilder::values(vec![nobody]).unwrap().build().unwrap();
            let together = sent_rows(2).union(nobody).unwrap();
            lie.release().input = ReleaseInput::Complete(columns(together, ["grade", "salary", "id"]));
        },
        code: SiteRefused,
        because: "a release point aggregates protected rows only",
    },
    Case {
        name: "rows aggregated with what the coordinator sends",
        forge: |lie| {
            let vu = columns(table("vu", "persons"), ["id", "grade", "salary"]);
            lie.graph.fragments.push(fragment(3, "coordinator", Some(1), sent_rows(4).build().unwrap()));
            lie.graph.fragments.push(fragment(4, "vu", Some(3), vu));
            let together = sent_rows(2).union(sent_rows(3).build().unwrap()).unwrap();
            lie.release().input = ReleaseInput::Complete(columns(together, ["grade", "salary", "id"]));
        },
        code: SiteRefused,
        because: "a release point aggregates protected rows only",
    },
];

pub(super) const RELEASED: &[Case] = &[Case {
    name: "released groups onwards to another steward",
    forge: |lie| {
        let plan = groups(Leaf::Exchange(FragmentId(1)), arrow::datatypes::DataType::Float64);
        lie.graph.fragments.push(fragment(3, "vu", Some(0), plan));
        lie.fragment(1).consumer = Some(FragmentId(3));
        lie.fragment(0).plan = groups(Leaf::Exchange(FragmentId(3)), arrow::datatypes::DataType::Float64);
    },
    code: SiteRefused,
    because: "released groups of r0 may not be at `vu`",
}];

fn lie_rows() -> datafusion::logical_expr::LogicalPlan {
    columns(shipped_rows(), ["id", "grade", "salary"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_go_as_ship_says_or_not_at_all() {
    refuse_all(Base::Rows, CASES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a4_released_groups_go_no_further_than_their_partials_may() {
    refuse_all(Base::Rows, RELEASED).await;
}
