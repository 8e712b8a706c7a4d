//! The CA itself: made once, it signs names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType,
};
use service::settings::Secret;
use service::tls::{Material, PeerName};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use crate::{Error, files};

/// The CA's certificate within its folder.
pub const CA_FILE: &str = "ca.pem";
const KEY_FILE: &str = "ca.key";
/// The lock that changes of the folder are made under.
const LOCK_FILE: &str = "lock";
/// How long the CA's own certificate counts (ten years).
const CA_LIFETIME: Duration = Duration::from_hours(24 * 3650);
/// How far a host's clock may be behind ours, unless the certificate is for less than ten times that.
const CLOCK_SKEW_MAX: Duration = Duration::from_mins(5);

/// A CA in its folder.
pub struct Authority {
    pub(crate) dir: PathBuf,
    ca_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, both new.
#[derive(Debug)]
pub struct Issued {
    /// The certificate, in PEM.
    pub cert: String,
    /// Its key, in PEM.
    pub key: Secret,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a CA in a folder that has none.
    ///
    /// # Errors
    /// There is one, or the folder cannot be written.
    pub fn init(dir: &Path, now_ms: i64) -> Result<Self, Error> {
        files::private_dir(dir)?;
        let _lock = files::lock(&dir.join(LOCK_FILE))?;
        if files::read(&dir.join(KEY_FILE))?.is_some() {
            return Err(Error::There(dir.to_owned()));
        }
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([])?;
        params.distinguished_name.push(DnType::CommonName, "Orch CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = validity(now_ms, CA_LIFETIME);
        let ca_pem = params.self_signed(&key)?.pem();
        files::write(&dir.join(CA_FILE), files::PUBLIC, ca_pem.as_bytes())?;
        // Last: with it the CA is there.
        files::write(&dir.join(KEY_FILE), files::PRIVATE, key.serialize_pem().as_bytes())?;
        Self::open(dir)
    }

    /// Opens the CA of a folder.
    ///
    /// # Errors
    /// There is none, or its files cannot be read.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let text = |name: &str| {
            let path = dir.join(name);
            let bytes = files::read(&path)?.ok_or_else(|| Error::Absent(dir.to_owned()))?;
            String::from_utf8(bytes).map_err(|_| damaged(&path, "it is not text"))
        };
        let (key, ca_pem) = (text(KEY_FILE)?, text(CA_FILE)?);
        let key = KeyPair::from_pem(&key).map_err(|error| damaged(&dir.join(KEY_FILE), error))?;
        let issuer =
            Issuer::from_ca_cert_pem(&ca_pem, key).map_err(|error| damaged(&dir.join(CA_FILE), error))?;
        Ok(Self { dir: dir.to_owned(), ca_pem, issuer })
    }

    /// The CA's certificate, in PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// A new key and a certificate for it. `hosts` are names and addresses for callers that check those, such as curl;
    /// our own check the peer's name.
    ///
    /// # Errors
    /// A host is no name.
    pub fn issue(
        &self,
        name: &PeerName,
        hosts: &[String],
        lifetime: Duration,
        now_ms: i64,
    ) -> Result<Issued, Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(hosts)?;
        describe(&mut params, name, lifetime, now_ms)?;
        let cert = params.signed_by(&key, &self.issuer)?;
        Ok(Issued { cert: cert.pem(), key: Secret::new(key.serialize_pem()) })
    }

    /// The same, as a process holds it.
    ///
    /// # Errors
    /// See [`Authority::issue`].
    pub fn material(
        &self,
        name: &PeerName,
        hosts: &[String],
        lifetime: Duration,
        now_ms: i64,
    ) -> Result<Material, Error> {
        let issued = self.issue(name, hosts, lifetime, now_ms)?;
        Ok(Material {
            ca: self.ca_pem.clone().into_bytes(),
            cert: issued.cert.into_bytes(),
            key: issued.key.expose().as_bytes().to_vec(),
        })
    }

    /// Signs the key of a request under a name; nothing else that the request asks for is granted.
    ///
    /// # Errors
    /// The request cannot be read, or its signature is not by its key.
    pub(crate) fn sign(
        &self,
        request: &Asked,
        name: &PeerName,
        lifetime: Duration,
        now_ms: i64,
    ) -> Result<String, Error> {
        let mut params = CertificateParams::new([])?;
        describe(&mut params, name, lifetime, now_ms)?;
        Ok(params.signed_by(&request.0.public_key, &self.issuer)?.pem())
    }

    /// Holds off other changes of the folder.
    pub(crate) fn lock(&self) -> Result<std::fs::File, Error> {
        files::lock(&self.dir.join(LOCK_FILE))
    }
}

/// A request that was read.
pub(crate) struct Asked(CertificateSigningRequestParams);

impl Asked {
    /// Reads a request and checks that it is signed by its key.
    pub(crate) fn read(pem: &str) -> Result<Self, Error> {
        Ok(Self(CertificateSigningRequestParams::from_pem(pem)?))
    }

    /// Tells one key from another.
    pub(crate) fn key_hash(&self) -> String {
        hex::encode(Sha256::digest(self.0.public_key.der_bytes()))
    }
}

fn describe(
    params: &mut CertificateParams,
    name: &PeerName,
    lifetime: Duration,
    now_ms: i64,
) -> Result<(), Error> {
    params.distinguished_name.push(DnType::CommonName, name.to_string());
    params.subject_alt_names.push(SanType::URI(name.uri().try_into()?));
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    (params.not_before, params.not_after) = validity(now_ms, lifetime);
    Ok(())
}

fn validity(now_ms: i64, lifetime: Duration) -> (OffsetDateTime, OffsetDateTime) {
    let at = |ms: i64| {
        OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    };
    let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let skew = CLOCK_SKEW_MAX.min(lifetime / 10);
    (at(now_ms.saturating_sub(ms(skew))), at(now_ms.saturating_add(ms(lifetime))))
}

pub(crate) fn damaged(path: &Path, problem: impl std::fmt::Display) -> Error {
    Error::Damaged { path: path.to_owned(), problem: problem.to_string() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_ca_is_made_once_and_its_key_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("ca");
        assert!(matches!(Authority::open(&dir), Err(Error::Absent(_))));
        let made = Authority::init(&dir, 0).unwrap();
        assert!(matches!(Authority::init(&dir, 0), Err(Error::There(_))));
        assert_eq!(Authority::open(&dir).unwrap().ca_pem(), made.ca_pem());
        let mode_of = |name: &str| dir.join(name).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode_of(KEY_FILE), mode_of(CA_FILE)), (0o600, 0o644));
        std::fs::write(dir.join(KEY_FILE), "no key").unwrap();
        assert!(matches!(Authority::open(&dir), Err(Error::Damaged { .. })));
    }
}
