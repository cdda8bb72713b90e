//! What the server answers.

use cell_map::{Cell, CellId, CellMap, Incarnation, MapDraft, RegionId};
use futures_util::{StreamExt as _, stream, stream::BoxStream};
use mesh_proto::control_v1::{
    CellInstances, CheckMeshRequest, CheckMeshResponse, ExplainKeyRequest, ExplainKeyResponse, Instance, Instances,
    Restrictions, WatchMeshRequest, WatchMeshResponse, control_service_server::ControlService,
};
use shop_proto::member_v1::{
    BatchGetMembersRequest, BatchGetMembersResponse, GetMemberRequest, GetMemberResponse, Member, MemberResult,
    RegisterRequest, RegisterResponse, member_service_server::MemberService,
};
use std::time::{Duration, Instant};
use tonic::{Request, Response, Status, async_trait};

const CELL: &str = "bj-1";
/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(1);

/// Members that are made up.
pub(super) struct Members;

fn member(user_id: String) -> Member {
    Member { user_id, display_name: "A member of the lab".to_owned(), create_time_ms: 1_700_000_000_000 }
}

#[async_trait]
impl MemberService for Members {
    async fn register(&self, _: Request<RegisterRequest>) -> Result<Response<RegisterResponse>, Status> {
        Err(Status::failed_precondition("members of the lab are made up"))
    }

    async fn get_member(&self, request: Request<GetMemberRequest>) -> Result<Response<GetMemberResponse>, Status> {
        let mut response = Response::new(GetMemberResponse { member: Some(member(request.into_inner().user_id)) });
        answered(&mut response);
        Ok(response)
    }

    async fn batch_get_members(
        &self,
        request: Request<BatchGetMembersRequest>,
    ) -> Result<Response<BatchGetMembersResponse>, Status> {
        let result = |user_id: String| MemberResult {
            member: Some(member(user_id.clone())),
            user_id,
            code: 0,
            message: String::new(),
        };
        let results = request.into_inner().user_ids.into_iter().map(result).collect();
        let mut response = Response::new(BatchGetMembersResponse { results });
        answered(&mut response);
        Ok(response)
    }
}

/// As services of the mesh do, it says which cell answers.
fn answered<T>(response: &mut Response<T>) {
    response.metadata_mut().insert("cellmesh-cell", tonic::metadata::MetadataValue::from_static(CELL));
}

/// Tells of one cell with one instance.
pub(super) struct Tells {
    map: CellMap,
    instances: Instances,
}

impl Tells {
    /// That the member service is at this address.
    pub fn new(address: &str) -> anyhow::Result<Self> {
        let mut draft = MapDraft::new(Incarnation::new(1));
        draft.add_cell(Cell::new(CellId::new(CELL)?, RegionId::new("beijing")?))?;
        draft.set_global_cell(&CellId::new(CELL)?);
        draft.spread_buckets()?;
        let services = vec!["shop.member.v1.MemberService".to_owned()];
        let instances = vec![Instance { address: address.to_owned(), services }];
        let cell = CellInstances { cell: CELL.to_owned(), instances, routers: vec![address.to_owned()] };
        Ok(Self { map: draft.build()?, instances: Instances { cells: vec![cell] } })
    }
}

#[async_trait]
impl ControlService for Tells {
    type WatchMeshStream = BoxStream<'static, Result<WatchMeshResponse, Status>>;

    async fn watch_mesh(&self, _: Request<WatchMeshRequest>) -> Result<Response<Self::WatchMeshStream>, Status> {
        let opened = Instant::now();
        let elapsed_ms = move || u64::try_from(opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        let first = WatchMeshResponse {
            map: Some((&self.map).into()),
            instances: Some(self.instances.clone()),
            restrictions: Some(Restrictions::default()),
            cell: CELL.to_owned(),
            elapsed_ms: elapsed_ms(),
        };
        let beats = stream::unfold((), move |()| async move {
            tokio::time::sleep(BEAT).await;
            let beat = WatchMeshResponse { cell: CELL.to_owned(), elapsed_ms: elapsed_ms(), ..Default::default() };
            Some((Ok(beat), ()))
        });
        Ok(Response::new(stream::iter([Ok(first)]).chain(beats).boxed()))
    }

    async fn explain_key(&self, _: Request<ExplainKeyRequest>) -> Result<Response<ExplainKeyResponse>, Status> {
        Ok(Response::new(ExplainKeyResponse { cell: CELL.to_owned(), ..Default::default() }))
    }

    async fn check_mesh(&self, _: Request<CheckMeshRequest>) -> Result<Response<CheckMeshResponse>, Status> {
        Ok(Response::new(CheckMeshResponse::default()))
    }
}
