//! Keys that may be at surf as hashes only, and the key of these hashes, which only those who hash may have.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, cast, lit};
use datafusion::prelude::{Expr, col};
use dynamos_planner::fragment::{AgreementRef, EntityColumn, FragmentGraph, ReleaseInput};
use dynamos_planner::function::{KeyDomain, hash_of};
use dynamos_planner::wire::Leaf;
use dynamos_proto::ids::{FragmentId, ReleaseId};
use dynamos_proto::sign::sha256;
use dynamos_proto::status::Code;
use dynamos_proto::status::Code::SiteRefused;
use dynamos_proto::status::ServiceError;
use dynamos_proto::v1;
use dynamos_proto::v1::peer_client::PeerClient;

use super::super::exchange::channel;
use super::fixture::{
    Forgery, columns, hashed_links, met_links, people, released_join, sent_links, steward, submit, table,
};
use super::{Base, Case, refuse_all};
use crate::testing::{Federation, cancel, fragment, partial, scan};

const BSN: &str = "uva.wages.links.bsn";

/// What uva sends with something else where the hash is.
fn links_with(key: Expr) -> LogicalPlan {
    table("uva", "links").project([key.alias("h2"), col("kind").alias("k2")]).unwrap().build().unwrap()
}

/// Keys of nobody's table.
fn made_up() -> LogicalPlanBuilder {
    LogicalPlanBuilder::values((1_i64..9).map(|key| vec![lit(key), lit("a")]).collect()).unwrap()
}

/// The joined rows under one more condition.
fn met_where(condition: Expr) -> LogicalPlan {
    columns(met_links().filter(condition).unwrap(), ["k2", "h2", "h3"])
}

