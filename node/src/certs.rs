//! A certificate authority for development: certificates for nodes and clients, made here and good for ten years.
//!
//! It is for clusters to try with. In production, certificates come from where an organisation's certificates come
//! from; what a node needs of them is said in [`config::Tls`].

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use sha2::{Digest, Sha256};

use crate::clock::Clock;
use crate::config;

/// The authority's files in their folder.
const CA_CERT: &str = "ca.pem";
const CA_KEY: &str = "ca.key";
/// For how many years certificates are good.
const YEARS: i32 = 10;
/// A client's certificate must not be good for a node, so its name is never one that a node would have here.
const CLIENT_SUFFIX: &str = ".client";

/// Why a certificate cannot be made.
#[derive(Debug)]
pub enum CertsError {
    /// A file cannot be read or written.
    File(PathBuf, io::Error),
    /// The name cannot stand in a certificate, or the authority's key is none.
    Making(String, rcgen::Error),
    /// Nodes and clients are not called like this.
    Name(String),
}

impl fmt::Display for CertsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, error) if error.kind() == io::ErrorKind::AlreadyExists => {
                write!(
                    f,
                    "{} is there already; move it away to have a new one made",
                    path.display()
                )
            }
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Making(what, error) => write!(f, "{what}: {error}"),
            Self::Name(name) => write!(
                f,
                "{name:?} is no name for a node or a client: write at most 64 letters, digits, dots, dashes and \
                 underscores, and for a node nothing that ends with {CLIENT_SUFFIX}"
            ),
        }
    }
}

impl std::error::Error for CertsError {}

/// An authority in a folder.
pub struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    this_year: i32,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Authority {
    /// The authority in `folder`; a new one if there is none.
    ///
    /// # Errors
    ///
    /// If its files cannot be read, written or understood.
    pub fn open(folder: &Path, clock: Clock) -> Result<Self, CertsError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            |error| CertsError::File(path, error)
        };
        fs::create_dir_all(folder).map_err(failed(folder))?;
        let this_year = year(clock);
        let path = folder.join(CA_KEY);
        let making = |error| CertsError::Making("the authority".into(), error);
        let key = match fs::read_to_string(&path) {
            Ok(pem) => KeyPair::from_pem(&pem).map_err(making)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = KeyPair::generate().map_err(making)?;
                let certificate = authority(&key, this_year).self_signed(&key).map_err(making)?;
                write(&folder.join(CA_CERT), &certificate.pem(), false)?;
                write(&path, &key.serialize_pem(), true)?;
                key
            }
            Err(error) => return Err(failed(&path)(error)),
        };
        let issuer = Issuer::new(authority(&key, this_year), key);
        Ok(Self { folder: folder.to_owned(), issuer, this_year })
    }

    /// Makes `NAME.pem` and `NAME.key` for a node, good for its name and these hosts.
    ///
    /// # Errors
    ///
    /// If one of the files is there already or cannot be written, or a name cannot stand in a certificate.
    pub fn node(&self, name: &str, hosts: &[String]) -> Result<(), CertsError> {
        if name.ends_with(CLIENT_SUFFIX) {
            return Err(CertsError::Name(name.to_owned()));
        }
        let mut names = vec![name.to_owned()];
        names.extend_from_slice(hosts);
        // A node shows it to clients that dial, and to the nodes that it dials.
        let uses = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.make(name, names, uses.into())
    }

    /// Makes `NAME.pem` and `NAME.key` for a client.
    ///
    /// # Errors
    ///
    /// As for [`Authority::node`].
    pub fn client(&self, name: &str) -> Result<(), CertsError> {
        let names = vec![format!("{name}{CLIENT_SUFFIX}")];
        self.make(name, names, vec![ExtendedKeyUsagePurpose::ClientAuth])
    }

    fn make(
        &self,
        name: &str,
        names: Vec<String>,
        uses: Vec<ExtendedKeyUsagePurpose>,
    ) -> Result<(), CertsError> {
        if name.starts_with('.') || !config::is_name(name) {
            return Err(CertsError::Name(name.to_owned()));
        }
        let making = |error| CertsError::Making(format!("{name:?}"), error);
        let mut params = CertificateParams::new(names).map_err(making)?;
        params.distinguished_name = called(name);
        params.extended_key_usages = uses;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        good_for_years(&mut params, self.this_year);
        let key = KeyPair::generate().map_err(making)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(making)?;
        write(&self.folder.join(format!("{name}.pem")), &certificate.pem(), false)?;
        write(&self.folder.join(format!("{name}.key")), &key.serialize_pem(), true)
    }
}

/// The authority's own certificate. It signs with the same name and key whenever it is opened again; another one has
/// another name, so that an error can tell that it is another.
fn authority(key: &KeyPair, this_year: i32) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mark = Sha256::digest(key.public_key_raw());
    let mark: String = mark.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name = called(&format!("Leasehold development authority {mark}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    good_for_years(&mut params, this_year);
    params
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}

/// From last year's first day, so that nobody's clock is too early.
fn good_for_years(params: &mut CertificateParams, this_year: i32) {
    params.not_before = date_time_ymd(this_year - 1, 1, 1);
    params.not_after = date_time_ymd(this_year + YEARS, 1, 1);
}

/// The year, or the one before or after around New Year.
fn year(clock: Clock) -> i32 {
    const MICROS: u64 = 31_556_952 * 1_000_000;
    1970 + i32::try_from(clock.wall() / MICROS).unwrap_or(0).min(1_000)
}

/// Writes a new file; nobody else may read a `secret`.
///
/// # Errors
///
/// If it is there already, or cannot be written.
pub fn write(path: &Path, text: &str, secret: bool) -> Result<(), CertsError> {
    let mode = if secret { 0o600 } else { 0o644 };
    let mut options = File::options();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| CertsError::File(path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_authority_goes_on_where_it_was_and_overwrites_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
        let first = Authority::open(folder.path(), Clock::system()).unwrap();
        first.node("a", &["127.0.0.1".into()]).unwrap();
        let (ca, a) = (read("ca.pem"), read("a.pem"));
        let again = Authority::open(folder.path(), Clock::system()).unwrap();
        again.client("me").unwrap();
        let error = again.node("a", &[]).unwrap_err().to_string();
        assert!(error.contains("a.pem is there already"), "{error}");
        assert_eq!((ca, a), (read("ca.pem"), read("a.pem")));
        for key in ["ca.key", "a.key", "me.key"] {
            let mode = fs::metadata(folder.path().join(key)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{key} is for its owner only");
        }
    }

    #[test]
    fn names_that_cannot_be_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), Clock::system()).unwrap();
        assert!(authority.node("me.client", &[]).unwrap_err().to_string().contains(CLIENT_SUFFIX));
        authority.node("ä", &[]).unwrap_err();
        authority.node("../a", &[]).unwrap_err();
        fs::write(folder.path().join("ca.key"), "no key").unwrap();
        Authority::open(folder.path(), Clock::system()).map(drop).unwrap_err();
    }
}
