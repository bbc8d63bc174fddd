//! From the permit to the last row, and everything that can end a query before.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use dynamos_proto::ids::QueryId;
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1;
use futures::{FutureExt, StreamExt, TryStreamExt};

use super::fixture::{Answer, Fixture, batch, columns};
use crate::dispatch::Begun;
use crate::frontend::Outcome;
use crate::query::rows::shown;
use crate::query::{QueryState, Refusal};

fn report(code: &str) -> v1::FragmentReport {
    v1::FragmentReport { fragment: 2, place: "uva".into(), error_code: code.into(), ..Default::default() }
}

/// Of the fixture's query: one at each of two stewards, one at the provider, the root.
const FRAGMENTS: usize = 4;

#[tokio::test]
async fn gives_the_rows_after_the_permit_reached_every_place_and_the_disk() {
    let federation = Fixture::new();
    let feed = federation.root.feed(columns());
    // Every fragment ended.
    *federation.place("uva").reports.lock().unwrap() = vec![report(""); FRAGMENTS];
    let (query, stream) = federation.rows().await.unwrap();

    let logged = federation.decisions();
    assert!(logged.contains(query.as_str()) && logged.contains("\"permitted\""), "{logged}");
    let token = &federation.caller("analyst").identity.token;
    assert!(!logged.contains(token.as_str()));
    let permits = |site: &str| federation.place(site).permits.lock().unwrap().clone();
    let at_root = federation.root.permits.lock().unwrap().clone();
    assert!(permits("uva").iter().all(|permit| permit.token == *token));
    // No agreement of vu governs the query: it computes as the provider does.
    for permit in permits("vu").iter().chain(&permits("surf")).chain(&at_root) {
        assert_eq!(permit.token, "", "only stewards of the query see a token");
    }
    let public = crate::registry::tests::key(9).public();
    assert!(public.verify(&at_root[0].graph, &at_root[0].signature).is_ok());
    assert_eq!(permits("surf")[0].agreements.len(), 1);
    assert_eq!((permits("uva").len(), permits("vu").len(), permits("vu")[0].agreements.len()), (1, 1, 0));

    feed.send(Ok(batch(&[1, 2]))).unwrap();
    feed.send(Ok(batch(&[3]))).unwrap();
    drop(feed);
    let rows: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    assert_eq!(rows, vec![batch(&[1, 2]), batch(&[3])]);
    let record = federation.engine.queries().get(&query).unwrap();
    assert_eq!((record.state, record.rows, record.reports.len()), (QueryState::Finished, 3, FRAGMENTS));
    // The end of the rows was seen, so that of the query is on the disk.
    let records = federation.records();
    assert_eq!(records.len(), 2);
    let (decision, end) = (&records[0], &records[1]);
    assert_eq!((&decision["event"], &decision["requester"]), (&"decision".into(), &"a@uva.nl".into()));
    assert_eq!(decision["graph_sha256"], dynamos_proto::sign::sha256_hex(&at_root[0].graph));
    assert_eq!((&decision["organisation"], &decision["purpose"]), (&"uva".into(), &"statistics".into()));
    assert_eq!(decision["agreements"], serde_json::json!([{"steward": "uva", "agreement": "a", "epoch": 3}]));
    assert_eq!(decision["clauses"], serde_json::json!(["uva.a@3 clause 1"]));
    // Three rows look like any small number.
    assert_eq!(
        (&end["event"], &end["outcome"], &end["rows_at_most"]),
        (&"end".into(), &"FINISHED".into(), &1024.into())
    );
    assert_eq!(end["query_id"], query.as_str());
    assert_eq!(*federation.place("uva").cancelled.borrow(), 0);
}

#[tokio::test]
async fn rows_whose_end_cannot_be_recorded_do_not_end_well() {
    let federation = Fixture::new();
    let feed = federation.root.feed(columns());
    *federation.place("uva").reports.lock().unwrap() = vec![report(""); FRAGMENTS];
    let (_, mut stream) = federation.rows().await.unwrap();
    feed.send(Ok(batch(&[1]))).unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), batch(&[1]));
    federation.engine.parts.decisions.break_off();
    drop(feed);
    let error = shown(&stream.next().await.unwrap().unwrap_err());
    assert_eq!(error.code, Code::Internal, "{error}");
    assert!(error.message.contains("end of the query could not be recorded"), "{error}");
    assert!(stream.next().await.is_none());
    assert_eq!(federation.records().len(), 1);
}

