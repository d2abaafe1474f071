//! Encrypted connections, against a scripted node that speaks TLS.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};

use super::server::Server;
use super::{connect, options};
use crate::error::Cause;
use crate::{Client, Error, Tls};

/// An authority, and what it signs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
struct Identity {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn sign(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        Identity { certificate: params.signed_by(&key, &self.0).unwrap(), key }
    }

    fn pem(&self) -> String {
        self.0.pem()
    }
}

/// What a node of this identity accepts; with `clients`, only clients that this authority signed.
fn acceptor(own: &Identity, clients: Option<&Authority>) -> TlsAcceptor {
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.0.der().clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let key = PrivateKeyDer::try_from(own.key.serialize_der()).unwrap();
    let config = builder.with_single_cert(vec![own.certificate.der().clone()], key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Why a client with these settings does not get to this node.
async fn refusal(server: &Server, acceptor: &TlsAcceptor, tls: Tls) -> Cause {
    let script = async {
        let stream = server.accept_bytes().await;
        // Either end may be the one that refuses; with TLS 1.3 the node learns of the client after its own part.
        if let Ok(stream) = acceptor.accept(stream).await {
            server.over(Box::new(stream)).idle().await;
        }
    };
    let work = Client::connect([server.address.clone()], options().tls(tls));
    let (connected, ()) = tokio::join!(work, script);
    match connected {
        Err(Error::Unreachable(mut why)) => why.0.remove(0).1,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_trusted_node_is_greeted_with_the_token() {
    let (authority, server) = (Authority::new(), Server::new(1).await);
    let (node, me) = (authority.sign("127.0.0.1"), authority.sign("me"));
    let acceptor = acceptor(&node, Some(&authority));
    let tls = Tls::trusting(authority.pem().as_bytes()).unwrap();
    let tls = tls.identity(me.certificate.pem().as_bytes(), me.key.serialize_pem().as_bytes());
    let options = options().tls(tls.unwrap()).token("hush");
    let script = async {
        let stream = acceptor.accept(server.accept_bytes().await).await.unwrap();
        let mut session = server.over(Box::new(stream));
        let hello = session.hello().await;
        session.welcome(vec![server.peer()]).await;
        (hello, session)
    };
    let (client, (hello, session)) = tokio::join!(connect(&server.address, options), script);
    assert_eq!(hello.credential.as_deref(), Some("hush"));
    drop((client, session));
}

#[tokio::test]
async fn another_authority_another_name_or_no_tls_at_all_is_refused() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let trusting = |authority: &Authority| Tls::trusting(authority.pem().as_bytes()).unwrap();
    let server = Server::new(1).await;
    let right = acceptor(&ours.sign("127.0.0.1"), None);
    let cause = refusal(&server, &right, trusting(&theirs)).await;
    assert!(matches!(cause, Cause::Tls(_)), "{cause:?}");
    let named = trusting(&ours).server_name("a.example").unwrap();
    let cause = refusal(&server, &right, named).await;
    assert!(matches!(cause, Cause::Tls(_)), "{cause:?}");
    // A node that wants to know who the client is says so after its own part of the handshake.
    let strict = acceptor(&ours.sign("127.0.0.1"), Some(&ours));
    let cause = refusal(&server, &strict, trusting(&ours)).await;
    assert!(matches!(cause, Cause::Tls(_) | Cause::Broken(_) | Cause::Closed), "{cause:?}");

    let plain = async {
        let mut session = server.accept().await;
        session.say_bytes(b"220 not what you think\r\n").await;
    };
    let work = Client::connect([server.address.clone()], options().tls(trusting(&ours)));
    let (connected, ()) = tokio::join!(work, plain);
    match connected {
        Err(Error::Unreachable(why)) => assert!(matches!(why.0[0].1, Cause::Tls(_)), "{why:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_key_that_is_not_the_certificates_is_no_identity() {
    let authority = Authority::new();
    let (me, you) = (authority.sign("me"), authority.sign("you"));
    let tls = Tls::trusting(authority.pem().as_bytes()).unwrap();
    let chain = me.certificate.pem();
    let mixed = tls.clone().identity(chain.as_bytes(), you.key.serialize_pem().as_bytes());
    assert!(matches!(mixed, Err(crate::TlsError::Identity(_))), "{mixed:?}");
    let keyless = tls.identity(chain.as_bytes(), b"");
    assert!(matches!(keyless, Err(crate::TlsError::Key(_))), "{keyless:?}");
}
