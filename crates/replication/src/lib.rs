#![doc = include_str!("../README.md")]

mod batch;
mod follow;
mod position;
mod publish;

pub use batch::{Assembler, Batch, Piece, ReplicationError};
pub use follow::{FollowError, MAX_ITEMS, Messages, Replica, SILENCE, run};
pub use position::{Position, Standing};
pub use publish::{Feed, FeedError, HEARTBEAT, Log, MAX_CLIENT_STREAMS, MAX_STREAMS, Source, Told, Who};
