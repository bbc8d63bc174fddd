//! Keys that travel as hashes, as the planner plans them and each steward judges them (rule D.3).

use dynamos_planner::PermittedQuery;
use dynamos_planner::explain;
use dynamos_planner::function::{KeyDomain, hashed, hashes_in};
use dynamos_planner::policy::sharers;
use dynamos_proto::ids::SiteId;

use super::bench::{Bench, places};

const JOINED: &str =
    "SELECT x.illness, avg(j.pay) FROM c.t.cases x JOIN d.t.jobs j ON x.bsn = j.bsn GROUP BY x.illness";

/// What `c` and `d` let go where, each with more clauses.
fn bench(c: &str, d: &str) -> Bench {
    let cases = "RELEASE count, count DISTINCT, min OF bsn, * BY illness, bsn FROM t.cases MINIMUM 5 DISTINCT bsn,
                 JOIN ON bsn WITH d, FILTER ON bsn COMPARE WITH LITERALS";
    let jobs = "RELEASE avg, sum OF pay BY sector FROM t.jobs MINIMUM 5 DISTINCT bsn, JOIN ON bsn WITH c";
    Bench::none().with("c", "g", &format!("{cases}, {c}")).with("d", "g", &format!("{jobs}, {d}"))
}

fn ship(c: &str, d: &str) -> Bench {
    let to = |columns: &str, more: &str, table: &str| format!("SHIP ROWS ({columns}, {more}) FROM t.{table} TO p");
    bench(&to(c, "illness", "cases"), &to(d, "pay", "jobs"))
}

/// The domains in which each place hashes, in a query's fragments.
fn hashed_by(query: &PermittedQuery) -> Vec<(SiteId, KeyDomain)> {
    let of_fragments = query.graph().fragments.iter().flat_map(|fragment| {
        let calls = hashes_in(&fragment.plan);
        calls.into_iter().map(|call| (fragment.place.clone(), hashed(&call).unwrap().0))
    });
    of_fragments.collect()
}

#[test]
fn d3_a_join_runs_on_hashes_where_both_clauses_list_them() {
    let bench = ship("hash(bsn)", "hash(bsn)");
    let query = bench.allows(JOINED);
    assert!(places(&query).contains("p"));
    let people = || KeyDomain::Shared("people".into());
    let mut found = hashed_by(&query);
    found.sort();
    assert_eq!(found, [(SiteId::new("c"), people()), (SiteId::new("d"), people())]);
    assert_eq!(sharers(query.graph()), ["c", "d"].map(SiteId::new).into());
    let text = explain(&query);
    for edge in ["rows of c.t.cases (hash(bsn), illness)", "rows of d.t.jobs (hash(bsn), pay)"] {
        assert!(text.contains(edge), "{text}");
    }
    for steward in ["c", "d"] {
        bench.judged_by(steward, &query).unwrap();
    }
    // Both sides have one form, and the key itself goes where both let it.
    for (c, d) in [("hash(bsn)", "bsn"), ("bsn", "hash(bsn)"), ("hash(bsn)", "sector"), ("sector", "hash(bsn)")] {
        let (c, d) = (c.replace("sector", "illness"), d);
        ship(&c, d).refuses(JOINED, "no place");
    }
    for both in ["bsn, hash(bsn)", "hash(bsn), bsn", "bsn"] {
        let query = ship(both, "hash(bsn), bsn").allows(JOINED);
        assert!(hashed_by(&query).is_empty() && sharers(query.graph()).is_empty(), "{both}");
    }
    let query = ship("bsn, hash(bsn)", "hash(bsn)").allows(JOINED);
    assert_eq!(hashed_by(&query).len(), 2);
}

#[test]
fn d3_each_steward_judges_the_hashes_by_itself() {
    let (hashes, bare) = (ship("hash(bsn)", "hash(bsn)"), ship("bsn", "bsn"));
    let (hashed, plain) = (hashes.allows(JOINED), bare.allows(JOINED));
    // Who lets the key itself go lets its hash go; not the other way round.
    bare.judged_by("c", &hashed).unwrap();
    let refused = hashes.judged_by("c", &plain).unwrap_err();
    assert!(refused.contains("it does not list `t.cases.bsn`"), "{refused}");
    let neither = ship("illness", "sector");
    let refused = neither.judged_by("d", &hashed).unwrap_err();
    assert!(refused.contains("it does not list `hash(t.jobs.bsn)`"), "{refused}");
    // The clause is about one place.
    let elsewhere =
        bench("SHIP ROWS (hash(bsn), illness) FROM t.cases TO q", "SHIP ROWS (hash(bsn), pay) FROM t.jobs TO q");
    assert!(elsewhere.judged_by("c", &hashed).unwrap_err().contains("it names another place"));
}

