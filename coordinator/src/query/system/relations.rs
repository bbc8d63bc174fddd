//! The columns and rows of the system's tables.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use dynamos_planner::policy::{HeldAgreement, NumberedClause, UtcMillis};
use dynamos_proto::status::{Code, ServiceError};

use crate::decision::Shown;
use crate::query::planner_door::PlanRequest;
use crate::query::show::{agreements_of, released_nothing, tables_of, visible_agreements};

/// The schema that the system's tables are in.
pub(in crate::query) const SCHEMA: &str = "dynamos";

/// What the tables are made of, for one requester.
pub(super) struct Contents<'a> {
    /// Who asks, when, for what, and every agreement there is.
    pub(super) request: &'a PlanRequest,
    /// The requester's own decisions.
    pub(super) decisions: Vec<Shown>,
}

/// The tables' names and columns.
pub(in crate::query) fn tables() -> Vec<(&'static str, SchemaRef)> {
    let columns = |list: &[(&str, DataType)]| -> SchemaRef {
        let fields = list.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    };
    let text = |name| (name, DataType::Utf8);
    let number = |name| (name, DataType::Int64);
    let moment = |name| (name, moments());
    vec![
        (
            "agreements",
            columns(&[
                text("steward"),
                text("name"),
                number("epoch"),
                moment("valid_from"),
                moment("valid_until"),
                text("purposes"),
                ("in_force", DataType::Boolean),
                text("text"),
            ]),
        ),
        (
            "clauses",
            columns(&[
                text("steward"),
                text("agreement"),
                number("epoch"),
                number("number"),
                text("name"),
                text("kind"),
                text("tables"),
                ("in_force", DataType::Boolean),
                text("text"),
            ]),
        ),
        (
            "decisions",
            columns(&[
                moment("at"),
                text("query"),
                text("verdict"),
                text("purpose"),
                text("agreements"),
                text("clauses"),
                text("reason"),
                text("outcome"),
                number("rows_at_most"),
                text("released_nothing"),
                text("requester"),
                text("organisation"),
                text("statement"),
                text("statement_sha256"),
                text("graph_sha256"),
                number("catalog_version"),
            ]),
        ),
    ]
}

fn moments() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into()))
}

/// The rows of one of the tables.
pub(super) fn rows(table: &str, schema: &SchemaRef, contents: &Contents<'_>) -> Result<RecordBatch, ServiceError> {
    let columns = match table {
        "agreements" => agreements(contents),
        "clauses" => clauses(contents),
        _ => decisions(contents),
    };
    RecordBatch::try_new(Arc::clone(schema), columns)
        .map_err(|_| ServiceError::new(Code::Internal, "a table of the system could not be made"))
}

/// Agreements that concern the requester, or that the requester made as steward.
fn held<'a>(contents: &Contents<'a>) -> Vec<&'a HeldAgreement> {
    visible_agreements(&contents.request.snapshot, &contents.request.requester).collect()
}

/// Whether an agreement allows the requester something now, for the purpose that is declared.
fn in_force(held: &HeldAgreement, request: &PlanRequest) -> bool {
    let purpose = request.purpose.as_deref();
    purpose.is_some_and(|purpose| held.applies_to(&request.requester, purpose, request.now, &request.purposes).is_ok())
}

fn agreements(contents: &Contents<'_>) -> Vec<ArrayRef> {
    let held = held(contents);
    let agreement = held.iter().map(|held| &held.agreement);
    vec![
        texts(agreement.clone().map(|one| Some(one.steward.clone()))),
        texts(agreement.clone().map(|one| Some(one.name.clone()))),
        numbers(held.iter().map(|held| Some(held.epoch))),
        times(agreement.clone().map(|one| one.valid_from)),
        times(agreement.clone().map(|one| one.valid_until)),
        texts(agreement.clone().map(|one| Some(one.purposes.join(", ")))),
        flags(held.iter().map(|held| in_force(held, contents.request))),
        texts(agreement.map(|one| Some(one.to_string()))),
    ]
}

fn clauses(contents: &Contents<'_>) -> Vec<ArrayRef> {
    let all: Vec<_> = held(contents)
        .into_iter()
        .flat_map(|held| held.agreement.clauses.iter().map(move |clause| (held, clause)))
        .collect();
    let named = |(_, clause): &(_, &NumberedClause)| {
        let tables: BTreeSet<String> = tables_of(&clause.clause).into_iter().map(ToString::to_string).collect();
        Some(tables.into_iter().collect::<Vec<_>>().join(", ")).filter(|tables| !tables.is_empty())
    };
    vec![
        texts(all.iter().map(|(held, _)| Some(held.agreement.steward.clone()))),
        texts(all.iter().map(|(held, _)| Some(held.agreement.name.clone()))),
        numbers(all.iter().map(|(held, _)| Some(held.epoch))),
        numbers(all.iter().map(|(_, clause)| Some(u64::from(clause.number)))),
        texts(all.iter().map(|(_, clause)| clause.name.clone())),
        texts(all.iter().map(|(_, clause)| Some(clause.clause.kind().to_owned()))),
        texts(all.iter().map(named)),
        flags(all.iter().map(|(held, _)| in_force(held, contents.request))),
        texts(all.iter().map(|(_, clause)| Some(clause.clause.to_string()))),
    ]
}

fn decisions(contents: &Contents<'_>) -> Vec<ArrayRef> {
    let shown = &contents.decisions;
    let decided = shown.iter().map(|one| &one.decision);
    let outcome = |one: &Shown| one.end.as_ref().map(|end| end.outcome.clone()).or_else(|| one.decision.code.clone());
    vec![
        times(decided.clone().map(|one| UtcMillis::parse(&one.at))),
        texts(decided.clone().map(|one| Some(one.query_id.clone()))),
        texts(decided.clone().map(|one| Some(one.verdict.as_str().to_owned()))),
        texts(decided.clone().map(|one| one.purpose.clone())),
        texts(shown.iter().map(|one| Some(agreements_of(one)))),
        texts(decided.clone().map(|one| Some(one.clauses.join("; ")))),
        texts(decided.clone().map(|one| one.reason.clone())),
        texts(shown.iter().map(outcome)),
        numbers(shown.iter().map(|one| one.end.as_ref().map(|end| end.rows_at_most))),
        texts(shown.iter().map(released_nothing)),
        texts(decided.clone().map(|one| Some(one.requester.clone()))),
        texts(decided.clone().map(|one| Some(one.organisation.clone()))),
        texts(decided.clone().map(|one| Some(one.statement.clone()).filter(|text| !text.is_empty()))),
        texts(decided.clone().map(|one| Some(one.statement_sha256.clone()))),
        texts(decided.clone().map(|one| one.graph_sha256.clone())),
        numbers(decided.map(|one| Some(one.catalog_version))),
    ]
}

fn texts(values: impl Iterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

/// A number that does not fit is unknown; epochs and buckets fit.
fn numbers(values: impl Iterator<Item = Option<u64>>) -> ArrayRef {
    Arc::new(values.map(|value| value.and_then(|value| i64::try_from(value).ok())).collect::<Int64Array>())
}

fn times(values: impl Iterator<Item = Option<UtcMillis>>) -> ArrayRef {
    let moments = values.map(|value| value.map(|moment| moment.0)).collect::<TimestampMillisecondArray>();
    Arc::new(moments.with_timezone("+00:00"))
}

fn flags(values: impl Iterator<Item = bool>) -> ArrayRef {
    Arc::new(values.map(Some).collect::<BooleanArray>())
}
