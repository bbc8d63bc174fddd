//! The catalog file: what a federation consists of, as its operator and its sites would tell the coordinator. The sections
//! `sites` and `federated` are those of the coordinator's own configuration; tables are registered with the coordinator's
//! own registry, so what is refused there is refused here.
//!
//! ```toml
//! version = 1                          # of the catalog; may be left out
//! purposes = []                        # those that sites are configured with besides the shipped ones; may be left out
//! organisations = ["uva", "vu"]        # those that agreements may name; if it is left out, none is looked at
//!
//! [coordinator]                        # may be left out
//! roles = []
//! regions = ["nl", "eu"]
//!
//! [[sites]]
//! name = "uva"
//! kind = "steward"                     # or "provider"
//! roles = []
//! regions = ["nl", "eu"]
//!
//! [[federated]]
//! schema = "wages"
//! table = "personen"
//! stewards = ["uva", "vu"]
//!
//! [[tables]]
//! site = "uva"
//! schema = "wages"
//! table = "personen"
//! rows = 4000
//! entity = "unieknr"                   # with `shared_domain = "…"` if it is not LOCAL
//! colocated_on = { }                  # or { column = "key" }
//! columns = [
//!   { name = "unieknr", type = "bigint", distinct = 4000 },
//!   { name = "gebdat", type = "date", nullable = false, nulls = 0, min = "1950-01-01", max = "2004-12-31" },
//! ]
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::{IpcMessage, SchemaAsIpc};
use dynamos_coordinator::clock::SystemClock;
use dynamos_coordinator::config::{FederatedSection, PlaceKind, SiteSection, check_places, federated_tables};
use dynamos_coordinator::registry::{KnownPlaces, KnownSite, Registry};
use dynamos_planner::catalog::Catalog;
use dynamos_planner::policy::{KnownNames, Purposes};
use dynamos_proto::ids::SiteId;
use dynamos_proto::settings;
use dynamos_proto::v1;
use dynamos_site::source::{ColumnType, Nullability};
use serde::Deserialize;

