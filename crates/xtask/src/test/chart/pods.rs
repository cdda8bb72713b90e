//! What every pod of the chart must be: admitted where Pod Security is `restricted`, bounded, and watched.
//! <https://kubernetes.io/docs/concepts/security/pod-security-standards/>

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

/// Checks the pods of all objects in a rendered chart.
pub(super) fn check(rendered: &str) -> anyhow::Result<()> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(rendered).context("reading the objects")?;
    let mut faults = Vec::new();
    let mut pods = 0;
    for object in &objects {
        let kind = object["kind"].as_str().unwrap_or_default();
        let pod = match kind {
            "Pod" => object,
            "Deployment" | "StatefulSet" | "DaemonSet" | "Job" => &object["spec"]["template"],
            _ => continue,
        };
        pods += 1;
        let name = format!("{kind} {}", object["metadata"]["name"].as_str().unwrap_or_default());
        // A pod that runs to its end is watched by its exit code.
        let watched = !matches!(kind, "Pod" | "Job");
        faults.extend(faults_of(&pod["spec"], watched).into_iter().map(|fault| format!("{name}: {fault}")));
    }
    ensure!(pods > 0, "no pod is rendered");
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    Ok(())
}

fn faults_of(spec: &Value, watched: bool) -> Vec<String> {
    let mut faults = Vec::new();
    let mut want = |right: bool, what: &str| {
        if !right {
            faults.push(what.to_owned());
        }
    };
    let security = &spec["securityContext"];
    want(security["runAsNonRoot"] == true, "runAsNonRoot is not true");
    want(security["seccompProfile"]["type"] == "RuntimeDefault", "seccompProfile is not RuntimeDefault");
    want(spec["automountServiceAccountToken"] == false, "it mounts a service account's token");
    for key in ["hostNetwork", "hostPID", "hostIPC"] {
        want(spec[key].is_null(), key);
    }
    let allowed =
        ["configMap", "secret", "emptyDir", "persistentVolumeClaim", "projected", "downwardAPI", "csi", "ephemeral"];
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        want(allowed.iter().any(|kind| !volume[*kind].is_null()), &format!("volume {}", volume["name"]));
    }
    for (list, serves) in [("initContainers", false), ("containers", watched)] {
        for container in spec[list].as_array().into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or_default();
            let mut want = |right: bool, what: &str| want(right, &format!("container {name}: {what}"));
            let security = &container["securityContext"];
            want(security["allowPrivilegeEscalation"] == false, "allowPrivilegeEscalation");
            want(security["readOnlyRootFilesystem"] == true, "readOnlyRootFilesystem");
            want(security["capabilities"]["drop"] == serde_json::json!(["ALL"]), "capabilities.drop is not [ALL]");
            want(security["capabilities"]["add"].is_null() && security["privileged"].is_null(), "it gains rights");
            let resources = &container["resources"];
            for (list, key) in [("requests", "cpu"), ("requests", "memory"), ("limits", "memory")] {
                want(!resources[list][key].is_null(), &format!("resources.{list}.{key} is missing"));
            }
            for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                want(!serves || !container[probe].is_null(), &format!("{probe} is missing"));
            }
            for port in container["ports"].as_array().into_iter().flatten() {
                want(port["hostPort"].is_null(), "hostPort");
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "
kind: Deployment
metadata: {name: x}
spec:
  template:
    spec:
      automountServiceAccountToken: false
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: c
        securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
        resources: {requests: {cpu: 1, memory: 1Gi}, limits: {memory: 1Gi}}
        startupProbe: {}
        livenessProbe: {}
        readinessProbe: {}
";

    #[test]
    fn each_thing_that_a_pod_lacks_is_named() {
        check(POD).expect("nothing is missing");
        for (from, to, names) in [
            ("runAsNonRoot: true", "runAsNonRoot: false", "runAsNonRoot"),
            ("drop: [ALL]", "drop: [NET_RAW]", "container c: capabilities.drop"),
            ("limits: {memory: 1Gi}", "limits: {}", "resources.limits.memory"),
            ("        readinessProbe: {}\n", "", "readinessProbe is missing"),
            ("      containers:", "      hostNetwork: true\n      containers:", "hostNetwork"),
            ("      containers:", "      volumes: [{name: v, hostPath: {path: /}}]\n      containers:", "volume \"v\""),
        ] {
            assert!(POD.contains(from), "{from}");
            let error = check(&POD.replace(from, to)).expect_err(names).to_string();
            assert!(error.contains(names), "{error}");
        }
        assert!(check("kind: Service").is_err(), "there is no pod");
    }
}
