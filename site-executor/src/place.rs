//! Everything that a place has while it runs, shared by its queries and its services. Put together once, from the
//! configuration; what can be done with it is [`crate::Executor`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::SessionConfig;
use dynamos_planner::function::{engine_state, engine_state_with};
use dynamos_planner::policy::{HierarchyError, KnownNames, PlaceFacts, UtcMillis, purpose};
use dynamos_proto::ids::{QueryId, SiteId};
use dynamos_proto::sign::PublicKey;
use tokio::sync::Notify;
use tonic::transport::{Certificate, Identity};

use crate::admission::{Admission, GraphCheck};
use crate::agreements::AgreementBook;
use crate::catalog::SiteTables;
use crate::clock::Clock;
use crate::config::{Limits, PlaceKind, SiteConfig};
use crate::cpu::CpuPool;
use crate::error::SiteError;
use crate::exchange::PeerChannels;
use crate::lease::{Grants, LeaseHolder};
use crate::ledger::Ledger;
use crate::query::{Query, QueryRegistry};
use crate::recut::BATCH_ROWS;
use crate::spill::{SpillFolder, SpillRoot};

/// All sorts of a query together set aside no more than this part of its memory, one in so many, for merging.
const MERGING_SHARE: usize = 8;

/// A running place.
pub(crate) struct Place {
    pub(crate) name: SiteId,
    pub(crate) limits: Limits,
    pub(crate) admission: Admission,
    pub(crate) tables: SiteTables,
    pub(crate) queries: QueryRegistry,
    pub(crate) channels: PeerChannels,
    /// What this place holds of other stewards' data.
    pub(crate) leases: LeaseHolder,
    /// What other places hold of this steward's.
    pub(crate) grants: Grants,
    pub(crate) cpu: CpuPool,
    /// In which graphs are read; no tables, no memory limit of its own.
    pub(crate) reading: SessionState,
    /// What was admitted, refused, given and agreed, and what of the budgets is spent.
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<dyn Clock>,
    /// Told when the place's own agreements have changed.
    pub(crate) agreements_changed: Notify,
    book: Mutex<AgreementBook>,
    pub(crate) spill: SpillRoot,
    /// Attempts of queries of which a record is owed that nothing of them is left.
    obliged: Mutex<Vec<(QueryId, Weak<Query>)>>,
}

impl fmt::Debug for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Place({})", self.name)
    }
}

impl Place {
    pub(crate) async fn open(
        config: &SiteConfig,
        check: Box<dyn GraphCheck>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, SiteError> {
        config.validate()?;
        let name = config.site.name.clone();
        let path = config.site.state_dir.join("spill");
        let spill = SpillRoot::open(path.clone()).map_err(|source| SiteError::File {
            what: "folder of spilled data",
            path,
            source,
        })?;
        let tables = SiteTables::open(config).await?;
        let names = known_names(config).map_err(|error| SiteError::Engine(error.to_string()))?;
        let book = AgreementBook::load(config, steward_keys(config)?, Arc::clone(tables.raw()), names)?;
        let tls = TlsFiles::read(config)?;
        let coordinator = key("coordinator", &config.coordinator.public_key)?;
        let issuers = config
            .organisations
            .iter()
            .map(|one| Ok((one.name.clone(), key(&one.name, &one.public_key)?)))
            .collect::<Result<_, SiteError>>()?;
        let admission = Admission::new(name.clone(), coordinator, issuers, facts(config), check, clock.now_ms())
            .map_err(SiteError::Engine)?;
        let ledger = match config.site.kind {
            PlaceKind::Steward | PlaceKind::Provider => Ledger::open(&name, &config.site.state_dir)?,
            PlaceKind::Coordinator => Ledger::none(&name),
        };
        ledger.find(&book.signed(), UtcMillis(clock.now_ms()))?;
        // What ran when the place stopped is gone with the folder of spilled data.
        for query in ledger.owed() {
            ledger.erased(&query, UtcMillis(clock.now_ms()));
        }
        let threads = config.limits.target_partitions;
        let cpu = CpuPool::new(threads).map_err(|error| SiteError::Engine(error.to_string()))?;
        let leases = LeaseHolder::new(&name, tls.identity.clone(), tls.authority.clone());
        Ok(Arc::new(Self {
            leases: leases.map_err(|error| SiteError::Engine(error.to_string()))?,
            grants: Grants::new(&name),
            name,
            limits: config.limits.clone(),
            admission,
            tables,
            queries: QueryRegistry::new(config.limits.concurrent_fragments),
            channels: PeerChannels::new(tls.identity, tls.authority),
            cpu,
            reading: engine_state(),
            ledger,
            clock,
            agreements_changed: Notify::new(),
            book: Mutex::new(book),
            spill,
            obliged: Mutex::default(),
        }))
    }

    /// The agreements; never held across a wait.
    pub(crate) fn book(&self) -> MutexGuard<'_, AgreementBook> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a query under a retention of 0, to record when nothing of it is left.
    pub(crate) fn oblige(&self, query: &Arc<Query>) {
        let mut obliged = self.obliged.lock().unwrap_or_else(PoisonError::into_inner);
        obliged.push((query.graph.query.clone(), Arc::downgrade(query)));
    }

    /// Whether there are such queries, or records that nobody waits for.
    pub(crate) fn owes_records(&self) -> bool {
        self.ledger.has_waiting() || !self.obliged.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Records of each such query that has ended that nothing of it is left: its rows are gone from memory with the query
    /// itself, and its folder with them. As long as there is anything of another attempt, that one is waited for, and the query
    /// is recorded once. It blocks the thread.
    pub(crate) fn record_erased(&self) {
        let gone: BTreeSet<QueryId> = {
            let mut obliged = self.obliged.lock().unwrap_or_else(PoisonError::into_inner);
            let left: BTreeSet<QueryId> = self.queries.alive().iter().map(|query| query.graph.query.clone()).collect();
            let gone = obliged.extract_if(.., |one| one.1.strong_count() == 0 && !left.contains(&one.0));
            gone.map(|(id, _)| id).collect()
        };
        for query in gone {
            self.ledger.erased(&query, UtcMillis(self.clock.now_ms()));
        }
    }

    /// The state that one query runs in, with memory of its own, and this folder for what does not fit.
    pub(crate) fn query_state(&self, spill: &SpillFolder) -> datafusion::common::Result<SessionState> {
        let (memory, partitions) = (self.limits.memory_per_query.as_usize(), self.limits.target_partitions);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(memory)))
            .with_temp_file_path(spill.path())
            .build_arc()?;
        let config = SessionConfig::new().with_target_partitions(partitions).with_batch_size(BATCH_ROWS);
        // What each sort sets aside for merging what it spilled. With the engine's own size a small memory is set aside
        // whole, and nothing can be sorted in it.
        let merging = config.options().execution.sort_spill_reservation_bytes;
        let merging = merging.min(memory / partitions.saturating_mul(MERGING_SHARE).max(1));
        let config = config.with_sort_spill_reservation_bytes(merging);
        Ok(engine_state_with(config, runtime))
    }
}

