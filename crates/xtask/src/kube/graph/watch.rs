//! Connections between pods, as the node's connection tracking sees them begin, over the whole life of the cluster.

use super::{Edge, Pod};
use crate::kube::lab::Lab;
use anyhow::{Context as _, ensure};
use serde_json::{Deserializer, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::BufReader,
    path::PathBuf,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// Writes down connections and pods until it is dropped.
pub(in super::super) struct Watch {
    folder: TempDir,
    children: Vec<Child>,
}

/// What was seen.
pub(in super::super) struct Seen {
    /// Connections that begin or end at a part of a cell.
    pub edges: BTreeSet<Edge>,
    /// Connections looked at.
    pub connections: usize,
    /// Pods that there were.
    pub pods: usize,
}

impl Watch {
    /// Begins, before there is any pod of a cell.
    pub fn begin(lab: &Lab) -> anyhow::Result<Self> {
        let mut watch = Self { folder: tempfile::tempdir()?, children: Vec::new() };
        let mut conntrack = Command::new("nsenter");
        // The buffer is for bursts: an event that is lost is an edge that was not seen.
        conntrack.args(["-t", &lab.init()?, "-n", "conntrack", "-E", "-e", "NEW", "-b", "8388608"]);
        watch.start(conntrack, "connections")?;
        watch.start(lab.kubectl(&["get", "pods", "-A", "-w", "-o", "json"]), "pods")?;
        Ok(watch)
    }

    fn start(&mut self, mut command: Command, name: &str) -> anyhow::Result<()> {
        let out = File::create(self.file(name))?;
        let errors = File::create(self.file(&format!("{name}.err")))?;
        let child = command.stdin(Stdio::null()).stdout(out).stderr(errors).spawn();
        self.children.push(child.with_context(|| format!("watching {name}"))?);
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What was seen so far. `without` are pods that are no part of what is looked at.
    ///
    /// # Errors
    /// If a watcher ended, or an address was given to two parts, which cannot be told apart then.
    pub fn seen(&mut self, without: &[&str]) -> anyhow::Result<Seen> {
        for child in &mut self.children {
            ensure!(child.try_wait()?.is_none(), "a watcher of the graph ended early");
        }
        let mut names = BTreeSet::new();
        let mut by_ip: BTreeMap<String, Pod> = BTreeMap::new();
        let told = BufReader::new(File::open(self.file("pods"))?);
        for pod in Deserializer::from_reader(told).into_iter::<Value>() {
            // The last one may be half written.
            let Ok(pod) = pod else { break };
            let on_node = pod["spec"]["hostNetwork"] == true;
            let pod = Pod::read(&pod);
            if pod.ip.is_empty() || on_node {
                continue;
            }
            names.insert((pod.namespace.clone(), pod.name.clone()));
            if let Some(other) = by_ip.insert(pod.ip.clone(), pod.clone()) {
                let both = (other.as_called(), pod.as_called());
                ensure!(
                    both.0 == both.1 || pod.part().is_none() && other.part().is_none(),
                    "{} was that of {both:?}",
                    pod.ip
                );
            }
        }
        let is_left_out = |pod: &Pod| without.contains(&pod.name.as_str());
        let (mut edges, mut connections) = (BTreeSet::new(), 0);
        for line in std::fs::read_to_string(self.file("connections"))?.lines() {
            let Some((from, to, port)) = connection(line) else { continue };
            let (Some(from), Some(to)) = (by_ip.get(from), by_ip.get(to)) else { continue };
            if is_left_out(from) || is_left_out(to) || from.part().is_none() && to.part().is_none() {
                continue;
            }
            connections += 1;
            edges.insert(Edge { from: from.as_caller(), to: to.as_called(), port });
        }
        Ok(Seen { edges, connections, pods: names.len() })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for child in &mut self.children {
            // One that ended already is reaped all the same.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Caller, called and port of a tracked connection. Whoever called a Service's address is answered by a pod's: the called one is in
/// the second half of the line.
fn connection(line: &str) -> Option<(&str, &str, u16)> {
    let values = |name: &'static str| line.split_whitespace().filter_map(move |word| word.strip_prefix(name));
    let (from, to) = (values("src=").next()?, values("src=").nth(1)?);
    Some((from, to, values("sport=").nth(1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_of_a_service_is_one_of_the_pod_behind_it() {
        let line = "    [NEW] tcp      6 120 SYN_SENT src=10.244.0.5 dst=10.96.3.4 sport=41234 dport=7002 [UNREPLIED] \
                    src=10.244.0.9 dst=10.244.0.5 sport=7002 dport=41234";
        assert_eq!(connection(line), Some(("10.244.0.5", "10.244.0.9", 7002)));
        assert_eq!(connection("    [NEW] icmp 1 30 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=1 [UNREPLIED]"), None);
    }
}
