//! Data that is kept inside the client: streams of changes, followed into snapshots.
//!
//! A feed is a server's stream. It starts with a snapshot in pieces, or goes on from where the client stands, and then
//! tells changes; heartbeats say that there were none. Two kinds: one stream for data that is the same for everybody
//! ([`GlobalFeed`]), and one stream for each user whose data is asked for ([`UserFeed`]), served by his home cell.

mod feeds;
mod follow;
mod global;
mod message;
mod moment;
mod opening;
mod pause;
mod settings;
mod shards;
mod snapshot;
mod stream_counts;
mod track;
mod users;

pub use feeds::{FeedStats, Feeds};
pub(crate) use follow::Line;
pub use global::GlobalData;
pub use message::{FeedEvent, FeedMessage};
pub use moment::{Clock, Moment};
pub use settings::LocalSettings;
pub(crate) use snapshot::Seen;
pub use snapshot::Standing;
pub use users::Users;

use crate::Method;
use cell_map::UserKey;
pub use replication::{Piece, Position};

/// How a stream becomes a snapshot. All of it is associated functions: a feed has no state but its snapshot.
pub trait Feed: Send + Sync + 'static {
    /// The server's stream.
    type Stream: Method;
    /// One entry as it is now, or its end.
    type Item: Send + 'static;
    /// What local logic looks at. It is cloned for each change: hold large parts in `Arc`s.
    type Snapshot: Default + Clone + Send + Sync + 'static;

    /// Reads a message of the stream.
    ///
    /// # Errors
    /// If it says something that this version does not understand. The stream is given up then, and the logic asks the
    /// server once the lease is over: never a guess.
    fn read(message: <Self::Stream as Method>::Response) -> Result<FeedMessage<Self::Item>, String>;

    /// Puts an item into a snapshot, in the place of what it replaces.
    fn apply(snapshot: &mut Self::Snapshot, item: Self::Item);

    /// About how many bytes a snapshot takes.
    fn bytes(snapshot: &Self::Snapshot) -> usize;
}

/// A feed of data that is the same for everybody. Its stream is open as long as the mesh is.
pub trait GlobalFeed: Feed {
    /// Asks for the stream: what comes after this position, or everything.
    fn subscribe(from: Option<Position>) -> <Self::Stream as Method>::Request;
}

/// A feed of one user's data, served by his home. Its stream is opened at the first call about him.
///
/// Positions of users are (user_epoch, position): the user_epoch takes the place of the incarnation, so that a new home
/// starts with a snapshot and nothing of a former one is applied over it. The home checks that it is home in the
/// transaction in which it reads what it sends, heartbeats included.
pub trait UserFeed: Feed {
    /// Asks for the stream: what comes after this position, or everything.
    fn subscribe(user: &UserKey, from: Option<Position>) -> <Self::Stream as Method>::Request;
}
