//! Sessions: what a client has set, kept between its calls. A session belongs to a token; a client that sends our cookie
//! back has its own one beside others of the same token. Sessions live in memory only: after a restart, or an hour of
//! silence, a client starts from no settings.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dynamos_proto::status::{Code, ServiceError};
use ring::digest;

use super::clock::Clock;
use super::engine::SessionSettings;

/// The cookie that tells two clients with one token apart.
pub(super) const COOKIE: &str = "arrow_flight_session_id";
/// The options that SetSessionOptions accepts.
pub(super) const OPTIONS: [&str; 5] = ["agreement", CATALOG, "placement", "purpose", "schema"];
/// The option that is the door's alone: drivers set it, and no query depends on it.
pub(super) const CATALOG: &str = "catalog";
/// Sessions with settings in all; beyond this, setting an option is refused until some expire.
const SESSIONS_MAX: usize = 10_000;
/// Sessions with settings per token; beyond this, the token's least recently used one is forgotten.
const SESSIONS_PER_TOKEN_MAX: usize = 64;
/// Options that one session holds; beyond this, setting another is refused.
const OPTIONS_MAX: usize = 32;
/// Bytes that the value of an option may have; longer ones are refused.
const VALUE_BYTES_MAX: usize = 256;
/// Bytes of a cookie that are looked at; a longer cookie is not ours and is ignored.
const COOKIE_BYTES_MAX: usize = 64;
/// A session that is not used for this long is forgotten.
const IDLE_MAX: Duration = Duration::from_secs(60 * 60);

/// Names a session without holding the token.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SessionKey {
    token: [u8; digest::SHA256_OUTPUT_LEN],
    cookie: Option<String>,
}

impl SessionKey {
    /// The session of a token, or of one client of it.
    pub(super) fn new(token: &str, cookie: Option<&str>) -> Self {
        let mut hash = [0; digest::SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        let cookie = cookie.filter(|text| !text.is_empty() && text.len() <= COOKIE_BYTES_MAX).map(str::to_owned);
        Self { token: hash, cookie }
    }
}

struct Session {
    settings: SessionSettings,
    last_used: Duration,
}

/// All sessions that have settings.
pub(super) struct Sessions {
    clock: Arc<dyn Clock>,
    open: Mutex<BTreeMap<SessionKey, Session>>,
}

impl Sessions {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, open: Mutex::default() }
    }

    /// The settings of a session; none for one that has not set any.
    pub(super) fn settings(&self, key: &SessionKey) -> SessionSettings {
        let now = self.clock.now();
        let mut open = self.lock();
        match open.get_mut(key) {
            Some(session) if !is_idle(session, now) => {
                session.last_used = now;
                session.settings.clone()
            }
            Some(_) => {
                open.remove(key);
                SessionSettings::default()
            }
            None => SessionSettings::default(),
        }
    }

    /// Sets an option, or forgets it where there is no value.
    pub(super) fn set(&self, key: &SessionKey, name: &str, value: Option<String>) -> Result<(), ServiceError> {
        let now = self.clock.now();
        let mut open = self.lock();
        open.retain(|_, session| !is_idle(session, now));
        let Some(value) = value else {
            if let Some(session) = open.get_mut(key) {
                session.settings.options.remove(name);
                session.last_used = now;
            }
            return Ok(());
        };
        if value.len() > VALUE_BYTES_MAX {
            let text = format!("the value of `{name}` has more than {VALUE_BYTES_MAX} bytes");
            return Err(ServiceError::new(Code::InvalidArgument, text));
        }
        if !open.contains_key(key) {
            forget_oldest_of_token(&mut open, key);
            if open.len() >= SESSIONS_MAX {
                return Err(ServiceError::new(Code::ResourceExhausted, "too many sessions have settings")
                    .with_hint("close sessions that are no longer used"));
            }
        }
        let session =
            open.entry(key.clone()).or_insert_with(|| Session { settings: SessionSettings::default(), last_used: now });
        session.last_used = now;
        let options = &mut session.settings.options;
        if options.len() >= OPTIONS_MAX && !options.contains_key(name) {
            return Err(ServiceError::new(Code::ResourceExhausted, "the session has too many options"));
        }
        options.insert(name.to_owned(), value);
        Ok(())
    }

    /// Forgets a session; a later call with the same key starts anew.
    pub(super) fn close(&self, key: &SessionKey) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SessionKey, Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_idle(session: &Session, now: Duration) -> bool {
    now.saturating_sub(session.last_used) > IDLE_MAX
}

/// Makes room among the sessions of the key's token.
fn forget_oldest_of_token(open: &mut BTreeMap<SessionKey, Session>, key: &SessionKey) {
    let first = SessionKey { token: key.token, cookie: None };
    let of_token = || open.range(first.clone()..).take_while(|(other, _)| other.token == key.token);
    if of_token().count() < SESSIONS_PER_TOKEN_MAX {
        return;
    }
    let oldest = of_token().min_by_key(|(_, session)| session.last_used).map(|(other, _)| other.clone());
    if let Some(oldest) = oldest {
        open.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::ManualClock;
    use super::*;

    fn purpose(sessions: &Sessions, key: &SessionKey) -> Option<String> {
        sessions.settings(key).options.get("purpose").cloned()
    }

    #[test]
    fn keeps_cookies_and_tokens_apart() {
        let sessions = Sessions::new(Arc::new(ManualClock::default()));
        let keys = [("t", None), ("t", Some("a")), ("t", Some("b")), ("u", Some("a"))];
        let keys = keys.map(|(token, cookie)| SessionKey::new(token, cookie));
        for (index, key) in keys.iter().enumerate() {
            sessions.set(key, "purpose", Some(index.to_string())).unwrap();
        }
        for (index, key) in keys.iter().enumerate() {
            assert_eq!(purpose(&sessions, key), Some(index.to_string()));
        }
        sessions.close(&keys[1]);
        sessions.set(&keys[2], "purpose", None).unwrap();
        assert_eq!(purpose(&sessions, &keys[1]), None);
        assert_eq!(purpose(&sessions, &keys[2]), None);
        assert_eq!(purpose(&sessions, &keys[0]), Some("0".to_owned()));
    }

    #[test]
    fn forgets_a_session_after_an_idle_hour_but_not_while_it_is_used() {
        let clock = Arc::new(ManualClock::default());
        let sessions = Sessions::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let key = SessionKey::new("t", None);
        sessions.set(&key, "purpose", Some("study".to_owned())).unwrap();
        for _ in 0..3 {
            clock.advance(IDLE_MAX);
            assert!(purpose(&sessions, &key).is_some());
        }
        clock.advance(IDLE_MAX + Duration::from_secs(1));
        assert!(purpose(&sessions, &key).is_none());
    }

    #[test]
    fn bounds_the_sessions_of_one_token_by_forgetting_its_oldest() {
        let clock = Arc::new(ManualClock::default());
        let sessions = Sessions::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let other = SessionKey::new("other", None);
        sessions.set(&other, "purpose", Some("kept".to_owned())).unwrap();
        for index in 0..=SESSIONS_PER_TOKEN_MAX {
            clock.advance(Duration::from_secs(1));
            let key = SessionKey::new("t", Some(&index.to_string()));
            sessions.set(&key, "purpose", Some("study".to_owned())).unwrap();
        }
        assert!(purpose(&sessions, &SessionKey::new("t", Some("0"))).is_none());
        assert!(purpose(&sessions, &SessionKey::new("t", Some("1"))).is_some());
        assert!(purpose(&sessions, &other).is_some());
    }
}
