//! Requests that a web page makes its reader's browser send, of which the reader knows nothing.
//!
//! A page may send to any address that the browser can reach, this node's too, and needs no permission for what a form could
//! send. What such a request cannot hide is where it comes from: browsers add `Origin` and `Sec-Fetch-Site`. A page whose own name was
//! made to lead here (DNS rebinding) is of the same origin as the node, but the name in `Host` is still the page's. Where a token is wanted,
//! such a page has none; elsewhere only names count that are known to lead here.

use std::net::IpAddr;

use axum::Extension;
use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::Response;

use super::answer::Failure;
use super::caller::Caller;
use crate::config::{Config, host_of};

/// Names nothing and changes nothing, and has to work for probes that know nothing but an address.
const EXEMPT: [&str; 3] = ["/livez", "/readyz", "/metrics"];
/// What the browser says of where the page is that sends.
const SITE: &str = "sec-fetch-site";

/// The names under which this node is found over HTTP, beside addresses and `localhost`.
#[derive(Debug)]
pub(super) struct Hosts {
    all: bool,
    /// What the operator listed, in small letters.
    listed: Vec<String>,
    /// Those that the rest of the configuration names.
    own: Vec<String>,
}

impl Hosts {
    pub(super) fn of(config: &Config) -> Self {
        let (listen, advertise) = (&config.listen, &config.advertise);
        let advertised =
            [&advertise.client, &advertise.peer, &advertise.http].into_iter().flatten();
        let addresses = advertised.chain([&listen.client, &listen.peer]).chain(&listen.http);
        let own = addresses.filter_map(|address| host_of(address)).chain([config.name.as_str()]);
        Self {
            all: listen.http_hosts.iter().any(|host| host == "*"),
            listed: listen.http_hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            own: own.map(str::to_ascii_lowercase).collect(),
        }
    }

    fn lead_here(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase();
        self.all
            || bare.parse::<IpAddr>().is_ok()
            || name == "localhost"
            || self.own.contains(&name)
            || self.listed.contains(&name)
    }
}

/// Lets a request through that no foreign page has sent.
pub(super) async fn refuse_foreign(
    Extension(caller): Extension<Caller>,
    request: Request,
    next: Next,
) -> Response {
    let context = caller.context();
    let open = context.clients.secure.gate.is_open();
    match judge(request.headers(), request.uri(), open, &context.hosts) {
        Ok(()) => next.run(request).await,
        Err(failure) => {
            caller.refused(&failure.message());
            failure.to("none")
        }
    }
}

/// Whether a request may go on to a node that is open to everybody, or wants a token.
fn judge(headers: &HeaderMap, uri: &Uri, open: bool, hosts: &Hosts) -> Result<(), Failure> {
    if EXEMPT.contains(&uri.path()) {
        return Ok(());
    }
    let mut named = Vec::new();
    for value in headers.get_all(header::HOST) {
        let host = value.to_str().ok().and_then(|text| text.parse::<Authority>().ok());
        named.push(host.ok_or_else(|| Failure::invalid("the header `Host` names no host"))?);
    }
    named.extend(uri.authority().cloned());
    if open && let Some(stranger) = named.iter().find(|named| !hosts.lead_here(named.host())) {
        let words = format!(
            "{:?} is no name of this node that it knows: a web page could have made it up. Ask by address, or list the name in \
             the node's configuration, listen.http_hosts = [{:?}]",
            stranger.host(),
            stranger.host()
        );
        return Err(Failure::Senseless(StatusCode::MISDIRECTED_REQUEST, words));
    }
    if headers.get_all(SITE).iter().any(|site| site == "cross-site") {
        return Err(foreign(SITE, "cross-site"));
    }
    for origin in headers.get_all(header::ORIGIN) {
        let text = String::from_utf8_lossy(origin.as_bytes());
        if !is_own(&text, &named, hosts) {
            return Err(foreign("origin", &text));
        }
    }
    Ok(())
}

fn foreign(header: &str, value: &str) -> Failure {
    Failure::denied(format!(
        "`{header}: {}` says that a web page of another site makes this browser send; such pages may not use this node",
        value.chars().take(200).collect::<String>().escape_debug()
    ))
}