#[tokio::test]
async fn an_error_is_told_once_it_is_on_record() {
    let federation = Fixture::new();
    let _feed = federation.root.feed(columns());
    let (query, mut stream) = federation.rows().await.unwrap();
    federation.lose("vu");
    assert!(stream.next().await.unwrap().is_err());
    let last = federation.records().pop().unwrap();
    assert_eq!((&last["query_id"], &last["outcome"]), (&query.as_str().into(), &"SITE_UNAVAILABLE".into()));
    // Also one that comes before the first row.
    let federation = Fixture::new();
    let _feed = federation.root.feed(columns());
    *federation.place("vu").submit.lock().unwrap() = Err(ServiceError::new(Code::BudgetSpent, "no more"));
    assert!(federation.rows().await.is_err());
    let last = federation.records().pop().unwrap();
    assert_eq!((&last["event"], &last["outcome"]), (&"end".into(), &"BUDGET_SPENT".into()));
}

#[tokio::test]
async fn b6_which_stewards_released_something_is_told_at_the_end_and_not_of_a_part() {
    for (code, told) in [("", Some([("uva".to_owned(), true)].into())), ("INTERNAL", None)] {
        let federation = Fixture::new();
        let feed = federation.root.feed(columns());
        let decided = v1::FragmentReport { released: Some(true), ..report(code) };
        *federation.place("uva").reports.lock().unwrap() = vec![decided];
        let Outcome::Rows { mut stream, released, .. } = federation.run("SELECT n FROM wages.personen").await.unwrap()
        else {
            panic!("a query answers with rows")
        };
        feed.send(Ok(batch(&[1]))).unwrap();
        stream.next().await.unwrap().unwrap();
        assert_eq!(released.told(), None, "there may be more rows");
        drop(feed);
        assert_eq!(stream.next().await.is_none(), code.is_empty());
        assert_eq!(released.told().cloned(), told, "{code}");
    }
}

#[tokio::test]
async fn a_fragment_that_nobody_had_to_read_is_told_to_stop_at_the_end() {
    let federation = Fixture::new();
    let feed = federation.root.feed(columns());
    *federation.place("uva").reports.lock().unwrap() = vec![report(""); FRAGMENTS - 1];
    let (query, stream) = federation.rows().await.unwrap();
    feed.send(Ok(batch(&[1]))).unwrap();
    drop(feed);
    assert_eq!(stream.try_collect::<Vec<RecordBatch>>().await.unwrap(), vec![batch(&[1])]);
    assert_eq!(federation.engine.queries().get(&query).unwrap().state, QueryState::Finished);
    federation.engine.drain().await;
    assert_eq!(*federation.place("uva").cancelled.borrow(), 1);
}

#[tokio::test]
async fn a_place_that_cannot_take_the_permit_is_named_and_the_others_are_told_to_stop() {
    let federation = Fixture::new();
    let _feed = federation.root.feed(columns());
    *federation.place("vu").submit.lock().unwrap() =
        Err(ServiceError::new(Code::SiteUnavailable, "no route to the host"));
    let error = federation.rows().await.err().unwrap();
    assert_eq!(error.code, Code::SiteUnavailable);
    assert!(error.message.contains("`vu`"), "{error}");
    for place in federation.places.values().chain([&federation.root]) {
        place.until_cancelled().await;
    }
    assert_eq!(federation.engine.queries().list()[0].state, QueryState::Failed(Code::SiteUnavailable));
    federation.engine.drain().await;
    assert_eq!(federation.records()[1]["outcome"], "SITE_UNAVAILABLE");
}

