//! Splitting a batch request by its items and merging the responses, on wire bytes.
//!
//! A batch names many users, whose home cells may differ. [`BatchOf::split`] makes one request a cell: each holds the
//! cell's items, in their order, and everything else the request holds. [`Split::merge`] makes one response again: a
//! result for each item, in the request's order. The items of a part that failed as a whole get results of their own,
//! with that part's status and the item they speak of, so that an answer is never silently partial. All other fields of
//! the responses are merged as protobuf merges messages: of single fields the last part's counts, repeated ones are
//! joined, unknown ones are kept.

use crate::wire::{Reader, WireError, WireType, put_bytes, put_tag, put_varint};
use hashbrown::HashMap;

/// Most bytes that all parts of a split request may have together. What is not an item goes into every part, so that a
/// small request could become a large one.
pub const MAX_SPLIT_BYTES: usize = 16 << 20;

/// How to split and merge a batch RPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchOf {
    pub(crate) single: String,
    pub(crate) items: u32,
    pub(crate) item_wire: WireType,
    pub(crate) results: u32,
    pub(crate) max: u32,
    pub(crate) status: ItemStatus,
    pub(crate) echo: Option<Echo>,
}

/// Where a result says how its item went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemStatus {
    /// An `int32 code` and perhaps a `string message`.
    Code {
        /// Number of the code's field.
        code: u32,
        /// Number of the message's.
        message: Option<u32>,
    },
    /// A `google.rpc.Status` in this field.
    RpcStatus(u32),
}

/// Number of a result's field that repeats the item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Echo(pub(crate) u32);

/// Why a batch cannot be split or merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes are no protobuf message.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The items or results are encoded as another type than declared.
    #[error("field {0} is not encoded as its declared type")]
    WireType(u32),
    /// More items than the policy allows.
    #[error("more than {0} items")]
    TooMany(u32),
    /// The parts together would have more than [`MAX_SPLIT_BYTES`].
    #[error("{parts} parts with {others} bytes in common are more than {MAX_SPLIT_BYTES} bytes")]
    TooLarge {
        /// How many parts.
        parts: usize,
        /// Bytes that each part has.
        others: usize,
    },
    /// The caller assigned another number of items than there are.
    #[error("{assigned} items were assigned to parts, the request has {found}")]
    Assignment {
        /// Length of the assignment.
        assigned: usize,
        /// Items in the request.
        found: usize,
    },
    /// Another number of outcomes than of parts.
    #[error("{outcomes} outcomes for {parts} parts")]
    Outcomes {
        /// How many outcomes were given.
        outcomes: usize,
        /// How many parts there are.
        parts: usize,
    },
    /// A response does not have one result for each item: the service broke its contract.
    #[error("part {part} has {items} items, its response has {results} results")]
    Results {
        /// The part.
        part: usize,
        /// Items sent.
        items: usize,
        /// Results received.
        results: usize,
    },
}

/// A batch request cut into parts.
#[derive(Clone, Debug)]
pub struct Split<'a> {
    batch: &'a BatchOf,
    items: Vec<&'a [u8]>,
    parts: Vec<Part>,
}

/// One part of a split batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What the caller's assignment calls it.
    pub group: usize,
    /// The request to send.
    pub request: Vec<u8>,
    /// Positions of its items in the whole request.
    pub positions: Vec<usize>,
}

/// How a part went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// The response message.
    Answered(&'a [u8]),
    /// The call failed: each of its items gets this status.
    Failed {
        /// gRPC status code; 0 is taken as UNKNOWN, since an item that failed is not OK.
        code: i32,
        /// Why, naming the cell.
        message: &'a str,
    },
}

impl BatchOf {
    /// Path of the RPC that this one is the batch form of; the first, if there are several.
    #[must_use]
    pub fn single(&self) -> &str {
        &self.single
    }

    /// Number of the request's repeated field.
    #[must_use]
    pub const fn items(&self) -> u32 {
        self.items
    }

    /// Number of the response's repeated field.
    #[must_use]
    pub const fn results(&self) -> u32 {
        self.results
    }

    /// Most items in one call.
    #[must_use]
    pub const fn max(&self) -> u32 {
        self.max
    }

    /// Where a result says how its item went.
    #[must_use]
    pub const fn status(&self) -> ItemStatus {
        self.status
    }

    /// Number of the field of a result that repeats its item.
    #[must_use]
    pub fn echo(&self) -> Option<u32> {
        self.echo.map(|echo| echo.0)
    }

    /// Cuts a request into one part for each group, in the order in which groups first appear. `groups` names each
    /// item's group, in the items' order (that of [`RouteKey::extract_all`](crate::RouteKey::extract_all)).
    ///
    /// # Errors
    /// If the bytes are no such message, have more items than allowed or not as many as `groups`, or if the parts would
    /// be too large.
    pub fn split<'a>(&'a self, request: &'a [u8], groups: &[usize]) -> Result<Split<'a>, BatchError> {
        let mut items = Vec::new();
        let mut others = Vec::new();
        let mut reader = Reader::new(request);
        loop {
            let start = reader;
            let Some(tag) = reader.tag()? else { break };
            if tag.number != self.items {
                reader.skip(tag)?;
                others.extend_from_slice(reader.since(&start));
            } else if tag.wire == self.item_wire {
                items.push(self.item(&mut reader)?);
            } else if tag.wire == WireType::Len {
                let mut packed = Reader::new(reader.bytes()?);
                while !packed.rest().is_empty() {
                    items.push(self.item(&mut packed)?);
                    self.check_count(items.len())?;
                }
            } else {
                return Err(BatchError::WireType(tag.number));
            }
            self.check_count(items.len())?;
        }
        if groups.len() != items.len() {
            return Err(BatchError::Assignment { assigned: groups.len(), found: items.len() });
        }
        let mut parts: Vec<Part> = Vec::new();
        let mut part_of = HashMap::new();
        for (position, (group, item)) in groups.iter().zip(&items).enumerate() {
            let at = *part_of.entry(*group).or_insert_with(|| {
                parts.push(Part { group: *group, request: Vec::new(), positions: Vec::new() });
                parts.len() - 1
            });
            parts[at].positions.push(position);
            self.put_item(self.items, item, &mut parts[at].request);
        }
        if parts.len().saturating_mul(others.len()) > MAX_SPLIT_BYTES {
            return Err(BatchError::TooLarge { parts: parts.len(), others: others.len() });
        }
        for part in &mut parts {
            part.request.extend_from_slice(&others);
        }
        Ok(Split { batch: self, items, parts })
    }

