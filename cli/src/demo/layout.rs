//! The files of the demo's federation: one folder a place, with configuration, certificate, keys, data and agreements.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dynamos_proto::sign::SigningKey;
use dynamos_proto::token::{Claims, issue};
use ring::rand::{SecureRandom, SystemRandom};

use super::pki::Authority;
use crate::sample;

/// The stewards, in the order in which they are started.
pub const STEWARDS: [&str; 4] = ["uva", "vu", "amc", "olvg"];
/// The compute provider.
pub const PROVIDER: &str = "surf";
/// How long the demo's tokens are valid, seconds.
const TOKEN_SECONDS: i64 = 30 * 24 * 3600;

/// Somebody who can log in.
#[derive(Clone, Debug, serde::Serialize)]
pub struct User {
    /// Log-in name.
    pub user: String,
    /// The token, which is also the password.
    pub token: String,
    /// Purposes that the user may declare.
    pub purposes: Vec<String>,
}

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The folder of the whole federation.
    pub root: PathBuf,
    /// Where SQL clients connect.
    pub clients: SocketAddr,
    /// Everybody who can log in.
    pub users: Vec<User>,
}

struct Keys {
    place: Vec<(String, SigningKey)>,
}

impl Layout {
    /// Writes a new federation into `root`. `data` is a folder with the universities' wage files, if they are not to be
    /// generated.
    pub fn write(root: &Path, data: Option<&Path>, port: u16) -> anyhow::Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("cannot make `{}`", root.display()))?;
        sample::write_federation(root).context("cannot write the sample data")?;
        let authority = Authority::new()?;
        write(&root.join("ca.pem"), &authority.certificate)?;
        let mut keys = Keys { place: Vec::new() };
        for place in STEWARDS.into_iter().chain([PROVIDER, "coordinator"]) {
            let folder = root.join(place);
            fs::create_dir_all(&folder)?;
            authority.issue(place, &folder)?;
            keys.place.push((place.to_owned(), new_key(&folder.join("signing.seed"))?));
        }
        let clients = free_port(port)?;
        let sites = free_port(0)?;
        write(&root.join("coordinator/coordinator.toml"), &coordinator_toml(&keys, clients, sites))?;
        for steward in STEWARDS {
            let folder = root.join(steward);
            fs::create_dir_all(folder.join("agreements"))?;
            let tables = match steward {
                "uva" | "vu" => wage_tables(steward, data)?,
                _ => HOSPITAL_TABLES.to_owned(),
            };
            write(&folder.join("site.toml"), &site_toml(&keys, steward, sites, &tables))?;
            let text = match steward {
                "uva" | "vu" => WAGE_AGREEMENT,
                _ => CARE_AGREEMENT,
            };
            write(&folder.join("agreements/main.sql"), &text.replace("{steward}", steward))?;
        }
        write(&root.join("surf/site.toml"), &site_toml(&keys, PROVIDER, sites, ""))?;
        let users = users(&keys)?;
        Ok(Self { root: root.to_owned(), clients, users })
    }

    /// The URI for SQL clients.
    pub fn uri(&self) -> String {
        format!("grpc+tls://{}", self.clients)
    }

    /// The certificate that clients trust.
    pub fn ca_file(&self) -> PathBuf {
        self.root.join("ca.pem")
    }

    /// How to connect, as JSON.
    pub fn info(&self) -> serde_json::Value {
        serde_json::json!({ "uri": self.uri(), "ca_file": self.ca_file(), "users": self.users })
    }

    /// A steward's or provider's configuration file.
    pub fn site_config(&self, site: &str) -> PathBuf {
        self.root.join(site).join("site.toml")
    }

    /// The coordinator's configuration file.
    pub fn coordinator_config(&self) -> PathBuf {
        self.root.join("coordinator/coordinator.toml")
    }

    /// The user with this name.
    pub fn user(&self, name: &str) -> anyhow::Result<&User> {
        self.users.iter().find(|user| user.user == name).with_context(|| format!("no user `{name}`"))
    }
}

impl Keys {
    fn public(&self, place: &str) -> String {
        self.place.iter().find(|(name, _)| name == place).map(|(_, key)| key.public().to_text()).unwrap_or_default()
    }
}

/// Writes a file; an error names it.
pub(super) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

/// Writes a file that only its owner may read.
pub(super) fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path).with_context(|| format!("cannot write `{}`", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write `{}`", path.display()))
}

fn new_key(path: &Path) -> anyhow::Result<SigningKey> {
    let mut seed = [0_u8; 32];
    SystemRandom::new().fill(&mut seed).map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
    write_secret(path, &STANDARD.encode(seed))?;
    Ok(SigningKey::from_seed(&seed)?)
}

/// A port on this machine; with 0, one that is free now.
fn free_port(port: u16) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", port)).with_context(|| format!("port {port} is in use"))?;
    Ok(listener.local_addr()?)
}

