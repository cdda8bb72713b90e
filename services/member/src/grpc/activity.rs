//! What members did lately.

use super::parse;
use crate::{
    Error,
    domain::{Cursor, Event},
    store,
};
use service_runtime::{Context, status};
use shop_logic::Violations;
use shop_proto::member_v1::{self as pb, activity_service_server::ActivityService};
use storage::PageScope;
use tonic::{Request, Response, Status, async_trait};

const LIST_ACTIVITIES: &str = "/shop.member.v1.ActivityService/ListActivities";

/// `shop.member.v1.ActivityService`.
#[derive(Clone)]
pub struct Activities {
    context: Context,
}

impl Activities {
    /// The service of this cell.
    #[must_use]
    pub const fn new(context: Context) -> Self {
        Self { context }
    }
}

#[async_trait]
impl ActivityService for Activities {
    /// Applies an event to any user at home here: a user with orders need not be a member.
    async fn deliver_event(
        &self,
        request: Request<pb::DeliverEventRequest>,
    ) -> Result<Response<pb::DeliverEventResponse>, Status> {
        let (user, event) = parse::deliver_event(request.get_ref())?;
        let owner = user.clone();
        let fence = self.context.fence(&user);
        let write = self
            .context
            .db
            .fenced(&fence, move |tx| Box::pin(async move { store::apply(tx.conn(), &owner, &event).await }));
        let applied = write.await.map_err(status::<Error>)?;
        Ok(Response::new(pb::DeliverEventResponse { applied }))
    }

    async fn list_activities(
        &self,
        request: Request<pb::ListActivitiesRequest>,
    ) -> Result<Response<pb::ListActivitiesResponse>, Status> {
        let request = request.into_inner();
        let (user, size) = parse::list_activities(&request)?;
        let scope = PageScope { method: LIST_ACTIVITIES, user: Some(&user), filter: &[] };
        let before: Option<Cursor> = scope
            .open(&self.context.seal, &request.page_token)
            .map_err(Violations::of("page_token"))
            .map_err(Error::Invalid)?;
        let owner = user.clone();
        let fence = self.context.fence(&user);
        let read = self.context.db.fenced_read(&fence, move |tx| {
            Box::pin(async move { store::list(tx.conn(), &owner, before.as_ref(), size.limit()).await })
        });
        let (events, next) = size.cut(read.await.map_err(status::<Error>)?, Event::cursor);
        Ok(Response::new(pb::ListActivitiesResponse {
            activities: events.iter().map(Into::into).collect(),
            next_page_token: next.map(|cursor| scope.seal(&self.context.seal, &cursor)).unwrap_or_default(),
        }))
    }
}
