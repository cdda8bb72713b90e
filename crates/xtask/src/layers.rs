//! Dependencies point downward: an upward or sideways edge between our crates is an error.

mod table;

use crate::workspace;
use anyhow::bail;
use cargo_metadata::{DependencyKind, Metadata};
use std::collections::{BTreeMap, BTreeSet};
use table::{ALONE, IMPURE, LAYERS, PURE, SHOP, SHOP_USERS, TEST_ONLY, TEST_USERS};

/// Who depends on whom.
#[derive(Debug, Default)]
struct Graph {
    ours: BTreeSet<String>,
    edges: Vec<Edge>,
    /// For each pure crate, everything that it reaches through normal dependencies.
    reached: BTreeMap<String, BTreeSet<String>>,
}

/// A dependency between two of our crates.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Edge {
    from: String,
    to: String,
    /// For tests only.
    dev: bool,
}

/// Checks the workspace; returns a line about what was checked.
pub(crate) fn run() -> anyhow::Result<String> {
    let graph = Graph::of(&workspace::metadata(true)?);
    let faults = faults(&graph);
    if !faults.is_empty() {
        bail!("{} dependencies point the wrong way:\n  {}", faults.len(), faults.join("\n  "));
    }
    Ok(format!("layers: {} crates, {} edges, all downward", graph.ours.len(), graph.edges.len()))
}

impl Graph {
    fn of(metadata: &Metadata) -> Self {
        let mut graph = Self::default();
        let members = metadata.workspace_packages();
        graph.ours = members.iter().map(|package| package.name.to_string()).collect();
        for package in &members {
            for dependency in package.dependencies.iter().filter(|dependency| graph.ours.contains(&dependency.name)) {
                graph.edges.push(Edge {
                    from: package.name.to_string(),
                    to: dependency.name.clone(),
                    dev: dependency.kind == DependencyKind::Development,
                });
            }
            if PURE.contains(&package.name.as_str()) {
                graph.reached.insert(package.name.to_string(), reached(metadata, &package.id));
            }
        }
        graph
    }
}

/// Names of all crates that a package reaches through normal dependencies.
fn reached(metadata: &Metadata, from: &cargo_metadata::PackageId) -> BTreeSet<String> {
    let Some(resolve) = &metadata.resolve else { return BTreeSet::new() };
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(id) = open.pop() {
        let Some(node) = nodes.get(id) else { continue };
        let normal =
            |dep: &&cargo_metadata::NodeDep| dep.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
        open.extend(node.deps.iter().filter(normal).map(|dep| &dep.pkg).filter(|id| seen.insert((*id).clone())));
    }
    seen.iter().map(|id| metadata[id].name.to_string()).collect()
}

/// Everything that is wrong with the graph, one line each.
fn faults(graph: &Graph) -> Vec<String> {
    let mut faults = Vec::new();
    for name in &graph.ours {
        if layer(name).is_none() && !ALONE.contains(&name.as_str()) {
            faults.push(format!("{name} has no place in the table of layers"));
        }
    }
    let placed = LAYERS.iter().flat_map(|layer| layer.iter()).chain(ALONE);
    faults.extend(
        placed
            .filter(|name| !graph.ours.contains(**name))
            .map(|name| format!("the table names {name}, which does not exist")),
    );
    faults.extend(graph.edges.iter().filter_map(fault));
    for (name, reached) in &graph.reached {
        let impure = IMPURE.iter().filter(|impure| reached.contains(**impure));
        faults.extend(impure.map(|impure| format!("{name} is pure, but reaches {impure}")));
    }
    faults
}

fn fault(Edge { from, to, dev }: &Edge) -> Option<String> {
    let (from, to) = (from.as_str(), to.as_str());
    if from == to && *dev {
        // A crate that turns on its own features for its tests.
        return None;
    }
    if ALONE.contains(&from) || ALONE.contains(&to) {
        return Some(format!("{from} -> {to}: {} stands alone", if ALONE.contains(&to) { to } else { from }));
    }
    if SHOP.contains(&to) && !SHOP.contains(&from) && !SHOP_USERS.contains(&from) {
        return Some(format!("{from} -> {to}: the mesh must not know the shop"));
    }
    if TEST_ONLY.contains(&to) && !dev && !TEST_USERS.contains(&from) {
        return Some(format!("{from} -> {to}: {to} is for tests, name it as a dev-dependency"));
    }
    // A crate without a place is reported by itself.
    let (upper, lower) = (layer(from)?, layer(to)?);
    match upper.cmp(&lower) {
        std::cmp::Ordering::Greater => None,
        std::cmp::Ordering::Equal => Some(format!("{from} -> {to}: sideways, both are in layer {lower}")),
        std::cmp::Ordering::Less => Some(format!("{from} -> {to}: upward, from layer {upper} to layer {lower}")),
    }
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All crates of the table, and no edge.
    fn sound() -> Graph {
        let ours = LAYERS.iter().flat_map(|layer| layer.iter()).chain(ALONE).map(|name| (*name).to_owned()).collect();
        Graph { ours, ..Graph::default() }
    }

    fn with_edge(from: &str, to: &str, dev: bool) -> Vec<String> {
        let edges = vec![Edge { from: from.to_owned(), to: to.to_owned(), dev }];
        faults(&Graph { edges, ..sound() })
    }

    #[test]
    fn the_workspace_keeps_its_layers() {
        run().expect("all dependencies point downward");
    }

    #[test]
    fn a_downward_edge_is_fine() {
        assert_eq!(with_edge("trade", "storage", false), Vec::<String>::new());
    }

    #[test]
    fn an_upward_edge_is_refused() {
        let storage = layer("storage").expect("in the table");
        let upward = format!("cell-map -> storage: upward, from layer 0 to layer {storage}");
        assert_eq!(with_edge("cell-map", "storage", false), [upward]);
        assert_eq!(with_edge("mesh-proto", "service-runtime", true).len(), 1, "for tests, too");
    }

    #[test]
    fn no_service_knows_another() {
        let units = layer("trade").expect("in the table");
        let sideways = format!("trade -> catalog: sideways, both are in layer {units}");
        assert_eq!(with_edge("trade", "catalog", false), [sideways]);
    }

    #[test]
    fn the_mesh_does_not_know_the_shop() {
        assert_eq!(
            with_edge("cell-router", "shop-proto", true),
            ["cell-router -> shop-proto: the mesh must not know the shop"]
        );
        assert_eq!(with_edge("lab", "shop-proto", false), Vec::<String>::new());
    }

    #[test]
    fn the_testkit_is_for_tests() {
        assert_eq!(with_edge("cell-router", "testkit", true), Vec::<String>::new());
        assert_eq!(with_edge("cell-router", "testkit", false).len(), 1);
    }

    #[test]
    fn a_pure_crate_reaches_no_clock_and_no_socket() {
        let mut graph = sound();
        graph.reached.insert("cell-map".to_owned(), BTreeSet::from(["bytes".to_owned(), "tokio".to_owned()]));
        assert_eq!(faults(&graph), ["cell-map is pure, but reaches tokio"]);
    }

    #[test]
    fn a_crate_without_a_place_is_named() {
        let mut graph = sound();
        graph.ours.insert("helpers".to_owned());
        assert_eq!(faults(&graph), ["helpers has no place in the table of layers"]);
    }
}