fn coordinator_toml(keys: &Keys, clients: SocketAddr, sites: SocketAddr) -> String {
    let mut text = format!(
        "state_dir = \"state\"\n\n[coordinator]\nname = \"coordinator\"\nlisten = \"{clients}\"\nsites_listen = \"{sites}\"\n\n\
         [tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\nca = \"ca.pem\"\n\n[keys]\nsigning = \"signing.seed\"\n\n\
         [links]\nbandwidth_mbit_per_s = 1000\nlatency = \"1ms\"\n"
    );
    for name in STEWARDS {
        write!(text, "\n[[organisations]]\nname = \"{name}\"\npublic_key = \"{}\"\n", keys.public(name))
            .unwrap_or_default();
        write!(
            text,
            "\n[[sites]]\nname = \"{name}\"\nkind = \"steward\"\npublic_key = \"{}\"\nregions = [\"nl\", \"eu\"]\n",
            keys.public(name)
        )
        .unwrap_or_default();
    }
    text.push_str("\n[[sites]]\nname = \"surf\"\nkind = \"provider\"\nroles = [\"compute_provider\"]\nregions = [\"nl\", \"eu\"]\n");
    for (schema, table, stewards) in FEDERATED {
        write!(text, "\n[[federated]]\nschema = \"{schema}\"\ntable = \"{table}\"\nstewards = {stewards}\n")
            .unwrap_or_default();
    }
    text
}

const FEDERATED: [(&str, &str, &str); 5] = [
    ("wages", "personen", "[\"uva\", \"vu\"]"),
    ("wages", "aanstellingen", "[\"uva\", \"vu\"]"),
    ("care", "patients", "[\"amc\", \"olvg\"]"),
    ("care", "visits", "[\"amc\", \"olvg\"]"),
    ("care", "measurements", "[\"amc\", \"olvg\"]"),
];

fn site_toml(keys: &Keys, name: &str, sites: SocketAddr, tables: &str) -> String {
    let steward = name != PROVIDER;
    let kind = if steward { "steward" } else { "provider" };
    let roles = if steward { "[]" } else { "[\"compute_provider\"]" };
    let own = if steward { "agreements_dir = \"agreements\"\n\n[keys]\nsigning = \"signing.seed\"\n" } else { "" };
    let mut text = format!(
        "[site]\nname = \"{name}\"\nlisten = \"127.0.0.1:0\"\nkind = \"{kind}\"\nroles = {roles}\nregions = [\"nl\", \"eu\"]\n\
         state_dir = \"state\"\n{own}\n[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\nca = \"ca.pem\"\n\n\
         [coordinator]\nuri = \"https://{sites}\"\npublic_key = \"{}\"\n",
        keys.public("coordinator")
    );
    for peer in STEWARDS {
        if peer != name {
            write!(
                text,
                "\n[[peers]]\nname = \"{peer}\"\nregions = [\"nl\", \"eu\"]\npublic_key = \"{}\"\n",
                keys.public(peer)
            )
            .unwrap_or_default();
        }
        write!(text, "\n[[organisations]]\nname = \"{peer}\"\npublic_key = \"{}\"\n", keys.public(peer))
            .unwrap_or_default();
    }
    if steward {
        text.push_str("\n[[peers]]\nname = \"surf\"\nroles = [\"compute_provider\"]\nregions = [\"nl\", \"eu\"]\n");
    }
    text.push_str(tables);
    text
}

fn wage_tables(steward: &str, data: Option<&Path>) -> anyhow::Result<String> {
    let file = |name: &str| -> anyhow::Result<String> {
        let Some(folder) = data else { return Ok(format!("{}.csv", name.to_lowercase())) };
        let path = folder.join(format!("{name}_{}.csv", steward.to_uppercase()));
        let path = path.canonicalize().with_context(|| format!("there is no `{}`", path.display()))?;
        Ok(path.display().to_string())
    };
    Ok(WAGE_TABLES.replace("{personen}", &file("Personen")?).replace("{aanstellingen}", &file("Aanstellingen")?))
}

const WAGE_TABLES: &str = r#"
[[tables]]
schema = "wages"
table = "personen"
path = "{personen}"
format = "csv"
delimiter = ";"
date_format = "%Y%m%d"
entity = "unieknr"
columns = [
  { name = "instcode", type = "text" },
  { name = "unieknr", type = "bigint" },
  { name = "geslacht", type = "text" },
  { name = "gebdat", type = "date" },
  { name = "nationaliteit", type = "text" },
  { name = "bko", type = "text" },
  { name = "sko", type = "text" },
  { name = "peildat", type = "date" },
]

