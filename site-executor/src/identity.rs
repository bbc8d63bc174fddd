//! Who is at the other end of a connection: the place that a client certificate names in a URI, in SPIFFE form. That the
//! federation's authority issued the certificate has been checked by TLS before.

use dynamos_proto::ids::SiteId;
use dynamos_proto::status::{Code, ServiceError};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What the URI of a place's certificate begins with.
pub const PLACE_URI: &str = "spiffe://dynamos/place/";

/// The DNS name by which a client recognises a place's certificate.
pub fn server_name(place: &SiteId) -> String {
    format!("{place}.dynamos")
}

/// The place that made this request.
pub(crate) fn caller<T>(request: &tonic::Request<T>) -> Result<SiteId, ServiceError> {
    let unknown =
        || ServiceError::new(Code::Unauthenticated, "the client certificate names no place of the federation");
    let certificates = request.peer_certs().ok_or_else(unknown)?;
    let leaf = certificates.first().ok_or_else(unknown)?;
    place_of(leaf.as_ref()).ok_or_else(unknown)
}

/// The one place that a certificate names; none if it names none or several.
fn place_of(der: &[u8]) -> Option<SiteId> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let mut places = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix(PLACE_URI).map(SiteId::new),
        _ => None,
    });
    let first = places.next()?;
    places.next().is_none().then_some(first)
}
