//! All agreements that a place holds, and the only way to change a steward's own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dynamos_planner::function::engine_state;
use dynamos_planner::policy::purpose::SHIPPED_VERSION;
use dynamos_planner::policy::{
    Agreement, AgreementSet, Flaw, KnownNames, RawTables, refuse_renumbered, refuse_unimplemented, refuse_unknown,
    refuse_unresolved, retired,
};
use dynamos_planner::sql::{DynamosStatement, WordPositions, parse_statement, word_positions};
use dynamos_proto::ids::SiteId;
use dynamos_proto::sign::{PublicKey, SigningKey, agreement_bytes};
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::token::Claims;
use dynamos_proto::v1::SignedAgreement;
use serde::de::DeserializeOwned;

use super::files::{self, ForeignRecord, Record};
use crate::config::{PlaceKind, SiteConfig};
use crate::error::SiteError;

/// The role that a steward's own organisation gives to those who decide about its agreements.
const STEWARD_ROLE: &str = "steward";

/// The agreements at a place. INVARIANT(epochs_rise): an agreement is held in the newest version that was ever seen here;
/// a steward's own version is on disk before anybody is told of it, another steward's before anything is done under it.
#[derive(Debug)]
pub(crate) struct AgreementBook {
    pub(super) place: SiteId,
    pub(super) key: Option<SigningKey>,
    pub(super) peers: BTreeMap<SiteId, PublicKey>,
    path: PathBuf,
    /// What the steward's agreements can be about.
    tables: Arc<RawTables>,
    /// What else they can name.
    names: KnownNames,
    pub(super) own: BTreeMap<String, Record>,
    /// Newest version seen of each agreement of another steward, revoked ones included.
    pub(super) seen: BTreeMap<(SiteId, String), ForeignRecord>,
    pub(super) seen_path: PathBuf,
    /// Shared with queries that run under it; replaced at a change.
    pub(super) held: Arc<AgreementSet>,
}

impl AgreementBook {
    /// Reads what is on disk, then the files of `agreements_dir`.
    pub(crate) fn load(
        config: &SiteConfig,
        peers: BTreeMap<SiteId, PublicKey>,
        tables: Arc<RawTables>,
        names: KnownNames,
    ) -> Result<Self, SiteError> {
        let key = match (&config.keys.signing, config.site.kind) {
            (Some(path), PlaceKind::Steward) => Some(read_key(path, &config.site.name)?),
            (Some(_) | None, PlaceKind::Steward | PlaceKind::Provider | PlaceKind::Coordinator) => None,
        };
        let path = config.site.state_dir.join("agreements.json");
        let seen_path = config.site.state_dir.join("foreign_agreements.json");
        let mut book = Self {
            place: config.site.name.clone(),
            key,
            peers,
            tables,
            names,
            own: BTreeMap::new(),
            seen: BTreeMap::new(),
            held: Arc::default(),
            path: path.clone(),
            seen_path: seen_path.clone(),
        };
        for record in read(&path)? {
            book.put_back(record)?;
        }
        for seen in read(&seen_path)? {
            book.put_back_foreign(seen)?;
        }
        if let Some(folder) = &config.site.agreements_dir {
            book.read_folder(folder)?;
        }
        book.report_unresolved();
        Ok(book)
    }

    /// The tables may have changed since an agreement was made. What it can no longer be applied to is not shown under it;
    /// the steward must learn why. A name that is not known any more matches nothing.
    fn report_unresolved(&self) {
        for held in self.held.of(&self.place) {
            for problem in refuse_unimplemented(&held.agreement).err().into_iter().flatten() {
                tracing::error!(agreement = %held.agreement.name, %problem, "an agreement is not carried out as it is; alter it");
            }
            for problem in refuse_unresolved(&held.agreement, &self.tables, &engine_state()).err().into_iter().flatten()
            {
                tracing::error!(agreement = %held.agreement.name, %problem, "an agreement does not fit the tables; alter it");
            }
            for problem in refuse_unknown(&held.agreement, &self.names).err().into_iter().flatten() {
                tracing::warn!(agreement = %held.agreement.name, %problem, "an agreement uses a name that is not known here; alter it");
            }
        }
    }

