//! The chart: it is clean, renders what Kubernetes accepts, refuses what is wrong by name, and its pods may run anywhere.

mod pods;
mod schemas;

use super::{
    outcome::Outcome,
    tool::{Tool, Toolbox},
};
use crate::workspace::{output, root};
use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Versions of Kubernetes whose schemas the rendered objects are checked against: the oldest and the newest supported one.
const KUBERNETES: [&str; 2] = ["1.31.14", "1.34.4"];
/// Where values for users to begin with lie. Each file is rendered.
const EXAMPLES: [&str; 2] = ["helm/cellmesh/examples", "k8s/example"];
/// What the example has besides.
const EXAMPLE_OBJECTS: [&str; 2] = ["k8s/example/namespaces.yaml", "k8s/example/jaeger.yaml"];
const BAD_VALUES: &str = "helm/cellmesh/tests/bad-values.yaml";
const RELEASE: &str = "cellmesh";
/// What a rendered ServiceMonitor needs; its schema is not Kubernetes' own.
const MONITORING: &str = "monitoring.coreos.com/v1";

/// Values that must be refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bad {
    /// What the refusal must name.
    names: String,
    values: Value,
}

/// Everything; without the tools, which was reported, nothing.
pub(super) fn run(tools: &Toolbox) -> anyhow::Result<Outcome> {
    let (Some(helm), Some(conform)) = (tools.command(Tool::Helm), tools.command(Tool::Kubeconform)) else {
        return Ok(Outcome::default());
    };
    let helm = Helm(helm);
    let folders = KUBERNETES.map(|version| schemas::folder(tools, version));
    let mut checks = Checks::default();
    checks.note("helm lint --strict", helm.lint());
    let examples = examples()?;
    for file in &examples {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for (version, folder) in KUBERNETES.iter().zip(&folders) {
            let what = format!("{name} against Kubernetes {version}");
            let rendered = helm.render(file, version);
            checks.note(&what, rendered.and_then(|text| valid(&text, &conform, folder.as_ref())));
        }
        checks.note(&format!("pods of {name}"), helm.render(file, KUBERNETES[1]).and_then(|text| pods::check(&text)));
    }
    for name in EXAMPLE_OBJECTS {
        let text = fs::read_to_string(root().join(name)).context(name)?;
        for (version, folder) in KUBERNETES.iter().zip(&folders) {
            checks.note(&format!("{name} against Kubernetes {version}"), valid(&text, &conform, folder.as_ref()));
        }
    }
    let jaeger = fs::read_to_string(root().join(EXAMPLE_OBJECTS[1])).context(EXAMPLE_OBJECTS[1])?;
    checks.note("pods of the example", pods::check(&jaeger));
    let bad = fs::read_to_string(root().join(BAD_VALUES)).context(BAD_VALUES)?;
    let bad: Vec<Bad> = serde_saphyr::from_str(&bad).context(BAD_VALUES)?;
    for case in &bad {
        checks.note(&format!("{} is refused", case.values), refused(&helm, case));
    }
    println!("figure: chart value sets N={}", examples.len());
    println!("figure: chart bad values refused by name N={}", bad.len());
    Ok(checks.0)
}

/// Counts checks, and prints those that fail.
#[derive(Default)]
struct Checks(Outcome);

impl Checks {
    fn note(&mut self, what: &str, result: anyhow::Result<()>) {
        match result {
            Ok(()) => self.0.add(Outcome::passed(1)),
            Err(error) => {
                println!("{what}: {error:#}");
                self.0.add(Outcome::failed(what, &format!("{error:#}")));
            }
        }
    }
}

fn examples() -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in EXAMPLES {
        for entry in fs::read_dir(root().join(folder)).context(folder)? {
            let path = entry?.path();
            let is_values = |name: &str| name.starts_with("values-") && name.ends_with(".yaml");
            if path.file_name().is_some_and(|name| is_values(&name.to_string_lossy())) {
                files.push(path);
            }
        }
    }
    files.sort();
    ensure!(files.len() >= 8, "only {} examples of values", files.len());
    Ok(files)
}

struct Helm(Command);

impl Helm {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.0.get_program());
        command.current_dir(root()).args(args);
        command
    }

    fn lint(&self) -> anyhow::Result<()> {
        output(&mut self.command(&["lint", "--strict", "helm/cellmesh"])).map(drop)
    }

    fn render(&self, values: &Path, version: &str) -> anyhow::Result<String> {
        let template = ["template", RELEASE, "helm/cellmesh", "--namespace", "cellmesh", "--kube-version", version];
        output(self.command(&template).args(["--api-versions", MONITORING, "--values"]).arg(values))
    }
}

fn valid(objects: &str, conform: &Command, schemas: Result<&PathBuf, &anyhow::Error>) -> anyhow::Result<()> {
    let schemas = schemas.map_err(|error| anyhow::anyhow!("{error:#}"))?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("objects.yaml");
    fs::write(&file, objects)?;
    let location = schemas.join("{{ .ResourceKind }}{{ .KindSuffix }}.json");
    let mut command = Command::new(conform.get_program());
    command.args(["-strict", "-skip", "ServiceMonitor", "-schema-location"]).arg(location).arg(&file);
    output(&mut command).map(drop)
}

fn refused(helm: &Helm, case: &Bad) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("values.json");
    fs::write(&file, case.values.to_string())?;
    match helm.render(&file, KUBERNETES[1]) {
        Ok(_) => anyhow::bail!("it is rendered"),
        Err(error) => {
            let text = format!("{error:#}");
            ensure!(text.contains(&case.names), "the refusal does not name {}: {text}", case.names);
            Ok(())
        }
    }
}
