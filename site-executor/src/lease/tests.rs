//! Data of one steward at other places: on leases, and gone when these end. Real sockets between places.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use datafusion::execution::SendableRecordBatchStream;
use datafusion::prelude::{col, lit};
use dynamos_planner::fragment::FragmentGraph;
use dynamos_planner::policy::UtcMillis;
use dynamos_planner::wire::Leaf;
use dynamos_proto::ids::FragmentId;
use dynamos_proto::sign::agreement_bytes;
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1;
use dynamos_proto::v1::peer_client::PeerClient;
use futures::{FutureExt, StreamExt};
use tokio::time::Instant;

use super::{Key, LEASE};
use crate::config::PlaceKind;
use crate::query::Query;
use crate::testing::*;
use crate::tests::{average_by_grade, channel, fetch};
use crate::{Executor, service_error};

const VU: &str = "11,a,400\n14,a,600\n";
const REVOKE: &str = "REVOKE AGREEMENT a ON SITE uva";

/// More than two batches for every place that the rows pass, and than all connections between these hold by themselves.
fn many_rows() -> String {
    (0..150_000).map(|id| format!("{id},{:g<150},{}\n", "g", id % 7)).collect()
}

/// Rows that connections and places on the way hold by themselves, though no reader has them.
fn rows_under_way() -> String {
    (0..300_000).map(|id| format!("{id},g,{}\n", id % 7)).collect()
}

/// The rows of `uva`, by way of the provider.
fn by_way_of_surf(federation: &Federation, query: &str) -> FragmentGraph {
    let exchange = |id| scan(&Leaf::Exchange(FragmentId(id)), persons()).build().unwrap();
    let fragments = vec![
        fragment(0, "coordinator", None, exchange(1)),
        fragment(1, "surf", Some(0), exchange(2)),
        fragment(2, "uva", Some(1), scan_persons("uva").build().unwrap()),
    ];
    federation.graph(query, fragments, Vec::new())
}

/// The graph's query at a place.
fn at(federation: &Federation, place: &str, graph: &FragmentGraph) -> Arc<Query> {
    let alive = federation.executor(place).place().queries.alive();
    alive.into_iter().find(|query| query.graph.query == graph.query).unwrap()
}

/// Rows that are being read: the first batch has come.
async fn begun(federation: &Federation, graph: &FragmentGraph) -> SendableRecordBatchStream {
    federation.submit(graph).await;
    let mut rows = federation.coordinator.open_root(&graph.query).unwrap();
    assert_eq!(rows.next().await.unwrap().unwrap().num_rows(), 8192);
    rows
}

async fn change(place: &Executor, statement: &str) -> v1::SignedAgreement {
    place.change_agreement(statement.to_owned(), token("uva")).await.unwrap()
}

fn alter(clauses: &str, valid: &str) -> String {
    format!("ALTER AGREEMENT a ON SITE uva FOR ANYONE PURPOSE statistics {valid} AS ({clauses})")
}