    /// What is held now.
    pub(crate) fn held(&self) -> Arc<AgreementSet> {
        Arc::clone(&self.held)
    }

    /// The steward's own agreements, signed; revoked ones too, so that everybody learns of it.
    pub(crate) fn signed(&self) -> Vec<SignedAgreement> {
        self.own.values().filter_map(|record| self.sign(record)).collect()
    }

    /// The public key of what this steward signs, if it signs anything.
    pub(crate) fn public_key(&self) -> Option<PublicKey> {
        self.key.as_ref().map(SigningKey::public)
    }

    /// Carries out CREATE, ALTER or REVOKE for a person of the steward's own organisation who has the role for it.
    pub(crate) fn change(&mut self, statement: &str, claims: &Claims) -> Result<SignedAgreement, ServiceError> {
        self.must_decide(claims)?;
        let parsed = parse_statement(statement).map_err(|error| ServiceError::new(Code::Syntax, error.to_string()))?;
        let record = match parsed {
            DynamosStatement::CreateAgreement(agreement) => {
                if self.in_force(&agreement.name) {
                    let text = format!("agreement `{}` exists; use ALTER AGREEMENT", agreement.name);
                    return Err(ServiceError::new(Code::InvalidArgument, text));
                }
                self.next_version(&self.enforceable(agreement, statement)?)
            }
            DynamosStatement::AlterAgreement(agreement) => {
                self.must_be_in_force(&agreement.name)?;
                self.next_version(&self.enforceable(agreement, statement)?)
            }
            DynamosStatement::RevokeAgreement { name, steward } => {
                self.must_be_own(&steward)?;
                self.must_be_in_force(&name)?;
                let record = self.own.get(&name).cloned();
                let record = record.ok_or_else(|| ServiceError::new(Code::Internal, "the agreement is not stored"))?;
                Record { epoch: record.epoch + 1, revoked: true, ..record }
            }
            _ => {
                let text = "only CREATE, ALTER and REVOKE AGREEMENT change agreements";
                return Err(ServiceError::new(Code::Unsupported, text));
            }
        };
        self.commit(record)
    }

    /// Whether a statement only simulates an agreement. What CREATE or ALTER would refuse of its text is refused then, in the
    /// same words: only here is it known which numbers of clauses are gone.
    pub(crate) fn simulates(&self, statement: &str, claims: &Claims) -> Result<bool, ServiceError> {
        let Ok(DynamosStatement::SimulateAgreement { agreement, .. }) = parse_statement(statement) else {
            return Ok(false);
        };
        self.must_decide(claims)?;
        self.enforceable(agreement, statement)?;
        Ok(true)
    }

    fn must_decide(&self, claims: &Claims) -> Result<(), ServiceError> {
        if claims.iss == self.place.as_str() && claims.roles.iter().any(|role| role == STEWARD_ROLE) {
            return Ok(());
        }
        let text = format!("only users of `{}` with role `{STEWARD_ROLE}` change its agreements", self.place);
        Err(ServiceError::new(Code::Denied, text))
    }