[[tables]]
schema = "wages"
table = "aanstellingen"
path = "{aanstellingen}"
format = "csv"
delimiter = ";"
date_format = "%Y%m%d"
entity = "unieknr"
columns = [
  { name = "instcode", type = "text" },
  { name = "unieknr", type = "bigint" },
  { name = "volgnrar", type = "bigint" },
  { name = "aadnstvb", type = "text" },
  { name = "ingdatdv", type = "date" },
  { name = "eindatdv", type = "date" },
  { name = "hoopgeb", type = "text" },
  { name = "functcat", type = "text" },
  { name = "welgeenhgl", type = "text" },
  { name = "salschal", type = "bigint" },
  { name = "taakomv", type = "bigint" },
  { name = "aanst_22", type = "text" },
  { name = "peildat", type = "date" },
]
"#;

const HOSPITAL_TABLES: &str = r#"
[[tables]]
schema = "care"
table = "patients"
path = "patients.csv"
format = "csv"
entity = "patient_id"

[[tables]]
schema = "care"
table = "visits"
path = "visits.csv"
format = "csv"
entity = "patient_id"

[[tables]]
schema = "care"
table = "measurements"
path = "measurements.parquet"
format = "parquet"
entity = "patient_id"
"#;

/// What the universities agree to: averages and counts of groups of at least ten people; partial aggregates and, if the
/// requester wants that, the four needed columns may be at the compute provider.
const WAGE_AGREEMENT: &str = "\
CREATE AGREEMENT wage_gap ON SITE {steward}
  FOR ROLE analyst
  PURPOSE statistics
AS (
  groups: RELEASE avg, sum, count OF salschal, * BY geslacht, hoopgeb
          FROM wages.personen JOIN wages.aanstellingen ON unieknr
          MINIMUM 10 DISTINCT personen.unieknr ELSE DROP,
  SHIP PARTIALS OF groups TO surf,
  SHIP ROWS (personen.unieknr, geslacht, hoopgeb, salschal)
       FROM wages.personen JOIN wages.aanstellingen ON unieknr TO surf,
  FILTER ON geslacht, hoopgeb COMPARE WITH LITERALS
);
";

/// What the hospitals agree to: patients who opted out do not exist for research; nothing but partial aggregates leaves.
const CARE_AGREEMENT: &str = "\
CREATE AGREEMENT care_quality ON SITE {steward}
  FOR ROLE researcher
  PURPOSE research
AS (
  stays: RELEASE avg, count OF length_of_stay_days, * BY department, sex
         FROM care.patients JOIN care.visits ON patient_id
         MINIMUM 10 DISTINCT patients.patient_id ELSE DROP,
  kinds: RELEASE avg, count OF value, * BY kind
         FROM care.measurements
         MINIMUM 10 DISTINCT patient_id ELSE DROP,
  SHIP PARTIALS OF stays TO surf,
  SHIP PARTIALS OF kinds TO surf,
  FILTER ON sex, department COMPARE WITH LITERALS,
  ROWS ON patients WHERE opted_out IS NOT TRUE,
  ARCHETYPES compute_to_data
);
";

fn users(keys: &Keys) -> anyhow::Result<Vec<User>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let expires = i64::try_from(now)?.saturating_add(TOKEN_SECONDS);
    let people = [
        ("analyst@uva.nl", "uva", "analyst", "statistics"),
        ("analyst@vu.nl", "vu", "analyst", "statistics"),
        ("researcher@amc.nl", "amc", "researcher", "research"),
        ("steward@uva.nl", "uva", "steward", "statistics"),
        ("steward@vu.nl", "vu", "steward", "statistics"),
        ("steward@amc.nl", "amc", "steward", "research"),
        ("steward@olvg.nl", "olvg", "steward", "research"),
    ];
    people
        .into_iter()
        .map(|(user, organisation, role, purpose)| {
            let claims = Claims {
                iss: organisation.into(),
                sub: user.into(),
                roles: vec![role.into()],
                purposes: vec![purpose.into()],
                exp: expires,
                jti: format!("demo-{user}"),
            };
            let key = keys.place.iter().find(|(name, _)| name == organisation).map(|(_, key)| key);
            let key = key.with_context(|| format!("no key of `{organisation}`"))?;
            Ok(User { user: user.into(), token: issue(&claims, key)?, purposes: claims.purposes })
        })
        .collect()
}
