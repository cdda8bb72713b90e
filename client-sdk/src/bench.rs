//! The upper rungs without a network, for this crate's own benchmarks and tests. Not meant to be used by others.

use crate::{
    Code, Error, Mesh, Method, MethodPolicy, Reply, Settings,
    ladder::{self, now},
    wire::{Destination, Wire, WireCall, WireReply, WireStream},
};
use bytes::Bytes;
use cell_map::CellId;
use futures_util::future::BoxFuture;
use mesh_layers::frame::HEADER_LEN;
use std::{sync::Arc, time::Duration};

/// A wire that answers in the process. `answer` gets path and message; what it returns is awaited.
struct Inside<F> {
    answer: F,
    cell: CellId,
}

impl<F, A> Wire for Inside<F>
where
    F: Fn(&'static str, Bytes) -> A + Send + Sync + 'static,
    A: Future<Output = Bytes> + Send,
{
    fn unary(&self, call: WireCall) -> BoxFuture<'_, Result<WireReply, Error>> {
        Box::pin(async move {
            let message = (self.answer)(call.policy.path, call.frame.slice(HEADER_LEN..)).await;
            Ok(WireReply { message, cell: Some(self.cell.clone()), attempts: 1, hops: 0, token: None })
        })
    }

    fn stream(&self, _call: WireCall) -> BoxFuture<'_, Result<Box<dyn WireStream>, Error>> {
        Box::pin(async { Err(Error::new(Code::Unimplemented, "there are no streams here")) })
    }

    fn destination(&self, _policy: &MethodPolicy, _key: Option<&[u8]>) -> Destination {
        Destination::Cell(self.cell.clone())
    }
}

/// A mesh of one cell, `bj-1`, that answers in the process.
pub fn mesh<F, A>(settings: Settings, answer: F) -> Mesh
where
    F: Fn(&'static str, Bytes) -> A + Send + Sync + 'static,
    A: Future<Output = Bytes> + Send + 'static,
{
    let cell = CellId::new("bj-1").expect("it is a name");
    Mesh::over(Arc::new(Inside { answer, cell }), settings)
}

/// What a call costs without any rung: its message is encoded, sent, and its answer decoded.
///
/// # Errors
/// If the answer is none.
pub async fn bare<M: Method>(mesh: &Mesh, request: &M::Request) -> Result<Reply<M::Response>, Error> {
    let key = M::key(request).map_err(|error| ladder::refused(&error))?;
    let call = WireCall {
        policy: const { &M::POLICY },
        frame: ladder::frame(request)?,
        key: key.map(|key| key.to_user_key()),
        wants: crate::wire::Wants::default(),
        deadline: now() + Duration::from_secs(5),
        fresh: crate::Fresh::Any,
        metadata: None,
    };
    let reply = mesh.wire().unary(call).await?;
    Ok(Reply::new(ladder::decode::<M>(&reply.message)?, reply.source(), reply.token))
}
