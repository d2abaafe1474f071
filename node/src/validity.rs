//! Whether this node's certificate can work, and until when.
//!
//! A certificate that others would refuse must not take the place of one that they accept, and shut the node off. So it is
//! verified as others will: that it is good now, for this node's name, and signed by the authority that nodes trust. Its
//! end is known from then on: as a metric, and as a warning in time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{CertificateError, Error, RootCertStore};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::clock::Clock;
use crate::tls::host_name;

/// The end of a certificate is worth a warning this many seconds before, or when two thirds of its time are over, if that
/// is later: some are good for hours only.
const SOON: i64 = 30 * 24 * 3_600;

/// From when until when the certificates of a file are good, in seconds of the Unix epoch: all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    /// The key of the configuration that names the file.
    pub(crate) key: &'static str,
    path: PathBuf,
    pub(crate) begin: i64,
    pub(crate) end: i64,
}

impl Validity {
    pub(crate) fn of(
        key: &'static str,
        path: &Path,
        certificates: &[CertificateDer<'_>],
    ) -> Result<Self, String> {
        let (mut begin, mut end) = (i64::MIN, i64::MAX);
        for certificate in certificates {
            let (_, parsed) =
                X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
            begin = begin.max(parsed.validity().not_before.timestamp());
            end = end.min(parsed.validity().not_after.timestamp());
        }
        Ok(Self { key, path: path.to_owned(), begin, end })
    }

    /// What to say of it at `now`, if its end is near or was.
    pub(crate) fn warning(&self, now: i64) -> Option<String> {
        let left = self.end.saturating_sub(now);
        let soon = SOON.min(self.end.saturating_sub(self.begin) / 3);
        let (key, path) = (self.key, self.path.display());
        let until = time(self.end);
        if left <= 0 {
            Some(format!(
                "{key} = {path:?}: a certificate in it is good until {until} only, which is over; renew it now"
            ))
        } else if left < soon {
            Some(format!(
                "{key} = {path:?}: a certificate in it is good until {until}; renew it in time"
            ))
        } else {
            None
        }
    }
}

/// Seconds of the Unix epoch for people.
fn time(seconds: i64) -> String {
    x509_parser::time::ASN1Time::from_timestamp(seconds)
        .map_or_else(|_| format!("second {seconds}"), |time| time.to_string())
}

/// The wall clock in seconds.
pub(crate) fn now(clock: Clock) -> i64 {
    i64::try_from(clock.wall() / 1_000_000).unwrap_or(i64::MAX)
}

/// Whether others will accept this chain of the node of this name at `now`.
///
/// # Errors
///
/// Why not, in words.
pub(crate) fn verify(
    provider: &Arc<CryptoProvider>,
    authority: &Arc<RootCertStore>,
    node: &str,
    chain: &[CertificateDer<'static>],
    now: i64,
) -> Result<(), String> {
    let Some((own, between)) = chain.split_first() else {
        return Err("there is no certificate in it".into());
    };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap_or(0)));
    let (authority, provider) = (Arc::clone(authority), Arc::clone(provider));
    let to_clients =
        WebPkiServerVerifier::builder_with_provider(Arc::clone(&authority), Arc::clone(&provider))
            .build()
            .map_err(|error| error.to_string())?;
    let to_nodes = WebPkiClientVerifier::builder_with_provider(authority, provider)
        .build()
        .map_err(|error| error.to_string())?;
    let name = host_name(node)?;
    to_clients
        .verify_server_cert(own, between, &name, &[], now)
        .map_err(|error| words(&error, node))?;
    to_nodes.verify_client_cert(own, between, now).map_err(|error| words(&error, node))?;
    Ok(())
}

fn words(error: &Error, node: &str) -> String {
    use CertificateError as Why;
    let Error::InvalidCertificate(why) = error else { return error.to_string() };
    if matches!(why, Why::Expired | Why::ExpiredContext { .. }) {
        format!("its time is over ({why})")
    } else if matches!(why, Why::NotValidYet | Why::NotValidYetContext { .. }) {
        format!("it is not good yet ({why})")
    } else if matches!(why, Why::NotValidForName | Why::NotValidForNameContext { .. }) {
        format!("it is not for this node, whose node.name is {node:?} ({why})")
    } else if matches!(why, Why::UnknownIssuer) {
        "no authority in tls.ca signed it, so that other nodes would refuse it".into()
    } else if matches!(why, Why::InvalidPurpose | Why::InvalidPurposeContext { .. }) {
        format!("it must be good for servers and clients, since nodes dial each other ({why})")
    } else {
        why.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3_600;

    fn validity(begin: i64, end: i64) -> Validity {
        Validity { key: "tls.cert", path: "a.pem".into(), begin, end }
    }

    #[test]
    fn an_end_is_announced_in_time_and_not_for_most_of_a_short_life() {
        let long = validity(0, 365 * DAY);
        assert_eq!(long.warning(334 * DAY), None);
        assert!(long.warning(336 * DAY).unwrap().contains("Jan  1 00:00:00 1971"));
        assert!(long.warning(365 * DAY).unwrap().contains("which is over"));
        let short = validity(0, DAY);
        assert_eq!(short.warning(DAY / 2), None);
        assert!(short.warning(DAY * 3 / 4).unwrap().contains("renew it in time"));
    }
}
