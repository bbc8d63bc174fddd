//! A federation over loopback for this crate's tests: an authority, two stewards, a provider and the coordinator's own
//! place, each with its certificate and keys. Graphs are built by hand; unless a test says otherwise their edges are not
//! checked, because the check has tests of its own and these are about what comes after it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use dynamos_planner::fragment::{AgreementRef, Fragment, FragmentGraph, ReleasePoint};
use dynamos_planner::function::engine_state;
use dynamos_planner::policy::{CheckInput, EdgeVerdict, Refusal};
use dynamos_planner::wire::{Leaf, LeafTable, encode_graph};
use dynamos_proto::ids::{FragmentId, QueryId, ReleaseId, SiteId};
use dynamos_proto::settings::TlsSection;
use dynamos_proto::sign::{SigningKey, sha256};
use dynamos_proto::status::ServiceError;
use dynamos_proto::token::{Claims, issue};
use dynamos_proto::v1;
use futures::StreamExt;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::Executor;
use crate::admission::{AgreementCheck, GraphCheck};
use crate::clock::{Clock, SystemClock};
use crate::config::*;
use crate::fault::service_error;
use crate::server::{RunningSite, bind, serve};
use crate::source::TableConfig;

/// Finds every edge allowed.
#[derive(Debug)]
pub(crate) struct AllowAll;

impl GraphCheck for AllowAll {
    fn check(&self, _graph: &FragmentGraph, _input: &CheckInput<'_>) -> Result<Vec<EdgeVerdict>, Refusal> {
        Ok(Vec::new())
    }
}

/// A running federation. Its files go with it.
pub(crate) struct Federation {
    pub(crate) folder: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
    pub(crate) sites: BTreeMap<&'static str, RunningSite>,
    pub(crate) coordinator: Executor,
}

/// What each steward grants unless a test says otherwise.
pub(crate) const PLAIN: &str = "RELEASE avg, sum, count OF salary, * BY grade FROM wages.persons \
                                MINIMUM 2 DISTINCT id ELSE DROP";

impl Federation {
    /// `uva` and `vu` with the table `wages.persons(id, grade, salary)`, `surf` without tables, and the coordinator.
    pub(crate) async fn start(persons: [&str; 2], clauses: &str) -> Self {
        let [uva, vu] = persons;
        let steward = |federation: &Self, name| federation.steward(name, if name == "uva" { uva } else { vu }, clauses);
        Self::open(&steward, || Box::new(AllowAll)).await
    }

    /// The same with the same rows at both stewards, and with these limits at uva alone.
    pub(crate) async fn start_limited(persons: &str, limits: Limits) -> Self {
        let steward = |federation: &Self, name| {
            let mut config = federation.steward(name, persons, PLAIN);
            if name == "uva" {
                config.limits = limits.clone();
            }
            config
        };
        Self::open(&steward, || Box::new(AllowAll)).await
    }

