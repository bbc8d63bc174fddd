//! [`Registry`]: the places that are known, what they have announced and when they were last heard. Every change gives
//! a new [`Snapshot`] under a higher version; whoever runs a query watches them go by.
//!
//! ```text
//! unknown ── register ──► Up ── silent for 3 s ──► Down
//!                         ▲                          │
//!                         └── heartbeat, register ───┘
//! ```
//!
//! INVARIANT(epochs_rise): no version of an agreement takes the place of a newer one, nor another text under the same
//! epoch. A site that comes back with an older state is refused until it is repaired.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dynamos_planner::catalog::{Availability, Catalog, FederatedTable, Site, SiteKind, TableName};
use dynamos_planner::policy::AgreementSet;
use dynamos_proto::ids::SiteId;
use dynamos_proto::sign::PublicKey;
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1;
use tokio::sync::watch;

use super::agreement::{VerifiedAgreement, verify};
use super::announcement::read_site;
use super::snapshot::Snapshot;
use crate::clock::Clock;

/// How often a site is asked to be heard.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// A site that is silent for longer is down.
pub const SILENCE_MAX: Duration = Duration::from_secs(3);
/// If the coordinator itself has not looked for longer than this, it was asleep, and the silence was its own.
const SWEEP_GAP_MAX: Duration = Duration::from_secs(2);

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

/// When each registered site was last heard, and when that was last looked at; uptimes.
struct Hearing {
    heard: BTreeMap<SiteId, Duration>,
    swept: Duration,
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
        let hearing = Mutex::new(Hearing { heard: BTreeMap::new(), swept: clock.uptime() });
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

    /// Takes in what a site announces about itself; gives the new catalog version. `caller` is who its certificate says
    /// it is. The announcement replaces what the site announced before: agreements that are missing are no longer held.
    pub fn register(&self, caller: &SiteId, announcement: &v1::Announcement) -> Result<u64, ServiceError> {
        let known = self.known_caller(caller, &announcement.site)?;
        let site = read_site(known, announcement)?;
        let verified = announcement.agreements.iter().map(|one| verify(known, one)).collect::<Result<Vec<_>, _>>()?;
        let mut hearing = self.hearing();
        let mut next = self.snapshot();
        verified.iter().try_for_each(|one| check_epoch(&next, one))?;
        let agreements = Arc::make_mut(&mut next.agreements);
        let held: Vec<String> = agreements.of(caller).map(|held| held.agreement.name.clone()).collect();
        held.iter().for_each(|name| drop(agreements.remove(caller, name)));
        put_all(&mut next, caller, verified);
        Arc::make_mut(&mut next.catalog).sites.insert(caller.clone(), site);
        hearing.heard.insert(caller.clone(), self.clock.uptime());
        tracing::info!(site_id = %caller, tables = announcement.tables.len(), "site registered");
        Ok(self.publish(next))
    }

    /// Notes that a site is alive, and says whether it is registered here at all.
    pub fn heartbeat(&self, caller: &SiteId, site: &str) -> Result<Registration, ServiceError> {
        self.known_caller(caller, site)?;
        let mut hearing = self.hearing();
        let Some(heard) = hearing.heard.get_mut(caller) else { return Ok(Registration::Missing) };
        *heard = self.clock.uptime();
        if !self.published.borrow().is_up(caller) {
            tracing::info!(site_id = %caller, "site is back");
            self.set_availability(std::slice::from_ref(caller), Availability::Up);
        }
        Ok(Registration::Held)
    }

    /// Takes in agreements that a steward changed on somebody's request.
    pub fn update_agreements(&self, steward: &SiteId, changed: &[v1::SignedAgreement]) -> Result<(), ServiceError> {
        let known = self.known_caller(steward, steward.as_str())?;
        let mut verified = changed.iter().map(|one| verify(known, one)).collect::<Result<Vec<_>, _>>()?;
        let _hearing = self.hearing();
        let mut next = self.snapshot();
        // The site may have announced an even newer version while this answer was on its way.
        verified.retain(|one| next.epoch(steward, &one.signed.name).is_none_or(|known| known <= one.signed.epoch));
        verified.iter().try_for_each(|one| check_epoch(&next, one))?;
        put_all(&mut next, steward, verified);
        self.publish(next);
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
    /// It must register again; the coordinator has forgotten it.
    Missing,
}

fn check_epoch(snapshot: &Snapshot, offered: &VerifiedAgreement) -> Result<(), ServiceError> {
    let offered = &offered.signed;
    let key = (SiteId::new(&offered.steward), offered.name.clone());
    let Some(held) = snapshot.signed.get(&key) else { return Ok(()) };
    let same = held.text == offered.text && held.revoked == offered.revoked;
    let text = match offered.epoch.cmp(&held.epoch) {
        std::cmp::Ordering::Greater => return Ok(()),
        std::cmp::Ordering::Equal if same => return Ok(()),
        std::cmp::Ordering::Equal => format!("epoch {} has two different texts", offered.epoch),
        std::cmp::Ordering::Less => format!("epoch {} is offered but epoch {} is known", offered.epoch, held.epoch),
    };
    Err(ServiceError::new(Code::StaleBasis, format!("agreement `{}` of `{}`: {text}", offered.name, offered.steward))
        .with_hint("restore the newest agreements at the site; epochs only rise"))
}

fn put_all(next: &mut Snapshot, steward: &SiteId, verified: Vec<VerifiedAgreement>) {
    let agreements: &mut AgreementSet = Arc::make_mut(&mut next.agreements);
    let signed = Arc::make_mut(&mut next.signed);
    for one in verified {
        match one.agreement {
            Some(agreement) => agreements.insert(one.signed.epoch, agreement),
            None => drop(agreements.remove(steward, &one.signed.name)),
        }
        signed.insert((steward.clone(), one.signed.name.clone()), one.signed);
    }
}
