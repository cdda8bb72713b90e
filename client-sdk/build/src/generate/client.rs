//! The client and the types of its methods.

use super::{Rpc, config_file, docs};
use crate::names;
use mesh_policy::Scope;
use proc_macro2::{Ident, TokenStream};
use prost_build::Service;
use prost_reflect::ServiceDescriptor;
use quote::quote;

pub(super) fn client(
    service: &Service,
    descriptor: &ServiceDescriptor,
    rpcs: &[Rpc<'_>],
    left_out: &[(String, &str)],
) -> TokenStream {
    let client = names::camel(&service.proto_name, "Client");
    let full_name = descriptor.full_name();
    let mut doc = docs::with_comment(&format!("Client of `{full_name}`, through a mesh."), &service.comments);
    for (method, why) in left_out {
        doc.extend(docs::lines(["", &format!("Without `{method}`: it {why}.")]));
    }
    let config = config_file(full_name);
    let (names, markers) = (rpcs.iter().map(|rpc| &rpc.name), rpcs.iter().map(|rpc| &rpc.marker));
    let fields: Vec<_> = names.collect();
    let markers: Vec<_> = markers.collect();
    let functions = rpcs.iter().map(function);
    quote! {
        #doc
        #[allow(rustdoc::all)]
        #[derive(Clone, Debug)]
        pub struct #client {
            mesh_: ::client_sdk::Mesh,
            #(#fields: ::client_sdk::Slot<#markers>,)*
        }

        #[allow(clippy::all, clippy::pedantic, rustdoc::all)]
        impl #client {
            /// gRPC service config of the service, as JSON, for clients in other languages.
            pub const SERVICE_CONFIG: &'static str = include_str!(#config);

            /// A client that calls through this mesh.
            #[must_use]
            pub fn new(mesh: &::client_sdk::Mesh) -> Self {
                Self { #(#fields: ::client_sdk::Slot::of(mesh),)* mesh_: mesh.clone() }
            }

            #(#functions)*
        }
    }
}

fn function(rpc: &Rpc<'_>) -> TokenStream {
    let Rpc { name, marker, request, proto, policy, .. } = rpc;
    let mut doc = docs::comment_or(&proto.comments, &format!("Calls `{}`.", policy.path.trim_start_matches('/')));
    if policy.scope == Scope::User && policy.route_key.is_none() {
        doc.extend(docs::lines(["", "The request does not name its user: the call's `user_key` does."]));
    }
    let deprecated = proto.options.deprecated().then(|| quote!(#[deprecated]));
    let call = if policy.server_streaming { quote!(StreamCall) } else { quote!(Call) };
    // The constructor has this name.
    let function = if name == "new" { quote!(new_) } else { quote!(#name) };
    quote! {
        #doc
        #deprecated
        pub fn #function(&self, request: #request) -> ::client_sdk::#call<'_, #marker> {
            ::client_sdk::#call::new(&self.mesh_, &self.#name, request)
        }
    }
}

/// The module of the methods' types.
pub(super) fn methods(descriptor: &ServiceDescriptor, module: &Ident, rpcs: &[Rpc<'_>]) -> TokenStream {
    let doc = docs::lines([format!("The methods of `{}`, as types.", descriptor.full_name())]);
    let markers = rpcs.iter().map(|rpc| {
        let doc = docs::lines([format!("`{}`.", rpc.policy.path)]);
        let marker = names::camel(&rpc.proto.proto_name, "");
        quote! {
            #doc
            #[derive(Debug)]
            pub enum #marker {}
        }
    });
    quote! {
        #doc
        #[allow(non_camel_case_types)]
        pub mod #module {
            #(#markers)*
        }
    }
}
