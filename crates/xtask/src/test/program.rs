//! Test programs: built by one cargo command, run one after the other.

use super::Size;
use super::outcome::Outcome;
use crate::workspace::{cargo, metadata};
use anyhow::{Context as _, bail};
use cargo_metadata::Message;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long a program may run: with small N, and with the full one.
const LIMIT: [Duration; 2] = [Duration::from_secs(20 * 60), Duration::from_secs(12 * 3600)];

/// A test program.
#[derive(Debug, Clone)]
pub(super) struct Program {
    /// What people call it, like `storage (it)`.
    pub name: String,
    pub package: String,
    path: PathBuf,
    folder: PathBuf,
}

impl Program {
    /// Its command with what cargo gives it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder).env("CARGO_PKG_NAME", &self.package);
        command
    }
}

/// Builds the tests of the whole workspace.
pub(super) fn build() -> anyhow::Result<Vec<Program>> {
    let packages = metadata(false)?.packages;
    let mut command = cargo();
    command.args(["test", "--locked", "--workspace", "--no-run", "--message-format", "json-render-diagnostics"]);
    let mut cargo = command.stdout(Stdio::piped()).spawn().context("running cargo")?;
    let output = BufReader::new(cargo.stdout.take().context("cargo has no standard output")?);
    let mut programs = Vec::new();
    for message in Message::parse_stream(output) {
        let Message::CompilerArtifact(artifact) = message.context("reading cargo's messages")? else { continue };
        let (Some(path), true) = (artifact.executable, artifact.profile.test) else { continue };
        let package = packages.iter().find(|package| package.id == artifact.package_id);
        let package = package.with_context(|| format!("{path} belongs to no package of the workspace"))?;
        let folder = package.manifest_path.parent().context("a manifest has no folder")?.into();
        let name = format!("{} ({})", package.name, artifact.target.name);
        programs.push(Program { name, package: package.name.to_string(), path: path.into(), folder });
    }
    if !cargo.wait()?.success() {
        bail!("the tests do not build");
    }
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(programs)
}

/// Runs a test program (or a command that hands its last arguments to some) and reads its counts. What failed is shown with all that the program printed.
pub(super) fn counted(name: &str, command: &mut Command, size: Size) -> anyhow::Result<Outcome> {
    let (limit, soak) = match size {
        Size::Small => (LIMIT[0], false),
        Size::Full => (LIMIT[1], true),
    };
    command.arg("--show-output");
    if soak {
        command.arg("--include-ignored").env("CELLMESH_SOAK", "1");
    }
    let started = Instant::now();
    let (output, end) = run(command, limit).with_context(|| format!("running {name}"))?;
    let outcome = Outcome::read(name, &output, end == End::Well);
    if outcome.failed > 0 {
        println!("{output}");
    }
    if end == End::TooLong {
        println!("{name}: killed after {} s", limit.as_secs());
    }
    let took = started.elapsed().as_secs_f64();
    let Outcome { passed, failed, ignored, .. } = outcome;
    if passed + failed + ignored > 0 {
        println!("{name}: {passed} passed, {failed} failed, {ignored} ignored, {took:.1} s");
    }
    Ok(outcome)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Well,
    Badly,
    TooLong,
}

fn run(command: &mut Command, limit: Duration) -> anyhow::Result<(String, End)> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let output = BufReader::new(child.stdout.take().context("no standard output")?);
    let (sender, lines) = channel();
    // Ends with the output: when the child and all that hold its output are gone.
    std::thread::spawn(move || {
        for line in output.split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    let deadline = Instant::now() + limit;
    let mut text = String::new();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                text.push_str(&line);
                text.push('\n');
            }
            Err(RecvTimeoutError::Disconnected) => {
                let end = if child.wait()?.success() { End::Well } else { End::Badly };
                return Ok((text, end));
            }
            Err(RecvTimeoutError::Timeout) => {
                child.kill()?;
                child.wait()?;
                return Ok((text, End::TooLong));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_program_that_hangs_is_killed() {
        let (text, end) = run(&mut shell("echo begun; exec sleep 60"), Duration::from_millis(300)).expect("sh runs");
        assert_eq!((text.as_str(), end), ("begun\n", End::TooLong));
    }

    #[test]
    fn the_exit_code_decides() {
        let limit = Duration::from_secs(20);
        assert_eq!(run(&mut shell("exit 0"), limit).expect("sh runs").1, End::Well);
        assert_eq!(run(&mut shell("exit 3"), limit).expect("sh runs").1, End::Badly);
    }
}