    fn check_count(&self, items: usize) -> Result<(), BatchError> {
        if items > self.max as usize { Err(BatchError::TooMany(self.max)) } else { Ok(()) }
    }

    /// An item's bytes, without tag and length.
    fn item<'a>(&self, reader: &mut Reader<'a>) -> Result<&'a [u8], WireError> {
        let start = *reader;
        match self.item_wire {
            WireType::Len => return reader.bytes(),
            WireType::Fixed64 => reader.fixed64().map(drop)?,
            WireType::Fixed32 => reader.fixed32().map(drop)?,
            _ => reader.varint().map(drop)?,
        }
        Ok(reader.since(&start))
    }

    /// Numbers are written one by one, which every reader of a packed field accepts too.
    fn put_item(&self, field: u32, item: &[u8], out: &mut Vec<u8>) {
        if self.item_wire == WireType::Len {
            put_bytes(field, item, out);
        } else {
            put_tag(field, self.item_wire, out);
            out.extend_from_slice(item);
        }
    }

    fn failure(&self, item: &[u8], code: i32, message: &str) -> Vec<u8> {
        let code = if code == 0 { 2 } else { code };
        let mut result = Vec::new();
        if let Some(Echo(field)) = self.echo {
            self.put_item(field, item, &mut result);
        }
        match self.status {
            ItemStatus::Code { code: field, message: text } => {
                put_status(field, text, code, message, &mut result);
            }
            ItemStatus::RpcStatus(field) => {
                let mut status = Vec::new();
                put_status(1, Some(2), code, message, &mut status);
                put_bytes(field, &status, &mut result);
            }
        }
        result
    }
}

fn put_status(code_field: u32, message_field: Option<u32>, code: i32, message: &str, out: &mut Vec<u8>) {
    put_tag(code_field, WireType::Varint, out);
    put_varint(i64::from(code) as u64, out);
    if let Some(field) = message_field {
        put_bytes(field, message.as_bytes(), out);
    }
}

impl Split<'_> {
    /// The parts. None for a request without items.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Takes the parts' requests out, in their order: merging needs them no more.
    pub fn take_requests(&mut self) -> impl Iterator<Item = Vec<u8>> {
        self.parts.iter_mut().map(|part| std::mem::take(&mut part.request))
    }

    /// One response from the parts' outcomes, given in the order of [`Self::parts`].
    ///
    /// Whether a call of which every part failed should rather fail as a whole is the caller's choice to make.
    ///
    /// # Errors
    /// If a response is no such message, or has not exactly one result for each item.
    pub fn merge(&self, outcomes: &[Outcome<'_>]) -> Result<Vec<u8>, BatchError> {
        if outcomes.len() != self.parts.len() {
            return Err(BatchError::Outcomes { outcomes: outcomes.len(), parts: self.parts.len() });
        }
        let mut merged = Vec::new();
        let mut results: Vec<&[u8]> = vec![&[]; self.items.len()];
        let mut failures: Vec<Option<Vec<u8>>> = vec![None; self.items.len()];
        for (number, (part, outcome)) in self.parts.iter().zip(outcomes).enumerate() {
            match outcome {
                Outcome::Answered(response) => {
                    let answers = self.answers(response, &mut merged)?;
                    if answers.len() != part.positions.len() {
                        let (items, results) = (part.positions.len(), answers.len());
                        return Err(BatchError::Results { part: number, items, results });
                    }
                    for (position, answer) in part.positions.iter().zip(answers) {
                        results[*position] = answer;
                    }
                }
                Outcome::Failed { code, message } => {
                    for position in &part.positions {
                        failures[*position] = Some(self.batch.failure(self.items[*position], *code, message));
                    }
                }
            }
        }
        for (result, failure) in results.into_iter().zip(&failures) {
            put_bytes(self.batch.results, failure.as_deref().unwrap_or(result), &mut merged);
        }
        Ok(merged)
    }

    /// The results of a response; everything else is appended to `merged`.
    fn answers<'r>(&self, response: &'r [u8], merged: &mut Vec<u8>) -> Result<Vec<&'r [u8]>, BatchError> {
        let mut answers = Vec::new();
        let mut reader = Reader::new(response);
        loop {
            let start = reader;
            let Some(tag) = reader.tag()? else { return Ok(answers) };
            if tag.number != self.batch.results {
                reader.skip(tag)?;
                merged.extend_from_slice(reader.since(&start));
            } else if tag.wire == WireType::Len {
                answers.push(reader.bytes()?);
            } else {
                return Err(BatchError::WireType(tag.number));
            }
        }
    }
}