use super::error::ExplainError;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogFile {
    #[serde(default = "first_version")]
    version: u64,
    #[serde(default)]
    purposes: BTreeSet<String>,
    #[serde(default)]
    organisations: Option<BTreeSet<String>>,
    #[serde(default)]
    coordinator: CoordinatorPlace,
    sites: Vec<SiteSection>,
    #[serde(default)]
    federated: Vec<FederatedSection>,
    #[serde(default)]
    tables: Vec<TableSection>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CoordinatorPlace {
    roles: BTreeSet<String>,
    regions: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TableSection {
    site: String,
    schema: String,
    table: String,
    rows: u64,
    #[serde(default)]
    entity: Option<String>,
    #[serde(default)]
    shared_domain: Option<String>,
    #[serde(default)]
    colocated_on: BTreeMap<String, String>,
    columns: Vec<ColumnSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnSection {
    name: String,
    #[serde(rename = "type")]
    column_type: ColumnType,
    #[serde(default, rename = "nullable")]
    nullability: Nullability,
    #[serde(default)]
    distinct: Option<u64>,
    #[serde(default)]
    nulls: Option<u64>,
    #[serde(default)]
    min: Option<String>,
    #[serde(default)]
    max: Option<String>,
}

fn first_version() -> u64 {
    1
}

/// Reads a catalog file, and the names that agreements can use there; `shipped` are the purposes of the release.
///
/// # Errors
///
/// When the file cannot be read, has an unknown key, or says what no registration could.
pub fn read_catalog(path: &Path, shipped: &Purposes) -> Result<(Catalog, KnownNames), ExplainError> {
    let text = settings::text(path)?;
    let content = |problem: String| ExplainError::content(path, problem);
    let file: CatalogFile = settings::parse(&text).map_err(content)?;
    let shipped = shipped.all().into_iter().map(str::to_owned);
    let purposes = Some(shipped.chain(file.purposes.iter().cloned()).collect());
    let organisations = file.organisations.clone();
    let catalog = catalog(file).map_err(content)?;
    let names = KnownNames { purposes, organisations, ..KnownNames::places_of(&catalog) };
    Ok((catalog, names))
}

fn catalog(file: CatalogFile) -> Result<Catalog, String> {
    check_places(&file.sites, &file.federated)?;
    let known = KnownPlaces {
        sites: file.sites.iter().map(KnownSite::from).collect(),
        coordinator_roles: file.coordinator.roles,
        coordinator_regions: file.coordinator.regions,
        federated: federated_tables(&file.federated),
    };
    let registry = Registry::new(known, Arc::new(SystemClock));
    let mut tables: BTreeMap<&str, Vec<v1::Table>> = BTreeMap::new();
    for table in &file.tables {
        if !file.sites.iter().any(|site| site.name == table.site) {
            return Err(format!("table `{}` is at `{}`, which is not one of `sites`", table.name(), table.site));
        }
        tables.entry(&table.site).or_default().push(published(table, &file.federated)?);
    }
    for site in &file.sites {
        let announcement = v1::Announcement {
            site: site.name.clone(),
            kind: kind(site.kind).to_owned(),
            tables: tables.remove(site.name.as_str()).unwrap_or_default(),
            ..v1::Announcement::default()
        };
        registry.register(&SiteId::new(&site.name), &announcement).map_err(|error| error.message)?;
    }
    let mut catalog = Catalog::clone(&registry.snapshot().catalog);
    catalog.version = file.version;
    Ok(catalog)
}

/// The table as its site would publish it: names of columns in lower case, so that SQL finds them without quotes.
fn published(table: &TableSection, federated: &[FederatedSection]) -> Result<v1::Table, String> {
    let fields = table.columns.iter().map(|column| {
        let nullable = column.nullability == Nullability::Nullable;
        Field::new(column.name.to_lowercase(), column.column_type.data_type(), nullable)
    });
    let schema = Schema::new(fields.collect::<Vec<_>>());
    let message: IpcMessage = SchemaAsIpc::new(&schema, &IpcWriteOptions::default())
        .try_into()
        .map_err(|error: arrow::error::ArrowError| format!("table `{}`: {error}", table.name()))?;
    if table.shared_domain.is_some() && table.entity.is_none() {
        return Err(format!("table `{}` has a `shared_domain` but no `entity`", table.name()));
    }
    let statistics = table.columns.iter().map(|column| v1::ColumnStatistics {
        distinct: column.distinct,
        nulls: column.nulls,
        min: column.min.clone(),
        max: column.max.clone(),
    });
    let (schema_name, name) = (table.schema.to_lowercase(), table.table.to_lowercase());
    let whole = federated.iter().find(|whole| whole.schema == schema_name && whole.table == name);
    let whole = whole.filter(|whole| whole.stewards.contains(&table.site));
    Ok(v1::Table {
        schema: schema_name,
        name,
        arrow_schema: message.0.to_vec(),
        rows: table.rows,
        columns: statistics.collect(),
        entity: table.entity.clone().unwrap_or_default(),
        shared_domain: table.shared_domain.clone().unwrap_or_default(),
        colocated_on: table.colocated_on.clone().into_iter().collect(),
        stewards: whole.into_iter().flat_map(|whole| whole.stewards.clone()).collect(),
    })
}

impl TableSection {
    fn name(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }
}

/// The word by which a site announces its kind.
fn kind(kind: PlaceKind) -> &'static str {
    match kind {
        PlaceKind::Steward => "steward",
        PlaceKind::Provider => "provider",
    }
}

#[cfg(test)]
mod tests {
    use datafusion::common::ScalarValue;
    use dynamos_planner::catalog::{Availability, EntityScope, SiteKind, TableName};
    use dynamos_planner::policy::purpose;

    use super::*;

    const FILE: &str = r#"
        version = 7
        purposes = ["thesis"]
        organisations = ["cbs"]
        [coordinator]
        regions = ["eu"]
        [[sites]]
        name = "uva"
        kind = "steward"
        regions = ["nl"]
        [[sites]]
        name = "surf"
        kind = "provider"
        roles = ["compute_provider"]
        [[federated]]
        schema = "wages"
        table = "personen"
        stewards = ["uva"]
        [[tables]]
        site = "uva"
        schema = "wages"
        table = "Personen"
        rows = 4000
        entity = "unieknr"
        columns = [
          { name = "Unieknr", type = "bigint", nullable = false, distinct = 4000, min = "1", max = "9" },
          { name = "geslacht", type = "text", distinct = 2, nulls = 5 },
        ]
    "#;

    fn read(text: &str) -> Result<(Catalog, KnownNames), String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read_catalog(file.path(), &purpose::shipped().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_what_sites_would_have_registered() {
        let (catalog, names) = read(FILE).unwrap();
        assert_eq!(catalog.version, 7);
        assert!(names.places[&SiteId::new("surf")].roles.contains("compute_provider"));
        assert!(names.places[&SiteId::coordinator()].regions.contains("eu"));
        let purposes = names.purposes.unwrap();
        assert!(["secondary_use", "statistics", "thesis"].iter().all(|name| purposes.contains(*name)), "{purposes:?}");
        assert_eq!(names.organisations, Some(["cbs".to_owned()].into()));
        let unsaid = read(&FILE.replace("organisations = [\"cbs\"]", "")).unwrap().1;
        assert_eq!(unsaid.organisations, None);
        let surf = &catalog.sites[&SiteId::new("surf")];
        assert_eq!((surf.kind, surf.availability), (SiteKind::Provider, Availability::Up));
        assert!(surf.roles.contains("compute_provider"));
        assert!(catalog.sites[&SiteId::coordinator()].regions.contains("eu"));
        let name = TableName::new("wages", "personen");
        assert!(catalog.federated[&name].stewards.contains(&SiteId::new("uva")));
        let table = catalog.table(&SiteId::new("uva"), &name).unwrap();
        assert_eq!(table.statistics.rows, 4000);
        assert_eq!(table.entity.as_ref().unwrap().scope, EntityScope::Local);
        assert!(!table.schema.field_with_name("unieknr").unwrap().is_nullable());
        assert_eq!(table.statistics.columns["unieknr"].max, Some(ScalarValue::Int64(Some(9))));
        assert_eq!(table.statistics.columns["geslacht"].nulls, Some(5));
    }

    #[test]
    fn refuses_unknown_keys_and_what_does_not_go_together() {
        for (from, to, expected) in [
            ("version = 7", "version = 7\ncolour = 1", "colour"),
            ("rows = 4000", "rows = 4000\nsize = 1", "size"),
            ("nulls = 5", "null = 5", "null"),
            ("type = \"text\"", "type = \"json\"", "`json` is not a column type"),
            ("kind = \"provider\"", "kind = \"broker\"", "broker"),
            ("site = \"uva\"", "site = \"vu\"", "`vu`, which is not one of `sites`"),
            ("site = \"uva\"", "site = \"surf\"", "not a steward and cannot announce tables"),
            ("stewards = [\"uva\"]", "stewards = [\"surf\"]", "not a steward"),
            ("entity = \"unieknr\"", "entity = \"person\"", "no column `person`"),
            ("entity = \"unieknr\"", "shared_domain = \"bsn\"", "no `entity`"),
            ("max = \"9\"", "max = \"nine\"", "bound of column `unieknr`"),
            ("name = \"geslacht\"", "name = \"UNIEKNR\"", "`unieknr` is announced twice"),
        ] {
            let error = read(&FILE.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
