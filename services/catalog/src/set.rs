//! The catalogue as a set of global data.

use crate::{
    Error,
    domain::Product,
    grpc::message_from,
    seed,
    store::{self, POSITION},
};
use futures_util::StreamExt as _;
use replication::Position;
use service_runtime::{Context, CopyError, DataSet, SetStream};
use shop_proto::catalog_v1::{SubscribeRequest, catalog_replication_service_client::CatalogReplicationServiceClient};
use storage::{Positions, Tx};

/// The catalogue.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// Written where they are missing when the global cell begins to write.
    pub seeds: Vec<Product>,
}

impl DataSet for Catalogue {
    type Item = Product;
    type Error = Error;

    const NAME: &'static str = "catalogue";
    const POSITIONS: Positions = POSITION;

    fn version(product: &Product) -> u64 {
        product.version
    }

    async fn after(tx: &mut Tx, sequence: u64, limit: i64) -> store::Result<Vec<Product>> {
        store::after(tx.conn(), sequence, limit).await
    }

    async fn put(tx: &mut Tx, product: &Product) -> store::Result<()> {
        store::put(tx.conn(), product).await
    }

    async fn clear(tx: &mut Tx) -> store::Result<()> {
        store::clear(tx.conn()).await
    }

    async fn seed(&self, tx: &mut Tx) -> store::Result<()> {
        seed::write(tx, &self.seeds).await
    }

    async fn subscribe(context: &Context, Position { incarnation, sequence }: Position) -> SetStream<Self> {
        let mut client = CatalogReplicationServiceClient::new(context.mesh.clone());
        let request = context.as_follower(SubscribeRequest { incarnation, sequence });
        let stream = client.subscribe(request).await?.into_inner();
        Ok(stream.map(|message| message_from(&message?).map_err(|faults| CopyError::Item(faults.into()))).boxed())
    }
}
