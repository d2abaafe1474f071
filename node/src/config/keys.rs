//! The keys, each once: how it is read and how it is shown.

use std::path::{Path, PathBuf};

use leasehold_core::{Drift, Span};
use toml::Value;

use super::{Address, Config, LogFormat};
use crate::duration;

/// A key of the configuration.
pub(super) struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    /// Takes a value over into the configuration.
    pub(super) set: fn(&mut Config, &Raw) -> Result<(), String>,
    /// The value in TOML; `None` if there is none.
    pub(super) show: fn(&Config) -> Option<Value>,
}

/// A value as it was given.
pub(super) enum Raw {
    /// In the file.
    Toml(Value),
    /// In the environment or a flag, where everything is text.
    Text(String),
}

impl Raw {
    fn text(&self) -> Result<String, String> {
        match self {
            Self::Toml(Value::String(text)) | Self::Text(text) => Ok(text.clone()),
            Self::Toml(other) => Err(format!("{other} is no text; put it in quotes")),
        }
    }

    fn format(&self) -> Result<LogFormat, String> {
        match self.text()?.as_str() {
            "human" => Ok(LogFormat::Human),
            "json" => Ok(LogFormat::Json),
            other => Err(format!("`{other}` is neither human nor json")),
        }
    }

    fn path(&self) -> Result<PathBuf, String> {
        let text = self.text()?;
        if text.is_empty() { Err("the path is empty".into()) } else { Ok(text.into()) }
    }

    fn span(&self) -> Result<Span, String> {
        duration::parse(&self.text()?)
    }

    fn flag(&self) -> Result<bool, String> {
        match self {
            Self::Toml(Value::Boolean(flag)) => Ok(*flag),
            Self::Text(text) if text == "true" => Ok(true),
            Self::Text(text) if text == "false" => Ok(false),
            Self::Toml(other) => Err(format!("{other} is neither true nor false")),
            Self::Text(other) => Err(format!("`{other}` is neither true nor false")),
        }
    }

    fn count(&self) -> Result<u32, String> {
        let count = match self {
            Self::Toml(Value::Integer(count)) => u32::try_from(*count).ok(),
            Self::Toml(_) => None,
            Self::Text(text) => text.parse().ok(),
        };
        let given = match self {
            Self::Toml(value) => value.to_string(),
            Self::Text(text) => text.clone(),
        };
        count.ok_or_else(|| format!("{given} is no whole number between 0 and {}", u32::MAX))
    }

    fn drift(&self) -> Result<Drift, String> {
        let text = self.text()?;
        let ppm: Option<u32> = text.strip_suffix("ppm").and_then(|ppm| ppm.trim().parse().ok());
        match ppm {
            Some(ppm) if ppm <= Drift::MAX.ppm() => Ok(Drift::from_ppm(ppm)),
            Some(_) | None => {
                Err(format!("`{text}` is no drift; write 0ppm to {}ppm", Drift::MAX.ppm()))
            }
        }
    }

