//! Who is calling. A token arrives as `authorization: Bearer`, once as the password of a handshake, or in the older
//! `auth-token-bin`; the engine verifies it. The token is given back as it came, so it stays good across a restart.

use std::sync::Arc;

use arrow_flight::{BasicAuth, HandshakeRequest, HandshakeResponse};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use dynamos_proto::status::{Code, ServiceError};
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Response, Status};
use uuid::Uuid;

use super::door::{Call, Door};
use super::engine::{Caller, Identity};
use super::errors::internal;
use super::session::{COOKIE, SessionKey};

const AUTHORIZATION: &str = "authorization";
const LEGACY_TOKEN: &str = "auth-token-bin";

/// Base64 as clients write it: the Go client leaves the padding out, others do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a request shows for itself.
enum Credentials {
    Token(String),
    Password { user: String, token: String },
    Nothing,
}

impl Door {
    /// The caller of a request and the session it belongs to.
    pub(super) fn call(&self, metadata: &MetadataMap) -> Result<Call, ServiceError> {
        match credentials(metadata)? {
            Credentials::Token(token) => {
                let identity = Arc::new(self.engine.authenticate(&token)?);
                let session = SessionKey::new(&token, cookie(metadata));
                let settings = self.sessions.settings(&session);
                let caller = Caller { identity, settings, cancel: CancellationToken::new() };
                Ok(Call { caller, session })
            }
            Credentials::Password { .. } => {
                Err(refused("a password is accepted by the handshake only").with_hint("log in first"))
            }
            Credentials::Nothing => Err(refused("the request carries no token").with_hint("log in first")),
        }
    }

    /// Checks the credentials of a handshake and answers with the token for later calls.
    pub(super) async fn handshake(
        &self,
        metadata: &MetadataMap,
        mut messages: impl Stream<Item = Result<HandshakeRequest, Status>> + Send + Unpin,
    ) -> Result<Response<BoxStream<'static, Result<HandshakeResponse, Status>>>, ServiceError> {
        let token = match credentials(metadata)? {
            Credentials::Token(token) => self.engine.authenticate(&token).map(|_| token)?,
            Credentials::Password { user, token } => self.log_in(&user, token)?,
            Credentials::Nothing => {
                let first = messages.next().await.transpose().map_err(|status| ServiceError::from_status(&status))?;
                let payload = first.map(|message| message.payload).unwrap_or_default();
                let login = BasicAuth::decode(payload).unwrap_or_default();
                self.log_in(&login.username, login.password)?
            }
        };
        let answer = HandshakeResponse { protocol_version: 0, payload: Bytes::from(token.clone()) };
        let mut response = Response::new(stream::once(async { Ok(answer) }).boxed());
        insert(&mut response, AUTHORIZATION, &format!("Bearer {token}"))?;
        if cookie(metadata).is_none() {
            insert(&mut response, "set-cookie", &format!("{COOKIE}={}", Uuid::new_v4()))?;
        }
        Ok(response)
    }

    /// Verifies a user name with a token for password. Both wrong and mismatched give the same answer.
    fn log_in(&self, user: &str, token: String) -> Result<String, ServiceError> {
        match self.engine.authenticate(&token) {
            Ok(Identity { user: known, .. }) if known == user => Ok(token),
            Ok(_) => Err(wrong_login()),
            Err(error) if error.code == Code::Unauthenticated => Err(wrong_login()),
            Err(error) => Err(error),
        }
    }
}

fn refused(message: &str) -> ServiceError {
    ServiceError::new(Code::Unauthenticated, message)
}

fn wrong_login() -> ServiceError {
    refused("the user name and token do not belong together or the token is not valid")
        .with_hint("use your token as the password")
}

fn insert<T>(response: &mut Response<T>, name: &'static str, value: &str) -> Result<(), ServiceError> {
    let value = AsciiMetadataValue::try_from(value).map_err(|_| internal("a token does not fit into a header"))?;
    response.metadata_mut().insert(name, value);
    Ok(())
}

fn credentials(metadata: &MetadataMap) -> Result<Credentials, ServiceError> {
    let Some(header) = metadata.get(AUTHORIZATION) else {
        let legacy = metadata.get_bin(LEGACY_TOKEN).and_then(|value| value.to_bytes().ok()).unwrap_or_default();
        // Java clients send the key without a value before they have logged in.
        return match String::from_utf8(legacy.to_vec()) {
            Ok(token) if !token.is_empty() => Ok(Credentials::Token(token)),
            _ => Ok(Credentials::Nothing),
        };
    };
    let unreadable = || refused("the authorization header is neither `Bearer` nor `Basic`");
    let (scheme, value) = header.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(unreadable)?;
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        // Some clients format a missing token as text.
        if value.is_empty() || value == "None" {
            return Err(refused("the bearer token is empty").with_hint("log in first"));
        }
        return Ok(Credentials::Token(value.to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(unreadable());
    }
    let decoded = BASE64.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let (user, token) = decoded.as_deref().and_then(|text| text.split_once(':')).ok_or_else(wrong_login)?;
    Ok(Credentials::Password { user: user.to_owned(), token: token.to_owned() })
}

/// The value of our cookie, if the client sent it back.
fn cookie(metadata: &MetadataMap) -> Option<&str> {
    let headers = metadata.get_all("cookie").into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = headers.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value.trim_matches('"')).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_cookie_among_others() {
        let mut metadata = MetadataMap::new();
        assert_eq!(cookie(&metadata), None);
        metadata.append("cookie", "a=b; arrow_flight_session_id=\"x-1\";c".parse().unwrap());
        assert_eq!(cookie(&metadata), Some("x-1"));
    }

    #[test]
    fn ignores_an_empty_legacy_token_and_refuses_none() {
        let mut metadata = MetadataMap::new();
        metadata.insert_bin(LEGACY_TOKEN, tonic::metadata::MetadataValue::from_bytes(b""));
        assert!(matches!(credentials(&metadata), Ok(Credentials::Nothing)));
        for header in ["Bearer None", "Bearer ", "Bearer", "Digest x", "Basic !", ""] {
            metadata.insert(AUTHORIZATION, header.parse().unwrap());
            assert_eq!(credentials(&metadata).err().map(|error| error.code), Some(Code::Unauthenticated), "{header}");
        }
    }

    #[test]
    fn reads_a_password_with_and_without_padding() {
        let mut metadata = MetadataMap::new();
        for header in ["Basic YWxpY2U6dG9rZW4tYQ==", "basic YWxpY2U6dG9rZW4tYQ"] {
            metadata.insert(AUTHORIZATION, header.parse().unwrap());
            let read = credentials(&metadata).unwrap();
            assert!(matches!(read, Credentials::Password { user, token } if user == "alice" && token == "token-a"));
        }
    }
}
