//! The reports, word by word: one query of each form in which data go out, and a refused one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use dynamos_proto::ids::{QueryId, SiteId};

use super::{explain_denial, explain_policy};
use crate::candidate::Placement;
use crate::catalog::{
    Availability, Catalog, Entity, EntityScope, FederatedTable, Site, SiteKind, Table, TableName, TableStatistics,
};
use crate::knowledge::Knowledge;
use crate::plan::{Planned, PlanningInput, plan_query, policy};
use crate::policy::{AgreementSet, HeldAgreement, Purposes, Requester, UtcMillis};
use crate::sql::parse_agreement;

/// People and their jobs at `uni` and `vu`, whose keys are LOCAL; a clinic's cases by a number that everybody has, and the
/// wages of `work` by the same; `lab` computes.
fn catalog() -> Catalog {
    let table = |key: &str, scope: EntityScope, columns: &[(&str, DataType)]| Table {
        schema: Arc::new(Schema::new(
            columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect::<Vec<_>>(),
        )),
        statistics: TableStatistics { rows: 1_000, columns: BTreeMap::new() },
        entity: Some(Entity { column: key.into(), scope }),
        colocated: BTreeMap::new(),
    };
    let (text, number) = (DataType::Utf8, DataType::Int64);
    let people = table(
        "id",
        EntityScope::Local,
        &[("id", number.clone()), ("sex", text.clone()), ("city", text.clone()), ("gone", DataType::Boolean)],
    );
    let jobs =
        table("id", EntityScope::Local, &[("id", number.clone()), ("scale", number.clone()), ("dept", text.clone())]);
    let everybody = || EntityScope::Shared("people".into());
    let cases = table("bsn", everybody(), &[("bsn", number.clone()), ("illness", text.clone())]);
    let wages = table("bsn", everybody(), &[("bsn", number.clone()), ("wage", number)]);
    let site = |kind, tables: &[(&str, &str, &Table)]| Site {
        kind,
        roles: if kind == SiteKind::Provider { ["computes".to_owned()].into() } else { BTreeSet::new() },
        regions: BTreeSet::new(),
        uri: String::new(),
        availability: Availability::Up,
        tables: tables.iter().map(|(schema, name, table)| (TableName::new(*schema, *name), (*table).clone())).collect(),
    };
    let of_people: &[(&str, &str, &Table)] = &[("w", "people", &people), ("w", "jobs", &jobs)];
    let sites = [
        ("uni", site(SiteKind::Steward, of_people)),
        ("vu", site(SiteKind::Steward, of_people)),
        ("clinic", site(SiteKind::Steward, &[("care", "cases", &cases)])),
        ("work", site(SiteKind::Steward, &[("pay", "wages", &wages)])),
        ("lab", site(SiteKind::Provider, &[])),
        ("coordinator", site(SiteKind::Coordinator, &[])),
    ];
    let federated = || FederatedTable { stewards: ["uni", "vu"].map(SiteId::new).into() };
    Catalog {
        version: 1,
        sites: sites.map(|(name, site)| (SiteId::new(name), site)).into(),
        federated: ["people", "jobs"].map(|name| (TableName::new("w", name), federated())).into(),
    }
}

/// An agreement with one analyst of each of these stewards, and one with somebody else that nobody here may see.
fn report(clauses: &[(&str, &str)], sql: &str, placement: Placement) -> String {
    let mut agreements = AgreementSet::default();
    let mut agree = |name: &str, with: &str, steward: &str, clauses: &str| {
        let text = format!("CREATE AGREEMENT {name} ON SITE {steward} FOR {with} PURPOSE statistics AS ({clauses})");
        agreements.insert(HeldAgreement::new(3, parse_agreement(&text).unwrap()));
    };
    for (steward, clauses) in clauses {
        agree("g", "USER 'ann@uni'", steward, clauses);
        agree("other", "USER 'bob@uni'", steward, "RELEASE ROWS (secret) FROM hidden");
    }
    let requester = Requester { user: "ann@uni".into(), organisation: "uni".into(), roles: vec![] };
    let input = PlanningInput {
        catalog: &catalog(),
        agreements: &agreements,
        purposes: &Purposes::default(),
        requester: &requester,
        purpose: Some("statistics"),
        agreement: None,
        placement,
        default_schema: None,
        knowledge: &Knowledge::default(),
        query: QueryId::new("q"),
        attempt: 0,
        now: UtcMillis(0),
        token_hash: Vec::new(),
    };
    let text = match plan_query(sql, &[], &input).unwrap() {
        Planned::Permitted(query) => explain_policy(query.graph(), query.verdicts(), &query.schema(), &policy(&input)),
        Planned::Denied(denial) => {
            let nearest = crate::nearest::nearest_query(sql, &[], &input);
            explain_denial(&denial, nearest.as_ref().map(|nearest| nearest.sql.as_str()), &policy(&input))
        }
    };
    assert!(!text.contains("other") && !text.contains("secret"), "an agreement with somebody else is told:\n{text}");
    text
}

