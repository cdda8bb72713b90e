//! The sections.

use mesh_layers::trust::{Listener, OperatorToken, PeerToken};
use serde::{Deserialize, Deserializer, de::Error};
use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// `[listen]`: the three listeners. Port 0 takes a free one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenConfig {
    /// For anyone.
    pub front: SocketAddr,
    /// For the mesh's own processes.
    pub peer: SocketAddr,
    /// Plain HTTP: `/livez /readyz /metrics /loglevel`.
    pub admin: SocketAddr,
}

impl Default for ListenConfig {
    fn default() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { front: any, peer: any, admin: any }
    }
}

/// `[peer]`: the secret of the mesh's own processes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeerConfig {
    /// The token itself, 16 to 512 printable characters.
    #[serde(deserialize_with = "token")]
    pub token: Option<PeerToken>,
    /// A file that holds it.
    pub token_file: Option<PathBuf>,
}

impl PeerConfig {
    /// The token, from wherever it is. Without one the peer listener refuses everybody.
    ///
    /// # Errors
    /// If both are given, or the file is unreadable or holds no token.
    pub fn token(&self) -> Result<Option<PeerToken>, String> {
        match (&self.token, &self.token_file) {
            (Some(_), Some(_)) => Err("keys \"peer.token\" and \"peer.token_file\" exclude each other".into()),
            (Some(token), None) => Ok(Some(token.clone())),
            (None, None) => Ok(None),
            (None, Some(file)) => token_in("peer.token_file", file, PeerToken::new).map(Some),
        }
    }
}

/// The token in the file that a key names. Blocks on the disk.
fn token_in<T, E: fmt::Display>(key: &str, file: &Path, read: fn(&str) -> Result<T, E>) -> Result<T, String> {
    let shown = file.display();
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("key \"{key}\": cannot read \"{shown}\": {error}"))?;
    read(text.trim()).map_err(|error| format!("key \"{key}\": \"{shown}\": {error}"))
}

/// `[operator]`: the secret of those who may change the cell map.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OperatorConfig {
    /// A file that holds the token, 16 to 512 printable characters. Read at each call, so that it may come or change later.
    pub token_file: Option<PathBuf>,
}

impl OperatorConfig {
    /// The token in the file. Blocks on the disk.
    ///
    /// # Errors
    /// If no file is given, or it is unreadable or holds no token.
    pub fn token(&self) -> Result<OperatorToken, String> {
        let file = self.token_file.as_ref().ok_or("key \"operator.token_file\" is missing")?;
        token_in("operator.token_file", file, OperatorToken::new)
    }
}

/// `[map]`: where the cell map is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MapConfig {
    /// The map's file.
    pub file: PathBuf,
    /// Whether newer versions are taken over while running.
    pub watch: bool,
    /// Front doors (`host:port`) of routers and services that have the map, the preferred one first: the file is a copy of
    /// theirs, kept up to date while one of them answers. None: somebody else writes the file.
    pub upstream: Vec<String>,
}

impl Default for MapConfig {
    fn default() -> Self {
        Self { file: PathBuf::new(), watch: true, upstream: Vec::new() }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object per line.
    #[default]
    Json,
    /// For people.
    Text,
}

/// `[telemetry]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// URL of an OTLP/gRPC collector like `http://127.0.0.1:4317`; empty: off.
    pub otlp: String,
    /// `service.name` of traces; empty: the process's own.
    pub service_name: String,
    /// Log filter, like `info` or `info,storage=debug`. Can be changed at run time by `PUT /loglevel`.
    pub log: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Part of new traces that is sampled, 0.0 to 1.0; a caller's decision is followed.
    pub sample_ratio: f64,
    /// Spans that may wait for the exporter; more are dropped, and counted by the SDK's own log.
    pub span_queue: usize,
    /// Log lines that may wait for the writer; more are dropped, and counted.
    pub log_queue: usize,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            otlp: String::new(),
            service_name: String::new(),
            log: "info".into(),
            log_format: LogFormat::Json,
            sample_ratio: 1.0,
            span_queue: 1 << 16,
            log_queue: 1 << 15,
        }
    }
}

