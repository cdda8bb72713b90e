//! Reading the sources in their order.

use figment::{
    Figment, Metadata, Profile, Provider,
    providers::{Env, Format, Toml},
    value::{Dict, Map, Value},
};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// Prefix of environment variables; `__` separates section and key: `CELLMESH_LISTEN__FRONT`.
const ENV_PREFIX: &str = "CELLMESH_";

/// Which of them are configuration. Others are none of ours: Kubernetes, for one, sets `CELLMESH_SERVICE_HOST` for a
/// Service named `cellmesh`.
fn is_key(name: &str) -> bool {
    name.contains("__") || name.eq_ignore_ascii_case("cell")
}

/// Where configuration comes from, as on a command line.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Sources {
    /// TOML file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Overrides one key; may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

/// Why there is no configuration. All faults that were found, one per line, each naming key and source.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration \"{}\": {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// A `--set` without a key or a value.
    #[error("--set \"{0}\" is not of the form section.key=value")]
    Set(String),
    /// Unknown keys and bad values.
    #[error("configuration: {0}")]
    Keys(String),
}

impl From<figment::Error> for ConfigError {
    fn from(error: figment::Error) -> Self {
        let faults: Vec<String> = error.into_iter().map(|fault| fault.to_string()).collect();
        Self::Keys(faults.join("\n"))
    }
}

impl Sources {
    /// Everything that the sources say, later ones overriding earlier ones.
    ///
    /// # Errors
    /// If the file is missing or `--set` is malformed; what the keys mean is judged by who reads them.
    pub fn read(&self) -> Result<Figment, ConfigError> {
        let mut figment = Figment::new();
        if let Some(path) = &self.config {
            let text = read(path)?;
            figment =
                figment.merge(Named { source: format!("file \"{}\"", path.display()), inner: Toml::string(&text) });
        }
        let env = Env::prefixed(ENV_PREFIX).filter(|name| is_key(name.as_str())).split("__");
        figment = figment.merge(Named { source: "the environment (CELLMESH_*)".into(), inner: env });
        for set in &self.set {
            figment = figment.merge(Set::parse(set)?);
        }
        Ok(figment)
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError::File { path: path.to_owned(), error })
}

/// One section; its defaults where there is none. Sections are read one by one: serde's `flatten`, which would put
/// several structs beside each other, forgets the key and the source of a bad value.
///
/// # Errors
/// If a key is unknown to `T`, which must deny those, or a value is bad.
pub fn section<T: DeserializeOwned + Default>(figment: &Figment, name: &str) -> Result<T, ConfigError> {
    if !figment.contains(name) {
        return Ok(T::default());
    }
    let section = figment.extract_inner(name).map_err(|mut error| {
        // figment puts the section's name behind the key.
        error.path.rotate_right(1);
        error
    });
    Ok(section?)
}

/// Refuses a configuration whose top level holds other than these keys.
pub(super) fn check_keys(figment: &Figment, keys: &[&str]) -> Result<(), ConfigError> {
    let top: Dict = figment.extract()?;
    let unknown = |key: &&String| !keys.contains(&key.as_str());
    let faults: Vec<String> = top
        .keys()
        .filter(unknown)
        .map(|key| {
            let source = figment.find_metadata(key).map_or("?".into(), |metadata| metadata.name.clone());
            format!("unknown key \"{key}\" in {source}, allowed are {}", keys.join(", "))
        })
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(ConfigError::Keys(faults.join("\n"))) }
}

/// A provider under the name of its source, for messages.
struct Named<P> {
    source: String,
    inner: P,
}

impl<P: Provider> Provider for Named<P> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.clone()).interpolater(|_: &Profile, keys: &[&str]| keys.join("."))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        self.inner.data()
    }
}

/// One `--set`.
struct Set {
    text: String,
    key: String,
    value: Value,
}

