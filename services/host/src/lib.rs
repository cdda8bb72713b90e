#![doc = include_str!("../README.md")]

use service_runtime::Service;

/// Every service of the shop; configuration chooses among them.
#[must_use]
pub fn services() -> Vec<Box<dyn Service>> {
    vec![Box::new(member::Member), Box::new(catalog::Catalog), Box::new(campaign::Campaigns), Box::new(trade::Trade)]
}
