#![doc = include_str!("../README.md")]

mod build;
mod image;
mod kube;
mod layers;
mod test;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// What is done to the workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Builds the release binaries and runs the demo
    Demo(build::Passed),
    /// Runs every check once with small N
    Test(test::TestArgs),
    /// Runs every check with the full N
    Soak(test::TestArgs),
    /// Builds with fat LTO and runs an experiment of the lab
    Lab(build::Passed),
    /// Writes container images of static binaries, as archives for containerd, podman and docker
    Image(image::ImageArgs),
    /// Brings up a real Kubernetes, installs three cells, and looks whether they do what they promise (root, minutes)
    KubeTest(kube::KubeArgs),
    /// Checks that dependencies point downward
    Layers,
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Demo(args) => build::demo(&args).map(|()| true),
        Task::Test(args) => test::run(&args, test::Size::Small),
        Task::Soak(args) => test::run(&args, test::Size::Full),
        Task::Lab(args) => build::lab(&args).map(|()| true),
        Task::Image(args) => image::run(&args).map(|()| true),
        Task::KubeTest(args) => kube::run(&args),
        Task::Layers => layers::run().map(|summary| println!("{summary}")).map(|()| true),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
