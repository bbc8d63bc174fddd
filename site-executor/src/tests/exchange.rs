//! Edges between places: rows arrive, and only where the graph sends them.

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightClient, Ticket};
use datafusion::logical_expr::{LogicalPlanBuilder, cast};
use datafusion::prelude::{col, lit};
use dynamos_planner::fragment::FragmentGraph;
use dynamos_planner::wire::Leaf;
use dynamos_proto::ids::FragmentId;
use dynamos_proto::sign::sha256;
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1::ExchangeTicket;
use dynamos_proto::v1::site_client::SiteClient;
use dynamos_proto::v1::{CancelRequest, SubmitRequest};
use futures::StreamExt;
use prost::Message;

use crate::config::{Limits, PlaceKind};
use crate::exchange::PeerChannels;
use crate::place::TlsFiles;
use crate::testing::*;

const UVA: &str = "1,a,100\n2,a,200\n3,b,300\n";
const VU: &str = "11,a,400\n12,c,500\n";

/// The rows of both stewards, united at the coordinator.
fn union_at_coordinator(federation: &Federation, query: &str) -> FragmentGraph {
    let exchange = |id| scan(&Leaf::Exchange(FragmentId(id)), persons());
    let root = exchange(1).union(exchange(2).build().unwrap()).unwrap().build().unwrap();
    let fragments = vec![
        fragment(0, "coordinator", None, root),
        fragment(1, "uva", Some(0), scan_persons("uva").build().unwrap()),
        fragment(2, "vu", Some(0), scan_persons("vu").build().unwrap()),
    ];
    federation.graph(query, fragments, Vec::new())
}

/// A connection to `peer` with the certificate of `caller`.
pub(crate) fn channel(federation: &Federation, caller: &str, peer: &str) -> tonic::transport::Channel {
    let kind = if caller == "coordinator" { PlaceKind::Coordinator } else { PlaceKind::Provider };
    let tls = TlsFiles::read(&federation.config_of(caller, kind)).unwrap();
    let uri = format!("https://{}", federation.sites[peer].address());
    PeerChannels::new(tls.identity, tls.authority).to(&peer.into(), &uri).unwrap()
}

