//! The operator's commands: each asks a router's control service and shows the answer as text or JSON.

mod check;
mod explain;
mod map_apply;
mod map_show;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use map_apply::ApplyArgs;
use mesh_proto::control_v1::{control_service_client::ControlServiceClient, map_service_client::MapServiceClient};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// Longest wait for a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// The deadline of each call.
const DEADLINE: Duration = Duration::from_secs(10);

/// Commands for operators.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// The cell map
    #[command(subcommand)]
    Map(MapCommand),
    /// Who is home for a user key, and why
    Explain {
        /// The user key: text, or an integer in decimal
        key: String,
    },
    /// Whether the mesh is well, seen from this router; exit code 1 if not
    Check,
}

/// Commands about the cell map.
#[derive(Debug, Clone, Subcommand)]
pub enum MapCommand {
    /// The map in force at the router
    Show,
    /// Publish the version of the map that has the wanted cells, in its file or through the router; nobody's home changes
    Apply(ApplyArgs),
}

/// What to print, and whether all is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// For standard output.
    pub text: String,
    /// False: the exit code is 1.
    pub well: bool,
}

/// Runs a command against the router at `address` (`HOST:PORT`).
///
/// # Errors
/// If the router cannot be reached or refuses; the error says why and what to do.
pub async fn run(address: &str, json: bool, command: Command) -> anyhow::Result<Report> {
    let well = |text| Report { text, well: true };
    match command {
        Command::Map(MapCommand::Show) => {
            Ok(well(map_show::run(MapServiceClient::new(connect(address).await?), json).await?))
        }
        Command::Map(MapCommand::Apply(args)) => Ok(well(map_apply::run(address, &args, json).await?)),
        Command::Explain { key } => Ok(well(explain::run(Client::new(connect(address).await?), json, key).await?)),
        Command::Check => check::run(address, json).await,
    }
}

type Client = ControlServiceClient<Channel>;
type Maps = MapServiceClient<Channel>;

pub(crate) async fn connect(address: &str) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .ok()
        .filter(|endpoint| endpoint.uri().port().is_some() && endpoint.uri().path() == "/");
    let Some(endpoint) = endpoint else { bail!("--router '{address}' is not HOST:PORT, like 127.0.0.1:7000") };
    let channel = endpoint.connect_timeout(CONNECT_LIMIT).connect().await.with_context(|| {
        format!("no router answers at {address}: is it running, and is this the front door? (--router HOST:PORT)")
    })?;
    Ok(channel)
}

pub(crate) fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

/// A refusal in an operator's words.
fn refused(status: &Status) -> anyhow::Error {
    let hint = match status.code() {
        Code::Unimplemented => "; what answers there is no cell-router: give the front door of one with --router",
        Code::Unavailable => "; the router went away or has not started fully: look at its /readyz and its log",
        Code::DeadlineExceeded => "; the router is overloaded or stuck: look at its /metrics and its log",
        _ => "",
    };
    anyhow::anyhow!("the router answers {:?}: {}{hint}", status.code(), status.message())
}

fn to_json(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).expect("a JSON value can be written")
}
