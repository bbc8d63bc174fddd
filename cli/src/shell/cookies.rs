//! A channel that keeps the server's cookies, below the Flight client, which knows of none.
//!
//! A session is keyed by its bearer token; a server, or a proxy before it, may also hand out cookies and expects them
//! back. Left out: domains, paths and expiry dates, because a channel talks to one server for one session.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codegen::http::header::{COOKIE, HeaderMap, HeaderValue, SET_COOKIE};
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{BoxFuture, Service};
use tonic::transport::Channel;

/// A [`Channel`] with a cookie jar; clones share the jar.
#[derive(Clone, Debug)]
pub(super) struct CookieChannel {
    inner: Channel,
    jar: Arc<Mutex<Jar>>,
}

impl CookieChannel {
    /// A channel with an empty jar.
    pub(super) fn new(inner: Channel) -> Self {
        Self { inner, jar: Arc::default() }
    }
}

impl Service<Request<Body>> for CookieChannel {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let jar = Arc::clone(&self.jar);
        if let Some(value) = jar.lock().unwrap_or_else(PoisonError::into_inner).header() {
            request.headers_mut().insert(COOKIE, value);
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            jar.lock().unwrap_or_else(PoisonError::into_inner).learn(response.headers());
            Ok(response)
        })
    }
}

#[derive(Debug, Default)]
struct Jar(BTreeMap<String, String>);

impl Jar {
    fn learn(&mut self, headers: &HeaderMap) {
        for header in headers.get_all(SET_COOKIE) {
            let Ok(text) = header.to_str() else { continue };
            let mut parts = text.split(';').map(str::trim);
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { continue };
            if parts.any(|attribute| attribute.eq_ignore_ascii_case("max-age=0")) {
                self.0.remove(name);
            } else {
                self.0.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    fn header(&self) -> Option<HeaderValue> {
        let pairs: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if pairs.is_empty() { None } else { HeaderValue::from_str(&pairs.join("; ")).ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_back_what_was_set_and_forgets_what_expired() {
        let mut jar = Jar::default();
        assert_eq!(jar.header(), None);
        let mut headers = HeaderMap::new();
        headers.append(SET_COOKIE, HeaderValue::from_static("session=1; Path=/; HttpOnly"));
        headers.append(SET_COOKIE, HeaderValue::from_static("route=b"));
        jar.learn(&headers);
        assert_eq!(jar.header().unwrap(), "route=b; session=1");
        let mut headers = HeaderMap::new();
        headers.append(SET_COOKIE, HeaderValue::from_static("session=; Max-Age=0"));
        jar.learn(&headers);
        assert_eq!(jar.header().unwrap(), "route=b");
    }
}
