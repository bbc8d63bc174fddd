//! Who is at the other end of an mTLS connection: the place that the certificate's URI SAN names. That the certificate
//! is genuine was decided by TLS; what the place may do is decided elsewhere.

use dynamos_proto::ids::SiteId;
use dynamos_proto::status::{Code, ServiceError};
use tonic::Request;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What the URI of a place begins with.
const PLACE_URI: &str = "spiffe://dynamos/place/";

/// The place that calls.
pub fn caller<T>(request: &Request<T>) -> Result<SiteId, ServiceError> {
    let chain = request.peer_certs();
    let certificate = chain.as_ref().and_then(|chain| chain.first());
    certificate.and_then(|certificate| place_of_certificate(certificate)).ok_or_else(|| {
        ServiceError::new(Code::Unauthenticated, "the client certificate names no place of the federation")
    })
}

/// The place that a certificate (DER) names; none if it names none, or more than one.
pub fn place_of_certificate(der: &[u8]) -> Option<SiteId> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let mut places = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix(PLACE_URI),
        _ => None,
    });
    let place = places.next().filter(|place| !place.is_empty() && !place.contains('/'))?;
    places.next().is_none().then(|| SiteId::new(place))
}
