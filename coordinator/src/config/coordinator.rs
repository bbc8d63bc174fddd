//! [`CoordinatorConfig`]: everything that a coordinator must be told before it starts. What it learns later (tables,
//! agreements) comes from the sites themselves; here stands only who they are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dynamos_planner::catalog::{FederatedTable, SiteKind, TableName};
use dynamos_proto::ids::SiteId;
use dynamos_proto::settings::{self, TlsSection};
use dynamos_proto::token::Issuers;
use serde::Deserialize;

use super::error::ConfigError;
use super::value::{KeyText, Span};
use crate::registry::KnownSite;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoordinatorConfig {
    /// Folder for what must survive a restart; relative paths start at the file's own folder.
    pub state_dir: PathBuf,
    /// Where it listens and what it is called.
    pub coordinator: CoordinatorSection,
    /// Certificates.
    pub tls: TlsSection,
    /// Signing keys.
    pub keys: KeysSection,
    /// Organisations whose users are known.
    #[serde(default)]
    pub organisations: Vec<OrganisationSection>,
    /// Places that may register.
    #[serde(default)]
    pub sites: Vec<SiteSection>,
    /// Tables that are the union of several stewards' tables.
    #[serde(default)]
    pub federated: Vec<FederatedSection>,
    /// Limits.
    #[serde(default)]
    pub limits: LimitsSection,
    /// What is assumed of links that have not been measured.
    #[serde(default)]
    pub links: LinksSection,
}

/// `[coordinator]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoordinatorSection {
    /// Name shown to people and in logs.
    pub name: String,
    /// Address and port for clients (Flight SQL). Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Address and port for sites (registry, mTLS). Port 0 takes a free one.
    pub sites_listen: SocketAddr,
    /// Roles of the place `coordinator`, as `ROLE …` of a SHIP clause matches them.
    #[serde(default)]
    pub roles: BTreeSet<String>,
    /// Regions of the place `coordinator`.
    #[serde(default)]
    pub regions: BTreeSet<String>,
}

/// `[keys]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysSection {
    /// File with the base64 seed of the key that signs permits.
    pub signing: PathBuf,
}

/// `[[organisations]]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrganisationSection {
    /// Its name, as tokens state it.
    pub name: String,
    /// The key that its users' tokens are verified with.
    pub public_key: KeyText,
}

/// What a configured place is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlaceKind {
    /// Owns tables and grants agreements.
    Steward,
    /// Computes on what stewards let go there.
    Provider,
}

/// `[[sites]]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteSection {
    /// Its name; its certificate's URI SAN is `spiffe://dynamos/place/<name>`.
    pub name: String,
    /// What it is for.
    pub kind: PlaceKind,
    /// The key that a steward signs agreements with.
    #[serde(default)]
    pub public_key: Option<KeyText>,
    /// Its roles.
    #[serde(default)]
    pub roles: BTreeSet<String>,
    /// Its regions.
    #[serde(default)]
    pub regions: BTreeSet<String>,
}

/// `[[federated]]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FederatedSection {
    /// Schema name.
    pub schema: String,
    /// Table name.
    pub table: String,
    /// Whose tables it unites.
    pub stewards: BTreeSet<String>,
}

/// `[limits]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// Queries that run at one time.
    pub concurrent_queries: usize,
    /// Queries that wait for their turn; more are refused.
    pub queue: usize,
    /// Time from arrival to the last row.
    pub query_deadline: Span,
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self { concurrent_queries: 16, queue: 64, query_deadline: Span(Duration::from_secs(300)) }
    }
}

/// `[links]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinksSection {
    /// Bandwidth between two places, megabits per second.
    pub bandwidth_mbit_per_s: u64,
    /// Round-trip time between two places.
    pub latency: Span,
}

impl Default for LinksSection {
    fn default() -> Self {
        Self { bandwidth_mbit_per_s: 1000, latency: Span(Duration::from_millis(10)) }
    }
}

impl From<PlaceKind> for SiteKind {
    fn from(kind: PlaceKind) -> Self {
        match kind {
            PlaceKind::Steward => Self::Steward,
            PlaceKind::Provider => Self::Provider,
        }
    }
}

