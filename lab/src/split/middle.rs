//! A service that has nothing of its own: it asks another one.

use super::{
    FILE_DESCRIPTOR_SET,
    proto::middle_service_server::{MiddleService, MiddleServiceServer},
};
use service_runtime::{Context, MeshChannel, Parts, Service};
use shop_proto::member_v1::{GetMemberRequest, GetMemberResponse, member_service_client::MemberServiceClient};
use std::error::Error;
use tonic::{Request, Response, Status, async_trait};

/// The service `middle`.
pub(super) struct Middle;

impl Service for Middle {
    fn name(&self) -> &'static str {
        "middle"
    }

    fn descriptor_set(&self) -> &'static [u8] {
        FILE_DESCRIPTOR_SET
    }

    fn start(&self, context: &Context, parts: &mut Parts) -> Result<(), Box<dyn Error + Send + Sync>> {
        parts.serve(MiddleServiceServer::new(Passing(context.mesh.clone())));
        Ok(())
    }
}

struct Passing(MeshChannel);

#[async_trait]
impl MiddleService for Passing {
    async fn get_member(&self, request: Request<GetMemberRequest>) -> Result<Response<GetMemberResponse>, Status> {
        MemberServiceClient::new(self.0.clone()).get_member(request.into_inner()).await
    }
}
