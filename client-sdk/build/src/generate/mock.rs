//! The stand-in of a service in tests.

use super::{Rpc, docs};
use crate::names;
use proc_macro2::TokenStream;
use prost_build::Service;
use prost_reflect::ServiceDescriptor;
use quote::quote;

pub(super) fn mock(service: &Service, descriptor: &ServiceDescriptor, rpcs: &[Rpc<'_>]) -> TokenStream {
    let mock = names::camel(&service.proto_name, "Mock");
    let doc = docs::lines([
        &*format!("Stands in for `{}` in tests of its callers.", descriptor.full_name()),
        "",
        "A method that has got no answer answers UNIMPLEMENTED. Clones are one mock.",
    ]);
    let functions = rpcs.iter().map(functions);
    quote! {
        #doc
        #[derive(Clone, Debug, Default)]
        pub struct #mock(::client_sdk::mock::MockMesh);

        #[allow(clippy::all, clippy::pedantic)]
        impl #mock {
            /// A mock in a mesh of its own.
            #[must_use]
            pub fn new() -> Self {
                Self::default()
            }

            /// A mock in a mesh that has others too.
            #[must_use]
            pub fn within(mesh: &::client_sdk::mock::MockMesh) -> Self {
                Self(mesh.clone())
            }

            /// The mesh, for clients.
            #[must_use]
            pub fn mesh(&self) -> ::client_sdk::Mesh {
                self.0.mesh()
            }

            #(#functions)*
        }
    }
}

fn functions(rpc: &Rpc<'_>) -> TokenStream {
    let Rpc { marker, request, response, proto, policy, .. } = rpc;
    let name = &proto.proto_name;
    let (on, requests) = (names::snake_with("on_", name, ""), names::snake_with("requests_of_", name, ""));
    let answers = docs::lines([format!("What `{name}` answers from now on.")]);
    let asked = docs::lines([format!("The requests of `{name}` so far.")]);
    let on = if policy.server_streaming {
        quote! {
            pub fn #on<S>(&self, answer: impl Fn(#request) -> ::core::result::Result<S, ::client_sdk::Error> + Send + Sync + 'static)
            where
                S: ::client_sdk::generated::Stream<Item = ::core::result::Result<#response, ::client_sdk::Error>> + Send + 'static,
            {
                self.0.answer_stream::<#marker, S>(answer);
            }
        }
    } else {
        quote! {
            pub fn #on(
                &self,
                answer: impl Fn(#request) -> ::core::result::Result<#response, ::client_sdk::Error> + Send + Sync + 'static,
            ) {
                self.0.answer::<#marker>(answer);
            }
        }
    };
    quote! {
        #answers
        #on

        #asked
        #[must_use]
        pub fn #requests(&self) -> ::std::vec::Vec<#request> {
            self.0.requests::<#marker>()
        }
    }
}
