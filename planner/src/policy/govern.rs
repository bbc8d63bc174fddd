//! Which agreement governs a query at each steward, and what it makes of that steward's tables. Clauses of different
//! agreements never combine: for each steward one agreement governs the whole query.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use dynamos_proto::ids::SiteId;

use super::view::relation_tables;
use super::{
    AgreementSet, EntityKey, HeldAgreement, NotApplicable, ProtectedView, Purposes, RawTable, RawTables, Requester,
    UtcMillis, protected_view,
};
use crate::bind::VisibleTable;
use crate::catalog::{Catalog, Colocated, EntityScope, STEWARD, Table, TableName};
use crate::wire::LeafTable;

/// The agreement that governs a query at each steward that has one.
pub type Governing<'a> = BTreeMap<SiteId, &'a HeldAgreement>;

/// What exists for the requester under a choice of governing agreements.
#[derive(Clone, Debug)]
pub struct Shown<'a> {
    /// The tables.
    pub tables: Vec<VisibleTable>,
    /// The choice without those agreements that cannot be applied to their steward's tables: they show nothing, and allow nothing.
    pub governing: Governing<'a>,
    /// The tables that those speak of, and what is wrong.
    pub unfit: BTreeMap<(SiteId, TableName), String>,
}

/// Catalog, agreements, requester and purpose of one query, together.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    /// What the federation consists of.
    pub catalog: &'a Catalog,
    /// Every agreement in force.
    pub agreements: &'a AgreementSet,
    /// Which purposes lie below which, by version.
    pub purposes: &'a Purposes,
    /// Who asks.
    pub requester: &'a Requester,
    /// The declared purpose.
    pub purpose: &'a str,
    /// The agreement that the requester wants, by name.
    pub agreement: Option<&'a str>,
    /// The present.
    pub now: UtcMillis,
}

impl<'a> Policy<'a> {
    /// The agreements of a steward that allow this requester something for this purpose now, in order of name; the one
    /// that the requester named comes first.
    pub fn applicable(&self, steward: &SiteId) -> Vec<&'a HeldAgreement> {
        let mut found: Vec<&HeldAgreement> = self
            .agreements
            .of(steward)
            .filter(|held| held.applies_to(self.requester, self.purpose, self.now, self.purposes).is_ok())
            .collect();
        found.sort_by_key(|held| Some(held.agreement.name.as_str()) != self.agreement);
        found
    }

    /// The reasons why a steward's agreements allow this requester nothing. Agreements with others are not spoken of.
    pub fn why_none(&self, steward: &SiteId) -> Vec<String> {
        let reasons: Vec<String> = self
            .agreements
            .of(steward)
            .filter_map(|held| held.applies_to(self.requester, self.purpose, self.now, self.purposes).err())
            .filter(|reason| !matches!(reason, NotApplicable::Requester { .. }))
            .map(|reason| reason.to_string())
            .collect();
        if reasons.is_empty() { vec![format!("`{steward}` has no agreement with you")] } else { reasons }
    }

    /// The choices of governing agreements to try for a query about these tables, in order, so many at most: each is one
    /// agreement for each steward that has any. One that speaks of none of the tables is left out where another does, and one
    /// that cannot be applied to its steward's tables comes after those that can.
    pub fn choices(
        &self,
        stewards: &BTreeSet<SiteId>,
        tables: &BTreeSet<TableName>,
        most: usize,
        state: &SessionState,
    ) -> Vec<Governing<'a>> {
        let mut choices: Vec<Governing<'a>> = vec![Governing::new()];
        for steward in stewards {
            let mut applicable = self.applicable(steward);
            if applicable.is_empty() {
                continue;
            }
            let speaks = |held: &&HeldAgreement| {
                tables.iter().any(|table| relation_tables(&held.agreement, table).contains(table))
            };
            if applicable.iter().any(speaks) {
                applicable.retain(speaks);
            }
            if applicable.len() > 1 {
                applicable.sort_by_cached_key(|held| self.shown_of(steward, held, state).is_err());
            }
            choices = choices
                .into_iter()
                .flat_map(|choice| {
                    applicable.iter().map(move |held| {
                        let mut choice = choice.clone();
                        choice.insert(steward.clone(), held);
                        choice
                    })
                })
                .take(most)
                .collect();
        }
        choices
    }

    /// The tables that exist for the requester under these agreements. One that cannot be applied to a table of its steward
    /// shows none of that steward's; those of others are there all the same.
    pub fn visible<'b>(&self, governing: &Governing<'b>, state: &SessionState) -> Shown<'b> {
        let mut shown = Shown { tables: Vec::new(), governing: governing.clone(), unfit: BTreeMap::new() };
        let mut views: BTreeMap<(SiteId, TableName), SchemaRef> = BTreeMap::new();
        for (steward, held) in governing {
            match self.shown_of(steward, held, state) {
                Ok(tables) => {
                    let schemas = tables.iter().map(|table| (table.name.clone(), Arc::clone(&table.schema)));
                    views.extend(schemas.map(|(name, schema)| ((steward.clone(), name), schema)));
                    shown.tables.extend(tables);
                }
                Err(error) => {
                    shown.governing.remove(steward);
                    let names = self.spoken_of(steward, held).map(|(name, _)| (steward.clone(), name.clone()));
                    shown.unfit.extend(names.map(|name| (name, error.message().into_owned())));
                }
            }
        }
        for (name, federated) in &self.catalog.federated {
            shown.tables.extend(self.federated(name, &federated.stewards, &views));
        }
        shown
    }

    /// A steward's tables as one of its agreements shows them; an error if that cannot be applied to one of them.
    fn shown_of(&self, steward: &SiteId, held: &HeldAgreement, state: &SessionState) -> Result<Vec<VisibleTable>> {
        let tables = raw_tables(self.catalog, steward);
        let visible = self.spoken_of(steward, held).map(|(name, table)| {
            let schema = match protected_view(&held.agreement, name, &tables, state)? {
                ProtectedView::Whole => Arc::clone(&table.schema),
                ProtectedView::Derived(plan) => plain(plan.schema().as_arrow()),
            };
            Ok(VisibleTable {
                site: Some(steward.clone()),
                name: name.clone(),
                stewards: BTreeSet::from([steward.clone()]),
                local: local_key(table),
                shared: shared_key(table),
                colocated: Colocated::new(),
                schema,
                within: BTreeMap::new(),
                joined: Vec::new(),
            })
        });
        visible.collect()
    }

    /// The tables of a steward that one of its agreements speaks of.
    fn spoken_of<'b>(
        &self,
        steward: &SiteId,
        held: &'b HeldAgreement,
    ) -> impl Iterator<Item = (&'a TableName, &'a Table)> + use<'a, 'b> {
        let tables = self.catalog.sites.get(steward).into_iter().flat_map(|site| &site.tables);
        tables.filter(move |(name, _)| relation_tables(&held.agreement, name).contains(name))
    }

    /// A federated table over the views of its stewards; not there if no steward shows its part. A steward that shows
    /// nothing is left out of the schema, not out of the table: a query that needs it is refused by name.
    fn federated(
        &self,
        name: &TableName,
        stewards: &BTreeSet<SiteId>,
        views: &BTreeMap<(SiteId, TableName), SchemaRef>,
    ) -> Option<VisibleTable> {
        let parts: Vec<&SchemaRef> =
            stewards.iter().filter_map(|steward| views.get(&(steward.clone(), name.clone()))).collect();
        let (first, rest) = parts.split_first()?;
        let mut fields = Vec::new();
        for field in first.fields() {
            let mut kind = Some(field.data_type().clone());
            let mut nullable = field.is_nullable();
            for part in rest {
                let other = part.field_with_name(field.name()).ok();
                nullable |= other.is_none_or(Field::is_nullable);
                kind = kind.zip(other).and_then(|(kind, other)| union_type(&kind, other.data_type()));
            }
            fields.extend(kind.map(|kind| Field::new(field.name(), kind, nullable)));
        }
        fields.push(Field::new(STEWARD, DataType::Utf8, false));
        let tables: Vec<_> = stewards.iter().filter_map(|steward| self.catalog.table(steward, name)).collect();
        let colocated = tables.iter().map(|table| table.colocated.clone());
        let local = federated_local_key(&tables);
        let shared = tables.first().filter(|_| local.is_none()).and_then(|table| shared_key(table));
        Some(VisibleTable {
            site: None,
            name: name.clone(),
            stewards: stewards.clone(),
            local,
            shared,
            colocated: colocated.reduce(in_both).unwrap_or_default(),
            schema: Arc::new(Schema::new(fields)),
            within: BTreeMap::new(),
            joined: Vec::new(),
        })
    }
}

