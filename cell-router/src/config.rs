//! Configuration of the router's process.

mod instance;

pub use instance::Instance;
pub(crate) use instance::check as check_instances;

use crate::tls::TlsConfig;
use cell_map::CellId;
use serde::Deserialize;
use service_runtime::config::{CommonConfig, ConfigError, Sources, section};
use std::{
    collections::BTreeMap,
    ops::{Deref, DerefMut},
    path::PathBuf,
    time::Duration,
};

/// Everything.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every process is told.
    pub common: CommonConfig,
    /// `[router]`
    pub router: RouterConfig,
    /// `[peers]`
    pub peers: PeersConfig,
    /// `[tls]`
    pub tls: TlsConfig,
}

impl Deref for Config {
    type Target = CommonConfig;

    fn deref(&self) -> &CommonConfig {
        &self.common
    }
}

impl DerefMut for Config {
    fn deref_mut(&mut self) -> &mut CommonConfig {
        &mut self.common
    }
}

impl RouterConfig {
    /// How long a call waits for an instance of this cell, if it does.
    #[must_use]
    pub fn wait_for_instances(&self) -> Option<Duration> {
        (self.wait_for_instances_ms > 0).then(|| Duration::from_millis(self.wait_for_instances_ms))
    }
}

impl Config {
    /// Reads the sources in their order.
    ///
    /// # Errors
    /// If a source cannot be read, a key is unknown, or a value is bad.
    pub fn read(sources: &Sources) -> Result<Self, ConfigError> {
        let figment = sources.read()?;
        Ok(Self {
            common: CommonConfig::load(&figment, &["router", "peers", "tls"])?,
            router: section(&figment, "router")?,
            peers: section(&figment, "peers")?,
            tls: section(&figment, "tls")?,
        })
    }

    /// Defaults for a cell, with ports of its own choice. For tests and embedding.
    #[must_use]
    pub fn new(cell: CellId) -> Self {
        Self {
            common: CommonConfig::new(cell),
            router: RouterConfig::default(),
            peers: PeersConfig::default(),
            tls: TlsConfig::default(),
        }
    }
}

/// `[router]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouterConfig {
    /// Threads that serve calls, each with listeners and connections of its own.
    pub workers: usize,
    /// Files with encoded `FileDescriptorSet`s: what is routed.
    pub descriptor_sets: Vec<PathBuf>,
    /// This cell's `cell-services` processes: addresses of their peer listeners, as `"host:port"` where one hosts every
    /// service and is reached by routers only, else as `{address = "host:port", services = ["package.Service"],
    /// front = "host:port"}`: `front` is told to clients that route by themselves.
    pub instances: Vec<Instance>,
    /// Deadline where neither caller nor policy gives one; 0: that of `[limits]`.
    pub default_deadline_ms: u64,
    /// Longest deadline granted; 0: that of `[limits]`.
    pub max_deadline_ms: u64,
    /// File with restrictions for clients that route by themselves, watched; none: no restrictions.
    pub restrictions: Option<PathBuf>,
    /// How long a call waits for an instance of this cell while none is connected, in milliseconds and within its deadline:
    /// where a cell has one instance, calls wait while it is replaced. 0: such a call is refused at once.
    pub wait_for_instances_ms: u64,
    /// Bytes of calls that may wait for a move to end, or for an instance.
    pub park_bytes: usize,
    /// Connections kept to each address, per worker.
    pub upstream_connections: usize,
    /// Most connections to each address under load, per worker.
    pub upstream_connections_max: usize,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            workers: 1,
            descriptor_sets: Vec::new(),
            instances: Vec::new(),
            default_deadline_ms: 0,
            max_deadline_ms: 0,
            restrictions: None,
            wait_for_instances_ms: 0,
            park_bytes: 16 << 20,
            upstream_connections: 4,
            upstream_connections_max: 16,
        }
    }
}

impl Config {
    /// Deadline where neither caller nor policy gives one.
    #[must_use]
    pub fn default_deadline(&self) -> Duration {
        match self.router.default_deadline_ms {
            0 => self.limits.default_deadline(),
            ms => Duration::from_millis(ms),
        }
    }

    /// Longest deadline granted.
    #[must_use]
    pub fn max_deadline(&self) -> Duration {
        match self.router.max_deadline_ms {
            0 => self.limits.max_deadline(),
            ms => Duration::from_millis(ms),
        }
    }
}

/// `[peers]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeersConfig {
    /// Cell to address: reaches the cell's routers through something other than the map's `peer_endpoints`.
    pub overrides: BTreeMap<String, String>,
    /// Cell to address: clients near this router reach the cell's services there, instead of where its own routers say.
    pub fronts: BTreeMap<String, String>,
}

impl PeersConfig {
    /// [`Self::overrides`] with checked names.
    ///
    /// # Errors
    /// Naming the key that is no cell's name.
    pub fn checked_overrides(&self) -> Result<BTreeMap<CellId, String>, String> {
        by_cell("peers.overrides", &self.overrides)
    }

    /// [`Self::fronts`] with checked names.
    ///
    /// # Errors
    /// Naming the key that is no cell's name.
    pub fn checked_fronts(&self) -> Result<BTreeMap<CellId, String>, String> {
        by_cell("peers.fronts", &self.fronts)
    }
}

fn by_cell(key: &str, addresses: &BTreeMap<String, String>) -> Result<BTreeMap<CellId, String>, String> {
    let pair = |(cell, address): (&String, &String)| match CellId::new(cell) {
        Ok(cell) => Ok((cell, address.clone())),
        Err(error) => Err(format!("key \"{key}.{cell}\": {error}")),
    };
    addresses.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[&str]) -> Result<Config, ConfigError> {
        let set = set.iter().map(|set| (*set).to_owned()).collect();
        Config::read(&Sources { config: None, set })
    }

    #[test]
    fn every_section_is_read_and_a_fault_names_its_key() {
        let config = read(&["cell=a", "limits.streams=7", "router.workers=2", "peers.overrides.b=c"]).unwrap();
        assert_eq!((config.cell.as_str(), config.limits.streams, config.router.workers), ("a", 7, 2));
        assert_eq!(config.peers.overrides["b"], "c");
        for (set, names) in [
            ("worker.count=2", &["unknown key \"worker\"", "router"][..]),
            ("router.worker=2", &["worker", "workers", "--set \"router.worker=2\""]),
            ("router.workers=many", &["router.workers", "--set \"router.workers=many\""]),
            ("limits.streams=many", &["limits.streams", "--set \"limits.streams=many\""]),
        ] {
            let error = read(&["cell=a", set]).unwrap_err().to_string();
            for name in names {
                assert!(error.contains(name), "{set:?}: {error:?} does not name {name:?}");
            }
        }
    }
}