#[tokio::test]
async fn a_place_is_told_to_stop_once_it_has_answered_and_that_nobody_had_begun() {
    let federation = Fixture::new();
    let _feed = federation.root.feed(columns());
    *federation.place("vu").submit.lock().unwrap() = Err(ServiceError::new(Code::BudgetSpent, "no more"));
    let uva = federation.place("uva");
    let silent = uva.answers.acquire().await.unwrap();
    assert_eq!(federation.rows().await.err().unwrap().code, Code::BudgetSpent, "the first failure is the answer");
    for place in [federation.place("vu"), federation.place("surf"), &federation.root] {
        place.until_cancelled().await;
    }
    assert_eq!((uva.permits.lock().unwrap().len(), *uva.cancelled.borrow()), (1, 0), "it may still accept the query");
    drop(silent);
    uva.until_cancelled().await;
    assert_eq!(*uva.begun.lock().unwrap(), [Begun::Nowhere]);
}

#[tokio::test]
async fn a_refusal_of_a_site_keeps_its_code() {
    let federation = Fixture::new();
    *federation.place("uva").submit.lock().unwrap() = Err(ServiceError::new(Code::SiteRefused, "no clause"));
    assert_eq!(federation.rows().await.err().unwrap().code, Code::SiteRefused);
}

#[tokio::test]
async fn a_site_that_is_down_gets_no_permit_and_neither_does_any_other() {
    let federation = Fixture::new();
    federation.lose("vu");
    let error = federation.rows().await.err().unwrap();
    assert_eq!((error.code, error.message.contains("`vu`")), (Code::SiteUnavailable, true));
    assert!(federation.place("uva").permits.lock().unwrap().is_empty());
}

#[tokio::test]
async fn dropping_the_rows_tells_every_place_to_stop() {
    let federation = Fixture::new();
    let feed = federation.root.feed(columns());
    let (query, mut stream) = federation.rows().await.unwrap();
    feed.send(Ok(batch(&[1]))).unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    drop(stream);
    for place in federation.places.values().chain([&federation.root]) {
        place.until_cancelled().await;
        assert_eq!(*place.begun.lock().unwrap(), [Begun::Somewhere]);
    }
    assert_eq!(federation.engine.queries().get(&query).unwrap().state, QueryState::Cancelled);
}

#[tokio::test]
async fn a_site_that_goes_down_ends_the_query_with_its_name() {
    let federation = Fixture::new();
    let _feed = federation.root.feed(columns());
    let (query, mut stream) = federation.rows().await.unwrap();
    federation.lose("vu");
    let error = shown(&stream.next().await.unwrap().unwrap_err());
    assert_eq!((error.code, error.message.contains("`vu`")), (Code::SiteUnavailable, true), "{error}");
    assert!(stream.next().await.is_none());
    federation.place("uva").until_cancelled().await;
    let state = federation.engine.queries().get(&query).unwrap().state;
    assert_eq!(state, QueryState::Failed(Code::SiteUnavailable));
}

#[tokio::test]
async fn a_query_that_waits_for_rows_notices_a_loss_without_being_polled_again() {
    let federation = Fixture::new();
    let _feed = federation.root.feed(columns());
    let (_, mut stream) = federation.rows().await.unwrap();
    let (item, ()) = tokio::join!(stream.next(), async { federation.lose("surf") });
    assert_eq!(shown(&item.unwrap().unwrap_err()).code, Code::SiteUnavailable);
}

/// What a site says of a query that may not go on.
fn recalled() -> DataFusionError {
    let text = "agreement `a` of `uva` changed while the query ran";
    DataFusionError::External(Box::new(ServiceError::new(Code::StaleBasis, text)))
}