    /// The same places with the stewards' configurations from outside, and with the check that they have in use. Only
    /// the coordinator's own place checks nothing.
    pub(crate) async fn start_checked(steward: &dyn Fn(&Self, &'static str) -> SiteConfig) -> Self {
        Self::open(steward, || Box::new(AgreementCheck)).await
    }

    async fn open(
        steward: &dyn Fn(&Self, &'static str) -> SiteConfig,
        check: impl Fn() -> Box<dyn GraphCheck>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        let place = SiteId::coordinator();
        let config = Self::config(&folder, &authority, &place, PlaceKind::Coordinator);
        let coordinator = Executor::start_with(&config, Box::new(AllowAll)).await.unwrap();
        let mut federation = Self { folder, authority, sites: BTreeMap::new(), coordinator };
        for name in ["uva", "vu"] {
            let config = steward(&federation, name);
            federation.serve(name, config, check()).await;
        }
        let config = Self::config(&federation.folder, &federation.authority, &"surf".into(), PlaceKind::Provider);
        federation.serve("surf", config, check()).await;
        federation
    }

    pub(crate) fn steward(&self, name: &'static str, rows: &str, clauses: &str) -> SiteConfig {
        let mut config = Self::config(&self.folder, &self.authority, &name.into(), PlaceKind::Steward);
        let csv = self.folder.path().join(format!("{name}.csv"));
        std::fs::write(&csv, format!("id,grade,salary\n{rows}")).unwrap();
        let mut table = SiteTable::plain(TableConfig::csv("wages", "persons", csv));
        table.entity = Some("id".into());
        config.tables.push(table);
        let stewards = ["uva", "vu"].map(SiteId::new).to_vec();
        config.federated.push(FederatedPart { schema: "wages".into(), table: "persons".into(), stewards });
        let agreements = self.folder.path().join(format!("{name}.agreements"));
        std::fs::create_dir_all(&agreements).unwrap();
        let text = format!("CREATE AGREEMENT a ON SITE {name} FOR ANYONE PURPOSE statistics AS ({clauses})");
        std::fs::write(agreements.join("a.sql"), text).unwrap();
        config.site.agreements_dir = Some(agreements);
        config
    }

    async fn serve(&mut self, name: &'static str, config: SiteConfig, check: Box<dyn GraphCheck>) {
        let executor = Executor::start_with(&config, check).await.unwrap();
        let incoming = bind(config.site.listen).unwrap();
        let site = serve(config, executor, incoming, CancellationToken::new()).unwrap();
        self.sites.insert(name, site);
    }

    /// Stops a place, so that another can be started over its files.
    pub(crate) fn stop(&mut self, place: &str) {
        drop(self.sites.remove(place));
    }

    /// The records about queries in a place's ledger.
    pub(crate) fn records(&self, place: &str) -> Vec<serde_json::Value> {
        self.all_records(place).into_iter().filter(|record| record["event"] != "agreement").collect()
    }

    /// The records in a place's ledger, whose chain must be whole. No token is in it.
    pub(crate) fn all_records(&self, place: &str) -> Vec<serde_json::Value> {
        let path = self.folder.path().join(format!("{place}.state/ledger.log"));
        dynamos_proto::record::verify(&path).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        // All tokens begin so.
        assert!(!text.contains("eyJ"), "{text}");
        let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["record"].take();
        // A line that is being written is no record yet.
        text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(line).collect()
    }

    pub(crate) fn config_of(&self, place: &str, kind: PlaceKind) -> SiteConfig {
        Self::config(&self.folder, &self.authority, &place.into(), kind)
    }

    fn config(
        folder: &TempDir,
        authority: &CertifiedIssuer<'static, KeyPair>,
        place: &SiteId,
        kind: PlaceKind,
    ) -> SiteConfig {
        let path = |suffix: &str| folder.path().join(format!("{place}.{suffix}"));
        let (key, cert) = certificate(authority, place);
        std::fs::write(path("key"), key).unwrap();
        std::fs::write(path("pem"), cert).unwrap();
        std::fs::write(path("seed"), seed_text(place.as_str())).unwrap();
        let peers = ["uva", "vu", "surf"].map(|name| Peer {
            name: name.into(),
            roles: Vec::new(),
            regions: Vec::new(),
            public_key: Some(key_of(name).public().to_text()),
        });
        SiteConfig {
            site: SiteSection {
                name: place.clone(),
                listen: "127.0.0.1:0".parse().unwrap(),
                advertise: None,
                kind,
                roles: Vec::new(),
                regions: Vec::new(),
                purposes: Vec::new(),
                state_dir: path("state"),
                agreements_dir: None,
            },
            tls: TlsSection { cert: path("pem"), key: path("key"), ca: folder.path().join("ca.pem") },
            keys: KeysSection { signing: (kind == PlaceKind::Steward).then(|| path("seed")) },
            coordinator: CoordinatorSection {
                uri: "https://127.0.0.1:9".into(),
                public_key: key_of("coordinator").public().to_text(),
            },
            peers: peers.to_vec(),
            organisations: ["uva", "vu", "kb"]
                .map(|name| Organisation { name: name.into(), public_key: key_of(name).public().to_text() })
                .to_vec(),
            limits: Limits { target_partitions: 2, ..Limits::default() },
            tables: Vec::new(),
            federated: Vec::new(),
        }
    }

    pub(crate) fn executor(&self, place: &str) -> &Executor {
        self.sites.get(place).map(RunningSite::executor).unwrap_or(&self.coordinator)
    }

    /// A graph with these fragments, governed by agreement `a` of both stewards.
    pub(crate) fn graph(&self, query: &str, fragments: Vec<Fragment>, releases: Vec<ReleasePoint>) -> FragmentGraph {
        let endpoints = self.sites.iter().map(|(name, site)| ((*name).into(), format!("https://{}", site.address())));
        let governing = |name: &str| (name.into(), AgreementRef { agreement: "a".into(), epoch: 1 });
        FragmentGraph {
            query: QueryId::new(query),
            attempt: 0,
            purpose: "statistics".into(),
            catalog_version: 1,
            fragments,
            releases,
            endpoints: endpoints.collect(),
            governing: ["uva", "vu"].map(governing).into(),
            planned_at_ms: now_ms(),
            expires_at_ms: now_ms() + 30_000,
            token_hash: sha256(token("uva").as_bytes()),
            organisation: "uva".into(),
        }
    }

    /// The graph as the coordinator signs it, with the stewards' agreements.
    pub(crate) fn permit(&self, graph: &FragmentGraph) -> v1::Permit {
        let graph = encode_graph(graph, &engine_state()).unwrap();
        let stewards = ["uva", "vu"].into_iter().filter_map(|name| self.sites.get(name));
        let agreements = stewards.flat_map(|site| site.executor().publication().1).collect();
        v1::Permit { signature: key_of("coordinator").sign(&graph), graph, token: token("uva"), agreements }
    }

    /// Submits a graph to every place that takes part.
    pub(crate) async fn submit(&self, graph: &FragmentGraph) {
        // Encoded once: the order of a plan's functions in Substrait differs from one encoding to the next.
        let permit = self.permit(graph);
        for place in graph.places() {
            self.executor(place.as_str()).submit(permit.clone()).await.unwrap();
        }
    }

    /// Gives a place a lease, as if it had asked.
    pub(crate) fn lend(&self, steward: &str, holder: &str, query: &QueryId, hash: &[u8]) {
        let place = self.executor(steward).place();
        let held = v1::HeldQuery { query_id: query.to_string(), graph_hash: hash.to_vec() };
        let request = v1::HoldRequest { number: 1, held: vec![held], dropping: Vec::new() };
        let who = (place.grants.open(), &holder.into());
        let reply = place.grants.renew(who, &request, &place.queries, tokio::time::Instant::now()).unwrap();
        assert_eq!(reply.leases.len(), 1, "{reply:?}");
    }

    /// The rows of a submitted query, sorted, as text.
    pub(crate) async fn rows(&self, graph: &FragmentGraph) -> Result<String, ServiceError> {
        let mut stream = self.coordinator.open_root(&graph.query)?;
        let mut batches: Vec<RecordBatch> = Vec::new();
        while let Some(batch) = stream.next().await {
            batches.push(batch.map_err(|error| service_error(&error))?);
        }
        let table = pretty_format_batches(&batches).unwrap().to_string();
        let mut rows: Vec<&str> = table.lines().filter(|line| !line.starts_with('+')).skip(1).collect();
        rows.sort_unstable();
        Ok(rows.iter().map(|row| row.replace(' ', "")).collect::<Vec<_>>().join("\n"))
    }
}

/// The present, milliseconds since 1970-01-01 UTC.
pub(crate) fn now_ms() -> i64 {
    SystemClock.now_ms()
}

/// A request to end a query that may have begun.
pub(crate) fn cancel(query: &QueryId) -> v1::CancelRequest {
    v1::CancelRequest { query_id: query.to_string(), not_begun: false, attempt: 0 }
}

/// The key of a place or organisation; the same in every test.
pub(crate) fn key_of(name: &str) -> SigningKey {
    SigningKey::from_text(&seed_text(name)).unwrap()
}

fn seed_text(name: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(sha256(name.as_bytes()))
}

/// A token of an analyst, who is a steward, too.
pub(crate) fn token(organisation: &str) -> String {
    let claims = Claims {
        iss: organisation.into(),
        sub: format!("ann@{organisation}.nl"),
        roles: vec!["analyst".into(), "steward".into()],
        purposes: vec!["statistics".into()],
        exp: now_ms() / 1000 / 3600 * 3600 + 7200,
        jti: "1".into(),
    };
    issue(&claims, &key_of(organisation)).unwrap()
}

fn certificate(authority: &CertifiedIssuer<'static, KeyPair>, place: &SiteId) -> (String, String) {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), crate::identity::server_name(place)];
    let mut params = CertificateParams::new(names).unwrap();
    let uri = format!("{}{place}", crate::identity::PLACE_URI);
    params.subject_alt_names.push(SanType::URI(uri.as_str().try_into().unwrap()));
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    (key.serialize_pem(), certificate.pem())
}

/// The columns of `wages.persons`.
pub(crate) fn persons() -> SchemaRef {
    Arc::new(Schema::new(
        [("id", DataType::Int64), ("grade", DataType::Utf8), ("salary", DataType::Int64)]
            .map(|(name, kind)| Field::new(name, kind, true))
            .to_vec(),
    ))
}

/// A scan of a leaf with these columns.
pub(crate) fn scan(leaf: &Leaf, schema: SchemaRef) -> LogicalPlanBuilder {
    LogicalPlanBuilder::scan(leaf.to_reference(), provider_as_source(LeafTable::new(schema)), None).unwrap()
}

/// A scan of a steward's `wages.persons`.
pub(crate) fn scan_persons(site: &str) -> LogicalPlanBuilder {
    scan(&Leaf::Table { site: site.into(), schema: "wages".into(), table: "persons".into(), clause: None }, persons())
}

/// A fragment without partials.
pub(crate) fn fragment(id: u32, place: &str, consumer: Option<u32>, plan: LogicalPlan) -> Fragment {
    let consumer = consumer.map(FragmentId);
    Fragment { id: FragmentId(id), place: place.into(), consumer, plan, partial_of: None }
}

/// A fragment whose rows leave as partials of release point 0.
pub(crate) fn partial(id: u32, place: &str, consumer: u32, plan: LogicalPlan) -> Fragment {
    Fragment { partial_of: Some(ReleaseId(0)), ..fragment(id, place, Some(consumer), plan) }
}

/// Where a place's configuration has its state.
pub(crate) fn state_dir(config: &SiteConfig) -> PathBuf {
    config.site.state_dir.clone()
}
