//! TLS: who this node says it is, and whose word it takes.
//!
//! A node has one certificate, which it shows to clients and to other nodes, on connections that it accepts and on those
//! it makes. Other nodes must show one of `tls.ca` for the DNS name that is their `node.name`; the certificate of one node
//! is no good for another's name. So whoever can have certificates of that authority made decides who is in the
//! cluster: it should be for nodes only. Clients are checked against `tls.client_ca`, if there is one.
//!
//! The files are read again when they change. Connections that stand stay as they are; new ones use what is new.

use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::config;
use crate::stream::Stream;

/// Why a file of `[tls]` cannot be used.
#[derive(Debug)]
pub struct TlsError {
    key: &'static str,
    path: PathBuf,
    why: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, path, why } = self;
        write!(f, "{key} = {:?}: {why}; `leasehold certs` makes files to try with", path.display())
    }
}

impl std::error::Error for TlsError {}

/// The files, and what was last made of them.
#[derive(Debug)]
pub(crate) struct Tls {
    files: config::Tls,
    current: RwLock<Arc<Material>>,
}

/// What the files say.
#[derive(Debug)]
struct Material {
    /// Their bytes, to tell when they change.
    read: Vec<Vec<u8>>,
    for_clients: Arc<ServerConfig>,
    for_peers: Arc<ServerConfig>,
    to_peers: Arc<ClientConfig>,
}

/// A peer's certificate, of an authority that is trusted. What it is good for is still to be seen.
#[derive(Debug)]
pub(crate) struct Shown(CertificateDer<'static>);

impl Shown {
    /// Whether it is for the node of this name.
    pub(crate) fn is_of(&self, node: &str) -> bool {
        let Ok(name) = host_name(node) else { return false };
        ParsedCertificate::try_from(&self.0)
            .is_ok_and(|certificate| verify_server_name(&certificate, &name).is_ok())
    }
}

/// A node's name as one that a certificate can be for.
pub(crate) fn host_name(node: &str) -> Result<ServerName<'static>, String> {
    match ServerName::try_from(node.to_owned()) {
        Ok(name @ ServerName::DnsName(_)) => Ok(name),
        Ok(_) | Err(_) => {
            Err(format!("{node:?} is no host name, so that no certificate can be for it"))
        }
    }
}

impl Tls {
    /// Reads the files.
    pub(crate) fn load(files: &config::Tls) -> Result<Self, TlsError> {
        let current = RwLock::new(Arc::new(Material::read(files)?));
        Ok(Self { files: files.clone(), current })
    }

    /// Reads the files again. Whether they changed; if they cannot be used, what was there stays.
    pub(crate) fn reload(&self) -> Result<bool, TlsError> {
        let new = Material::read(&self.files)?;
        if new.read == self.current().read {
            return Ok(false);
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        Ok(true)
    }

    fn current(&self) -> Arc<Material> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shakes hands with a client.
    pub(crate) async fn accept_client(&self, stream: TcpStream) -> io::Result<Stream> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.current().for_clients));
        Ok(Stream::Tls(Box::new(acceptor.accept(stream).await?.into())))
    }

    /// Shakes hands with a node that dialled.
    pub(crate) async fn accept_peer(&self, stream: TcpStream) -> io::Result<(Stream, Shown)> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.current().for_peers));
        let stream = acceptor.accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let shown = shown.ok_or_else(|| io::Error::other("no certificate was shown"))?;
        let shown = Shown(shown.clone().into_owned());
        Ok((Stream::Tls(Box::new(stream.into())), shown))
    }

    /// Shakes hands with the node of this name, which was dialled.
    pub(crate) async fn connect_peer(&self, stream: TcpStream, node: &str) -> io::Result<Stream> {
        let name = host_name(node).map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::clone(&self.current().to_peers));
        Ok(Stream::Tls(Box::new(connector.connect(name, stream).await?.into())))
    }
}

/// The bytes of the files, by the key that names each.
struct Files<'a> {
    files: &'a config::Tls,
    read: Vec<Vec<u8>>,
}

impl Files<'_> {
    fn bytes(&mut self, key: &'static str, path: &PathBuf) -> Result<&[u8], TlsError> {
        let error = |error: io::Error| TlsError { key, path: path.clone(), why: error.to_string() };
        self.read.push(fs::read(path).map_err(error)?);
        Ok(self.read.last().map(Vec::as_slice).unwrap_or_default())
    }

    fn certificates(
        &mut self,
        key: &'static str,
        path: &PathBuf,
    ) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let wrong = |why: String| TlsError { key, path: path.clone(), why };
        let certificates: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(self.bytes(key, path)?).collect();
        match certificates {
            Ok(some) if !some.is_empty() => Ok(some),
            Ok(_) => Err(wrong("there is no certificate in PEM in it".into())),
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    fn roots(&mut self, key: &'static str, path: &PathBuf) -> Result<Arc<RootCertStore>, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates(key, path)? {
            let wrong = |error: Error| TlsError { key, path: path.clone(), why: error.to_string() };
            roots.add(certificate).map_err(wrong)?;
        }
        Ok(Arc::new(roots))
    }

    /// The node's certificate and key.
    fn identity(
        &mut self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let files = self.files;
        let chain = self.certificates("tls.cert", &files.cert)?;
        let (key, path) = ("tls.key", &files.key);
        let bytes = self.bytes(key, path)?;
        let private = PrivateKeyDer::from_pem_slice(bytes).map_err(|error| {
            let why = format!("there is no private key in PEM in it ({error})");
            TlsError { key, path: path.clone(), why }
        })?;
        Ok((chain, private))
    }
}

impl Material {
    fn read(files: &config::Tls) -> Result<Self, TlsError> {
        let mut read = Files { files, read: Vec::new() };
        let (chain, key) = read.identity()?;
        let authority = read.roots("tls.ca", &files.ca)?;
        let of_clients = match &files.client_ca {
            Some(path) => Some(read.roots("tls.client_ca", path)?),
            None => None,
        };
        let at = |key, path: &PathBuf| {
            let path = path.clone();
            move |why: String| TlsError { key, path, why }
        };
        let cert = || at("tls.cert", &files.cert);
        let provider = Arc::new(ring::default_provider());
        let for_peers = server(&provider, Some(&authority), (&chain, &key)).map_err(cert())?;
        let for_clients = server(&provider, of_clients.as_ref(), (&chain, &key)).map_err(cert())?;
        let to_peers = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| cert()(error.to_string()))?
            .with_root_certificates(authority)
            .with_client_auth_cert(chain, key)
            .map_err(|error| cert()(error.to_string()))?;
        Ok(Self { read: read.read, for_clients, for_peers, to_peers: Arc::new(to_peers) })
    }
}

/// What is said on accepted connections; `authority` is who must have signed the other end's certificate.
fn server(
    provider: &Arc<CryptoProvider>,
    authority: Option<&Arc<RootCertStore>>,
    (chain, key): (&[CertificateDer<'static>], &PrivateKeyDer<'static>),
) -> Result<Arc<ServerConfig>, String> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match authority {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let (authority, provider) = (Arc::clone(authority), Arc::clone(provider));
            let verifier = WebPkiClientVerifier::builder_with_provider(authority, provider);
            builder.with_client_cert_verifier(verifier.build().map_err(|error| error.to_string())?)
        }
    };
    let config = builder.with_single_cert(chain.to_vec(), key.clone_key());
    config.map(Arc::new).map_err(|error| format!("it does not go with tls.key ({error})"))
}
