//! The command line.

use crate::demo::{self, DemoArgs};
use crate::lifeline;
use crate::link::{Link, Route};
use crate::operator;
use crate::probe::{self, ProbeArgs};
use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use std::process::ExitCode;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Operates a cellmesh through one of its routers, and runs the demo.
#[derive(Debug, Parser)]
#[command(name = "cellctl", version)]
pub struct Cli {
    /// Front door of the router to ask
    #[arg(long, global = true, value_name = "HOST:PORT", default_value = "127.0.0.1:7000")]
    router: String,
    /// Answer in JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Operator(operator::Command),
    /// Runs two regions on this machine until Ctrl-C
    Demo(DemoArgs),
    /// Registers a member of the shop through the router and reads him back; exit code 1 if that fails
    Probe(ProbeArgs),
    /// Carries TCP connections with the delay of a long way
    Link(LinkArgs),
}

#[derive(Debug, Args)]
struct LinkArgs {
    /// Where to listen and where to connect to; repeatable
    #[arg(long = "route", value_name = "LISTEN=TARGET", required = true)]
    routes: Vec<Route>,
    /// Round trip in milliseconds: half of it is added each way
    #[arg(long, value_name = "MS", default_value_t = 30)]
    rtt_ms: u64,
    /// End when standard input ends
    #[arg(long)]
    exit_with_stdin: bool,
}

/// Runs the program to its end.
///
/// # Errors
/// What went wrong, for people.
pub async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Operator(command) => {
            let report = operator::run(&cli.router, cli.json, command).await?;
            println!("{}", report.text);
            Ok(if report.well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Demo(args) => demo::run(args).await.map(|()| ExitCode::SUCCESS),
        Command::Probe(args) => {
            println!("{}", probe::run(&cli.router, cli.json, &args).await?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Link(args) => link(args).await.map(|()| ExitCode::SUCCESS),
    }
}

async fn link(args: LinkArgs) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    let link = Link::bind(&args.routes, Duration::from_millis(args.rtt_ms)).await?;
    if args.exit_with_stdin {
        lifeline::cancel_at_stdin_end(shutdown.clone()).context("starting a thread")?;
    }
    for Route { listen, target } in link.routes() {
        println!("{listen} -> {target}, round trip {} ms", args.rtt_ms);
    }
    let mut signals = demo::Signals::listen()?;
    tokio::select! {
        () = link.run(shutdown) => {}
        () = signals.next() => {}
    }
    Ok(())
}
