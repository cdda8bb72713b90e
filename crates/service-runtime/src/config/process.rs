//! What processes make of the sections.

use super::{
    load::{ConfigError, check_keys, section},
    sections::{
        DatabaseConfig, DrainConfig, LimitsConfig, ListenConfig, MapConfig, OperatorConfig, PeerConfig, SealConfig,
        ServicesConfig, TelemetryConfig,
    },
};
use cell_map::CellId;
use figment::Figment;
use serde::{Deserialize, Deserializer, de::Error};
use std::ops::{Deref, DerefMut};

/// What every process of the mesh is told. A process's own configuration holds it beside sections of its own.
#[derive(Clone, Debug, Deserialize)]
pub struct CommonConfig {
    /// The cell that the process belongs to.
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
}

impl CommonConfig {
    const KEYS: [&'static str; 7] = ["cell", "listen", "peer", "map", "telemetry", "limits", "drain"];

    /// Reads it. The top level may hold nothing else but sections of these names: see [`section`].
    ///
    /// # Errors
    /// If a key is unknown or a value bad.
    pub fn load(figment: &Figment, others: &[&str]) -> Result<Self, ConfigError> {
        check_keys(figment, &[&Self::KEYS, others].concat())?;
        Ok(figment.extract()?)
    }

    /// Defaults for a cell: ports of its own choice, everything else as documented. For tests and embedding.
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
        }
    }
}

/// Configuration of a process that hosts services.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every process is told.
    pub common: CommonConfig,
    /// `[services]`
    pub services: ServicesConfig,
    /// `[database]`
    pub database: DatabaseConfig,
    /// `[seal]`
    pub seal: SealConfig,
    /// `[operator]`
    pub operator: OperatorConfig,
    /// Everything that was read, for the services' own sections.
    pub sections: Figment,
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

impl Config {
    /// Reads it; services may have sections of these names.
    ///
    /// # Errors
    /// If a key is unknown or a value bad.
    pub fn load(figment: Figment, services: &[&str]) -> Result<Self, ConfigError> {
        Ok(Self {
            common: CommonConfig::load(&figment, &[&["services", "database", "seal", "operator"], services].concat())?,
            services: section(&figment, "services")?,
            database: section(&figment, "database")?,
            seal: section(&figment, "seal")?,
            operator: section(&figment, "operator")?,
            sections: figment,
        })
    }

    /// Defaults for a cell, as [`CommonConfig::new`].
    #[must_use]
    pub fn new(cell: CellId) -> Self {
        Self {
            common: CommonConfig::new(cell),
            services: ServicesConfig::default(),
            database: DatabaseConfig::default(),
            seal: SealConfig::default(),
            operator: OperatorConfig::default(),
            sections: Figment::new(),
        }
    }

    /// The same with a value in a service's own section, like `("catalog.seed", true)`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl serde::Serialize) -> Self {
        self.sections = self.sections.merge((key, value));
        self
    }
}

fn cell<'de, D: Deserializer<'de>>(deserializer: D) -> Result<CellId, D::Error> {
    CellId::new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}
