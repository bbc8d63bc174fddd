//! Who may register with what, and how silence is noticed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::{IpcMessage, SchemaAsIpc};
use async_trait::async_trait;
use datafusion::common::ScalarValue;
use dynamos_planner::catalog::{Availability, EntityScope, FederatedTable, SiteKind, TableName};
use dynamos_proto::ids::SiteId;
use dynamos_proto::sign::{SigningKey, agreement_bytes};
use dynamos_proto::state::command::Change;
use dynamos_proto::state::{Command, Outcome, Row, row};
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1;

use super::members::Members;
use super::place_of_certificate;
use super::places::{KnownPlaces, KnownSite, Registration, Registry, SILENCE_MAX};
use crate::clock::testing::ManualClock;
use crate::consensus::Replication;
use crate::state::{State, lasting};

fn uva() -> SiteId {
    SiteId::new("uva")
}

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).unwrap()
}

pub(crate) fn known(site: &str, kind: SiteKind, seed: Option<u8>) -> KnownSite {
    KnownSite {
        site: SiteId::new(site),
        kind,
        roles: ["university".to_owned()].into(),
        regions: ["eu".to_owned()].into(),
        public_key: seed.map(|seed| key(seed).public()),
    }
}

fn registry() -> (Registry, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    let sites = vec![
        known("uva", SiteKind::Steward, Some(1)),
        known("vu", SiteKind::Steward, Some(2)),
        known("surf", SiteKind::Provider, None),
    ];
    let registry = Registry::new(KnownPlaces { sites, ..KnownPlaces::default() }, Arc::clone(&clock) as _);
    (registry, clock)
}

/// Members of whom nothing is kept, but in the same state machine as it would be.
pub(crate) fn unreplicated(registry: &Arc<Registry>) -> Members {
    Members::new(Arc::clone(registry), Arc::new(Unreplicated { registry: Arc::clone(registry), log: Mutex::default() }))
}

struct Unreplicated {
    registry: Arc<Registry>,
    log: Mutex<(u64, State)>,
}

#[async_trait]
impl Replication for Unreplicated {
    async fn replicate(&self, change: Change) -> Result<Outcome, ServiceError> {
        let mut log = self.log.lock().unwrap();
        log.0 += 1;
        let (index, request) = (log.0, log.0.to_be_bytes().to_vec());
        let applied = log.1.apply(index, Command { request, change: Some(change) });
        let rows: Vec<_> = applied.effects.into_iter().filter_map(|(_, row)| row).collect();
        self.registry.put(&rows);
        Ok(applied.outcome)
    }
}

pub(crate) fn agreement(name: &str, epoch: u64, seed: u8) -> v1::SignedAgreement {
    let text = format!(
        "CREATE AGREEMENT {name} ON SITE uva FOR ANYONE PURPOSE statistics AS (RELEASE count OF * FROM personen MINIMUM 10 DISTINCT unieknr)"
    );
    let text = dynamos_planner::sql::parse_agreement(&text).unwrap().to_string();
    signed(
        v1::SignedAgreement {
            steward: "uva".into(),
            name: name.into(),
            epoch,
            text,
            purposes: 1,
            ..Default::default()
        },
        seed,
    )
}

pub(crate) fn signed(mut agreement: v1::SignedAgreement, seed: u8) -> v1::SignedAgreement {
    agreement.signature = key(seed).sign(&agreement_bytes(&agreement));
    agreement
}

fn table() -> v1::Table {
    let schema =
        Schema::new(vec![Field::new("unieknr", DataType::Utf8, false), Field::new("salschal", DataType::Int64, true)]);
    let message = IpcMessage::try_from(SchemaAsIpc::new(&schema, &IpcWriteOptions::default())).unwrap();
    let bounds = v1::ColumnStatistics { min: Some("1".into()), max: Some("18".into()), ..Default::default() };
    v1::Table {
        schema: "wages".into(),
        name: "personen".into(),
        arrow_schema: message.0.to_vec(),
        rows: 100,
        columns: vec![v1::ColumnStatistics::default(), bounds],
        entity: "unieknr".into(),
        ..Default::default()
    }
}

