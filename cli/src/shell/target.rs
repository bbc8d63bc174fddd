//! Where to connect and as whom: the command line, the environment and an info file made into one [`Target`].
//!
//! The more specific source wins: flag, then info file, then environment. Reads files, opens no connection.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;
use thiserror::Error;
use tonic::transport::Uri;

use super::SqlArgs;

/// Environment variable that names the server.
const URI_VARIABLE: &str = "DYNAMOS_URI";
/// Environment variable that holds the token.
const TOKEN_VARIABLE: &str = "DYNAMOS_TOKEN";

/// A token. Its `Debug` form is masked, so that it cannot slip into a log with the arguments around it.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The token itself, for the header that carries it.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.trim().to_owned()))
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.trim().to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(***)")
    }
}

/// Whether the connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// TLS, with the server's certificate checked.
    Tls,
    /// Plain TCP, for loopback and tests.
    Plain,
}

/// A Flight server's address in the form that Flight locations use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerUri {
    /// How to talk to it.
    pub transport: Transport,
    /// Host and port.
    authority: String,
}

impl ServerUri {
    /// The address in the form that gRPC wants.
    pub(super) fn http(&self) -> String {
        match self.transport {
            Transport::Tls => format!("https://{}", self.authority),
            Transport::Plain => format!("http://{}", self.authority),
        }
    }
}

impl fmt::Display for ServerUri {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transport {
            Transport::Tls => write!(out, "grpc+tls://{}", self.authority),
            Transport::Plain => write!(out, "grpc://{}", self.authority),
        }
    }
}

impl FromStr for ServerUri {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || TargetError::BadUri { uri: text.to_owned() };
        let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
        let transport = match scheme {
            "grpc+tls" => Transport::Tls,
            "grpc" | "grpc+tcp" => Transport::Plain,
            _ => return Err(bad()),
        };
        let authority = rest.trim_end_matches('/').to_owned();
        let parsed: Uri = format!("http://{authority}").parse().map_err(|_| bad())?;
        let has_port = parsed.port_u16().is_some_and(|port| port > 0);
        if !has_port || parsed.path() != "/" || authority.contains('@') {
            return Err(bad());
        }
        Ok(Self { transport, authority })
    }
}

/// As whom to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Credentials {
    /// No user and no token: the server decides what that may do.
    Anonymous,
    /// A token alone, sent as the bearer on every call.
    Bearer(Secret),
    /// A user and a token as the password, exchanged for a session's bearer.
    Basic {
        /// The user's name.
        user: String,
        /// The user's token.
        token: Secret,
    },
}

/// Everything needed to open a session.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The server.
    pub server: ServerUri,
    /// PEM text of the authority that must have signed the server's certificate.
    pub ca_pem: Option<Vec<u8>>,
    /// As whom.
    pub credentials: Credentials,
    /// Purpose to state before the first statement.
    pub purpose: Option<String>,
    /// Purposes that the info file lists for the user, to tell a person at the prompt.
    pub known_purposes: Vec<String>,
}

/// Why the arguments do not say where to connect or as whom.
#[derive(Debug, Error)]
pub(crate) enum TargetError {
    /// Nothing names a server.
    #[error("no server to connect to: give `grpc+tls://HOST:PORT`, `--info FILE`, or set {URI_VARIABLE}")]
    NoUri,
    /// The address has another form.
    #[error("`{uri}` is not a server address: write `grpc+tls://HOST:PORT` or `grpc://HOST:PORT`")]
    BadUri {
        /// What was given.
        uri: String,
    },
    /// A named file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The info file is not what `dynamos demo` writes.
    #[error("`{}` is not a connection file as `dynamos demo --info` writes it", path.display())]
    BadInfo {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The info file lists other users.
    #[error("user `{user}` is not in the info file: choose one of {known}, or give `--token`")]
    UnknownUser {
        /// Who was asked for.
        user: String,
        /// Who is there.
        known: String,
    },
    /// The info file lists several users and none was chosen.
    #[error("the info file has several users: choose one with `--user`: {known}")]
    ChooseUser {
        /// Who is there.
        known: String,
    },
    /// A user without a token.
    #[error("no token for user `{user}`: give `--token-file FILE`, `--info FILE`, or set {TOKEN_VARIABLE}")]
    NoToken {
        /// The user.
        user: String,
    },
    /// TLS without an authority to trust.
    #[error("`{uri}` needs `--ca FILE`: the certificate authority that signed the server's certificate")]
    NoCa {
        /// The server.
        uri: String,
    },
}

/// The file that `dynamos demo --info` writes. Fields that later versions add are ignored.
#[derive(Debug, Deserialize)]
struct Info {
    uri: String,
    ca_file: Option<PathBuf>,
    #[serde(default)]
    users: Vec<InfoUser>,
}

#[derive(Debug, Deserialize)]
struct InfoUser {
    user: String,
    token: Secret,
    #[serde(default)]
    purposes: Vec<String>,
}

impl Info {
    fn load(path: &Path) -> Result<Self, TargetError> {
        let mut info: Self = serde_json::from_slice(&read(path)?)
            .map_err(|source| TargetError::BadInfo { path: path.to_owned(), source })?;
        // The file may have been moved together with the certificate beside it.
        if let (Some(ca), Some(folder)) = (&info.ca_file, path.parent()) {
            info.ca_file = Some(folder.join(ca));
        }
        Ok(info)
    }

