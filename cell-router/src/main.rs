//! The process `cell-router`.

use cell_router::{Config, process};
use clap::Parser;
use service_runtime::host::{self, ProcessArgs};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Routes calls of any annotated proto to the home cells of their users
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    process: ProcessArgs,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let run = || {
        let config = Config::read(&args.process.sources)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(process::run(config, &args.process))
    };
    host::exit("cell-router", run())
}