pub(super) const CASES: &[Case] = &[
    Case {
        name: "the key itself",
        forge: |lie| lie.plan(links_with(col(BSN))),
        code: SiteRefused,
        because: "it does not list `wages.links.bsn`",
    },
    Case {
        name: "the key beside its hash",
        forge: |lie| {
            let hashed = hash_of(&people(), col(BSN)).alias("h2");
            let rows = table("uva", "links").project([hashed, col("kind").alias("k2"), col(BSN).alias("more")]);
            lie.plan(rows.unwrap().build().unwrap());
        },
        code: SiteRefused,
        because: "it does not list `wages.links.bsn`",
    },
    Case {
        name: "the hash of another column",
        forge: |lie| lie.plan(links_with(hash_of(&people(), col("kind")))),
        code: SiteRefused,
        because: "is no key of the domain `SHARED people`",
    },
    Case {
        name: "a hash in another domain",
        forge: |lie| lie.plan(links_with(hash_of(&KeyDomain::Shared("cars".into()), col(BSN)))),
        code: SiteRefused,
        because: "is no key of the domain `SHARED cars`",
    },
    Case {
        name: "a shared key as one of its own",
        forge: |lie| lie.plan(links_with(hash_of(&KeyDomain::Local("uva".into()), col(BSN)))),
        code: SiteRefused,
        because: "is no key of the domain `LOCAL uva`",
    },
    Case {
        name: "the hash of a function of the key",
        forge: |lie| lie.plan(links_with(hash_of(&people(), col(BSN) % lit(10_i64)))),
        code: SiteRefused,
        because: "is no hash of a column",
    },
    Case {
        name: "the hash of a constant",
        forge: |lie| lie.plan(links_with(hash_of(&people(), lit(1_i64)))),
        code: SiteRefused,
        because: "is no hash of a column",
    },
    Case {
        name: "a hash of a hash",
        forge: |lie| {
            let once = cast(cast(hash_of(&people(), col(BSN)), DataType::Binary), DataType::Utf8);
            lie.plan(links_with(hash_of(&people(), once)));
        },
        code: SiteRefused,
        because: "keys are hashed before something else is done with them",
    },
    Case {
        name: "rows by a condition on the hash",
        forge: |lie| lie.filter(col("h2").is_not_null()),
        code: SiteRefused,
        because: "keys are hashed before something else is done with them",
    },
    Case {
        name: "a function of the hash",
        forge: |lie| lie.plan(links_with(hash_of(&people(), col(BSN)).is_null())),
        code: SiteRefused,
        because: "keys are hashed before something else is done with them",
    },
    Case {
        name: "hashes of all the keys that there could be",
        forge: |lie| {
            let rows = made_up().project([hash_of(&people(), col("column1")).alias("h4")]).unwrap();
            lie.graph.fragments.push(fragment(4, "uva", Some(1), rows.build().unwrap()));
        },
        code: SiteRefused,
        because: "keys are hashed where other rows than a steward's own are",
    },
    Case {
        name: "such hashes among those of the keys",
        forge: |lie| {
            let own = LogicalPlanBuilder::from(columns(table("uva", "links"), ["bsn", "kind"]));
            let all = own.union(made_up().build().unwrap()).unwrap();
            let hashed = hash_of(&people(), col("bsn")).alias("h2");
            lie.plan(all.project([hashed, col("kind").alias("k2")]).unwrap().build().unwrap());
        },
        code: SiteRefused,
        because: "keys are hashed where other rows than a steward's own are",
    },
    Case {
        name: "hashes to the coordinator",
        forge: |lie| lie.straight_to_coordinator(hashed_links("uva", "h2", "k2")),
        code: SiteRefused,
        because: "hashed keys of `uva` reach the requester",
    },
    Case {
        name: "hashes as partials",
        forge: |lie| lie.fragment(2).partial_of = Some(ReleaseId(0)),
        code: SiteRefused,
        because: "do not leave their steward as rows",
    },
    Case {
        name: "hashes to the fragment of the steward itself",
        forge: |lie| lie.fragment(1).place = "uva".into(),
        code: SiteRefused,
        because: "do not leave their steward as rows",
    },
    Case {
        name: "hashes to a steward that hashes",
        forge: |lie| lie.fragment(1).place = "vu".into(),
        code: SiteRefused,
        because: "do not leave their steward as rows",
    },
    Case {
        name: "groups of a hash",
        forge: |lie| lie.release().input = ReleaseInput::Complete(grouped_by_hash()),
        code: SiteRefused,
        because: "it does not list the grouping `dynamos_hash_key",
    },
    Case {
        name: "the smallest hash",
        forge: |lie| {
            lie.release().shape.aggregates[0].function = "min".into();
            lie.release().shape.aggregates[0].argument = Some(1);
        },
        code: SiteRefused,
        because: "it does not list `min` of `dynamos_hash_key",
    },
    Case {
        name: "how many keys are not NULL",
        forge: |lie| lie.release().shape.aggregates[0].argument = Some(1),
        code: SiteRefused,
        because: "it does not list `count` of `dynamos_hash_key",
    },
    Case {
        name: "rows by comparing a hash with a literal",
        forge: |lie| {
            let value = datafusion::common::ScalarValue::FixedSizeBinary(16, Some(vec![7; 16]));
            lie.release().input = ReleaseInput::Complete(met_where(col("h2").eq(lit(value))));
        },
        code: SiteRefused,
        because: "no FILTER clause allows the predicate",
    },
    Case {
        name: "people counted by something else than their hash",
        forge: |lie| lie.release().shape.entities[0] = EntityColumn { name: "bsn".into(), column: 0 },
        code: SiteRefused,
        because: "counts something else as `bsn`",
    },
    Case {
        name: "released rows hashed for the requester",
        forge: |lie| {
            let rows = released_join("contracts", 13, &["t1_grade"]);
            let hashed = hash_of(&people(), col("t1_grade")).alias("h");
            lie.straight_to_coordinator(rows.project([hashed]).unwrap().build().unwrap());
        },
        code: SiteRefused,
        because: "hashed keys of `uva` reach the requester",
    },
    Case {
        name: "a receiver that hashes what it got",
        forge: |lie| {
            let rows = scan(&Leaf::Release(ReleaseId(0)), groups_schema());
            let hashed = hash_of(&people(), col("value")).alias("value");
            lie.fragment(1).plan = rows.project([col("grade"), hashed]).unwrap().build().unwrap();
        },
        code: SiteRefused,
        because: "where other rows than a steward's own are",
    },
    Case {
        name: "the receiver among those who share the key",
        forge: |lie| {
            lie.graph.governing.insert("surf".into(), AgreementRef { agreement: "a".into(), epoch: 1 });
            let fragments = &mut lie.graph.fragments;
            fragments.push(fragment(4, "surf", Some(0), surf_links()));
        },
        code: SiteRefused,
        because: "`surf` hashes keys itself",
    },
    Case {
        name: "a provider without an agreement among them",
        forge: |lie| lie.graph.fragments.push(fragment(4, "surf", Some(0), surf_links())),
        code: SiteRefused,
        because: "where other rows than a steward's own are",
    },
    Case {
        name: "a steward that shares the key without a reason",
        forge: |lie| {
            lie.fragment(3).consumer = Some(FragmentId(0));
            lie.graph.releases[0].clauses.pop();
            lie.graph.releases[0].shape.entities.pop();
            lie.release().input = ReleaseInput::Complete(columns(sent_links(2, "h2", "k2"), ["k2", "h2"]));
        },
        code: SiteRefused,
        because: "`vu` would have the key of hashes of `uva`, whose rows it does not meet",
    },
    Case {
        name: "keys hashed below the release point",
        forge: |lie| {
            let rows = columns(table("uva", "links"), ["bsn", "kind"]);
            lie.graph.fragments.retain(|fragment| fragment.id == FragmentId(0) || fragment.id == FragmentId(1));
            lie.fragment(1).place = "uva".into();
            let hashed = hash_of(&people(), col("bsn")).alias("h2");
            let rows = LogicalPlanBuilder::from(rows).project([col("kind").alias("k2"), hashed]).unwrap();
            lie.release().input = ReleaseInput::Complete(rows.build().unwrap());
            lie.graph.releases[0].clauses.pop();
            lie.graph.releases[0].shape.entities.pop();
        },
        code: SiteRefused,
        because: "keys are hashed below a release point",
    },
];