/// The error of a fetch at `peer` by `caller`.
pub(crate) async fn fetch(
    federation: &Federation,
    graph: &FragmentGraph,
    hash: &[u8],
    caller: &str,
    peer: &str,
    id: u32,
) -> ServiceError {
    let inner = FlightServiceClient::new(channel(federation, caller, peer));
    let ticket = ExchangeTicket { query_id: graph.query.to_string(), fragment: id, graph_hash: hash.to_vec() };
    let fetched = FlightClient::new_from_inner(inner).do_get(Ticket::new(ticket.encode_to_vec())).await;
    let error = match fetched {
        Ok(mut rows) => rows.next().await.unwrap().unwrap_err(),
        Err(error) => error,
    };
    match error {
        arrow_flight::error::FlightError::Tonic(status) => ServiceError::from_status(&status),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sites_exchange_rows_over_mutual_tls() {
    let federation = Federation::start([UVA, VU], PLAIN).await;
    let graph = union_at_coordinator(&federation, "q1");
    federation.submit(&graph).await;
    let rows = federation.rows(&graph).await.unwrap();
    assert_eq!(rows, "|1|a|100|\n|11|a|400|\n|12|c|500|\n|2|a|200|\n|3|b|300|");
    let reports = federation.executor("uva").report(&graph.query);
    assert_eq!(reports.len(), 1);
    assert_eq!((reports[0].rows_bucket, reports[0].error_code.as_str()), (1024, ""));
    for place in ["uva", "vu", "coordinator"] {
        assert_eq!(federation.executor(place).running(), 0, "{place}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_batches_arrive_whole_and_in_order() {
    let rows: String = (0..50_000).map(|id| format!("{id},g,{}\n", id % 7)).collect();
    let federation = Federation::start([&rows, VU], PLAIN).await;
    let exchange = scan(&Leaf::Exchange(FragmentId(1)), persons()).build().unwrap();
    let sorted = scan_persons("uva").sort(vec![col("id").sort(false, false)]).unwrap().build().unwrap();
    let fragments = vec![fragment(0, "coordinator", None, exchange), fragment(1, "uva", Some(0), sorted)];
    let graph = federation.graph("q1", fragments, Vec::new());
    federation.submit(&graph).await;
    let mut stream = federation.coordinator.open_root(&graph.query).unwrap();
    let mut next = 50_000;
    while let Some(batch) = stream.next().await {
        let batch = batch.unwrap();
        use arrow::array::AsArray;
        for id in batch.column(0).as_primitive::<arrow::datatypes::Int64Type>().values() {
            next -= 1;
            assert_eq!(*id, next);
        }
    }
    assert_eq!(next, 0);
    assert_eq!(federation.executor("uva").report(&graph.query)[0].rows_bucket, 65_536);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_given_to_the_place_of_the_graph_only_and_once() {
    let federation = Federation::start([UVA, VU], PLAIN).await;
    let graph = union_at_coordinator(&federation, "q1");
    federation.submit(&graph).await;
    let hash = sha256(&federation.permit(&graph).graph);
    let stranger = fetch(&federation, &graph, &hash, "surf", "uva", 1).await;
    assert_eq!(stranger.code, Code::SiteRefused, "{stranger}");
    assert!(stranger.message.contains("is not for `surf`"), "{stranger}");
    let other_graph = fetch(&federation, &graph, &sha256(b"another"), "coordinator", "uva", 1).await;
    assert_eq!(other_graph.code, Code::SiteRefused, "{other_graph}");
    let root = fetch(&federation, &graph, &hash, "coordinator", "uva", 0).await;
    assert_eq!(root.code, Code::SiteRefused, "{root}");
    assert!(federation.rows(&graph).await.unwrap().contains("|1|a|100|"));
    let again = fetch(&federation, &graph, &hash, "coordinator", "uva", 1).await;
    assert_eq!(again.code, Code::SiteUnavailable, "{again}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_coordinator_controls_a_site() {
    let federation = Federation::start([UVA, VU], PLAIN).await;
    let graph = union_at_coordinator(&federation, "q1");
    let submit = || SubmitRequest { permit: Some(federation.permit(&graph)) };
    let refused = SiteClient::new(channel(&federation, "surf", "uva")).submit(submit()).await.unwrap_err();
    assert_eq!(ServiceError::from_status(&refused).code, Code::SiteRefused);
    assert_eq!(federation.executor("uva").running(), 0);
    let mut coordinator = SiteClient::new(channel(&federation, "coordinator", "uva"));
    coordinator.submit(submit()).await.unwrap();
    assert_eq!(federation.executor("uva").running(), 1);
    let cancel = CancelRequest { query_id: graph.query.to_string(), not_begun: false, attempt: 0 };
    assert!(SiteClient::new(channel(&federation, "surf", "uva")).cancel(cancel.clone()).await.is_err());
    assert_eq!(federation.executor("uva").running(), 1);
    coordinator.cancel(cancel).await.unwrap();
    assert_eq!(federation.executor("uva").running(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_with_another_name_than_the_graph_says_is_not_spoken_to() {
    let federation = Federation::start([UVA, VU], PLAIN).await;
    let mut graph = union_at_coordinator(&federation, "q1");
    let vu = graph.endpoints[&"vu".into()].clone();
    graph.endpoints.insert("uva".into(), vu);
    federation.submit(&graph).await;
    assert_eq!(federation.rows(&graph).await.unwrap_err().code, Code::SiteUnavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_data_do_not_carry_values() {
    let federation = Federation::start(["1,Jansen,100\n", VU], PLAIN).await;
    let number = cast(col("grade"), arrow::datatypes::DataType::Int64).alias("number");
    let failing = scan_persons("uva").project(vec![number]).unwrap().build().unwrap();
    let schema = failing.schema().inner().clone();
    let root = scan(&Leaf::Exchange(FragmentId(1)), schema).build().unwrap();
    let fragments = vec![fragment(0, "coordinator", None, root), fragment(1, "uva", Some(0), failing)];
    let graph = federation.graph("q1", fragments, Vec::new());
    federation.submit(&graph).await;
    let error = federation.rows(&graph).await.unwrap_err();
    assert_eq!(error, ServiceError::new(Code::DataError, "an expression failed on data at site `uva`"));
    let reports = federation.executor("uva").report(&graph.query);
    assert_eq!(reports[0].error_code, "DATA_ERROR");
    assert!(!reports[0].error.contains("Jansen"), "{}", reports[0].error);
}

/// Rows of a steward for [`endless`].
pub(super) fn endless_rows() -> String {
    (0..3_000).map(|id| format!("{id},g,1\n")).collect()
}

/// A question about uva's [`endless_rows`]: some 27 billion, none of which is given out, so that left alone it goes on for
/// minutes without a wait.
pub(super) fn endless(federation: &Federation, query: &str) -> FragmentGraph {
    let side = |name: &str| scan_persons("uva").project(vec![col("id").alias(name)]).unwrap();
    let endless = side("x").cross_join(side("y").build().unwrap()).unwrap().cross_join(side("z").build().unwrap());
    let endless = endless.unwrap().filter((col("x") + col("y") + col("z")).lt(lit(0_i64))).unwrap().build().unwrap();
    let schema = endless.schema().inner().clone();
    let root = LogicalPlanBuilder::from(scan(&Leaf::Exchange(FragmentId(1)), schema).build().unwrap()).build().unwrap();
    let fragments = vec![fragment(0, "coordinator", None, root), fragment(1, "uva", Some(0), endless)];
    federation.graph(query, fragments, Vec::new())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_frees_what_runs() {
    let federation = Federation::start([&endless_rows(), VU], PLAIN).await;
    let graph = endless(&federation, "q1");
    federation.submit(&graph).await;
    let mut rows = federation.coordinator.open_root(&graph.query).unwrap();
    let place = federation.executor("uva").place().clone();
    let query = place.queries.get(&graph.query).unwrap();
    // The memory of the joins' inputs tells that they are at work.
    while !query.is_running(FragmentId(1)) || query.state.runtime_env().memory_pool.reserved() == 0 {
        let ended = futures::poll!(rows.next());
        assert!(ended.is_pending(), "{ended:?}");
        tokio::task::yield_now().await;
    }
    let weak = std::sync::Arc::downgrade(&query);
    drop(query);
    let begun = std::time::Instant::now();
    federation.executor("uva").cancel(&cancel(&graph.query)).await;
    let ended = rows.next().await.unwrap().unwrap_err();
    assert_eq!(crate::service_error(&ended).code, Code::Cancelled);
    while weak.upgrade().is_some() {
        tokio::task::yield_now().await;
    }
    assert!(begun.elapsed().as_millis() < 1000, "{:?}", begun.elapsed());
    assert_eq!(federation.executor("uva").report(&graph.query)[0].error_code, "CANCELLED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_nobody_fetches_is_dropped_after_its_time() {
    let limits = Limits { query_deadline: std::time::Duration::from_millis(1500), ..Limits::default() };
    let federation = Federation::start_limited(UVA, limits).await;
    let mut graph = union_at_coordinator(&federation, "q1");
    // A permit's own time is for acting on it, and ends no query that was accepted.
    graph.expires_at_ms = graph.planned_at_ms + 500;
    federation.submit(&graph).await;
    assert_eq!(federation.executor("uva").running(), 1);
    let gone = async {
        while federation.executor("uva").running() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), gone).await.unwrap();
    assert_eq!(federation.rows(&graph).await.unwrap_err().code, Code::SiteUnavailable);
}
