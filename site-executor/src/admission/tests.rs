//! Permits that must not be acted on.

use dynamos_planner::fragment::FragmentGraph;
use dynamos_planner::wire::Leaf;
use dynamos_proto::ids::FragmentId;
use dynamos_proto::status::Code;

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