/// A revocation of `uva`'s agreement, as its steward signs it.
fn revocation(federation: &Federation, epoch: u64) -> v1::SignedAgreement {
    let held = federation.executor("uva").publication().1.remove(0);
    let mut signed = v1::SignedAgreement { epoch, revoked: true, ..held };
    signed.signature = key_of("uva").sign(&agreement_bytes(&signed));
    signed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_revoke_returns_when_nothing_of_it_is_left_anywhere() {
    let federation = Federation::start([&many_rows(), VU], PLAIN).await;
    let graph = by_way_of_surf(&federation, "q1");
    let mut rows = begun(&federation, &graph).await;
    let queries = ["uva", "surf", "coordinator"].map(|place| at(&federation, place, &graph));
    let acknowledged = AtomicBool::new(false);
    let reading = async {
        let mut late = 0;
        queries[0].halt.over().await;
        let error = loop {
            match rows.next().await.unwrap() {
                Ok(_) => late += usize::from(acknowledged.load(Ordering::SeqCst)),
                Err(error) => break service_error(&error),
            }
        };
        (late, error, rows.next().await.is_none())
    };
    let revoking = async {
        let asked = Instant::now();
        let revoked = change(federation.executor("uva"), REVOKE).await;
        acknowledged.store(true, Ordering::SeqCst);
        let gone: Vec<bool> = queries.iter().map(|query| query.halt.gone().now_or_never().is_some()).collect();
        (revoked.epoch, gone, asked.elapsed())
    };
    let ((late, error, over), (epoch, gone, took)) = tokio::join!(reading, revoking);
    println!("revoked in {took:?}");
    assert_eq!((epoch, gone, late, over), (2, vec![true; 3], 0, true));
    assert_eq!(error.code, Code::StaleBasis, "{error}");
    assert_eq!(error.message, "agreement `a` of `uva` was revoked while the query ran");
    assert!(federation.executor("uva").place().grants.over(&queries).now_or_never().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_revoke_waits_no_longer_than_a_lease_for_a_place_that_does_not_confirm() {
    let federation = Federation::start([&many_rows(), VU], PLAIN).await;
    let graph = by_way_of_surf(&federation, "q1");
    let mut rows = begun(&federation, &graph).await;
    federation.executor("uva").place().grants.earlier_over().await;
    let asked = Instant::now();
    // Nobody reads, so the coordinator's place has a batch in hand and does not confirm.
    change(federation.executor("uva"), REVOKE).await;
    println!("revoked in {:?}", asked.elapsed());
    assert!(at(&federation, "coordinator", &graph).halt.gone().now_or_never().is_none());
    let error = service_error(&rows.next().await.unwrap().unwrap_err());
    assert_eq!(error.code, Code::StaleBasis, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_data_of_a_steward_that_is_silent_are_dropped_when_the_lease_ends() {
    let mut federation = Federation::start([&rows_under_way(), VU], PLAIN).await;
    let graph = by_way_of_surf(&federation, "q1");
    let mut rows = begun(&federation, &graph).await;
    // Everything has left `uva`; most of it waits at `surf` and at the coordinator.
    let uva = at(&federation, "uva", &graph);
    tokio::time::timeout(Duration::from_secs(20), uva.halt.gone()).await.unwrap();
    let silent = Instant::now();
    drop(uva);
    federation.stop("uva");
    let surf = at(&federation, "surf", &graph);
    let lapsed = tokio::time::timeout(Duration::from_secs(5), surf.halt.over()).await.unwrap();
    println!("lapsed after {:?}: {lapsed}", silent.elapsed());
    assert!(silent.elapsed() < LEASE * 2, "{:?}", silent.elapsed());
    assert_eq!(lapsed.code, Code::SiteUnavailable, "{lapsed}");
    assert_eq!(lapsed.message, "site `uva` does not answer, so its data may not stay at `surf`");
    at(&federation, "coordinator", &graph).halt.over().await;
    let error = service_error(&rows.next().await.unwrap().unwrap_err());
    assert_eq!((error.code, error.message.contains("`uva`")), (Code::SiteUnavailable, true), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_an_agreement_ends_a_running_query_at_its_very_instant() {
    let rows: String = (0..3_000).map(|id| format!("{id},g,1\n")).collect();
    let federation = Federation::start([&rows, VU], PLAIN).await;
    let until = UtcMillis(now_ms() + 2_000);
    change(federation.executor("uva"), &alter(PLAIN, &format!("VALID UNTIL '{until}'"))).await;
    // Some 27 billion rows, none of which is given out.
    let side = |name: &str| scan_persons("uva").project(vec![col("id").alias(name)]).unwrap();
    let endless = side("x").cross_join(side("y").build().unwrap()).unwrap().cross_join(side("z").build().unwrap());
    let endless = endless.unwrap().filter((col("x") + col("y") + col("z")).lt(lit(0_i64))).unwrap().build().unwrap();
    let root = scan(&Leaf::Exchange(FragmentId(1)), endless.schema().inner().clone()).build().unwrap();
    let fragments = vec![fragment(0, "coordinator", None, root), fragment(1, "uva", Some(0), endless)];
    let mut graph = federation.graph("q1", fragments, Vec::new());
    graph.governing.get_mut(&"uva".into()).unwrap().epoch = 2;
    federation.submit(&graph).await;
    let mut rows = federation.coordinator.open_root(&graph.query).unwrap();
    let error = service_error(&rows.next().await.unwrap().unwrap_err());
    let late_ms = now_ms() - until.0;
    println!("ended {late_ms} ms after the agreement");
    assert_eq!(error.code, Code::StaleBasis, "{error}");
    assert_eq!(error.message, "agreement `a` of `uva` came to its end while the query ran");
    // A holder counts from before it asked, so it is never late and may be early by the way to the steward.
    assert!((-100..1_000).contains(&late_ms), "{late_ms} ms");
    at(&federation, "uva", &graph).halt.gone().await;
    // The holder's own time was over, too: it needed nobody to tell it.
    assert!(at(&federation, "coordinator", &graph).halt.until(&"uva".into()).unwrap() <= Instant::now());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_a_running_query_goes_on_only_under_an_alteration_that_it_does_not_notice() {
    let federation = Federation::start(["1,a,100\n2,a,200\n", VU], PLAIN).await;
    let (uva, mut epoch) = (federation.executor("uva"), 1);
    let budget = format!("{PLAIN}, BUDGET 90 QUERIES PER DAY");
    let minimum = PLAIN.replace("MINIMUM 2", "MINIMUM 3");
    // The budget's number is gone with it.
    let mask = format!("{PLAIN}, 3: MASK persons.salary AS NULL");
    let cases = [(&budget, true), (&budget, true), (&minimum, false), (&minimum, true), (&mask, false)];
    for (number, (clauses, goes_on)) in cases.into_iter().enumerate() {
        let graph = federation_graph(&federation, number, epoch);
        federation.submit(&graph).await;
        epoch = change(uva, &alter(clauses, "")).await.epoch;
        let answer = federation.rows(&graph).await;
        assert_eq!(answer.is_ok(), goes_on, "{number}: {answer:?}");
        if let Err(error) = answer {
            assert_eq!(
                (error.code, error.message.contains("`a` of `uva` changed")),
                (Code::StaleBasis, true),
                "{error}"
            );
        }
    }
    let stranger = "ALTER AGREEMENT a ON SITE uva FOR ORGANISATION kb PURPOSE statistics AS (".to_owned() + &mask + ")";
    let graph = federation_graph(&federation, 9, epoch);
    federation.submit(&graph).await;
    change(uva, &stranger).await;
    // Everything is allowed by the check of these tests, which is all that looks at who asks.
    assert!(federation.rows(&graph).await.is_ok());
}

fn federation_graph(federation: &Federation, number: usize, epoch: u64) -> FragmentGraph {
    let mut graph = average_by_grade(federation, &format!("q{number}"), 1);
    graph.governing.get_mut(&"uva".into()).unwrap().epoch = epoch;
    for clause in graph.releases.iter_mut().flat_map(|point| &mut point.clauses) {
        if clause.steward.as_str() == "uva" {
            clause.agreement.epoch = epoch;
        }
    }
    graph
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_rows_go_only_to_a_place_with_a_lease() {
    let federation = Federation::start([&many_rows(), VU], PLAIN).await;
    let graph = by_way_of_surf(&federation, "q1");
    federation.submit(&graph).await;
    let hash = at(&federation, "uva", &graph).hash.clone();
    let refused = fetch(&federation, &graph, &hash, "surf", "uva", 2).await;
    assert_eq!(refused.code, Code::SiteRefused, "{refused}");
    assert!(refused.message.contains("`surf` has no lease"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_a_lease_lasts_from_the_question_and_is_given_back_by_not_being_named() {
    let federation = Federation::start([&many_rows(), VU], PLAIN).await;
    let graph = by_way_of_surf(&federation, "q1");
    // No other place has the query, so that none asks for a lease by itself.
    federation.executor("uva").submit(federation.permit(&graph)).await.unwrap();
    let place = federation.executor("uva").place().clone();
    let query = at(&federation, "uva", &graph);
    let (grants, now, surf) = (&place.grants, Instant::now(), "surf".into());
    let (one, other) = (grants.open(), grants.open());
    let request = |held: bool| {
        let named = vec![Key::of(&query).message()];
        let (held, dropping) = if held { (named, Vec::new()) } else { (Vec::new(), named) };
        v1::HoldRequest { number: 1, held, dropping }
    };
    let ask = |session, holder: &str, request: &v1::HoldRequest, now| {
        grants.renew((session, &holder.into()), request, &place.queries, now).unwrap()
    };
    let just = Duration::from_nanos(1);
    assert_eq!(ask(one, "surf", &request(true), now).leases[0].lease_ms, 500);
    assert!(grants.is_held(&surf, &query, now + LEASE - just) && !grants.is_held(&surf, &query, now + LEASE));
    // Renewed once, then on the way out: that is no renewal, but no return either.
    let later = now + LEASE / 2;
    ask(one, "surf", &request(true), later);
    ask(one, "surf", &request(false), later + LEASE / 2);
    assert!(grants.is_held(&surf, &query, later + LEASE - just) && !grants.is_held(&surf, &query, later + LEASE));
    let queries = [Arc::clone(&query)];
    let mut over = Box::pin(grants.over(&queries));
    assert!(over.as_mut().now_or_never().is_none());
    // Another connection knows nothing of it, and gives nothing back.
    ask(other, "surf", &v1::HoldRequest::default(), later);
    assert!(over.as_mut().now_or_never().is_none());
    ask(one, "surf", &v1::HoldRequest::default(), later);
    // It is over at once, not when the lease would be.
    tokio::time::timeout(LEASE / 4, over).await.expect("the lease was given back");

    let code = |reply: v1::HoldReply| reply.recalls[0].code.clone();
    assert_eq!(code(ask(one, "vu", &request(true), now)), "SITE_REFUSED", "nothing goes there");
    query.halt.halt(ServiceError::new(Code::StaleBasis, "over"));
    assert_eq!(code(ask(one, "surf", &request(true), now)), "STALE_BASIS");
    for (query_id, expected) in [("q1", "SITE_REFUSED"), ("q9", "SITE_UNAVAILABLE")] {
        let other = v1::HeldQuery { query_id: query_id.into(), graph_hash: vec![1] };
        let other = v1::HoldRequest { number: 2, held: vec![other], dropping: Vec::new() };
        assert_eq!(code(ask(one, "surf", &other, now)), expected, "{query_id} of another graph");
    }
    let endless = v1::HoldRequest { held: vec![v1::HeldQuery::default(); 5000], ..v1::HoldRequest::default() };
    assert!(grants.renew((one, &surf), &endless, &place.queries, now).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_a_steward_takes_its_signed_revocation_from_anybody() {
    let mut federation = Federation::start([&many_rows(), VU], PLAIN).await;
    let graph = by_way_of_surf(&federation, "q1");
    let mut rows = begun(&federation, &graph).await;
    let bring = async |to: &str, signed: v1::SignedAgreement| {
        let request = v1::RevokeRequest { revocation: Some(signed) };
        let answer = PeerClient::new(channel(&federation, "surf", to)).revoke(request).await;
        answer.map(|_| ()).map_err(|status| ServiceError::from_status(&status).code)
    };
    let good = revocation(&federation, 2);
    let mut forged = good.clone();
    forged.signature = key_of("vu").sign(&agreement_bytes(&forged));
    assert_eq!(bring("uva", forged.clone()).await, Err(Code::SiteRefused));
    assert_eq!(bring("vu", forged).await, Err(Code::SiteRefused));
    assert_eq!(bring("uva", revocation(&federation, 1)).await, Err(Code::StaleBasis));
    let no_revocation = federation.executor("uva").publication().1.remove(0);
    assert_eq!(bring("uva", no_revocation.clone()).await, Err(Code::SiteRefused));
    assert!(rows.next().await.unwrap().is_ok());

    let query = at(&federation, "uva", &graph);
    let reading = async {
        // Else all rows may be read before the revocation is there.
        query.halt.over().await;
        loop {
            if let Err(error) = rows.next().await.unwrap() {
                return service_error(&error);
            }
        }
    };
    let (error, brought) = tokio::join!(reading, bring("uva", good.clone()));
    assert_eq!((error.code, brought), (Code::StaleBasis, Ok(())), "{error}");
    assert_eq!(bring("uva", good.clone()).await, Ok(()), "it is known already");
    // Another steward's place remembers it, too.
    assert_eq!(bring("vu", good.clone()).await, Ok(()));
    for place in ["uva", "vu"] {
        let refused = federation.executor(place).submit(federation.permit(&by_way_of_surf(&federation, "q2"))).await;
        assert!(refused.is_err(), "{place}");
    }
    drop(rows);
    federation.stop("uva");
    let again = Executor::start(&federation.config_of("uva", PlaceKind::Steward)).await.unwrap();
    let signed = again.publication().1;
    assert_eq!((signed[0].epoch, signed[0].revoked), (2, true));
}
