//! Answers inside the client, by the shop's own follow check through the generated client, with data streamed by a mock.

use client_sdk::{LocalSettings, Mesh, Source, mock::MockMesh};
use futures_util::{FutureExt as _, Stream, stream};
use shop_client::{
    FollowCheck,
    follow::{FollowServiceClient, follow_service_methods::WatchFollowing},
};
use shop_proto::follow_v1::{IsFollowingRequest, WatchFollowingResponse};
use std::{
    cell::Cell,
    hint::black_box,
    rc::Rc,
    time::{Duration, Instant},
};

/// Whom everybody follows.
const FOLLOWED: usize = 100;
/// Answers of a short run.
const SHORT: usize = 100;
/// Short runs whose median counts.
const RUNS: usize = 99;

/// A client that knows whom some users follow.
pub struct Known {
    follows: FollowServiceClient,
    ids: Vec<String>,
    target: String,
    next: Cell<usize>,
}

impl Known {
    /// With so many users.
    ///
    /// # Errors
    /// If their data does not come in.
    pub async fn new(users: usize) -> anyhow::Result<Rc<Self>> {
        let mock = MockMesh::new();
        mock.answer_stream::<WatchFollowing, _>(|_| Ok(told()));
        let mut settings = LocalSettings::default();
        (settings.shadow_every, settings.max_users) = (0, users);
        let mesh = mock.mesh_of(Mesh::builder().local_settings(settings).local_logic(FollowCheck)?);
        // Ids as long as minted ones.
        let ids: Vec<String> = (0..users).map(|n| format!("{:026}", n.wrapping_mul(0x9e37_79b9_7f4a))).collect();
        let known =
            Self { follows: FollowServiceClient::new(&mesh), ids, target: "target-50".to_owned(), next: Cell::new(0) };
        let began = Instant::now();
        for at in 0..users {
            while known.answer(known.request_of(at)) != Some(true) {
                anyhow::ensure!(began.elapsed() < Duration::from_secs(30), "the data does not come in");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        Ok(Rc::new(known))
    }

    fn request_of(&self, at: usize) -> IsFollowingRequest {
        IsFollowingRequest { user_id: self.ids[at].clone(), target_id: self.target.clone() }
    }

    /// A request about the next user.
    pub fn request(&self) -> IsFollowingRequest {
        let next = (self.next.get() + 7) % self.ids.len();
        self.next.set(next);
        self.request_of(next)
    }

    /// The answer, if it is given here: at the first poll.
    #[must_use]
    pub fn answer(&self, request: IsFollowingRequest) -> Option<bool> {
        let reply = self.follows.is_following(request).into_future().now_or_never()?.ok()?;
        matches!(reply.source, Source::Local { stale: false, .. }).then_some(reply.value.following)
    }

    /// Nanoseconds of a request, with its answer if wanted: the median of short runs.
    ///
    /// # Errors
    /// If something is not answered here.
    pub(super) fn run(&self, answered: bool) -> anyhow::Result<f64> {
        let mut times = [0.0; RUNS];
        for time in &mut times {
            let began = Instant::now();
            for _ in 0..SHORT {
                let request = black_box(self.request());
                if answered {
                    anyhow::ensure!(self.answer(request) == Some(true), "not answered inside");
                }
            }
            *time = began.elapsed().as_nanos() as f64 / SHORT as f64;
        }
        times.sort_by(f64::total_cmp);
        Ok(times[RUNS / 2])
    }
}

/// Everybody follows the same; a heartbeat each second.
fn told() -> impl Stream<Item = Result<WatchFollowingResponse, client_sdk::Error>> {
    let opened = Instant::now();
    stream::unfold(0, move |number: u64| async move {
        if number > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let first = number == 0;
        let followed = if first { (0..FOLLOWED).map(|n| format!("target-{n}")).collect() } else { Vec::new() };
        let message = WatchFollowingResponse {
            user_epoch: 1,
            position: 1,
            elapsed_ms: u64::try_from(opened.elapsed().as_millis()).unwrap_or(u64::MAX),
            snapshot_start: first,
            snapshot_end: first,
            followed,
            unfollowed: Vec::new(),
            complete: true,
        };
        Some((Ok(message), number + 1))
    })
}