/// `[limits]`: what a listener grants. tonic's own defaults are off or far wider: no bound on streams, none on resets it is made to send.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Connections at once, per listener.
    pub connections: usize,
    /// Streams at once, per connection (`SETTINGS_MAX_CONCURRENT_STREAMS`).
    pub streams: u32,
    /// Calls at once, per process.
    pub calls: usize,
    /// Server streams at once, per process: they last, and take no place of a call.
    pub server_streams: usize,
    /// Streams that the caller's errors made us reset, before the connection ends with ENHANCE_YOUR_CALM.
    pub local_error_resets: usize,
    /// Streams reset by the caller before we accepted them, before the same.
    pub pending_accept_resets: usize,
    /// Bytes of a request's headers.
    pub header_bytes: u32,
    /// Flow-control window of a stream.
    pub stream_window_bytes: u32,
    /// Flow-control window of a connection.
    pub connection_window_bytes: u32,
    /// Bytes of a request message after decompression, where the method's policy does not say.
    pub message_bytes: usize,
    /// Bytes of requests held in memory, per connection.
    pub connection_budget_bytes: usize,
    /// Bytes of requests held in memory, per process.
    pub budget_bytes: usize,
    /// Time for the HTTP/2 preface.
    pub handshake_ms: u64,
    /// Interval of PINGs, and the time for their answer.
    pub keepalive_ms: u64,
    /// Time without a call after which a connection is closed.
    pub idle_ms: u64,
    /// Age at which a connection is closed gracefully, ± 10 %.
    pub max_age_ms: u64,
    /// Time that calls get when their connection has its age.
    pub age_grace_ms: u64,
    /// Deadline where neither caller nor policy gives one.
    pub default_deadline_ms: u64,
    /// Longest deadline granted.
    pub max_deadline_ms: u64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connections: 1024,
            streams: 100,
            calls: 1024,
            server_streams: 16_384,
            local_error_resets: 128,
            pending_accept_resets: 20,
            header_bytes: 8 << 10,
            stream_window_bytes: 64 << 10,
            connection_window_bytes: 1 << 20,
            message_bytes: 4 << 20,
            connection_budget_bytes: 8 << 20,
            budget_bytes: 64 << 20,
            handshake_ms: 5_000,
            keepalive_ms: 20_000,
            idle_ms: 300_000,
            max_age_ms: 900_000,
            age_grace_ms: 30_000,
            default_deadline_ms: 5_000,
            max_deadline_ms: 60_000,
        }
    }
}

impl LimitsConfig {
    /// The same as they hold on one listener. A peer's connection carries the calls and long streams of many: what some of
    /// them cancel must not end it, and headers that were short enough at the front have grown by what a router adds.
    #[must_use]
    pub fn on(&self, listener: Listener) -> Self {
        match listener {
            Listener::Front => self.clone(),
            Listener::Peer => Self {
                streams: self.streams.max(1_000),
                pending_accept_resets: self.pending_accept_resets.max(10_000),
                header_bytes: self.header_bytes.saturating_add(2 << 10),
                ..self.clone()
            },
        }
    }

    /// Deadline where neither caller nor policy gives one.
    #[must_use]
    pub fn default_deadline(&self) -> Duration {
        Duration::from_millis(self.default_deadline_ms)
    }

    /// Longest deadline granted.
    #[must_use]
    pub fn max_deadline(&self) -> Duration {
        Duration::from_millis(self.max_deadline_ms)
    }
}

/// `[drain]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DrainConfig {
    /// Time that running calls get at shutdown.
    pub grace_ms: u64,
    /// Time between "not ready" and the first GOAWAY, for balancers to notice.
    pub notice_ms: u64,
}

impl Default for DrainConfig {
    fn default() -> Self {
        Self { grace_ms: 10_000, notice_ms: 0 }
    }
}

impl DrainConfig {
    /// Time that running calls get at shutdown.
    #[must_use]
    pub fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
}

/// `[services]`: what a `cell-services` process hosts, and how it reaches the rest.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServicesConfig {
    /// Names of the services to run; empty: all.
    pub run: Vec<String>,
    /// This cell's router, front listener: URL or address.
    pub router: String,
    /// This cell's router, peer listener: URL or address. Preferred.
    pub router_peer: String,
}

/// `[database]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseConfig {
    /// The SQLite file.
    pub path: PathBuf,
}

/// `[seal]`: the mesh-wide keys of page and preview tokens. The first seals, all open.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SealConfig {
    /// The keys.
    pub keys: Vec<SealKeyConfig>,
}

/// One key of `[seal]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealKeyConfig {
    /// Its number, kept in the tokens it seals.
    pub id: u32,
    /// 32 bytes in base64.
    pub secret: String,
}

impl fmt::Debug for SealKeyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKeyConfig").field("id", &self.id).finish_non_exhaustive()
    }
}

fn token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PeerToken>, D::Error> {
    let token = Option::<String>::deserialize(deserializer)?;
    token.filter(|token| !token.is_empty()).map(|token| PeerToken::new(&token).map_err(D::Error::custom)).transpose()
}
