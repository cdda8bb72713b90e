use super::*;
use serde_json::json;

fn pod(space: &str, name: &str, labels: &Value, ports: &[(&str, u16)]) -> Value {
    let ports: Vec<Value> = ports.iter().map(|(name, port)| json!({"name": name, "containerPort": port})).collect();
    json!({
        "metadata": {"namespace": space, "name": name, "labels": labels},
        "spec": {"containers": [{"ports": ports}]}, "status": {"podIP": "10.0.0.1"},
    })
}

fn part(cell: &str, component: &str) -> Value {
    let labels =
        json!({"app.kubernetes.io/name": "cellmesh", "app.kubernetes.io/component": component, "cellmesh/cell": cell});
    pod(cell, component, &labels, &[("front", 7000), ("peer", 7002)])
}

fn told(policies: &[Value]) -> Vec<String> {
    let pods = [
        part("a", "router"),
        part("a", "services"),
        part("b", "router"),
        pod("c", "client", &json!({}), &[("web", 80)]),
    ];
    let spaces = ["a", "b", "c"].map(|name| json!({"metadata": {"name": name, "labels": {"name": name}}}));
    let edges = allowed(&json!({"items": policies}), &json!({"items": pods}), &json!({"items": spaces}));
    edges.iter().map(ToString::to_string).collect()
}

fn policy(space: &str, spec: &Value) -> Value {
    json!({"metadata": {"namespace": space}, "spec": spec})
}

#[test]
fn without_policies_everything_is_open_between_parts_of_cells_and_all_others() {
    let edges = told(&[]);
    for edge in ["router of a -> services of a:7002", "anybody -> router of b:7000", "services of a -> client:80"] {
        assert!(edges.iter().any(|told| told == edge), "{edges:?} lacks {edge}");
    }
    assert!(!edges.iter().any(|edge| edge.starts_with("anybody -> client")), "{edges:?}");
}

#[test]
fn both_sides_must_allow_and_names_stand_for_ports() {
    let router = json!({"matchLabels": {"app.kubernetes.io/component": "router"}});
    let ingress = policy(
        "a",
        &json!({
            "podSelector": {"matchLabels": {"app.kubernetes.io/component": "services"}}, "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"port": "peer"}], "from": [{"podSelector": router}]}],
        }),
    );
    let edges = told(std::slice::from_ref(&ingress));
    let to_services: Vec<_> = edges.iter().filter(|edge| edge.contains("-> services of a")).collect();
    assert_eq!(to_services, ["router of a -> services of a:7002"], "in its namespace and by this port only");

    let other_cells = json!([{"key": "cellmesh/cell", "operator": "NotIn", "values": ["a"]}]);
    let egress = policy(
        "a",
        &json!({
            "podSelector": router, "policyTypes": ["Egress"],
            "egress": [{"to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": router["matchLabels"], "matchExpressions": other_cells}}]}],
        }),
    );
    let edges = told(&[ingress, egress]);
    let of_router: Vec<_> = edges.iter().filter(|edge| edge.starts_with("router of a")).collect();
    assert_eq!(
        of_router,
        ["router of a -> router of b:7000", "router of a -> router of b:7002"],
        "what it may receive it may not send"
    );
}

#[test]
fn a_policy_that_allows_nothing_closes_and_a_block_of_addresses_is_no_pod() {
    let nothing = json!({"podSelector": {}, "policyTypes": ["Ingress"]});
    let block = json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]});
    for spec in [nothing, block] {
        let edges = told(&[policy("b", &spec)]);
        assert!(!edges.iter().any(|edge| edge.contains("-> router of b")), "{edges:?}");
    }
}
