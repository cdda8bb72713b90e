//! Single calls as one batch call.

use crate::arbitrary::{Entropy, policy, request, response};
use client_sdk::{BatchGlue, Method};
use client_sdk_generated::r#gen::shapes::v1 as shapes;
use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor, ReflectMessage as _, Value};

fn glue<M: Method>() -> BatchGlue<M> {
    M::BATCH.unwrap_or_else(|| panic!("{} has a batch RPC", M::POLICY.path))
}

/// The single requests of one batch: all that `joins` lets in.
fn joining<M: Method>(entropy: &mut Entropy<'_>) -> Vec<M::Request> {
    let of = request(M::POLICY.path);
    let first = entropy.message(&of);
    let mut all: Vec<M::Request> = vec![M::Request::decode(&*first.encode_to_vec()).unwrap()];
    for _ in 0..entropy.below(6) {
        // Mostly like the first.
        let mut next = if entropy.below(4) == 0 { DynamicMessage::new(of.clone()) } else { first.clone() };
        next.merge(&*entropy.message(&of).encode_to_vec()).unwrap();
        let next = M::Request::decode(&*next.encode_to_vec()).unwrap();
        if (glue::<M>().joins)(&all[0], &next) {
            all.push(next);
        }
    }
    all
}

fn together<M: Method>(requests: &[M::Request]) -> Vec<u8> {
    let encoded: Vec<_> = requests.iter().map(|request| request.encode_to_vec()).collect();
    (glue::<M>().request)(&encoded.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// The mesh cuts a gathered batch into what each request alone would have become.
fn cut_apart_it_is_what_was_gathered<M: Method, B: Method>(entropy: &[u8]) {
    let requests = joining::<M>(&mut Entropy(entropy));
    let whole = together::<M>(&requests);
    let of = policy(B::POLICY.path).batch_of.as_ref().unwrap();
    let positions: Vec<_> = (0..requests.len()).collect();
    let split = of.split(&whole, &positions).unwrap();
    assert_eq!(split.parts().len(), requests.len());
    for (part, single) in split.parts().iter().zip(&requests) {
        let alone = together::<M>(std::slice::from_ref(single));
        let decode = |bytes: &[u8]| B::Request::decode(bytes).unwrap();
        assert!(decode(&part.request) == decode(&alone), "{} {:02x?}", M::POLICY.path, single.encode_to_vec());
    }
    // And it goes to the same users.
    if let (Some(single), Some(batch)) = (&policy(M::POLICY.path).route_key, &policy(B::POLICY.path).route_key) {
        let keys = requests.iter().map(|request| M::key(request).map(|key| key.map(|key| key.to_user_key())));
        let keys: Result<Option<Vec<_>>, _> = keys.collect();
        let found = batch.extract_all(&whole).map(|keys| keys.iter().map(|key| key.to_user_key()).collect::<Vec<_>>());
        match keys {
            Ok(Some(mut keys)) => {
                if !batch.is_repeated() {
                    keys.truncate(1);
                }
                assert_eq!(found, Ok(keys), "{}", single.path());
            }
            // One has none: the batch has fewer, or is refused.
            _ => assert!(found.is_err() || found.is_ok_and(|found| found.is_empty()), "{}", single.path()),
        }
    }
}

/// Every field of a single request is found in the batch by its name.
fn fields_are_found_by_name<M: Method, B: Method>(entropy: &[u8]) {
    let requests = joining::<M>(&mut Entropy(entropy));
    let bytes = together::<M>(&requests);
    let batch = DynamicMessage::decode(request(B::POLICY.path), &*bytes).unwrap();
    let of = policy(B::POLICY.path).batch_of.as_ref().unwrap();
    let items = batch.descriptor().get_field(of.items()).unwrap();
    let list = batch.get_field(&items).as_list().unwrap().to_vec();
    assert_eq!(list.len(), requests.len());
    for (item, single) in list.iter().zip(&requests) {
        let single = DynamicMessage::decode(request(M::POLICY.path), &*single.encode_to_vec()).unwrap();
        if item.as_message().is_some_and(|item| item.descriptor() == single.descriptor()) {
            assert_eq!(item.as_message(), Some(&single));
            continue;
        }
        for field in single.descriptor().fields() {
            let value = single.get_field(&field);
            let singular = [
                items.name().strip_suffix("ies").map(|stem| format!("{stem}y")),
                items.name().strip_suffix('s').map(str::to_owned),
            ];
            let has_it =
                |message: &DynamicMessage| message.get_field_by_name(field.name()).is_some_and(|other| other == value);
            let is_item = singular.iter().flatten().any(|name| name == field.name()) && *value == *item;
            assert!(is_item || has_it(&batch) || item.as_message().is_some_and(has_it), "{} in {batch}", field.name());
        }
    }
}

/// A result of the single response or of a failure, written by names.
fn result(of: &MessageDescriptor, response: &DynamicMessage, failure: Option<(i32, &str)>) -> DynamicMessage {
    let mut result = DynamicMessage::new(of.clone());
    let set = |message: &mut DynamicMessage, name: &str, value: Value| {
        if message.descriptor().get_field_by_name(name).is_some() {
            message.set_field_by_name(name, value);
        }
    };
    match failure {
        Some((code, text)) => {
            let status = of.fields().find(|field| field.kind().as_message().is_some_and(|m| m.name() == "Status"));
            let into = |message: &mut DynamicMessage| {
                set(message, "code", Value::I32(code));
                set(message, "message", Value::String(text.to_owned()));
            };
            match status {
                None => into(&mut result),
                Some(field) => {
                    let mut status = DynamicMessage::new(field.kind().as_message().unwrap().clone());
                    into(&mut status);
                    result.set_field(&field, Value::Message(status));
                }
            }
        }
        None if of.get_field_by_name("response").is_some() => {
            result.set_field_by_name("response", Value::Message(response.clone()));
        }
        None => {
            for (field, value) in response.fields() {
                set(&mut result, field.name(), value.clone());
            }
        }
    }
    result
}

/// Every caller gets his own response, or his own error.
fn each_has_its_own_answer<M: Method, B: Method>(entropy: &[u8]) {
    let mut entropy = Entropy(entropy);
    let of = policy(B::POLICY.path).batch_of.as_ref().unwrap();
    let mut batch = entropy.message(&response(B::POLICY.path));
    let results = batch.descriptor().get_field(of.results()).unwrap();
    let result_type = results.kind().as_message().unwrap().clone();
    let speaks = result_type.get_field_by_name("message").is_some() || result_type.get_field_by_name("code").is_none();
    let (mut want, mut list) = (Vec::new(), Vec::new());
    for _ in 0..entropy.below(6) {
        let single = entropy.message(&response(M::POLICY.path));
        let failure = (entropy.below(3) == 0).then_some((5, if speaks { "no such thing" } else { "" }));
        want.push(match failure {
            Some((code, text)) => Err((code, text.to_owned())),
            None => Ok(M::Response::decode(&*single.encode_to_vec()).unwrap()),
        });
        list.push(Value::Message(result(&result_type, &single, failure)));
    }
    batch.set_field(&results, Value::List(list));
    let found = (glue::<M>().responses)(&batch.encode_to_vec()).unwrap();
    assert!(found == want, "{} {batch}", M::POLICY.path);
}

/// What prost reads as a batch response is read here too, with as many results; and nothing else makes a panic.
fn damage_is_no_panic<M: Method, B: Method>(bytes: &[u8]) {
    let found = (glue::<M>().responses)(bytes);
    if B::Response::decode(bytes).is_ok() {
        let batch = DynamicMessage::decode(response(B::POLICY.path), bytes).unwrap();
        let results = policy(B::POLICY.path).batch_of.as_ref().unwrap().results();
        let count = batch.get_field_by_number(results).unwrap().as_list().unwrap().len();
        assert!(found.is_ok_and(|found| found.len() == count), "{} {bytes:02x?}", M::POLICY.path);
    }
}

proptest! {
    #[test]
    fn a_batch_is_its_single_calls(entropy in proptest::collection::vec(any::<u8>(), 0..400)) {
        each_batch!(cut_apart_it_is_what_was_gathered(&entropy));
        each_batch!(fields_are_found_by_name(&entropy));
    }

    #[test]
    fn a_batchs_response_is_its_single_responses(entropy in proptest::collection::vec(any::<u8>(), 0..400)) {
        each_batch!(each_has_its_own_answer(&entropy));
    }

    #[test]
    fn a_damaged_response_is_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        each_batch!(damage_is_no_panic(&bytes));
    }
}

#[test]
fn only_what_is_equal_joins() {
    let glue = glue::<shapes::shape_service_methods::GetOrder>();
    let order = |user: &str, order: &[u8]| shapes::GetOrderRequest {
        user_id: user.to_owned(),
        order: order.to_owned(),
        ..Default::default()
    };
    assert!((glue.joins)(&order("a", b"1"), &order("a", b"2")));
    assert!(!(glue.joins)(&order("a", b"1"), &order("b", b"1")));
    let limited =
        shapes::GetOrderRequest { limit: Some(shapes::get_order_request::Limit::Most(3)), ..order("a", b"1") };
    assert!(!(glue.joins)(&order("a", b"1"), &limited));
    assert_eq!(glue.policy.path, "/gen.shapes.v1.ShapeService/BatchGetOrders");
}

#[test]
fn an_empty_value_is_an_item_too() {
    let requests = [0, 7, 0].map(|user_id| shapes::GetNumberRequest { user_id });
    let batch =
        shapes::BatchGetNumberRequest::decode(&*together::<shapes::shape_service_methods::GetNumber>(&requests))
            .unwrap();
    assert_eq!(batch.user_ids, [0, 7, 0]);
}
