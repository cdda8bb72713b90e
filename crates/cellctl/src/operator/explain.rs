//! `explain KEY`.

use super::{Client, refused, request, to_json};
use mesh_proto::control_v1::{ExplainKeyRequest, ExplainKeyResponse};
use serde_json::json;

pub(super) async fn run(mut client: Client, as_json: bool, key: String) -> anyhow::Result<String> {
    let response = client.explain_key(request(ExplainKeyRequest { key: key.clone() })).await;
    let answer = response.map_err(|status| refused(&status))?.into_inner();
    Ok(if as_json { to_json(&value(&key, &answer)) } else { text(&key, &answer) })
}

fn value(key: &str, answer: &ExplainKeyResponse) -> serde_json::Value {
    json!({
        "key": key,
        "bucket": answer.bucket,
        "reserved": answer.reserved,
        "home": { "cell": answer.cell, "region": answer.region },
        "decided_by": answer.decided_by,
        "user_epoch": answer.user_epoch,
        "map": { "incarnation": answer.incarnation, "epoch": answer.map_epoch },
        "asked_cell": answer.asked_cell,
    })
}

fn text(key: &str, answer: &ExplainKeyResponse) -> String {
    let ExplainKeyResponse { bucket, cell, region, user_epoch, map_epoch, incarnation, asked_cell, .. } = answer;
    let why = match answer.decided_by.as_str() {
        "pin" => format!("a pin in the map (user epoch {user_epoch}) overrides its bucket {bucket}"),
        "learnt" => format!(
            "{asked_cell} learnt it from a redirect (user epoch {user_epoch}) that the map does not contain yet; its \
             bucket is {bucket}"
        ),
        _ => format!("the map gives its bucket {bucket} to {cell}"),
    };
    let reserved = if answer.reserved { "; the bucket is reserved: no new ids are minted there" } else { "" };
    let way = if asked_cell == cell {
        format!("The router asked is in {asked_cell}, too: calls stay in the cell.")
    } else {
        format!("The router asked is in {asked_cell}: calls through it take one hop.")
    };
    format!(
        "{key} is at home in {cell} (region {region}).\n\
         Why: {why}{reserved}.\n\
         Map: incarnation {incarnation}, epoch {map_epoch}.\n{way}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(decided_by: &str) -> ExplainKeyResponse {
        ExplainKeyResponse {
            bucket: 4711,
            cell: "sh-1".to_owned(),
            region: "shanghai".to_owned(),
            decided_by: decided_by.to_owned(),
            user_epoch: 3,
            map_epoch: 9,
            incarnation: 1,
            reserved: false,
            asked_cell: "bj-1".to_owned(),
        }
    }

    #[test]
    fn the_text_says_home_why_and_the_way_there() {
        let told = text("7", &answer("bucket"));
        assert!(told.starts_with("7 is at home in sh-1 (region shanghai)."), "{told}");
        assert!(told.contains("the map gives its bucket 4711 to sh-1"), "{told}");
        assert!(told.contains("bj-1: calls through it take one hop"), "{told}");
    }

    #[test]
    fn a_pin_is_told_with_its_epoch() {
        let told = text("7", &answer("pin"));
        assert!(told.contains("a pin in the map (user epoch 3) overrides its bucket 4711"), "{told}");
    }
}