#[tokio::test]
async fn e2_a_query_that_has_released_a_batch_ends_when_its_agreement_is_revoked() {
    let federation = Fixture::new();
    let feed = federation.root.feed(columns());
    let (_, mut stream) = federation.rows().await.unwrap();
    feed.send(Ok(batch(&[1]))).unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    federation.revoke_agreement();
    feed.send(Ok(batch(&[2]))).unwrap();
    let error = shown(&stream.next().await.unwrap().unwrap_err());
    assert_eq!((error.code, error.message.contains("agreement `a` of `uva`")), (Code::StaleBasis, true), "{error}");
    assert_eq!(federation.planner.asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn e2_a_query_goes_on_under_an_altered_agreement_until_the_steward_recalls_it() {
    let federation = Fixture::new();
    let feed = federation.root.feed(columns());
    let (_, mut stream) = federation.rows().await.unwrap();
    federation.change_agreement();
    feed.send(Ok(batch(&[1]))).unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), batch(&[1]));
    feed.send(Err(recalled())).unwrap();
    let error = shown(&stream.next().await.unwrap().unwrap_err());
    assert_eq!((error.code, error.message.contains("`uva`")), (Code::StaleBasis, true), "{error}");
    assert_eq!(federation.planner.asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn e2_a_query_that_has_released_nothing_is_planned_again_under_its_id() {
    let federation = Fixture::new();
    let first = federation.root.feed(columns());
    let (query, mut stream) = federation.rows().await.unwrap();
    let second = federation.root.feed(columns());
    federation.change_agreement();
    first.send(Err(recalled())).unwrap();
    second.send(Ok(batch(&[7]))).unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), batch(&[7]));
    let asked: Vec<_> =
        federation.planner.asked.lock().unwrap().iter().map(|one| (one.query.clone(), one.attempt)).collect();
    assert_eq!(asked, [(query.clone(), 0), (query.clone(), 1)]);
    let uva = federation.place("uva");
    uva.until_cancelled().await;
    assert_eq!((uva.permits.lock().unwrap().len(), &*uva.attempts_ended.lock().unwrap()), (2, &vec![0]));
    drop(second);
    assert!(stream.next().await.is_none());
    federation.engine.drain().await;
    let events: Vec<_> =
        federation.records().iter().map(|one| (one["event"].clone(), one["query_id"].clone())).collect();
    let own = |event: &str| (event.into(), query.as_str().into());
    assert_eq!(events, [own("decision"), own("decision"), own("end")]);
}

/// What a place says when a steward was silent for longer than a lease.
fn lapsed() -> DataFusionError {
    let text = "site `uva` does not answer, so its data may not stay at `coordinator`";
    DataFusionError::External(Box::new(ServiceError::new(Code::SiteUnavailable, text)))
}

#[tokio::test]
async fn e2_a_query_that_lost_its_data_for_a_moment_is_planned_again_once() {
    let federation = Fixture::new();
    let first = federation.root.feed(columns());
    let (query, mut stream) = federation.rows().await.unwrap();
    let second = federation.root.feed(columns());
    first.send(Err(lapsed())).unwrap();
    second.send(Ok(batch(&[7]))).unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), batch(&[7]));
    let attempts = || federation.planner.asked.lock().unwrap().iter().map(|one| one.attempt).collect::<Vec<_>>();
    assert_eq!(attempts(), [0, 1]);
    // Now something was released.
    second.send(Err(lapsed())).unwrap();
    let error = shown(&stream.next().await.unwrap().unwrap_err());
    assert_eq!((error.code, error.message.contains("`uva`")), (Code::SiteUnavailable, true), "{error}");
    assert_eq!(attempts(), [0, 1]);
    let events: Vec<_> =
        federation.records().iter().map(|one| (one["event"].clone(), one["query_id"].clone())).collect();
    let own = |event: &str| (event.into(), query.as_str().into());
    assert_eq!(events, [own("decision"), own("decision"), own("end")]);
}

