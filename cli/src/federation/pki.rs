//! The federation's own certificate authority and the certificates of its places. A place is known to others by the URI in its
//! certificate, `spiffe://dynamos/place/<name>`.

use std::path::Path;

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};

/// A certificate authority, in memory while certificates are made; its key is never written.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The authority's certificate, PEM.
    pub certificate: String,
}

impl Authority {
    /// A new authority.
    pub fn new() -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "dynamos authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    /// Writes a place's certificate and key into its folder.
    pub fn issue(&self, place: &str, folder: &Path) -> anyhow::Result<()> {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), format!("{place}.dynamos")];
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, place);
        params.subject_alt_names.push(SanType::URI(format!("spiffe://dynamos/place/{place}").try_into()?));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        super::layout::write(&folder.join("cert.pem"), &certificate.pem())?;
        super::layout::write_secret(&folder.join("key.pem"), &key.serialize_pem())?;
        super::layout::write(&folder.join("ca.pem"), &self.certificate).context("the authority's certificate")
    }
}