impl From<&SiteSection> for KnownSite {
    fn from(site: &SiteSection) -> Self {
        Self {
            site: SiteId::new(&site.name),
            kind: site.kind.into(),
            roles: site.roles.clone(),
            regions: site.regions.clone(),
            public_key: site.public_key.clone().map(|key| key.0),
        }
    }
}

impl CoordinatorConfig {
    /// Reads and checks a file. Relative paths in it start at the file's own folder.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&settings::text(path)?, path)
    }

    /// Reads and checks a text as if it stood in `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = settings::read(text, path)?;
        config.check().map_err(|problem| ConfigError::Inconsistent { path: path.to_owned(), problem })?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        let paths = [&mut config.state_dir, &mut config.tls.cert, &mut config.tls.key, &mut config.tls.ca];
        for one in paths.into_iter().chain([&mut config.keys.signing]) {
            *one = folder.join(&*one);
        }
        Ok(config)
    }

    /// The keys that tokens are verified with, by organisation.
    pub fn issuers(&self) -> Issuers {
        self.organisations.iter().map(|one| (one.name.clone(), one.public_key.0.clone())).collect()
    }

    /// The federated tables, by name.
    pub fn federated_tables(&self) -> BTreeMap<TableName, FederatedTable> {
        federated_tables(&self.federated)
    }

    fn check(&self) -> Result<(), String> {
        let (listen, sites_listen) = (self.coordinator.listen, self.coordinator.sites_listen);
        if listen == sites_listen && listen.port() != 0 {
            return Err(format!("`listen` and `sites_listen` are both `{listen}`; give each its own port"));
        }
        if self.limits.concurrent_queries == 0 {
            return Err("`limits.concurrent_queries` is 0; no query could run".to_owned());
        }
        if self.limits.query_deadline.0.is_zero() {
            return Err("`limits.query_deadline` is 0; no query could finish".to_owned());
        }
        if self.links.bandwidth_mbit_per_s == 0 {
            return Err("`links.bandwidth_mbit_per_s` is 0; give what the slowest link carries".to_owned());
        }
        unique("organisations", self.organisations.iter().map(|one| one.name.as_str()))?;
        self.sites.iter().try_for_each(check_key)?;
        check_places(&self.sites, &self.federated)
    }
}

/// The federated tables of these sections, by name.
pub fn federated_tables(sections: &[FederatedSection]) -> BTreeMap<TableName, FederatedTable> {
    let tables = sections.iter().map(|one| {
        let stewards = one.stewards.iter().map(SiteId::new).collect();
        (TableName::new(&one.schema, &one.table), FederatedTable { stewards })
    });
    tables.collect()
}

/// Checks that every place and federated table has a name of its own, and that federated tables are made of stewards'.
/// The error names the key.
pub fn check_places(sites: &[SiteSection], federated: &[FederatedSection]) -> Result<(), String> {
    unique("sites", sites.iter().map(|one| one.name.as_str()))?;
    sites.iter().try_for_each(check_name)?;
    let mut names = BTreeSet::new();
    for one in federated {
        let name = format!("{}.{}", one.schema, one.table);
        if one.stewards.is_empty() {
            return Err(format!("federated table `{name}` names no steward"));
        }
        for steward in &one.stewards {
            let known = sites.iter().find(|site| &site.name == steward);
            if known.is_none_or(|site| site.kind != PlaceKind::Steward) {
                return Err(format!("federated table `{name}` names `{steward}`, which is not a steward in `sites`"));
            }
        }
        if !names.insert(name.clone()) {
            return Err(format!("federated table `{name}` is given twice; remove one"));
        }
    }
    Ok(())
}

fn check_name(site: &SiteSection) -> Result<(), String> {
    let plain = |character: char| character.is_ascii_alphanumeric() || character == '_' || character == '-';
    if site.name.is_empty() || !site.name.chars().all(plain) {
        return Err(format!("site name `{}` must be made of letters, digits, `_` and `-`", site.name));
    }
    if SiteId::new(&site.name).is_coordinator() {
        return Err("site name `coordinator` is taken by the coordinator itself".to_owned());
    }
    Ok(())
}

