//! The profile: what a steward adds to the original's JSON, in TOML. Keys that it does not know are errors, and every key
//! below is required, so that nothing is granted because a line is missing:
//!
//! ```toml
//! [places]                       # their names = names of sites in this federation
//! VU = "vu"
//! SURF = "surf"
//!
//! [datasets.wageGap]
//! agreement = "wage_gap"         # what the agreement is called
//! purposes = ["statistics"]
//! valid_from = "2026-01-01"      # or "unlimited"
//! valid_until = "2027-01-01"     # or "unlimited"
//! tables = { Personen = "wages.personen", Aanstellingen = "wages.aanstellingen" }
//!
//! [datasets.wageGap.requests]    # clauses by request type, in the agreement language
//! sqlDataRequest = [
//!   "groups: RELEASE avg OF salschal BY geslacht FROM wages.personen JOIN wages.aanstellingen ON unieknr MINIMUM 10 DISTINCT personen.unieknr",
//!   "SHIP PARTIALS OF groups",   # without TO: the targets are the JSON's allowedComputeProviders
//!   "ARCHETYPES",                # optional: where the clause with the JSON's allowedArchetypes stands, else last
//! ]
//! ```

use std::collections::BTreeMap;

use dynamos_planner::policy::UtcMillis;
use serde::{Deserialize, Serialize};

/// The word for a validity without beginning or end.
const UNLIMITED: &str = "unlimited";

/// A profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Names of stewards and providers in the JSON, and the sites that they are.
    pub places: BTreeMap<String, String>,
    /// What holds for each data set.
    pub datasets: BTreeMap<String, DatasetTerms>,
}

/// What holds for a data set.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetTerms {
    /// The agreement's name.
    pub agreement: String,
    /// Its purposes.
    pub purposes: Vec<String>,
    /// The first moment at which it holds, or `unlimited`.
    pub valid_from: String,
    /// The first moment at which it no longer holds, or `unlimited`.
    pub valid_until: String,
    /// Names of tables in the JSON, and the tables that they are.
    pub tables: BTreeMap<String, String>,
    /// Clauses by type of request.
    pub requests: BTreeMap<String, Vec<String>>,
}

impl Profile {
    /// Its TOML.
    ///
    /// # Errors
    ///
    /// What the writer says.
    pub fn text(&self) -> Result<String, String> {
        toml::to_string_pretty(self).map_err(|error| error.to_string())
    }
}

/// A moment of a profile.
pub(super) fn moment(text: &str) -> Result<Option<UtcMillis>, String> {
    if text == UNLIMITED {
        return Ok(None);
    }
    let read = UtcMillis::parse(text).map(Some);
    read.ok_or_else(|| format!("`{text}` is no moment; write it like `2026-01-31`, or `{UNLIMITED}`"))
}

/// Its text.
pub(super) fn moment_text(moment: Option<UtcMillis>) -> String {
    moment.map_or_else(|| UNLIMITED.to_owned(), |moment| moment.to_string())
}
