//! Registration and profiles.

use super::{convert, parse};
use crate::{Error, domain::Member, store};
use cell_map::{OwnerEpochs, UserKey, mint};
use service_runtime::{Context, status};
use shop_logic::Violations;
use shop_proto::member_v1::{self as pb, member_service_server::MemberService};
use storage::{FenceRequest, IdempotencyKey, Outcome, Refusal, TxError, WorkError};
use tonic::{Request, Response, Status, async_trait};

const REGISTER: &str = "/shop.member.v1.MemberService/Register";

/// What is kept of a registration under its request id. It stays in this cell when the member moves away, so it holds
/// nothing of him but his id: the rest of a repeated answer comes from the repeated request.
#[derive(Clone, PartialEq, prost::Message)]
struct Registration {
    #[prost(string, tag = "1")]
    user_id: String,
    #[prost(int64, tag = "2")]
    create_time_ms: i64,
}

/// `shop.member.v1.MemberService`.
#[derive(Clone)]
pub struct Members {
    context: Context,
}

impl Members {
    /// The service of this cell.
    #[must_use]
    pub const fn new(context: Context) -> Self {
        Self { context }
    }

    /// The member whom the fence is for, if he is at home here.
    async fn find(&self, fence: FenceRequest<'_>) -> Result<Member, TxError<Error>> {
        let key = fence.key.clone();
        let read =
            self.context.db.fenced_read(&fence, move |tx| Box::pin(async move { store::find(tx.conn(), &key).await }));
        read.await?.ok_or_else(|| TxError::Business(Error::NotFound(convert::user_id(fence.key))))
    }

    /// Reads where a member's data stands, for the token of the answer (OWN-15): a stored answer belongs to nobody, and has
    /// none of its own. Of one who moved away since this cell knows nothing, and the answer has no token.
    async fn tell_position(&self, user_id: &str) -> Result<(), Status> {
        let key = UserKey::from_text(user_id).map_err(|error| Status::internal(format!("stored id: {error}")))?;
        let fence = FenceRequest { key: &key, asked: OwnerEpochs::ZERO };
        match self.context.db.fenced_read(&fence, |_| Box::pin(async { Ok::<_, WorkError<Error>>(()) })).await {
            Ok(()) | Err(TxError::Refused(_)) => Ok(()),
            Err(error) => Err(status(error)),
        }
    }
}

#[async_trait]
impl MemberService for Members {
    /// Draws an id until one is at home here, by the map and by the database (OWN-10).
    async fn register(&self, request: Request<pb::RegisterRequest>) -> Result<Response<pb::RegisterResponse>, Status> {
        let request = request.into_inner();
        let parse::Register { request_id, display_name } = parse::register(&request)?;
        // Without an id of the caller's, no other call repeats this one.
        let request_id = request_id.map_or_else(|| format!("{:032x}", rand::random::<u128>()), |id| id.to_string());
        let key = IdempotencyKey::of(REGISTER, &request_id, &request)
            .map_err(Violations::of("request_id"))
            .map_err(Error::Invalid)?;
        let (map, cell, create_time_ms) =
            (self.context.map.current(), self.context.cell.clone(), self.context.now_ms());
        let draw = move || mint(&map, &cell, rand::random).map(|minted| minted.key);
        // A cell that mints no id now still answers what it answered before; only a new member is refused.
        let (mut first, why) = match draw() {
            Ok(key) => (Some(key), None),
            Err(error) => (None, Some(error)),
        };
        let name = display_name.clone();
        let registered = self.context.db.register(
            key,
            move || first.take().or_else(|| draw().ok()),
            move |tx, id| {
                Box::pin(async move {
                    let member = Member { id, display_name: name, create_time_ms };
                    store::insert(tx.conn(), &member).await?;
                    Ok(Registration { user_id: convert::user_id(&member.id), create_time_ms })
                })
            },
        );
        let registered = registered.await.map_err(|error| match (error, why) {
            (TxError::Refused(Refusal::NoHome), Some(why)) => Error::from(why).into(),
            (error, _) => status::<Error>(error),
        });
        let registered = registered?;
        let repeated = matches!(registered, Outcome::Replayed(_));
        let Registration { user_id, create_time_ms } = registered.into_inner();
        if repeated {
            self.tell_position(&user_id).await?;
        }
        let display_name = display_name.to_string();
        let member = pb::Member { user_id: user_id.clone(), display_name, create_time_ms };
        Ok(Response::new(pb::RegisterResponse { user_id, member: Some(member) }))
    }

    async fn get_member(
        &self,
        request: Request<pb::GetMemberRequest>,
    ) -> Result<Response<pb::GetMemberResponse>, Status> {
        let id = parse::get_member(request.get_ref())?;
        let member = self.find(self.context.fence(&id)).await.map_err(status)?;
        Ok(Response::new(pb::GetMemberResponse { member: Some((&member).into()) }))
    }

    /// All from one snapshot, each member fenced for himself. If this cell is home to none of them the whole call is
    /// refused, so that a router with an old map learns where they are; otherwise the foreign ones are refused one by one.
    async fn batch_get_members(
        &self,
        request: Request<pb::BatchGetMembersRequest>,
    ) -> Result<Response<pb::BatchGetMembersResponse>, Status> {
        let ids = parse::batch_get_members(request.get_ref())?;
        let fences: Vec<_> = match &ids[..] {
            [id] => vec![self.context.fence(id)],
            // The call's epochs are one user's. Of another they say nothing, and would have him wait for ever.
            several => several.iter().map(|key| FenceRequest { key, asked: OwnerEpochs::ZERO }).collect(),
        };
        let read = self
            .context
            .db
            .fenced_read_each(&fences, |tx, ids| Box::pin(async move { store::find_all(tx.conn(), &ids).await }));
        let (refused, found) = read.await.map_err(status)?;
        let results = ids.iter().zip(refused).map(|(id, refused)| {
            let user_id = convert::user_id(id);
            let error = match (refused, found.get(id)) {
                (Ok(()), Some(member)) => {
                    return pb::MemberResult { user_id, member: Some(member.into()), ..Default::default() };
                }
                (Ok(()), None) => TxError::Business(Error::NotFound(user_id.clone())),
                (Err(refusal), _) => TxError::Refused(refusal),
            };
            let status = status(error);
            pb::MemberResult { user_id, member: None, code: status.code().into(), message: status.message().to_owned() }
        });
        Ok(Response::new(pb::BatchGetMembersResponse { results: results.collect() }))
    }
}