    fn read_folder(&mut self, folder: &Path) -> Result<(), SiteError> {
        let unusable = |source| SiteError::File { what: "agreements folder", path: folder.to_owned(), source };
        let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(unusable)?;
        let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
        paths.sort();
        let mut given: BTreeMap<String, PathBuf> = BTreeMap::new();
        for path in paths {
            let text = std::fs::read_to_string(&path).map_err(|source| SiteError::File {
                what: "agreement",
                path: path.clone(),
                source,
            })?;
            let problem = |problem: String| SiteError::Agreement { path: path.clone(), problem };
            let agreement = match parse_statement(&text).map_err(|error| problem(error.to_string()))? {
                DynamosStatement::CreateAgreement(agreement) => agreement,
                _ => return Err(problem("it must be one CREATE AGREEMENT statement".to_owned())),
            };
            if let Some(other) = given.insert(agreement.name.clone(), path.clone()) {
                let (name, other) = (&agreement.name, other.display());
                return Err(problem(format!("agreement `{name}` is in `{other}`, too; keep one of the files")));
            }
            let canonical = agreement.to_string();
            let known = self.own.get(&agreement.name).and_then(|record| record.from_file.as_ref());
            if known == Some(&canonical) {
                continue;
            }
            let agreement = self.enforceable(agreement, &text).map_err(|error| problem(error.message))?;
            let record = Record { from_file: Some(canonical), ..self.next_version(&agreement) };
            self.commit(record).map_err(|error| problem(error.message))?;
        }
        let of_files = self.own.values().filter(|record| record.from_file.is_some() && !record.revoked);
        for record in of_files.filter(|record| !given.contains_key(&record.name)) {
            tracing::warn!(
                agreement = %record.name,
                "the agreement's file is gone, and it is in force all the same; REVOKE ends it"
            );
        }
        Ok(())
    }

    fn put_back(&mut self, record: Record) -> Result<(), SiteError> {
        let agreement = parse(&record.text).ok_or_else(|| SiteError::Agreement {
            path: self.path.clone(),
            problem: format!("the stored text of agreement `{}` cannot be read", record.name),
        })?;
        self.hold(&record, agreement);
        self.own.insert(record.name.clone(), record);
        Ok(())
    }

    /// What a steward without a key here once signed is remembered, but not held.
    fn put_back_foreign(&mut self, seen: ForeignRecord) -> Result<(), SiteError> {
        let ForeignRecord { steward, record } = &seen;
        if !record.revoked && self.peers.contains_key(steward) {
            let agreement = parse(&record.text).ok_or_else(|| SiteError::Agreement {
                path: self.seen_path.clone(),
                problem: format!("the stored text of agreement `{}` of `{steward}` cannot be read", record.name),
            })?;
            let mut held = AgreementSet::clone(&self.held);
            held.insert(record.held(agreement));
            self.held = Arc::new(held);
        }
        self.seen.insert((steward.clone(), record.name.clone()), seen);
        Ok(())
    }

    fn hold(&mut self, record: &Record, agreement: Agreement) {
        let mut held = AgreementSet::clone(&self.held);
        held.remove(&self.place, &record.name);
        if !record.revoked {
            held.insert(record.held(agreement));
        }
        self.held = Arc::new(held);
    }

    /// Puts a new version on the disk and in force. Whichever way it came, the numbers of the clauses that it has no more are
    /// remembered.
    pub(super) fn commit(&mut self, mut record: Record) -> Result<SignedAgreement, ServiceError> {
        let internal = |text: &str| ServiceError::new(Code::Internal, text.to_owned());
        let agreement = parse(&record.text).ok_or_else(|| internal("the agreement's canonical text cannot be read"))?;
        let known = self.own.get(&record.name);
        let gone = known.map(|known| known.retired.clone()).unwrap_or_default();
        record.retired = retired(&gone, known.and_then(|known| parse(&known.text)).as_ref(), &agreement);
        let signed = self.sign(&record).ok_or_else(|| internal("this place has no key to sign agreements with"))?;
        let others = self.own.values().filter(|other| other.name != record.name);
        files::write(&self.path, others.chain(std::iter::once(&record))).map_err(|error| {
            tracing::error!(%error, "agreements cannot be stored");
            internal("the agreement cannot be stored; nothing was changed")
        })?;
        tracing::info!(agreement = %record.name, epoch = record.epoch, revoked = record.revoked, "agreement changed");
        self.hold(&record, agreement);
        self.own.insert(record.name.clone(), record);
        Ok(signed)
    }

