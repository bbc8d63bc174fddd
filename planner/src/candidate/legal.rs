//! Where rows may be: for each leaf of the released part and each way of computing a release point, the places that the
//! governing agreements allow.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::{DFSchema, TableReference};
use datafusion::execution::SessionState;
use datafusion::logical_expr::TableScan;
use dynamos_proto::ids::SiteId;

use super::placed::{Placement, ReleaseHow};
use crate::bind::VisibleTable;
use crate::catalog::{Availability, Catalog, SiteKind, TableName};
use crate::function::KeyDomain;
use crate::policy::matching::shipped_partials;
use crate::policy::release_plan::is_mergeable;
use crate::policy::{
    Agreement, Archetype, Clause, Governing, HashListing, MinimumScope, PlaceRef, ProtectedPart, RelationShape,
    SideColumns, within, within_columns,
};
use crate::wire::LeafTable;

/// So many groups of columns that are hashed together are considered; all choices among them are tried.
const HASHED_MAX: usize = 6;

/// What the agreements allow to be where.
pub struct Legal<'a> {
    /// The places.
    pub catalog: &'a Catalog,
    /// The agreement that governs at each steward.
    pub governing: &'a Governing<'a>,
    /// Resolves functions in clauses.
    pub state: &'a SessionState,
}

/// Whether a list of SHIP targets names a place.
pub fn place_matches(
    targets: &[PlaceRef],
    place: &SiteId,
    roles: &BTreeSet<String>,
    regions: &BTreeSet<String>,
) -> bool {
    targets.iter().any(|target| match target {
        PlaceRef::Site(name) => name == place.as_str(),
        PlaceRef::Role(role) => roles.contains(role),
        PlaceRef::Region(region) => regions.contains(region),
        PlaceRef::Coordinator => place.is_coordinator(),
        // The coordinator is trusted with nothing unless a clause names it.
        PlaceRef::Any => !place.is_coordinator(),
    })
}

/// Whether a steward's ARCHETYPES let rows go to other places, as SHIP says.
pub(super) fn rows_may_leave(agreement: &Agreement) -> bool {
    agreement.clauses.iter().all(|clause| match &clause.clause {
        Clause::Archetypes(allowed) => allowed.contains(&Archetype::DataToCompute),
        _ => true,
    })
}

