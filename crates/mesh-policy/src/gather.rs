//! How single calls become one batch call.

/// Which field of a single call is which field of its batch RPC, by numbers. Each pair is (single's, batch's).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gather {
    /// What of a request becomes an item.
    pub item: Item,
    /// What all requests of one batch have in common.
    pub shared: Vec<(u32, u32)>,
    /// What of a result is the response.
    pub answer: Answer,
}

/// What of a single request becomes an item of the batch request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// All of it.
    Request,
    /// The value of one field.
    Field(u32),
    /// Some fields, in a message of their own.
    Fields(Vec<(u32, u32)>),
}

/// What of a batch response's result is the single response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The message in one field.
    Field(u32),
    /// Some fields; pairs as everywhere: (response's, result's).
    Fields(Vec<(u32, u32)>),
}
