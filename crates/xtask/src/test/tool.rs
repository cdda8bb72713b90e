//! Tools that the checks run, in pinned versions, kept in a cache folder.

use crate::workspace::{cargo, root};
use anyhow::{Context as _, bail};
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    /// Calls gRPC services by reflection.
    Grpcurl,
    /// Lints .proto files.
    Buf,
    /// Licences, duplicates, bans, sources.
    CargoDeny,
    /// Renders and installs charts.
    Helm,
    /// Checks objects against schemas.
    Kubeconform,
}

impl Tool {
    pub const ALL: [Self; 5] = [Self::Grpcurl, Self::Buf, Self::CargoDeny, Self::Helm, Self::Kubeconform];

    fn name(self) -> &'static str {
        match self {
            Self::Grpcurl => "grpcurl",
            Self::Buf => "buf",
            Self::CargoDeny => "cargo-deny",
            Self::Helm => "helm",
            Self::Kubeconform => "kubeconform",
        }
    }

    fn version(self) -> &'static str {
        match self {
            Self::Grpcurl => "1.9.4",
            Self::Buf => "1.75.0",
            Self::CargoDeny => "0.20.2",
            Self::Helm => "3.22.0",
            Self::Kubeconform => "0.8.0",
        }
    }

    /// Where the program lies in the folder that it was installed into.
    fn program(self) -> &'static str {
        match self {
            Self::Grpcurl => "bin/grpcurl",
            Self::Buf => "node_modules/.bin/buf",
            Self::CargoDeny => "bin/cargo-deny",
            Self::Helm => "bin/helm",
            Self::Kubeconform => "bin/kubeconform",
        }
    }

    /// What installs it, and what a machine without that can do.
    fn installer(self, into: &Path) -> (Command, &'static str) {
        let version = self.version();
        match self {
            Self::Grpcurl => go_install("github.com/fullstorydev/grpcurl/cmd/grpcurl", version, into),
            Self::Helm => go_install("helm.sh/helm/v3/cmd/helm", version, into),
            Self::Kubeconform => go_install("github.com/yannh/kubeconform/cmd/kubeconform", version, into),
            Self::Buf => {
                let mut npm = Command::new("npm");
                npm.args(["install", "--no-audit", "--no-fund", "--loglevel", "error", "--prefix"]).arg(into);
                npm.arg(format!("@bufbuild/buf@{version}"));
                (npm, "install Node.js with npm")
            }
            Self::CargoDeny => {
                let mut command = cargo();
                command
                    .args(["install", "--quiet", "--locked", "cargo-deny", "--version", version, "--root"])
                    .arg(into);
                // It runs for seconds, so it need not take minutes to optimise.
                command.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
                command.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16").env("CARGO_PROFILE_RELEASE_DEBUG", "0");
                command.env("CARGO_TARGET_DIR", into.join("target"));
                (command, "look at what cargo says above")
            }
        }
    }
}

fn go_install(package: &str, version: &str, into: &Path) -> (Command, &'static str) {
    let mut go = Command::new("go");
    go.args(["install", "-ldflags", "-s -w", &format!("{package}@v{version}")]);
    go.env("GOBIN", into.join("bin")).env("CGO_ENABLED", "0");
    (go, "install Go 1.24 or later")
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name(), self.version())
    }
}

/// The folder of installed tools.
#[derive(Debug)]
pub(crate) struct Toolbox {
    folder: PathBuf,
}

impl Toolbox {
    /// `$CELLMESH_CACHE/tools`, by default in the user's cache folder.
    pub fn open() -> anyhow::Result<Self> {
        let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = of("CELLMESH_CACHE")
            .or_else(|| of("XDG_CACHE_HOME").map(|cache| cache.join("cellmesh")))
            .or_else(|| of("HOME").map(|home| home.join(".cache/cellmesh")));
        let cache = cache.context("neither $CELLMESH_CACHE nor $HOME says where to keep tools")?;
        Ok(Self { folder: cache.join("tools") })
    }

