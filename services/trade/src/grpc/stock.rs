//! The cell's stock.

use super::parse;
use crate::{Error, store};
use service_runtime::{Context, status};
use shop_proto::trade_v1::{self as pb, stock_service_server::StockService};
use tonic::{Request, Response, Status, async_trait};

/// `shop.trade.v1.StockService`.
#[derive(Clone)]
pub struct Stocks {
    context: Context,
}

impl Stocks {
    /// The service of this cell.
    #[must_use]
    pub const fn new(context: Context) -> Self {
        Self { context }
    }
}

#[async_trait]
impl StockService for Stocks {
    async fn batch_get_stock(
        &self,
        request: Request<pb::BatchGetStockRequest>,
    ) -> Result<Response<pb::BatchGetStockResponse>, Status> {
        let skus = parse::batch_get_stock(request.get_ref())?;
        let read = self.context.db.global_read(move |tx| {
            Box::pin(async move {
                let standing = store::POSITION.standing(tx).await?;
                Ok((standing, store::stock(tx.conn(), &skus).await?))
            })
        });
        let (standing, levels) = read.await.map_err(status::<Error>)?;
        standing.ok_or(Error::CopyMissing { what: "catalogue" })?;
        Ok(Response::new(pb::BatchGetStockResponse {
            cell: self.context.cell.to_string(),
            levels: levels.iter().map(Into::into).collect(),
        }))
    }
}
