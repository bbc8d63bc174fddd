//! The statement as a whole: what is refused, which questions are decided, and the rows that tell how.

use std::sync::Arc;

use dynamos_planner::policy::{Agreement, AgreementSet, HeldAgreement};
use dynamos_planner::{PlanError, bind};
use dynamos_proto::ids::SiteId;
use dynamos_proto::status::{Code, ServiceError};

use super::cases::{Case, Persons, grantees, recent};
use super::statement::{Whose, whose};
use crate::frontend::{Caller, Outcome};
use crate::query::change::examine_agreement;
use crate::query::engine::QueryEngine;
use crate::query::planner_door::PlanRequest;
use crate::query::queries::Asked;
use crate::query::settings::requester;
use crate::query::{show, text};

/// Columns of SIMULATE AGREEMENT. `then_at` is the moment that `then` is decided for; `person` is who is taken to ask.
pub(in crate::query) const COLUMNS: [&str; 8] =
    ["query", "requester", "purpose", "now", "then", "then_at", "person", "statement"];
/// Where `person` stands among them.
const PERSON: usize = 6;
/// Questions that are decided, each twice; of more it is said how many were left out.
const CASES_MAX: usize = 50;

impl QueryEngine {
    /// Decides a query, or recent ones of this steward's tables, with and without the agreement.
    pub(in crate::query) async fn simulate(
        &self,
        caller: &Caller,
        agreement: Agreement,
        query: Option<String>,
        statement: &str,
    ) -> Result<Outcome, ServiceError> {
        if !show::is_steward_of(&requester(&caller.identity), &agreement) {
            let text = format!("only a steward of `{}` may simulate an agreement of that site", agreement.steward);
            return Err(ServiceError::new(Code::Denied, text));
        }
        let mut base = self.request(caller)?;
        let steward = SiteId::new(&agreement.steward);
        let token = &caller.identity.token;
        examine_agreement(&steward, statement, token, &base.snapshot, &self.parts.channels).await?;
        let records = recent(self.queries.list(), &steward, &base.snapshot.catalog);
        let mut cases = match query {
            Some(sql) => {
                let own = must_name(&steward, &sql, &base)? == Whose::Own;
                if own {
                    // No other agreement matters, and none is told of: not by a suggestion, nor by one of how to write a name.
                    base.snapshot.agreements = Arc::new(only_of(&steward, &base.snapshot.agreements));
                }
                let before = base.snapshot.agreements.get(&steward, &agreement.name);
                let texts: Vec<&Agreement> =
                    std::iter::once(&agreement).chain(before.map(|held| &held.agreement)).collect();
                let persons = Persons::new(&records, self.parts.issuers.keys());
                grantees(&texts, &persons, (&sql, own), &base)
            }
            None => records,
        };
        let left_out = cases.len().saturating_sub(CASES_MAX);
        cases.truncate(CASES_MAX);
        let after = in_force(&base, &steward, agreement);
        let mut rows = Vec::new();
        for case in cases {
            let (now, then) = (asking(&base, &case.asked), asking(&after, &case.asked));
            let mut decided = Vec::with_capacity(2);
            for request in [&now, &then] {
                decided.push(self.verdict(&case, request, &steward).await);
            }
            put(&mut rows, row(case, decided, &after));
        }
        if left_out > 0 {
            let text = format!("{left_out} more were left out; simulate fewer grantees and purposes at once");
            rows.push(vec![Some(text)]);
        }
        text::outcome(&COLUMNS, rows)
    }
}

/// Whose the tables of a query are, if one of them is this steward's. A query over others' tables alone would tell what
/// their agreements say to others.
fn must_name(steward: &SiteId, sql: &str, base: &PlanRequest) -> Result<Whose, ServiceError> {
    let parsed = bind::parse(sql).map_err(|error| {
        let error = PlanError::from(error);
        ServiceError::new(error.code(), error.to_string())
    })?;
    match whose(&parsed, steward, &base.snapshot.catalog) {
        Whose::Others => {
            let text = format!("the query names no table of `{steward}`");
            let hint = format!("write `{steward}.schema.table`, where others have a table of that name, too");
            Err(ServiceError::new(Code::InvalidArgument, text).with_hint(hint))
        }
        named => Ok(named),
    }
}

/// A steward's own agreements.
fn only_of(steward: &SiteId, agreements: &AgreementSet) -> AgreementSet {
    let mut own = AgreementSet::default();
    agreements.of(steward).for_each(|held| own.insert(held.clone()));
    own
}

/// The federation with the agreement in force: now, or from the moment on at which it begins to hold. Until then it grants
/// nothing, which is no answer to what it would change.
fn in_force(base: &PlanRequest, steward: &SiteId, agreement: Agreement) -> PlanRequest {
    let mut after = base.clone();
    after.now = agreement.valid_from.map_or(base.now, |from| from.max(base.now));
    let epoch = base.snapshot.epoch(steward, &agreement.name).map_or(1, |known| known + 1);
    Arc::make_mut(&mut after.snapshot.agreements).insert(HeldAgreement::new(epoch, agreement));
    after
}

/// The same question put by whoever is taken to ask it, as that person asked it.
fn asking(base: &PlanRequest, asked: &Asked) -> PlanRequest {
    PlanRequest {
        requester: asked.requester.clone(),
        purpose: asked.purpose.clone(),
        agreement: asked.agreement.clone(),
        placement: asked.placement,
        default_schema: asked.default_schema.clone(),
        ..base.clone()
    }
}

type Row = Vec<Option<String>>;

fn row(case: Case, decided: Vec<String>, after: &PlanRequest) -> Row {
    let Case { query, requester, person, statement, asked, .. } = case;
    let named = [Some(query), Some(requester), asked.purpose];
    let rest = [Some(after.now.to_string()), Some(person), Some(statement)];
    named.into_iter().chain(decided.into_iter().map(Some)).chain(rest).collect()
}

/// Adds a row. Persons to whom the same is decided share one.
fn put(rows: &mut Vec<Row>, row: Row) {
    let but_person = |row: &Row| {
        let cells = row.iter().enumerate().filter(|(column, _)| *column != PERSON);
        cells.map(|(_, cell)| cell.clone()).collect::<Vec<_>>()
    };
    if let Some(last) = rows.last_mut().filter(|last| but_person(last) == but_person(&row))
        && let (Some(Some(persons)), Some(Some(person))) = (last.get_mut(PERSON), row.get(PERSON))
    {
        *persons = format!("{persons}; {person}");
        return;
    }
    rows.push(row);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persons_to_whom_the_same_is_decided_share_a_row() {
        let row = |requester: &str, then: &str, person: &str| {
            ["q", requester, "statistics", "denied", then, "2026-01-01", person, "SELECT 1"]
                .map(|cell| Some(cell.to_owned()))
                .to_vec()
        };
        let mut rows = Vec::new();
        for one in [
            row("ROLE a", "permitted", "ann"),
            row("ROLE a", "permitted", "bob"),
            row("ROLE a", "denied", "eve"),
            row("ROLE b", "denied", "eve"),
        ] {
            put(&mut rows, one);
        }
        let persons: Vec<_> = rows.iter().map(|row| row[PERSON].clone().unwrap()).collect();
        assert_eq!(persons, ["ann; bob", "eve", "eve"]);
        assert_eq!(COLUMNS[PERSON], "person");
    }
}