impl Set {
    fn parse(text: &str) -> Result<Self, ConfigError> {
        let fault = || ConfigError::Set(text.to_owned());
        let (key, value) = text.split_once('=').ok_or_else(fault)?;
        let key = key.trim();
        if key.is_empty() || key.split('.').any(str::is_empty) {
            return Err(fault());
        }
        Ok(Self { text: text.to_owned(), key: key.to_owned(), value: parse_value(value.trim()) })
    }
}

/// A TOML value; what is none is text, so that `--set cell=bj-1` needs no quotes.
fn parse_value(text: &str) -> Value {
    let table = format!("value = {text}");
    let parsed = toml::from_str::<toml::Table>(&table).ok().and_then(|mut table| table.remove("value"));
    parsed.and_then(|value| Value::serialize(value).ok()).unwrap_or_else(|| Value::from(text))
}

impl Provider for Set {
    fn metadata(&self) -> Metadata {
        let name = format!("--set \"{}\"", self.text);
        Metadata::named(name).interpolater(|_: &Profile, keys: &[&str]| keys.join("."))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let nested = self
            .key
            .rsplit('.')
            .fold(self.value.clone(), |value, key| Value::from(Dict::from([(key.to_owned(), value)])));
        let dict = nested.into_dict().unwrap_or_default();
        Ok(Map::from([(Profile::Default, dict)]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn config(toml: &str, set: &[&str]) -> Result<Config, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), toml).unwrap();
        let set = set.iter().map(|set| (*set).to_owned()).collect();
        let sources = Sources { config: Some(file.path().to_owned()), set };
        Config::load(sources.read()?, &["catalog"])
    }

    #[test]
    fn a_flag_overrides_the_file() {
        let toml = "cell = \"bj-1\"\n[limits]\nstreams = 7\n[services]\nrun = [\"a\"]";
        let config = config(toml, &["limits.streams=9", "services.run=[\"b\", \"c\"]", "cell=sh-1"]).unwrap();
        assert_eq!(config.limits.streams, 9);
        assert_eq!(config.services.run, ["b", "c"]);
        assert_eq!(config.cell.as_str(), "sh-1");
        assert_eq!(config.limits.connections, 1024, "what nobody sets has its default");
    }

    #[test]
    fn foreign_variables_are_no_configuration() {
        assert!(is_key("CELL") && is_key("LISTEN__FRONT") && is_key("MISSPELT__KEY"));
        assert!(!is_key("SERVICE_HOST") && !is_key("PORT") && !is_key("SOAK"));
    }

    #[test]
    fn every_fault_names_its_key_and_source() {
        for (toml, set, names) in [
            ("cell = \"bj-1\"\n[limits]\nstream = 7", &[][..], &["stream", "file \"", "streams"][..]),
            ("cell = \"bj-1\"\nlimit = 7", &[], &["unknown key \"limit\"", "file \""]),
            ("cell = \"bj-1\"\n[limits]\nstreams = \"many\"", &[], &["limits.streams", "file \""]),
            ("cell = \"bj-1\"", &["limits.streams=-1"], &["limits.streams", "--set \"limits.streams=-1\""]),
            ("cell = \"BJ 1\"", &[], &["cell", "BJ 1"]),
            ("", &[], &["cell"]),
            ("cell = \"bj-1\"\n[peer]\ntoken = \"short\"", &[], &["peer.token", "16 to 512"]),
            ("cell = \"bj-1\"\n[database]\npth = \"x\"", &[], &["pth", "file \"", "path"]),
            ("cell = \"bj-1\"", &["seal.keys=7"], &["seal.keys", "--set \"seal.keys=7\""]),
            ("cell = \"bj-1\"\n[telemetry]\nlog_format = \"xml\"", &[], &["telemetry.log_format", "json"]),
            ("cell = ", &[], &["TOML"]),
            ("", &["cell"], &["--set \"cell\""]),
        ] {
            let error = config(toml, set).unwrap_err().to_string();
            for name in names {
                assert!(error.contains(name), "{toml:?}: {error:?} does not name {name:?}");
            }
        }
    }
}