#[tokio::test]
async fn e2_a_query_that_loses_its_data_again_or_for_good_is_not_planned_again() {
    let federation = Fixture::new();
    let first = federation.root.feed(columns());
    let (_, mut stream) = federation.rows().await.unwrap();
    let second = federation.root.feed(columns());
    first.send(Err(lapsed())).unwrap();
    second.send(Err(lapsed())).unwrap();
    assert_eq!(shown(&stream.next().await.unwrap().unwrap_err()).code, Code::SiteUnavailable);
    assert_eq!(federation.planner.asked.lock().unwrap().len(), 2);
    // One that the coordinator misses, too, will not be there for another attempt.
    let federation = Fixture::new();
    let feed = federation.root.feed(columns());
    let (_, mut stream) = federation.rows().await.unwrap();
    federation.lose("uva");
    feed.send(Err(lapsed())).unwrap();
    assert_eq!(shown(&stream.next().await.unwrap().unwrap_err()).code, Code::SiteUnavailable);
    assert_eq!(federation.planner.asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn e2_a_place_that_stays_silent_is_told_of_in_time() {
    let federation = Fixture::new();
    let feed = federation.root.feed(columns());
    let (_, mut stream) = federation.rows().await.unwrap();
    let uva = federation.place("uva");
    let _silent = uva.answers.acquire().await.unwrap();
    let lost = tokio::time::Instant::now();
    feed.send(Err(lapsed())).unwrap();
    let error = shown(&stream.next().await.unwrap().unwrap_err());
    assert_eq!((error.code, error.message.contains("`uva`")), (Code::SiteUnavailable, true), "{error}");
    assert_eq!(uva.permits.lock().unwrap().len(), 2);
    assert!(lost.elapsed() < Duration::from_secs(4), "{:?}", lost.elapsed());
}

#[tokio::test]
async fn e2_a_query_that_may_not_be_planned_again_is_denied() {
    let federation = Fixture::new();
    let _feed = federation.root.feed(columns());
    let (query, mut stream) = federation.rows().await.unwrap();
    let reason = "no agreement of `uva` allows it".to_owned();
    *federation.planner.answer.lock().unwrap() = Answer::Deny(Refusal { reason, reasons: vec![], hint: None });
    federation.revoke_agreement();
    let error = shown(&stream.next().await.unwrap().unwrap_err());
    assert_eq!((error.code, error.message.contains("`uva`")), (Code::Denied, true), "{error}");
    assert_eq!(federation.engine.queries().get(&query).unwrap().state, QueryState::Failed(Code::Denied));
}

#[tokio::test]
async fn e2_a_query_is_planned_again_only_so_often() {
    let federation = Fixture::new();
    let mut feed = federation.root.feed(columns());
    let (_, mut stream) = federation.rows().await.unwrap();
    federation.change_agreement();
    let ends = async {
        for _ in 0..3 {
            let next = federation.root.feed(columns());
            feed.send(Err(recalled())).unwrap();
            feed.closed().await;
            feed = next;
        }
    };
    let (error, ()) = tokio::join!(stream.next(), ends);
    assert_eq!(shown(&error.unwrap().unwrap_err()).code, Code::StaleBasis);
    assert_eq!(federation.planner.asked.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn e2_a_place_that_knows_of_a_newer_version_makes_the_query_be_planned_again() {
    let federation = Fixture::new();
    let _feed = federation.root.feed(columns());
    let uva = federation.place("uva");
    *uva.submit.lock().unwrap() = Err(ServiceError::new(Code::StaleBasis, "`uva` holds version 4"));
    let silent = uva.answers.acquire().await.unwrap();
    let changes = async {
        while uva.permits.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        drop(silent);
        uva.until_cancelled().await;
        *uva.submit.lock().unwrap() = Ok(());
        federation.change_agreement();
    };
    let (started, ()) = tokio::join!(federation.rows(), changes);
    assert!(started.is_ok());
    assert_eq!(federation.planner.asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn the_deadline_ends_the_query() {
    let federation = Fixture::with_deadline(Duration::from_millis(200));
    let _feed = federation.root.feed(columns());
    let (_, mut stream) = federation.rows().await.unwrap();
    assert_eq!(shown(&stream.next().await.unwrap().unwrap_err()).code, Code::DeadlineExceeded);
    federation.place("vu").until_cancelled().await;
}

#[tokio::test]
async fn a_requester_that_stops_reading_does_not_outlive_the_deadline() {
    let federation = Fixture::with_deadline(Duration::from_millis(200));
    let feed = federation.root.feed(columns());
    let (query, mut stream) = federation.rows().await.unwrap();
    feed.send(Ok(batch(&[1]))).unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), batch(&[1]));
    federation.place("vu").until_cancelled().await;
    let state = federation.engine.queries().get(&query).unwrap().state;
    assert_eq!(state, QueryState::Failed(Code::DeadlineExceeded));
    let limits = crate::config::LimitsSection::default();
    assert_eq!(federation.engine.admission.free(), limits.concurrent_queries, "its place is free");
    feed.send(Ok(batch(&[2]))).ok();
    assert_eq!(shown(&stream.next().await.unwrap().unwrap_err()).code, Code::DeadlineExceeded);
    assert_eq!(federation.records().pop().unwrap()["outcome"], "DEADLINE_EXCEEDED");
    assert!(stream.next().await.is_none());
}

/// Its requester said stop: it holds no place, that is on record, and whoever asks for more is told.
async fn assert_cancelled(federation: &Fixture, query: &QueryId, stream: &mut SendableRecordBatchStream) {
    assert_eq!(federation.engine.queries().get(query).unwrap().state, QueryState::Cancelled);
    let limits = crate::config::LimitsSection::default();
    assert_eq!(federation.engine.admission.free(), limits.concurrent_queries, "its place is free");
    let error = shown(&stream.next().await.unwrap().unwrap_err());
    assert_eq!(error, ServiceError::new(Code::Cancelled, "the query was cancelled"));
    assert_eq!(federation.records().pop().unwrap()["outcome"], "CANCELLED");
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_requester_that_stops_reading_can_cancel() {
    let federation = Fixture::new();
    let feed = federation.root.feed(columns());
    let caller = federation.caller("analyst");
    let (query, mut stream) = federation.rows_for(&caller).await.unwrap();
    feed.send(Ok(batch(&[1]))).unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), batch(&[1]));
    caller.cancel.cancel();
    federation.place("vu").until_cancelled().await;
    assert_cancelled(&federation, &query, &mut stream).await;
}

#[tokio::test]
async fn a_query_can_be_cancelled_while_a_batch_is_made_for_which_nobody_comes() {
    let federation = Fixture::new();
    let feed = federation.root.feed(columns());
    let caller = federation.caller("analyst");
    let (query, mut stream) = federation.rows_for(&caller).await.unwrap();
    let uva = federation.place("uva");
    let _silent = uva.answers.acquire().await.unwrap();
    federation.change_agreement();
    feed.send(Err(recalled())).unwrap();
    assert!(stream.next().now_or_never().is_none());
    // It is planned again, and the new permit is not answered.
    while uva.permits.lock().unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    caller.cancel.cancel();
    federation.place("vu").until_cancelled().await;
    assert_cancelled(&federation, &query, &mut stream).await;
}

#[tokio::test]
async fn e2_a_batch_that_waited_for_its_reader_is_not_given_after_a_revocation() {
    let federation = Fixture::new();
    let feed = federation.root.feed(columns());
    let (query, mut stream) = federation.rows().await.unwrap();
    feed.send(Ok(batch(&[1]))).unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), batch(&[1]));
    // It asks for the next one, and does not come for it when it is there.
    assert!(stream.next().now_or_never().is_none());
    feed.send(Ok(batch(&[2]))).unwrap();
    let made = || federation.engine.queries().get(&query).is_some_and(|record| record.rows == 2);
    while !made() {
        tokio::task::yield_now().await;
    }
    federation.revoke_agreement();
    let error = shown(&stream.next().await.unwrap().unwrap_err());
    assert_eq!((error.code, error.message.contains("agreement `a` of `uva`")), (Code::StaleBasis, true), "{error}");
    assert_eq!(federation.records().pop().unwrap()["outcome"], "STALE_BASIS");
}

#[tokio::test]
async fn at_shutdown_queries_that_are_still_read_end_on_record() {
    let federation = Fixture::new();
    let feed = federation.root.feed(columns());
    let (_, mut stream) = federation.rows().await.unwrap();
    feed.send(Ok(batch(&[1]))).unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), batch(&[1]));
    federation.engine.drain().await;
    assert_eq!(federation.records().pop().unwrap()["outcome"], "CANCELLED");
    assert_eq!(*federation.place("vu").cancelled.borrow(), 1);
    let error = shown(&stream.next().await.unwrap().unwrap_err());
    assert!(error.message.contains("shutting down"), "{error}");
}