fn check_key(site: &SiteSection) -> Result<(), String> {
    match (site.kind, &site.public_key) {
        (PlaceKind::Steward, None) => {
            Err(format!("site `{}` is a steward and needs the `public_key` that it signs agreements with", site.name))
        }
        (PlaceKind::Provider, Some(_)) => {
            Err(format!("site `{}` is a provider and signs no agreements; remove its `public_key`", site.name))
        }
        (PlaceKind::Steward, Some(_)) | (PlaceKind::Provider, None) => Ok(()),
    }
}

fn unique<'a>(section: &str, names: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(format!("`{name}` stands twice in `{section}`; remove one"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use dynamos_proto::sign::SigningKey;

    use super::*;

    fn text() -> String {
        let key = SigningKey::from_seed(&[1; 32]).unwrap().public().to_text();
        format!(
            r#"state_dir = "state"
[coordinator]
name = "demo"
listen = "127.0.0.1:50051"
sites_listen = "127.0.0.1:50052"
[tls]
cert = "coordinator.pem"
key = "coordinator.key"
ca = "/pki/ca.pem"
[keys]
signing = "signing.key"
[[organisations]]
name = "uva"
public_key = "{key}"
[[sites]]
name = "uva"
kind = "steward"
public_key = "{key}"
regions = ["eu"]
[[sites]]
name = "surf"
kind = "provider"
[[federated]]
schema = "wages"
table = "personen"
stewards = ["uva"]
[limits]
query_deadline = "2m"
"#
        )
    }

    fn parse(text: &str) -> Result<CoordinatorConfig, String> {
        CoordinatorConfig::parse(text, Path::new("/etc/dynamos/coordinator.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_a_file_with_paths_beside_it_and_defaults() {
        let config = parse(&text()).unwrap();
        assert_eq!(config.tls.cert, Path::new("/etc/dynamos/coordinator.pem"));
        assert_eq!(config.tls.ca, Path::new("/pki/ca.pem"));
        assert_eq!(config.limits.query_deadline.0, Duration::from_secs(120));
        assert_eq!(config.limits.queue, LimitsSection::default().queue);
        assert_eq!(config.links, LinksSection::default());
        assert!(config.issuers().contains_key("uva"));
        let federated = config.federated_tables();
        assert!(federated[&TableName::new("wages", "personen")].stewards.contains(&SiteId::new("uva")));
    }

    #[test]
    fn tells_the_line_of_what_cannot_be_read() {
        for (from, to, expected) in [
            ("name = \"demo\"", "name = \"demo\"\ncolour = 1", ["line 4", "colour"]),
            ("query_deadline = \"2m\"", "query_deadline = \"soon\"", ["line 28", "`soon`"]),
            ("kind = \"provider\"", "kind = \"broker\"", ["line 22", "broker"]),
            ("public_key = \"", "public_key = \"!", ["line 14", "not a base64 Ed25519 public key"]),
            ("listen = \"127.0.0.1:50051\"", "listen = \"here\"", ["line 4", "socket address"]),
        ] {
            let error = parse(&text().replacen(from, to, 1)).unwrap_err();
            assert!(expected.iter().all(|part| error.contains(part)) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn refuses_what_does_not_go_together() {
        for (from, to, expected) in [
            ("50052", "50051", "own port"),
            ("name = \"surf\"", "name = \"uva\"", "`uva` stands twice in `sites`"),
            ("name = \"surf\"", "name = \"coordinator\"", "taken by the coordinator"),
            ("name = \"surf\"", "name = \"a/b\"", "letters, digits"),
            ("kind = \"provider\"", "kind = \"steward\"", "needs the `public_key`"),
            ("kind = \"steward\"", "kind = \"provider\"", "remove its `public_key`"),
            ("stewards = [\"uva\"]", "stewards = [\"surf\"]", "not a steward"),
            ("stewards = [\"uva\"]", "stewards = []", "names no steward"),
            ("query_deadline = \"2m\"", "query_deadline = \"0s\"", "no query could finish"),
            ("query_deadline = \"2m\"", "concurrent_queries = 0", "no query could run"),
        ] {
            let error = parse(&text().replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
