//! Configuration of the router's process.

mod instance;

pub use instance::Instance;
pub(crate) use instance::check as check_instances;

use cell_map::CellId;
use serde::{Deserialize, Deserializer, de::Error};
use service_runtime::config::{
    ConfigError, DrainConfig, LimitsConfig, ListenConfig, MapConfig, PeerConfig, Sources, TelemetryConfig, load,
};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// Everything.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// The cell that the router belongs to.
    #[serde(deserialize_with = "cell")]
    pub cell: CellId,
    /// `[listen]`
    #[serde(default)]
    pub listen: ListenConfig,
    /// `[peer]`
    #[serde(default)]
    pub peer: PeerConfig,
    /// `[map]`
    #[serde(default)]
    pub map: MapConfig,
    /// `[telemetry]`
    #[serde(default)]
    pub telemetry: TelemetryConfig,
    /// `[limits]`
    #[serde(default)]
    pub limits: LimitsConfig,
    /// `[drain]`
    #[serde(default)]
    pub drain: DrainConfig,
    /// `[router]`
    #[serde(default)]
    pub router: RouterConfig,
    /// `[peers]`
    #[serde(default)]
    pub peers: PeersConfig,
}

impl Config {
    const KEYS: &'static [&'static str] =
        &["cell", "listen", "peer", "map", "telemetry", "limits", "drain", "router", "peers"];

    /// Reads the sources in their order.
    ///
    /// # Errors
    /// If a source cannot be read, a key is unknown, or a value is bad.
    pub fn read(sources: &Sources) -> Result<Self, ConfigError> {
        load(&sources.read()?, Self::KEYS)
    }

    /// Defaults for a cell, with ports of its own choice. For tests and embedding.
    #[must_use]
    pub fn new(cell: CellId) -> Self {
        Self {
            cell,
            listen: ListenConfig::default(),
            peer: PeerConfig::default(),
            map: MapConfig::default(),
            telemetry: TelemetryConfig::default(),
            limits: LimitsConfig::default(),
            drain: DrainConfig::default(),
            router: RouterConfig::default(),
            peers: PeersConfig::default(),
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
    /// Bytes of calls that may wait for a move to end.
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

fn cell<'de, D: Deserializer<'de>>(deserializer: D) -> Result<CellId, D::Error> {
    CellId::new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}
