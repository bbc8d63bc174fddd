//! Who asks, for what, under which version of which agreement, and whether the coordinator says the same to everybody.

use dynamos_planner::fragment::{AgreementRef, FragmentGraph};
use dynamos_planner::wire::Leaf;
use dynamos_proto::ids::FragmentId;
use dynamos_proto::sign::sha256;
use dynamos_proto::status::Code;
use dynamos_proto::token::{Claims, issue};
use dynamos_proto::v1;

use super::super::exchange::fetch;
use super::fixture::{Forgery, columns, steward, submit, submit_everywhere, table};
use super::{Base, Case, refuse_all};
use crate::place::TlsFiles;
use crate::testing::{Federation, key_of, now_ms, scan, token};

fn claims() -> Claims {
    Claims {
        iss: "uva".into(),
        sub: "ann@uva.nl".into(),
        roles: vec!["analyst".into()],
        purposes: vec!["statistics".into()],
        exp: now_ms() / 1000 + 3600,
        jti: "1".into(),
    }
}

fn signed_by(key: &str, claims: &Claims) -> String {
    issue(claims, &key_of(key)).unwrap()
}

/// The version of every agreement of uva in the graph.
fn under(lie: &mut Forgery, agreement: &str, epoch: u64) {
    let reference = AgreementRef { agreement: agreement.into(), epoch };
    lie.graph.governing.insert("uva".into(), reference.clone());
    lie.release().clauses[0].agreement = reference;
}

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a purpose that the organisation does not vouch for",
        forge: |lie| lie.graph.purpose = "education".into(),
        code: Code::Denied,
        because: "does not vouch for purpose `education`",
    },
    Case {
        name: "a purpose that the agreement does not cover",
        forge: |lie| {
            lie.graph.purpose = "education".into();
            lie.token = signed_by("uva", &Claims { purposes: vec!["education".into()], ..claims() });
        },
        code: Code::SiteRefused,
        because: "does not cover purpose `education`",
    },
    Case {
        name: "another role",
        forge: |lie| lie.token = signed_by("uva", &Claims { roles: vec!["student".into()], ..claims() }),
        code: Code::SiteRefused,
        because: "is not made with user `ann@uva.nl`",
    },
    Case {
        name: "a user of another organisation",
        forge: |lie| lie.token = token("vu"),
        code: Code::SiteRefused,
        because: "is not made with user `ann@vu.nl` of `vu`",
    },
    Case {
        name: "an organisation whose part the requester does not know",
        forge: |lie| lie.graph.organisation = "surf".into(),
        code: Code::SiteRefused,
        because: "the requester is not of `surf`",
    },
    Case {
        name: "a user whom another organisation makes one of uva's",
        forge: |lie| lie.token = signed_by("vu", &claims()),
        code: Code::Unauthenticated,
        because: "signature",
    },
    Case {
        name: "a user whom the coordinator invents",
        forge: |lie| lie.token = signed_by("coordinator", &claims()),
        code: Code::Unauthenticated,
        because: "signature",
    },
    Case {
        name: "an organisation that the coordinator invents",
        forge: |lie| lie.token = signed_by("coordinator", &Claims { iss: "coordinator".into(), ..claims() }),
        code: Code::Unauthenticated,
        because: "organisation `coordinator` is not known here",
    },
    Case {
        name: "a token whose time is over",
        forge: |lie| lie.token = signed_by("uva", &Claims { exp: now_ms() / 1000 - 3600, ..claims() }),
        code: Code::Unauthenticated,
        because: "expired",
    },
    Case {
        name: "nobody",
        forge: |lie| lie.token.clear(),
        code: Code::SiteRefused,
        because: "no token of the requester",
    },
    Case {
        name: "another token than the graph's",
        forge: |lie| lie.message = |graph| graph.token_hash = vec![0; 32],
        code: Code::SiteRefused,
        because: "the token is not that of the query",
    },
    Case {
        name: "an older version of the agreement",
        forge: |lie| under(lie, "a", 0),
        code: Code::StaleBasis,
        because: "does not hold agreement `a` of `uva` in version 0",
    },
    Case {
        name: "a version that uva never signed",
        forge: |lie| under(lie, "a", 2),
        code: Code::StaleBasis,
        because: "does not hold agreement `a` of `uva` in version 2",
    },
    Case {
        name: "an agreement that uva does not have",
        forge: |lie| under(lie, "vu_only", 1),
        code: Code::StaleBasis,
        because: "does not hold agreement `vu_only` of `uva`",
    },
    Case {
        name: "no agreement",
        forge: |lie| {
            lie.graph.governing.remove(&"uva".into());
        },
        code: Code::SiteRefused,
        because: "no agreement of `uva` governs the query",
    },
    Case {
        name: "no agreement, as if uva only computed, and nobody",
        forge: |lie| {
            lie.graph.governing.remove(&"uva".into());
            lie.token.clear();
        },
        code: Code::SiteRefused,
        because: "no agreement of `uva` governs the query",
    },
    Case {
        name: "the clause of another agreement than the one that governs",
        forge: |lie| lie.release().clauses[0].agreement.agreement = "b".into(),
        code: Code::SiteRefused,
        because: "the clause is of another agreement than the one that governs",
    },
    Case {
        name: "two agreements that govern",
        forge: |lie| {
            lie.message = |graph| {
                let other = v1::Governing { steward: "uva".into(), agreement: "b".into(), epoch: 1 };
                graph.governing.push(other);
            }
        },
        code: Code::SiteRefused,
        because: "two agreements of `uva` govern the query",
    },
    Case {
        name: "a permit that another place signed",
        forge: |lie| lie.signer = "surf",
        code: Code::SiteRefused,
        because: "the permit is not signed by the coordinator",
    },
    Case {
        name: "a permit whose time is over",
        forge: |lie| lie.graph.expires_at_ms = lie.graph.planned_at_ms - 1,
        code: Code::StaleBasis,
        because: "has expired",
    },
    Case {
        name: "a permit for ever",
        forge: |lie| lie.graph.expires_at_ms += 3_600_000,
        code: Code::SiteRefused,
        because: "the times of query",
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_believes_no_more_than_was_signed() {
    refuse_all(Base::Partials, CASES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permit_counts_once_and_for_its_graph_only() {
    let federation = Federation::start_checked(&steward).await;
    let graph = Base::Partials.graph(&federation, "once");
    let permit = Forgery::new(graph.clone()).permit(&federation);
    submit(&federation, "uva", permit.clone()).await.unwrap();
    let again = submit(&federation, "uva", permit.clone()).await.unwrap_err();
    assert_eq!(again.code, Code::SiteRefused, "{again}");
    assert!(again.message.contains("was used before"), "{again}");
    // The signature of one graph under another.
    let other = Base::Partials.graph(&federation, "other");
    let other = v1::Permit { signature: permit.signature, ..Forgery::new(other).permit(&federation) };
    let error = submit(&federation, "uva", other).await.unwrap_err();
    assert!(error.message.contains("is not signed by the coordinator"), "{error}");
    // A permit of one query with the token of another.
    let swapped =
        v1::Permit { token: token("vu"), ..Forgery::new(Base::Rows.graph(&federation, "x")).permit(&federation) };
    assert_eq!(submit(&federation, "uva", swapped).await.unwrap_err().code, Code::SiteRefused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_that_were_told_different_graphs_give_each_other_nothing() {
    let federation = Federation::start_checked(&steward).await;
    let graph = Base::Partials.graph(&federation, "two");
    let told_stewards = Forgery::new(FragmentGraph { catalog_version: 2, ..graph.clone() }).permit(&federation);
    let told_others = Forgery::new(graph.clone()).permit(&federation);
    assert_ne!(sha256(&told_stewards.graph), sha256(&told_others.graph));
    for (place, permit) in [("uva", &told_stewards), ("vu", &told_stewards), ("surf", &told_others)] {
        submit(&federation, place, permit.clone()).await.unwrap();
    }
    federation.coordinator.submit(told_others).await.unwrap();
    let error = federation.rows(&graph).await.unwrap_err();
    assert_eq!(error.code, Code::SiteRefused, "{error}");
    assert!(federation.executor("uva").report(&graph.query).is_empty());
    assert!(federation.executor("vu").report(&graph.query).is_empty());
    let records = ["uva", "vu"].map(|steward| federation.records(steward)).concat();
    let fetches: Vec<_> = records.iter().filter(|record| record["reason"] == "fetch").collect();
    assert!(fetches.iter().all(|fetch| fetch["code"] == "SITE_REFUSED"), "{records:?}");
    assert!(!fetches.is_empty() && fetches.iter().all(|fetch| fetch["reader"] != "uva"), "{fetches:?}");
}

/// The scan passes for one of the right columns until uva's own table is put in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaf_that_declares_other_columns_than_the_table_has_reads_nothing() {
    let federation = Federation::start_checked(&steward).await;
    let mut lie = Forgery::new(Base::Partials.graph(&federation, "columns"));
    let mut fields = table("uva", "persons").schema().fields().to_vec();
    // What is called salary would be the key, and the other way round.
    fields.swap(0, 2);
    let leaf = Leaf::Table { site: "uva".into(), schema: "wages".into(), table: "persons".into(), clause: None };
    let swapped = scan(&leaf, std::sync::Arc::new(arrow::datatypes::Schema::new(fields)));
    lie.plan(columns(swapped, ["grade", "salary", "id"]));
    let permit = lie.permit(&federation);
    let hash = sha256(&permit.graph);
    submit(&federation, "uva", permit).await.unwrap();
    federation.lend("uva", "surf", &lie.graph.query, &hash);
    let error = fetch(&federation, &lie.graph, &hash, "surf", "uva", 2).await;
    assert_eq!(error.code, Code::Internal, "{error}");
    assert_eq!(federation.executor("uva").report(&lie.graph.query)[0].error_code, "INTERNAL");
}

/// In plain text anybody could answer in a steward's name, with as many people in each group as it takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_is_spoken_to_over_tls_only() {
    let federation = Federation::start_checked(&steward).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut graph = Base::Partials.graph(&federation, "plain");
    let address = format!("http://{}", listener.local_addr().unwrap());
    graph.endpoints.insert("vu".into(), address.clone());
    submit_everywhere(&federation, graph.clone()).await;
    assert_eq!(federation.rows(&graph).await.unwrap_err().code, Code::SiteUnavailable);
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nothing was sent there");
    let config = federation.config_of("surf", crate::config::PlaceKind::Provider);
    let tls = TlsFiles::read(&config).unwrap();
    let channels = crate::exchange::PeerChannels::new(tls.identity, tls.authority);
    let error = channels.to(&"vu".into(), &address).unwrap_err().to_string();
    assert_eq!(error, format!("`{address}` is no https address"));
    assert_eq!(graph.fragment(FragmentId(3)).unwrap().place.as_str(), "vu");
}