pub(crate) fn announcement() -> v1::Announcement {
    v1::Announcement {
        site: "uva".into(),
        uri: "https://127.0.0.1:1".into(),
        kind: "steward".into(),
        roles: vec!["university".into()],
        region: "eu".into(),
        tables: vec![table()],
        agreements: vec![agreement("a", 3, 1)],
    }
}

fn refusal(change: impl FnOnce(&mut v1::Announcement)) -> ServiceError {
    let (registry, _) = registry();
    let mut announcement = announcement();
    change(&mut announcement);
    let error = registry.register(&uva(), &announcement).unwrap_err();
    assert!(!registry.snapshot().catalog.sites.contains_key(&uva()), "a refusal changes nothing");
    error
}

#[test]
fn takes_in_tables_statistics_and_agreements() {
    let (registry, _) = registry();
    let before = registry.snapshot();
    let version = registry.register(&uva(), &announcement()).unwrap();
    let after = registry.snapshot();
    assert!(version > before.catalog.version && version == after.catalog.version);
    assert!(!before.is_up(&uva()) && after.is_up(&uva()));
    let table = after.catalog.table(&uva(), &TableName::new("wages", "personen")).unwrap();
    assert_eq!(table.statistics.columns["salschal"].max, Some(ScalarValue::Int64(Some(18))));
    assert_eq!(table.entity.as_ref().unwrap().scope, EntityScope::Local);
    assert_eq!(after.agreements.get(&uva(), "a").unwrap().epoch, 3);
    assert_eq!(after.original(&uva(), "a"), Some(&agreement("a", 3, 1)));
}

#[test]
fn refuses_a_site_that_speaks_for_another_or_is_not_known() {
    let (registry, _) = registry();
    let error = registry.register(&SiteId::new("vu"), &announcement()).unwrap_err();
    assert_eq!((error.code, error.message.contains("cannot speak for site `uva`")), (Code::Denied, true));
    assert_eq!(registry.heartbeat(&SiteId::new("vu"), "uva").unwrap_err().code, Code::Denied);
    let stranger = v1::Announcement { site: "x".into(), ..announcement() };
    assert_eq!(registry.register(&SiteId::new("x"), &stranger).unwrap_err().code, Code::Denied);
}

#[test]
fn refuses_agreements_that_the_steward_did_not_sign() {
    let forged = refusal(|one| one.agreements = vec![agreement("a", 3, 2)]);
    assert_eq!((forged.code, forged.message.contains("signature")), (Code::Denied, true));
    let altered = refusal(|one| one.agreements[0].epoch = 4);
    assert_eq!(altered.code, Code::Denied);
    let foreign = v1::SignedAgreement { steward: "vu".into(), ..agreement("a", 3, 1) };
    assert_eq!(refusal(|one| one.agreements = vec![signed(foreign, 2)]).code, Code::Denied);
    let renamed = v1::SignedAgreement { name: "b".into(), ..agreement("a", 3, 1) };
    assert_eq!(refusal(|one| one.agreements = vec![signed(renamed, 1)]).code, Code::InvalidArgument);
}

#[test]
fn refuses_claims_that_the_operator_did_not_make() {
    for error in [
        refusal(|one| one.kind = "provider".into()),
        refusal(|one| one.roles = vec!["compute_provider".into()]),
        refusal(|one| one.region = "us".into()),
        refusal(|one| one.tables[0].arrow_schema = vec![1, 2, 3]),
        refusal(|one| one.tables[0].entity = "nobody".into()),
        refusal(|one| one.tables.push(table())),
    ] {
        assert_eq!(error.code, Code::InvalidArgument, "{error}");
    }
    let bound = refusal(|one| one.tables[0].columns[1].min = Some("secret".into()));
    assert!(bound.message.contains("`salschal`") && !bound.message.contains("secret"), "{bound}");
}

