//! `cargo xtask test` and `cargo xtask soak`.

mod chart;
mod outcome;
mod part;
mod program;
mod report;
pub(crate) mod tool;

use crate::{build, workspace};
use anyhow::{Context as _, bail};
use clap::Args;
use outcome::Outcome;
use part::Part;
use program::Program;
use report::Report;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;
use tool::{Tool, Toolbox};

/// Options of both.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Only these parts; what they need is built all the same
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<Part>,
    /// Do not fail if something had to be skipped; it is named
    #[arg(long)]
    allow_skip: bool,
}

/// How much is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// Enough for every change.
    Small,
    /// Enough for a release: the full N, and ignored tests too.
    Full,
}

/// Runs the parts; true if nothing failed.
pub(crate) fn run(args: &TestArgs, size: Size) -> anyhow::Result<bool> {
    let parts = Part::chosen(&args.only);
    let mut run = Run::new(size)?;
    run.install(&parts);
    for part in parts {
        run.part(part);
    }
    let (text, well) = run.report.finish(args.allow_skip);
    println!("{text}");
    Ok(well)
}

/// What the parts share.
struct Run {
    size: Size,
    tools: Toolbox,
    report: Report,
    /// Folder of the release binaries, once built; an error is reported where they are built.
    bin_dir: Option<Option<PathBuf>>,
    /// All test programs, once built.
    programs: Option<Vec<Program>>,
}

impl Run {
    fn new(size: Size) -> anyhow::Result<Self> {
        Ok(Self { size, tools: Toolbox::open()?, report: Report::default(), bin_dir: None, programs: None })
    }

    /// Does one thing under a name, times it, and notes what came of it.
    fn timed(&mut self, name: &'static str, act: impl FnOnce(&mut Self) -> anyhow::Result<Outcome>) {
        println!("== {name}");
        let started = Instant::now();
        let outcome = act(self).unwrap_or_else(|error| {
            println!("{name}: {error:#}");
            Outcome::failed(name, &format!("{error:#}"))
        });
        self.report.add(name, started.elapsed(), outcome);
    }

    /// Installs what the parts need. A tool that cannot be installed fails the part that wants it.
    fn install(&mut self, parts: &[Part]) {
        let needed: Vec<Tool> =
            Tool::ALL.into_iter().filter(|tool| parts.iter().any(|part| part.needs(*tool))).collect();
        if needed.iter().all(|tool| self.tools.has(*tool)) {
            return;
        }
        self.timed("tools", |run| {
            let mut outcome = Outcome::default();
            for tool in needed {
                match run.tools.install(tool) {
                    Ok(()) => {}
                    Err(error) => outcome.skipped.push(format!("everything with {tool}, because {error:#}")),
                }
            }
            Ok(outcome)
        });
    }

    fn part(&mut self, part: Part) {
        match part {
            Part::Fmt => self.timed("fmt", |_| check(workspace::cargo().args(["fmt", "--all", "--check"]))),
            Part::Layers => self.timed("layers", |_| {
                println!("{}", crate::layers::run()?);
                Ok(Outcome::passed(1))
            }),
            Part::Clippy => self.timed("clippy", |_| {
                check(workspace::cargo().args([
                    "clippy",
                    "--locked",
                    "--workspace",
                    "--all-targets",
                    "--",
                    "-D",
                    "warnings",
                ]))
            }),
            Part::Doc => self.timed("doc", |_| {
                check(
                    workspace::cargo()
                        .args(["doc", "--locked", "--workspace", "--no-deps"])
                        .env("RUSTDOCFLAGS", "-D warnings"),
                )
            }),
            Part::Deny => self.timed("deny", |run| match run.tools.command(Tool::CargoDeny) {
                None => Ok(Outcome::default()),
                Some(mut deny) => {
                    check(deny.args(["--locked", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"]))
                }
            }),
            Part::Buf => self.timed("buf", |run| match run.tools.command(Tool::Buf) {
                None => Ok(Outcome::default()),
                Some(mut buf) => check(buf.arg("lint")),
            }),
            Part::Helm => self.timed("helm", |run| chart::run(&run.tools)),
            Part::Build => drop(self.bin_dir()),
            Part::Unit => self.programs("unit", |package| package != "lab" && package != "cellctl"),
            Part::Docs => self.timed("doctests", |run| {
                let mut command = workspace::cargo();
                command.args(["test", "--locked", "--workspace", "--doc", "--quiet", "--"]);
                program::counted("doc tests", &mut command, run.size)
            }),
            Part::Stranger => self.timed("stranger", |run| {
                let mut command = stranger()?;
                program::counted("stranger", &mut command, run.size)
            }),
            Part::E2e => self.programs("e2e", |package| package == "lab"),
            Part::Demo => self.programs("demo", |package| package == "cellctl"),
        }
    }

    /// Builds the release binaries once.
    fn bin_dir(&mut self) -> Option<PathBuf> {
        if self.bin_dir.is_none() {
            self.timed("build", |run| {
                run.bin_dir = Some(None);
                run.bin_dir = Some(Some(build::mesh()?));
                Ok(Outcome::passed(1))
            });
        }
        self.bin_dir.clone().flatten()
    }

    /// Runs the test programs of some packages. All are built together, so that features are resolved, and dependencies
    /// built, only once.
    fn programs(&mut self, name: &'static str, of: impl Fn(&str) -> bool) {
        let bin_dir = self.bin_dir();
        if self.programs.is_none() {
            self.timed("build tests", |run| {
                run.programs = Some(Vec::new());
                run.programs = Some(program::build()?);
                Ok(Outcome::passed(1))
            });
        }
        let programs = self.programs.clone().unwrap_or_default();
        self.timed(name, |run| {
            let mut outcome = Outcome::default();
            for program in programs.iter().filter(|program| of(&program.package)) {
                let mut command = program.command();
                command.env("PATH", run.tools.path()?);
                if let Some(dir) = &bin_dir {
                    command.env("CELLMESH_BIN_DIR", dir);
                }
                outcome.add(program::counted(&program.name, &mut command, run.size)?);
            }
            Ok(outcome)
        });
    }
}

/// The tests of a crate that knows the workspace by path only, in the versions that the workspace was tested with.
fn stranger() -> anyhow::Result<Command> {
    let root = workspace::root();
    let folder = root.join("client-sdk/stranger");
    std::fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).context("handing on Cargo.lock")?;
    let mut command = workspace::cargo();
    command.arg("test").arg("--manifest-path").arg(folder.join("Cargo.toml"));
    command.arg("--target-dir").arg(workspace::target_dir()?.join("stranger")).args(["--quiet", "--"]);
    Ok(command)
}

/// A command that passes by its exit code.
fn check(command: &mut Command) -> anyhow::Result<Outcome> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("running {name}"))?;
    if !status.success() {
        bail!("ended with {status}");
    }
    Ok(Outcome::passed(1))
}
