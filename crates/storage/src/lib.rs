#![doc = include_str!("../README.md")]

mod changes;
mod copies;
mod db;
mod engine;
mod error;
mod group;
mod idempotency;
mod in_flight;
mod migration;
mod observe;
pub mod outbox;
mod ownership;
pub mod page;
mod position;
mod registration;
mod run;
mod seal;
mod sqlite;
mod turn;
mod tx;
mod user_data;
mod value;

#[cfg(feature = "conformance")]
pub mod conformance;

pub use changes::{Unseen, UserChanges};
pub use copies::Positions;
pub use db::{Clock, Db, FenceRequest, Settings};
pub use engine::{BucketLock, CommitError, Engine, Fenced, Mode};
pub use error::{Class, KeyInUse, Refusal, StorageError, TxError, WorkError};
pub use futures_util::future::BoxFuture;
pub use idempotency::{IdempotencyKey, Outcome, RequestIdError};
pub use migration::Migration;
pub use observe::{TxKind, TxObserver, TxOutcome, transactions_total};
pub use outbox::{OutboxEvent, OutboxReader, OutboxRow, Stream};
pub use ownership::{Ownership, StepError, published};
pub use page::{PageError, PageScope, PageSize};
pub use position::Standing;
pub use seal::{MAX_TOKEN_LEN, SealError, SealKey, SealKeys, SealKeysError};
pub use sqlite::{DbConfig, Sqlite};
pub use tx::Tx;
pub use user_data::{
    CoverageError, ExportCursor, ExportPage, Participants, Rows, TableSpec, USER_KEY, UserData, UserTables,
    check_participants, own_participants,
};
pub use value::{Row, Value};