    fn user(&self, name: Option<&str>) -> Result<Option<&InfoUser>, TargetError> {
        let known = || self.users.iter().map(|user| format!("`{}`", user.user)).collect::<Vec<_>>().join(", ");
        match (name, self.users.as_slice()) {
            (None, []) => Ok(None),
            (None, [only]) => Ok(Some(only)),
            (None, _) => Err(TargetError::ChooseUser { known: known() }),
            (Some(name), users) => match users.iter().find(|user| user.user == name) {
                Some(user) => Ok(Some(user)),
                None => Err(TargetError::UnknownUser { user: name.to_owned(), known: known() }),
            },
        }
    }
}

impl SqlArgs {
    /// Where these arguments lead, given the environment's variables.
    pub(super) fn resolve(&self, variable: &dyn Fn(&str) -> Option<String>) -> Result<Target, TargetError> {
        let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let info = self.access.info.as_deref().map(Info::load).transpose()?;
        let uri = self.uri.clone().or_else(|| info.as_ref().map(|info| info.uri.clone()));
        let server: ServerUri = uri.or_else(|| variable(URI_VARIABLE)).ok_or(TargetError::NoUri)?.parse()?;
        let ca_file = self.access.ca.as_ref().or_else(|| info.as_ref().and_then(|info| info.ca_file.as_ref()));
        let ca_pem = match (server.transport, ca_file) {
            (Transport::Plain, _) => None,
            (Transport::Tls, Some(path)) => Some(read(path)?),
            (Transport::Tls, None) => return Err(TargetError::NoCa { uri: server.to_string() }),
        };
        let given = self.given_token()?;
        let listed = match (&given, &info) {
            (None, Some(info)) => info.user(self.access.user.as_deref())?,
            (Some(_), Some(info)) => info.users.iter().find(|user| Some(&user.user) == self.access.user.as_ref()),
            (_, None) => None,
        };
        let user = self.access.user.clone().or_else(|| listed.map(|listed| listed.user.clone()));
        let token = given.or_else(|| listed.map(|listed| listed.token.clone()));
        let token = token.or_else(|| variable(TOKEN_VARIABLE).map(Secret::from));
        let credentials = match (user, token) {
            (Some(user), Some(token)) => Credentials::Basic { user, token },
            (Some(user), None) => return Err(TargetError::NoToken { user }),
            (None, Some(token)) => Credentials::Bearer(token),
            (None, None) => Credentials::Anonymous,
        };
        let known_purposes = listed.map(|listed| listed.purposes.clone()).unwrap_or_default();
        Ok(Target { server, ca_pem, credentials, purpose: self.access.purpose.clone(), known_purposes })
    }

