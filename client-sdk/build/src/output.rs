//! From a descriptor set to the files that are generated of it. Pure.

use crate::{
    Error, Fault,
    builder::Options,
    comments,
    generate::{DESCRIPTORS, Generator, config_file, path},
    names, service_config,
};
use mesh_policy::{MethodPolicy, PolicyTable};
use prost_build::{Config, Module};
use prost_reflect::{DescriptorPool, ServiceDescriptor};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
};

const POLICY: &str = "cellmesh/policy/v1/policy.proto";
/// prost's messages are not documented where their protos are not, and are written for no linter.
const LINTS: &str = "#[allow(missing_docs, clippy::all, clippy::pedantic, rustdoc::all)]";

/// What is generated.
pub(crate) struct Output {
    /// By name.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// What its user may not have meant.
    pub(crate) warnings: Vec<String>,
}

/// Generates everything. `roots` are the names of the files whose services get clients; all of them without.
pub(crate) fn generate(set: &[u8], roots: Option<&[String]>, options: Options) -> Result<Output, Error> {
    let (table, errors) = PolicyTable::examine([set]);
    // What could not be read is not there.
    let pool = DescriptorPool::decode(table.file_descriptor_set_bytes()).map_err(|e| Error::Messages(e.to_string()))?;
    let is_root = |file: &str| roots.is_none_or(|roots| roots.iter().any(|root| root == file));
    let services: Vec<_> = pool.services().filter(|service| is_root(service.parent_file().name())).collect();

    let mut faults: Vec<_> = errors.iter().cloned().map(Fault::Policy).collect();
    for policy in policies(&table, &services) {
        if let Some(Err(errors)) = policy.batch.as_ref().map(|batch| &batch.gather) {
            faults.extend(errors.iter().cloned().map(Fault::Policy));
        }
    }
    faults.extend(names::check(&pool, &services));
    if !faults.is_empty() {
        return Err(Error::Faults(faults));
    }

    let mut files = BTreeMap::new();
    let mut all = Vec::new();
    for service in &services {
        let own: Vec<_> = policies(&table, std::slice::from_ref(service)).collect();
        if !own.is_empty() {
            files.insert(config_file(service.full_name()), service_config::of(own.iter().copied()).into_bytes());
            all.extend(own);
        }
    }
    files.insert("service_config.json".to_owned(), service_config::of(all).into_bytes());
    files.insert(DESCRIPTORS.to_owned(), table.file_descriptor_set_bytes().to_vec());
    let modules = modules(&pool, Generator::new(&table, &services, &options), options, &is_root)?;
    let mut includes = Tree::default();
    for (module, (package, content)) in modules {
        let file = format!("{}.rs", if package.is_empty() { "_" } else { &package });
        includes.add(&module.parts().collect::<Vec<_>>(), &file);
        files.insert(file, content.into_bytes());
    }
    files.insert("protos.rs".to_owned(), includes.to_string().into_bytes());
    Ok(Output { files, warnings: warnings(&table, &services) })
}

fn policies<'a>(
    table: &'a PolicyTable,
    services: &'a [ServiceDescriptor],
) -> impl Iterator<Item = &'a MethodPolicy> + 'a {
    let methods = services.iter().flat_map(|service| service.methods().collect::<Vec<_>>());
    methods.filter_map(|method| table.method(&path(&method)))
}

/// The code of each package's module, and the package's name.
fn modules(
    pool: &DescriptorPool,
    generator: Generator,
    options: Options,
    is_root: &dyn Fn(&str) -> bool,
) -> Result<BTreeMap<Module, (String, String)>, Error> {
    let mut config = Config::new();
    config.prost_path("::client_sdk::generated::prost").prost_types_path("::client_sdk::generated::prost_types");
    config.type_attribute(".", LINTS);
    for (proto, rust) in options.extern_paths {
        config.extern_path(proto, rust);
    }
    for configure in options.configure {
        configure(&mut config);
    }
    config.service_generator(Box::new(generator));
    let mut requests = Vec::new();
    let mut packages = BTreeMap::new();
    for file in pool.files() {
        let module = Module::from_protobuf_package_name(file.package_name());
        // Options are read, not sent.
        if file.name() != POLICY || is_root(POLICY) {
            packages.entry(module.clone()).or_insert_with(|| file.package_name().to_owned());
        }
        let mut proto = file.file_descriptor_proto().clone();
        comments::tame(&mut proto);
        requests.push((module, proto));
    }
    // It panics where two values of an enum have one name in Rust.
    let generated = catch_unwind(AssertUnwindSafe(|| config.generate(requests))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Error::Messages(text.unwrap_or("it panicked").to_owned())
    })?;
    let generated = generated.map_err(|error| Error::Messages(error.to_string()))?;
    let named = |(module, content)| Some((packages.get(&module)?.clone(), content)).map(|named| (module, named));
    Ok(generated.into_iter().filter_map(named).collect())
}

/// A method without a policy is not routed: its client would be of no use.
fn warnings(table: &PolicyTable, services: &[ServiceDescriptor]) -> Vec<String> {
    let methods = services.iter().flat_map(|service| service.methods().collect::<Vec<_>>());
    let bare = methods.filter(|method| table.is_unannotated(&path(method)));
    let warning = |method: prost_reflect::MethodDescriptor| {
        let file = method.parent_file();
        format!("{}: {}: no policy, so that no client has it", file.name(), path(&method).trim_start_matches('/'))
    };
    bare.map(warning).collect()
}

/// Modules within modules.
#[derive(Default)]
struct Tree {
    files: Vec<String>,
    inner: BTreeMap<String, Tree>,
}

impl Tree {
    fn add(&mut self, path: &[&str], file: &str) {
        match path {
            [] => self.files.push(file.to_owned()),
            [first, rest @ ..] => self.inner.entry((*first).to_owned()).or_default().add(rest, file),
        }
    }

    fn write(&self, depth: usize, out: &mut String) {
        let indent = "    ".repeat(depth);
        for file in &self.files {
            let _ = writeln!(out, "{indent}include!({file:?});");
        }
        for (name, inner) in &self.inner {
            let _ = writeln!(out, "{indent}#[allow(missing_docs, clippy::pedantic)]\n{indent}pub mod {name} {{");
            inner.write(depth + 1, out);
            let _ = writeln!(out, "{indent}}}");
        }
    }
}

impl std::fmt::Display for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = String::new();
        self.write(0, &mut out);
        f.write_str(&out)
    }
}
