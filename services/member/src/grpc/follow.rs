//! Whom users follow.

mod parse;

use crate::{Error, following::Feed, store};
use futures_util::{StreamExt, stream::BoxStream};
use service_runtime::{At, Context, Told, status};
use shop_logic::{FollowChange, Violations};
use shop_proto::follow_v1::{self as pb, follow_service_server::FollowService};
use storage::PageScope;
use tonic::{Code, Request, Response, Status, async_trait};

const LIST_FOLLOWING: &str = "/shop.follow.v1.FollowService/ListFollowing";

/// `shop.follow.v1.FollowService`.
#[derive(Clone)]
pub struct Follows {
    context: Context,
}

impl Follows {
    /// The service of this cell.
    #[must_use]
    pub const fn new(context: Context) -> Self {
        Self { context }
    }

    /// Follows targets; returns how many the user did not follow before.
    async fn add(&self, parse::Edges { user, targets }: parse::Edges) -> Result<u64, Status> {
        let (fence, owner) = (self.context.fence(&user), user.clone());
        let write = self.context.db.fenced(&fence, move |tx| {
            Box::pin(async move {
                let position = tx.position().await?;
                store::follow(tx.conn(), &owner, &targets, position).await
            })
        });
        write.await.map_err(status::<Error>)
    }
}

#[async_trait]
impl FollowService for Follows {
    type WatchFollowingStream = BoxStream<'static, Result<pb::WatchFollowingResponse, Status>>;

    async fn follow(&self, request: Request<pb::FollowRequest>) -> Result<Response<pb::FollowResponse>, Status> {
        let changed = self.add(parse::follow(request.get_ref())?).await? > 0;
        Ok(Response::new(pb::FollowResponse { changed }))
    }

    async fn unfollow(&self, request: Request<pb::UnfollowRequest>) -> Result<Response<pb::UnfollowResponse>, Status> {
        let (user, target) = parse::unfollow(request.get_ref())?;
        let (fence, owner) = (self.context.fence(&user), user.clone());
        let write = self.context.db.fenced(&fence, move |tx| {
            Box::pin(async move {
                let position = tx.position().await?;
                store::unfollow(tx.conn(), &owner, &target, position).await
            })
        });
        let changed = write.await.map_err(status::<Error>)?;
        Ok(Response::new(pb::UnfollowResponse { changed }))
    }

    async fn batch_follow(
        &self,
        request: Request<pb::BatchFollowRequest>,
    ) -> Result<Response<pb::BatchFollowResponse>, Status> {
        let changed = self.add(parse::batch_follow(request.get_ref())?).await?;
        let changed_count = i32::try_from(changed).unwrap_or(i32::MAX);
        Ok(Response::new(pb::BatchFollowResponse { changed_count }))
    }

    async fn is_following(
        &self,
        request: Request<pb::IsFollowingRequest>,
    ) -> Result<Response<pb::IsFollowingResponse>, Status> {
        let (user, target) = parse::is_following(request.get_ref())?;
        let (fence, owner) = (self.context.fence(&user), user.clone());
        let read = self.context.db.fenced_read(&fence, move |tx| {
            Box::pin(async move { store::is_following(tx.conn(), &owner, &target).await })
        });
        let following = read.await.map_err(status::<Error>)?;
        Ok(Response::new(pb::IsFollowingResponse { following }))
    }

    async fn batch_is_following(
        &self,
        request: Request<pb::BatchIsFollowingRequest>,
    ) -> Result<Response<pb::BatchIsFollowingResponse>, Status> {
        let request = request.into_inner();
        let (user, targets) = parse::batch_is_following(&request)?;
        let valid: Vec<_> = targets.iter().flatten().cloned().collect();
        let (fence, owner) = (self.context.fence(&user), user.clone());
        let read = self
            .context
            .db
            .fenced_read(&fence, move |tx| Box::pin(async move { store::which(tx.conn(), &owner, &valid).await }));
        let following = read.await.map_err(status::<Error>)?;
        let results = request.target_ids.into_iter().zip(targets).map(|(target_id, target)| match target {
            Ok(_) => {
                let following = following.contains(&target_id);
                pb::IsFollowingResult { target_id, following, ..Default::default() }
            }
            Err(why) => {
                let (code, message) = (Code::InvalidArgument.into(), format!("field \"target_id\": {why}"));
                pb::IsFollowingResult { target_id, following: false, code, message }
            }
        });
        Ok(Response::new(pb::BatchIsFollowingResponse { results: results.collect() }))
    }

    async fn list_following(
        &self,
        request: Request<pb::ListFollowingRequest>,
    ) -> Result<Response<pb::ListFollowingResponse>, Status> {
        let request = request.into_inner();
        let (user, size) = parse::list_following(&request)?;
        let scope = PageScope { method: LIST_FOLLOWING, user: Some(&user), filter: &[] };
        let after: Option<String> = scope.open(&self.context.seal, &request.page_token).map_err(|error| {
            let mut violations = Violations::new();
            violations.note("page_token", &error);
            Error::Invalid(violations)
        })?;
        let (fence, owner) = (self.context.fence(&user), user.clone());
        let read = self.context.db.fenced_read(&fence, move |tx| {
            Box::pin(async move {
                let after = after.as_deref().unwrap_or_default();
                store::list_following(tx.conn(), &owner, after, size.limit()).await
            })
        });
        let (target_ids, next) = size.cut(read.await.map_err(status::<Error>)?, String::clone);
        let next_page_token = next.map(|id| scope.seal(&self.context.seal, &id)).unwrap_or_default();
        Ok(Response::new(pb::ListFollowingResponse { target_ids, next_page_token }))
    }

    async fn watch_following(
        &self,
        request: Request<pb::WatchFollowingRequest>,
    ) -> Result<Response<Self::WatchFollowingStream>, Status> {
        let &pb::WatchFollowingRequest { ref user_id, user_epoch, position } = request.get_ref();
        let user = parse::user_id(user_id)?;
        let feed = Feed::new(user.clone(), At { user_epoch, position });
        let told = self.context.user_stream(user, feed).await?;
        Ok(Response::new(told.map(|told| told.map(message)).boxed()))
    }
}

fn message(told: Told<FollowChange>) -> pb::WatchFollowingResponse {
    let Told { item, at: At { user_epoch, position }, complete, elapsed_ms } = told;
    let FollowChange { snapshot_start, snapshot_end, followed, unfollowed } = item.unwrap_or_default();
    pb::WatchFollowingResponse {
        user_epoch,
        position,
        elapsed_ms,
        snapshot_start,
        snapshot_end,
        followed,
        unfollowed,
        complete,
    }
}
