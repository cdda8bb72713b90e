//! Schemas of Kubernetes' objects, as kubeconform reads them: made of the OpenAPI description in Kubernetes' own Go module.

use super::super::tool::Toolbox;
use anyhow::{Context as _, bail};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const REFERENCE: &str = "#/definitions/";

/// The folder with the schemas of a version; they are fetched if they are missing.
pub(super) fn folder(tools: &Toolbox, version: &str) -> anyhow::Result<PathBuf> {
    tools.folder(&format!("kubernetes-schemas-{version}"), |new| {
        println!("fetching the schemas of Kubernetes {version}");
        let description = fetch(version, &new.join("module"))?;
        write(&description, new)?;
        // The module is large, and only this file of it is wanted. Go makes its files read-only.
        let clean = Command::new("go").args(["clean", "-modcache"]).env("GOMODCACHE", new.join("module")).status();
        clean.context("running go").map(drop)
    })
}

/// Downloads the module; returns its OpenAPI description.
fn fetch(version: &str, cache: &Path) -> anyhow::Result<Value> {
    let mut go = Command::new("go");
    go.args(["mod", "download", "-json", &format!("k8s.io/kubernetes@v{version}")]);
    let go = go.env("GOMODCACHE", cache).env("GOFLAGS", "-mod=mod").current_dir(cache.parent().unwrap_or(cache));
    let output = go.stderr(Stdio::inherit()).output().context("`go` does not run: install Go 1.24 or later")?;
    if !output.status.success() {
        bail!("`go mod download` ended with {}", output.status);
    }
    let told: Value = serde_json::from_slice(&output.stdout).context("what `go mod download` tells")?;
    let module = told["Dir"].as_str().context("`go mod download` tells no folder")?;
    let file = Path::new(module).join("api/openapi-spec/swagger.json");
    let text = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("in {}", file.display()))
}

/// Writes a file for each kind, with the definitions that it needs.
fn write(description: &Value, folder: &Path) -> anyhow::Result<()> {
    let definitions = description["definitions"].as_object().context("there are no definitions")?;
    for (name, definition) in definitions {
        for kind in definition["x-kubernetes-group-version-kind"].as_array().into_iter().flatten() {
            let file = folder.join(file_name(kind));
            let schema = schema(name, definitions);
            fs::write(&file, schema.to_string()).with_context(|| format!("writing {}", file.display()))?;
        }
    }
    Ok(())
}

/// Like `deployment-apps-v1.json`, as kubeconform asks for it.
fn file_name(kind: &Value) -> String {
    let text = |key: &str| kind[key].as_str().unwrap_or_default().to_lowercase();
    let group = text("group").split('.').next().unwrap_or_default().to_owned();
    let parts = [text("kind"), group, text("version")];
    parts.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join("-") + ".json"
}

fn schema(name: &str, definitions: &Map<String, Value>) -> Value {
    let mut needed = BTreeSet::new();
    let mut open = vec![name.to_owned()];
    while let Some(name) = open.pop() {
        if let Some(definition) = definitions.get(&name)
            && needed.insert(name)
        {
            references(definition, &mut open);
        }
    }
    let needed = needed.into_iter().map(|name| {
        let strict = strict(&name, &definitions[&name]);
        (name, strict)
    });
    json!({"$ref": format!("{REFERENCE}{name}"), "definitions": needed.collect::<Map<_, _>>()})
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str) {
                found.extend(name.strip_prefix(REFERENCE).map(str::to_owned));
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

/// A definition that allows no unknown fields. What JSON may write as text or number, it allows as both.
fn strict(name: &str, definition: &Value) -> Value {
    if name.ends_with(".IntOrString") || name.ends_with(".resource.Quantity") {
        return json!({"type": ["string", "number"]});
    }
    let mut strict = definition.clone();
    if let Some(map) = strict.as_object_mut()
        && map.contains_key("properties")
        && !map.contains_key("additionalProperties")
    {
        map.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    strict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_a_strict_schema_with_what_it_needs() {
        let group = json!([{"group": "networking.k8s.io", "version": "v1", "kind": "NetworkPolicy"}]);
        assert_eq!(file_name(&group[0]), "networkpolicy-networking-v1.json");
        assert_eq!(file_name(&json!({"group": "", "version": "v1", "kind": "Service"})), "service-v1.json");
        let definitions = json!({
            "a": {"properties": {"b": {"$ref": "#/definitions/b"}}, "x-kubernetes-group-version-kind": group},
            "b": {"properties": {"port": {"$ref": "#/definitions/x.IntOrString"}}},
            "c": {},
            "x.IntOrString": {"type": "string"},
        });
        let folder = tempfile::tempdir().expect("a folder");
        write(&json!({"definitions": definitions}), folder.path()).expect("schemas");
        let text = fs::read(folder.path().join("networkpolicy-networking-v1.json")).expect("a schema");
        let schema: Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(schema["$ref"], "#/definitions/a");
        let needed: Vec<&String> = schema["definitions"].as_object().expect("definitions").keys().collect();
        assert_eq!(needed, ["a", "b", "x.IntOrString"]);
        assert_eq!(schema["definitions"]["b"]["additionalProperties"], false);
        assert_eq!(schema["definitions"]["x.IntOrString"]["type"], json!(["string", "number"]));
    }
}
