//! Batches over several cells: typed glue and the router's, on wire bytes, do the same.

use crate::arbitrary::{Entropy, policy, request, response};
use client_sdk::Method;
use client_sdk_generated::r#gen::shapes::v1::{self as shapes, shape_service_methods as methods};
use mesh_policy::{CanonicalKey, Outcome};
use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::DynamicMessage;

/// Splits, answers and merges one request both ways.
fn same<B: Method>(entropy: &[u8]) {
    let mut entropy = Entropy(entropy);
    let policy = policy(B::POLICY.path);
    let of = policy.batch_of.as_ref().unwrap();
    let glue = B::SPLIT.unwrap_or_else(|| panic!("{} is split", B::POLICY.path));
    assert_eq!(glue.max, of.max() as usize);
    let count = entropy.below(8);
    let whole = entropy.message_with(&request(B::POLICY.path), of.items(), count);
    let typed = B::Request::decode(&*whole.encode_to_vec()).unwrap();
    let bytes = typed.encode_to_vec();

    let mut keys = Vec::new();
    (glue.keys)(&typed, &mut |key| keys.push(key.map(|key| key.map(|key: CanonicalKey<'_>| key.to_user_key()))));
    assert_eq!(keys.len(), count);
    if let Ok(Some(keys)) = keys.into_iter().collect::<Result<Option<Vec<_>>, _>>() {
        let found = policy.route_key.as_ref().unwrap().extract_all(&bytes).unwrap();
        assert_eq!(found.iter().map(|key| key.to_user_key()).collect::<Vec<_>>(), keys);
    }

    let groups: Vec<_> = (0..count).map(|_| entropy.below(3)).collect();
    let split = of.split(&bytes, &groups).unwrap();
    let (mut outcomes, mut parts) = (Vec::new(), Vec::new());
    for part in split.parts() {
        let selected = (glue.select)(&typed, &part.positions);
        assert!(selected == B::Request::decode(&*part.request).unwrap(), "{} {whole}", B::POLICY.path);
        // A response is sound but for a lost result now and then.
        let lost = usize::from(entropy.below(16) == 1);
        let results = part.positions.len().saturating_sub(lost);
        let answer: DynamicMessage = entropy.message_with(&response(B::POLICY.path), of.results(), results);
        let failure =
            (entropy.below(3) == 0).then(|| (entropy.below(17) as i32, "cell sh-1 is unreachable".to_owned()));
        outcomes.push((answer.encode_to_vec(), failure.clone()));
        let outcome = failure.map_or_else(|| Ok(B::Response::decode(&*answer.encode_to_vec()).unwrap()), Err);
        parts.push((part.positions.clone(), outcome));
    }
    let outcomes: Vec<_> = outcomes
        .iter()
        .map(|(answer, failure)| match failure {
            Some((code, message)) => Outcome::Failed { code: *code, message },
            None => Outcome::Answered(answer),
        })
        .collect();
    let want = split.merge(&outcomes).map(|merged| B::Response::decode(&*merged).unwrap());
    let found = (glue.merge)(&typed, parts);
    assert!(found == want.map_err(|error| error.to_string()), "{} {whole}", B::POLICY.path);
}

proptest! {
    #[test]
    fn typed_parts_and_sums_are_the_routers(entropy in proptest::collection::vec(any::<u8>(), 0..500)) {
        same::<methods::BatchGetWhole>(&entropy);
        same::<methods::BatchGetText>(&entropy);
        same::<methods::BatchGetNumber>(&entropy);
        same::<methods::BatchGetKeyed>(&entropy);
        same::<client_sdk_generated::r#gen::old::v1::old_service_methods::BatchGetOld>(&entropy);
    }
}

#[test]
fn a_batch_of_one_user_is_not_split() {
    assert!(methods::BatchGetOrders::SPLIT.is_none() && methods::BatchGetLines::SPLIT.is_none());
    assert!(methods::GetText::SPLIT.is_none());
}

#[test]
fn parts_that_do_not_fit_are_an_error() {
    let merge = methods::BatchGetText::SPLIT.unwrap().merge;
    let request = shapes::BatchGetTextRequest { entries: vec!["a".into(), "b".into()], ..Default::default() };
    let failed = || Err((14, "gone".to_owned()));
    assert_eq!(merge(&request, vec![(vec![0], failed())]).unwrap_err(), "item 1 is in no part");
    assert!(merge(&request, vec![(vec![0, 1, 2], failed())]).is_err());
    let merged = merge(&request, vec![(vec![1, 0], failed())]).unwrap();
    let entries: Vec<_> = merged.results.iter().map(|result| (&*result.entry, result.code, &*result.message)).collect();
    assert_eq!(entries, [("a", 14, "gone"), ("b", 14, "gone")]);
}
