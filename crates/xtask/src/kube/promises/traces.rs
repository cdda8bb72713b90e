//! A PlaceOrder is one tree in Jaeger, and calls go where the NetworkPolicy allows, and nowhere else.

use super::{super::cells::Cells, routing::register};
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

const TOP_UP: &str = "shop.trade.v1.TradeService/TopUp";
const PLACE: &str = "shop.trade.v1.TradeService/PlaceOrder";

pub(super) fn look(cells: &Cells<'_>) -> anyhow::Result<()> {
    let spans = place_order(cells, "sh-1", "bj-1")?;
    println!("figure: PlaceOrder of sh-1 through bj-1: spans N={} in one tree", spans.len());
    let edges = edges(&spans)?;
    let wanted = [("cell-router of bj-1", "cell-router of sh-1"), ("cell-router of sh-1", "cell-services of sh-1")];
    ensure!(wanted.iter().all(|edge| edges.contains(edge)), "edges are missing: {edges:?}");
    Ok(())
}

/// Spans of an order that a user of cell `home` places at the door of another: one tree, from the door to the consumer of its event.
pub(super) fn place_order(cells: &Cells<'_>, home: &str, door: &str) -> anyhow::Result<Vec<Span>> {
    let user = register(cells, home)?;
    let front = cells.front(door)?;
    let amount = json!({"currency_code": "CNY", "minor_units": 1_000_000});
    cells.call(&front, TOP_UP, &json!({"user_id": user, "request_id": "purse", "amount": amount}), &[])?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("it is before 1970")?;
    let id = format!("{:032x}", now.as_nanos());
    let header = format!("traceparent: 00-{id}-00000000000000ab-01");
    let order = json!({"user_id": user, "request_id": "order", "lines": [{"sku": "tea-longjing", "quantity": 1}]});
    cells.call(&front, PLACE, &order, &[&header])?;
    let mut spans = Vec::new();
    cells.until("the trace is whole", || {
        let text = cells.get("tracing", "services", "jaeger:query", &format!("/api/traces/{id}")).unwrap_or_default();
        let told: Value = serde_json::from_str(&text).unwrap_or_default();
        spans = read(&told["data"][0]);
        Ok(spans.iter().any(|span| span.name.ends_with("DeliverEvent") && span.kind == "server") && roots(&spans) == 1)
    })?;
    Ok(spans)
}

/// Spans whose parent is none of these.
fn roots(spans: &[Span]) -> usize {
    let known: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    spans.iter().filter(|span| span.parent.as_deref().is_none_or(|parent| !known.contains(parent))).count()
}

#[derive(Debug)]
pub(super) struct Span {
    id: String,
    parent: Option<String>,
    name: String,
    kind: String,
    /// The process, as `cell-router of bj-1`.
    of: String,
}

fn read(trace: &Value) -> Vec<Span> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let tag = |tags: &Value, key: &str| {
        let found = tags.as_array().into_iter().flatten().find(|tag| tag["key"] == key);
        found.map(|tag| text(&tag["value"])).unwrap_or_default()
    };
    let spans = trace["spans"].as_array().into_iter().flatten();
    spans
        .map(|span| {
            let process = &trace["processes"][text(&span["processID"])];
            let parent = span["references"].as_array().into_iter().flatten().find(|r| r["refType"] == "CHILD_OF");
            Span {
                id: text(&span["spanID"]),
                parent: parent.map(|parent| text(&parent["spanID"])),
                name: text(&span["operationName"]),
                kind: tag(&span["tags"], "span.kind"),
                of: format!("{} of {}", text(&process["serviceName"]), tag(&process["tags"], "cell.id")),
            }
        })
        .collect()
}

/// Who called whom, by the traces: each is an edge that the chart's NetworkPolicy allows. The lab's network does not enforce
/// NetworkPolicies, so what it would refuse is not seen here.
pub(super) fn edges(spans: &[Span]) -> anyhow::Result<BTreeSet<(&str, &str)>> {
    let by_id: BTreeMap<&str, &Span> = spans.iter().map(|span| (span.id.as_str(), span)).collect();
    let mut edges = BTreeSet::new();
    for span in spans {
        let caller = span.parent.as_deref().and_then(|parent| by_id.get(parent));
        if let Some(caller) = caller.filter(|caller| caller.of != span.of) {
            edges.insert((caller.of.as_str(), span.of.as_str()));
        }
    }
    println!("edges seen in the trace: {edges:?}");
    for (from, to) in &edges {
        let split = |process: &str| process.split_once(" of ").map(|(a, b)| (a.to_owned(), b.to_owned()));
        let ((from_is, from_cell), (to_is, to_cell)) =
            split(from).zip(split(to)).context("a process without a cell")?;
        let allowed = match (from_is.as_str(), to_is.as_str()) {
            ("cell-router", "cell-services") | ("cell-services", "cell-router") => from_cell == to_cell,
            ("cell-router", "cell-router") => from_cell != to_cell,
            _ => false,
        };
        ensure!(allowed, "{from} called {to}, which the NetworkPolicy does not allow");
    }
    Ok(edges)
}
