//! Glue between single calls and batches.

use super::{
    Rpc,
    method::{element_keys, literal, steps},
};
use crate::names::{camel, snake};
use mesh_policy::{Answer, Item, ItemStatus};
use proc_macro2::{Ident, Literal, TokenStream};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, prost::encoding};
use quote::{ToTokens, quote};
use std::collections::BTreeSet;

/// How single calls become a batch call, if the method has a batch RPC.
pub(super) fn gather(rpc: &Rpc<'_>) -> Option<TokenStream> {
    let policy = rpc.policy.batch.as_ref()?;
    let of = rpc.batch?.batch_of.as_ref()?;
    let gather = policy.gather.as_ref().ok()?;
    let batch = rpc.sibling(&policy.path)?;
    let item = match &gather.item {
        Item::Request => quote!(Request),
        Item::Field(number) => {
            let absent = absent(&batch.input().get_field(policy.items)?);
            let number = literal(*number);
            let absent = absent.into_iter().map(Literal::u8_unsuffixed);
            quote!(Field { number: #number, absent: &[#(#absent),*] })
        }
        Item::Fields(pairs) => {
            let pairs = self::pairs(pairs);
            quote!(Fields(#pairs))
        }
    };
    let answer = match &gather.answer {
        Answer::Field(number) => {
            let number = literal(*number);
            quote!(Field(#number))
        }
        Answer::Fields(pairs) => {
            let pairs = self::pairs(pairs);
            quote!(Fields(#pairs))
        }
    };
    let (items, results) = (literal(policy.items), literal(policy.results));
    let shared = pairs(&gather.shared);
    let status = status(of.status());
    let joins = joins(&rpc.descriptor.input(), &gather.shared);
    let (module, marker) = (rpc.module, camel(batch.name(), ""));
    Some(quote! {
        const BATCH: ::core::option::Option<::client_sdk::BatchGlue<Self>> = {
            use ::client_sdk::generated::{Answer, Gather, Item, ItemStatus};
            const GATHER: Gather = Gather {
                items: #items,
                item: Item::#item,
                shared: #shared,
                results: #results,
                status: ItemStatus::#status,
                answer: Answer::#answer,
            };
            Some(::client_sdk::BatchGlue {
                policy: &<#module::#marker as ::client_sdk::Method>::POLICY,
                joins: #joins,
                request: |requests| GATHER.request(requests),
                responses: |batch| GATHER.responses(batch),
            })
        };
    })
}

/// How the method's requests are split over cells, if it is a batch RPC whose items have keys of their own.
pub(super) fn split(rpc: &Rpc<'_>) -> Option<TokenStream> {
    let of = rpc.policy.batch_of.as_ref()?;
    let key = rpc.policy.route_key.as_ref().filter(|key| key.is_repeated())?;
    let (request, response) = (rpc.descriptor.input(), rpc.descriptor.output());
    let (items, results) = (request.get_field(of.items())?, response.get_field(of.results())?);
    let (items_name, results_name) = (snake(items.name()), snake(results.name()));
    let keys = element_keys(&steps(&request, key.path()));
    let others = names(&request, |field| field != &items);
    let request_type = &rpc.request;
    let status = status(of.status());
    let echo = match of.echo() {
        Some(number) => {
            let number = literal(number);
            let kind = encoding_of(&items.kind());
            quote!(|at, result| ::client_sdk::generated::prost::encoding::#kind::encode(#number, &request.#items_name[at], result))
        }
        None => quote!(|_, _| {}),
    };
    let max = literal(of.max());
    Some(quote! {
        const SPLIT: ::core::option::Option<::client_sdk::SplitGlue<Self>> = Some(::client_sdk::SplitGlue {
            max: #max,
            keys: |request, visit| #keys.for_each(visit),
            select: |request, positions| #request_type {
                #items_name: ::client_sdk::generated::pick(&request.#items_name, positions),
                #(#others: request.#others.clone(),)*
            },
            merge: |request, parts| {
                ::client_sdk::generated::merge(
                    request.#items_name.len(),
                    parts,
                    |response| &mut response.#results_name,
                    ::client_sdk::generated::ItemStatus::#status,
                    #echo,
                )
            },
        });
    })
}

fn pairs(pairs: &[(u32, u32)]) -> TokenStream {
    let (single, batch): (Vec<_>, Vec<_>) = pairs.iter().map(|(a, b)| (literal(*a), literal(*b))).unzip();
    quote!(&[#((#single, #batch)),*])
}

fn status(status: ItemStatus) -> TokenStream {
    match status {
        ItemStatus::Code { code, message } => {
            let code = literal(code);
            let message = message.map_or(quote!(None), |message| {
                let message = literal(message);
                quote!(Some(#message))
            });
            quote!(Code { code: #code, message: #message })
        }
        ItemStatus::RpcStatus(field) => {
            let field = literal(field);
            quote!(RpcStatus(#field))
        }
    }
}

/// Whether everything is equal that requests of one batch share.
fn joins(request: &MessageDescriptor, shared: &[(u32, u32)]) -> TokenStream {
    let names = names(request, |field| shared.iter().any(|(number, _)| *number == field.number()));
    match &*names {
        [] => quote!(|_, _| true),
        names => quote!(|a, b| #(a.#names == b.#names)&&*),
    }
}

/// The fields in Rust that hold these fields: members of a oneof share one.
fn names(message: &MessageDescriptor, of: impl Fn(&FieldDescriptor) -> bool) -> Vec<Ident> {
    let name = |field: FieldDescriptor| match field.containing_oneof().filter(|oneof| !oneof.is_synthetic()) {
        Some(oneof) => snake(oneof.name()),
        None => snake(field.name()),
    };
    message.fields().filter(of).map(name).collect::<BTreeSet<_>>().into_iter().collect()
}

/// An empty item, encoded.
fn absent(items: &FieldDescriptor) -> Vec<u8> {
    let wire = items.kind().wire_type();
    let mut bytes = Vec::new();
    encoding::encode_key(items.number(), wire, &mut bytes);
    let zeros = match wire {
        encoding::WireType::SixtyFourBit => 8,
        encoding::WireType::ThirtyTwoBit => 4,
        _ => 1,
    };
    bytes.resize(bytes.len() + zeros, 0);
    bytes
}

/// prost's module for values of this type.
fn encoding_of(kind: &Kind) -> impl ToTokens + use<> {
    match kind {
        Kind::Int32 => quote!(int32),
        Kind::Int64 => quote!(int64),
        Kind::Uint32 => quote!(uint32),
        Kind::Uint64 => quote!(uint64),
        Kind::Sint32 => quote!(sint32),
        Kind::Sint64 => quote!(sint64),
        Kind::Fixed32 => quote!(fixed32),
        Kind::Fixed64 => quote!(fixed64),
        Kind::Sfixed32 => quote!(sfixed32),
        Kind::Sfixed64 => quote!(sfixed64),
        Kind::Bytes => quote!(bytes),
        // The table has an echo for types of keys only.
        _ => quote!(string),
    }
}
