//! Puts a configuration together, and remembers where each value came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use toml::{Table, Value};

use super::Config;
use super::keys::{KEYS, Key, Raw};

/// What every variable of the environment starts with that sets a key.
const PREFIX: &str = "LEASEHOLD__";

/// Where a configuration is read from; later ones win.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file's name and text.
    pub file: Option<(PathBuf, String)>,
    /// The environment: `LEASEHOLD__SECTION__KEY` and values; other variables are passed over.
    pub environment: Vec<(String, String)>,
    /// Flags: `section.key` and values.
    pub flags: Vec<(String, String)>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The file.
    File(PathBuf),
    /// This variable.
    Environment(String),
    /// A flag.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// All that is wrong with a configuration, a line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// A configuration, and where its values came from. Shown as TOML with the origins as comments.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// By section and key; what is not here is the default.
    origins: BTreeMap<(&'static str, &'static str), Origin>,
}

impl Loaded {
    /// Where the value of `section.key` came from.
    #[must_use]
    pub fn origin(&self, section: &str, key: &str) -> Origin {
        self.origins.get(&(section, key)).cloned().unwrap_or(Origin::Default)
    }
}

impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut section = "";
        for key in KEYS {
            if key.section != section {
                let gap = if section.is_empty() { "" } else { "\n" };
                writeln!(f, "{gap}[{}]", key.section)?;
                section = key.section;
            }
            match (key.show)(&self.config) {
                Some(value) => {
                    let line = format!("{} = {value}", key.name);
                    writeln!(f, "{line:<40} # {}", self.origin(key.section, key.name))?;
                }
                None => writeln!(f, "# {} is not set", key.name)?,
            }
        }
        Ok(())
    }
}

struct Loading {
    loaded: Loaded,
    faults: Vec<String>,
}

pub(super) fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let loaded = Loaded { config: Config::default(), origins: BTreeMap::new() };
    let mut loading = Loading { loaded, faults: Vec::new() };
    if let Some((path, text)) = &sources.file {
        match text.parse::<Table>() {
            Ok(table) => loading.file(path, table),
            Err(error) => loading.faults.push(format!("{}: {error}", path.display())),
        }
    }
    for (variable, value) in &sources.environment {
        if let Some(rest) = variable.strip_prefix(PREFIX) {
            let rest = rest.to_lowercase();
            let (section, key) = rest.split_once("__").unwrap_or((&rest, ""));
            let origin = Origin::Environment(variable.clone());
            loading.set(section, key, &Raw::Text(value.clone()), origin);
        }
    }
    for (name, value) in &sources.flags {
        let (section, key) = name.split_once('.').unwrap_or((name, ""));
        loading.set(section, key, &Raw::Text(value.clone()), Origin::Flag);
    }
    let Loading { loaded, mut faults } = loading;
    // Checks of a configuration that was only half understood would mislead.
    if faults.is_empty() {
        faults = loaded.config.faults();
    }
    if faults.is_empty() { Ok(loaded) } else { Err(ConfigError(faults)) }
}

impl Loading {
    fn file(&mut self, path: &std::path::Path, table: Table) {
        let origin = Origin::File(path.to_owned());
        for (section, values) in table {
            let Value::Table(values) = values else {
                let nearest = nearest_key(&section, &section);
                self.faults.push(format!(
                    "{origin}: `{section}` stands outside of every section; did you mean {nearest}?"
                ));
                continue;
            };
            if !KEYS.iter().any(|key| key.section == section) {
                let nearest = nearest(&section, KEYS.iter().map(|key| key.section));
                self.faults.push(format!(
                    "{origin}: there is no section [{section}]; did you mean [{nearest}]?"
                ));
                continue;
            }
            for (key, value) in values {
                self.set(&section, &key, &Raw::Toml(value), origin.clone());
            }
        }
    }

    fn set(&mut self, section: &str, name: &str, raw: &Raw, origin: Origin) {
        let Some(key) = KEYS.iter().find(|key| key.section == section && key.name == name) else {
            let nearest = nearest_key(section, name);
            self.faults.push(format!(
                "{origin}: there is no key {section}.{name}; did you mean {nearest}?"
            ));
            return;
        };
        match (key.set)(&mut self.loaded.config, raw) {
            Ok(()) => {
                self.loaded.origins.insert((key.section, key.name), origin);
            }
            Err(fault) => self.faults.push(format!("{origin}: {section}.{name}: {fault}")),
        }
    }
}

/// The key whose name is nearest, in this section or in another.
fn nearest_key(section: &str, name: &str) -> String {
    let full = |key: &Key| format!("{}.{}", key.section, key.name);
    let wanted = format!("{section}.{name}");
    let distance = |key: &&Key| {
        let elsewhere = usize::from(key.section != section);
        let by_name = strsim::damerau_levenshtein(name, key.name) + elsewhere;
        by_name.min(strsim::damerau_levenshtein(&wanted, &full(key)))
    };
    KEYS.iter().min_by_key(distance).map(full).unwrap_or_default()
}

