//! Places as a clause writes them. Which sites a role or a region stands for is known to the catalog, not here.

/// One target of a SHIP clause or the scope of an obligation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlaceRef {
    /// One site, by name.
    Site(String),
    /// Every site with this role, written `ROLE compute_provider`.
    Role(String),
    /// Every site in this region, written `REGION eu`.
    Region(String),
    /// The coordinator, which is trusted with nothing unless a clause names it.
    Coordinator,
    /// Every place but the coordinator.
    Any,
}
