//! Batches over several cells: parts and their sum, the typed twin of `mesh_policy::BatchOf`.

use super::ItemStatus;
use crate::ItemError;
use prost::Message;

/// The items at these positions.
#[must_use]
pub fn pick<T: Clone>(items: &[T], positions: &[usize]) -> Vec<T> {
    positions.iter().filter_map(|at| items.get(*at).cloned()).collect()
}

/// One response of the parts' responses, each with the positions of its items. Items of a part that failed get results
/// with the part's status, and what `echo` repeats of them. Everything but results is merged as protobuf merges messages.
///
/// # Errors
/// If a response has not one result for each item of its part, or an item is in no part.
pub fn merge<A: Message + Default, R: Message + Default>(
    items: usize,
    parts: Vec<(Vec<usize>, Result<A, ItemError>)>,
    results: impl Fn(&mut A) -> &mut Vec<R>,
    status: ItemStatus,
    echo: impl Fn(usize, &mut Vec<u8>),
) -> Result<A, String> {
    let mut merged = A::default();
    let mut slots: Vec<Option<R>> = std::iter::repeat_with(|| None).take(items).collect();
    for (part, (positions, outcome)) in parts.into_iter().enumerate() {
        if let Some(at) = positions.iter().find(|at| **at >= items) {
            return Err(format!("part {part} has item {at}, the request has {items}"));
        }
        let answers = match outcome {
            Ok(mut answer) => {
                let answers = std::mem::take(results(&mut answer));
                add(&mut merged, &answer)?;
                answers
            }
            Err(failure) => {
                let failed = |at: &usize| {
                    let mut failed = Vec::new();
                    echo(*at, &mut failed);
                    status.put(&failure, &mut failed);
                    R::decode(&*failed).map_err(|error| error.to_string())
                };
                positions.iter().map(failed).collect::<Result<_, _>>()?
            }
        };
        if answers.len() != positions.len() {
            let (items, results) = (positions.len(), answers.len());
            return Err(format!("part {part} has {items} items, its response has {results} results"));
        }
        for (at, result) in positions.into_iter().zip(answers) {
            slots[at] = Some(result);
        }
    }
    if let Some(lost) = slots.iter().position(Option::is_none) {
        return Err(format!("item {lost} is in no part"));
    }
    *results(&mut merged) = slots.into_iter().flatten().collect();
    Ok(merged)
}

/// Merges what is beside the results; usually nothing.
fn add<A: Message>(merged: &mut A, other: &A) -> Result<(), String> {
    match other.encoded_len() {
        0 => Ok(()),
        _ => merged.merge(&*other.encode_to_vec()).map_err(|error| error.to_string()),
    }
}
