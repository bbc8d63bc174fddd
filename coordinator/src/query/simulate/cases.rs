//! Which questions are decided, and who is taken to ask them: those who asked lately, as they asked, or whoever an agreement
//! grants something.

use dynamos_planner::bind;
use dynamos_planner::catalog::Catalog;
use dynamos_planner::policy::{Agreement, Grantee, Requester};
use dynamos_proto::ids::SiteId;

use super::statement::{Whose, told, whose};
use crate::query::planner_door::PlanRequest;
use crate::query::queries::{Asked, QueryRecord};

/// Recent queries that are looked at, the newest first.
const RECENT_MAX: usize = 50;
/// Persons who have asked that stand for one grantee, the newest first.
const PERSONS_MAX: usize = 10;

/// A question to decide twice.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// How the answer's row calls it.
    pub(super) query: String,
    /// How the answer's row calls whom it is about.
    pub(super) requester: String,
    /// Who is taken to ask.
    pub(super) person: String,
    /// What the steward is told of the statement.
    pub(super) statement: String,
    /// What it is told of why something is not allowed.
    pub(super) telling: Telling,
    /// The question; it has a statement.
    pub(super) asked: Asked,
}

/// What the steward may be told of a question besides what its own agreements say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Telling {
    /// All its tables are this steward's own, so nothing that is said of it is about others.
    pub(super) own: bool,
    /// Somebody else has asked it, whose literals and parameters are not for the steward.
    pub(super) recent: bool,
}

/// Queries that named a table of this steward, the newest first.
pub(super) fn recent(records: Vec<QueryRecord>, steward: &SiteId, catalog: &Catalog) -> Vec<Case> {
    let cases = records.into_iter().rev().filter_map(|QueryRecord { query, asked, .. }| {
        let sql = asked.sql.as_deref()?;
        let parsed = bind::parse(sql).ok()?;
        let whose = whose(&parsed, steward, catalog);
        if whose == Whose::Others {
            return None;
        }
        let Requester { user, organisation, .. } = &asked.requester;
        Some(Case {
            query: query.to_string(),
            requester: format!("{user} of {organisation}"),
            person: described(&asked.requester, "has asked"),
            statement: told(sql, &parsed, steward, catalog),
            telling: Telling { own: whose == Whose::Own, recent: true },
            asked,
        })
    });
    cases.take(RECENT_MAX).collect()
}

/// The query as each grantee of these texts would ask it, for each purpose that the same text grants: who is granted something
/// by the text that is in force only would lose it. `own` says that all its tables are the steward's.
pub(super) fn grantees(
    texts: &[&Agreement],
    persons: &Persons<'_>,
    (sql, own): (&str, bool),
    base: &PlanRequest,
) -> Vec<Case> {
    let granted = |text: &&Agreement| {
        let pairs =
            text.grantees.iter().flat_map(|grantee| text.purposes.iter().map(move |purpose| (grantee, purpose)));
        pairs.map(|(grantee, purpose)| (grantee.clone(), purpose.clone())).collect::<Vec<_>>()
    };
    let mut pairs: Vec<(Grantee, String)> = Vec::new();
    for pair in texts.iter().flat_map(granted) {
        if !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    let mut cases = Vec::new();
    for (grantee, purpose) in pairs {
        cases.extend(persons.of(&grantee).into_iter().map(|(requester, person)| Case {
            query: "the query".to_owned(),
            requester: grantee.to_string(),
            person,
            statement: sql.to_owned(),
            telling: Telling { own, recent: false },
            asked: Asked {
                sql: Some(sql.to_owned()),
                parameters: Vec::new(),
                requester,
                purpose: Some(purpose.clone()),
                // Which of several agreements a person names is not known; by default it is none.
                agreement: None,
                placement: base.placement,
                default_schema: base.default_schema.clone(),
            },
        }));
    }
    cases
}

/// Who can stand for a grantee. A grantee leaves open what other stewards' agreements may ask for: the user, the
/// organisation or the roles. Somebody with none of them would be refused by those agreements, and there is nobody like that.
pub(super) struct Persons<'a> {
    /// Those who have asked about this steward's tables, the newest first, each once.
    asked: Vec<&'a Requester>,
    /// Those who vouch for people.
    organisations: Vec<&'a String>,
}

impl<'a> Persons<'a> {
    pub(super) fn new(recent: &'a [Case], organisations: impl Iterator<Item = &'a String>) -> Self {
        let mut asked: Vec<&Requester> = Vec::new();
        for requester in recent.iter().map(|case| &case.asked.requester) {
            if !asked.contains(&requester) {
                asked.push(requester);
            }
        }
        Self { asked, organisations: organisations.collect() }
    }

