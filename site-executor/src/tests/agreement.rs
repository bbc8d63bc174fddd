//! A steward's agreements: it alone decides about them, durably.

use dynamos_planner::wire::Leaf;
use dynamos_proto::ids::{FragmentId, SiteId};
use dynamos_proto::sign::agreement_bytes;
use dynamos_proto::status::Code;
use dynamos_proto::token::Claims;

use super::partials::average_by_grade;
use crate::Executor;
use crate::config::PlaceKind;
use crate::testing::*;

const ROWS: &str = "1,a,100\n2,a,200\n";

fn create(name: &str) -> String {
    format!("CREATE AGREEMENT {name} ON SITE uva FOR ANYONE PURPOSE statistics AS ({PLAIN})")
}

async fn change(executor: &Executor, statement: &str) -> Result<(u64, bool), Code> {
    let changed = executor.change_agreement(statement.to_owned(), token("uva")).await;
    changed.map(|signed| (signed.epoch, signed.revoked)).map_err(|error| error.code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_only_rise_and_survive_a_restart() {
    let mut federation = Federation::start([ROWS, ROWS], PLAIN).await;
    let config = federation.steward("uva", ROWS, PLAIN);
    let uva = federation.executor("uva");
    assert_eq!(change(uva, &create("b")).await, Ok((1, false)));
    assert_eq!(change(uva, &create("b")).await, Err(Code::InvalidArgument));
    let alter = create("a").replace("CREATE", "ALTER").replace("MINIMUM 2", "MINIMUM 3");
    assert_eq!(change(uva, &alter).await, Ok((2, false)));
    assert_eq!(change(uva, "REVOKE AGREEMENT b ON SITE uva").await, Ok((2, true)));
    assert_eq!(change(uva, "REVOKE AGREEMENT b ON SITE uva").await, Err(Code::UnknownName));
    // The file in the folder is older than the ALTER and does not undo it.
    federation.stop("uva");
    let again = Executor::start(&config).await.unwrap();
    let signed = again.publication().1;
    let versions: Vec<_> = signed.iter().map(|one| (one.name.as_str(), one.epoch, one.revoked)).collect();
    assert_eq!(versions, [("a", 2, false), ("b", 2, true)]);
    assert!(signed[0].text.contains("MINIMUM 3"));
    for one in &signed {
        key_of("uva").public().verify(&agreement_bytes(one), &one.signature).unwrap();
    }
    assert_eq!(change(&again, &create("b")).await, Ok((3, false)));
}

/// A provider that forgot which versions it has seen would believe one that its steward has taken back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_of_other_stewards_only_rise_and_survive_a_restart() {
    let mut federation = Federation::start([ROWS, ROWS], PLAIN).await;
    federation.stop("surf");
    let config = federation.config_of("surf", PlaceKind::Provider);
    let signed = || ["uva", "vu"].map(|name| federation.executor(name).publication().1).concat();
    let surf = async || Executor::start_with(&config, Box::new(AllowAll)).await.unwrap();
    let submit = async |surf: &Executor, query: &str, epoch, agreements| {
        let mut permit = federation.permit(&average_by_grade(&federation, query, epoch));
        permit.agreements = agreements;
        surf.submit(permit).await.map_err(|error| error.code)
    };
    let alter = create("a").replace("CREATE", "ALTER").replace("MINIMUM 2", "MINIMUM 3");
    let first = signed();
    change(federation.executor("uva"), &alter).await.unwrap();
    let vu = alter.replace("SITE uva", "SITE vu");
    federation.executor("vu").change_agreement(vu, token("vu")).await.unwrap();
    let second = signed();
    assert_eq!(submit(&surf().await, "q1", 2, second.clone()).await, Ok(()));

    let restarted = surf().await;
    assert_eq!(submit(&restarted, "q2", 1, first.clone()).await, Err(Code::StaleBasis));
    // What was in force is so again, without a permit that brings it.
    assert_eq!(submit(&restarted, "q3", 2, Vec::new()).await, Ok(()));

    change(federation.executor("uva"), "REVOKE AGREEMENT a ON SITE uva").await.unwrap();
    assert_eq!(submit(&restarted, "q4", 2, signed()).await, Err(Code::StaleBasis));
    drop(restarted);
    let restarted = surf().await;
    for (query, epoch, agreements) in [("q5", 1, first), ("q6", 2, second)] {
        assert_eq!(submit(&restarted, query, epoch, agreements).await, Err(Code::StaleBasis), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_file_is_a_new_version() {
    let mut federation = Federation::start([ROWS, ROWS], PLAIN).await;
    federation.stop("uva");
    let config = federation.steward("uva", ROWS, &PLAIN.replace("MINIMUM 2", "MINIMUM 5"));
    let again = Executor::start(&config).await.unwrap();
    assert_eq!(again.publication().1[0].epoch, 2);
}

/// Each start would put one of them in force again, and so undo a REVOKE.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agreement_in_two_files_is_refused_with_the_names_of_both() {
    let mut federation = Federation::start([ROWS, ROWS], PLAIN).await;
    federation.stop("uva");
    let config = federation.steward("uva", ROWS, PLAIN);
    let folder = config.site.agreements_dir.as_ref().unwrap();
    std::fs::write(folder.join("z_old.sql"), create("a").replace("MINIMUM 2", "MINIMUM 5")).unwrap();
    let error = Executor::start(&config).await.unwrap_err().to_string();
    assert!(error.contains("z_old.sql") && error.contains("agreement `a` is in `"), "{error}");
    // An agreement whose file is gone is in force all the same.
    std::fs::remove_dir_all(folder).unwrap();
    std::fs::create_dir(folder).unwrap();
    let again = Executor::start(&config).await.unwrap();
    assert_eq!(again.publication().1.iter().filter(|one| !one.revoked).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_and_clauses_that_cannot_be_enforced_are_refused() {
    let federation = Federation::start([ROWS, ROWS], PLAIN).await;
    let uva = federation.executor("uva");
    let foreign = uva.change_agreement(create("b"), token("vu")).await.unwrap_err();
    assert_eq!(foreign.code, Code::Denied);
    let analyst = Claims {
        iss: "uva".into(),
        sub: "bob@uva.nl".into(),
        roles: vec!["analyst".into()],
        purposes: Vec::new(),
        exp: i64::MAX,
        jti: "2".into(),
    };
    let analyst = dynamos_proto::token::issue(&analyst, &key_of("uva")).unwrap();
    assert_eq!(uva.change_agreement(create("b"), analyst).await.unwrap_err().code, Code::Denied);
    assert_eq!(
        change(uva, &create("b").replace("ELSE DROP", "ELSE DROP, OBLIGE notification")).await,
        Err(Code::Unsupported)
    );
    assert_eq!(change(uva, &create("b").replace("SITE uva", "SITE vu")).await, Err(Code::InvalidArgument));
    assert_eq!(change(uva, "SHOW AGREEMENTS").await, Err(Code::Unsupported));
    assert_eq!(uva.publication().1.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c2_an_agreement_about_what_there_is_not_is_refused() {
    let mut federation = Federation::start([ROWS, ROWS], PLAIN).await;
    let uva = federation.executor("uva");
    for (more, word, expected) in [
        ("ROWS ON person WHERE salary < 150", "person", "there is no table `person`; there is `wages.persons`"),
        ("ROWS ON persons WHERE salray < 150", "salray", "`wages.persons` has no column `salray`"),
        ("ROWS WHERE salray < 150", "salray", "the condition `salray < 150` is about no table here"),
        ("MASK id AS NULL", "id", "the entity key `id` of `wages.persons` may not be masked"),
        ("SHIP ROWS (id) FROM wages.persons TO surff", "surff", "`surff` is no place that is known here"),
        ("JOIN ON id WITH vuu", "vuu", "`vuu` is no place that is known here; the nearest are `vu`, `surf`, `uva`"),
        ("OBLIGE AUDIT AT ROLE helper", "helper", "no place that is known here has the role `helper`"),
    ] {
        let created = create("b").replace("ELSE DROP", &format!("ELSE DROP,\n  {more}"));
        let altered = created.replace("CREATE AGREEMENT b", "ALTER AGREEMENT a");
        for statement in [created, altered] {
            let line = 1 + statement[..statement.find(more).unwrap()].matches('\n').count();
            let column = 3 + more.find(word).unwrap();
            let expected = format!("line {line}, column {column}: clause 2: {expected}");
            let refused = uva.change_agreement(statement, token("uva")).await.unwrap_err();
            assert!(refused.code == Code::InvalidArgument && refused.message.contains(&expected), "{refused}");
        }
    }
    assert_eq!((uva.publication().1.len(), uva.publication().1[0].epoch), (1, 1));
    // A file is no other way in.
    federation.stop("uva");
    let config = federation.steward("uva", ROWS, &format!("{PLAIN}, ROWS ON person WHERE salary < 150"));
    let refused = Executor::start(&config).await.unwrap_err().to_string();
    assert!(refused.contains("a.sql") && refused.contains("no table `person`"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_error_has_the_place_of_its_word() {
    let federation = Federation::start([ROWS, ROWS], PLAIN).await;
    let statement = "CREATE AGREEMENT b ON SITE uva
  FOR ROLE analyst OF uvaa, ORGANISATION kb
  PURPOSE statistcs
AS (
  RELEASE avg, summ OF salary, salray
          BY grade,
             grad
          FROM wages.persons
          MINIMUM 2 DISTINCT idd,
  SHIP ROWS (id, naem) FROM wages.persons TO vu, surff,
  FILTER ON grade, agegroup(salary) COMPARE WITH LITERALS
)";
    let refused = federation.executor("uva").change_agreement(statement.to_owned(), token("uva")).await.unwrap_err();
    let places: Vec<String> = refused
        .message
        .split("; line ")
        .map(|one| one.trim_start_matches("line ").split(": ").take(1).collect::<String>().replace(", column ", ":"))
        .collect();
    assert_eq!(places, ["2:23", "3:11", "5:16", "5:32", "7:14", "9:30", "10:18", "10:50", "11:20"], "{refused}");
    for part in ["the nearest are `uva`, `vu`, `kb`", "the nearest are `statistics`", "no aggregate function `summ`"] {
        assert!(refused.message.contains(part), "{part}: {refused}");
    }
    // Clauses that the release does not have, and numbers, have places, too.
    let uva = federation.executor("uva");
    for (from, to, expected) in [
        (
            "ELSE DROP",
            "ELSE DROP,\n BUDGET 1 QUERIES PER DAY, EPSILON 1 PER DAY",
            "line 2, column 28: clause 2: BUDGET EPSILON",
        ),
        ("ELSE DROP", "ELSE DROP,\n MASK grade AS concat(grade, salary / 2)", "line 2, column 30: clause 2: MASK with"),
        ("(RELEASE", "(\n 7: RELEASE", "line 2, column 2: clause 7: it was clause 1"),
    ] {
        let statement = create("a").replace("CREATE", "ALTER").replacen(from, to, 1);
        let refused = uva.change_agreement(statement, token("uva")).await.unwrap_err();
        assert!(refused.message.contains(expected), "{refused}");
    }
}

/// What was in force goes on to be: names are looked at when an agreement is made, not when it is read again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_is_no_longer_known_stops_no_restart() {
    let mut federation = Federation::start([ROWS, ROWS], PLAIN).await;
    let shipping = format!("{PLAIN}, SHIP PARTIALS OF 1 TO surf");
    let mut config = federation.steward("uva", ROWS, &shipping);
    federation.stop("uva");
    config.site.purposes = vec!["thesis".into()];
    let uva = Executor::start(&config).await.unwrap();
    let own = create("b").replace("PURPOSE statistics", "PURPOSE thesis");
    assert_eq!(change(&uva, &own).await, Ok((1, false)));
    drop(uva);
    config.site.purposes.clear();
    config.peers.retain(|peer| peer.name.as_str() != "surf");
    let uva = Executor::start(&config).await.unwrap();
    let signed = uva.publication().1;
    let held: Vec<_> = signed.iter().map(|one| (one.name.as_str(), one.epoch, one.revoked)).collect();
    assert_eq!(held, [("a", 2, false), ("b", 1, false)]);
    assert!(signed[0].text.contains("TO surf") && signed[1].text.contains("thesis"));
    // It is asked for anew when it is altered.
    let altered = create("a").replace("CREATE", "ALTER").replace(PLAIN, &shipping);
    let refused = uva.change_agreement(altered, token("uva")).await.unwrap_err();
    assert!(refused.message.contains("`surf` is no place that is known here"), "{refused}");
    let altered = own.replace("CREATE", "ALTER");
    let refused = uva.change_agreement(altered, token("uva")).await.unwrap_err();
    assert!(refused.message.contains("`thesis` is no purpose that is known here"), "{refused}");
}

/// A change of agreement `n`, which has the plain clause and these behind it.
fn numbered(change: &str, clauses: &str) -> String {
    format!("{change} AGREEMENT n ON SITE uva FOR ANYONE PURPOSE statistics AS ({PLAIN}{clauses})")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e6_a_clauses_number_is_never_anothers_over_changes_and_restarts() {
    let mut federation = Federation::start([ROWS, ROWS], PLAIN).await;
    let config = federation.steward("uva", ROWS, PLAIN);
    let uva = federation.executor("uva");
    let first = ", FILTER ON grade COMPARE WITH LITERALS, BUDGET 5 QUERIES PER DAY";
    change(uva, &numbered("CREATE", first)).await.unwrap();
    // Without its second clause the third would be the second.
    let refused = async |uva: &Executor, statement: &str| {
        let error = uva.change_agreement(statement.to_owned(), token("uva")).await.unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument, "{error}");
        error.message
    };
    let moved = refused(uva, &numbered("ALTER", ", BUDGET 5 QUERIES PER DAY")).await;
    assert!(moved.contains("clause 2: it was clause 3; write `3:` before it"), "{moved}");
    assert_eq!(change(uva, &numbered("ALTER", ", 3: BUDGET 5 QUERIES PER DAY")).await, Ok((2, false)));
    // The number is gone, whichever kind of clause asks for it, after a restart and after a revocation.
    let again = |what: &str| numbered(what, ", FILTER ON salary COMPARE WITH LITERALS, 3: BUDGET 5 QUERIES PER DAY");
    assert!(refused(uva, &again("ALTER")).await.contains("clause 2: the number was that of a clause which is gone"));
    federation.stop("uva");
    let uva = Executor::start(&config).await.unwrap();
    assert!(refused(&uva, &again("ALTER")).await.contains("as `4:`"));
    change(&uva, "REVOKE AGREEMENT n ON SITE uva").await.unwrap();
    assert!(refused(&uva, &again("CREATE")).await.contains("as `4:`"));
    let other = refused(&uva, &numbered("CREATE", ", 3: FILTER ON salary COMPARE WITH LITERALS")).await;
    assert!(other.contains("clause 3: the number is that of a BUDGET clause, not of a FILTER clause"), "{other}");
    let next = ", 3: BUDGET 9 QUERIES PER DAY, FILTER ON salary COMPARE WITH LITERALS";
    assert_eq!(change(&uva, &numbered("CREATE", next)).await, Ok((4, false)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e6_what_is_simulated_is_refused_in_the_words_in_which_a_change_is() {
    let federation = Federation::start([ROWS, ROWS], PLAIN).await;
    let uva = federation.executor("uva");
    let first = ", FILTER ON grade COMPARE WITH LITERALS, BUDGET 5 QUERIES PER DAY";
    change(uva, &numbered("CREATE", first)).await.unwrap();
    change(uva, &numbered("ALTER", ", 3: BUDGET 5 QUERIES PER DAY")).await.unwrap();
    change(uva, &numbered("ALTER", "")).await.unwrap();
    let simulated = async |clauses: &str, of: &str| {
        uva.simulates(format!("{} FOR RECENT QUERIES", numbered("SIMULATE", clauses)), token(of)).await
    };
    for clauses in [
        // Both numbers are gone, one of them for longer than the version before remembers.
        ",\n  FILTER ON grade COMPARE WITH LITERALS",
        ",\n  3: BUDGET 5 QUERIES PER DAY",
        ",\n  4: ROWS ON person WHERE salary < 150",
        ",\n  4: OBLIGE notification",
    ] {
        let altered = uva.change_agreement(numbered("ALTER", clauses), token("uva")).await.unwrap_err();
        let simulated = simulated(clauses, "uva").await.unwrap_err();
        assert!(altered.message.starts_with("line 2, column "), "{altered}");
        assert_eq!((simulated.code, simulated.message), (altered.code, altered.message), "{clauses}");
    }
    let fits = ", 4: BUDGET 5 QUERIES PER DAY";
    assert!(simulated(fits, "uva").await.unwrap());
    assert_eq!(simulated(fits, "vu").await.unwrap_err().code, Code::Denied);
    assert!(!uva.simulates(create("b"), token("uva")).await.unwrap(), "it is a change");
    let signed = uva.publication().1;
    let versions: Vec<_> = signed.iter().map(|one| (one.name.as_str(), one.epoch)).collect();
    assert_eq!(versions, [("a", 1), ("n", 3)], "nothing has changed");
}

/// A site that was written to by an earlier release knows no numbers that are gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e6_a_store_without_retired_numbers_is_read() {
    let mut federation = Federation::start([ROWS, ROWS], PLAIN).await;
    federation.stop("uva");
    let config = federation.steward("uva", ROWS, PLAIN);
    let path = state_dir(&config).join("agreements.json");
    let mut records: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(records[0].as_object_mut().unwrap().remove("retired"), Some(serde_json::json!([])));
    std::fs::write(&path, records.to_string()).unwrap();
    let uva = Executor::start(&config).await.unwrap();
    assert_eq!(change(&uva, &create("a").replace("CREATE", "ALTER")).await, Ok((2, false)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoking_an_agreement_ends_the_queries_that_rest_on_it() {
    let federation = Federation::start([ROWS, ROWS], PLAIN).await;
    let root = scan(&Leaf::Exchange(FragmentId(1)), persons()).build().unwrap();
    let rows = scan_persons("uva").build().unwrap();
    let fragments = vec![fragment(0, "coordinator", None, root), fragment(1, "uva", Some(0), rows)];
    let graph = federation.graph("q1", fragments, Vec::new());
    federation.submit(&graph).await;
    let uva = federation.executor("uva");
    assert_eq!(uva.name(), &SiteId::new("uva"));
    assert_eq!(uva.running(), 1);
    assert_eq!(change(uva, "REVOKE AGREEMENT a ON SITE uva").await, Ok((2, true)));
    assert_eq!(uva.running(), 0);
    assert_eq!(federation.rows(&graph).await.unwrap_err().code, Code::StaleBasis);
    assert_eq!(uva.submit(federation.permit(&graph)).await.unwrap_err().code, Code::StaleBasis);
}
