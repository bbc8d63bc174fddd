//! The files of a federation: one folder a place, with configuration, certificate, keys and agreements. Data files are put
//! beside them by whoever wrote the design.

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

use super::design::{Design, FederatedTable, Steward};
use super::pki::Authority;

/// How long tokens are valid, seconds.
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
    /// The sites that hold data.
    pub stewards: Vec<String>,
    /// Every site: stewards first, then providers.
    pub sites: Vec<String>,
}

struct Keys {
    place: Vec<(String, SigningKey)>,
}

impl Layout {
    /// Writes a new federation into `root`. Clients connect to `port`, with 0 to any free one.
    pub fn write(root: &Path, design: &Design, port: u16) -> anyhow::Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("cannot make `{}`", root.display()))?;
        let authority = Authority::new()?;
        write(&root.join("ca.pem"), &authority.certificate)?;
        let mut keys = Keys { place: Vec::new() };
        for place in design.sites().chain(["coordinator"]) {
            let folder = root.join(place);
            fs::create_dir_all(&folder)?;
            authority.issue(place, &folder)?;
            keys.place.push((place.to_owned(), new_key(&folder.join("signing.seed"))?));
        }
        for organisation in design.organisations() {
            if keys.of(organisation).is_none() {
                let folder = root.join(organisation);
                fs::create_dir_all(&folder)?;
                keys.place.push((organisation.to_owned(), new_key(&folder.join("signing.seed"))?));
            }
        }
        let clients = free_port(port)?;
        let sites = free_port(0)?;
        write(&root.join("coordinator/coordinator.toml"), &coordinator_toml(design, &keys, clients, sites))?;
        for steward in &design.stewards {
            let agreements = root.join(&steward.name).join("agreements");
            fs::create_dir_all(&agreements)?;
            for (number, text) in steward.agreements.iter().enumerate() {
                write(&agreements.join(format!("{number}.sql")), text)?;
            }
            let text = site_toml(design, &keys, &steward.name, Some(steward), sites);
            write(&root.join(&steward.name).join("site.toml"), &text)?;
        }
        for provider in &design.providers {
            let text = site_toml(design, &keys, &provider.name, None, sites);
            write(&root.join(&provider.name).join("site.toml"), &text)?;
        }
        Ok(Self {
            root: root.to_owned(),
            clients,
            users: users(design, &keys)?,
            stewards: design.stewards.iter().map(|steward| steward.name.clone()).collect(),
            sites: design.sites().map(str::to_owned).collect(),
        })
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
    fn of(&self, name: &str) -> Option<&SigningKey> {
        self.place.iter().find(|(other, _)| other == name).map(|(_, key)| key)
    }

    fn public(&self, name: &str) -> String {
        self.of(name).map(|key| key.public().to_text()).unwrap_or_default()
    }

    /// The organisations of a configuration.
    fn organisations_toml(&self, design: &Design) -> String {
        let mut text = String::new();
        for name in design.organisations() {
            let key = self.public(name);
            append(&mut text, format_args!("\n[[organisations]]\nname = \"{name}\"\npublic_key = \"{key}\"\n"));
        }
        text
    }
}

/// Writes a file; an error names it.
pub(crate) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

/// Writes a file that only its owner may read.
pub(crate) fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
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

