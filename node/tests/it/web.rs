//! A caller over HTTP: one connection, spoken by a client that is not ours.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Far beyond what anything takes here; a test that gets there has failed.
const FOREVER: Duration = Duration::from_secs(60);

/// A connection.
pub(crate) struct Web {
    sender: SendRequest<Full<Bytes>>,
    token: Option<String>,
}

/// TLS with whom this authority knows, showing this certificate with its key, if one is given.
pub(crate) fn trusting(ca: &str, own: Option<(&str, &str)>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match own {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_file_iter(certificate).unwrap();
            let key = PrivateKeyDer::from_pem_file(key).unwrap();
            config.with_client_auth_cert(chain.map(Result::unwrap).collect(), key).unwrap()
        }
    };
    TlsConnector::from(Arc::new(config))
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Web {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap()).await
    }

    /// Over TLS, to the node of this name, with certificates of this authority.
    pub(crate) async fn connect_tls(address: SocketAddr, node: &str, ca: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from(node.to_owned()).unwrap();
        Self::over(trusting(ca, None).connect(name, stream).await.unwrap()).await
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender, token: None }
    }

    /// Shows this token from now on.
    pub(crate) fn bearing(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    async fn send(&mut self, method: &str, path: &str, body: String) -> Response<Incoming> {
        let mut request = Request::builder().method(method).uri(path).header("host", "leasehold");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let answered = async {
            self.sender.ready().await.unwrap();
            self.sender.send_request(request).await.unwrap()
        };
        tokio::time::timeout(FOREVER, answered).await.expect("an answer in time")
    }

    async fn ask(&mut self, method: &str, path: &str, body: String) -> Answer {
        let response = self.send(method, path, body).await;
        let status = response.status().as_u16();
        let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap());
        let kind = kind.unwrap_or_default().to_owned();
        let body = tokio::time::timeout(FOREVER, response.into_body().collect()).await;
        let bytes = body.expect("a body in time").unwrap().to_bytes();
        Answer { status, kind, text: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, String::new()).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, body.to_string()).await
    }

    pub(crate) async fn post_text(&mut self, path: &str, body: &str) -> Answer {
        self.ask("POST", path, body.to_owned()).await
    }

    /// Begins to watch.
    pub(crate) async fn watch(mut self, path: &str) -> Events {
        let response = self.send("GET", path, String::new()).await;
        assert_eq!(response.status().as_u16(), 200);
        Events { _web: self, body: response.into_body(), text: String::new() }
    }
}

/// Server-sent events under way.
pub(crate) struct Events {
    /// The connection ends with it.
    _web: Web,
    body: Incoming,
    text: String,
}

impl Events {
    /// The next event: its name and what it says. `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let member = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                // Signs of life are comments.
                if let (Some(name), Some(data)) = (member("event: "), member("data: ")) {
                    return Some((name.to_owned(), serde_json::from_str(data).unwrap()));
                }
                continue;
            }
            let frame = tokio::time::timeout(FOREVER, self.body.frame()).await;
            match frame.expect("an event in time") {
                Some(Ok(frame)) => {
                    let bytes = frame.into_data().unwrap();
                    self.text.push_str(str::from_utf8(&bytes).unwrap());
                }
                Some(Err(_)) | None => return None,
            }
        }
    }
}
