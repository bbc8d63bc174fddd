//! [`Registry`]: the places that are known, what they have announced and when they were last heard. Every change gives
//! a new [`Snapshot`] under a higher version; whoever runs a query watches them go by.
//!
//! ```text
//! unknown ── register ──► Up ── silent for 3 s ──► Down ◄── kept from before a restart
//!                         ▲                          │
//!                         └── heartbeat, register ───┘
//! ```
//!
//! What outlasts the coordinator is in `state`; [`Members`](super::Members) has it kept before the registry takes it in.
//!
//! INVARIANT(epochs_rise): no version of an agreement takes the place of a newer one, nor another text under the same
//! epoch. A site that comes back with an older state, or without an agreement that is known, is refused until it is repaired.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dynamos_planner::catalog::{Availability, Catalog, FederatedTable, Site, SiteKind, TableName};
use dynamos_planner::policy::{AgreementSet, HeldAgreement};
use dynamos_proto::ids::SiteId;
use dynamos_proto::sign::PublicKey;
use dynamos_proto::state::Row;
use dynamos_proto::state::row::Row as Kind;
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1;
use tokio::sync::watch;

use super::agreement::verify;
use super::announcement::{read_site, same_stewards};
use super::compare::{Offered, compare, rolled_back};
use super::snapshot::Snapshot;
use crate::clock::Clock;
use crate::state::lasting;

/// How often a site is asked to be heard.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// A site that is silent for longer is down.
pub const SILENCE_MAX: Duration = Duration::from_secs(3);
/// If the coordinator itself has not looked for longer than this, it was asleep, and the silence was its own.
const SWEEP_GAP_MAX: Duration = Duration::from_secs(2);
/// An announcement is on its way no longer than this; a site gives up waiting for the answer.
const ON_ITS_WAY_MAX: Duration = Duration::from_secs(5);

/// A place that may register.
#[derive(Clone, Debug)]
pub struct KnownSite {
    /// Its name.
    pub site: SiteId,
    /// What it is for.
    pub kind: SiteKind,
    /// Its roles.
    pub roles: BTreeSet<String>,
    /// Its regions.
    pub regions: BTreeSet<String>,
    /// The key that it signs agreements with; none for a provider.
    pub public_key: Option<PublicKey>,
}

/// What the federation consists of by configuration.
#[derive(Clone, Debug, Default)]
pub struct KnownPlaces {
    /// The places that may register.
    pub sites: Vec<KnownSite>,
    /// Roles of the coordinator.
    pub coordinator_roles: BTreeSet<String>,
    /// Regions of the coordinator.
    pub coordinator_regions: BTreeSet<String>,
    /// The federated tables.
    pub federated: BTreeMap<TableName, FederatedTable>,
}

/// The places of the federation.
pub struct Registry {
    known: BTreeMap<SiteId, KnownSite>,
    clock: Arc<dyn Clock>,
    hearing: Mutex<Hearing>,
    published: watch::Sender<Snapshot>,
}

/// What is heard of sites; times are uptimes.
#[derive(Default)]
struct Hearing {
    /// When each registered site was last heard.
    heard: BTreeMap<SiteId, Duration>,
    /// When that was last looked at.
    swept: Duration,
    /// When each steward last changed agreements on request.
    changed: BTreeMap<SiteId, Duration>,
    /// Sites whose last announcement may have been older than what is known.
    doubtful: BTreeSet<SiteId>,
    /// The lasting part of each place, as it is kept.
    places: BTreeMap<SiteId, v1::Announcement>,
    /// The organisations that are kept, and their keys.
    organisations: BTreeMap<String, String>,
}

