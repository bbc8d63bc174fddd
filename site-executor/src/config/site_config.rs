//! The configuration of one place. Paths are relative to the folder of the file; unknown keys are errors.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use dynamos_proto::ids::SiteId;
use dynamos_proto::settings::{self, SettingsError, TlsSection};
use serde::Deserialize;
use thiserror::Error;

use super::limits::Limits;
use super::site_table::SiteTable;

/// Everything that an operator says about one place.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteConfig {
    /// Who it is.
    pub site: SiteSection,
    /// How it proves who it is.
    pub tls: TlsSection,
    /// What it signs with.
    #[serde(default)]
    pub keys: KeysSection,
    /// Whose plans it takes.
    pub coordinator: CoordinatorSection,
    /// The other places that it knows.
    #[serde(default)]
    pub peers: Vec<Peer>,
    /// The organisations whose users it knows.
    #[serde(default)]
    pub organisations: Vec<Organisation>,
    /// How much queries may take.
    #[serde(default)]
    pub limits: Limits,
    /// Its tables; stewards only.
    #[serde(default)]
    pub tables: Vec<SiteTable>,
    /// Of which federated tables its own are parts; stewards only.
    #[serde(default)]
    pub federated: Vec<FederatedPart>,
}

/// A federated table that a table of this site is a part of. A release of several stewards' rows that are counted together
/// must be of all of them, and each steward's site holds the others to that by its own list.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FederatedPart {
    /// Its schema, in lower case.
    pub schema: String,
    /// Its name, in lower case.
    pub table: String,
    /// All its stewards, this one among them; as the coordinator has them.
    pub stewards: Vec<SiteId>,
}

/// Who a place is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteSection {
    /// Its name in the federation, as in its certificate.
    pub name: SiteId,
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The URI under which others reach it; `https://` and the address it listens on if absent.
    #[serde(default)]
    pub advertise: Option<String>,
    /// What it is for.
    pub kind: PlaceKind,
    /// Names that `ROLE …` in a SHIP clause matches.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Names that `REGION …` matches, the narrowest first.
    #[serde(default)]
    pub regions: Vec<String>,
    /// Purposes besides those of the release that its agreements may name; each covers itself alone.
    #[serde(default)]
    pub purposes: Vec<String>,
    /// The folder for what must survive a restart, and for spilled data.
    pub state_dir: PathBuf,
    /// A folder of `*.sql` files with one `CREATE AGREEMENT` each; stewards only.
    #[serde(default)]
    pub agreements_dir: Option<PathBuf>,
}

/// What a place is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlaceKind {
    /// It owns tables and decides about them.
    Steward,
    /// It computes on what stewards let go there.
    Provider,
    /// The coordinator's own place, which runs the last fragment; never a process of its own.
    #[serde(skip)]
    Coordinator,
}

/// Key files.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysSection {
    /// A file with the base64 of the 32-byte Ed25519 seed that a steward signs its agreements with.
    #[serde(default)]
    pub signing: Option<PathBuf>,
}

/// The coordinator.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoordinatorSection {
    /// Where it listens for sites.
    pub uri: String,
    /// The base64 Ed25519 key that its permits are signed with.
    pub public_key: String,
}

/// Another place.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its name.
    pub name: SiteId,
    /// Its roles, as this place believes them.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Its regions, as this place believes them.
    #[serde(default)]
    pub regions: Vec<String>,
    /// The base64 Ed25519 key that it signs agreements with; stewards only.
    #[serde(default)]
    pub public_key: Option<String>,
}

/// An organisation that vouches for its users.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Organisation {
    /// Its name, as tokens carry it.
    pub name: String,
    /// The base64 Ed25519 key that its tokens are signed with.
    pub public_key: String,
}

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read, or is not this configuration's TOML.
    #[error(transparent)]
    File(#[from] SettingsError),
    /// Its parts contradict each other.
    #[error("configuration of `{site}`: {problem}")]
    Contradiction {
        /// The place.
        site: SiteId,
        /// What is wrong and what to do.
        problem: String,
    },
}

