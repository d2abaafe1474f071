//! Who can reach a node, and whether that is safe.
//!
//! What listens on loopback may do without anything. Beyond, nodes have to show each other certificates, and clients
//! have to be encrypted and say who they are. Who wants less has to say so.

use std::net::IpAddr;

use super::Config;
use crate::tls::host_name;

/// Everything that is wrong with addresses, or leaves a door open.
pub(super) fn check(config: &Config, faults: &mut Vec<String>) {
    let listen = &config.listen;
    let advertise = &config.advertise;
    let http = listen.http.as_ref().map(|http| ("http", http, &advertise.http));
    let client = ("client", &listen.client, &advertise.client);
    let peer = ("peer", &listen.peer, &advertise.peer);
    for (key, address, advertised) in [client, peer].into_iter().chain(http) {
        let Some(host) = host(address) else {
            faults.push(format!("listen.{key} = {address:?} is no host:port"));
            continue;
        };
        if !is_loopback(host)
            && !listen.insecure
            && let Some(lacking) = lacking(config, key == "peer")
        {
            faults.push(format!(
                "listen.{key} = {address:?} is reachable from other machines, where anybody could use it: {lacking}; \
                 or, if the network is to be trusted, listen.insecure = true"
            ));
        }
        let unspecified = host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified());
        if unspecified && advertised.is_none() {
            faults.push(format!(
                "listen.{key} = {address:?} is no address that others can dial; say advertise.{key}"
            ));
        }
        if let Some(advertised) = advertised
            && self::host(advertised).is_none()
        {
            faults.push(format!("advertise.{key} = {advertised:?} is no host:port"));
        }
    }
    for address in config.masters.iter().chain(&config.replicas) {
        if host(&address.peer).is_none() {
            faults.push(format!(
                "cluster.masters or replicas: {}={} is no name=host:port",
                address.name, address.peer
            ));
        }
    }
    check_tls(config, faults);
}

fn check_tls(config: &Config, faults: &mut Vec<String>) {
    let tls = &config.tls;
    if !tls.is_on() {
        if tls.client_ca.is_some() {
            faults.push("tls.client_ca is of no use without tls.cert, tls.key and tls.ca".into());
        }
        return;
    }
    for (key, file) in [("cert", &tls.cert), ("key", &tls.key), ("ca", &tls.ca)] {
        if file.as_os_str().is_empty() {
            faults.push(format!("tls.{key} is missing: tls.cert, tls.key and tls.ca go together"));
        }
    }
    let named = config.masters.iter().chain(&config.replicas).map(|address| &address.name);
    for name in named.chain([&config.name]) {
        if let Err(why) = host_name(name)
            && !faults.contains(&why)
        {
            faults.push(why);
        }
    }
}

/// What a node lacks that would let it listen beyond loopback.
fn lacking(config: &Config, for_peers: bool) -> Option<&'static str> {
    if !config.tls.is_on() {
        Some("say tls.cert, tls.key and tls.ca")
    } else if !for_peers && config.tokens.is_none() && config.tls.client_ca.is_none() {
        Some("say auth.tokens or tls.client_ca")
    } else {
        None
    }
}

/// The host of `host:port`, if it is one.
pub(crate) fn host(address: &str) -> Option<&str> {
    let (host, port) = address.rsplit_once(':')?;
    let _: u16 = port.parse().ok()?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bare {
        Some(bare) => Some(bare),
        None if host.is_empty() || host.contains([':', '[', ']']) => None,
        None => Some(host),
    }
}

/// A name other than `localhost` may mean anything.
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::super::tests::fault;
    use super::*;

    fn with_tls(config: &mut Config) {
        for file in [&mut config.tls.cert, &mut config.tls.key, &mut config.tls.ca] {
            *file = "some.pem".into();
        }
    }

    #[test]
    fn beyond_loopback_needs_tls_and_clients_that_say_who_they_are() {
        let open = "10.0.0.1:7400";
        let bare = fault(|c| c.listen.client = open.into());
        assert!(bare.contains("tls.cert") && bare.contains("listen.insecure = true"), "{bare}");
        let anybody = fault(|c| {
            with_tls(c);
            c.listen.client = open.into();
        });
        assert!(anybody.contains("auth.tokens or tls.client_ca"), "{anybody}");
        let fine: [fn(&mut Config); 4] = [
            |c| c.listen.insecure = true,
            |c| {
                with_tls(c);
                c.tokens = Some("tokens.toml".into());
            },
            |c| {
                with_tls(c);
                c.tls.client_ca = Some("clients.pem".into());
            },
            |c| {
                // Nodes say who they are with their certificates.
                with_tls(c);
                (c.listen.client, c.listen.peer) = ("[::1]:1".into(), c.listen.client.clone());
            },
        ];
        for change in fine {
            let fault = fault(|c| {
                c.listen.client = open.into();
                change(c);
            });
            assert_eq!(fault, "");
        }
    }

    #[test]
    fn loopback_needs_nothing_and_any_address_a_better_one_for_others() {
        for loopback in ["127.0.0.2:1", "[::1]:1", "localhost:1"] {
            assert_eq!(fault(|c| c.listen.client = loopback.into()), "");
        }
        let any = fault(|c| {
            c.listen.peer = "[::]:7401".into();
            c.listen.insecure = true;
        });
        assert!(any.contains("advertise.peer"), "{any}");
    }

    #[test]
    fn the_files_of_tls_go_together_and_names_fit_certificates() {
        let half = fault(|c| c.tls.cert = "a.pem".into());
        assert!(half.contains("tls.key") && half.contains("tls.ca"), "{half}");
        assert!(fault(|c| c.tls.client_ca = Some("c.pem".into())).contains("tls.client_ca"));
        let number = fault(|c| {
            with_tls(c);
            c.name = "1.1".into();
            c.masters[0].name = "1.1".into();
        });
        assert!(number.contains("\"1.1\" is no host name"), "{number}");
    }
}
