//! gRPC service config (gRFC A6, `service_config.proto`): what clients in other languages can know of the policies.

use mesh_policy::{Idempotency, MethodPolicy};
use serde_json::{Value, json};
use std::time::Duration;

/// The config for these methods, as JSON.
pub(crate) fn of<'a>(methods: impl IntoIterator<Item = &'a MethodPolicy>) -> String {
    let config = json!({
        "methodConfig": methods.into_iter().map(method).collect::<Vec<_>>(),
        // Retries stop while more than one call in ten fails.
        "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
    });
    format!("{config:#}\n")
}

fn method(policy: &MethodPolicy) -> Value {
    let (service, method) = policy.path.trim_start_matches('/').split_once('/').unwrap_or_default();
    let mut config = json!({"name": [{"service": service, "method": method}]});
    if let Some(deadline) = policy.default_deadline {
        config["timeout"] = json!(seconds(deadline));
    }
    if let Some(bytes) = policy.max_request_bytes {
        config["maxRequestMessageBytes"] = json!(bytes);
    }
    // The safety gate. An idempotency key alone is none: only our own client fills it.
    if policy.side_effects != Idempotency::Unknown {
        config["retryPolicy"] = json!({
            "maxAttempts": 3,
            "initialBackoff": "0.05s",
            "maxBackoff": "1s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE"],
        });
    }
    config
}

/// As protobuf's JSON mapping writes a Duration.
fn seconds(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{}s", duration.as_secs()),
        millis => format!("{}.{millis:03}s", duration.as_secs()),
    }
}
