//! A recording transport: before each site stands a proxy that has the site's certificate, speaks to the site with the
//! caller's, and keeps a copy of every row that the site sends. Sites and coordinator run as they always do.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow_flight::FlightData;
use arrow_flight::utils::flight_data_to_batches;
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dynamos_cli::federation::Layout;
use http_body_util::BodyExt;
use prost::Message;
use tokio::task::JoinSet;
use tonic::service::Routes;
use tonic::transport::server::{TcpConnectInfo, TcpIncoming, TlsConnectInfo};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};
use tower::ServiceExt;

const FETCH: &str = "/arrow.flight.protocol.FlightService/DoGet";

/// One stream of rows as it went over the wire.
struct Stream {
    from: String,
    to: String,
    bytes: Vec<u8>,
    /// Whether it came to its end; else its reader had enough.
    ended: bool,
}

/// Those that were asked for since they were taken.
type Streams = Arc<Mutex<Vec<Arc<Mutex<Stream>>>>>;

/// The proxies of a federation, until it is dropped.
pub struct Recorder {
    streams: Streams,
    _serving: JoinSet<()>,
}

/// Rows that one place sent to another.
pub struct Sent {
    /// Who sent them.
    pub from: String,
    /// Who got them.
    pub to: String,
    /// The rows.
    pub batches: Vec<RecordBatch>,
    /// Whether these are all; else the reader had enough before.
    pub ended: bool,
}

impl Recorder {
    /// Puts a proxy before every site of a layout whose roles have not been started.
    pub async fn before(layout: &Layout) -> Self {
        let streams = Streams::default();
        let mut serving = JoinSet::new();
        let callers = Arc::new(Callers::of(layout));
        for site in &layout.sites {
            let proxy = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap();
            let (here, there) = (proxy.local_addr().unwrap(), free_address());
            let config = layout.site_config(site);
            let text = std::fs::read_to_string(&config).unwrap();
            let moved = format!("listen = \"{there}\"\nadvertise = \"https://{here}\"");
            let changed = text.replacen("listen = \"127.0.0.1:0\"", &moved, 1);
            assert_ne!(changed, text, "the site's address is said in another way");
            std::fs::write(&config, changed).unwrap();
            let (identity, authority) = (callers.identity(site), callers.authority.clone());
            let tls = ServerTlsConfig::new().identity(identity).client_ca_root(authority);
            let proxied = Proxied {
                site: site.clone(),
                address: there,
                callers: Arc::clone(&callers),
                channels: Arc::default(),
                streams: Arc::clone(&streams),
            };
            let routes = Routes::from(axum::Router::new().fallback(forward).with_state(proxied));
            let server = Server::builder().tls_config(tls).unwrap().add_routes(routes);
            serving.spawn(async move { server.serve_with_incoming(proxy).await.unwrap() });
        }
        Self { streams, _serving: serving }
    }

    /// What was sent since the last call.
    pub fn take(&self) -> Vec<Sent> {
        let streams = std::mem::take(&mut *self.streams.lock().unwrap());
        let sent = |stream: &Arc<Mutex<Stream>>| {
            let stream = stream.lock().unwrap();
            let (from, to, ended) = (stream.from.clone(), stream.to.clone(), stream.ended);
            Sent { from, to, batches: rows(&stream.bytes), ended }
        };
        streams.iter().map(sent).collect()
    }
}

/// The certificates of all places.
struct Callers {
    by_certificate: BTreeMap<Vec<u8>, String>,
    identities: BTreeMap<String, (String, String)>,
    authority: Certificate,
}

impl Callers {
    fn of(layout: &Layout) -> Self {
        let read = |place: &str, file: &str| std::fs::read_to_string(layout.root.join(place).join(file)).unwrap();
        let mut by_certificate = BTreeMap::new();
        let mut identities = BTreeMap::new();
        for place in layout.sites.iter().map(String::as_str).chain(["coordinator"]) {
            let certificate = read(place, "cert.pem");
            by_certificate.insert(der(&certificate), place.to_owned());
            identities.insert(place.to_owned(), (certificate, read(place, "key.pem")));
        }
        let authority = Certificate::from_pem(std::fs::read_to_string(layout.ca_file()).unwrap());
        Self { by_certificate, identities, authority }
    }