    /// Where else something is kept: a folder beside the tools.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.with_file_name(name)
    }

    pub fn has(&self, tool: Tool) -> bool {
        self.program(tool).is_file()
    }

    /// Installs a tool if it is missing: into a folder beside its own, which is then moved there as a whole.
    pub fn install(&self, tool: Tool) -> anyhow::Result<()> {
        if self.has(tool) {
            return Ok(());
        }
        println!("installing {tool}");
        let fill = |new: &Path| {
            let (mut command, hint) = tool.installer(new);
            let name = command.get_program().to_string_lossy().into_owned();
            let result = match command.stdin(Stdio::null()).status() {
                Err(error) => Err(anyhow::anyhow!("`{name}` does not run ({error}): {hint}")),
                Ok(status) if !status.success() => Err(anyhow::anyhow!("`{name}` ended with {status}: {hint}")),
                Ok(_) if !new.join(tool.program()).is_file() => {
                    Err(anyhow::anyhow!("`{name}` installed no {}", tool.program()))
                }
                Ok(_) => Ok(()),
            };
            // Build products are of no further use.
            let _ = fs::remove_dir_all(new.join("target"));
            result
        };
        let own = self.own_folder(tool);
        // It lacks the program.
        let _ = fs::remove_dir_all(&own);
        self.folder(&format!("{}-{}", tool.name(), tool.version()), fill).map(drop)
    }

    /// A folder of the cache; if it is missing it is filled beside its place and then moved there as a whole.
    pub fn folder(&self, name: &str, fill: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<PathBuf> {
        let own = self.folder.join(name);
        if own.is_dir() {
            return Ok(own);
        }
        let new = self.folder.join(format!("new-{name}-{}", std::process::id()));
        fs::create_dir_all(&new).with_context(|| format!("making {}", new.display()))?;
        if let Err(error) = fill(&new) {
            let _ = fs::remove_dir_all(&new);
            return Err(error);
        }
        fs::rename(&new, &own).with_context(|| format!("moving {name} to {}", own.display()))?;
        Ok(own)
    }

    /// A command of the tool in the workspace's root; `None` if it could not be installed, which was reported.
    pub fn command(&self, tool: Tool) -> Option<Command> {
        let mut command = Command::new(self.program(tool));
        command.current_dir(root());
        self.has(tool).then_some(command)
    }

    /// `$PATH` with the tools in front.
    pub fn path(&self) -> anyhow::Result<OsString> {
        let present = Tool::ALL.into_iter().filter(|tool| self.has(*tool));
        let mut folders: Vec<PathBuf> = Vec::new();
        for tool in present {
            match self.program(tool).parent() {
                Some(folder) => folders.push(folder.to_owned()),
                None => bail!("{tool} lies in no folder"),
            }
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        folders.extend(std::env::split_paths(&path));
        std::env::join_paths(folders).context("a folder's name cannot stand in $PATH")
    }

    fn own_folder(&self, tool: Tool) -> PathBuf {
        self.folder.join(format!("{}-{}", tool.name(), tool.version()))
    }

    fn program(&self, tool: Tool) -> PathBuf {
        self.own_folder(tool).join(tool.program())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_counts_as_installed_only_in_its_pinned_version() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let tools = Toolbox { folder: folder.path().to_owned() };
        let put = |version: &str| {
            let bin = folder.path().join(format!("grpcurl-{version}/bin"));
            fs::create_dir_all(&bin).and_then(|()| fs::write(bin.join("grpcurl"), "")).expect("a file");
        };
        put("0.0.1");
        assert!(!tools.has(Tool::Grpcurl));
        put(Tool::Grpcurl.version());
        assert!(tools.has(Tool::Grpcurl));
        let path = tools.path().expect("a path");
        let first = std::env::split_paths(&path).next().expect("a folder");
        assert!(first.ends_with(format!("grpcurl-{}/bin", Tool::Grpcurl.version())), "{first:?}");
    }
}
