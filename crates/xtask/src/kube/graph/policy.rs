//! NetworkPolicies as Kubernetes means them: a pod that no policy selects is open; one that some select may do what any of them
//! allows. Blocks of addresses are no pods.

use super::{Labels, Pod};
use serde_json::Value;
use std::collections::BTreeMap;

/// Policies in force, and the labels of namespaces.
pub(super) struct Judge<'p> {
    pub policies: &'p [&'p Value],
    pub spaces: &'p BTreeMap<String, Labels>,
}

impl Judge<'_> {
    /// Whether a connection may be made: by the caller's policies and by those of the called.
    pub fn allows(&self, from: &Pod, to: &Pod, port: u16) -> bool {
        self.one_side(from, "Egress", "egress", "to", to, to, port)
            && self.one_side(to, "Ingress", "ingress", "from", from, to, port)
    }

    #[expect(clippy::too_many_arguments, reason = "the two directions differ in words only")]
    fn one_side(&self, pod: &Pod, kind: &str, rules: &str, peers: &str, other: &Pod, to: &Pod, port: u16) -> bool {
        let mut selecting = self.policies.iter().filter(|policy| self.selects(policy, pod, kind)).peekable();
        if selecting.peek().is_none() {
            return true;
        }
        selecting.any(|policy| {
            let space = policy["metadata"]["namespace"].as_str().unwrap_or_default();
            let rules = policy["spec"][rules].as_array().into_iter().flatten();
            rules.into_iter().any(|rule| {
                let ports = rule["ports"].as_array();
                let peers = rule[peers].as_array();
                ports.is_none_or(|ports| ports.iter().any(|said| is_port(&said["port"], to, port)))
                    && peers.is_none_or(|peers| peers.iter().any(|peer| self.is_peer(peer, space, other)))
            })
        })
    }

    fn selects(&self, policy: &Value, pod: &Pod, kind: &str) -> bool {
        let types = policy["spec"]["policyTypes"].as_array();
        policy["metadata"]["namespace"].as_str() == Some(&pod.namespace)
            && types.is_some_and(|types| types.iter().any(|one| one == kind))
            && matches(&policy["spec"]["podSelector"], &pod.labels)
    }

    fn is_peer(&self, peer: &Value, space: &str, pod: &Pod) -> bool {
        if !peer["ipBlock"].is_null() {
            return false;
        }
        let none = Labels::new();
        let in_space = match &peer["namespaceSelector"] {
            Value::Null => pod.namespace == space,
            selector => matches(selector, self.spaces.get(&pod.namespace).unwrap_or(&none)),
        };
        in_space && (peer["podSelector"].is_null() || matches(&peer["podSelector"], &pod.labels))
    }
}

fn is_port(said: &Value, to: &Pod, port: u16) -> bool {
    match said {
        Value::Null => true,
        Value::String(name) => to.ports.iter().any(|(named, number)| named == name && *number == port),
        number => number.as_u64() == Some(port.into()),
    }
}

fn matches(selector: &Value, labels: &Labels) -> bool {
    let equal = selector["matchLabels"].as_object().into_iter().flatten();
    let mut equal = equal.map(|(name, value)| labels.get(name).map(String::as_str) == value.as_str());
    let mut expressions = selector["matchExpressions"].as_array().into_iter().flatten().map(|expression| {
        let label = expression["key"].as_str().and_then(|key| labels.get(key));
        let among = || {
            expression["values"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|value| value.as_str() == label.map(String::as_str))
        };
        match expression["operator"].as_str() {
            Some("In") => label.is_some() && among(),
            Some("NotIn") => label.is_none() || !among(),
            Some("Exists") => label.is_some(),
            Some("DoesNotExist") => label.is_none(),
            _ => false,
        }
    });
    equal.all(|one| one) && expressions.all(|one| one)
}
