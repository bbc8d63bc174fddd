//! What a site offers beside what is known: which of its agreements are new, and which are older than they should be.

use dynamos_planner::catalog::Site;
use dynamos_proto::ids::SiteId;
use dynamos_proto::state::Row;
use dynamos_proto::state::row::Row as Kind;
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1;

use super::agreement::verify;
use super::places::KnownSite;
use super::snapshot::Snapshot;
use crate::state::{Standing, standing};

/// What a site has announced, read and compared with what is known.
pub(super) struct Offered {
    pub(super) caller: SiteId,
    pub(super) site: Site,
    pub(super) place: v1::Announcement,
    /// Whether the place is another than the one that is kept.
    pub(super) moved: bool,
    /// Those that are new.
    pub(super) agreements: Vec<v1::SignedAgreement>,
    /// Whether it may be older than what is known.
    pub(super) doubtful: bool,
}

impl Offered {
    /// What is to be kept of it; none if all of it is.
    pub(super) fn news(&self) -> Option<v1::Announcement> {
        let news = v1::Announcement { agreements: self.agreements.clone(), ..self.place.clone() };
        (self.moved || !self.agreements.is_empty()).then_some(news)
    }

    /// Its rows.
    pub(super) fn rows(&self) -> Vec<Row> {
        let agreements = self.agreements.iter().cloned().map(Kind::Agreement);
        let kinds = agreements.chain([Kind::Place(self.place.clone())]);
        kinds.map(|kind| Row { row: Some(kind) }).collect()
    }
}

/// Offered agreements beside those that are known.
pub(super) struct Compared {
    /// Those that are new; their signatures and texts are checked.
    pub(super) news: Vec<v1::SignedAgreement>,
    /// One error for each that is older.
    pub(super) older: Vec<ServiceError>,
}

/// Compares what a steward offers with what is known of it. The first that is wrong is the error; what is merely older is told
/// apart, for an announcement may have been overtaken on its way.
pub(super) fn compare(
    snapshot: &Snapshot,
    steward: &KnownSite,
    offered: &[v1::SignedAgreement],
) -> Result<Compared, ServiceError> {
    let mut compared = Compared { news: Vec::new(), older: Vec::new() };
    for one in offered {
        let held = snapshot.signed.get(&(steward.site.clone(), one.name.clone()));
        if held == Some(one) {
            continue;
        }
        verify(steward, one)?;
        match standing(held, one) {
            Standing::Newer => compared.news.push(one.clone()),
            Standing::Same => {}
            Standing::Older => compared.older.extend(held.map(|held| rolled_back(held, Some(one)))),
            Standing::Contradicts => {
                let text = format!(
                    "agreement `{}` of `{}`: epoch {} has two different texts",
                    one.name, one.steward, one.epoch
                );
                return Err(stale(text));
            }
        }
    }
    Ok(compared)
}

/// What is wrong with an offered version, or with a missing one, that is older than the one that is held.
pub(super) fn rolled_back(held: &v1::SignedAgreement, offered: Option<&v1::SignedAgreement>) -> ServiceError {
    let v1::SignedAgreement { name, steward, epoch, .. } = held;
    let offered = offered.map_or_else(|| "it is missing".to_owned(), |one| format!("epoch {} is offered", one.epoch));
    stale(format!("agreement `{name}` of `{steward}`: {offered} but epoch {epoch} is known"))
}

fn stale(text: String) -> ServiceError {
    ServiceError::new(Code::StaleBasis, text).with_hint("restore the newest agreements at the site; epochs only rise")
}
