//! Release points: partials of two stewards merged at a third place, with the minimums of that place's own copies.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::prelude::{Expr, col};
use dynamos_planner::fragment::{
    AgreementRef, EntityColumn, FragmentGraph, ReleaseClauseRef, ReleaseInput, ReleasePoint, ReleaseShape,
    ReleasedAggregate,
};
use dynamos_planner::policy::MinimumScope;
use dynamos_planner::wire::Leaf;
use dynamos_proto::ids::{FragmentId, ReleaseId};
use dynamos_proto::status::Code;

use crate::testing::*;

// Grade a: 2 people at each. Grade b: one person in all. Grade c: 2 people at vu, one of them without salary. Grade d: one
// more person of vu, so that what is withheld is enough at each steward or, at the requester's own, known.
const UVA: &str = "1,a,100\n2,a,200\n3,b,300\n";
const VU: &str = "11,a,400\n12,c,500\n13,c,\n14,a,600\n15,d,700\n";

/// `SELECT grade, avg(salary) FROM wages.persons GROUP BY grade`, merged at surf.
pub(crate) fn average_by_grade(federation: &Federation, query: &str, epoch: u64) -> FragmentGraph {
    let average = value("avg", Some(1));
    by_grade(federation, query, epoch, vec![(Field::new("average", DataType::Float64, true), average)])
}

fn value(function: &str, argument: Option<usize>) -> ReleasedAggregate {
    ReleasedAggregate {
        function: function.into(),
        distinct: false,
        argument,
        origin: argument,
        family: argument,
        known: false,
        filter: None,
    }
}

/// These values by grade, merged at surf.
fn by_grade(
    federation: &Federation,
    query: &str,
    epoch: u64,
    values: Vec<(Field, ReleasedAggregate)>,
) -> FragmentGraph {
    let (fields, aggregates): (Vec<Field>, Vec<ReleasedAggregate>) = values.into_iter().unzip();
    let grade = Field::new("grade", DataType::Utf8, true);
    let released: SchemaRef = Arc::new(Schema::new([vec![grade], fields].concat()));
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
            sets: Vec::new(),
            aggregates,
            entities: vec![EntityColumn { name: "id".into(), column: 2 }],
        },
        input: ReleaseInput::Merge(vec![FragmentId(2), FragmentId(3)]),
        scope: MinimumScope::Federation,
    };
    federation.graph(query, fragments, vec![release])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partials_of_two_sites_are_merged_at_a_third_under_the_minimum() {
    let federation = Federation::start([UVA, VU], PLAIN).await;
    let graph = average_by_grade(&federation, "q1", 1);
    federation.submit(&graph).await;
    // The people with a salary count: 4 of grade a, 1 each of b, c and d.
    assert_eq!(federation.rows(&graph).await.unwrap(), "|a|325.0|");
}

