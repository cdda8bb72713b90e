//! What the demo prints once it is ready.

use super::DemoArgs;
use super::load::Shopper;
use crate::cluster::Cluster;
use std::fmt::Write as _;
use std::time::Duration;

/// URLs, lines to paste, and where things are.
pub(super) fn text(
    cluster: &Cluster,
    args: &DemoArgs,
    shoppers: &[Shopper],
    skus: &[String],
    took: Duration,
) -> String {
    let mut text = format!("cellmesh demo: {} cells, ready in {:.1} s\n\n", cluster.cells.len(), took.as_secs_f64());
    text += "  cell   region    front door       admin                                     a user at home there\n";
    for (index, cell) in cluster.cells.iter().enumerate() {
        let user = shoppers.iter().find(|shopper| shopper.cell == cell.id).map_or("-", |shopper| &shopper.user_id);
        let role = if index == 0 { "  (global cell)" } else { "" };
        let admin = format!("http://{}/readyz", cell.admin);
        let _ = writeln!(text, "  {:<6} {:<9} {:<16} {admin:<41} {user}{role}", cell.id, cell.region, cell.front);
    }
    text += "\nPaste:\n";
    for line in lines(cluster, shoppers, skus) {
        let _ = writeln!(text, "  {line}");
    }
    let traces = match &args.otlp {
        Some(url) => format!("sent to {url}"),
        None => "off; start with --otlp http://127.0.0.1:4317 to send them to a collector or Jaeger".to_owned(),
    };
    let data = cluster.data().display();
    let kept = if args.data.is_some() { "kept at the end" } else { "removed at the end" };
    let load = if args.no_load { "off" } else { "four orders a second through all doors" };
    let _ = write!(
        text,
        "\nTraces: {traces}\nData:   {data} ({kept}), logs in CELL/*.log\nLoad:   {load}\nCtrl-C ends it.\n"
    );
    text
}

fn lines(cluster: &Cluster, shoppers: &[Shopper], skus: &[String]) -> Vec<String> {
    let door = cluster.cells[0].front;
    // The farthest user that there is, seen from the first door.
    let last = cluster.cells.get(1).unwrap_or(&cluster.cells[0]);
    let user = shoppers.iter().find(|shopper| shopper.cell == last.id).map_or("", |shopper| &shopper.user_id);
    let sku = skus.first().map_or("", String::as_str);
    let order = format!(
        r#"{{"user_id": "{user}", "request_id": "my-first-order", "lines": [{{"sku": "{sku}", "quantity": 1}}]}}"#
    );
    vec![
        format!("grpcurl -plaintext {door} list"),
        format!("grpcurl -plaintext -d '{{}}' {} shop.member.v1.MemberService/Register", last.front),
        format!("grpcurl -plaintext -v -d '{{\"user_id\": \"{user}\"}}' {door} shop.member.v1.MemberService/GetMember"),
        format!(
            "grpcurl -plaintext -v -d '{{\"user_id\": \"{user}\"}}' {} shop.member.v1.MemberService/GetMember",
            last.front
        ),
        format!("grpcurl -plaintext -d '{order}' {door} shop.trade.v1.TradeService/PlaceOrder"),
        format!("grpcurl -plaintext -d '{{\"user_id\": \"{user}\"}}' {door} shop.trade.v1.TradeService/GetWallet"),
        format!("{} --router {door} explain {user}", program()),
    ]
}

/// This program as one would type it here.
fn program() -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| "cellctl".into());
    let here = std::env::current_dir().ok();
    let short = here.as_deref().and_then(|here| program.strip_prefix(here).ok()).unwrap_or(&program);
    short.display().to_string()
}
