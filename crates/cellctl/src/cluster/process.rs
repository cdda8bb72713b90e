//! One child process: its log, its life, its end.

use anyhow::{Context as _, bail};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

/// Lines of a log that a failure shows.
const SHOWN_LINES: usize = 15;
/// Bytes at the end of a log in which these lines are looked for.
const SHOWN_BYTES: u64 = 16 << 10;

/// How to start a process, again if need be.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    /// What people call it, like `cell-router of bj-1`.
    pub name: String,
    pub program: PathBuf,
    pub args: Vec<String>,
    /// Standard output and error are appended to it.
    pub log: PathBuf,
    pub ready: Ready,
}

/// How to see that a process is ready.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ready {
    /// `GET /readyz` there answers 200.
    Admin(SocketAddr),
    /// It accepts connections there.
    Accepts(SocketAddr),
}

/// A process that is running, or was stopped and can be started again.
#[derive(Debug)]
pub(super) struct Process {
    spec: Spec,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    pid: u32,
    /// Closing it asks the child to drain and end; it closes by itself when this process dies.
    lifeline: Option<ChildStdin>,
}

impl Process {
    pub fn new(spec: Spec) -> Self {
        Self { spec, running: None }
    }

    pub fn log(&self) -> &Path {
        &self.spec.log
    }

    pub fn ready(&self) -> Ready {
        self.spec.ready
    }

    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.pid)
    }

    /// Starts it in a process group of its own, so that Ctrl-C in a terminal reaches the parent only.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let Spec { name, program, args, log, .. } = &self.spec;
        if self.running.is_some() {
            bail!("{name} is running already");
        }
        let output = open_log(log)?;
        let mut command = Command::new(program);
        // Its files configure a cluster, not what happens to be set where it is started.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"CELLMESH_")) {
            command.env_remove(name);
        }
        let mut child = command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(output.try_clone().context("duplicating a log's descriptor")?)
            .stderr(output)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {name}: {} does not run", program.display()))?;
        let pid = child.id().with_context(|| format!("{name} ended at once"))?;
        let lifeline = child.stdin.take();
        self.running = Some(Running { child, pid, lifeline });
        Ok(())
    }

    /// An error that says why, if the process has ended by itself.
    pub fn check(&mut self) -> anyhow::Result<()> {
        let Some(running) = &mut self.running else { return Ok(()) };
        match running.child.try_wait().with_context(|| format!("asking for the state of {}", self.spec.name))? {
            None => Ok(()),
            Some(status) => {
                self.running = None;
                Err(self.failure(&format!("ended with {status}")))
            }
        }
    }

    /// Asks the process to drain and end, and kills it after `limit`. One that does not run is stopped already.
    pub async fn stop(&mut self, limit: Duration) -> anyhow::Result<()> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        drop(running.lifeline.take());
        if let Ok(status) = timeout(limit, running.child.wait()).await {
            let status = status?;
            if !status.success() {
                return Err(self.failure(&format!("was asked to end and ended with {status}")));
            }
            return Ok(());
        }
        running.child.kill().await.with_context(|| format!("killing {}", self.spec.name))?;
        Err(self.failure(&format!("did not end within {} ms and was killed", limit.as_millis())))
    }

    /// `kill -9`, and waits until it is dead.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let Some(mut running) = self.running.take() else { bail!("{} is not running", self.spec.name) };
        running.child.kill().await.with_context(|| format!("killing {}", self.spec.name))
    }

    /// An error with what happened and the last lines of the log.
    pub fn failure(&self, what: &str) -> anyhow::Error {
        let lines = last_lines(&self.spec.log);
        let shown = if lines.is_empty() { "its log is empty".to_owned() } else { format!("its last lines:\n{lines}") };
        anyhow::anyhow!("{} {what}; {shown}", self.spec.name)
    }
}

fn open_log(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("opening the log {}", path.display()))
}

/// The last lines of a file, indented; empty if there is none.
fn last_lines(path: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(SHOWN_BYTES)))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        Ok(String::from_utf8_lossy(&tail).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(SHOWN_LINES);
    lines[from..].iter().map(|line| format!("  | {line}")).collect::<Vec<_>>().join("\n")
}
