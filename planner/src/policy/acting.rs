//! Which ROWS and MASK clauses act on the tables that a query reads, for reports. What they make of the tables is derived in
//! [`super::view`].

use std::collections::BTreeSet;

use super::subject::{RawTables, mask_concerns, rows_concern};
use super::{Agreement, Clause, NumberedClause};
use crate::catalog::TableName;

/// How a clause acts on the tables that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acts {
    /// On the rows or columns of one of them.
    Itself,
    /// Who is hidden in another table is hidden in these, if its steward says that both are about the same people.
    ThroughItsPeople,
}

/// The ROWS and MASK clauses that act on some of a steward's tables.
pub(crate) fn view_clauses<'a>(
    agreement: &'a Agreement,
    read: &BTreeSet<TableName>,
    tables: &RawTables,
) -> Vec<(&'a NumberedClause, Acts)> {
    let about_people = read.iter().any(|name| tables.get(name).is_some_and(|raw| raw.entity.is_some()));
    let acts = |numbered: &NumberedClause| match &numbered.clause {
        Clause::Rows(rows) => {
            let mut concerned = tables.iter().filter(|(name, raw)| rows_concern(rows, name, raw));
            if concerned.clone().any(|(name, _)| read.contains(name)) {
                return Some(Acts::Itself);
            }
            let people = concerned.any(|(_, raw)| raw.entity.is_some());
            (people && about_people).then_some(Acts::ThroughItsPeople)
        }
        Clause::Mask(mask) => {
            let mut read = tables.iter().filter(|(name, _)| read.contains(*name));
            read.any(|(name, raw)| mask_concerns(mask, name, raw)).then_some(Acts::Itself)
        }
        Clause::Release(_)
        | Clause::Ship(_)
        | Clause::Filter(_)
        | Clause::Join(_)
        | Clause::Budget(_)
        | Clause::Archetypes(_)
        | Clause::Oblige(_) => None,
    };
    agreement.clauses.iter().filter_map(|numbered| Some((numbered, acts(numbered)?))).collect()
}
