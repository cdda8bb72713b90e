//! The code of one service.

mod batch;
mod client;
mod docs;
mod method;
mod mock;

use crate::{builder::Options, names};
use mesh_policy::{MethodPolicy, PolicyTable};
use proc_macro2::{Ident, TokenStream};
use prost_build::{Service, ServiceGenerator};
use prost_reflect::{MethodDescriptor, ServiceDescriptor};
use quote::quote;
use std::collections::{BTreeMap, BTreeSet};

/// Name of the file with the descriptor set.
pub(crate) const DESCRIPTORS: &str = "descriptors.binpb";

/// Name of the file with a service's config.
pub(crate) fn config_file(service: &str) -> String {
    format!("{service}.service_config.json")
}

/// A method's path on the wire.
pub(crate) fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

/// Writes each service's code beside its package's messages.
pub(crate) struct Generator {
    /// By full name.
    services: BTreeMap<String, ServiceDescriptor>,
    policies: BTreeMap<String, MethodPolicy>,
    tonic: Option<Box<dyn ServiceGenerator>>,
    /// Packages that got a client.
    packages: BTreeSet<String>,
}

/// A method that clients have.
struct Rpc<'a> {
    policy: &'a MethodPolicy,
    /// Of the batch RPC, if the method has one.
    batch: Option<&'a MethodPolicy>,
    descriptor: MethodDescriptor,
    proto: &'a prost_build::Method,
    /// Its function.
    name: Ident,
    /// The module of the methods' types.
    module: &'a Ident,
    /// Its type.
    marker: TokenStream,
    request: TokenStream,
    response: TokenStream,
}

impl Rpc<'_> {
    /// Another method of the same service, by its path.
    fn sibling(&self, other: &str) -> Option<MethodDescriptor> {
        self.descriptor.parent_service().methods().find(|method| path(method) == other)
    }
}

impl Generator {
    pub(crate) fn new(table: &PolicyTable, services: &[ServiceDescriptor], options: &Options) -> Self {
        let tonic = tonic_prost_build::configure()
            .build_server(options.tonic_server)
            .build_client(options.tonic_client)
            .service_generator();
        Self {
            services: services.iter().map(|service| (service.full_name().to_owned(), service.clone())).collect(),
            policies: table.methods().map(|policy| (policy.path.clone(), policy.clone())).collect(),
            tonic: (options.tonic_server || options.tonic_client).then_some(tonic),
            packages: BTreeSet::new(),
        }
    }
}

impl ServiceGenerator for Generator {
    fn generate(&mut self, service: Service, buf: &mut String) {
        let dot = if service.package.is_empty() { "" } else { "." };
        let Some(descriptor) = self.services.get(&format!("{}{dot}{}", service.package, service.proto_name)) else {
            return;
        };
        if let Some(tonic) = &mut self.tonic {
            tonic.generate(service.clone(), buf);
        }
        let module = names::snake_with("", &service.proto_name, "_methods");
        let mut rpcs = Vec::new();
        let mut left_out = Vec::new();
        for (proto, method) in service.methods.iter().zip(descriptor.methods()) {
            let policy = match self.policies.get(&path(&method)) {
                Some(policy) if !policy.client_streaming => policy,
                Some(_) => {
                    left_out.push((proto.proto_name.clone(), "has a stream of requests, which no mesh routes"));
                    continue;
                }
                None => {
                    left_out.push((proto.proto_name.clone(), "has no policy"));
                    continue;
                }
            };
            let marker = names::camel(&proto.proto_name, "");
            rpcs.push(Rpc {
                policy,
                batch: policy.batch.as_ref().and_then(|batch| self.policies.get(&batch.path)),
                descriptor: method,
                proto,
                name: names::snake(&proto.proto_name),
                module: &module,
                marker: quote!(#module::#marker),
                request: tokens(&proto.input_type),
                response: tokens(&proto.output_type),
            });
        }
        if rpcs.is_empty() {
            return;
        }
        self.packages.insert(service.package.clone());
        let parts = [
            client::client(&service, descriptor, &rpcs, &left_out),
            client::methods(descriptor, &module, &rpcs),
            rpcs.iter().map(method::method).collect(),
            mock::mock(&service, descriptor, &rpcs),
        ];
        for part in parts {
            buf.push_str(&part.to_string());
        }
    }

    fn finalize_package(&mut self, package: &str, buf: &mut String) {
        if !self.packages.contains(package) {
            return;
        }
        let item = quote! {
            /// All files that this code was generated of, as an encoded `google.protobuf.FileDescriptorSet` with every
            /// custom option: what routers and reflection take.
            pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(#DESCRIPTORS);
        };
        buf.push_str(&item.to_string());
    }
}

/// A type's path as prost has it.
fn tokens(path: &str) -> TokenStream {
    path.parse().expect("prost's paths are made of checked names and checked paths")
}
