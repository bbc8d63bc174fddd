//! Release points: partials of two stewards merged at a third place, with the minimums of that place's own copies.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::prelude::{Expr, col};
use dynamos_planner::fragment::{
    AgreementRef, EntityColumn, FragmentGraph, ReleaseClauseRef, ReleaseInput, ReleasePoint, ReleaseShape,
    ReleasedAggregate,
};
use dynamos_planner::wire::Leaf;
use dynamos_proto::ids::{FragmentId, ReleaseId};
use dynamos_proto::status::Code;

use crate::testing::*;

// Grade a: 2 people at uva, 1 at vu. Grade b: one person in all. Grade c: 2 people at vu, one of them without salary.
const UVA: &str = "1,a,100\n2,a,200\n3,b,300\n";
const VU: &str = "11,a,400\n12,c,500\n13,c,\n";

/// `SELECT grade, avg(salary) FROM wages.persons GROUP BY grade`, merged at surf.
pub(crate) fn average_by_grade(federation: &Federation, query: &str, epoch: u64) -> FragmentGraph {
    let released: SchemaRef = Arc::new(Schema::new(vec![
        Field::new("grade", DataType::Utf8, true),
        Field::new("average", DataType::Float64, true),
    ]));
    let input = |site: &str| {
        let columns: [Expr; 3] = ["grade", "salary", "id"].map(col);
        scan_persons(site).project(columns).unwrap().build().unwrap()
    };
    let fragments = vec![
        fragment(0, "coordinator", None, scan(&Leaf::Exchange(FragmentId(1)), released.clone()).build().unwrap()),
        fragment(1, "surf", Some(0), scan(&Leaf::Release(ReleaseId(0)), released).build().unwrap()),
        partial(2, "uva", 1, input("uva")),
        partial(3, "vu", 1, input("vu")),
    ];
    let clause = |steward: &str| ReleaseClauseRef {
        steward: steward.into(),
        agreement: AgreementRef { agreement: "a".into(), epoch },
        clause: 1,
    };
    let release = ReleasePoint {
        id: ReleaseId(0),
        fragment: FragmentId(1),
        clauses: vec![clause("uva"), clause("vu")],
        shape: ReleaseShape {
            keys: 1,
            aggregates: vec![ReleasedAggregate {
                function: "avg".into(),
                distinct: false,
                argument: Some(1),
                filter: None,
            }],
            entities: vec![EntityColumn { name: "id".into(), column: 2 }],
        },
        input: ReleaseInput::Merge(vec![FragmentId(2), FragmentId(3)]),
    };
    federation.graph(query, fragments, vec![release])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partials_of_two_sites_are_merged_at_a_third_under_the_minimum() {
    let federation = Federation::start([UVA, VU], PLAIN).await;
    let graph = average_by_grade(&federation, "q1", 1);
    federation.submit(&graph).await;
    // The people with a salary count: 3 of grade a, 1 of b, 1 of c.
    assert_eq!(
        federation.rows(&graph).await.unwrap(),
        format!("|a|{:.1}|", 700.0 / 3.0).replace("233.3", "233.33333333333334")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minimum_that_must_not_be_missed_fails_the_query() {
    let federation = Federation::start([UVA, VU], &PLAIN.replace("DROP", "FAIL")).await;
    let graph = average_by_grade(&federation, "q1", 1);
    federation.submit(&graph).await;
    assert_eq!(federation.rows(&graph).await.unwrap_err().code, Code::Denied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_under_another_version_of_an_agreement_is_stale() {
    let federation = Federation::start([UVA, VU], PLAIN).await;
    let graph = average_by_grade(&federation, "q1", 2);
    for place in ["surf", "uva", "vu"] {
        let error = federation.executor(place).submit(federation.permit(&graph)).await.unwrap_err();
        assert_eq!(error.code, Code::StaleBasis, "{place}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_does_not_believe_agreements_that_their_steward_did_not_sign() {
    let federation = Federation::start([UVA, VU], PLAIN).await;
    let graph = average_by_grade(&federation, "q1", 1);
    let mut permit = federation.permit(&graph);
    permit.agreements[0].text = permit.agreements[0].text.replace("MINIMUM 2", "MINIMUM 1");
    assert_eq!(federation.executor("surf").submit(permit).await.unwrap_err().code, Code::SiteRefused);
}
