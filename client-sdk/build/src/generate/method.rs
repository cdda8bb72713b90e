//! A method's `client_sdk::Method`: its policy, and where its request keeps what the mesh needs.

use super::{Rpc, batch};
use crate::names::snake;
use mesh_policy::{Criticality, Idempotency, MethodPolicy, Scope};
use proc_macro2::{Literal, TokenStream};
use prost_reflect::{Cardinality, FieldDescriptor, MessageDescriptor};
use quote::quote;
use std::time::Duration;

pub(super) fn method(rpc: &Rpc<'_>) -> TokenStream {
    let Rpc { marker, request, response, .. } = rpc;
    let policy = policy(rpc.policy);
    let batch = batch::gather(rpc);
    let split = batch::split(rpc);
    let key = key(rpc);
    let idempotency_key = idempotency_key(rpc);
    quote! {
        #[allow(deprecated, clippy::all, clippy::pedantic)]
        impl ::client_sdk::Method for #marker {
            type Request = #request;
            type Response = #response;
            const POLICY: ::client_sdk::MethodPolicy = #policy;
            #batch
            #split
            #key
            #idempotency_key
        }
    }
}

fn policy(policy: &MethodPolicy) -> TokenStream {
    let scope = match policy.scope {
        Scope::User => quote!(User),
        Scope::Global => quote!(Global),
        Scope::Replicated => quote!(Replicated),
        Scope::Local => quote!(Local),
    };
    let path = &policy.path;
    let mut made = quote!(::client_sdk::MethodPolicy::new(#path, ::client_sdk::Scope::#scope));
    let mut with = |option: Option<TokenStream>| made.extend(option);
    with(
        (policy.criticality == Criticality::NonCore).then(|| quote!(.criticality(::client_sdk::Criticality::NonCore))),
    );
    with(match policy.side_effects {
        Idempotency::NoSideEffects => Some(quote!(.side_effects(::client_sdk::Idempotency::NoSideEffects))),
        Idempotency::Idempotent => Some(quote!(.side_effects(::client_sdk::Idempotency::Idempotent))),
        Idempotency::Unknown => None,
    });
    with(policy.default_deadline.map(millis).map(|ms| quote!(.default_deadline_ms(#ms))));
    with(policy.max_deadline.map(millis).map(|ms| quote!(.max_deadline_ms(#ms))));
    with(policy.max_request_bytes.map(literal).map(|bytes| quote!(.max_request_bytes(#bytes))));
    with(policy.idempotency_key.as_ref().map(|_| quote!(.idempotency_key())));
    with(policy.batch.as_ref().map(|batch| {
        let (path, max) = (&batch.path, literal(batch.max));
        quote!(.batch(#path, #max))
    }));
    with(policy.local_logic.as_ref().map(|logic| {
        let (name, major) = (&logic.name, literal(logic.major));
        quote!(.local_logic(#name, #major))
    }));
    with(policy.cache.as_ref().map(|cache| {
        let (ttl, negative) = (millis(cache.ttl), cache.negative_ttl.map_or(literal(0), millis));
        quote!(.cache_ms(#ttl, #negative))
    }));
    with(
        policy.hedge.map(|hedge| literal(hedge.max_extra_permille)).map(|permille| quote!(.hedge_permille(#permille))),
    );
    made
}

/// Options are milliseconds in 32 bits.
fn millis(duration: Duration) -> Literal {
    literal(u32::try_from(duration.as_millis()).unwrap_or(u32::MAX))
}

/// A number as people write it.
pub(super) fn literal(number: u32) -> Literal {
    Literal::u32_unsuffixed(number)
}

fn key(rpc: &Rpc<'_>) -> Option<TokenStream> {
    let key = rpc.policy.route_key.as_ref()?;
    let fields = steps(&rpc.descriptor.input(), key.path());
    let body = if key.is_repeated() {
        let keys = element_keys(&fields);
        quote!(::client_sdk::generated::common_key(#keys))
    } else {
        field_key(&fields, &quote!(request))
    };
    Some(quote! {
        fn key(
            request: &Self::Request,
        ) -> ::core::result::Result<::client_sdk::Key<'_>, ::client_sdk::KeyError> {
            #body
        }
    })
}

/// An iterator over the keys of a repeated field's elements.
pub(super) fn element_keys(fields: &[FieldDescriptor]) -> TokenStream {
    let items = snake(fields[0].name());
    if fields.len() == 1 {
        return quote!(request.#items.iter().map(::client_sdk::generated::key));
    }
    let body = field_key(&fields[1..], &quote!(item));
    quote!(request.#items.iter().map(|item| { #body }))
}

/// The key in the last of these fields, seen from a message.
fn field_key(fields: &[FieldDescriptor], message: &TokenStream) -> TokenStream {
    let mut at = message.clone();
    let mut body = TokenStream::new();
    let Some((last, way)) = fields.split_last() else { return quote!(Ok(None)) };
    for field in way {
        let name = snake(field.name());
        if field.cardinality() == Cardinality::Required {
            at.extend(quote!(.#name));
        } else {
            body.extend(quote!(let Some(#name) = &#at.#name else { return Ok(None) };));
            at = quote!(#name);
        }
    }
    let name = snake(last.name());
    quote!(#body ::client_sdk::generated::key(&#at.#name))
}

fn idempotency_key(rpc: &Rpc<'_>) -> Option<TokenStream> {
    let path = rpc.policy.idempotency_key.as_ref()?.path();
    let fields = steps(&rpc.descriptor.input(), path);
    let mut field = quote!(request);
    for step in &fields {
        let name = snake(step.name());
        field.extend(quote!(.#name));
        if is_option(step) {
            field.extend(quote!(.get_or_insert_default()));
        }
    }
    if !fields.last().is_some_and(is_option) {
        field = quote!(&mut #field);
    }
    Some(quote! {
        fn idempotency_key(
            request: &mut Self::Request,
        ) -> ::core::option::Option<&mut ::std::string::String> {
            Some(#field)
        }
    })
}

/// Whether prost's field is an `Option`.
fn is_option(field: &FieldDescriptor) -> bool {
    field.cardinality() == Cardinality::Optional && field.supports_presence()
}

/// The fields of a path that the policy table has resolved.
pub(super) fn steps(request: &MessageDescriptor, path: &str) -> Vec<FieldDescriptor> {
    let mut message = Some(request.clone());
    path.split('.')
        .map_while(|name| {
            let field = message.as_ref()?.get_field_by_name(name)?;
            message = field.kind().as_message().cloned();
            Some(field)
        })
        .collect()
}
