//! ODRL 2.2 policies as JSON-LD, with purposes as terms of the Data Use Ontology (DUO) where there are such.
//!
//! ODRL's core has words for parties, purposes, times, recipients and duties; it has none for functions, groupings and
//! minimums. Those are terms of a profile of this project's, `urn:dynamos:odrl:`, whose operands are texts of the
//! agreement language. Everything that limits a grant is written, or the export is refused; a reader that does not know
//! the profile must not use the policy, as ODRL says of every profile.
//!
//! ```text
//! RELEASE, SHIP, FILTER        permission with an action of the profile, its conditions as refinements
//! TO place                     constraint `recipient`
//! PURPOSE, VALID               constraints `purpose`, `dateTime` of every permission
//! BUDGET, ARCHETYPES           constraints `count`, `dynamos:epsilon`, `dynamos:archetype` of every permission
//! MASK, ROWS, OBLIGE           obligations `anonymize`, `dynamos:restrict`, `delete`, `dynamos:audit`, `inform`
//! JOIN                         not expressed: without it fewer queries are allowed
//! ```
//!
//! Each rule is read by making the clause's text, parsing it, and comparing what it would be written as with what was
//! read. So nothing in a document can become a clause that it does not show.

mod export;
mod import;
mod iri;
mod rule;
#[cfg(test)]
mod tests;
mod text;

pub use export::export_odrl;
pub use import::import_odrl;