#[track_caller]
fn is(clauses: &[(&str, &str)], sql: &str, placement: Placement, expected: &str) {
    let text = report(clauses, sql, placement);
    assert!(text == expected, "the report on `{sql}` is\n{text}");
}

/// Aggregates of people and their jobs; partials and four columns of rows may go to `lab`.
const PAY: &str = "pay: RELEASE avg, sum, count OF scale, * BY sex, dept FROM w.people JOIN w.jobs ON id
    MINIMUM 10 DISTINCT people.id ELSE DROP,
    SHIP PARTIALS OF pay TO lab,
    SHIP ROWS (people.id, sex, dept, scale) FROM w.people JOIN w.jobs ON id TO ROLE computes,
    FILTER ON dept COMPARE WITH LITERALS";
const BY_SEX: &str = "SELECT p.sex, avg(j.scale) AS average, count(*) FROM w.people p JOIN w.jobs j ON p.id = j.id
    WHERE j.dept = 'law' GROUP BY p.sex";

#[test]
fn partials_that_are_merged_at_a_provider() {
    is(&[("uni", PAY), ("vu", PAY)], BY_SEX, Placement::ComputeToData, "Allowed for ann@uni of uni, for the purpose statistics.
By agreement: g of uni, epoch 3; g of vu, epoch 3.

uni: partials (sums and counts of groups) leave; its rows stay
  uni → lab (provider): partials per group of sex, where dept = 'law', for avg(scale) and count(*), with what counts different id; groups of any size are in them
    by clause 2: SHIP PARTIALS OF pay TO lab
  lab (provider) → coordinator: released groups: avg(scale) and count(*) by sex, each with at least 10 different id; smaller groups are left out
    by clause 1: pay: RELEASE avg, sum, count OF scale, * BY sex, dept FROM w.people JOIN w.jobs ON id MINIMUM 10 DISTINCT people.id
  coordinator → requester: the same
    by clause 1, above

vu: partials (sums and counts of groups) leave; its rows stay
  vu → lab (provider): partials per group of sex, where dept = 'law', for avg(scale) and count(*), with what counts different id; groups of any size are in them
    by clause 2: SHIP PARTIALS OF pay TO lab
  lab (provider) → coordinator: released groups: avg(scale) and count(*) by sex, each with at least 10 different id; smaller groups are left out
    by clause 1: pay: RELEASE avg, sum, count OF scale, * BY sex, dept FROM w.people JOIN w.jobs ON id MINIMUM 10 DISTINCT people.id
  coordinator → requester: the same
    by clause 1, above

The requester gets: sex, average = avg(scale), count(*)
");
}

#[test]
fn rows_that_are_shipped() {
    is(&[("uni", PAY), ("vu", PAY)], BY_SEX, Placement::DataToCompute, "Allowed for ann@uni of uni, for the purpose statistics.
By agreement: g of uni, epoch 3; g of vu, epoch 3.

uni: rows leave
  uni → lab (provider): rows of w.jobs JOIN w.people (sex, scale, id), where dept = 'law'
    by clause 3: SHIP ROWS (people.id, sex, dept, scale) FROM w.people JOIN w.jobs ON id TO ROLE computes
  lab (provider) → coordinator: released groups: avg(scale) and count(*) by sex, each with at least 10 different id; smaller groups are left out
    by clause 1: pay: RELEASE avg, sum, count OF scale, * BY sex, dept FROM w.people JOIN w.jobs ON id MINIMUM 10 DISTINCT people.id
  coordinator → requester: the same
    by clause 1, above

vu: rows leave
  vu → lab (provider): rows of w.jobs JOIN w.people (sex, scale, id), where dept = 'law'
    by clause 3: SHIP ROWS (people.id, sex, dept, scale) FROM w.people JOIN w.jobs ON id TO ROLE computes
  lab (provider) → coordinator: released groups: avg(scale) and count(*) by sex, each with at least 10 different id; smaller groups are left out
    by clause 1: pay: RELEASE avg, sum, count OF scale, * BY sex, dept FROM w.people JOIN w.jobs ON id MINIMUM 10 DISTINCT people.id
  coordinator → requester: the same
    by clause 1, above

The requester gets: sex, average = avg(scale), count(*)
");
}

#[test]
fn keys_that_leave_as_hashes() {
    let clinic = "RELEASE count OF * BY illness FROM care.cases MINIMUM 10 DISTINCT bsn,
        SHIP ROWS (hash(bsn), illness) FROM care.cases TO lab, here: JOIN ON bsn WITH work";
    let work = "RELEASE avg OF wage FROM pay.wages MINIMUM 20 DISTINCT bsn ROUND TO 5,
        SHIP ROWS (hash(bsn), wage) FROM pay.wages TO lab, JOIN ON bsn WITH clinic";
    let sql =
        "SELECT c.illness, avg(w.wage) FROM clinic.care.cases c JOIN work.pay.wages w ON c.bsn = w.bsn GROUP BY 1";
    is(&[("clinic", clinic), ("work", work)], sql, Placement::Auto, "Allowed for ann@uni of uni, for the purpose statistics.
By agreement: g of clinic, epoch 3; g of work, epoch 3.

clinic: rows with hashes in place of keys leave
  clinic → lab (provider): rows of care.cases (illness, hash(bsn)), keys as hashes
    by clause 2: SHIP ROWS (hash(bsn), illness) FROM care.cases TO lab
  lab (provider) → coordinator: released groups: avg(wage) by illness, each with at least 20 different bsn; smaller groups are left out; numbers are rounded to multiples of 5
    by clause 1: RELEASE count OF * BY illness FROM care.cases MINIMUM 10 DISTINCT bsn
    by clause 3: here: JOIN ON bsn WITH work
  coordinator → requester: the same
    by clauses 1 and 3, above

work: rows with hashes in place of keys leave
  work → lab (provider): rows of pay.wages (wage, hash(bsn)), keys as hashes
    by clause 2: SHIP ROWS (hash(bsn), wage) FROM pay.wages TO lab
  lab (provider) → coordinator: released groups: avg(wage) by illness, each with at least 20 different bsn; smaller groups are left out; numbers are rounded to multiples of 5
    by clause 1: RELEASE avg OF wage FROM pay.wages MINIMUM 20 DISTINCT bsn ROUND TO 5
    by clause 3: JOIN ON bsn WITH clinic
  coordinator → requester: the same
    by clauses 1 and 3, above

The requester gets: illness, avg(w.wage)
");
}

/// One steward alone, with views and with duties.
#[test]
fn groups_that_are_computed_beside_the_data() {
    let clauses =
        "RELEASE sum, count OF scale, * BY dept FROM w.jobs MINIMUM 10 DISTINCT id DOMINANCE 0.5 ELSE REMAINDER,
        MASK jobs.dept AS left(dept, 1),
        MASK people.city AS 'somewhere',
        ROWS ON people WHERE gone IS NOT TRUE,
        ROWS ON jobs WHERE scale > 0,
        ARCHETYPES compute_to_data,
        BUDGET 3 QUERIES PER YEAR,
        OBLIGE AUDIT,
        OBLIGE RETENTION INTERVAL '0' HOUR AT lab";
    let sql =
        "SELECT dept, sum(scale) AS total, count(*) AS n FROM uni.w.jobs GROUP BY dept HAVING count(*) > 1 ORDER BY 2";
    is(&[("uni", clauses)], sql, Placement::Auto, "Allowed for ann@uni of uni, for the purpose statistics.
By agreement: g of uni, epoch 3.

uni: its rows stay: they are computed on beside the data, and only released groups leave
  uni → coordinator: released groups: sum(scale) and count(*) by dept, each with at least 10 different id; smaller groups are merged into one without keys; no id has more than 0.5 of a sum
    by clause 1: RELEASE sum, count OF scale, * BY dept FROM w.jobs MINIMUM 10 DISTINCT id DOMINANCE 0.5 ELSE REMAINDER
  coordinator → requester: the same
    by clause 1, above
  before anything leaves
    clause 2: MASK jobs.dept AS left(dept, 1)
    clause 4: ROWS ON people WHERE gone IS NOT TRUE; hides the same people in w.jobs
    clause 5: ROWS ON jobs WHERE scale > 0
  binding this use
    clause 6: ARCHETYPES compute_to_data
    clause 7: BUDGET 3 QUERIES PER YEAR, counted by uni; this question counts for 1
    clause 8: OBLIGE AUDIT; binds coordinator and uni (steward)

The requester gets: dept, total = sum(scale), n = count(*)
");
}

#[test]
fn groups_that_each_steward_decides_about() {
    let clauses = "RELEASE sum, count OF scale, * BY dept FROM w.jobs MINIMUM 10 DISTINCT id PER SITE ELSE FAIL";
    let sql = "SELECT dept, sum(scale) FROM w.jobs GROUP BY ROLLUP (dept)";
    is(&[("uni", clauses), ("vu", clauses)], sql, Placement::Auto, "Allowed for ann@uni of uni, for the purpose statistics.
By agreement: g of uni, epoch 3; g of vu, epoch 3.

uni: its rows stay: they are computed on beside the data, and only released groups leave
  uni → coordinator: its own released groups: sum(scale) by grouping sets ((), (dept)), each with at least 10 different id; a smaller group fails the query; each steward decides about its own groups (per site); sent so that they can be merged
    by clause 1: RELEASE sum, count OF scale, * BY dept FROM w.jobs MINIMUM 10 DISTINCT id PER SITE ELSE FAIL
  coordinator → requester: released groups: sum(scale) by grouping sets ((), (dept)), each with at least 10 different id; a smaller group fails the query; each steward decides about its own groups (per site)
    by clause 1, above

vu: its rows stay: they are computed on beside the data, and only released groups leave
  vu → coordinator: its own released groups: sum(scale) by grouping sets ((), (dept)), each with at least 10 different id; a smaller group fails the query; each steward decides about its own groups (per site); sent so that they can be merged
    by clause 1: RELEASE sum, count OF scale, * BY dept FROM w.jobs MINIMUM 10 DISTINCT id PER SITE ELSE FAIL
  coordinator → requester: released groups: sum(scale) by grouping sets ((), (dept)), each with at least 10 different id; a smaller group fails the query; each steward decides about its own groups (per site)
    by clause 1, above

The requester gets: dept, sum(w.jobs.scale)
");
}

/// Of rows that are released only what is computed from them goes on.
#[test]
fn rows_that_are_released() {
    let clauses = "RELEASE ROWS (id, city, sex) FROM w.people, SHIP ROWS (id, city) FROM w.people TO lab";
    let rows = "SELECT sex, city FROM w.people WHERE city <> 'x'";
    is(
        &[("uni", clauses), ("vu", clauses)],
        rows,
        Placement::Auto,
        "Allowed for ann@uni of uni, for the purpose statistics.
By agreement: g of uni, epoch 3; g of vu, epoch 3.

uni: released rows leave
  uni → coordinator: released rows of w.people (sex, city)
    by clause 1: RELEASE ROWS (id, city, sex) FROM w.people
  coordinator → requester: the same
    by clause 1, above

vu: released rows leave
  vu → coordinator: released rows of w.people (sex, city)
    by clause 1: RELEASE ROWS (id, city, sex) FROM w.people
  coordinator → requester: the same
    by clause 1, above

The requester gets: sex, city
",
    );
    let counted = "SELECT city, count(DISTINCT id) AS people FROM uni.w.people GROUP BY city";
    is(
        &[("uni", clauses)],
        counted,
        Placement::DataToCompute,
        "Allowed for ann@uni of uni, for the purpose statistics.
By agreement: g of uni, epoch 3.

uni: released rows leave
  uni → lab (provider): released rows of w.people (id, city)
    by clause 2: SHIP ROWS (id, city) FROM w.people TO lab
  lab (provider) → coordinator: city and count(DISTINCT id), computed from released rows of w.people
    by clause 1: RELEASE ROWS (id, city, sex) FROM w.people
  coordinator → requester: the same
    by clause 1, above

The requester gets: city, people = count(DISTINCT id)
",
    );
}

/// A sum of counts is the count of all rows only where all of them are in it, once.
#[test]
fn sums_of_counts_of_some_groups() {
    let clauses = "RELEASE ROWS (id, city, sex) FROM w.people, SHIP ROWS (id, city) FROM w.people TO lab";
    let counts = |table: &str| format!("SELECT city, count(*) AS n FROM {table} GROUP BY city");
    for table in ["uni.w.people", "w.people"] {
        let counts = counts(table);
        for (from, expected) in [
            (format!("({counts}) c"), "people = count(*)\n"),
            (format!("({counts} HAVING count(*) > 50) c"), "people = sum(count(*))\n"),
            (format!("({counts} ORDER BY city LIMIT 3) c"), "people = sum(count(*))\n"),
            (format!("(SELECT DISTINCT n FROM ({counts}) d) c"), "people = sum(count(*))\n"),
            (format!("({counts}) c JOIN {table} p ON p.city = c.city"), "people = sum(count(*))\n"),
        ] {
            let sql = format!("SELECT sum(c.n) AS people FROM {from}");
            let text = report(&[("uni", clauses), ("vu", clauses)], &sql, Placement::Auto);
            assert!(text.ends_with(expected), "the report on `{sql}` is\n{text}");
        }
    }
}

/// Of one steward nothing is said: it has all of every sum.
#[test]
fn shares_of_one_steward_and_of_several() {
    let sum = |more: &str| {
        format!("s: RELEASE sum OF scale BY dept FROM w.jobs MINIMUM 10 DISTINCT id {more}, SHIP PARTIALS OF s TO lab")
    };
    let (together, alone) = ("no id and no steward has more than 0.5 of a sum", "no id has more than 0.5 of a sum");
    for (more, table, told, untold) in [
        ("DOMINANCE 0.5", "w.jobs", together, alone),
        ("DOMINANCE 0.5", "uni.w.jobs", alone, together),
        ("PER SITE DOMINANCE 0.5 ELSE FAIL", "w.jobs", alone, together),
    ] {
        let (clauses, sql) = (sum(more), format!("SELECT dept, sum(scale) FROM {table} GROUP BY dept"));
        let text = report(&[("uni", &clauses), ("vu", &clauses)], &sql, Placement::Auto);
        assert!(text.contains(told) && !text.contains(untold), "the report on `{sql}` is\n{text}");
    }
}

#[test]
fn a_minimum_that_is_missing() {
    let clauses = "RELEASE avg OF scale BY dept FROM w.jobs";
    is(
        &[("uni", clauses)],
        "SELECT avg(scale) FROM uni.w.jobs",
        Placement::Auto,
        "Allowed for ann@uni of uni, for the purpose statistics.
By agreement: g of uni, epoch 3.

uni: its rows stay: they are computed on beside the data, and only released groups leave
  uni → coordinator: released of all rows together: avg(scale), with no minimum, so that it may be a single person
    by clause 1: RELEASE avg OF scale BY dept FROM w.jobs
  coordinator → requester: the same
    by clause 1, above

The requester gets: avg(uni.w.jobs.scale)
",
    );
}

#[test]
fn a_question_about_nobodys_data() {
    is(
        &[],
        "SELECT 1 AS one",
        Placement::Auto,
        "Allowed for ann@uni of uni, for the purpose statistics.
No steward's data is in it.

The requester gets: one = 1
",
    );
}

#[test]
fn a_query_that_is_refused() {
    let sql = "SELECT p.sex, max(j.scale), avg(j.scale) FROM w.people p JOIN w.jobs j ON p.id = j.id GROUP BY p.sex";
    is(&[("uni", PAY), ("vu", PAY)], sql, Placement::Auto, "Refused for ann@uni of uni, for the purpose statistics.

uni: by agreement g, epoch 3
  agreement `g` has no RELEASE ROWS
  agreement `g`, clause 1: it does not list `max` of `w.jobs.scale`
    clause 1: pay: RELEASE avg, sum, count OF scale, * BY sex, dept FROM w.people JOIN w.jobs ON id MINIMUM 10 DISTINCT people.id

vu: by agreement g, epoch 3
  agreement `g` has no RELEASE ROWS
  agreement `g`, clause 1: it does not list `max` of `w.jobs.scale`
    clause 1: pay: RELEASE avg, sum, count OF scale, * BY sex, dept FROM w.people JOIN w.jobs ON id MINIMUM 10 DISTINCT people.id

Nearest allowed query:
  SELECT p.sex, avg(j.scale) FROM w.people p JOIN w.jobs j ON p.id = j.id GROUP BY p.sex
");
}
