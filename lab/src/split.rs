//! Order and payment as two services that call each other, and a service that only passes calls on: what the guide warns
//! of, written as well as it can be, on the same runtime and storage as the product's services.

mod generated;
mod middle;
mod order;
mod parse;
mod payment;
mod processes;

pub use generated::lab::split::v1 as proto;
pub(crate) use processes::Split;

use service_runtime::Service;

/// The protos with everything they import, as the routers read them.
pub(crate) const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/split.binpb"));

/// The services; configuration chooses among them.
#[must_use]
pub fn services() -> Vec<Box<dyn Service>> {
    vec![Box::new(order::Order), Box::new(payment::Payment), Box::new(middle::Middle)]
}
