//! What a steward is told of a question that somebody else asked. Its text is shown to nobody: literals may be somebody's,
//! and names of other stewards' tables and columns exist only for those to whom their agreements show them. So it is the
//! form without literals that the log of decisions holds, where all tables in it are ones that the steward knows; else
//! only which of its own tables were asked for.

use std::collections::BTreeSet;

use datafusion::common::TableReference;
use dynamos_planner::bind::ParsedQuery;
use dynamos_planner::catalog::{Catalog, TableName};
use dynamos_proto::ids::SiteId;

use crate::decision::statement_without_literals;

/// Whose the tables of a question are, as far as one steward is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// All are this steward's own. A federated table is others', too: which columns it has depends on what they show.
    Own,
    /// Some are this steward's own, or federated ones that it has a part of.
    Partly,
    /// None is, or there is none.
    Others,
}

/// A table that a steward knows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    Own(TableName),
    Federated(TableName),
}

impl Known {
    fn name(&self) -> &TableName {
        match self {
            Self::Own(name) | Self::Federated(name) => name,
        }
    }
}

/// Whose the tables of a question are.
pub(super) fn whose(parsed: &ParsedQuery, steward: &SiteId, catalog: &Catalog) -> Whose {
    let tables: Vec<Option<Known>> = parsed.tables.iter().map(|table| known(table, steward, catalog)).collect();
    if tables.iter().all(Option::is_none) {
        Whose::Others
    } else if tables.iter().all(|table| matches!(table, Some(Known::Own(_)))) {
        Whose::Own
    } else {
        Whose::Partly
    }
}

/// What `steward` may know of a statement.
pub(super) fn told(sql: &str, parsed: &ParsedQuery, steward: &SiteId, catalog: &Catalog) -> String {
    let tables: Vec<Option<Known>> = parsed.tables.iter().map(|table| known(table, steward, catalog)).collect();
    if tables.iter().all(Option::is_some) {
        return statement_without_literals(sql);
    }
    let known: BTreeSet<String> = tables.iter().flatten().map(|table| format!("`{}`", table.name())).collect();
    let known = known.into_iter().collect::<Vec<_>>().join(", ");
    if known.is_empty() { "on tables of others".to_owned() } else { format!("on {known} and tables of others") }
}

/// The table of this steward, or the federated one that it has a part of, that a name in a query means. Which of all tables
/// of one name a name without a schema means depends on what the agreements show to whoever asks: none of them may be
/// others' alone.
fn known(table: &TableReference, steward: &SiteId, catalog: &Catalog) -> Option<Known> {
    let part_of = |name: &TableName, site: &SiteId| {
        let stewards = catalog.federated.get(name).map(|table| &table.stewards);
        stewards.is_some_and(|stewards| stewards.contains(site) && stewards.contains(steward))
    };
    match table {
        TableReference::Full { catalog: site, schema, table } => {
            let name = TableName::new(schema.as_ref(), table.as_ref());
            let own = site.as_ref() == steward.as_str() && catalog.table(steward, &name).is_some();
            own.then_some(Known::Own(name))
        }
        TableReference::Partial { schema, table } => {
            let name = TableName::new(schema.as_ref(), table.as_ref());
            part_of(&name, steward).then_some(Known::Federated(name))
        }
        TableReference::Bare { table } => {
            let table: &str = table;
            let federated: Vec<&TableName> = catalog.federated.keys().filter(|name| name.table == table).collect();
            let of_sites: Vec<(&SiteId, &TableName)> = catalog
                .sites
                .iter()
                .flat_map(|(site, one)| one.tables.keys().map(move |name| (site, name)))
                .filter(|(_, name)| name.table == table)
                .collect();
            let theirs = federated.iter().any(|name| !part_of(name, steward))
                || of_sites.iter().any(|(site, name)| *site != steward && !part_of(name, site));
            // A federated table comes first.
            match (federated.first(), of_sites.first()) {
                (Some(name), _) if !theirs => Some(Known::Federated((*name).clone())),
                (None, Some((_, name))) if !theirs => Some(Known::Own((*name).clone())),
                _ => None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema;
    use dynamos_planner::bind;
    use dynamos_planner::catalog::{Availability, FederatedTable, Site, SiteKind, Table};

    use super::*;

    /// `vu` has a part of the federated `s.t`, and the tables `s.own` and `s.notes` of its own; `uva` has `s.notes`, too.
    fn catalog() -> Catalog {
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
        let federated =
            |stewards: &[&str]| FederatedTable { stewards: stewards.iter().copied().map(SiteId::new).collect() };
        Catalog {
            version: 1,
            sites: [
                (SiteId::new("vu"), site(&["t", "own", "notes"])),
                (SiteId::new("uva"), site(&["t", "u", "notes", "theirs"])),
            ]
            .into(),
            federated: [
                (TableName::new("s", "t"), federated(&["uva", "vu"])),
                (TableName::new("s", "u"), federated(&["uva"])),
            ]
            .into(),
        }
    }

    #[test]
    fn a_steward_is_told_of_no_literal_and_of_no_table_that_is_not_its_own() {
        for (sql, expected) in [
            ("SELECT a FROM s.t WHERE b = 'Jansen'", "select a from s . t where b = ?"),
            ("WITH x AS (SELECT 7) SELECT * FROM vu.s.own, x", "with x as ( select ? ) select * from vu . s . own , x"),
            ("SELECT a FROM t", "select a from t"),
            ("SELECT a FROM own", "select a from own"),
            ("SELECT secret FROM s.t, uva.s.t", "on `s.t` and tables of others"),
            ("SELECT secret FROM vu.s.own, s.t, s.u", "on `s.own`, `s.t` and tables of others"),
            ("SELECT secret FROM own, notes", "on `s.own` and tables of others"),
            ("SELECT secret FROM u", "on tables of others"),
        ] {
            assert_eq!(told(sql, &bind::parse(sql).unwrap(), &SiteId::new("vu"), &catalog()), expected, "{sql}");
        }
    }

    #[test]
    fn a_question_is_a_stewards_only_if_it_names_one_of_its_tables() {
        for (sql, expected) in [
            ("SELECT a FROM vu.s.own, vu.s.t", Whose::Own),
            ("SELECT a FROM own", Whose::Own),
            ("SELECT a FROM s.t", Whose::Partly),
            ("SELECT a FROM t", Whose::Partly),
            ("SELECT a FROM vu.s.own, uva.s.u", Whose::Partly),
            ("SELECT a FROM own, notes", Whose::Partly),
            ("SELECT a FROM uva.s.t, s.u", Whose::Others),
            ("SELECT a FROM u", Whose::Others),
            ("SELECT a FROM theirs", Whose::Others),
            // Somebody to whom only the other one is shown means that one.
            ("SELECT a FROM notes", Whose::Others),
            ("SELECT a FROM vu.s.missing", Whose::Others),
            ("SELECT a FROM missing", Whose::Others),
            ("SELECT 1", Whose::Others),
        ] {
            assert_eq!(whose(&bind::parse(sql).unwrap(), &SiteId::new("vu"), &catalog()), expected, "{sql}");
        }
    }
}
