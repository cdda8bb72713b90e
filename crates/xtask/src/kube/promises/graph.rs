//! What the NetworkPolicies allow is what is called, both ways. The lab's network does not enforce them: here they are evaluated for
//! the real pods, and compared with the connections that the node tracked and the calls that Jaeger has of the whole run.

use super::{
    super::{
        cells::{Cells, Graph},
        graph::{ANYBODY, Edge, allowed},
    },
    apart, traces,
};
use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::collections::BTreeSet;

const FRONT: u16 = 7000;
const ADMIN: u16 = 7001;
const PEER: u16 = 7002;
const TLS: u16 = 7443;

/// Pods of a promise that are no part of a cell as the chart makes it: the router that believes an old map has no labels.
const LEFT_OUT: [&str; 1] = ["old-router"];

/// Edges that are allowed and not seen, and why that is right.
struct Excuse {
    name: &'static str,
    why: &'static str,
    fits: fn(&Edge) -> bool,
}

const EXCUSES: [Excuse; 5] = [
    Excuse {
        name: "clients",
        why: "who calls at front doors is not the mesh's to say (networkPolicy.frontFrom)",
        fits: |edge| edge.from == ANYBODY && [FRONT, TLS].contains(&edge.port),
    },
    Excuse {
        name: "metrics",
        why: "nothing scrapes in the lab (networkPolicy.metricsFrom)",
        fits: |edge| edge.from == ANYBODY && edge.port == ADMIN,
    },
    Excuse {
        name: "another mesh",
        why: "a policy knows the cells of a cluster, not which of them are one mesh; tokens do",
        fits: |edge| edge.from != ANYBODY && is_apart(&edge.from) != is_apart(&edge.to),
    },
    Excuse {
        name: "lost map",
        why: "it is taken from the first router that has it",
        fits: |edge| edge.port == FRONT && edge.from == "services of bj-1" && edge.to.starts_with("router of "),
    },
    Excuse {
        name: "moved users",
        why: "the merged services of the global cell ask a router only for users who moved, and nothing moves users yet",
        fits: |edge| edge.port == PEER && edge.from == "services of bj-1" && edge.to == "router of bj-1",
    },
];

fn is_apart(part: &str) -> bool {
    part.strip_suffix(apart::CELL).is_some_and(|rest| rest.ends_with(" of "))
}

/// Adds what is allowed now, and the calls of the last traces, to what is known: pods and traces come and go during a run.
pub(super) fn note(cells: &Cells<'_>) -> anyhow::Result<()> {
    let get = |kind: &str| -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&cells.kubectl(&["get", kind, "-A", "-o", "json"])?)?)
    };
    let allowed = allowed(&get("networkpolicies")?, &get("pods")?, &get("namespaces")?);
    let (traces, calls) = traces::calls(cells)?;
    let mut graph = cells.graph.borrow_mut();
    graph.allowed.extend(allowed);
    graph.calls.extend(calls);
    graph.traces += traces;
    Ok(())
}

pub(super) fn look(cells: &Cells<'_>) -> anyhow::Result<()> {
    note(cells)?;
    let mut graph = cells.graph.borrow_mut();
    let Graph { watch, allowed, calls, traces } = &mut *graph;
    let seen = watch.seen(&LEFT_OUT)?;
    let allowed: BTreeSet<&Edge> = allowed
        .iter()
        .filter(|edge| !LEFT_OUT.contains(&edge.from.as_str()) && !LEFT_OUT.contains(&edge.to.as_str()))
        .collect();
    let unseen: Vec<&&Edge> = allowed.iter().filter(|edge| !seen.edges.contains(edge)).collect();
    let excuse = |edge: &Edge| EXCUSES.iter().find(|excuse| (excuse.fits)(edge));
    let mut excused = BTreeSet::new();
    for Excuse { name, why, fits } in &EXCUSES {
        let edges: Vec<String> = unseen.iter().filter(|edge| fits(edge)).map(ToString::to_string).collect();
        println!("allowed, not seen ({name}: {why}): {}", edges.join(", "));
        excused.extend(edges);
    }
    let excused = excused.len();
    let wide = unseen.iter().filter(|edge| excuse(edge).is_none()).map(|edge| format!("allowed, not seen: {edge}"));
    let narrow =
        seen.edges.iter().filter(|edge| !allowed.contains(edge)).map(|edge| format!("seen, not allowed: {edge}"));
    let mut faults: Vec<String> = wide.chain(narrow).collect();
    let by_calls: BTreeSet<(String, String)> = allowed
        .iter()
        .filter(|edge| edge.port == PEER)
        .filter(|edge| seen.edges.contains(edge) || excuse(edge).is_none())
        .filter_map(|edge| process(&edge.from).zip(process(&edge.to)))
        .collect();
    faults.extend(by_calls.difference(calls).map(|(from, to)| format!("allowed, not traced: {from} calls {to}")));
    faults.extend(calls.difference(&by_calls).map(|(from, to)| format!("traced, not allowed: {from} calls {to}")));
    println!(
        "figure: NetworkPolicy: edges allowed N={} seen N={} ({} connections of {} pods), excused N={excused}; calls between \
         processes allowed N={} traced N={} ({traces} traces); differences N={}",
        allowed.len(),
        seen.edges.len(),
        seen.connections,
        seen.pods,
        by_calls.len(),
        calls.len(),
        faults.len()
    );
    for edge in &seen.edges {
        println!("seen: {edge}");
    }
    ensure!(faults.is_empty(), "\n  {}", faults.join("\n  "));
    Ok(())
}

/// The process of a part, as traces name it.
fn process(part: &str) -> Option<String> {
    let (component, cell) = part.split_once(" of ").context("no part of a cell").ok()?;
    let program = if component == "router" { "cell-router" } else { "cell-services" };
    Some(format!("{program} of {cell}"))
}
