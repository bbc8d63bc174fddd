//! The files of the original middleware, as they are. An unknown key may be a condition, so it is an error.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// One steward's agreement.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StewardAgreement {
    /// The steward.
    pub name: String,
    /// What each user may do.
    #[serde(default)]
    pub relations: BTreeMap<String, Relation>,
    /// Providers that the steward works with at all.
    #[serde(default)]
    pub compute_providers: Vec<String>,
    /// Archetypes that the steward works with at all.
    #[serde(default)]
    pub archetypes: Vec<String>,
}

/// What one user may do.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Relation {
    /// An identifier without a meaning here.
    #[serde(rename = "ID", default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What kinds of request.
    #[serde(default)]
    pub request_types: Vec<String>,
    /// On which data.
    #[serde(default)]
    pub data_sets: Vec<String>,
    /// How the work may be spread.
    #[serde(default)]
    pub allowed_archetypes: Vec<String>,
    /// Who may compute.
    #[serde(default)]
    pub allowed_compute_providers: Vec<String>,
}

/// A data set.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Dataset {
    /// Its name.
    pub name: String,
    /// How its files are written; a matter of the site's configuration.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// What stands between two cells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<String>,
    /// Its tables.
    #[serde(default)]
    pub tables: Vec<String>,
    /// Columns by table that must not be seen.
    #[serde(default)]
    pub sensitive_columns: BTreeMap<String, Vec<String>>,
}

/// An archetype.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ArchetypeEntry {
    /// Its name.
    pub name: String,
    /// Who computes: `dataProvider` or `other`.
    pub compute_provider: String,
    /// Who gets the result.
    pub result_recipient: String,
    /// The lower the better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
}

/// A type of request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RequestType {
    /// Its name.
    pub name: String,
    /// Services that every such request runs.
    #[serde(default)]
    pub required_services: Vec<String>,
    /// Services that run if an option of the request asks for them, with that option's name.
    #[serde(default)]
    pub optional_services: BTreeMap<String, String>,
}

/// Services that a steward demands of every request, whether it asks for them or not.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EnforcedServices {
    /// The steward.
    pub data_steward: String,
    /// Services by type of request.
    #[serde(default)]
    pub types: BTreeMap<String, Vec<String>>,
}

/// Reads a list, or one element without a list around it.
///
/// # Errors
///
/// What the JSON parser says, with the place.
pub fn read_json<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, String> {
    let read = match text.trim_start().starts_with('[') {
        true => serde_json::from_str(text),
        false => serde_json::from_str(text).map(|one| vec![one]),
    };
    read.map_err(|error| error.to_string())
}