impl SiteConfig {
    /// Reads a configuration file and checks its parts against each other.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the file and, where there is one, the line.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = settings::read(&settings::text(path)?, path)?;
        config.resolve_paths(path.parent().unwrap_or(Path::new("")));
        config.validate()?;
        Ok(config)
    }

    fn resolve_paths(&mut self, folder: &Path) {
        let paths = [&mut self.site.state_dir, &mut self.tls.cert, &mut self.tls.key, &mut self.tls.ca];
        let optional = [self.site.agreements_dir.as_mut(), self.keys.signing.as_mut()];
        let tables = self.tables.iter_mut().map(|table| &mut table.source.path);
        for path in paths.into_iter().chain(optional.into_iter().flatten()).chain(tables) {
            *path = folder.join(&*path);
        }
    }

    /// Checks the parts against each other.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let wrong = |problem: &str| {
            Err(ConfigError::Contradiction { site: self.site.name.clone(), problem: problem.to_owned() })
        };
        let name = self.site.name.as_str();
        let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if name.is_empty() || !plain {
            return wrong("`name` must be lower case letters, digits and `_`");
        }
        match self.site.kind {
            PlaceKind::Steward if self.keys.signing.is_none() => {
                wrong("a steward signs its agreements, give it `keys.signing`")
            }
            PlaceKind::Steward | PlaceKind::Provider if self.site.name.is_coordinator() => {
                wrong("the name `coordinator` is the coordinator's own")
            }
            PlaceKind::Provider | PlaceKind::Coordinator if !self.tables.is_empty() => {
                wrong("only a steward has tables, set `kind = \"steward\"` or remove them")
            }
            PlaceKind::Provider | PlaceKind::Coordinator if self.site.agreements_dir.is_some() => {
                wrong("only a steward has agreements, set `kind = \"steward\"` or remove `agreements_dir`")
            }
            PlaceKind::Steward | PlaceKind::Provider | PlaceKind::Coordinator => {
                let without = self.federated.iter().find(|part| !part.stewards.contains(&self.site.name));
                if let Some(FederatedPart { schema, table, .. }) = without {
                    return wrong(&format!(
                        "`stewards` of federated table `{schema}.{table}` must name this site, too"
                    ));
                }
                if self.limits.target_partitions == 0 || self.limits.concurrent_fragments == 0 {
                    return wrong("`target_partitions` and `concurrent_fragments` must be above 0");
                }
                let contradicting = self.tables.iter().find_map(|table| table.source.validate().err());
                contradicting.map_or(Ok(()), |error| wrong(&error.to_string()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"
        [site]
        name = "uva"
        listen = "127.0.0.1:0"
        kind = "steward"
        roles = ["university"]
        regions = ["nl", "eu"]
        purposes = ["thesis"]
        state_dir = "state"
        agreements_dir = "agreements"
        [tls]
        cert = "uva.pem"
        key = "uva.key"
        ca = "ca.pem"
        [keys]
        signing = "uva.seed"
        [coordinator]
        uri = "https://127.0.0.1:50050"
        public_key = "AAAA"
        [[peers]]
        name = "surf"
        roles = ["provider"]
        [[organisations]]
        name = "uva"
        public_key = "AAAA"
        [limits]
        memory_per_query = "64MiB"
        query_deadline = "5s"
        [[tables]]
        schema = "wages"
        table = "personen"
        path = "personen.csv"
        format = "csv"
        entity = "unieknr"
        [[federated]]
        schema = "wages"
        table = "personen"
        stewards = ["uva", "vu"]
    "#;

    fn load(text: &str) -> Result<SiteConfig, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.toml");
        std::fs::write(&path, text).unwrap();
        let mut loaded = SiteConfig::load(&path)?;
        assert!(loaded.site.state_dir.starts_with(folder.path()));
        loaded.site.state_dir = loaded.site.state_dir.strip_prefix(folder.path()).unwrap().to_owned();
        Ok(loaded)
    }

    #[test]
    fn reads_every_section_and_resolves_paths() {
        let config = load(SAMPLE).unwrap();
        assert_eq!(config.site.state_dir, Path::new("state"));
        assert_eq!(config.site.purposes, ["thesis"]);
        assert_eq!(config.limits.query_deadline.as_secs(), 5);
        assert_eq!(config.limits.memory_per_query.0, 64 << 20);
        assert_eq!(config.tables[0].entity.as_deref(), Some("unieknr"));
        assert!(config.tables[0].source.path.is_absolute());
    }

    #[test]
    fn unknown_keys_are_named_with_their_line() {
        let error = load(&SAMPLE.replace("[limits]", "[limits]\nmemory = \"1MiB\"")).unwrap_err().to_string();
        assert!(error.contains("memory") && error.contains("line"), "{error}");
        let error =
            load(&SAMPLE.replace("[[federated]]", "primary_key = \"x\"\n[[federated]]")).unwrap_err().to_string();
        assert!(error.contains("`primary_key`") && error.contains("`schema`"), "{error}");
        assert!(error.contains("`entity`") && error.contains("line") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn contradictions_are_refused() {
        for (from, to) in [
            ("signing = \"uva.seed\"", ""),
            ("kind = \"steward\"", "kind = \"provider\""),
            ("kind = \"steward\"", "kind = \"coordinator\""),
            ("name = \"uva\"\n        listen", "name = \"coordinator\"\n        listen"),
            ("name = \"uva\"\n        listen", "name = \"UvA\"\n        listen"),
            ("stewards = [\"uva\", \"vu\"]", "stewards = [\"vu\", \"amc\"]"),
            ("format = \"csv\"", "format = \"parquet\"\n        delimiter = \";\""),
        ] {
            assert!(load(&SAMPLE.replace(from, to)).is_err(), "{from} -> {to}");
        }
    }

    #[test]
    fn an_unknown_key_is_told_in_one_line() {
        let error = load(&SAMPLE.replace("listen = ", "lisen = ")).unwrap_err().to_string();
        assert!(error.contains("line 4: ") && error.contains("`lisen`") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = SiteConfig::load(Path::new("no/such/site.toml")).unwrap_err();
        assert!(error.to_string().contains("no/such/site.toml"));
    }
}
