#![doc = include_str!("../README.md")]

mod batch;
#[doc(hidden)]
pub mod bench;
mod call;
mod error;
mod fanout;
mod feed;
mod flight;
mod fresh;
#[doc(hidden)]
pub mod generated;
mod include;
mod ladder;
mod local;
mod mesh;
mod method;
pub mod mock;
mod network;
mod policy;
#[cfg(test)]
mod probe;
mod reply;
mod restrict;
mod scope;
mod settings;
mod shared;
mod slot;
mod span;
mod stats;
mod stream;
pub mod tonic;
mod wire;

pub use batch::{BatchGlue, ItemError, SplitGlue};
pub use call::{Call, CallFuture, CallOptions};
pub use error::{Code, Error};
pub use fanout::{Degraded, within};
pub use feed::{Feed, FeedEvent, FeedMessage, FeedStats, GlobalFeed, LocalSettings, Piece, Position, UserFeed};
pub use fresh::{Fresh, ParseTokenError, Token};
pub use local::{Data, Global, LocalLogic, LocalState, LocalStats, LogicStats, PerUser, Verdict};
pub use mesh::{Mesh, MeshBuilder};
pub use method::{Key, Method};
pub use network::{CellStats, Colocated, Connecting, Connector, InMemory, Incoming, Io, State, Tcp};
pub use policy::{BatchPolicy, CachePolicy, HedgePolicy, LogicPolicy, MethodPolicy};
pub use reply::{Reply, Source};
pub use scope::RequestScope;
pub use settings::Settings;
pub use slot::Slot;
pub use stats::{MethodStats, Stats};
pub use stream::{StreamCall, Streaming};

pub use cell_map::{KeyError, UserKey};
pub use mesh_policy::{Criticality, Idempotency, Scope};
pub use mesh_routing::budget::Limits as RetryBudget;
