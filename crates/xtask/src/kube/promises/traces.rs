//! A PlaceOrder is one tree in Jaeger.

use super::{super::cells::Cells, routing::register};
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

const TOP_UP: &str = "shop.trade.v1.TradeService/TopUp";
/// Traces looked at of each operation at a time.
const TRACES: usize = 200;
const PLACE: &str = "shop.trade.v1.TradeService/PlaceOrder";

pub(super) fn look(cells: &Cells<'_>) -> anyhow::Result<()> {
    let spans = place_order(cells, "sh-1", "bj-1")?;
    println!("figure: PlaceOrder of sh-1 through bj-1: spans N={} in one tree", spans.len());
    let edges = edges(&spans);
    println!("edges seen in the trace: {edges:?}");
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
    let lines = json!([{"sku": "tea-longjing", "quantity": 5}]);
    let order = json!({"user_id": user, "request_id": "order", "lines": lines, "coupon_code": "WELCOME-10"});
    let placed = cells.call(&front, PLACE, &order, &[&header])?.body;
    let discounts = placed["order"]["discounts"].as_array().into_iter().flatten();
    // What an order costs needs products and campaigns, copied from whoever keeps them.
    ensure!(discounts.into_iter().any(|one| one["campaignId"] == "welcome"), "no coupon: {placed}");
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

/// Who called whom, by the spans of one trace.
pub(super) fn edges(spans: &[Span]) -> BTreeSet<(&str, &str)> {
    let by_id: BTreeMap<&str, &Span> = spans.iter().map(|span| (span.id.as_str(), span)).collect();
    let mut edges = BTreeSet::new();
    for span in spans {
        let caller = span.parent.as_deref().and_then(|parent| by_id.get(parent));
        if let Some(caller) = caller.filter(|caller| caller.of != span.of) {
            edges.insert((caller.of.as_str(), span.of.as_str()));
        }
    }
    edges
}

/// Who called whom, by the newest traces of each operation that Jaeger knows, and how many traces that were.
pub(super) fn calls(cells: &Cells<'_>) -> anyhow::Result<(usize, BTreeSet<(String, String)>)> {
    let get = |path: &str| -> anyhow::Result<Vec<Value>> {
        let mut told: Value = serde_json::from_str(&cells.get("tracing", "services", "jaeger:query", path)?)?;
        Ok(serde_json::from_value(told["data"].take()).unwrap_or_default())
    };
    let (mut ids, mut calls) = (BTreeSet::new(), BTreeSet::new());
    for service in ["cell-router", "cell-services"] {
        for operation in get(&format!("/api/services/{service}/operations"))? {
            let operation = operation.as_str().unwrap_or_default();
            let wanted = format!("service={service}&operation={}&lookback=6h&limit={TRACES}", escaped(operation));
            for trace in get(&format!("/api/traces?{wanted}"))? {
                if ids.insert(trace["traceID"].as_str().unwrap_or_default().to_owned()) {
                    let spans = read(&trace);
                    calls.extend(edges(&spans).into_iter().map(|(from, to)| (from.to_owned(), to.to_owned())));
                    calls.extend(spans.iter().filter_map(follower));
                }
            }
        }
    }
    Ok((ids.len(), calls))
}

/// The call by which a cell copies global data: nothing calls for it, so its trace begins at the router that its services ask.
fn follower(span: &Span) -> Option<(String, String)> {
    let cell = span.of.strip_prefix("cell-router of ").filter(|_| span.parent.is_none())?;
    span.name.ends_with("ReplicationService/Subscribe").then(|| (format!("cell-services of {cell}"), span.of.clone()))
}

/// A text as part of a query.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
