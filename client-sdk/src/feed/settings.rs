//! How local data is kept.

use std::time::Duration;

/// How the data of local answers is kept fresh, and what it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalSettings {
    /// How old the data of a local answer may be, counted from when its sender last said that it is complete. 10 s.
    pub lease: Duration,
    /// The longest pause between two messages that senders promise. A stream that is silent for three of them is given
    /// up. 3 s.
    pub heartbeat: Duration,
    /// How long one stream is followed before it is opened anew, which bounds how far two clocks drift apart. Each one
    /// ends up to a tenth earlier. 30 min.
    pub longest_stream: Duration,
    /// Most users of one feed; each has a stream of his own. 1,024.
    pub max_users: usize,
    /// Most bytes that the snapshots of all users of one feed take. 64 MiB.
    pub max_users_bytes: usize,
    /// Most bytes of one snapshot, encoded or in memory. 32 MiB.
    pub max_snapshot_bytes: usize,
    /// How long a user's stream stays open after the last call about him. 5 min.
    pub idle: Duration,
    /// Most streams of one feed's users that are being opened at a time in each cell; through routers, as long as the
    /// cells are not known, in all. 64.
    pub max_opening: usize,
    /// One local answer in so many is also asked of the server; 0: none. 1,000.
    pub shadow_every: u32,
}

impl Default for LocalSettings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            heartbeat: Duration::from_secs(3),
            longest_stream: Duration::from_secs(30 * 60),
            max_users: 1024,
            max_users_bytes: 64 << 20,
            max_snapshot_bytes: 32 << 20,
            idle: Duration::from_secs(5 * 60),
            max_opening: 64,
            shadow_every: 1000,
        }
    }
}

impl LocalSettings {
    /// The same with times that can be calculated with: a millisecond to a year.
    pub(crate) fn bounded(mut self) -> Self {
        for time in [&mut self.lease, &mut self.heartbeat, &mut self.longest_stream, &mut self.idle] {
            *time = (*time).clamp(Duration::from_millis(1), Duration::from_secs(365 * 24 * 3600));
        }
        self
    }

    /// How long a stream may be silent.
    pub(crate) fn silence(&self) -> Duration {
        self.heartbeat * 3
    }
}