/// The answer of `average_by_grade` over these rows under these clauses.
async fn answer(persons: [&str; 2], clauses: &str) -> Result<String, Code> {
    let federation = Federation::start(persons, clauses).await;
    let graph = average_by_grade(&federation, "q1", 1);
    federation.submit(&graph).await;
    federation.rows(&graph).await.map_err(|error| error.code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b4_rest_of_one_person_at_another_steward_is_withheld() {
    // uva asks and knows its own two; one person of vu would be left of grade a. Of grade b, two.
    let vu = "11,a,400\n12,b,500\n13,b,600\n";
    assert_eq!(answer(["1,a,100\n2,a,200\n3,b,300\n", vu], PLAIN).await.unwrap(), "");
    assert_eq!(
        answer(["1,a,100\n2,a,200\n3,b,300\n", &format!("{vu}14,a,100\n")], PLAIN).await.unwrap(),
        "|a|200.0|\n|b|466.6666666666667|"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b5_complement_of_one_person_takes_another_group_along() {
    // Grade b has one person, so the smallest other group, c, is withheld, too.
    let (uva, vu) = ("1,a,1\n2,a,2\n3,a,3\n", "11,c,4\n12,c,5\n13,b,6\n14,a,7\n15,a,8\n");
    assert_eq!(answer([uva, vu], PLAIN).await.unwrap(), "|a|4.2|");
    assert_eq!(answer([uva, &vu.replace("13,b,6", "13,c,6")], PLAIN).await.unwrap(), "|a|4.2|\n|c|5.0|");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b2_remainder_is_a_row_apart_from_a_null_key() {
    let remainder = PLAIN.replace("DROP", "REMAINDER");
    // The NULL grade has two people of each; b, c and d go together: 300, 500 and 700 of those with a salary.
    let (uva, vu) = (UVA.replace(",a,", ",,"), VU.replace(",a,", ",,"));
    assert_eq!(answer([&uva, &vu], &remainder).await.unwrap(), "||325.0|\n||500.0|");
    // The mark tells which is which.
    let federation = Federation::start([&uva, &vu], &remainder).await;
    let mark = Field::new("is_remainder", DataType::Boolean, true);
    let average = Field::new("average", DataType::Float64, true);
    let values = vec![(mark, value("dynamos.is_remainder", None)), (average, value("avg", Some(1)))];
    let graph = by_grade(&federation, "q1", 1, values);
    federation.submit(&graph).await;
    assert_eq!(federation.rows(&graph).await.unwrap(), "||false|325.0|\n||true|500.0|");
    // One person is no remainder.
    assert_eq!(answer(["1,b,100\n", "11,c,5\n12,c,\n"], &remainder).await.unwrap(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b8_round_and_sites_hold_where_partials_are_merged() {
    let round = PLAIN.replace("ELSE", "ROUND TO 50 ELSE");
    assert_eq!(answer([UVA, VU], &round).await.unwrap(), "|a|350.0|");
    // Grade c is of vu alone: where a second steward must be in it, it is withheld, and so is a, or c were the difference.
    let vu = "11,a,400\n14,a,600\n12,c,500\n13,c,100\n";
    assert_eq!(answer(["1,a,100\n2,a,200\n", vu], PLAIN).await.unwrap(), "|a|325.0|\n|c|300.0|");
    let sites = PLAIN.replace("ELSE", "MINIMUM 2 SITES ELSE");
    assert_eq!(answer(["1,a,100\n2,a,200\n", vu], &sites).await.unwrap(), "");
    assert_eq!(answer(["1,a,100\n2,a,200\n3,c,9\n", vu], &sites).await.unwrap(), "|a|325.0|\n|c|203.0|");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b8_dominance_holds_where_partials_are_merged() {
    let dominance = |portion: &str| PLAIN.replace("ELSE", &format!("DOMINANCE {portion} ELSE"));
    // 1000 of 1300 are vu's.
    let rows = ["1,a,100\n2,a,200\n", "11,a,400\n14,a,600\n"];
    assert_eq!(answer(rows, &dominance("0.77")).await.unwrap(), "|a|325.0|");
    assert_eq!(answer(rows, &dominance("0.76")).await.unwrap(), "");
    assert_eq!(answer(rows, &dominance("0.76").replace("DROP", "FAIL")).await.unwrap_err(), Code::Denied);
    // Half are each's. uva asks and knows its own, and of what is left one person has 700 of 1300.
    let rows = ["1,a,100\n2,a,200\n3,a,1000\n", "11,a,600\n14,a,700\n"];
    assert_eq!(answer(rows, &dominance("0.54")).await.unwrap(), "|a|520.0|");
    assert_eq!(answer(rows, &dominance("0.53")).await.unwrap(), "");
    // Signs do not matter, and what one person adds in several rows is one person's.
    let rows = ["1,a,-100\n2,a,200\n3,a,-1000\n", "11,a,300\n11,a,300\n14,a,700\n"];
    assert_eq!(answer(rows, &dominance("0.54")).await.unwrap(), "|a|66.66666666666667|");
    assert_eq!(answer(rows, &dominance("0.53")).await.unwrap(), "");
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
