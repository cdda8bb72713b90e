//! What orders cost.

use super::parse::{self, Priced};
use crate::{
    Error,
    redemptions::{Change, Feed},
    store::{Redemption, Tariff},
};
use futures_util::{StreamExt, stream::BoxStream};
use service_runtime::{At, Context, Told, status};
use shop_logic::{Asked, campaign::Quote, check_preview};
use shop_proto::trade_v1::{self as pb, pricing_service_server::PricingService};
use tonic::{Request, Response, Status, async_trait};

/// `shop.trade.v1.PricingService`.
#[derive(Clone)]
pub struct Pricing {
    context: Context,
}

impl Pricing {
    /// The service of this cell.
    #[must_use]
    pub const fn new(context: Context) -> Self {
        Self { context }
    }
}

/// What lines cost a user, and what that rests on. Read in his home, where it is known which coupons he used.
pub(super) async fn quote(context: &Context, asked: &Priced, now_ms: i64) -> Result<(Tariff, Quote), Status> {
    let Priced { user, lines, coupon } = asked.clone();
    let fence = context.fence(&asked.user);
    let read = context.db.fenced_read(&fence, move |tx| {
        Box::pin(async move { Tariff::read(tx, Some(&user), &lines, coupon.as_ref(), now_ms).await })
    });
    let tariff = read.await.map_err(status::<Error>)?;
    let quote = tariff.quote(&asked.lines, asked.coupon.as_ref(), now_ms).map_err(Error::from)?;
    Ok((tariff, quote))
}

#[async_trait]
impl PricingService for Pricing {
    type WatchRedemptionsStream = BoxStream<'static, Result<pb::WatchRedemptionsResponse, Status>>;

    async fn quote_price(
        &self,
        request: Request<pb::QuotePriceRequest>,
    ) -> Result<Response<pb::QuotePriceResponse>, Status> {
        let (lines, coupon) = parse::quote_price(request.get_ref())?;
        let (now_ms, asked) = (self.context.now_ms(), (lines.clone(), coupon.clone()));
        let read = self.context.db.global_read(move |tx| {
            Box::pin(async move {
                let (lines, coupon) = asked;
                Tariff::read(tx, None, &lines, coupon.as_ref(), now_ms).await
            })
        });
        let tariff = read.await.map_err(status::<Error>)?;
        let quote = tariff.quote(&lines, coupon.as_ref(), now_ms).map_err(Error::from)?;
        let Tariff { catalog_version, campaign_version, .. } = tariff;
        Ok(Response::new(pb::QuotePriceResponse::new(&quote, catalog_version, campaign_version)))
    }

    async fn check_coupon(
        &self,
        request: Request<pb::CheckCouponRequest>,
    ) -> Result<Response<pb::CheckCouponResponse>, Status> {
        let asked = parse::check_coupon(request.get_ref())?;
        let (_, quote) = quote(&self.context, &asked, self.context.now_ms()).await?;
        Ok(Response::new((&quote).into()))
    }

    async fn check_preview(
        &self,
        request: Request<pb::CheckPreviewRequest>,
    ) -> Result<Response<pb::CheckPreviewResponse>, Status> {
        let request = request.get_ref();
        let Priced { user, lines, coupon } = &parse::check_preview(request)?;
        let asked = Asked { user: user.as_bytes(), lines, coupon: coupon.as_ref() };
        let standing = check_preview(&request.preview_token, &asked, self.context.now_ms());
        Ok(Response::new(standing.into()))
    }

    async fn watch_redemptions(
        &self,
        request: Request<pb::WatchRedemptionsRequest>,
    ) -> Result<Response<Self::WatchRedemptionsStream>, Status> {
        let user = parse::watch_redemptions(request.get_ref())?;
        let &pb::WatchRedemptionsRequest { user_epoch, position, .. } = request.get_ref();
        let feed = Feed::new(user.clone(), At { user_epoch, position });
        let told = self.context.user_stream(user, feed).await?;
        Ok(Response::new(told.map(|told| told.map(message)).boxed()))
    }
}

fn message(told: Told<Change>) -> pb::WatchRedemptionsResponse {
    let Told { item, at: At { user_epoch, position }, complete, elapsed_ms } = told;
    let Change { snapshot_start, snapshot_end, redemptions } = item.unwrap_or_default();
    let redemption =
        |Redemption { campaign, redeemed, .. }| pb::Redemption { campaign_id: campaign, redeemed_count: redeemed };
    let redemptions = redemptions.into_iter().map(redemption).collect();
    pb::WatchRedemptionsResponse {
        user_epoch,
        position,
        elapsed_ms,
        snapshot_start,
        snapshot_end,
        redemptions,
        complete,
    }
}
