//! A process: command line, telemetry, signals, exit code.

use crate::{
    Config, RuntimeError,
    config::Sources,
    run::{Bound, Overrides, run_with},
    service::Service,
    telemetry,
};
use clap::{CommandFactory, FromArgMatches};
use mesh_policy::PolicyTable;
use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Arguments of every process of the mesh.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ProcessArgs {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub sources: Sources,
    /// Writes the bound addresses to this JSON file, once ready
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Drains when standard input ends, so that the process cannot outlive the one that holds the other end
    #[arg(long)]
    pub exit_with_stdin: bool,
}

/// Arguments of a process that hosts services.
#[derive(Clone, Debug, clap::Parser)]
struct HostArgs {
    #[command(flatten)]
    process: ProcessArgs,
    /// Services to run, separated by commas; default: `services.run`, else all
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    services: Vec<String>,
    /// Writes the protos of the services, with all that they import and all options, for a router's `router.descriptor_sets`,
    /// and ends
    #[arg(long, value_name = "FILE")]
    write_descriptor_set: Option<PathBuf>,
}

/// The whole story of a process that hosts any of these services.
pub fn main(name: &'static str, services: Vec<Box<dyn Service>>) -> ExitCode {
    let parsed = HostArgs::command().name(name).version(env!("CARGO_PKG_VERSION")).try_get_matches();
    let args = match parsed.and_then(|matches| HostArgs::from_arg_matches(&matches)) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    exit(
        name,
        match &args.write_descriptor_set {
            Some(file) => write_descriptor_set(file, &services),
            None => start(name, services, &args),
        },
    )
}

fn write_descriptor_set(file: &Path, services: &[Box<dyn Service>]) -> Result<(), RuntimeError> {
    let table = PolicyTable::from_descriptor_sets(services.iter().map(|service| service.descriptor_set()));
    let table = table.map_err(|errors| RuntimeError::Policy(errors.to_string()))?;
    let written = std::fs::write(file, table.file_descriptor_set_bytes());
    written.map_err(|error| RuntimeError::System { what: "write the descriptor set", error })
}

fn start(name: &'static str, services: Vec<Box<dyn Service>>, args: &HostArgs) -> Result<(), RuntimeError> {
    let (config, services) = configure(services, args)?;
    let runtime = tokio::runtime::Runtime::new();
    let runtime = runtime.map_err(|error| RuntimeError::System { what: "start threads", error })?;
    runtime.block_on(async {
        let telemetry = telemetry::init(&config.telemetry, name, config.cell.as_str())?;
        let shutdown = shutdown(args.process.exit_with_stdin)?;
        let (level, dropped_lines) = (Some(telemetry.level()), Some(telemetry.dropped_lines()));
        let overrides = Overrides { level, dropped_lines, ..Overrides::default() };
        let result = async {
            let running = run_with(services, config, shutdown.clone(), overrides).await?;
            announce(args.process.ready_file.as_deref(), running.bound(), running.ready(), &shutdown).await?;
            running.wait().await
        };
        let result = result.await;
        finish(telemetry).await;
        result
    })
}

/// The configuration, and the services that it chooses.
fn configure(
    mut services: Vec<Box<dyn Service>>,
    args: &HostArgs,
) -> Result<(Config, Vec<Box<dyn Service>>), RuntimeError> {
    let names: Vec<&str> = services.iter().map(|service| service.name()).collect();
    let mut config = Config::load(args.process.sources.read()?, &names)?;
    if !args.services.is_empty() {
        config.services.run.clone_from(&args.services);
    }
    if let Some(unknown) = config.services.run.iter().find(|name| !names.contains(&name.as_str())) {
        let known = names.join(", ");
        return Err(RuntimeError::Value(format!("key \"services.run\": no service \"{unknown}\", there are {known}")));
    }
    if !config.services.run.is_empty() {
        services.retain(|service| config.services.run.iter().any(|name| name == service.name()));
    }
    Ok((config, services))
}

/// Reports how a process ended: on standard error, for whoever started it.
pub fn exit(name: &str, result: Result<(), impl std::error::Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Sends the last spans; off the runtime's threads, for it blocks.
pub async fn finish(telemetry: telemetry::Telemetry) {
    let _ = tokio::task::spawn_blocking(move || telemetry.finish()).await;
}

/// A token that SIGTERM, SIGINT and, if asked for, the end of standard input cancel. A second signal ends the process
/// at once.
///
/// # Errors
/// If the signals cannot be listened for.
pub fn shutdown(with_stdin: bool) -> Result<CancellationToken, RuntimeError> {
    let token = CancellationToken::new();
    let listen = |kind| signal(kind).map_err(|error| RuntimeError::System { what: "listen for signals", error });
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let signalled = token.clone();
    tokio::spawn(async move {
        for first in [true, false] {
            let code = tokio::select! {
                _ = terminate.recv() => 143,
                _ = interrupt.recv() => 130,
            };
            if first {
                signalled.cancel();
            } else {
                std::process::exit(code);
            }
        }
    });
    if with_stdin {
        let token = token.clone();
        let watch = move || {
            // Whatever is written there is of no interest, only that it ends.
            let mut waste = [0; 256];
            while io::stdin().read(&mut waste).is_ok_and(|n| n > 0) {}
            token.cancel();
        };
        let thread = std::thread::Builder::new().name("stdin".into()).spawn(watch);
        thread.map_err(|error| RuntimeError::System { what: "start a thread", error })?;
    }
    Ok(token)
}

/// Waits until the process is ready, then writes the ready file, if one is asked for. Gives up when `shutdown` comes
/// first.
///
/// # Errors
/// If the file cannot be written.
pub async fn announce(
    file: Option<&Path>,
    bound: Bound,
    ready: impl Future<Output = ()>,
    shutdown: &CancellationToken,
) -> Result<(), RuntimeError> {
    let Some(file) = file else { return Ok(()) };
    if shutdown.run_until_cancelled(ready).await.is_none() {
        return Ok(());
    }
    write_ready_file(file, bound).map_err(|error| RuntimeError::ReadyFile { path: file.display().to_string(), error })
}

/// Writes `{"front": "…", "peer": "…", "admin": "…", "pid": …}`: whole or not at all, so that a reader who polls never
/// sees half of it.
fn write_ready_file(file: &Path, bound: Bound) -> io::Result<()> {
    let mut object = serde_json::to_value(bound)?;
    object["pid"] = std::process::id().into();
    let temporary = file.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&temporary, format!("{object}\n"))?;
    std::fs::rename(&temporary, file)
}