#[test]
fn c4_a_federated_table_has_the_same_stewards_for_everybody() {
    let between = |own: &[&str], known: &[&str]| {
        let stewards = known.iter().map(|name| SiteId::new(*name)).collect();
        let federated = [(TableName::new("wages", "personen"), FederatedTable { stewards })].into();
        let mut announcement = announcement();
        announcement.tables[0].stewards = own.iter().map(|name| (*name).to_owned()).collect();
        super::announcement::same_stewards(&uva(), &announcement, &federated)
    };
    between(&["vu", "uva"], &["uva", "vu"]).unwrap();
    // Others may have a table of this name that is none of this site's business.
    between(&[], &["vu", "amc"]).unwrap();
    for (own, known) in
        [(&["uva", "vu"][..], &["uva", "vu", "amc"][..]), (&[], &["uva", "vu"]), (&["uva", "vu"], &["vu"])]
    {
        let error = between(own, known).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument);
        assert!(error.message.contains("`uva` says that `wages.personen` is federated between"), "{error}");
    }
    // A site that says so is not let in.
    let error = refusal(|one| one.tables[0].stewards = vec!["uva".into(), "vu".into()]);
    assert!(error.message.contains("but here it is between nobody"), "{error}");
}

#[test]
fn epochs_only_rise_also_over_a_revocation() {
    let (registry, clock) = registry();
    registry.register(&uva(), &announcement()).unwrap();
    let older = v1::Announcement { agreements: vec![agreement("a", 2, 1)], ..announcement() };
    assert_eq!(registry.register(&uva(), &older).unwrap_err().code, Code::StaleBasis);
    let revoked = v1::SignedAgreement { revoked: true, text: String::new(), ..agreement("a", 4, 1) };
    registry.update_agreements(&uva(), &[signed(revoked, 1)]).unwrap();
    assert!(registry.snapshot().agreements.get(&uva(), "a").is_none());
    assert!(registry.snapshot().original(&uva(), "a").is_none());
    clock.advance(Duration::from_secs(6));
    assert_eq!(registry.register(&uva(), &announcement()).unwrap_err().code, Code::StaleBasis);
    for epoch in [5, 4] {
        registry.update_agreements(&uva(), &[agreement("a", epoch, 1)]).unwrap();
    }
    assert_eq!(registry.snapshot().agreements.get(&uva(), "a").unwrap().epoch, 5);
}

#[test]
fn a_site_that_has_lost_an_agreement_is_refused_and_the_agreement_stays() {
    let (registry, _) = registry();
    registry.register(&uva(), &announcement()).unwrap();
    let error = registry.register(&uva(), &v1::Announcement { agreements: vec![], ..announcement() }).unwrap_err();
    assert_eq!((error.code, error.message.contains("it is missing but epoch 3 is known")), (Code::StaleBasis, true));
    assert_eq!(registry.snapshot().agreements.get(&uva(), "a").unwrap().epoch, 3);
}

#[test]
fn an_announcement_from_before_a_change_undoes_nothing_and_is_asked_for_again() {
    let (registry, clock) = registry();
    registry.register(&uva(), &announcement()).unwrap();
    registry.update_agreements(&uva(), &[agreement("a", 4, 1), agreement("b", 1, 1)]).unwrap();
    registry.register(&uva(), &announcement()).unwrap();
    let held = registry.snapshot().agreements;
    assert_eq!((held.get(&uva(), "a").unwrap().epoch, held.get(&uva(), "b").unwrap().epoch), (4, 1));
    assert_eq!(registry.heartbeat(&uva(), "uva"), Ok(Registration::Missing));
    clock.advance(Duration::from_secs(6));
    assert_eq!(registry.register(&uva(), &announcement()).unwrap_err().code, Code::StaleBasis);
    let newest = vec![agreement("a", 4, 1), agreement("b", 1, 1)];
    registry.register(&uva(), &v1::Announcement { agreements: newest, ..announcement() }).unwrap();
    assert_eq!(registry.heartbeat(&uva(), "uva"), Ok(Registration::Held));
}

