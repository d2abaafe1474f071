//! Who the client talks to and who it says it is: TLS, and a secret token in the greeting.
//!
//! Certificates and keys come as PEM. The cryptography is rustls with ring; there is no way to leave a certificate
//! unchecked.

use std::fmt;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use crate::error::Cause;

/// Bytes both ways, encrypted or not.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug> Transport for T {}

/// TLS towards the nodes: whose certificates are trusted, and the client's own, if it has one.
///
/// ```no_run
/// use leasehold_client::{Options, Tls};
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let tls = Tls::trusting(&std::fs::read("ca.pem")?)?
///     .identity(&std::fs::read("me.pem")?, &std::fs::read("me.key")?)?;
/// let options = Options::new().tls(tls);
/// # let _ = options;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tls {
    roots: Arc<RootCertStore>,
    server_name: Option<ServerName<'static>>,
    config: Arc<ClientConfig>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// Why certificates or keys cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// What should be certificates is not PEM, or holds none.
    #[error("no certificate in PEM: {0}")]
    Certificate(String),
    /// What should be a private key is not PEM, or holds none.
    #[error("no private key in PEM: {0}")]
    Key(String),
    /// The key does not belong to the certificate, or is of a kind that is not supported.
    #[error("the certificate and key do not make an identity: {0}")]
    Identity(String),
    /// Neither a host name nor an IP address.
    #[error("{0:?} is neither a host name nor an IP address")]
    ServerName(String),
}

impl Tls {
    /// Trusts nodes whose certificate one of these authorities signed, and no other: the system's own list is not
    /// asked.
    ///
    /// # Errors
    ///
    /// [`TlsError::Certificate`].
    pub fn trusting(authorities: &[u8]) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(authorities)? {
            roots.add(certificate).map_err(|error| TlsError::Certificate(error.to_string()))?;
        }
        let roots = Arc::new(roots);
        let config = Arc::new(configure(&roots, None)?);
        Ok(Self { roots, server_name: None, config })
    }

    /// Shows this certificate (its chain, the own one first) to nodes that ask who the client is.
    ///
    /// # Errors
    ///
    /// [`TlsError::Certificate`], [`TlsError::Key`] or [`TlsError::Identity`].
    pub fn identity(mut self, chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = certificates(chain)?;
        let key =
            PrivateKeyDer::from_pem_slice(key).map_err(|error| TlsError::Key(error.to_string()))?;
        self.config = Arc::new(configure(&self.roots, Some((chain, key)))?);
        Ok(self)
    }

    /// Expects this name in every node's certificate, in place of the host in the address that is dialled.
    ///
    /// # Errors
    ///
    /// [`TlsError::ServerName`].
    pub fn server_name(mut self, name: &str) -> Result<Self, TlsError> {
        self.server_name = Some(parse(name)?);
        Ok(self)
    }

    /// Encrypts a connection that was made to `address`.
    pub(crate) async fn wrap(
        &self,
        address: &str,
        stream: TcpStream,
    ) -> Result<Box<dyn Transport>, Cause> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => parse(host(address)).map_err(|error| Cause::Tls(error.to_string()))?,
        };
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let stream = connector.connect(name, stream).await;
        Ok(Box::new(stream.map_err(|error| Cause::Tls(error.to_string()))?))
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(TlsError::Certificate("there is none in it".into()))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(TlsError::Certificate(error.to_string())),
    }
}

fn configure(
    roots: &Arc<RootCertStore>,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> Result<ClientConfig, TlsError> {
    let identity_error = |error: tokio_rustls::rustls::Error| TlsError::Identity(error.to_string());
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(identity_error)?
        .with_root_certificates(Arc::clone(roots));
    match identity {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(identity_error),
        None => Ok(builder.with_no_client_auth()),
    }
}

fn parse(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName(name.to_owned()))
}

/// The host in `host:port`, without the brackets of an IPv6 address.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// A secret that is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_an_error_that_says_so() {
        for bad in [&b""[..], b"no pem", b"-----BEGIN CERTIFICATE-----\n!!\n"] {
            let error = Tls::trusting(bad).unwrap_err();
            assert!(matches!(error, TlsError::Certificate(_)), "{error:?}");
        }
    }

    #[test]
    fn hosts_are_told_from_ports() {
        for (address, expected) in
            [("a.example:7400", "a.example"), ("[::1]:7400", "::1"), ("10.0.0.1:1", "10.0.0.1")]
        {
            assert_eq!(host(address), expected);
            parse(host(address)).unwrap();
        }
        assert!(matches!(parse("no host"), Err(TlsError::ServerName(_))));
    }

    #[test]
    fn a_secret_is_not_shown() {
        let options = crate::Options::new().token("hush");
        assert!(!format!("{options:?}").contains("hush"));
    }
}