impl Legal<'_> {
    /// Places that are up and can compute.
    pub fn candidates(&self) -> impl Iterator<Item = &SiteId> {
        self.catalog.sites.iter().filter(|(_, site)| site.availability == Availability::Up).map(|(name, _)| name)
    }

    /// Whether a place is a compute provider.
    pub fn is_provider(&self, place: &SiteId) -> bool {
        self.catalog.sites.get(place).is_some_and(|site| site.kind == SiteKind::Provider)
    }

    pub(super) fn names(&self, targets: &[PlaceRef], place: &SiteId) -> bool {
        let Some(site) = self.catalog.sites.get(place) else { return false };
        place_matches(targets, place, &site.roles, &site.regions)
    }

    /// Where the released rows of a table may be: at the coordinator, at their own steward, and where SHIP ROWS lets them go.
    pub fn rows(&self, scan: &TableScan) -> BTreeSet<SiteId> {
        let mut places = BTreeSet::from([SiteId::coordinator()]);
        let Some(table) = LeafTable::bound_to(scan) else { return places };
        let may =
            |place: &&SiteId| table.stewards.iter().all(|steward| self.rows_at(scan, &table, steward, place).is_ok());
        places.extend(self.candidates().filter(may).cloned());
        places
    }

    /// Whether a steward's released rows of a table may be at a place; if not, why.
    pub(super) fn rows_at(
        &self,
        scan: &TableScan,
        table: &VisibleTable,
        steward: &SiteId,
        place: &SiteId,
    ) -> Result<(), Vec<String>> {
        let Some(held) = self.governing.get(steward) else {
            return Err(vec!["no agreement allows you this table".to_owned()]);
        };
        if steward == place {
            return Ok(());
        }
        if !rows_may_leave(&held.agreement) {
            return Err(vec![format!("agreement `{}`: ARCHETYPES lets no rows leave", held.agreement.name)]);
        }
        let unknown = || vec![format!("`{}` is not the table of its clause", table.name)];
        let reference = TableReference::partial(table.name.schema.clone(), table.name.table.clone());
        let relation = match table.within.get(steward) {
            None => {
                let schema = DFSchema::try_from_qualified_schema(reference, &table.schema).map_err(|_| unknown())?;
                RelationShape { tables: BTreeMap::from([(table.name.clone(), schema)]), ..RelationShape::default() }
            }
            Some(clause) => {
                within(&held.agreement, *clause, &table.name, &table.schema, self.state).ok_or_else(unknown)?
            }
        };
        let names = scan.projected_schema.fields().iter().map(|field| field.name());
        let columns = within_columns(&relation, names).ok_or_else(unknown)?;
        let at = |targets: &[PlaceRef]| self.names(targets, place);
        relation.shipped_rows(&held.agreement, &columns, &at, HashListing::Hash, self.state).map(drop)
    }

    /// The ways to compute a release point: how, where, and where the released groups may go from there.
    pub fn releases(&self, part: &ProtectedPart) -> Vec<(ReleaseHow, SiteId, BTreeSet<SiteId>)> {
        let mut ways = Vec::new();
        for place in self.candidates() {
            let own = part.stewards.len() == 1 && part.stewards.contains(place);
            let alone = part.scope == MinimumScope::PerSite && part.stewards.len() == 1;
            if own {
                ways.push((ReleaseHow::Beside, place.clone(), self.released(part, place)));
                continue;
            }
            // Nothing leaves the one steward before it has decided.
            if alone {
                continue;
            }
            if self.may_merge(part, place) {
                ways.push((ReleaseHow::Merge, place.clone(), self.released(part, place)));
            }
            if part.scope == MinimumScope::Federation && self.shipped(part, place).is_some() {
                ways.push((ReleaseHow::Rows, place.clone(), self.released(part, place)));
            }
        }
        ways
    }

    /// Where released groups may be: where they are made, the coordinator, the one steward, and places that may have the
    /// clause's partials or the relation's rows. Rows of several stewards that are joined may be where they meet only.
    fn released(&self, part: &ProtectedPart, made_at: &SiteId) -> BTreeSet<SiteId> {
        let mut places = BTreeSet::from([SiteId::coordinator(), made_at.clone()]);
        if part.stewards.len() == 1 {
            places.extend(part.stewards.iter().cloned());
        }
        for place in self.candidates() {
            let partials = part.clauses.iter().all(|clause| self.partials_at(part, &clause.steward, place));
            if partials || (!part.is_across() && self.may_ship_rows(part, place, &SideColumns::new())) {
                places.insert(place.clone());
            }
        }
        places
    }

    pub(super) fn partials_at(&self, part: &ProtectedPart, steward: &SiteId, place: &SiteId) -> bool {
        if steward == place || (part.scope == MinimumScope::PerSite && place.is_coordinator()) {
            return true;
        }
        let (Some(held), Some(clause)) =
            (self.governing.get(steward), part.clauses.iter().find(|clause| clause.steward == *steward))
        else {
            return false;
        };
        shipped_partials(&held.agreement, clause.clause, &|targets| self.names(targets, place)).is_ok()
    }

    fn may_merge(&self, part: &ProtectedPart, place: &SiteId) -> bool {
        !part.is_across()
            && part.shape.aggregates.iter().all(|value| is_mergeable(&value.function, value.distinct))
            && part.stewards.iter().all(|steward| self.partials_at(part, steward, place))
    }

    /// Which columns of a part are hashed where its rows are shipped to a place, the fewest with which they may go there; none
    /// if they may not go at all.
    fn shipped(&self, part: &ProtectedPart, place: &SiteId) -> Option<SideColumns> {
        if self.may_ship_rows(part, place, &SideColumns::new()) {
            return Some(SideColumns::new());
        }
        // A steward hashes its own keys for a comparison, so hashes of others' keys would tell it these.
        if part.stewards.contains(place) {
            return None;
        }
        let mut classes = part.hashable();
        classes.retain(|class| self.one_domain(part, class));
        classes.truncate(HASHED_MAX);
        let choices = (1..1_u32 << classes.len()).map(|choice| {
            let chosen = classes.iter().enumerate().filter(|(index, _)| choice >> index & 1 == 1);
            chosen.flat_map(|(_, class)| class.iter().copied()).collect::<SideColumns>()
        });
        let mut choices: Vec<SideColumns> = choices.collect();
        choices.sort_by_key(|choice| (choice.len(), choice.clone()));
        choices.into_iter().find(|hashed| self.may_ship_rows(part, place, hashed))
    }

    /// Whether one steward's rows of a part may be at a place, with whatever keys hashed.
    pub(super) fn shipped_of(&self, part: &ProtectedPart, steward: &SiteId, place: &SiteId) -> bool {
        let mut classes = part.hashable();
        classes.retain(|class| self.one_domain(part, class));
        classes.truncate(HASHED_MAX);
        (0..1_u32 << classes.len()).any(|choice| {
            let chosen = classes.iter().enumerate().filter(|(index, _)| choice >> index & 1 == 1);
            let hashed = chosen.flat_map(|(_, class)| class.iter().copied()).collect();
            self.ships_rows(part, steward, place, &hashed)
        })
    }

    /// The domains of what a steward hashes of its rows where they are shipped to a place, by position among its side's
    /// outputs.
    pub fn hashed_at(&self, part: &ProtectedPart, place: &SiteId, steward: &SiteId) -> BTreeMap<usize, KeyDomain> {
        self.domains(part, steward, &self.shipped(part, place).unwrap_or_default()).unwrap_or_default()
    }

    /// The domains of those of the hashed columns that are on a steward's side; none if one of them is no entity key there.
    fn domains(
        &self,
        part: &ProtectedPart,
        steward: &SiteId,
        hashed: &SideColumns,
    ) -> Option<BTreeMap<usize, KeyDomain>> {
        let (index, side) = part.sides.iter().enumerate().find(|(_, side)| side.stewards.contains(steward))?;
        let declared = |table: &TableName, column: &str| self.catalog.key_domain(steward, table, column);
        let own = hashed.iter().filter(|(of, _)| *of == index).map(|(_, output)| *output);
        own.map(|output| Some((output, side.domain_at(output, &declared)?))).collect()
    }

    /// Whether columns are entity keys at all their stewards, and, where they are compared, of one domain.
    fn one_domain(&self, part: &ProtectedPart, class: &SideColumns) -> bool {
        let stewards = part.stewards.iter().map(|steward| self.domains(part, steward, class));
        let Some(domains) = stewards.collect::<Option<Vec<_>>>() else { return false };
        let domains: BTreeSet<KeyDomain> = domains.into_iter().flat_map(BTreeMap::into_values).collect();
        class.len() == 1 || (domains.len() == 1 && domains.iter().all(KeyDomain::is_shared))
    }

    /// Rows may go to a place if each steward's SHIP ROWS covers every column that the part gives or touches, some of them
    /// hashed, and its ARCHETYPES allow rows to leave.
    fn may_ship_rows(&self, part: &ProtectedPart, place: &SiteId, hashed: &SideColumns) -> bool {
        part.stewards.iter().all(|steward| self.ships_rows(part, steward, place, hashed))
    }

    fn ships_rows(&self, part: &ProtectedPart, steward: &SiteId, place: &SiteId, hashed: &SideColumns) -> bool {
        if steward == place {
            return true;
        }
        let (Some(held), Some(side)) = (self.governing.get(steward), part.side_of(steward)) else { return false };
        let Some(domains) = self.domains(part, steward, hashed) else { return false };
        let at = |targets: &[PlaceRef]| self.names(targets, place);
        let (outputs, listing) = (side.outputs_hashed(&domains), HashListing::Hash);
        rows_may_leave(&held.agreement)
            && side.relation.shipped_rows(&held.agreement, &outputs, &at, listing, self.state).is_ok()
    }

    /// Whether a way of computing a release point belongs to a family of placements.
    pub fn in_family(&self, how: ReleaseHow, place: &SiteId, family: Placement) -> bool {
        match family {
            Placement::Auto => true,
            Placement::ComputeToData => how != ReleaseHow::Rows,
            Placement::DataToCompute => how == ReleaseHow::Rows && (self.is_provider(place) || place.is_coordinator()),
        }
    }
}
