#![doc = include_str!("../README.md")]

mod batch;
mod call;
mod error;
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
mod policy;
mod reply;
mod slot;
mod stream;
mod wire;

pub use batch::{BatchGlue, ItemError, SplitGlue};
pub use call::{Call, CallFuture, CallOptions};
pub use error::{Code, Error};
pub use feed::{Feed, FeedEvent, FeedMessage, FeedStats, GlobalFeed, LocalSettings, Piece, Position, UserFeed};
pub use fresh::{Fresh, ParseTokenError, Token};
pub use local::{Data, Global, LocalLogic, LocalState, LocalStats, LogicStats, PerUser, Verdict};
pub use mesh::{Mesh, MeshBuilder};
pub use method::{Key, Method};
pub use policy::{BatchPolicy, CachePolicy, HedgePolicy, LogicPolicy, MethodPolicy};
pub use reply::{Reply, Source};
pub use slot::Slot;
pub use stream::{StreamCall, Streaming};

pub use cell_map::{KeyError, UserKey};
pub use mesh_policy::{Criticality, Idempotency, Scope};
