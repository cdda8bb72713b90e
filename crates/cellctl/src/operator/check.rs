//! `check`.

use super::{Client, Report, connect, refused, request, to_json};
use mesh_proto::control_v1::{Check, CheckMeshRequest};
use serde_json::json;

/// Being unable to ask the router is the answer's first failed check, not an error.
pub(super) async fn run(address: &str, as_json: bool) -> anyhow::Result<Report> {
    let checks = match connect(address).await.map(Client::new) {
        Ok(mut client) => {
            let response = client.check_mesh(request(CheckMeshRequest {})).await;
            response.map_err(|status| refused(&status))?.into_inner().checks
        }
        Err(error) => vec![Check {
            name: format!("router at {address} reachable"),
            ok: false,
            why: format!("{:#}", error.root_cause()),
            fix: "start it, or give the front door of one that runs with --router HOST:PORT".to_owned(),
        }],
    };
    let well = checks.iter().all(|check| check.ok);
    let text = if as_json { value(&checks, well) } else { text(&checks) };
    Ok(Report { text, well })
}

fn value(checks: &[Check], well: bool) -> String {
    let checks: Vec<_> = checks
        .iter()
        .map(|check| json!({"name": check.name, "ok": check.ok, "why": check.why, "fix": check.fix}))
        .collect();
    to_json(&json!({"ok": well, "checks": checks}))
}

fn text(checks: &[Check]) -> String {
    let mut lines = Vec::new();
    for check in checks {
        lines.push(format!("{:<6} {}", if check.ok { "ok" } else { "FAILED" }, check.name));
        if !check.ok {
            lines.push(format!("       why: {}", check.why));
            lines.push(format!("       do:  {}", check.fix));
        }
    }
    let failed = checks.iter().filter(|check| !check.ok).count();
    lines.push(format!("{} checks, {failed} failed", checks.len()));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_router_is_a_failed_check_with_why_and_what_to_do() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
        let report = run(&free.to_string(), false).await.expect("a report");
        assert!(!report.well);
        assert!(report.text.contains("why: ") && report.text.contains("refused"), "{}", report.text);
        assert!(report.text.contains("do:  start it"), "{}", report.text);
        let report = run(&free.to_string(), true).await.expect("a report");
        let json: serde_json::Value = serde_json::from_str(&report.text).expect("JSON");
        assert_eq!(json["ok"], false);
    }
}
