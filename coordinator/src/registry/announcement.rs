//! An announcement as a value of the catalog. What a site says about itself is believed for its tables; its kind, roles
//! and regions must be those that the coordinator's operator configured, because agreements grant by them.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::catch_unwind;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::ipc::convert::try_schema_from_ipc_buffer;
use datafusion::common::ScalarValue;
use dynamos_planner::catalog::{
    Availability, Colocated, ColumnStatistics, Entity, EntityScope, FederatedTable, Site, SiteKind, Table, TableName,
    TableStatistics,
};
use dynamos_proto::ids::SiteId;
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1;

use super::places::KnownSite;

/// Tables of one site; more are refused.
const TABLES_MAX: usize = 10_000;

/// Reads what `known` announced.
pub(super) fn read_site(known: &KnownSite, announcement: &v1::Announcement) -> Result<Site, ServiceError> {
    check_standing(known, announcement)?;
    if announcement.tables.len() > TABLES_MAX {
        return Err(invalid(format!("more than {TABLES_MAX} tables are announced")));
    }
    let mut tables = BTreeMap::new();
    for table in &announcement.tables {
        let name = TableName::new(&table.schema, &table.name);
        let read = read_table(table).map_err(|why| invalid(format!("table `{name}`: {why}")))?;
        if tables.insert(name.clone(), read).is_some() {
            return Err(invalid(format!("table `{name}` is announced twice")));
        }
    }
    Ok(Site {
        kind: known.kind,
        roles: known.roles.clone(),
        regions: known.regions.clone(),
        uri: announcement.uri.clone(),
        availability: Availability::Up,
        tables,
    })
}

/// A federated table has the same stewards for all of them and for the coordinator: they release together, and each site holds
/// to its own list.
pub(super) fn same_stewards(
    site: &SiteId,
    announcement: &v1::Announcement,
    federated: &BTreeMap<TableName, FederatedTable>,
) -> Result<(), ServiceError> {
    for table in &announcement.tables {
        let name = TableName::new(&table.schema, &table.name);
        let own: BTreeSet<SiteId> = table.stewards.iter().map(SiteId::new).collect();
        let known = federated.get(&name).filter(|whole| whole.stewards.contains(site));
        let known = known.map(|whole| whole.stewards.clone()).unwrap_or_default();
        if own != known {
            let list = |stewards: &BTreeSet<SiteId>| {
                let names: Vec<&str> = stewards.iter().map(SiteId::as_str).collect();
                if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
            };
            let text = format!(
                "site `{site}` says that `{name}` is federated between {}, but here it is between {}",
                list(&own),
                list(&known)
            );
            return Err(invalid(text)
                .with_hint("make `federated` the same in the configurations of the coordinator and of every steward"));
        }
    }
    Ok(())
}

fn check_standing(known: &KnownSite, announcement: &v1::Announcement) -> Result<(), ServiceError> {
    let kind = match known.kind {
        SiteKind::Steward => "steward",
        SiteKind::Provider => "provider",
        SiteKind::Coordinator => "coordinator",
    };
    if announcement.kind != kind {
        return Err(invalid(format!(
            "site `{}` announces itself as `{}` but is configured as `{kind}`",
            known.site, announcement.kind
        )));
    }
    if let Some(role) = announcement.roles.iter().find(|role| !known.roles.contains(*role)) {
        return Err(invalid(format!("site `{}` claims role `{role}`, which it is not configured with", known.site)));
    }
    // Several regions are separated by commas.
    let mut regions = announcement.region.split(',').map(str::trim).filter(|region| !region.is_empty());
    if let Some(region) = regions.find(|region| !known.regions.contains(*region)) {
        return Err(invalid(format!(
            "site `{}` claims region `{region}`, which it is not configured with",
            known.site
        )));
    }
    if known.kind != SiteKind::Steward && !announcement.tables.is_empty() {
        return Err(invalid(format!("site `{}` is not a steward and cannot announce tables", known.site)));
    }
    Ok(())
}

fn read_table(table: &v1::Table) -> Result<Table, String> {
    let schema = read_schema(&table.arrow_schema)?;
    if !table.columns.is_empty() && table.columns.len() != schema.fields().len() {
        return Err(format!("{} columns but statistics for {}", schema.fields().len(), table.columns.len()));
    }
    let mut columns = BTreeMap::new();
    for (field, statistics) in schema.fields().iter().zip(&table.columns) {
        columns.insert(field.name().clone(), read_statistics(field, statistics)?);
    }
    let exists = |column: &str| match schema.column_with_name(column) {
        Some(_) => Ok(column.to_owned()),
        None => Err(format!("there is no column `{column}`")),
    };
    let entity = match table.entity.as_str() {
        "" => None,
        column => Some(Entity { column: exists(column)?, scope: scope(&table.shared_domain) }),
    };
    let colocated = table.colocated_on.iter().map(|(column, key)| Ok((exists(column)?, key.clone())));
    let colocated = colocated.collect::<Result<Colocated, String>>()?;
    Ok(Table { schema, statistics: TableStatistics { rows: table.rows, columns }, entity, colocated })
}

fn scope(domain: &str) -> EntityScope {
    if domain.is_empty() { EntityScope::Local } else { EntityScope::Shared(domain.to_owned()) }
}

fn read_schema(bytes: &[u8]) -> Result<SchemaRef, String> {
    // Arrow panics on some flatbuffers that are well formed but of a type that it does not know.
    let read = catch_unwind(|| try_schema_from_ipc_buffer(bytes));
    let schema: Schema = read.ok().and_then(Result::ok).ok_or("the schema is not an encapsulated Arrow schema")?;
    let mut names = BTreeSet::new();
    match schema.fields().iter().find(|field| !names.insert(field.name())) {
        Some(field) => Err(format!("column `{}` is announced twice", field.name())),
        None => Ok(Arc::new(schema)),
    }
}

/// The published bounds are values of the data, so an error names the column only.
fn read_statistics(field: &Field, statistics: &v1::ColumnStatistics) -> Result<ColumnStatistics, String> {
    let bound = |text: &Option<String>| {
        let read = text.clone().map(|text| ScalarValue::try_from_string(text, field.data_type())).transpose();
        match read {
            Ok(Some(value)) if value.is_null() => Err(()),
            other => other.map_err(|_| ()),
        }
        .map_err(|()| format!("a published bound of column `{}` is not of type {}", field.name(), field.data_type()))
    };
    Ok(ColumnStatistics {
        distinct: statistics.distinct,
        nulls: statistics.nulls,
        min: bound(&statistics.min)?,
        max: bound(&statistics.max)?,
    })
}

fn invalid(message: String) -> ServiceError {
    ServiceError::new(Code::InvalidArgument, message)
}