    fn sign(&self, record: &Record) -> Option<SignedAgreement> {
        let mut signed = SignedAgreement {
            steward: self.place.to_string(),
            name: record.name.clone(),
            epoch: record.epoch,
            text: record.text.clone(),
            signature: Vec::new(),
            revoked: record.revoked,
            purposes: record.purposes,
        };
        signed.signature = self.key.as_ref()?.sign(&agreement_bytes(&signed));
        Some(signed)
    }

    fn next_version(&self, agreement: &Agreement) -> Record {
        let known = self.own.get(&agreement.name);
        Record {
            name: agreement.name.clone(),
            epoch: known.map_or(1, |record| record.epoch + 1),
            text: agreement.to_string(),
            revoked: false,
            purposes: SHIPPED_VERSION,
            from_file: known.and_then(|record| record.from_file.clone()),
            retired: BTreeSet::new(),
        }
    }

    /// The agreement, if it can be enforced on this steward's tables and names only what there is. What is wrong is said with
    /// its place in the text that it was read from.
    fn enforceable(&self, agreement: Agreement, text: &str) -> Result<Agreement, ServiceError> {
        self.must_be_own(&agreement.steward)?;
        let positions = word_positions(text).unwrap_or_default();
        refuse_unimplemented(&agreement).map_err(|refused| refusal(Code::Unsupported, &positions, &refused))?;
        let unresolved = refuse_unresolved(&agreement, &self.tables, &engine_state()).err();
        let unknown = refuse_unknown(&agreement, &self.names).err();
        let refused: Vec<_> = unresolved.into_iter().chain(unknown).flatten().collect();
        if !refused.is_empty() {
            return Err(refusal(Code::InvalidArgument, &positions, &refused));
        }
        self.must_keep_numbers(&agreement, &positions)?;
        Ok(agreement)
    }

    /// An agreement is one for good, revoked or not, as its epochs are: its numbers go on, too.
    fn must_keep_numbers(&self, agreement: &Agreement, positions: &WordPositions) -> Result<(), ServiceError> {
        let Some(known) = self.own.get(&agreement.name) else { return Ok(()) };
        let before = parse(&known.text);
        let before = before.ok_or_else(|| ServiceError::new(Code::Internal, "the version before cannot be read"))?;
        refuse_renumbered(&before, &known.retired, agreement)
            .map_err(|refused| refusal(Code::InvalidArgument, positions, &refused))
    }

    fn must_be_own(&self, steward: &str) -> Result<(), ServiceError> {
        if steward == self.place.as_str() {
            return Ok(());
        }
        let text = format!("`{}` decides about its own agreements only, not about those of `{steward}`", self.place);
        Err(ServiceError::new(Code::InvalidArgument, text))
    }

    fn in_force(&self, name: &str) -> bool {
        self.own.get(name).is_some_and(|record| !record.revoked)
    }

    fn must_be_in_force(&self, name: &str) -> Result<(), ServiceError> {
        if self.in_force(name) {
            return Ok(());
        }
        Err(ServiceError::new(Code::UnknownName, format!("`{}` has no agreement `{name}`", self.place)))
    }
}

/// That an agreement is refused, with all that is wrong and where it stands.
fn refusal<F: Flaw>(code: Code, positions: &WordPositions, flaws: &[F]) -> ServiceError {
    let texts: Vec<String> = positions.locate(flaws).iter().map(ToString::to_string).collect();
    ServiceError::new(code, texts.join("; "))
}

pub(super) fn parse(text: &str) -> Option<Agreement> {
    match parse_statement(text) {
        Ok(DynamosStatement::CreateAgreement(agreement)) => Some(agreement),
        Ok(_) | Err(_) => None,
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, SiteError> {
    files::read(path).map_err(|source| SiteError::File { what: "agreement store", path: path.to_owned(), source })
}

fn read_key(path: &Path, of: &SiteId) -> Result<SigningKey, SiteError> {
    let text = std::fs::read_to_string(path).map_err(|source| SiteError::File {
        what: "signing key",
        path: path.to_owned(),
        source,
    })?;
    SigningKey::from_text(&text).map_err(|source| SiteError::Key { of: of.to_string(), source })
}
