//! Permits that must not be acted on.

use dynamos_planner::fragment::FragmentGraph;
use dynamos_planner::wire::Leaf;
use dynamos_proto::ids::{FragmentId, SiteId};
use dynamos_proto::status::Code;
use dynamos_proto::v1;

use crate::Executor;
use crate::testing::*;

const ROWS: &str = "1,a,100\n2,a,200\n";

fn graph(federation: &Federation) -> FragmentGraph {
    let root = scan(&Leaf::Exchange(FragmentId(1)), persons()).build().unwrap();
    let rows = scan_persons("uva").build().unwrap();
    let fragments = vec![fragment(0, "coordinator", None, root), fragment(1, "uva", Some(0), rows)];
    federation.graph("q1", fragments, Vec::new())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permit_is_acted_on_once() {
    let federation = Federation::start([ROWS, ROWS], PLAIN).await;
    let uva = federation.executor("uva");
    let permit = federation.permit(&graph(&federation));
    uva.submit(permit.clone()).await.unwrap();
    assert_eq!(uva.submit(permit.clone()).await.unwrap_err().code, Code::SiteRefused);
    uva.cancel(&cancel(&"q1".into())).await;
    assert_eq!(uva.submit(permit).await.unwrap_err().code, Code::SiteRefused);
    let next = FragmentGraph { attempt: 1, ..graph(&federation) };
    uva.submit(federation.permit(&next)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_expired_and_foreign_permits_are_refused() {
    let federation = Federation::start([ROWS, ROWS], PLAIN).await;
    let submit = |graph: FragmentGraph| {
        let permit = federation.permit(&graph);
        async { federation.executor("uva").submit(permit).await.unwrap_err().code }
    };
    let graph = || graph(&federation);

    let mut forged = federation.permit(&graph());
    forged.signature = key_of("uva").sign(&forged.graph);
    assert_eq!(federation.executor("uva").submit(forged).await.unwrap_err().code, Code::SiteRefused);
    let mut changed = federation.permit(&graph());
    *changed.graph.last_mut().unwrap() ^= 1;
    assert_eq!(federation.executor("uva").submit(changed).await.unwrap_err().code, Code::SiteRefused);

    let (planned_at_ms, expires_at_ms) = (graph().planned_at_ms, graph().expires_at_ms);
    assert_eq!(submit(FragmentGraph { expires_at_ms: planned_at_ms - 1, ..graph() }).await, Code::StaleBasis);
    assert_eq!(submit(FragmentGraph { expires_at_ms: expires_at_ms + 3_600_000, ..graph() }).await, Code::SiteRefused);
    let later =
        FragmentGraph { planned_at_ms: planned_at_ms + 600_000, expires_at_ms: planned_at_ms + 660_000, ..graph() };
    assert_eq!(submit(later).await, Code::SiteRefused);
    // A site that was restarted cannot know what it has acted on before.
    assert_eq!(submit(FragmentGraph { planned_at_ms: planned_at_ms - 60_000, ..graph() }).await, Code::StaleBasis);

    assert_eq!(submit(FragmentGraph { token_hash: vec![0; 32], ..graph() }).await, Code::SiteRefused);
    assert_eq!(submit(FragmentGraph { purpose: "education".into(), ..graph() }).await, Code::Denied);
    let mut anonymous = federation.permit(&graph());
    anonymous.token.clear();
    assert_eq!(federation.executor("uva").submit(anonymous).await.unwrap_err().code, Code::SiteRefused);

    let not_here = federation.executor("vu").submit(federation.permit(&graph())).await.unwrap_err();
    assert_eq!(not_here.code, Code::SiteRefused);
    federation.executor("uva").submit(federation.permit(&graph())).await.unwrap();
}

/// Rows of a whole table, and only aggregates were agreed: without a test's own check the graph is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_site_checks_every_edge_by_its_own_agreements() {
    let mut federation = Federation::start([ROWS, ROWS], PLAIN).await;
    federation.stop("uva");
    let uva = Executor::start(&federation.steward("uva", ROWS, PLAIN)).await.unwrap();
    let error = uva.submit(federation.permit(&graph(&federation))).await.unwrap_err();
    assert_eq!(error.code, Code::SiteRefused, "{error}");
    assert_eq!(uva.running(), 0);
}

/// Who asks is told to the stewards of the query. One that is none of them takes part as a provider does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_steward_that_only_computes_needs_no_token_and_reads_no_table_of_its_own() {
    let mut federation = Federation::start([ROWS, ROWS], PLAIN).await;
    federation.stop("uva");
    let uva = Executor::start(&federation.steward("uva", ROWS, PLAIN)).await.unwrap();
    let read = |id: u32| scan(&Leaf::Exchange(FragmentId(id)), persons()).build().unwrap();
    let rows = scan_persons("vu").build().unwrap();
    let fragments = vec![
        fragment(0, "coordinator", None, read(1)),
        fragment(1, "uva", Some(0), read(2)),
        fragment(2, "vu", Some(1), rows),
    ];
    let mut computing = federation.graph("q1", fragments, Vec::new());
    let mut reading = FragmentGraph { query: "q2".into(), ..graph(&federation) };
    for graph in [&mut computing, &mut reading] {
        graph.governing.remove(&SiteId::new("uva"));
    }
    let anonymous = |graph: &FragmentGraph| v1::Permit { token: String::new(), ..federation.permit(graph) };
    uva.submit(anonymous(&computing)).await.unwrap();
    assert_eq!(uva.running(), 1);
    let permit = federation.records("uva").remove(0);
    assert_eq!((&permit["event"], &permit["query_id"]), (&"permit".into(), &"q1".into()));
    assert!(permit["requester"].is_null() && permit["charge"].is_null(), "{permit}");
    // Without an agreement that governs the query it has no rows to give, whoever asks.
    for permit in [anonymous(&reading), federation.permit(&reading)] {
        let error = uva.submit(permit).await.unwrap_err();
        assert_eq!(error.code, Code::SiteRefused, "{error}");
        assert!(error.message.contains("no agreement of `uva` governs the query"), "{error}");
    }
    // The steward whose rows they are needs to know.
    let error = federation.executor("vu").submit(anonymous(&computing)).await.unwrap_err();
    assert!(error.message.contains("no token of the requester"), "{error}");
    federation.executor("vu").submit(federation.permit(&computing)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_site_refuses_further_queries() {
    let federation = Federation::start([ROWS, ROWS], PLAIN).await;
    let mut config = federation.steward("uva", ROWS, PLAIN);
    config.limits.concurrent_fragments = 1;
    config.site.state_dir = state_dir(&config).join("second");
    let uva = Executor::start_with(&config, Box::new(AllowAll)).await.unwrap();
    uva.submit(federation.permit(&graph(&federation))).await.unwrap();
    let second = FragmentGraph { query: "q2".into(), ..graph(&federation) };
    let error = uva.submit(federation.permit(&second)).await.unwrap_err();
    assert_eq!(error.code, Code::ResourceExhausted);
    assert!(error.code.is_retryable());
}