#[tokio::test]
async fn an_end_of_rows_with_a_failed_fragment_is_a_failure() {
    let federation = Fixture::new();
    drop(federation.root.feed(columns()));
    *federation.place("uva").reports.lock().unwrap() = vec![report("DATA_ERROR")];
    let (query, mut stream) = federation.rows().await.unwrap();
    let error = shown(&stream.next().await.unwrap().unwrap_err());
    assert_eq!((error.code, error.message.contains("`uva`")), (Code::DataError, true));
    assert_eq!(federation.engine.queries().get(&query).unwrap().state, QueryState::Failed(Code::DataError));
}

#[tokio::test]
async fn rows_of_other_types_than_promised_are_not_given() {
    let federation = Fixture::new();
    let other = Arc::new(Schema::new(vec![Field::new("c0", DataType::Boolean, true)]));
    let feed = federation.root.feed(Arc::clone(&other));
    let (_, mut stream) = federation.rows().await.unwrap();
    let secret = Arc::new(arrow::array::BooleanArray::from(vec![true]));
    feed.send(Ok(RecordBatch::try_new(other, vec![secret]).unwrap())).unwrap();
    assert_eq!(shown(&stream.next().await.unwrap().unwrap_err()).code, Code::Internal);
}

#[tokio::test]
async fn an_error_of_the_root_keeps_its_code_and_a_foreign_one_its_text_to_itself() {
    for (error, code) in [
        (DataFusionError::External(Box::new(ServiceError::new(Code::SiteRefused, "x"))), Code::SiteRefused),
        (DataFusionError::Execution("cannot cast secret".into()), Code::DataError),
    ] {
        let federation = Fixture::new();
        let feed = federation.root.feed(columns());
        let (_, mut stream) = federation.rows().await.unwrap();
        feed.send(Err(error)).unwrap();
        let error = shown(&stream.next().await.unwrap().unwrap_err());
        assert_eq!(error.code, code);
        assert!(!error.message.contains("secret"));
    }
}

