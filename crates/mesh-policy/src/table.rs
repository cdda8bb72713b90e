//! The table of all methods the mesh knows.

use crate::compile::{Method, compile};
use crate::sets::{Set, merge};
use crate::{Fault, MethodPolicy, PolicyError, PolicyErrors};
use hashbrown::{HashMap, HashSet};
use prost_reflect::DescriptorPool;

/// Policies by method, made from descriptor sets. Immutable.
#[derive(Debug)]
pub struct PolicyTable {
    methods: HashMap<Box<str>, MethodPolicy>,
    unannotated: HashSet<Box<str>>,
    services: Vec<String>,
    descriptors: Vec<u8>,
}

impl PolicyTable {
    /// Compiles encoded `google.protobuf.FileDescriptorSet`s, each with all its imports. Files and methods that several
    /// sets contain alike count once.
    ///
    /// # Errors
    /// All faults of all sets, each naming file, method and option.
    pub fn from_descriptor_sets<'a>(sets: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, PolicyErrors> {
        let (table, errors) = Self::examine(sets);
        if errors.0.is_empty() { Ok(table) } else { Err(errors) }
    }

    /// The same for tools that have more to say than the first faults: the faults beside a table of what can be read in
    /// spite of them, which nobody should be routed by.
    pub fn examine<'a>(sets: impl IntoIterator<Item = &'a [u8]>) -> (Self, PolicyErrors) {
        let mut errors = Vec::new();
        let mut read = Vec::new();
        for (n, bytes) in sets.into_iter().enumerate() {
            match Set::read(n + 1, bytes) {
                Ok(set) => read.push(set),
                Err(faults) => errors.extend(faults.0),
            }
        }
        let mut known: HashMap<Box<str>, Method> = HashMap::new();
        let mut unannotated = HashSet::new();
        let mut services = Vec::new();
        for set in &read {
            let compiled = compile(set, &mut errors);
            for method in compiled.methods {
                add(&mut known, method, &mut errors);
            }
            unannotated.extend(compiled.unannotated.into_iter().map(String::into_boxed_str));
            services.extend(compiled.services);
        }
        for path in &unannotated {
            if let Some(method) = known.get(path) {
                errors.push(conflict(&method.policy, &method.file, "a file without a policy for it".to_owned()));
            }
        }
        services.sort_unstable();
        services.dedup();
        let descriptors = merge(&read, &mut errors);
        if errors.is_empty()
            && read.len() > 1
            && let Err(error) = DescriptorPool::decode(&*descriptors)
        {
            errors.push(PolicyError::of_file("all descriptor sets", Fault::Merge(error.to_string())));
        }
        let methods = known.into_iter().map(|(path, method)| (path, method.policy)).collect();
        (Self { methods, unannotated, services, descriptors }, PolicyErrors(errors))
    }

    /// The policy of a method, by its path on the wire, `/package.Service/Method`.
    #[must_use]
    #[inline]
    pub fn method(&self, path: &str) -> Option<&MethodPolicy> {
        self.methods.get(path)
    }

    /// Whether the method exists but has no policy: it cannot be routed, and its caller should learn why.
    #[must_use]
    pub fn is_unannotated(&self, path: &str) -> bool {
        self.unannotated.contains(path)
    }

    /// All methods with a policy, in no order.
    pub fn methods(&self) -> impl ExactSizeIterator<Item = &MethodPolicy> {
        self.methods.values()
    }

    /// Paths of all methods without one, in no order.
    pub fn unannotated(&self) -> impl ExactSizeIterator<Item = &str> {
        self.unannotated.iter().map(|path| &**path)
    }

    /// Full names of all services, sorted, those without any policy included.
    pub fn services(&self) -> impl ExactSizeIterator<Item = &str> {
        self.services.iter().map(String::as_str)
    }

    /// All files of all sets, each once, as one encoded descriptor set with every custom option: what reflection serves.
    #[must_use]
    pub fn file_descriptor_set_bytes(&self) -> &[u8] {
        &self.descriptors
    }
}

fn add(known: &mut HashMap<Box<str>, Method>, method: Method, errors: &mut Vec<PolicyError>) {
    match known.get(&*method.policy.path) {
        None => {
            known.insert(method.policy.path.clone().into_boxed_str(), method);
        }
        Some(first) if first.policy == method.policy => {}
        Some(first) => errors.push(conflict(&method.policy, &method.file, first.file.clone())),
    }
}

fn conflict(policy: &MethodPolicy, file: &str, other: String) -> PolicyError {
    PolicyError {
        file: file.to_owned(),
        method: policy.path.trim_start_matches('/').to_owned(),
        option: "policy",
        fault: Fault::MethodConflict { file: other },
    }
}