#[test]
fn what_was_kept_is_known_again_but_its_places_are_down_until_they_are_heard() {
    let (registry, _) = registry();
    let kept = [row::Row::Agreement(agreement("a", 3, 1)), row::Row::Place(lasting(&announcement()))];
    registry.put(&kept.map(|row| Row { row: Some(row) }));
    let snapshot = registry.snapshot();
    let table = snapshot.catalog.table(&uva(), &TableName::new("wages", "personen")).unwrap();
    assert_eq!((table.schema.fields().len(), table.statistics.rows), (2, 0));
    assert_eq!(snapshot.agreements.get(&uva(), "a").unwrap().epoch, 3);
    assert!(snapshot.catalog.sites.contains_key(&uva()) && !snapshot.is_up(&uva()));
    assert_eq!(registry.heartbeat(&uva(), "uva"), Ok(Registration::Missing));
    let older = v1::Announcement { agreements: vec![agreement("a", 2, 1)], ..announcement() };
    assert_eq!(registry.register(&uva(), &older).unwrap_err().code, Code::StaleBasis);
    let newer = v1::Announcement { agreements: vec![agreement("a", 5, 1)], ..announcement() };
    registry.register(&uva(), &newer).unwrap();
    assert!(registry.snapshot().is_up(&uva()));
    assert_eq!(registry.snapshot().agreements.get(&uva(), "a").unwrap().epoch, 5);
}

#[test]
fn what_was_kept_under_another_key_is_not_in_force_until_the_steward_signs_it_anew() {
    let (registry, _) = registry();
    registry.put(&[Row { row: Some(row::Row::Agreement(agreement("a", 3, 2))) }]);
    assert!(registry.snapshot().agreements.get(&uva(), "a").is_none());
    assert_eq!(registry.snapshot().epoch(&uva(), "a"), Some(3));
    registry.register(&uva(), &announcement()).unwrap();
    assert_eq!(registry.snapshot().original(&uva(), "a"), Some(&agreement("a", 3, 1)));
}

#[test]
fn silence_is_noticed_and_forgiven() {
    let (registry, clock) = registry();
    assert_eq!(registry.heartbeat(&uva(), "uva"), Ok(Registration::Missing));
    registry.register(&uva(), &announcement()).unwrap();
    let step = Duration::from_secs(1);
    let sweep_after = |seconds: u32| {
        for _ in 0..seconds {
            clock.advance(step);
            registry.sweep();
        }
        registry.snapshot().catalog.sites[&uva()].availability
    };
    assert_eq!(sweep_after(3), Availability::Up);
    assert_eq!(sweep_after(1), Availability::Down);
    assert!(registry.snapshot().is_up(&SiteId::coordinator()));
    let version = registry.snapshot().catalog.version;
    assert_eq!(registry.heartbeat(&uva(), "uva"), Ok(Registration::Held));
    assert!(registry.snapshot().is_up(&uva()) && registry.snapshot().catalog.version > version);
    assert_eq!(sweep_after(3), Availability::Up);
}

#[test]
fn the_coordinators_own_sleep_is_not_the_sites_silence() {
    let (registry, clock) = registry();
    registry.register(&uva(), &announcement()).unwrap();
    clock.advance(SILENCE_MAX * 100);
    registry.sweep();
    assert!(registry.snapshot().is_up(&uva()));
}

#[test]
fn a_certificate_names_exactly_one_place() {
    let certificate = |uris: &[&str]| {
        let mut params = rcgen::CertificateParams::new(vec!["vu.dynamos".to_owned()]).unwrap();
        for uri in uris {
            params.subject_alt_names.push(rcgen::SanType::URI((*uri).try_into().unwrap()));
        }
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    };
    assert_eq!(place_of_certificate(&certificate(&["spiffe://dynamos/place/vu"])), Some(SiteId::new("vu")));
    for uris in [
        &["spiffe://dynamos/place/vu", "spiffe://dynamos/place/uva"][..],
        &["spiffe://dynamos/user/vu"],
        &["spiffe://dynamos/place/vu/x"],
        &["spiffe://dynamos/place/"],
        &[],
    ] {
        assert_eq!(place_of_certificate(&certificate(uris)), None, "{uris:?}");
    }
    assert_eq!(place_of_certificate(b"not a certificate"), None);
}
