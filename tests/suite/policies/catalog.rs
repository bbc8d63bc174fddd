//! The federation of the policies as the planner gets it, and every policy's agreements.

use std::collections::{BTreeMap, BTreeSet};

use dynamos_planner::catalog::{
    Availability, Catalog, Entity, EntityScope, FederatedTable, Site, SiteKind, Table, TableName, TableStatistics,
};
use dynamos_planner::policy::{AgreementSet, Clause, HeldAgreement, ShipWhat};
use dynamos_planner::sql::parse_agreement;
use dynamos_proto::ids::SiteId;
use dynamos_tests::tpch::TableRows;

use super::set::{PolicySet, holders};

/// Three stewards, a provider and the coordinator, with the tables among them.
pub(super) fn catalog(rows: &[TableRows]) -> Catalog {
    let mut sites: BTreeMap<SiteId, Site> = BTreeMap::new();
    for (name, kind) in [
        ("a", SiteKind::Steward),
        ("b", SiteKind::Steward),
        ("c", SiteKind::Steward),
        ("p", SiteKind::Provider),
        ("coordinator", SiteKind::Coordinator),
    ] {
        let own = rows.iter().filter(|table| kind == SiteKind::Steward && holders(table.name).contains(&name));
        let tables = own.map(|table| (TableName::new("tpch", table.name), published(table))).collect();
        let regions = if kind == SiteKind::Coordinator { vec![] } else { vec!["nl".to_owned(), "eu".to_owned()] };
        let roles = (kind == SiteKind::Provider).then(|| "compute_provider".to_owned());
        let site = Site {
            kind,
            roles: roles.into_iter().collect(),
            regions: regions.into_iter().collect(),
            uri: format!("https://{name}:1"),
            availability: Availability::Up,
            tables,
        };
        sites.insert(SiteId::new(name), site);
    }
    let federated = rows.iter().filter(|table| holders(table.name).len() > 1).map(|table| {
        let stewards: BTreeSet<SiteId> = holders(table.name).iter().map(|name| SiteId::new(*name)).collect();
        (TableName::new("tpch", table.name), FederatedTable { stewards })
    });
    Catalog { version: 1, sites, federated: federated.collect() }
}

fn published(table: &TableRows) -> Table {
    let entity = match table.name {
        "customer" => Some("c_custkey"),
        "orders" => Some("o_custkey"),
        _ => None,
    };
    let colocated = match table.name {
        "orders" => Some("o_orderkey"),
        "lineitem" => Some("l_orderkey"),
        _ => None,
    };
    let rows: usize = table.batches.iter().map(|batch| batch.num_rows()).sum();
    Table {
        schema: table.schema.clone(),
        statistics: TableStatistics {
            rows: u64::try_from(rows / holders(table.name).len()).unwrap(),
            columns: BTreeMap::new(),
        },
        entity: entity.map(|column| Entity { column: column.to_owned(), scope: EntityScope::Local }),
        colocated: colocated.into_iter().map(|column| (column.to_owned(), "orderkey".to_owned())).collect(),
    }
}

/// The agreements of all policies, each with a role of its own.
pub(super) fn agreements(sets: &[PolicySet]) -> AgreementSet {
    let mut all = AgreementSet::default();
    for set in sets {
        for steward in ["a", "b", "c"] {
            if let Some(text) = set.agreement(steward) {
                let agreement = parse_agreement(&text).unwrap_or_else(|error| panic!("{}: {error}", set.name));
                let refused = dynamos_planner::policy::refuse_unimplemented(&agreement);
                assert!(refused.is_ok(), "{}: {refused:?}", set.name);
                all.insert(HeldAgreement::new(1, agreement));
            }
        }
    }
    all
}

/// The same agreements without their SHIP PARTIALS clauses.
pub(super) fn unsplit(sets: &[PolicySet]) -> AgreementSet {
    let mut all = AgreementSet::default();
    for held in agreements(sets).all() {
        let mut agreement = held.agreement.clone();
        agreement.clauses.retain(|numbered| match &numbered.clause {
            Clause::Ship(ship) => !matches!(ship.what, ShipWhat::Partials { .. }),
            _ => true,
        });
        all.insert(HeldAgreement::new(1, agreement));
    }
    all
}