    /// Those who have asked, and of each further organisation somebody of whom nothing is known but what the grantee says.
    fn of(&self, grantee: &Grantee) -> Vec<(Requester, String)> {
        let matching: Vec<&Requester> = self.asked.iter().copied().filter(|person| grantee.matches(person)).collect();
        let mut persons: Vec<(Requester, String)> = Vec::new();
        for person in matching.iter().take(PERSONS_MAX) {
            persons.push(((*person).clone(), described(person, "has asked")));
        }
        if matches!(grantee, Grantee::User(_)) && !persons.is_empty() {
            return persons;
        }
        let (user, roles, only) = match grantee {
            Grantee::User(user) => (user.clone(), vec![], None),
            Grantee::Role { role, organisation } => (String::new(), vec![role.clone()], organisation.as_ref()),
            Grantee::Organisation(organisation) => (String::new(), vec![], Some(organisation)),
            Grantee::Anyone => (String::new(), vec![], None),
        };
        let organisations = only.map_or_else(|| self.organisations.clone(), |only| vec![only]);
        let seen = |organisation: &String| matching.iter().any(|person| person.organisation == *organisation);
        for organisation in organisations.into_iter().filter(|organisation| !seen(organisation)) {
            let made_up = Requester { user: user.clone(), organisation: organisation.clone(), roles: roles.clone() };
            let person = described(&made_up, "made up");
            persons.push((made_up, person));
        }
        persons
    }
}

/// A person in words, with where it is from.
fn described(person: &Requester, from: &str) -> String {
    let Requester { user, organisation, roles } = person;
    let user = if user.is_empty() { "anybody" } else { user };
    let roles = if roles.is_empty() { "no role".to_owned() } else { format!("role {}", roles.join(", ")) };
    format!("{user} of {organisation}, {roles} ({from})")
}

#[cfg(test)]
mod tests {
    use dynamos_planner::Placement;
    use dynamos_planner::sql::parse_agreement;

    use super::*;

    fn requester(user: &str, organisation: &str, roles: &[&str]) -> Requester {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        Requester { user: user.into(), organisation: organisation.into(), roles }
    }

    fn asked(requester: Requester) -> Case {
        let asked = Asked {
            sql: Some("SELECT 1".into()),
            parameters: vec![],
            requester,
            purpose: None,
            agreement: None,
            placement: Placement::default(),
            default_schema: None,
        };
        let telling = Telling { own: true, recent: true };
        Case { query: "1".into(), requester: "r".into(), person: "p".into(), statement: "s".into(), telling, asked }
    }

    fn persons(recent: &[Case], grantee: &str) -> Vec<String> {
        let text = format!("CREATE AGREEMENT a ON SITE vu FOR {grantee} PURPOSE x AS (RELEASE ROWS (*) FROM t)");
        let organisations = ["amc".to_owned(), "uva".to_owned()];
        let agreement = parse_agreement(&text).unwrap();
        let persons = Persons::new(recent, organisations.iter());
        persons.of(&agreement.grantees[0]).into_iter().map(|(_, person)| person).collect()
    }

    #[test]
    fn whoever_is_left_open_is_somebody_of_an_organisation() {
        for (grantee, expected) in [
            ("ROLE analyst", vec!["anybody of amc, role analyst (made up)", "anybody of uva, role analyst (made up)"]),
            ("ROLE analyst OF vu", vec!["anybody of vu, role analyst (made up)"]),
            ("ORGANISATION vu", vec!["anybody of vu, no role (made up)"]),
            ("ANYONE", vec!["anybody of amc, no role (made up)", "anybody of uva, no role (made up)"]),
            ("USER 'ann@uva.nl'", vec!["ann@uva.nl of amc, no role (made up)", "ann@uva.nl of uva, no role (made up)"]),
        ] {
            assert_eq!(persons(&[], grantee), expected, "{grantee}");
        }
    }

    #[test]
    fn those_who_have_asked_stand_for_themselves() {
        let ann = requester("ann@uva.nl", "uva", &["analyst", "teacher"]);
        let recent = [ann.clone(), requester("bob@vu.nl", "vu", &[]), ann].map(asked);
        let known = "ann@uva.nl of uva, role analyst, teacher (has asked)";
        for (grantee, expected) in [
            ("ROLE analyst", vec![known, "anybody of amc, role analyst (made up)"]),
            ("ROLE analyst OF uva", vec![known]),
            ("ORGANISATION vu", vec!["bob@vu.nl of vu, no role (has asked)"]),
            ("USER 'ann@uva.nl'", vec![known]),
        ] {
            assert_eq!(persons(&recent, grantee), expected, "{grantee}");
        }
    }

    #[test]
    fn for_one_grantee_not_everybody_who_has_asked_is_tried() {
        let recent: Vec<Case> = (0..20).map(|id| asked(requester(&format!("{id}@uva.nl"), "uva", &[]))).collect();
        let persons = persons(&recent, "ORGANISATION uva");
        assert_eq!((persons.len(), persons[0].as_str()), (PERSONS_MAX, "0@uva.nl of uva, no role (has asked)"));
    }
}
