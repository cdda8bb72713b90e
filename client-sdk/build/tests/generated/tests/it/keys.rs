//! The typed key of a message is the key that routers and services read from its bytes.

use crate::arbitrary::{Entropy, policy, request};
use client_sdk::Method;
use client_sdk_generated::{r#gen, keys};
use mesh_policy::ExtractError;
use proptest::prelude::*;
use prost::Message as _;

include!(concat!(env!("OUT_DIR"), "/each_key_method.rs"));

/// Both readings of one message agree.
fn agree<M: Method>(entropy: &[u8]) {
    let path = M::POLICY.path;
    let message = Entropy(entropy).message(&request(path));
    let typed = M::Request::decode(&*message.encode_to_vec()).unwrap();
    let extractor = policy(path).route_key.as_ref().unwrap();
    let bytes = typed.encode_to_vec();
    let want = match extractor.extract(&bytes) {
        Ok(key) => Ok(key.map(|key| key.to_user_key())),
        // No cell is the home of several users.
        Err(ExtractError::Several | ExtractError::EmptyElement { .. }) => Ok(None),
        Err(error) => Err(error.to_string()),
    };
    let found = M::key(&typed).map(|key| key.map(|key| key.to_user_key())).map_err(|error| error.to_string());
    // Of a key that is too long and one that is another's either may be met first.
    if !(extractor.is_repeated() && extractor.extract_all(&bytes).is_err()) {
        assert_eq!(found, want, "{path} {message}");
    }
}

proptest! {
    #[test]
    fn typed_keys_are_the_keys_on_the_wire(entropy in proptest::collection::vec(any::<u8>(), 0..200)) {
        macro_rules! check {
            ($method:ty) => {
                agree::<$method>(&entropy)
            };
        }
        each_key_method!(check);
        agree::<r#gen::odd::v1::self_methods::Match>(&entropy);
    }
}

#[test]
fn absent_empty_and_zero_are_no_key() {
    use keys::keys_methods as methods;
    fn none<M: Method>(request: &M::Request) {
        assert!(M::key(request).unwrap().is_none(), "{}", M::POLICY.path);
    }
    none::<methods::NestedInt64>(&keys::NestedInt64::default());
    none::<methods::OptionalInt64>(&keys::OptionalInt64 { key: Some(0), ..Default::default() });
    none::<methods::FlatString>(&keys::FlatString { key: "0".to_owned(), ..Default::default() });
    none::<methods::FlatBytes>(&keys::FlatBytes::default());
    none::<methods::ManyString>(&keys::ManyString { keys: vec!["a".into(), "b".into()], ..Default::default() });
    none::<methods::ManyString>(&keys::ManyString { keys: vec!["a".into(), String::new()], ..Default::default() });
    let same = keys::ManyString { keys: vec!["a".into(), "a".into()], ..Default::default() };
    assert_eq!(methods::ManyString::key(&same).unwrap().as_deref(), Some(&b"a"[..]));
    let long = keys::FlatString { key: "x".repeat(257), ..Default::default() };
    let error = methods::FlatString::key(&long).unwrap_err().to_string();
    assert_eq!(error, "user key has 257 bytes, at most 256 are allowed");
}

#[test]
fn an_idempotency_key_has_a_place_even_if_its_message_is_absent() {
    use r#gen::shapes::v1::{GetOrderRequest, shape_service_methods::GetOrder};
    let mut request = GetOrderRequest::default();
    *GetOrder::idempotency_key(&mut request).unwrap() = "once".to_owned();
    assert_eq!(request.meta.unwrap().request_id.as_deref(), Some("once"));
}