#[tokio::test]
async fn a_denial_is_logged_and_reaches_no_place() {
    let federation = Fixture::new();
    let refusal = Refusal {
        reason: "clause 1 needs `unieknr`".into(),
        reasons: vec![],
        hint: Some("group by `geslacht`".into()),
    };
    *federation.planner.answer.lock().unwrap() = Answer::Deny(refusal);
    let error = federation.rows().await.err().unwrap();
    assert_eq!((error.code, error.hint.as_deref()), (Code::Denied, Some("group by `geslacht`")));
    let logged = federation.decisions();
    assert!(logged.contains("\"denied\"") && logged.contains("clause 1"), "{logged}");
    assert!(federation.place("uva").permits.lock().unwrap().is_empty());
    federation.engine.drain().await;
    assert_eq!(federation.records().len(), 1, "what did not begin has no end");
}

#[tokio::test]
async fn a_statement_that_cannot_be_decided_is_recorded_without_its_literals() {
    let federation = Fixture::new();
    let unknown = ServiceError::new(Code::UnknownName, "there is no `jansen`");
    *federation.planner.answer.lock().unwrap() = Answer::Fail(unknown.clone());
    assert_eq!(federation.rows().await.err().unwrap(), unknown);
    let refusal = Refusal { reason: "`name = 'Jansen'` needs FILTER ON `name`".into(), reasons: vec![], hint: None };
    *federation.planner.answer.lock().unwrap() = Answer::Deny(refusal);
    assert!(federation.rows().await.err().unwrap().message.contains("Jansen"), "the requester knows what was asked");
    let records = federation.records();
    assert_eq!((&records[0]["verdict"], &records[0]["code"]), (&"refused".into(), &"UNKNOWN_NAME".into()));
    assert_eq!(records[0]["agreements"][0]["agreement"], "a", "what the decision rests on");
    assert_eq!((&records[1]["verdict"], &records[1]["code"]), (&"denied".into(), &"DENIED".into()));
    assert_eq!(records[1]["reason"], "`name = ?` needs FILTER ON `name`");
    assert!(!federation.decisions().to_lowercase().contains("jansen"));
}

#[tokio::test]
async fn a_plan_of_another_query_is_not_run() {
    let federation = Fixture::new();
    *federation.planner.answer.lock().unwrap() = Answer::PermitAnotherQuery;
    assert_eq!(federation.rows().await.err().unwrap().code, Code::Internal);
    assert_eq!(federation.decisions(), "");
}
