//! What may be wrong with a set of policies.

use std::fmt;

/// Everything wrong with the descriptor sets, not just the first fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyErrors(pub(crate) Vec<PolicyError>);

/// One fault and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// The .proto file, or which descriptor set if it could not be read.
    pub file: String,
    /// `package.Service/Method`; empty if the fault is the file's.
    pub method: String,
    /// The option, like `policy.batch.rpc`; empty if no option is at fault.
    pub option: &'static str,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with an option.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The descriptor set is none, or lacks an import.
    #[error("descriptor set cannot be read (built without imports?): {0}")]
    Set(String),
    /// A file that needs a newer compiler than ours.
    #[error("syntax \"{0}\" is not supported, \"proto2\" and \"proto3\" are")]
    Syntax(String),
    /// Two sets define one file in two ways.
    #[error("file differs from the file of the same name in an earlier descriptor set")]
    FileConflict,
    /// Two sets define one method in two ways.
    #[error("method was defined with another policy or other messages by {file}")]
    MethodConflict {
        /// The earlier file.
        file: String,
    },
    /// The files of all sets do not fit together.
    #[error("descriptor sets do not fit together: {0}")]
    Merge(String),
    /// The set's own copy of `cellmesh/policy/v1/policy.proto` is another.
    #[error("option is not the one of cellmesh/policy/v1/policy.proto: {0}")]
    Foreign(String),
    /// The option's bytes are not what policy.proto says.
    #[error("option cannot be read: {0}")]
    Malformed(String),
    /// A newer policy.proto.
    #[error("\"{0}\" is not known to this version of the mesh")]
    UnknownOption(String),
    /// A newer or wrong enum value.
    #[error("{0} is not a value known to this version of the mesh")]
    UnknownValue(i32),
    /// No scope.
    #[error("not set; one of SCOPE_USER, SCOPE_GLOBAL, SCOPE_REPLICATED and SCOPE_LOCAL is needed")]
    NoScope,
    /// A number out of range.
    #[error("{value} is out of range, {min} to {max} are allowed")]
    Range {
        /// The number.
        value: u32,
        /// Least allowed.
        min: u32,
        /// Most allowed.
        max: u32,
    },
    /// A name that is none.
    #[error("\"{0}\" is not a name: 1 to 63 of a-z, 0-9, '-', '_' and '.'")]
    Name(String),
    /// Default above maximum.
    #[error("{default} ms is longer than max_deadline_ms, {max} ms")]
    Deadline {
        /// `default_deadline_ms`.
        default: u32,
        /// `max_deadline_ms`.
        max: u32,
    },
    /// No such field.
    #[error("\"{path}\" is no field of {message}")]
    NoField {
        /// The path in the option.
        path: String,
        /// The message looked into.
        message: String,
    },
    /// A field of the wrong type.
    #[error("\"{path}\" is {found}, {wanted} is needed")]
    Type {
        /// The field's path.
        path: String,
        /// Its type.
        found: String,
        /// What is allowed.
        wanted: &'static str,
    },
    /// Two marked fields.
    #[error("{message} marks several fields: {fields}; exactly one may hold the key")]
    SeveralKeys {
        /// The message.
        message: String,
        /// The marked fields.
        fields: String,
    },
    /// A marked message without a marked field inside.
    #[error("\"{path}\" is marked, but {message} marks no field")]
    DeadEnd {
        /// The marked field.
        path: String,
        /// Its type.
        message: String,
    },
    /// A marked field that no marks lead to.
    #[error("\"{path}\" is marked, but \"{at}\" on the way to it is not: mark it too")]
    Unreachable {
        /// The marked field.
        path: String,
        /// The unmarked field.
        at: String,
    },
    /// A path through a map, a oneof, a group or in circles.
    #[error("\"{path}\" is {found}, where a key cannot be")]
    Place {
        /// The field's path.
        path: String,
        /// What it is.
        found: &'static str,
    },
    /// A repeated field deeper in.
    #[error("\"{path}\" is repeated; only a field of the request itself may be, so that a batch can be split")]
    NestedRepeated {
        /// The field's path.
        path: String,
    },
    /// A key that nobody reads.
    #[error("\"{path}\" is marked, but only SCOPE_USER has a key")]
    KeyWithoutUser {
        /// The marked field.
        path: String,
    },
    /// A stream of requests may name many users.
    #[error(
        "\"{path}\" is inside a stream of requests, which could name many users: unmark it and send the key as metadata"
    )]
    KeyInStream {
        /// The marked field.
        path: String,
    },
    /// Not for streams.
    #[error("not allowed for a streaming method")]
    Streaming,
    /// The safety gate.
    #[error("needs `idempotency_level = NO_SIDE_EFFECTS`")]
    SideEffects,
    /// A reply's identity without its user.
    #[error("no field holds the user key, \"{0}\": one user would get another's reply")]
    CacheWithoutKey(String),
    /// No such method.
    #[error("\"{rpc}\" is no other method of {service}")]
    NoMethod {
        /// The name.
        rpc: String,
        /// The service.
        service: String,
    },
    /// The batch RPC has no policy.
    #[error("\"{0}\" has no policy of its own")]
    BatchNotAnnotated(String),
    /// The batch RPC differs in something that must be the same.
    #[error("\"{rpc}\" has another {what}")]
    BatchDiffers {
        /// The batch RPC.
        rpc: String,
        /// What differs.
        what: &'static str,
    },
    /// Two methods describe one batch RPC in two ways.
    #[error("\"{rpc}\" is described otherwise by {by}")]
    BatchConflict {
        /// The batch RPC.
        rpc: String,
        /// The other method.
        by: String,
    },
    /// The batch request's repeated key is another field than the items.
    #[error("\"{items}\" holds the items, but the repeated key is \"{key}\"")]
    KeyNotInItems {
        /// The items.
        items: String,
        /// The key.
        key: String,
    },
    /// No status per item.
    #[error("{0} has no status: `int32 code` (and `string message`) or one field of type google.rpc.Status is needed")]
    NoItemStatus(String),
    /// Nothing of a single request can be an item.
    #[error(
        "\"{items}\" has no like in {request}: it must hold {request} itself, a field of it that is named like the items \
         in the singular, or messages with fields of the same names and types"
    )]
    NoItem {
        /// The items.
        items: String,
        /// The single request.
        request: String,
    },
    /// A field of a single message that has no place in the batch's.
    #[error(
        "\"{field}\" of {message} is needed, but no field of {batch} has its name and type, and is optional if it is"
    )]
    NotInBatch {
        /// The field.
        field: String,
        /// The single request or response.
        message: String,
        /// The messages of the batch where it could be.
        batch: String,
    },
    /// The batch would go to other users than the single calls.
    #[error("the user key \"{key}\" becomes \"{becomes}\" there, where the key is \"{batch}\"")]
    KeyElsewhere {
        /// The single request's key.
        key: String,
        /// Where it comes to stand.
        becomes: String,
        /// The batch request's key.
        batch: String,
    },
}

impl PolicyErrors {
    /// All faults, in the sets' order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &PolicyError> {
        self.0.iter()
    }
}

impl std::error::Error for PolicyErrors {}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            let separator = if n == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl PolicyError {
    pub(crate) fn of_file(file: &str, fault: Fault) -> Self {
        Self { file: file.to_owned(), method: String::new(), option: "", fault }
    }
}

impl std::error::Error for PolicyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.fault)
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in [&*self.file, &*self.method, self.option] {
            if !place.is_empty() {
                write!(f, "{place}: ")?;
            }
        }
        self.fault.fmt(f)
    }
}