/// Certificates of a place as TLS takes them.
pub(crate) struct TlsFiles {
    pub(crate) identity: Identity,
    pub(crate) authority: Certificate,
}

impl TlsFiles {
    pub(crate) fn read(config: &SiteConfig) -> Result<Self, SiteError> {
        let read = |what, path: &PathBuf| {
            std::fs::read(path).map_err(|source| SiteError::File { what, path: path.clone(), source })
        };
        let certificate = read("certificate", &config.tls.cert)?;
        let key = read("private key", &config.tls.key)?;
        let authority = Certificate::from_pem(read("authority", &config.tls.ca)?);
        Ok(Self { identity: Identity::from_pem(certificate, key), authority })
    }
}

fn key(of: &str, text: &str) -> Result<PublicKey, SiteError> {
    PublicKey::from_text(text).map_err(|source| SiteError::Key { of: of.to_owned(), source })
}

fn steward_keys(config: &SiteConfig) -> Result<BTreeMap<SiteId, PublicKey>, SiteError> {
    let keys = config.peers.iter().filter_map(|peer| Some((peer.name.clone(), peer.public_key.as_ref()?)));
    keys.map(|(name, text)| Ok((name.clone(), key(name.as_str(), text)?))).collect()
}

fn facts(config: &SiteConfig) -> BTreeMap<SiteId, PlaceFacts> {
    let facts = |roles: &[String], regions: &[String]| PlaceFacts {
        roles: roles.iter().cloned().collect(),
        regions: regions.iter().cloned().collect(),
    };
    let peers = config.peers.iter().map(|peer| (peer.name.clone(), facts(&peer.roles, &peer.regions)));
    let own = (config.site.name.clone(), facts(&config.site.roles, &config.site.regions));
    // Without an entry of its own the coordinator is a place without roles.
    std::iter::once((SiteId::coordinator(), PlaceFacts::default())).chain(peers).chain([own]).collect()
}

/// What the agreements that are made here can name besides tables.
fn known_names(config: &SiteConfig) -> Result<KnownNames, HierarchyError> {
    let shipped = purpose::shipped()?;
    let shipped = shipped.all().into_iter().map(str::to_owned);
    Ok(KnownNames {
        purposes: Some(shipped.chain(config.site.purposes.iter().cloned()).collect()),
        places: facts(config),
        organisations: Some(config.organisations.iter().map(|one| one.name.clone()).collect()),
    })
}
