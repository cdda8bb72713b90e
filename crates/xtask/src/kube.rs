//! `cargo xtask kube-test`: a real Kubernetes of one node on this machine, three cells by the chart, and what they promise.

mod cells;
mod graph;
mod lab;
mod promises;

use crate::{
    build, image,
    test::tool::{Tool, Toolbox},
    workspace::target_dir,
};
use anyhow::Context as _;
use cells::Cells;
use clap::{Args, ValueEnum};
use lab::Lab;
use std::time::Instant;

/// Options.
#[derive(Debug, Args)]
pub(crate) struct KubeArgs {
    /// How to build the images: `release` (faster to build) or `dist`
    #[arg(long, default_value = "release", value_parser = ["dist", "release"])]
    profile: String,
    /// Only these promises
    #[arg(long, value_name = "PROMISE", value_delimiter = ',')]
    only: Vec<Promise>,
    /// Calls of each load
    #[arg(long, default_value_t = 10_000)]
    calls: usize,
    /// Leave the cluster and the cells running if a promise is broken; `lab/kube/down` ends them
    #[arg(long)]
    keep: bool,
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Promise {
    /// `helm test` passes in each cell; homing, one hop and a learnt redirect by grpcurl
    Routing,
    /// A PlaceOrder is one tree in Jaeger
    Traces,
    /// A cell of one process for each service, without volumes
    Apart,
    /// Pods are deleted and images change under load: no call fails
    Restarts,
    /// Without the global cell the others go on; the map is changed when it is there, and nothing undoes that
    GlobalLost,
    /// The NetworkPolicies allow what was called during all of the above, and nothing else
    Graph,
    /// `helm uninstall` leaves the claims that NOTES names, and nothing else
    Uninstall,
}

/// Runs it; true if every promise was kept. The cluster is taken down whatever happens.
pub(crate) fn run(args: &KubeArgs) -> anyhow::Result<bool> {
    let tools = Toolbox::open()?;
    for tool in [Tool::Helm, Tool::Grpcurl] {
        tools.install(tool)?;
    }
    let started = Instant::now();
    let say = |what: &str| println!("{:6.1} s  {what}", started.elapsed().as_secs_f64());
    let jaeger = lab::jaeger(&tools)?;
    let bin_dir = build::static_mesh(&args.profile, &["lab"])?;
    let lab = Lab::up(&tools, args.keep)?;
    say("the cluster is up");
    let out = target_dir()?.join("kube-images");
    for tag in ["1", "2"] {
        let mut files = image::write(&bin_dir, &out, tag)?;
        files.push(image::write_program(&bin_dir.join("lab"), "Load", &out, tag)?);
        files.iter().try_for_each(|file| lab.load(file))?;
    }
    lab.load(&image::write_program(&jaeger, "Jaeger", &out, lab::JAEGER)?)?;
    std::fs::remove_dir_all(&out).with_context(|| format!("removing {}", out.display()))?;
    say("the images are in");
    let cells = Cells::install(&tools, &lab, bin_dir)?;
    say("three cells are ready");
    let all = Promise::value_variants().iter().copied();
    let mut kept = true;
    for promise in all.filter(|promise| args.only.is_empty() || args.only.contains(promise)) {
        let seen = promises::look(promise, &cells, args.calls);
        match &seen {
            Ok(()) => say(&format!("{promise:?}: kept")),
            Err(error) => say(&format!("{promise:?}: BROKEN: {error:#}")),
        }
        kept &= seen.is_ok();
    }
    if kept || !args.keep {
        lab.down()?;
        say("the cluster is down");
    }
    Ok(kept)
}
