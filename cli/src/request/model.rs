//! A request as the original's JSON writes it. An unknown key could change what is asked, so it is an error.

use serde::Deserialize;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Only `sqlDataRequest` asks for data.
    #[serde(rename = "type")]
    pub kind: String,
    /// Who asks. The token says who it is; this is only compared with it.
    #[serde(default)]
    pub user: Option<RequestUser>,
    /// Whose data.
    #[serde(rename = "dataProviders")]
    pub data_providers: Vec<String>,
    /// What is asked.
    pub data_request: DataRequest,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum RequestUser {
    /// By name alone.
    Name(String),
    /// With an identifier.
    Named {
        /// The name.
        #[serde(rename = "userName")]
        user_name: String,
    },
}

impl RequestUser {
    /// The name.
    pub fn name(&self) -> &str {
        match self {
            Self::Name(name) | Self::Named { user_name: name } => name,
        }
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRequest {
    /// The same as the request's.
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    /// The rows.
    pub query: String,
    /// What is computed of them.
    pub algorithm: Algorithm,
    /// How.
    #[serde(default)]
    pub options: Options,
    /// Addresses within the original; without a meaning here.
    #[serde(rename = "requestMetadata", default)]
    pub metadata: Option<serde_json::Value>,
    /// The user once more.
    #[serde(default)]
    pub user: Option<RequestUser>,
}

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Algorithm {
    /// The average of one column by another.
    Average,
}

/// Options of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Whether a chart is wanted.
    pub graph: bool,
    /// Whether all providers' rows are one relation.
    pub aggregate: bool,
    /// Whether dates are made coarser.
    pub anonymize: bool,
}
