//! TLS for stand-ins.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Clients on Apple's systems reject certificates that are valid for years.
const LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The authority of one stand-in. Clients reject a certificate that is authority and leaf at once.
pub struct CertificateAuthority {
    pub pem: String,
    name: &'static str,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl CertificateAuthority {
    pub fn new(name: &'static str) -> io::Result<Self> {
        let mut params = params(&format!("{name}, test authority"), Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(io::Error::other)?;
        Ok(Self { pem: issuer.pem(), name, issuer })
    }

    /// A leaf certificate for these names and addresses, and its key, as PEM.
    pub fn leaf(&self, names: Vec<String>) -> io::Result<(String, String)> {
        let (leaf, key) = self.signed(names)?;
        Ok((leaf.pem(), key.serialize_pem()))
    }

    fn signed(&self, names: Vec<String>) -> io::Result<(Certificate, KeyPair)> {
        let mut params = params(self.name, names)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // The servers of a Redis cluster are clients of each other.
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().map_err(io::Error::other)?;
        Ok((params.signed_by(&key, &self.issuer).map_err(io::Error::other)?, key))
    }

    /// TLS with a leaf certificate for these names and addresses.
    pub fn acceptor(&self, names: Vec<String>) -> io::Result<TlsAcceptor> {
        let (leaf, key) = self.signed(names)?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(io::Error::other)?;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .map_err(io::Error::other)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn params(name: &str, names: Vec<String>) -> io::Result<CertificateParams> {
    let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::now();
    params.not_before = (now - Duration::from_secs(60 * 60)).into();
    params.not_after = (now + LIFE).into();
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}