    fn identity(&self, place: &str) -> Identity {
        let (certificate, key) = &self.identities[place];
        Identity::from_pem(certificate, key)
    }
}

/// The bytes of a PEM file's first certificate.
fn der(pem: &str) -> Vec<u8> {
    let lines = pem.lines().skip_while(|line| !line.starts_with("-----BEGIN")).skip(1);
    let text: String = lines.take_while(|line| !line.starts_with("-----END")).collect();
    STANDARD.decode(text).unwrap()
}

fn free_address() -> SocketAddr {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap()
}

/// One site behind its proxy.
#[derive(Clone)]
struct Proxied {
    site: String,
    address: SocketAddr,
    callers: Arc<Callers>,
    /// By the name of the caller.
    channels: Arc<Mutex<BTreeMap<String, Channel>>>,
    streams: Streams,
}

impl Proxied {
    fn channel(&self, caller: &str) -> Channel {
        let open = |_: ()| {
            let tls = ClientTlsConfig::new()
                .ca_certificate(self.callers.authority.clone())
                .identity(self.callers.identity(caller))
                .domain_name(format!("{}.dynamos", self.site));
            let endpoint = Endpoint::from_shared(format!("https://{}", self.address)).unwrap();
            endpoint.tls_config(tls).unwrap().connect_lazy()
        };
        self.channels.lock().unwrap().entry(caller.to_owned()).or_insert_with(|| open(())).clone()
    }
}

/// Passes a call on and keeps what is fetched.
async fn forward(State(proxied): State<Proxied>, request: Request) -> Response {
    let connection = request.extensions().get::<TlsConnectInfo<TcpConnectInfo>>();
    let certificate = connection.and_then(TlsConnectInfo::peer_certs).unwrap()[0].to_vec();
    let caller = proxied.callers.by_certificate[&certificate].clone();
    let fetched = request.uri().path() == FETCH;
    let (parts, body) = request.into_parts();
    let request = axum::http::Request::from_parts(parts, tonic::body::Body::new(body));
    // Noted before it is passed on: a reader that has enough may go before the answer is here.
    let noted = fetched.then(|| {
        let (from, to) = (proxied.site.clone(), caller.clone());
        let stream = Arc::new(Mutex::new(Stream { from, to, bytes: Vec::new(), ended: false }));
        proxied.streams.lock().unwrap().push(Arc::clone(&stream));
        stream
    });
    let answer = proxied.channel(&caller).oneshot(request).await.unwrap();
    let (parts, body) = answer.into_parts();
    let Some(stream) = noted else { return Response::from_parts(parts, axum::body::Body::new(body)) };
    let body = body.map_frame(move |frame| {
        // What comes after it was taken is of a query that has ended, and seen by nobody.
        let mut stream = stream.lock().unwrap();
        stream.bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data.as_ref()));
        // What a call has come to is said behind its last message.
        stream.ended |= frame.is_trailers();
        frame
    });
    Response::from_parts(parts, axum::body::Body::new(body))
}

/// The rows of a stream's whole messages; a cancelled one may end within a message.
fn rows(mut bytes: &[u8]) -> Vec<RecordBatch> {
    let mut messages = Vec::new();
    while let [compressed, a, b, c, d, rest @ ..] = bytes {
        assert_eq!(*compressed, 0, "what is compressed cannot be looked at");
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let Some((message, after)) = rest.split_at_checked(length) else { break };
        messages.push(FlightData::decode(message).unwrap());
        bytes = after;
    }
    if messages.is_empty() { Vec::new() } else { flight_data_to_batches(&messages).unwrap() }
}
