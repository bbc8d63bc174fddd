//! What a steward is told of a question that somebody else asked. Its text is shown to nobody: literals may be somebody's,
//! and names of other stewards' tables and columns exist only for those to whom their agreements show them. So it is the
//! form without literals that the log of decisions holds, where all tables in it are ones that the steward knows; else
//! only which of its own tables were asked for.

use std::collections::BTreeSet;

use datafusion::common::TableReference;
use dynamos_planner::bind;
use dynamos_planner::catalog::{Catalog, TableName};
use dynamos_proto::ids::SiteId;

use crate::decision::statement_without_literals;

/// What `steward` may know of a statement.
pub(super) fn told(sql: &str, default_schema: Option<&str>, steward: &SiteId, catalog: &Catalog) -> String {
    let Ok(parsed) = bind::parse(sql) else { return String::new() };
    let own = |table: &TableReference| own(table, default_schema, steward, catalog);
    if parsed.tables.iter().all(|table| own(table).is_some()) {
        return statement_without_literals(sql);
    }
    let known: BTreeSet<String> = parsed.tables.iter().filter_map(own).map(|table| format!("`{table}`")).collect();
    let known = known.into_iter().collect::<Vec<_>>().join(", ");
    if known.is_empty() { "on tables without a schema".to_owned() } else { format!("on {known} and tables of others") }
}

/// The table of this steward, or the federated one that it has a part of, that a name in a query means.
fn own(table: &TableReference, default_schema: Option<&str>, steward: &SiteId, catalog: &Catalog) -> Option<TableName> {
    let of_steward = |name: &TableName| catalog.table(steward, name).is_some();
    let part_of = |name: &TableName| catalog.federated.get(name).is_some_and(|table| table.stewards.contains(steward));
    match table {
        TableReference::Full { catalog, schema, table } => {
            let name = TableName::new(schema.as_ref(), table.as_ref());
            (catalog.as_ref() == steward.as_str()).then_some(name)
        }
        TableReference::Partial { schema, table } => {
            Some(TableName::new(schema.as_ref(), table.as_ref())).filter(part_of)
        }
        TableReference::Bare { table } => {
            let name = TableName::new(default_schema?, table.as_ref());
            Some(name).filter(|name| part_of(name) || of_steward(name))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema;
    use dynamos_planner::catalog::{Availability, FederatedTable, Site, SiteKind, Table};

    use super::*;

    #[test]
    fn a_steward_is_told_of_no_literal_and_of_no_table_that_is_not_its_own() {
        let tables = |tables: &[&str]| {
            let table = || Table {
                schema: Arc::new(Schema::empty()),
                statistics: Default::default(),
                entity: None,
                colocated: Default::default(),
            };
            tables.iter().map(|name| (TableName::new("s", *name), table())).collect()
        };
        let site = |names: &[&str]| Site {
            kind: SiteKind::Steward,
            roles: BTreeSet::new(),
            regions: BTreeSet::new(),
            uri: String::new(),
            availability: Availability::Up,
            tables: tables(names),
        };
        let vu = SiteId::new("vu");
        let federated =
            |stewards: &[&str]| FederatedTable { stewards: stewards.iter().copied().map(SiteId::new).collect() };
        let catalog = Catalog {
            version: 1,
            sites: [(vu.clone(), site(&["t", "own"])), (SiteId::new("uva"), site(&["t", "u"]))].into(),
            federated: [
                (TableName::new("s", "t"), federated(&["uva", "vu"])),
                (TableName::new("s", "u"), federated(&["uva"])),
            ]
            .into(),
        };
        for (sql, schema, expected) in [
            ("SELECT a FROM s.t WHERE b = 'Jansen'", None, "select a from s . t where b = ?"),
            (
                "WITH x AS (SELECT 7) SELECT * FROM vu.s.own, x",
                None,
                "with x as ( select ? ) select * from vu . s . own , x",
            ),
            ("SELECT a FROM t", Some("s"), "select a from t"),
            ("SELECT secret FROM s.t, uva.s.t", None, "on `s.t` and tables of others"),
            ("SELECT secret FROM vu.s.own, s.t, s.u", None, "on `s.own`, `s.t` and tables of others"),
            ("SELECT secret FROM t", None, "on tables without a schema"),
            ("SELECT secret FROM u", Some("s"), "on tables without a schema"),
        ] {
            assert_eq!(told(sql, schema, &vu, &catalog), expected, "{sql}");
        }
    }
}