/// Whether a page of this origin came from this node: from where the request goes to, or from a name that the operator
/// listed, in front of which something may have changed `Host`.
fn is_own(origin: &str, named: &[Authority], hosts: &Hosts) -> bool {
    let Ok(origin) = origin.parse::<Uri>() else { return false };
    let usual = match origin.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        Some(_) | None => return false,
    };
    let Some(from) = origin.authority() else { return false };
    let port = from.port_u16().unwrap_or(usual);
    let same = |to: &Authority| {
        // Behind a proxy that ends TLS, `Host` has no port, and the usual one is that of the origin.
        to.host().eq_ignore_ascii_case(from.host()) && to.port_u16().unwrap_or(usual) == port
    };
    let is_listed = || hosts.listed.contains(&from.host().to_ascii_lowercase()) && port == usual;
    named.iter().any(same) || is_listed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(listed: &[&str]) -> Hosts {
        let mut config = Config { name: "a".into(), ..Config::default() };
        config.advertise.http = Some("a.example:7402".into());
        config.listen.http_hosts = listed.iter().map(|&host| host.to_owned()).collect();
        Hosts::of(&config)
    }

    /// What is said to a request with these headers: 200 if it may go on.
    fn said(open: bool, hosts: &Hosts, all: &[(&str, &str)]) -> u16 {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers
                .append(axum::http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let judged = judge(&headers, &Uri::from_static("/v1/lock"), open, hosts);
        judged.map_or_else(|failure| failure.status().as_u16(), |()| 200)
    }

    #[test]
    fn at_an_open_node_only_names_count_that_lead_there() {
        let bare = hosts(&[]);
        for host in [
            "127.0.0.1:7402",
            "10.1.2.3",
            "[::1]:7402",
            "localhost:7402",
            "LOCALHOST.",
            "a.example:7402",
            "A.Example.",
            "a",
        ] {
            assert_eq!(said(true, &bare, &[("host", host)]), 200, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:7402",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
        ] {
            assert_eq!(said(true, &bare, &[("host", host)]), 421, "{host}");
            // Whoever has no token gets nowhere, under whatever name.
            assert_eq!(said(false, &bare, &[("host", host)]), 200, "{host}");
            assert_eq!(said(true, &hosts(&["*"]), &[("host", host)]), 200, "{host}");
        }
        assert_eq!(said(true, &bare, &[("host", "a"), ("host", "evil.example")]), 421);
        assert_eq!(said(true, &bare, &[("host", "no host")]), 400);
        let listed = hosts(&["leasehold", "Locks.example"]);
        for host in ["leasehold:7402", "locks.example"] {
            assert_eq!(said(true, &listed, &[("host", host)]), 200, "{host}");
        }
        assert_eq!(said(true, &listed, &[]), 200, "what is no browser may leave it out");
    }

    #[test]
    fn pages_of_other_sites_are_refused_everywhere() {
        let listed = hosts(&["locks.example"]);
        let everything = hosts(&["*"]);
        for open in [true, false] {
            for (host, origin, status) in [
                ("127.0.0.1:7402", "http://127.0.0.1:7402", 200),
                ("a.example", "https://a.example", 200),
                ("a.example", "https://a.example:443", 200),
                // What ends TLS in front of the node asks for it by another name.
                ("10.0.0.1:7402", "https://locks.example", 200),
                ("10.0.0.1:7402", "https://locks.example:3000", 403),
                ("127.0.0.1:7402", "http://127.0.0.1:3000", 403),
                ("localhost:7402", "http://localhost", 403),
                ("localhost:7402", "https://evil.example", 403),
                ("localhost:7402", "null", 403),
                ("localhost:7402", "", 403),
                ("localhost:7402", "file://", 403),
            ] {
                let all = [("host", host), ("origin", origin)];
                assert_eq!(said(open, &listed, &all), status, "{host} {origin}");
            }
            let rebound = [("host", "evil.example"), ("origin", "http://evil.example")];
            assert_eq!(said(open, &listed, &rebound), if open { 421 } else { 200 });
            let site = |site| [("host", "localhost"), ("sec-fetch-site", site)];
            for hosts in [&listed, &everything] {
                assert_eq!(said(open, hosts, &site("cross-site")), 403);
                for own in ["same-origin", "same-site", "none"] {
                    assert_eq!(said(open, hosts, &site(own)), 200);
                }
            }
        }
    }

    #[test]
    fn probes_are_exempt() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "evil.example".parse().unwrap());
        headers.insert(header::ORIGIN, "https://evil.example:1".parse().unwrap());
        for path in EXEMPT {
            assert_eq!(judge(&headers, &path.parse().unwrap(), true, &hosts(&[])), Ok(()));
        }
    }
}