impl Registry {
    /// A registry in which nobody has registered yet.
    pub fn new(places: KnownPlaces, clock: Arc<dyn Clock>) -> Self {
        let coordinator = Site {
            kind: SiteKind::Coordinator,
            roles: places.coordinator_roles,
            regions: places.coordinator_regions,
            uri: String::new(),
            availability: Availability::Up,
            tables: BTreeMap::new(),
        };
        let sites = BTreeMap::from([(SiteId::coordinator(), coordinator)]);
        let catalog = Arc::new(Catalog { version: 1, sites, federated: places.federated });
        let (published, _) = watch::channel(Snapshot { catalog, ..Snapshot::default() });
        let hearing = Mutex::new(Hearing { swept: clock.uptime(), ..Hearing::default() });
        let known = places.sites.into_iter().map(|site| (site.site.clone(), site)).collect();
        Self { known, clock, hearing, published }
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Snapshot {
        self.published.borrow().clone()
    }

    /// The newest snapshot and all that follow.
    pub fn watch(&self) -> watch::Receiver<Snapshot> {
        self.published.subscribe()
    }

    /// Takes in what a site announces about itself, without keeping it for longer than this registry lives; gives the new
    /// catalog version. `caller` is who its certificate says it is.
    pub fn register(&self, caller: &SiteId, announcement: &v1::Announcement) -> Result<u64, ServiceError> {
        let offered = self.examine(caller, announcement)?;
        self.put(&offered.rows());
        Ok(self.admit(offered))
    }

    /// Reads an announcement and compares it with what is known; changes nothing.
    pub(super) fn examine(&self, caller: &SiteId, announcement: &v1::Announcement) -> Result<Offered, ServiceError> {
        let known = self.known_caller(caller, &announcement.site)?;
        let site = read_site(known, announcement)?;
        let snapshot = self.snapshot();
        same_stewards(caller, announcement, &snapshot.catalog.federated)?;
        let compared = compare(&snapshot, known, &announcement.agreements)?;
        let mut older = compared.older;
        let names: BTreeSet<&str> = announcement.agreements.iter().map(|one| one.name.as_str()).collect();
        let missing = snapshot.signed.values().filter(|one| one.steward == caller.as_str());
        older.extend(missing.filter(|one| !names.contains(one.name.as_str())).map(|one| rolled_back(one, None)));
        let hearing = self.hearing();
        let doubtful = !older.is_empty();
        if let Some(error) = older.into_iter().next() {
            // An announcement that left the site before a change of a moment ago is no sign of an older state.
            let changed = hearing.changed.get(caller).map(|changed| self.clock.uptime().saturating_sub(*changed));
            if changed.is_none_or(|since| since > ON_ITS_WAY_MAX) {
                return Err(error);
            }
        }
        let place = lasting(announcement);
        let moved = hearing.places.get(caller) != Some(&place);
        Ok(Offered { caller: caller.clone(), site, place, moved, agreements: compared.news, doubtful })
    }

    /// Takes for alive whoever has announced itself.
    pub(super) fn admit(&self, offered: Offered) -> u64 {
        let Offered { caller, site, doubtful, .. } = offered;
        let mut hearing = self.hearing();
        hearing.heard.insert(caller.clone(), self.clock.uptime());
        if doubtful {
            tracing::info!(site_id = %caller, "an announcement is older than what is known; the site is asked again");
            hearing.doubtful.insert(caller.clone());
        } else {
            hearing.doubtful.remove(&caller);
        }
        tracing::info!(site_id = %caller, tables = site.tables.len(), "site registered");
        let mut next = self.snapshot();
        Arc::make_mut(&mut next.catalog).sites.insert(caller, site);
        self.publish(next)
    }

    /// Takes in rows that are kept. Signatures are checked again: the steward's key may be another than when they were.
    pub fn put(&self, rows: &[Row]) {
        let mut hearing = self.hearing();
        let mut next = self.snapshot();
        let mut changed = false;
        for row in rows {
            changed |= match &row.row {
                Some(Kind::Agreement(signed)) => self.put_agreement(&mut next, signed),
                Some(Kind::Place(place)) => self.put_place(&mut next, &mut hearing, place),
                Some(Kind::Organisation(one)) => {
                    hearing.organisations.insert(one.name.clone(), one.public_key.clone());
                    false
                }
                Some(Kind::Done(_)) | None => false,
            };
        }
        if changed {
            self.publish(next);
        }
    }

    /// The organisations that are kept, by name, with their keys.
    pub(super) fn organisations(&self) -> BTreeMap<String, String> {
        self.hearing().organisations.clone()
    }

    fn put_agreement(&self, next: &mut Snapshot, signed: &v1::SignedAgreement) -> bool {
        let steward = SiteId::new(&signed.steward);
        let key = (steward.clone(), signed.name.clone());
        if next.signed.get(&key) == Some(signed) {
            return false;
        }
        let verified = match self.known.get(&steward) {
            Some(known) => verify(known, signed).map_err(|error| error.message),
            None => Err("the steward is not configured".to_owned()),
        };
        let agreement = verified.unwrap_or_else(|reason| {
            tracing::warn!(site_id = %steward, agreement = %signed.name, reason, "an agreement is kept but not in force");
            None
        });
        let agreements: &mut AgreementSet = Arc::make_mut(&mut next.agreements);
        match agreement {
            Some(agreement) => {
                agreements.insert(HeldAgreement { epoch: signed.epoch, purposes: signed.purposes, agreement })
            }
            None => drop(agreements.remove(&steward, &signed.name)),
        }
        Arc::make_mut(&mut next.signed).insert(key, signed.clone());
        true
    }

    /// A place that has not been heard is known, but down.
    fn put_place(&self, next: &mut Snapshot, hearing: &mut Hearing, place: &v1::Announcement) -> bool {
        let site = SiteId::new(&place.site);
        hearing.places.insert(site.clone(), place.clone());
        if hearing.heard.contains_key(&site) {
            return false;
        }
        let read = match self.known.get(&site) {
            Some(known) => read_site(known, place).map_err(|error| error.message),
            None => Err("the place is not configured".to_owned()),
        };
        match read {
            Ok(read) => {
                let read = Site { availability: Availability::Down, ..read };
                Arc::make_mut(&mut next.catalog).sites.insert(site, read);
                true
            }
            Err(reason) => {
                tracing::warn!(site_id = %site, reason, "a place that was known is left out");
                false
            }
        }
    }

    /// Notes that a site is alive, and says whether it is registered here at all.
    pub fn heartbeat(&self, caller: &SiteId, site: &str) -> Result<Registration, ServiceError> {
        self.known_caller(caller, site)?;
        let mut hearing = self.hearing();
        let doubtful = hearing.doubtful.contains(caller);
        let Some(heard) = hearing.heard.get_mut(caller) else { return Ok(Registration::Missing) };
        *heard = self.clock.uptime();
        if !self.published.borrow().is_up(caller) {
            tracing::info!(site_id = %caller, "site is back");
            self.set_availability(std::slice::from_ref(caller), Availability::Up);
        }
        Ok(if doubtful { Registration::Missing } else { Registration::Held })
    }

    /// Checks agreements that a steward changed on somebody's request; gives those that are new here.
    pub(super) fn changed(
        &self,
        steward: &SiteId,
        changed: &[v1::SignedAgreement],
    ) -> Result<Vec<v1::SignedAgreement>, ServiceError> {
        let known = self.known_caller(steward, steward.as_str())?;
        // The site may have announced an even newer version while this answer was on its way.
        let compared = compare(&self.snapshot(), known, changed)?;
        self.hearing().changed.insert(steward.clone(), self.clock.uptime());
        Ok(compared.news)
    }

    /// Takes in changed agreements without keeping them for longer than this registry lives.
    #[cfg(test)]
    pub(crate) fn update_agreements(
        &self,
        steward: &SiteId,
        changed: &[v1::SignedAgreement],
    ) -> Result<(), ServiceError> {
        let news = self.changed(steward, changed)?;
        let rows: Vec<Row> = news.into_iter().map(|one| Row { row: Some(Kind::Agreement(one)) }).collect();
        self.put(&rows);
        Ok(())
    }

    /// Declares sites down that have been silent for too long. To be called several times a second.
    pub fn sweep(&self) {
        let now = self.clock.uptime();
        let mut hearing = self.hearing();
        let gap = now.saturating_sub(hearing.swept);
        hearing.swept = now;
        if gap > SWEEP_GAP_MAX {
            hearing.heard.values_mut().for_each(|heard| *heard += gap);
        }
        let silent = hearing.heard.iter().filter(|(_, heard)| now.saturating_sub(**heard) > SILENCE_MAX);
        let snapshot = self.snapshot();
        let lost: Vec<SiteId> = silent.map(|(site, _)| site.clone()).filter(|site| snapshot.is_up(site)).collect();
        if !lost.is_empty() {
            lost.iter().for_each(|site| tracing::warn!(site_id = %site, "site is silent and taken for down"));
            self.set_availability(&lost, Availability::Down);
        }
    }

    fn set_availability(&self, sites: &[SiteId], availability: Availability) {
        let mut next = self.snapshot();
        let catalog = Arc::make_mut(&mut next.catalog);
        for site in sites {
            if let Some(site) = catalog.sites.get_mut(site) {
                site.availability = availability;
            }
        }
        self.publish(next);
    }

    /// Only to be called with `hearing` locked, so that no change overtakes another.
    fn publish(&self, mut next: Snapshot) -> u64 {
        let catalog = Arc::make_mut(&mut next.catalog);
        catalog.version += 1;
        let version = catalog.version;
        self.published.send_replace(next);
        version
    }

    fn known_caller(&self, caller: &SiteId, announced: &str) -> Result<&KnownSite, ServiceError> {
        if caller.as_str() != announced {
            let text = format!("the certificate of `{caller}` cannot speak for site `{announced}`");
            return Err(ServiceError::new(Code::Denied, text));
        }
        self.known.get(caller).ok_or_else(|| {
            ServiceError::new(Code::Denied, format!("site `{caller}` is not one of the places configured here"))
                .with_hint("add it to `sites` of the coordinator's configuration")
        })
    }

    fn hearing(&self) -> MutexGuard<'_, Hearing> {
        self.hearing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a site that is heard has registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// It has.
    Held,
    /// It must register again: it has not since the coordinator started, or what it announced may be older than what is
    /// known.
    Missing,
}