fn coordinator_toml(design: &Design, keys: &Keys, clients: SocketAddr, sites: SocketAddr) -> String {
    let mut text = format!(
        "state_dir = \"state\"\n\n[coordinator]\nname = \"coordinator\"\nlisten = \"{clients}\"\nsites_listen = \"{sites}\"\n\n\
         [tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\nca = \"ca.pem\"\n\n[keys]\nsigning = \"signing.seed\"\n\n\
         [links]\nbandwidth_mbit_per_s = 1000\nlatency = \"1ms\"\n"
    );
    text.push_str(&keys.organisations_toml(design));
    for Steward { name, .. } in &design.stewards {
        let key = keys.public(name);
        append(
            &mut text,
            format_args!("\n[[sites]]\nname = \"{name}\"\nkind = \"steward\"\npublic_key = \"{key}\"\n{REGIONS}"),
        );
    }
    for provider in &design.providers {
        append(&mut text, format_args!("\n[[sites]]\nname = \"{}\"\nkind = \"provider\"\n", provider.name));
        append(&mut text, format_args!("{PROVIDER_ROLES}{REGIONS}"));
    }
    for whole in &design.federated {
        append(&mut text, format_args!("{}", federated_toml(whole)));
    }
    text
}

const REGIONS: &str = "regions = [\"nl\", \"eu\"]\n";
const PROVIDER_ROLES: &str = "roles = [\"compute_provider\"]\n";

/// A federated table, as the coordinator and its stewards have it.
fn federated_toml(whole: &FederatedTable) -> String {
    let FederatedTable { schema, table, stewards } = whole;
    format!("\n[[federated]]\nschema = \"{schema}\"\ntable = \"{table}\"\nstewards = {stewards:?}\n")
}

/// Writing into a text cannot fail.
fn append(text: &mut String, part: std::fmt::Arguments<'_>) {
    text.write_fmt(part).unwrap_or_default();
}

fn site_toml(design: &Design, keys: &Keys, name: &str, steward: Option<&Steward>, sites: SocketAddr) -> String {
    let (kind, roles, own) = match steward {
        Some(_) => ("steward", "", "agreements_dir = \"agreements\"\n\n[keys]\nsigning = \"signing.seed\"\n"),
        None => ("provider", PROVIDER_ROLES, ""),
    };
    let mut text = format!(
        "[site]\nname = \"{name}\"\nlisten = \"127.0.0.1:0\"\nkind = \"{kind}\"\n{roles}{REGIONS}state_dir = \"state\"\n{own}\n\
         [tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\nca = \"ca.pem\"\n\n\
         [coordinator]\nuri = \"https://{sites}\"\npublic_key = \"{}\"\n",
        keys.public("coordinator")
    );
    for Steward { name: peer, .. } in &design.stewards {
        let key = keys.public(peer);
        if peer != name {
            append(&mut text, format_args!("\n[[peers]]\nname = \"{peer}\"\n{REGIONS}public_key = \"{key}\"\n"));
        }
    }
    text.push_str(&keys.organisations_toml(design));
    for provider in design.providers.iter().filter(|provider| provider.name != name) {
        let peer = &provider.name;
        append(&mut text, format_args!("\n[[peers]]\nname = \"{peer}\"\n{PROVIDER_ROLES}{REGIONS}"));
    }
    if !design.site_limits.is_empty() {
        append(&mut text, format_args!("\n[limits]\n{}\n", design.site_limits));
    }
    text.push_str(steward.map_or("", |steward| &steward.tables));
    for whole in design.federated.iter().filter(|whole| whole.stewards.iter().any(|steward| steward == name)) {
        append(&mut text, format_args!("{}", federated_toml(whole)));
    }
    text
}

fn users(design: &Design, keys: &Keys) -> anyhow::Result<Vec<User>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let expires = i64::try_from(now)?.saturating_add(TOKEN_SECONDS);
    let token = |person: &super::design::Person| {
        let claims = Claims {
            iss: person.organisation.as_str().into(),
            sub: person.user.as_str().into(),
            roles: vec![person.role.clone()],
            purposes: vec![person.purpose.clone()],
            exp: expires,
            jti: format!("first-{}", person.user),
        };
        let key = keys.of(&person.organisation);
        let key = key.with_context(|| format!("`{}` has no key to vouch with", person.organisation))?;
        Ok(User { user: person.user.clone(), token: issue(&claims, key)?, purposes: claims.purposes })
    };
    design.people.iter().map(token).collect()
}
