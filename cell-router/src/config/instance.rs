//! An element of `router.instances`.

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};
use std::{collections::HashSet, fmt};

/// One of this cell's `cell-services` processes: an address alone, or a table `{address, services, front}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its peer listener, `host:port`.
    pub address: String,
    /// Full names of the services that it hosts; none: all that are routed.
    pub services: Option<Vec<String>>,
    /// Its front listener, `host:port`: where clients that route by themselves reach it; none: they do not.
    pub front: Option<String>,
}

impl Instance {
    /// Hosts every service.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), services: None, front: None }
    }

    /// Whether it hosts a service.
    #[must_use]
    pub fn hosts(&self, service: &str) -> bool {
        self.services.as_ref().is_none_or(|services| services.iter().any(|hosted| hosted == service))
    }
}

/// Whether these instances can be, where these services are routed.
///
/// # Errors
/// Naming the address that stands there twice, or whose services are none, or unknown.
pub(crate) fn check<'t>(instances: &[Instance], routed: impl Iterator<Item = &'t str>) -> Result<(), String> {
    let routed: HashSet<&str> = routed.collect();
    let mut seen = HashSet::new();
    for Instance { address, services, .. } in instances {
        if !seen.insert(address) {
            return Err(format!("key \"router.instances\": \"{address}\" is given twice"));
        }
        let Some(services) = services else { continue };
        if services.is_empty() {
            return Err(format!("key \"router.instances\": \"{address}\" hosts no service"));
        }
        if let Some(unknown) = services.iter().find(|service| !routed.contains(service.as_str())) {
            return Err(format!(
                "key \"router.instances\": service \"{unknown}\" of \"{address}\" is in no descriptor set"
            ));
        }
    }
    Ok(())
}

impl<'de> Deserialize<'de> for Instance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrTable)
    }
}

/// Not an untagged enum, whose errors would name neither key nor value.
struct TextOrTable;

impl<'de> Visitor<'de> for TextOrTable {
    type Value = Instance;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address \"host:port\", or a table {address, services, front}")
    }

    fn visit_str<E: Error>(self, address: &str) -> Result<Instance, E> {
        Ok(Instance::new(address))
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Instance, M::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            address: String,
            #[serde(default)]
            services: Option<Vec<String>>,
            #[serde(default)]
            front: Option<String>,
        }
        let Table { address, services, front } = Table::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Instance { address, services, front })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use service_runtime::config::Sources;

    fn read(value: &str) -> Result<Vec<Instance>, String> {
        let set = vec!["cell=a".to_owned(), format!("router.instances={value}")];
        let config = Config::read(&Sources { config: None, set }).map_err(|error| error.to_string())?;
        check(&config.router.instances, ["x.A", "x.B"].into_iter())?;
        Ok(config.router.instances)
    }

    #[test]
    fn an_instance_is_an_address_or_a_table() {
        let read = read(r#"["h:1", {address = "h:2", services = ["x.A"], front = "h:3"}]"#).expect("both are allowed");
        assert!(read[0] == Instance::new("h:1") && read[0].hosts("x.A") && read[0].hosts("x.B"));
        assert!(read[1].address == "h:2" && read[1].hosts("x.A") && !read[1].hosts("x.B"));
        assert!(read[0].front.is_none() && read[1].front.as_deref() == Some("h:3"));
    }

    #[test]
    fn a_wrong_instance_is_named() {
        for (value, names) in [
            ("[7]", &["router.instances", "host:port"][..]),
            (r#"[{services = ["x.A"]}]"#, &["router.instances", "address"]),
            (r#"[{address = "h:1", services = ["x.A"], weight = 2}]"#, &["router.instances", "weight"]),
            (r#"[{address = "h:1", services = []}]"#, &["router.instances", "\"h:1\"", "no service"]),
            (r#"[{address = "h:1", services = ["x.C"]}]"#, &["router.instances", "\"h:1\"", "\"x.C\""]),
            (r#"["h:1", {address = "h:1", services = ["x.A"]}]"#, &["router.instances", "\"h:1\"", "twice"]),
        ] {
            let error = read(value).expect_err(value);
            for name in names {
                assert!(error.contains(name), "{value}: {error:?} does not name {name:?}");
            }
        }
    }
}
