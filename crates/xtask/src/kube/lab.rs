//! The cluster: `lab/kube/up` and its siblings, and what they need.

use crate::{
    test::tool::Toolbox,
    workspace::{output, root},
};
use anyhow::{Context as _, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Version of Jaeger, which is also the tag of its image.
pub(super) const JAEGER: &str = "1.76.0";

/// A running cluster. It ends when this process does, however it ends.
pub(super) struct Lab {
    bin: PathBuf,
    /// Takes the cluster down when its standard input ends.
    end: Option<Child>,
}

/// A script of the folder.
fn script(name: &str, bin: &Path) -> Command {
    let mut command = Command::new(root().join("lab/kube").join(name));
    command.current_dir(root()).env("KUBE_BIN", bin);
    command
}

/// Jaeger's program, built if it is missing.
pub(super) fn jaeger(tools: &Toolbox) -> anyhow::Result<PathBuf> {
    let path = tools.beside("kube").join("jaeger");
    if !path.is_file() {
        println!("building Jaeger {JAEGER}");
        let module = "github.com/jaegertracing/jaeger";
        let mut go = script("go-tool", &tools.beside("kube"));
        go.args([module, &format!("v{JAEGER}"), &format!("{module}/cmd/jaeger")]).arg(&path);
        ensure!(go.status()?.success(), "building Jaeger failed");
    }
    Ok(path)
}

impl Lab {
    /// Builds what is missing, and brings the cluster up.
    pub fn up(tools: &Toolbox, keep: bool) -> anyhow::Result<Self> {
        let bin = tools.beside("kube");
        ensure!(script("build-binaries", &bin).status()?.success(), "building Kubernetes failed");
        let end = if keep { None } else { Some(watch(&bin)?) };
        let lab = Self { bin, end };
        ensure!(script("up", &lab.bin).status()?.success(), "the cluster does not come up");
        Ok(lab)
    }

    /// Imports an image's archive.
    pub fn load(&self, archive: &Path) -> anyhow::Result<()> {
        output(script("load-image", &self.bin).arg(archive)).map(drop)
    }

    /// Process number of the cluster's first process, in whose namespaces everything runs.
    pub fn init(&self) -> anyhow::Result<String> {
        let text = fs::read_to_string("/tmp/kube-lab/run/init.pid").context("the cluster's first process")?;
        text.split(' ').next().map(str::to_owned).context("no process number")
    }

    /// A command of kubectl.
    pub fn kubectl(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.bin.join("kubectl"));
        command.args(args);
        with_config(command)
    }

    /// Ends it.
    pub fn down(mut self) -> anyhow::Result<()> {
        match self.end.take() {
            Some(mut end) => {
                drop(end.stdin.take());
                ensure!(end.wait()?.success(), "the cluster does not go down");
            }
            None => ensure!(script("down", &self.bin).status()?.success(), "the cluster does not go down"),
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(mut end) = self.end.take() {
            drop(end.stdin.take());
            // Whatever it says was printed.
            let _ = end.wait();
        }
    }
}

/// A command that talks to the cluster.
pub(super) fn with_config(mut command: Command) -> Command {
    command.current_dir(root()).env("KUBECONFIG", "/tmp/kube-lab/kubeconfig");
    command
}

fn watch(bin: &Path) -> anyhow::Result<Child> {
    // In a session of its own, so that Ctrl-C does not end it before its work.
    let mut command = Command::new("setsid");
    command.args(["sh", "-c", "cat > /dev/null; exec lab/kube/down"]).current_dir(root()).env("KUBE_BIN", bin);
    command.stdin(Stdio::piped()).spawn().context("running setsid")
}