/// A steward's tables in the catalog as the derivation of views needs them: their schemas and entities.
pub fn raw_tables(catalog: &Catalog, steward: &SiteId) -> RawTables {
    let tables = catalog.sites.get(steward).into_iter().flat_map(|site| &site.tables);
    let raw = |table: &Table| RawTable {
        provider: LeafTable::new(Arc::clone(&table.schema)),
        // Which tables are about one entity is for the steward to know: a view's columns do not depend on it.
        entity: table
            .entity
            .as_ref()
            .map(|entity| EntityKey { column: entity.column.clone(), name: entity.column.clone() }),
    };
    tables.map(|(name, table)| (name.clone(), raw(table))).collect()
}

/// What two stewards declare alike.
fn in_both(mut one: Colocated, other: Colocated) -> Colocated {
    one.retain(|column, key| other.get(column) == Some(key));
    one
}

fn local_key(table: &Table) -> Option<String> {
    let entity = table.entity.as_ref()?;
    (entity.scope == EntityScope::Local).then(|| entity.column.clone())
}

fn shared_key(table: &Table) -> Option<(String, String)> {
    let entity = table.entity.as_ref()?;
    match &entity.scope {
        EntityScope::Local => None,
        EntityScope::Shared(domain) => Some((entity.column.clone(), domain.clone())),
    }
}

/// The entity key of a federated table, if equal values at two of its stewards are not the same entity: one of them says that
/// its keys are its own, or not all of them are of one domain.
fn federated_local_key(tables: &[&Table]) -> Option<String> {
    if let Some(column) = tables.iter().find_map(|table| local_key(table)) {
        return Some(column);
    }
    let keys = tables.iter().map(|table| table.entity.as_ref());
    let first = keys.clone().flatten().next()?;
    let one_domain = keys.into_iter().all(|key| key == Some(first));
    (!one_domain).then(|| first.column.clone())
}

/// Types that differ between stewards are reconciled as comparisons reconcile them; what cannot be is not a column.
fn union_type(one: &DataType, other: &DataType) -> Option<DataType> {
    if one == other { Some(one.clone()) } else { comparison_coercion(one, other) }
}

fn plain(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().clone()))
}
