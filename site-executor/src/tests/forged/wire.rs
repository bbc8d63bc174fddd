//! Bytes that no planner writes: a site reads them within bounds, or not at all.

use datafusion::logical_expr::{LogicalPlanBuilder, lit};
use datafusion::prelude::col;
use datafusion_substrait::substrait::proto::Plan;
use datafusion_substrait::substrait::proto::extensions::simple_extension_declaration::MappingType;
use dynamos_planner::wire::PLAN_BYTES_MAX;
use dynamos_proto::ids::FragmentId;
use dynamos_proto::status::Code::SiteRefused;
use dynamos_proto::v1;
use prost::Message;

use super::fixture::{columns, sent_rows, table};
use super::{Base, Case, refuse_all};
use crate::testing::fragment;

/// The plan of fragment 2.
fn plan_of(graph: &mut v1::Graph) -> &mut Vec<u8> {
    &mut graph.fragments.iter_mut().find(|fragment| fragment.id == 2).unwrap().plan
}

/// A protobuf field with a length.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}

pub(super) const CASES: &[Case] = &[
    Case {
        name: "bytes that are no plan",
        forge: |lie| lie.message = |graph| *plan_of(graph) = b"\xff\xff\xffSELECT * FROM persons".to_vec(),
        code: SiteRefused,
        because: "the plan cannot be read",
    },
    Case {
        name: "an empty plan",
        forge: |lie| lie.message = |graph| plan_of(graph).clear(),
        code: SiteRefused,
        because: "the plan cannot be read",
    },
    Case {
        name: "a plan that is cut off",
        forge: |lie| {
            lie.message = |graph| {
                let half = plan_of(graph).len() / 2;
                plan_of(graph).truncate(half);
            }
        },
        code: SiteRefused,
        because: "the plan cannot be read",
    },
    Case {
        name: "filters in filters without end",
        forge: |lie| {
            lie.message = |graph| {
                // Plan.relations → PlanRel.root → RelRoot.input → Rel.filter → FilterRel.input → …
                let nested = (0..2000).fold(Vec::new(), |inner, _| field(2, &field(2, &inner)));
                *plan_of(graph) = field(3, &field(2, &field(1, &nested)));
            }
        },
        code: SiteRefused,
        because: "the plan cannot be read",
    },
    Case {
        name: "a plan of more than a megabyte",
        forge: |lie| lie.message = |graph| *plan_of(graph) = vec![0; PLAN_BYTES_MAX + 1],
        code: SiteRefused,
        because: "the plan exceeds a limit",
    },
    Case {
        name: "a graph of more than eight",
        forge: |lie| lie.message = |graph| graph.purpose = "x".repeat(9 << 20),
        code: SiteRefused,
        because: "the graph has more than",
    },
    Case {
        name: "more fragments than any query has",
        forge: |lie| {
            lie.message = |graph| {
                let last = graph.fragments.last().unwrap().clone();
                graph.fragments.extend((10..600).map(|id| v1::Fragment { id, ..last.clone() }));
            }
        },
        code: SiteRefused,
        because: "more than 512 fragments",
    },
    Case {
        name: "a function that is unknown",
        forge: |lie| {
            lie.filter(col("grade").eq(lit("a")));
            lie.message = |graph| {
                let mut plan = Plan::decode(plan_of(graph).as_slice()).unwrap();
                for extension in &mut plan.extensions {
                    if let Some(MappingType::ExtensionFunction(function)) = &mut extension.mapping_type {
                        function.name = "read_file".into();
                    }
                }
                *plan_of(graph) = plan.encode_to_vec();
            }
        },
        code: SiteRefused,
        because: "the plan cannot be read",
    },
    Case {
        name: "two fragments of one number",
        forge: |lie| {
            let twin = lie.fragment(2).clone();
            lie.graph.fragments.push(twin);
        },
        code: SiteRefused,
        because: "two fragments have this number",
    },
    Case {
        name: "a second way to the requester",
        forge: |lie| lie.message = |graph| graph.fragments[1].consumer = None,
        code: SiteRefused,
        because: "only fragment f0 at the coordinator gives the answer",
    },
    Case {
        name: "fragments that read each other in a circle",
        forge: |lie| {
            let (one, other) = (sent_rows(8).build().unwrap(), sent_rows(9).build().unwrap());
            lie.graph.fragments.push(fragment(9, "surf", Some(8), one));
            lie.graph.fragments.push(fragment(8, "surf", Some(9), other));
        },
        code: SiteRefused,
        because: "fragments read each other in a circle",
    },
    Case {
        name: "a long row of deep fragments",
        forge: |lie| {
            for id in 100..500 {
                let deep = (0..25).fold(sent_rows(id + 1), |plan, at| plan.filter(col("id").gt(lit(at))).unwrap());
                let consumer = if id == 100 { 0 } else { id - 1 };
                lie.graph.fragments.push(fragment(id, "surf", Some(consumer), deep.build().unwrap()));
            }
            let rows = columns(table("vu", "persons"), ["id", "grade", "salary"]);
            lie.graph.fragments.push(fragment(500, "vu", Some(499), rows));
        },
        code: SiteRefused,
        because: "more than 32 fragments read one another in a row",
    },
    Case {
        name: "fragments each of which reads the next one twice",
        forge: |lie| {
            for id in 100..125 {
                let twice = sent_rows(id + 1).union(sent_rows(id + 1).build().unwrap()).unwrap().build().unwrap();
                let consumer = if id == 100 { 0 } else { id - 1 };
                lie.graph.fragments.push(fragment(id, "surf", Some(consumer), twice));
            }
            let rows = columns(table("vu", "persons"), ["id", "grade", "salary"]);
            lie.graph.fragments.push(fragment(125, "vu", Some(124), rows));
        },
        code: SiteRefused,
        because: "it reads f101 twice",
    },
    Case {
        name: "an expression that doubles with each step",
        forge: |lie| {
            let plan = (0..18).fold(LogicalPlanBuilder::from(lie.fragment(2).plan.clone()), |plan, _| {
                plan.project([col("grade"), (col("salary") + col("salary")).alias("salary"), col("id")]).unwrap()
            });
            lie.plan(plan.build().unwrap());
            assert_eq!(lie.fragment(2).id, FragmentId(2));
        },
        code: SiteRefused,
        because: "an expression has more than 2000 parts",
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_are_read_within_bounds() {
    refuse_all(Base::Partials, CASES).await;
}