#[test]
fn d3_a_hash_is_compared_with_another_and_counted_and_nothing_else() {
    let bench = ship("hash(bsn)", "hash(bsn)");
    let joined =
        |what: &str, rest: &str| format!("SELECT {what} FROM c.t.cases x JOIN d.t.jobs j ON x.bsn = j.bsn {rest}");
    bench.allows(&joined("count(DISTINCT x.bsn), sum(j.pay)", ""));
    for (what, rest) in [
        ("count(x.bsn), sum(j.pay)", ""),
        ("min(x.bsn), sum(j.pay)", ""),
        ("sum(j.pay)", "WHERE x.bsn = 7"),
        ("x.bsn, sum(j.pay)", "GROUP BY x.bsn"),
    ] {
        bench.refuses(&joined(what, rest), "no place");
        ship("bsn", "bsn").allows(&joined(what, rest));
    }
}

#[test]
fn d3_no_place_that_hashes_gets_hashes_of_others() {
    let to = |at: &str| {
        bench(
            &format!("SHIP ROWS (hash(bsn), illness) FROM t.cases TO {at}"),
            "SHIP ROWS (hash(bsn), pay) FROM t.jobs TO c",
        )
    };
    to("d").refuses(JOINED, "no place");
    to("p").refuses(JOINED, "no place");
    // Where the key itself may go there is nothing to hide.
    bench("SHIP ROWS (bsn, illness) FROM t.cases TO d", "SHIP ROWS (hash(bsn), pay) FROM t.jobs TO p").allows(JOINED);
}

#[test]
fn d3_local_keys_are_hashed_by_each_steward_for_itself() {
    let ship = "RELEASE median OF wage BY sex FROM s.people MINIMUM 5 DISTINCT id";
    let bench = Bench::both(&format!("{ship}, SHIP ROWS (hash(id), sex, wage) FROM s.people TO p"));
    let query = bench.allows("SELECT sex, median(wage) FROM s.people GROUP BY sex");
    let mut found = hashed_by(&query);
    found.sort();
    let own = |steward: &str| (SiteId::new(steward), KeyDomain::Local(SiteId::new(steward)));
    assert_eq!(found, [own("a"), own("b")]);
    assert!(sharers(query.graph()).is_empty(), "nobody needs the key of another");
    for steward in ["a", "b"] {
        bench.judged_by(steward, &query).unwrap();
    }
    let counted = "RELEASE count DISTINCT OF id BY sex FROM s.people MINIMUM 5 DISTINCT id";
    let bench = Bench::both(&format!("{counted}, SHIP ROWS (hash(id), sex) FROM s.people TO p"));
    bench.allows("SELECT sex, count(DISTINCT id) FROM s.people GROUP BY sex");
    // A column that is no entity key is not hashed, whatever the clause says.
    let wages = Bench::both(&format!("{ship}, SHIP ROWS (id, sex, hash(wage)) FROM s.people TO p"));
    wages.refuses("SELECT sex, median(wage) FROM s.people GROUP BY sex", "no place");
}

#[test]
fn d3_nobody_hashes_by_a_question() {
    let bench = ship("hash(bsn)", "hash(bsn)");
    for sql in [
        "SELECT count(DISTINCT dynamos_hash_key('SHARED people', bsn)) FROM c.t.cases",
        "SELECT count(*) FROM c.t.cases GROUP BY dynamos_hash_key('SHARED people', bsn)",
        "SELECT dynamos_hash_key('SHARED people', column1) FROM (VALUES (1), (2)) AS v",
        "SELECT hash(bsn) FROM c.t.cases",
    ] {
        assert!(bench.ask(sql).is_err(), "{sql}");
    }
}