    fn given_token(&self) -> Result<Option<Secret>, TargetError> {
        match (&self.access.token, &self.access.token_file) {
            (Some(token), _) => Ok(Some(token.clone())),
            (None, Some(path)) => Ok(Some(Secret::from(String::from_utf8_lossy(&read(path)?).into_owned()))),
            (None, None) => Ok(None),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TargetError> {
    fs::read(path).map_err(|source| TargetError::Unreadable { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_USERS: &str = r#"{"uri": "grpc+tls://127.0.0.1:4711", "ca_file": "ca.pem", "later": 1, "users": [
        {"user": "alice", "token": "t-alice", "purposes": ["study"]}, {"user": "bob", "token": "t-bob"}]}"#;

    fn info_folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("info.json"), TWO_USERS).unwrap();
        fs::write(folder.path().join("ca.pem"), "authority").unwrap();
        fs::write(folder.path().join("token"), "t-file\n").unwrap();
        folder
    }

    fn with_info(folder: &tempfile::TempDir) -> SqlArgs {
        SqlArgs::default().with(|access| access.info = Some(folder.path().join("info.json")))
    }

    fn empty(_: &str) -> Option<String> {
        None
    }

    fn full(name: &str) -> Option<String> {
        match name {
            URI_VARIABLE => Some("grpc://127.0.0.1:9".to_owned()),
            TOKEN_VARIABLE => Some("t-env".to_owned()),
            _ => None,
        }
    }

    fn basic(user: &str, token: &str) -> Credentials {
        Credentials::Basic { user: user.to_owned(), token: Secret::from(token.to_owned()) }
    }

    #[test]
    fn info_file_gives_server_authority_and_the_users_token() {
        let folder = info_folder();
        let target = with_info(&folder).with(|access| access.user = Some("alice".into())).resolve(&full).unwrap();
        assert_eq!(target.server.to_string(), "grpc+tls://127.0.0.1:4711");
        assert_eq!(target.ca_pem.as_deref(), Some(b"authority".as_slice()));
        assert_eq!(target.credentials, basic("alice", "t-alice"));
        assert_eq!(target.known_purposes, ["study"]);
    }

    #[test]
    fn flags_win_over_the_info_file() {
        let folder = info_folder();
        let args = with_info(&folder).with(|access| {
            access.user = Some("bob".into());
            access.token_file = Some(folder.path().join("token"));
        });
        let args = SqlArgs { uri: Some("grpc://localhost:1".into()), ..args };
        let target = args.resolve(&empty).unwrap();
        assert_eq!(target.server.to_string(), "grpc://localhost:1");
        assert_eq!(target.credentials, basic("bob", "t-file"));
    }

    #[test]
    fn environment_fills_what_nothing_else_gives() {
        let target = SqlArgs::default().resolve(&full).unwrap();
        assert_eq!(target.server.to_string(), "grpc://127.0.0.1:9");
        assert_eq!(target.credentials, Credentials::Bearer(Secret::from("t-env".to_owned())));
        let target = SqlArgs::default().with(|access| access.user = Some("carol".into())).resolve(&full).unwrap();
        assert_eq!(target.credentials, basic("carol", "t-env"));
    }

    #[test]
    fn says_what_is_missing() {
        let folder = info_folder();
        let error = |args: SqlArgs| args.resolve(&empty).unwrap_err().to_string();
        assert!(error(SqlArgs::default()).contains("no server to connect to"));
        assert!(error(with_info(&folder)).contains("choose one with `--user`: `alice`, `bob`"));
        let unknown = with_info(&folder).with(|access| access.user = Some("eve".into()));
        assert!(error(unknown).contains("user `eve` is not in the info file"));
        let tls = SqlArgs { uri: Some("grpc+tls://h:1".into()), ..SqlArgs::default() };
        assert!(error(tls).contains("needs `--ca FILE`"));
        let user = SqlArgs { uri: Some("grpc://h:1".into()), ..SqlArgs::default() };
        let user = user.with(|access| access.user = Some("eve".into()));
        assert!(error(user).contains("no token for user `eve`"));
        let missing = SqlArgs::default().with(|access| access.info = Some(folder.path().join("nothing.json")));
        assert!(error(missing).contains("cannot read"));
        let other = SqlArgs::default().with(|access| access.info = Some(folder.path().join("ca.pem")));
        assert!(error(other).contains("is not a connection file"));
    }

    #[test]
    fn refuses_addresses_of_another_form() {
        for text in
            ["localhost:1", "http://h:1", "grpc://h", "grpc://h:1/path", "grpc://u@h:1", "grpc://", "grpc://h:0"]
        {
            assert!(ServerUri::from_str(text).is_err(), "{text}");
        }
        assert_eq!(ServerUri::from_str("grpc+tls://[::1]:5/").unwrap().http(), "https://[::1]:5");
    }

    #[test]
    fn debug_output_masks_tokens() {
        let args = SqlArgs::default().with(|access| access.token = Some(Secret::from("hunter2".to_owned())));
        assert!(!format!("{args:?}").contains("hunter2"));
    }
}
