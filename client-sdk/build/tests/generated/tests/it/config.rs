//! gRPC service config (gRFC A6).

use client_sdk_generated::r#gen::{old::v1::OldServiceClient, shapes::v1::ShapeServiceClient};
use serde_json::{Value, json};

fn method(config: &str, name: &str) -> Value {
    let config: Value = serde_json::from_str(config).unwrap();
    assert_eq!(config["retryThrottling"], json!({"maxTokens": 10, "tokenRatio": 0.1}));
    let methods = config["methodConfig"].as_array().unwrap();
    methods.iter().find(|method| method["name"][0]["method"] == name).unwrap().clone()
}

#[test]
fn only_what_may_be_repeated_is_retried() {
    let retry = json!({
        "maxAttempts": 3, "initialBackoff": "0.05s", "maxBackoff": "1s", "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    });
    let service = "gen.shapes.v1.ShapeService";
    let whole = json!({
        "name": [{"service": service, "method": "GetWhole"}],
        "timeout": "1.500s", "maxRequestMessageBytes": 4096, "retryPolicy": retry,
    });
    assert_eq!(method(ShapeServiceClient::SERVICE_CONFIG, "GetWhole"), whole);
    assert_eq!(method(ShapeServiceClient::SERVICE_CONFIG, "GetOrder")["retryPolicy"], retry);
    let text = json!({"name": [{"service": service, "method": "GetText"}]});
    assert_eq!(method(ShapeServiceClient::SERVICE_CONFIG, "GetText"), text);
    // An idempotency key alone, which clients in other languages may leave empty.
    assert!(method(OldServiceClient::SERVICE_CONFIG, "GetOld").get("retryPolicy").is_none());
}

#[test]
fn one_file_has_all_services() {
    let all = include_str!(concat!(env!("OUT_DIR"), "/service_config.json"));
    assert!(method(all, "GetWhole").is_object() && method(all, "GetOld").is_object());
}