    /// A list of `name=host:port`; as text, with commas in between.
    fn addresses(&self) -> Result<Vec<Address>, String> {
        let items: Vec<String> = match self {
            Self::Text(text) => text
                .split(',')
                .map(|item| item.trim().to_owned())
                .filter(|i| !i.is_empty())
                .collect(),
            Self::Toml(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .ok_or("not every item is a text \"name=host:port\"")?,
            Self::Toml(other) => return Err(format!("{other} is no list of \"name=host:port\"")),
        };
        let address = |item: &String| match item.split_once('=') {
            Some((name, peer)) => {
                Ok(Address { name: name.trim().to_owned(), peer: peer.trim().to_owned() })
            }
            None => Err(format!("`{item}` is no name=host:port")),
        };
        items.iter().map(address).collect()
    }
}

fn path(path: &Path) -> Option<Value> {
    if path.as_os_str().is_empty() { None } else { text(&path.to_string_lossy()) }
}

fn text(text: &str) -> Option<Value> {
    Some(Value::String(text.to_owned()))
}

fn span(span: Span) -> Option<Value> {
    Some(Value::String(duration::show(span)))
}

fn count(count: u32) -> Option<Value> {
    Some(Value::Integer(count.into()))
}

fn addresses(addresses: &[Address]) -> Option<Value> {
    let item = |a: &Address| Value::String(format!("{}={}", a.name, a.peer));
    Some(Value::Array(addresses.iter().map(item).collect()))
}

/// One key whose value is read by the method `$read`, lives in `$field`, and is shown by `$show`.
macro_rules! key {
    ($section:literal, $name:literal, $read:ident, $($field:ident).+, |$value:ident| $show:expr) => {
        Key {
            section: $section,
            name: $name,
            set: |config, raw| {
                config.$($field).+ = raw.$read()?.into();
                Ok(())
            },
            show: |config| {
                let $value = &config.$($field).+;
                $show
            },
        }
    };
}

/// All keys, in the order in which they are shown.
pub(super) const KEYS: &[Key] = &[
    key!("node", "name", text, name, |v| text(v)),
    key!("node", "data_dir", path, data_dir, |v| v.as_deref().and_then(path)),
    key!("node", "idle_poll", span, idle_poll, |v| span(*v)),
    key!("cluster", "name", text, cluster, |v| text(v)),
    key!("cluster", "masters", addresses, masters, |v| addresses(v)),
    key!("cluster", "replicas", addresses, replicas, |v| addresses(v)),
    key!("listen", "client", text, listen.client, |v| text(v)),
    key!("listen", "peer", text, listen.peer, |v| text(v)),
    key!("listen", "http", text, listen.http, |v| v.as_deref().and_then(text)),
    key!("listen", "insecure", flag, listen.insecure, |v| Some(Value::Boolean(*v))),
    key!("advertise", "client", text, advertise.client, |v| v.as_deref().and_then(text)),
    key!("advertise", "peer", text, advertise.peer, |v| v.as_deref().and_then(text)),
    key!("advertise", "http", text, advertise.http, |v| v.as_deref().and_then(text)),
    key!("tls", "cert", path, tls.cert, |v| path(v)),
    key!("tls", "key", path, tls.key, |v| path(v)),
    key!("tls", "ca", path, tls.ca, |v| path(v)),
    key!("tls", "client_ca", path, tls.client_ca, |v| v.as_deref().and_then(path)),
    key!("auth", "tokens", path, tokens, |v| v.as_deref().and_then(path)),
    key!("limits", "key", count, limits.core.key, |v| count(*v)),
    key!("limits", "value", count, limits.core.value, |v| count(*v)),
    key!("limits", "meta", count, limits.core.meta, |v| count(*v)),
    key!("limits", "records", count, limits.core.records, |v| count(*v)),
    key!("limits", "waiters_per_key", count, limits.core.waiters_per_key, |v| count(*v)),
    key!("limits", "waiters", count, limits.core.waiters, |v| count(*v)),
    key!("limits", "operations", count, limits.core.operations, |v| count(*v)),
    key!("limits", "snapshot_part", count, limits.core.snapshot_part, |v| count(*v)),
    key!("limits", "masters", count, limits.core.masters, |v| count(*v)),
    key!("limits", "replicas", count, limits.core.replicas, |v| count(*v)),
    key!("limits", "connections", count, limits.connections, |v| count(*v)),
    key!("limits", "connections_per_address", count, limits.connections_per_address, |v| count(*v)),
    key!("limits", "client_memory", count, limits.client_memory, |v| count(*v)),
    key!("limits", "client_silence", span, limits.client_silence, |v| span(*v)),
    key!("limits", "requests_per_connection", count, limits.requests_per_connection, |v| count(*v)),
    key!("limits", "client_queue", count, limits.client_queue, |v| count(*v)),
    key!("limits", "peer_queue", count, limits.peer_queue, |v| count(*v)),
    key!("timing", "max_lease", span, timing.max_lease, |v| span(*v)),
    key!("timing", "op_timeout", span, timing.op_timeout, |v| span(*v)),
    key!("timing", "promise_timeout", span, timing.promise_timeout, |v| span(*v)),
    key!("timing", "sync_timeout", span, timing.sync_timeout, |v| span(*v)),
    key!("timing", "max_clock_drift", drift, timing.max_clock_drift, |v| {
        text(&format!("{}ppm", v.ppm()))
    }),
    key!("log", "level", text, log_level, |v| text(v)),
    key!("log", "format", format, log_format, |v| match v {
        LogFormat::Human => text("human"),
        LogFormat::Json => text("json"),
    }),
];
