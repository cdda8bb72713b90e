//! Who may talk to whom by the NetworkPolicies, and who does.

mod policy;
mod watch;

pub(super) use watch::Watch;

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Whoever is no part of a cell, as a caller: of them the policies say nothing, only of what they call.
pub(super) const ANYBODY: &str = "anybody";

/// Who connects to which port of whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    /// A part of a cell, as `router of bj-1`, or [`ANYBODY`].
    pub from: String,
    /// The same, or another pod by its name in its labels.
    pub to: String,
    pub port: u16,
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}:{}", self.from, self.to, self.port)
    }
}

type Labels = BTreeMap<String, String>;

/// What the policies and the comparison ask of a pod.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    namespace: String,
    pub name: String,
    pub ip: String,
    labels: Labels,
    /// Ports that its containers name.
    ports: Vec<(String, u16)>,
}

impl Pod {
    fn read(pod: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        let ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
        let port = |port: &Value| {
            Some((text(&port["name"]), port["containerPort"].as_u64().and_then(|number| u16::try_from(number).ok())?))
        };
        Self {
            namespace: text(&pod["metadata"]["namespace"]),
            name: text(&pod["metadata"]["name"]),
            ip: text(&pod["status"]["podIP"]),
            labels: labels(&pod["metadata"]["labels"]),
            ports: ports.filter_map(port).collect(),
        }
    }

    fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// The part of a cell that it is.
    fn part(&self) -> Option<String> {
        let (component, cell) = (self.label("app.kubernetes.io/component"), self.label("cellmesh/cell"));
        let is_part = self.label("app.kubernetes.io/name") == "cellmesh" && component != "test" && !cell.is_empty();
        is_part.then(|| format!("{component} of {cell}"))
    }

    fn as_caller(&self) -> String {
        self.part().unwrap_or_else(|| ANYBODY.to_owned())
    }

    pub fn as_called(&self) -> String {
        let name = || match (self.label("app.kubernetes.io/name"), self.label("k8s-app")) {
            ("", "") => self.name.clone(),
            ("", name) | (name, _) => name.to_owned(),
        };
        self.part().unwrap_or_else(name)
    }
}

fn labels(value: &Value) -> Labels {
    let pairs = value.as_object().into_iter().flatten();
    pairs.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

/// Edges that the policies allow between these pods and that begin or end at a part of a cell. All three as `kubectl get -o json`
/// tells them. Pods that are ending are left out: a release's policies go before its pods.
pub(super) fn allowed(policies: &Value, pods: &Value, namespaces: &Value) -> BTreeSet<Edge> {
    let spaces: BTreeMap<String, Labels> = items(namespaces)
        .map(|space| {
            let name = space["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            (name, labels(&space["metadata"]["labels"]))
        })
        .collect();
    let pods: Vec<Pod> =
        items(pods).filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).map(Pod::read).collect();
    let policies: Vec<&Value> = items(policies).collect();
    let judge = policy::Judge { policies: &policies, spaces: &spaces };
    let mut edges = BTreeSet::new();
    for from in &pods {
        for to in pods.iter().filter(|to| (&to.namespace, &to.name) != (&from.namespace, &from.name)) {
            if from.part().is_none() && to.part().is_none() {
                continue;
            }
            for (_, port) in &to.ports {
                if judge.allows(from, to, *port) {
                    edges.insert(Edge { from: from.as_caller(), to: to.as_called(), port: *port });
                }
            }
        }
    }
    edges
}

#[cfg(test)]
mod tests;