/// The joined rows, by what their key's hash is.
fn grouped_by_hash() -> LogicalPlan {
    met_links().project([col("h2").alias("key"), col("h2"), col("h3")]).unwrap().build().unwrap()
}

fn groups_schema() -> arrow::datatypes::SchemaRef {
    use arrow::datatypes::{Field, Schema};
    let fields = [("grade", DataType::Utf8), ("value", DataType::Int64)];
    Arc::new(Schema::new(fields.map(|(name, kind)| Field::new(name, kind, true)).to_vec()))
}

/// Rows that surf pretends to have.
fn surf_links() -> LogicalPlan {
    hashed_links("surf", "h4", "k4")
}

pub(super) const PARTIALS: &[Case] = &[Case {
    name: "a hash of the key in partials",
    forge: |lie| {
        let key = hash_of(&KeyDomain::Local("uva".into()), col("uva.wages.persons.id")).alias("id");
        let rows = table("uva", "persons").project([col("grade"), col("salary"), key]).unwrap();
        *lie.fragment(2) = partial(2, "uva", 1, rows.build().unwrap());
    },
    code: SiteRefused,
    because: "do not leave their steward as rows",
}];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_only_the_hash_of_the_key_leaves_and_only_to_be_compared() {
    refuse_all(Base::Hashes, CASES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_partials_hold_no_hashes() {
    refuse_all(Base::Partials, PARTIALS).await;
}

/// Asks a site for the key of hashes.
async fn ask(
    federation: &Federation,
    caller: &str,
    peer: &str,
    query: &str,
    hash: &[u8],
) -> Result<Vec<u8>, ServiceError> {
    let mut client = PeerClient::new(channel(federation, caller, peer));
    let held = v1::HeldQuery { query_id: query.into(), graph_hash: hash.to_vec() };
    let reply = client.hash_key(v1::HashKeyRequest { query: Some(held) }).await;
    reply.map(|reply| reply.into_inner().key).map_err(|status| ServiceError::from_status(&status))
}

/// Submits a graph to all stewards; gives its hash.
async fn accepted(federation: &Federation, graph: FragmentGraph) -> Vec<u8> {
    let permit = Forgery::new(graph).permit(federation);
    for site in ["uva", "vu", "surf"] {
        submit(federation, site, permit.clone()).await.unwrap();
    }
    sha256(&permit.graph)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_the_key_of_hashes_is_given_to_those_who_hash_and_nobody_else() {
    let federation = Federation::start_checked(&steward).await;
    let hash = accepted(&federation, Base::Hashes.graph(&federation, "q1")).await;
    let key = ask(&federation, "vu", "uva", "q1", &hash).await.unwrap();
    assert_eq!(key.len(), 32);
    assert_eq!(ask(&federation, "vu", "uva", "q1", &hash).await.unwrap(), key, "it is one key");
    let mut records = federation.records("uva").len();
    for (caller, hash, because) in [
        ("surf", hash.clone(), "`surf` hashes no keys in query `q1`"),
        ("coordinator", hash.clone(), "`coordinator` hashes no keys in query `q1`"),
        ("stranger", hash.clone(), "`stranger` hashes no keys in query `q1`"),
        ("vu", sha256(b"another graph"), "query `q1` is another one at `vu`"),
        ("surf", sha256(b"another graph"), "query `q1` is another one at `surf`"),
    ] {
        let refused = ask(&federation, caller, "uva", "q1", &hash).await.unwrap_err();
        assert_eq!(refused.code, SiteRefused, "{caller}");
        assert!(refused.message.contains(because), "{caller}: {refused}");
        let all = federation.records("uva");
        let last = all.last().unwrap();
        let found = ["event", "code", "reason", "query_id"].map(|name| last[name].as_str().unwrap_or_default());
        assert_eq!(found, ["refusal", "SITE_REFUSED", "fetch", "q1"], "{caller}: {last}");
        assert_eq!(all.len(), records + 1, "{caller}");
        records = all.len();
    }
    // The other steward has none to give, whoever says that it draws it.
    let refused = ask(&federation, "uva", "vu", "q1", &hash).await.unwrap_err();
    assert!(refused.message.contains("the key of hashes of query `q1` is drawn by `uva`"), "{refused}");
    // Every query has a key of its own, which goes with it.
    let next = accepted(&federation, Base::Hashes.graph(&federation, "q2")).await;
    assert_ne!(ask(&federation, "vu", "uva", "q2", &next).await.unwrap(), key);
    let again = FragmentGraph { attempt: 1, ..Base::Hashes.graph(&federation, "q2") };
    let again = accepted(&federation, again).await;
    assert_ne!(again, next);
    ask(&federation, "vu", "uva", "q2", &again).await.unwrap();
    assert_eq!(ask(&federation, "vu", "uva", "q2", &next).await.unwrap_err().code, SiteRefused, "of an attempt before");
    federation.executor("uva").cancel(&cancel(&"q1".into())).await;
    assert_eq!(ask(&federation, "vu", "uva", "q1", &hash).await.unwrap_err().code, Code::SiteUnavailable);
    // A query in which nothing is hashed has none.
    let plain = accepted(&federation, Base::Partials.graph(&federation, "q3")).await;
    let refused = ask(&federation, "vu", "uva", "q3", &plain).await.unwrap_err();
    assert!(refused.message.contains("`vu` hashes no keys in query `q3`"), "{refused}");
}