fn nearest<'a>(name: &str, all: impl Iterator<Item = &'a str>) -> &'a str {
    all.min_by_key(|other| strsim::damerau_levenshtein(name, other)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        [node]
        name = "a"
        data_dir = "/var/lib/a"
        [cluster]
        masters = ["a=a.example:7401", "b=b.example:7401"]
        [timing]
        max_lease = "10m"
        max_clock_drift = "500ppm"
    "#;

    fn sources(file: &str) -> Sources {
        Sources { file: Some(("x.toml".into(), file.into())), ..Sources::default() }
    }

    fn fault(file: &str) -> String {
        load(&sources(file)).unwrap_err().to_string()
    }

    #[test]
    fn later_sources_win_and_origins_are_known() {
        let mut sources = sources(FILE);
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        sources.environment = vec![
            variable("LEASEHOLD__TIMING__MAX_LEASE", "20m"),
            variable("LEASEHOLD__LISTEN__INSECURE", "true"),
            variable("LEASEHOLD__CLUSTER__MASTERS", "a=a:1, c=c:2"),
            variable("LEASEHOLD_ENDPOINTS", "passed over"),
        ];
        sources.flags = vec![variable("listen.client", "0.0.0.0:1")];
        sources.flags.push(variable("advertise.client", "a.example:1"));
        let loaded = load(&sources).unwrap();
        let config = &loaded.config;
        assert_eq!(config.name, "a");
        assert_eq!(config.timing.max_lease.as_millis(), 1_200_000);
        assert_eq!(config.timing.max_clock_drift.ppm(), 500);
        assert_eq!(config.masters[1].peer, "c:2");
        assert_eq!(config.listen.client, "0.0.0.0:1");
        assert_eq!(loaded.origin("node", "name"), Origin::File("x.toml".into()));
        assert_eq!(loaded.origin("listen", "client"), Origin::Flag);
        assert_eq!(loaded.origin("listen", "peer"), Origin::Default);
    }

    #[test]
    fn what_is_shown_loads_to_the_same_configuration() {
        let loaded = load(&sources(FILE)).unwrap();
        let shown = loaded.to_string();
        assert!(shown.contains("max_lease = \"10m\""), "{shown}");
        assert!(shown.contains("# file x.toml") && shown.contains("# default"), "{shown}");
        let again = load(&sources(&shown)).unwrap();
        assert_eq!(again.config, loaded.config);
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        assert!(fault("[node]\nnam = 'a'").contains("did you mean node.name?"));
        assert!(fault("[node]\nmasters = []").contains("did you mean cluster.masters?"));
        assert!(fault("[timming]\nx = 1").contains("did you mean [timing]?"));
        assert!(fault("name = 'a'").contains("did you mean node.name?"));
        let mut sources = sources(FILE);
        sources.environment = vec![("LEASEHOLD__NODE__DATADIR".into(), "x".into())];
        let error = load(&sources).unwrap_err().to_string();
        assert!(error.contains("LEASEHOLD__NODE__DATADIR"), "{error}");
        assert!(error.contains("did you mean node.data_dir?"), "{error}");
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_named_with_its_origin() {
        assert!(fault("[timing]\nmax_lease = 300").contains("file x.toml: timing.max_lease"));
        assert!(fault("[timing]\nmax_lease = '300'").contains("500ms, 30s or 5m"));
        assert!(fault("[timing]\nmax_clock_drift = '1%'").contains("0ppm"));
        assert!(fault("[limits]\nrecords = -1").contains("limits.records"));
        assert!(fault("[listen]\ninsecure = 'yes'").contains("neither true nor false"));
        assert!(fault("[cluster]\nmasters = ['a']").contains("`a` is no name=host:port"));
        assert!(fault("[node\n").contains("x.toml"));
        let both = fault("[node]\nnam = 'a'\n[limits]\nrecords = ''");
        assert_eq!(both.lines().count(), 2, "{both}");
    }

    const EXAMPLE: &str =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/leasehold.toml"));

    #[test]
    fn the_example_file_names_every_key_and_its_default() {
        // A default stands behind `#` without a space, an example behind one with a space.
        let all: Vec<&str> =
            EXAMPLE.lines().map(|line| line.strip_prefix('#').unwrap_or(line)).collect();
        let is_setting =
            |line: &&&str| !line.starts_with(' ') && line.contains(" = ") || line.starts_with('[');
        let defaults = all.iter().filter(is_setting).copied().collect::<Vec<_>>().join("\n");
        let loaded = load(&sources(&defaults)).unwrap();
        let shown = |config: &Config, key: &Key| (key.show)(config).map(|value| value.to_string());
        for key in KEYS {
            let name = format!("{}.{}", key.section, key.name);
            let spelled = format!("{} = ", key.name);
            let section = EXAMPLE.split(&format!("\n[{}]\n", key.section)).nth(1).unwrap();
            let section = section.split("\n[").next().unwrap();
            assert!(
                section
                    .lines()
                    .any(|line| line.trim_start_matches(['#', ' ']).starts_with(&spelled)),
                "{name}"
            );
            if matches!(loaded.origin(key.section, key.name), Origin::File(_))
                && !["node.name", "node.data_dir", "cluster.masters"].contains(&name.as_str())
            {
                assert_eq!(shown(&loaded.config, key), shown(&Config::default(), key), "{name}");
            } else if shown(&Config::default(), key).is_some() {
                assert!(["node.name", "cluster.masters"].contains(&name.as_str()), "{name}");
            }
        }
        // As it is, it is a configuration, too.
        load(&sources(EXAMPLE)).unwrap();
    }
}
