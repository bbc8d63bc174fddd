//! The worlds' federation as the planner gets it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use dynamos_planner::catalog::{
    Availability, Catalog, Entity, EntityScope, FederatedTable, Site, SiteKind, Table as Published, TableName,
    TableStatistics,
};
use dynamos_proto::ids::SiteId;

use super::world::{FEDERATED, Kind, PLACES, PROVIDERS, STEWARDS, Table};

/// Catalog of every world.
pub(super) fn catalog() -> Catalog {
    let tables = [Table::People, Table::Visits];
    let site = |name: &str| {
        let provider = PROVIDERS.contains(&name);
        let kind = if provider { SiteKind::Provider } else { SiteKind::Steward };
        let own = tables.iter().filter(|_| STEWARDS.contains(&name));
        let roles = provider.then(|| "compute_provider".to_owned()).into_iter().collect();
        let regions = BTreeSet::from([if name == "p" { "eu".to_owned() } else { "us".to_owned() }]);
        let tables = own.map(|table| (table_name(*table), published(*table))).collect();
        place(kind, roles, regions, tables)
    };
    let mut sites: BTreeMap<SiteId, Site> = PLACES.iter().map(|name| (SiteId::new(*name), site(name))).collect();
    let coordinator = place(SiteKind::Coordinator, BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    sites.insert(SiteId::coordinator(), coordinator);
    let stewards: BTreeSet<SiteId> = FEDERATED.iter().map(|name| SiteId::new(*name)).collect();
    let federated =
        tables.iter().map(|table| (table_name(*table), FederatedTable { stewards: stewards.clone() })).collect();
    Catalog { version: 1, sites, federated }
}

fn place(
    kind: SiteKind,
    roles: BTreeSet<String>,
    regions: BTreeSet<String>,
    tables: BTreeMap<TableName, Published>,
) -> Site {
    Site { kind, roles, regions, uri: "https://localhost:1".to_owned(), availability: Availability::Up, tables }
}

fn table_name(table: Table) -> TableName {
    TableName::new("s", table.name())
}

fn published(table: Table) -> Published {
    let fields = table.columns().iter().map(|(name, kind)| {
        let kind = match kind {
            Kind::Int => DataType::Int64,
            Kind::Float => DataType::Float64,
            Kind::Text => DataType::Utf8,
        };
        Field::new(*name, kind, true)
    });
    Published {
        schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        statistics: TableStatistics { rows: 1_000, ..TableStatistics::default() },
        entity: Some(Entity { column: "id".to_owned(), scope: EntityScope::Local }),
        colocated: BTreeMap::new(),
    }
}
