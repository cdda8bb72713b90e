//! What the layers know of each method.

use mesh_policy::RouteKey;
use std::{collections::HashMap, time::Duration};

/// Limits of one method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodRules {
    /// Deadline when the caller gives none; `None`: the listener's default.
    pub default_deadline: Option<Duration>,
    /// Longest deadline granted; `None`: the listener's maximum.
    pub max_deadline: Option<Duration>,
    /// Largest request message in bytes after decompression; `None`: the listener's default.
    pub max_request_bytes: Option<usize>,
    /// Where the request keeps its user key, with which metadata must agree.
    pub route_key: Option<RouteKey>,
    /// Whether the request is one message, which is then read and checked before the handler runs.
    pub unary_request: bool,
    /// Whether the answer is a stream: it lasts, and is counted apart from calls.
    pub server_streaming: bool,
    /// Whether it runs in the global cell for all: its streams feed the other cells, and are counted apart once more.
    pub global: bool,
}

/// One method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// `package.Service`.
    pub service: String,
    /// The method's name.
    pub name: String,
    /// Its limits.
    pub rules: MethodRules,
}

/// The methods that are served, by path. Paths that are not here share one label, so that a caller who makes up paths
/// makes up no metrics.
#[derive(Clone, Debug, Default)]
pub struct Methods(HashMap<String, Method>);

impl Methods {
    /// Adds the method of a path like `/package.Service/Method`; a path of another form is left out.
    pub fn add(&mut self, path: &str, rules: MethodRules) {
        if let Some((service, name)) = path.strip_prefix('/').and_then(|path| path.split_once('/')) {
            let method = Method { service: service.to_owned(), name: name.to_owned(), rules };
            self.0.insert(path.to_owned(), method);
        }
    }

    /// The method of a path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Method> {
        self.0.get(path)
    }

    /// Every method, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Method> {
        self.0.values()
    }
}
