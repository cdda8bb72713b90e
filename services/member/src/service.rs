//! What the runtime is given.

use crate::{grpc, store};
use service_runtime::{Context, Parts, Service};
use shop_proto::{
    follow_v1::follow_service_server::FollowServiceServer,
    member_v1::{activity_service_server::ActivityServiceServer, member_service_server::MemberServiceServer},
};
use std::{error::Error, sync::Arc};
use storage::{Migration, UserData};

/// The service `member`, which hosts `follow` too.
#[derive(Clone, Copy, Debug, Default)]
pub struct Member;

impl Service for Member {
    fn name(&self) -> &'static str {
        "member"
    }

    fn descriptor_set(&self) -> &'static [u8] {
        shop_proto::FILE_DESCRIPTOR_SET
    }

    fn migrations(&self) -> Vec<Migration> {
        store::MIGRATIONS.to_vec()
    }

    fn participants(&self) -> Vec<Arc<dyn UserData>> {
        vec![Arc::new(store::user_tables())]
    }

    fn start(&self, context: &Context, parts: &mut Parts) -> Result<(), Box<dyn Error + Send + Sync>> {
        parts.serve(MemberServiceServer::new(grpc::Members::new(context.clone())));
        parts.serve(ActivityServiceServer::new(grpc::Activities::new(context.clone())));
        parts.serve(FollowServiceServer::new(grpc::Follows::new(context.clone())));
        Ok(())
    }
}
