//! Groups that several stewards' rows are counted in together, where these are not all stewards of the table, or not the same
//! rows of each: what is missing could be subtracted from the whole. Each site knows the stewards from its own configuration.

use datafusion::common::JoinType;
use datafusion::logical_expr::LogicalPlanBuilder;
use datafusion::prelude::{col, lit};
use dynamos_proto::status::Code::SiteRefused;

use super::fixture::{Forgery, columns, steward, submit, table};
use super::{Base, Case, refuse_all};
use crate::config::SiteConfig;
use crate::testing::Federation;

pub(super) const TOGETHER: &[Case] = &[
    Case {
        name: "a condition on one steward's rows only",
        forge: |lie| lie.filter(col("grade").eq(lit("a"))),
        code: SiteRefused,
        because: "that are not under the same conditions",
    },
    Case {
        name: "a condition on the other steward's rows only",
        forge: |lie| {
            let some = table("vu", "persons").filter(col("grade").eq(lit("a"))).unwrap();
            lie.fragment(3).plan = columns(some, ["grade", "salary", "id"]);
        },
        code: SiteRefused,
        because: "that are not under the same conditions",
    },
    Case {
        name: "other conditions on each steward's rows",
        forge: |lie| {
            lie.filter(col("grade").eq(lit("a")));
            let some = table("vu", "persons").filter(col("grade").eq(lit("b"))).unwrap();
            lie.fragment(3).plan = columns(some, ["grade", "salary", "id"]);
        },
        code: SiteRefused,
        because: "that are not under the same conditions",
    },
    Case {
        name: "a value that only one steward's rows enter",
        forge: |lie| {
            let with = |site: &str, enters| {
                let rows = table(site, "persons");
                rows.project([col("grade"), col("salary"), col("id"), enters]).unwrap().build().unwrap()
            };
            lie.fragment(2).plan = with("uva", col("grade").eq(lit("a")));
            lie.fragment(3).plan = with("vu", col("grade").eq(lit("b")));
            lie.release().shape.aggregates[0].filter = Some(3);
        },
        code: SiteRefused,
        because: "that are not under the same conditions",
    },
    Case {
        name: "the other steward's rows in a group of their own",
        forge: |lie| {
            let apart = table("vu", "persons").project([lit("z").alias("grade"), col("salary"), col("id")]);
            lie.fragment(3).plan = apart.unwrap().build().unwrap();
        },
        code: SiteRefused,
        because: "or not grouped by the same",
    },
    Case {
        name: "another column of the other steward in a value",
        forge: |lie| lie.fragment(3).plan = columns(table("vu", "persons"), ["grade", "born", "id"]),
        code: SiteRefused,
        because: "that are not under the same conditions or not",
    },
    Case {
        name: "a list that drops the other steward's rows only",
        forge: |lie| {
            let list = LogicalPlanBuilder::values(vec![vec![lit(11_i64)]]).unwrap().build().unwrap();
            let some = table("vu", "persons").join_on(list, JoinType::LeftAnti, [col("id").eq(col("column1"))]);
            lie.fragment(3).plan = columns(some.unwrap(), ["grade", "salary", "id"]);
        },
        code: SiteRefused,
        because: "compares rows of `uva` and `vu` with other lists",
    },
    Case {
        name: "a list of one's own that is computed, for the other steward",
        forge: |lie| {
            for (fragment, steward, dropped) in [(2, "uva", 1_i64), (3, "vu", 11)] {
                let nothing = LogicalPlanBuilder::empty(true).project([lit(dropped).alias("column1")]).unwrap();
                let some = table(steward, "persons").join_on(
                    nothing.build().unwrap(),
                    JoinType::LeftAnti,
                    [col("id").eq(col("column1"))],
                );
                lie.fragment(fragment).plan = columns(some.unwrap(), ["grade", "salary", "id"]);
            }
        },
        code: SiteRefused,
        because: "compares rows of `uva` and `vu` with other lists",
    },
    Case {
        name: "other columns of one list for the other steward",
        forge: |lie| {
            for (fragment, steward, column) in [(2, "uva", "column1"), (3, "vu", "column2")] {
                let list = LogicalPlanBuilder::values(vec![vec![lit(1_i64), lit(11_i64)]]).unwrap().build().unwrap();
                let some =
                    table(steward, "persons").join_on(list, JoinType::LeftAnti, [col("id").eq(col(column))]).unwrap();
                lie.fragment(fragment).plan = columns(some, ["grade", "salary", "id"]);
            }
        },
        code: SiteRefused,
        because: "compares rows of `uva` and `vu` with other lists",
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b4_stewards_release_together_only_the_same_rows_of_each() {
    refuse_all(Base::Partials, TOGETHER).await;
}

/// What uva says to a graph if its configuration is so.
async fn says(edit: fn(&mut SiteConfig), base: Base) -> Result<(), String> {
    let federation = Federation::start_checked(&|federation, name| {
        let mut config = steward(federation, name);
        edit(&mut config);
        config
    })
    .await;
    let permit = Forgery::new(base.graph(&federation, "q")).permit(&federation);
    submit(&federation, "uva", permit).await.map_err(|error| {
        assert_eq!(error.code, SiteRefused, "{error}");
        error.message
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b4_stewards_release_together_only_if_they_are_all() {
    let third: fn(&mut SiteConfig) = |config| config.federated[0].stewards.push("amc".into());
    let nothing: fn(&mut SiteConfig) = |config| config.federated.clear();
    let error = says(third, Base::Partials).await.unwrap_err();
    assert!(error.contains("about `uva`, `vu`, but the stewards of `wages.persons` are `amc`, `uva`, `vu`"), "{error}");
    let error = says(nothing, Base::Partials).await.unwrap_err();
    assert!(error.contains("`uva` does not say of `wages.persons` who its stewards are"), "{error}");
    // Where each decides by itself, or one is asked alone, nothing is brought together.
    for base in [Base::PerSite, Base::Rows] {
        for edit in [third, nothing] {
            says(edit, base).await.unwrap_or_else(|error| panic!("{base:?}: {error}"));
        }
    }
}
