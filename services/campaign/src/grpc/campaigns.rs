//! Campaigns.

use super::parse::{self, Once};
use crate::{CampaignSet, Error, MAX_OF_PRODUCT, store};
use prost::Message;
use service_runtime::{Context, Copied};
use shop_logic::{Campaign, CampaignId, Violations};
use shop_proto::campaign_v1::{self as pb, campaign_service_server::CampaignService};
use std::collections::HashMap;
use storage::{BoxFuture, IdempotencyKey, PageScope, Tx};
use tonic::{Code, Request, Response, Status, async_trait};

const CREATE_CAMPAIGN: &str = "/shop.campaign.v1.CampaignService/CreateCampaign";
const UPDATE_CAMPAIGN: &str = "/shop.campaign.v1.CampaignService/UpdateCampaign";
const LIST_CAMPAIGNS: &str = "/shop.campaign.v1.CampaignService/ListCampaigns";

/// `shop.campaign.v1.CampaignService`.
#[derive(Clone, Debug)]
pub struct Campaigns {
    context: Context,
    campaigns: Copied<CampaignSet>,
}

impl Campaigns {
    /// The service of this cell.
    #[must_use]
    pub const fn new(context: Context, campaigns: Copied<CampaignSet>) -> Self {
        Self { context, campaigns }
    }

    /// Campaigns by id, from this cell's copy.
    async fn find(&self, ids: Vec<CampaignId>) -> Result<HashMap<CampaignId, Campaign>, Status> {
        self.campaigns.read(move |tx| Box::pin(async move { store::find(tx.conn(), &ids).await })).await
    }

    /// Writes a campaign in the global cell, once for each request id.
    async fn write<W: Send + Sync + 'static, T: Message + Default + 'static>(
        &self,
        method: &'static str,
        request: &impl Message,
        Once { request_id, write }: Once<W>,
        store: impl for<'t> FnOnce(&'t mut Tx, &'t W) -> BoxFuture<'t, store::Result<Campaign>> + Send + 'static,
        answer: fn(pb::Campaign) -> T,
    ) -> Result<Response<T>, Status> {
        let key = IdempotencyKey::of(method, request_id.as_str(), request)
            .map_err(Violations::of("request_id"))
            .map_err(Error::Invalid)?;
        let written = self
            .campaigns
            .write(key, move |tx| Box::pin(async move { Ok(answer((&store(tx, &write).await?).into())) }));
        Ok(Response::new(written.await?))
    }
}

#[async_trait]
impl CampaignService for Campaigns {
    async fn create_campaign(
        &self,
        request: Request<pb::CreateCampaignRequest>,
    ) -> Result<Response<pb::CreateCampaignResponse>, Status> {
        let request = request.get_ref();
        let answer = |campaign| pb::CreateCampaignResponse { campaign: Some(campaign) };
        let write = parse::create(request)?;
        self.write(CREATE_CAMPAIGN, request, write, |tx, campaign| Box::pin(store::create(tx, campaign)), answer).await
    }

    async fn update_campaign(
        &self,
        request: Request<pb::UpdateCampaignRequest>,
    ) -> Result<Response<pb::UpdateCampaignResponse>, Status> {
        let request = request.get_ref();
        let answer = |campaign| pb::UpdateCampaignResponse { campaign: Some(campaign) };
        let write = parse::update(request)?;
        self.write(UPDATE_CAMPAIGN, request, write, |tx, change| Box::pin(store::update(tx, change)), answer).await
    }

    async fn get_campaign(
        &self,
        request: Request<pb::GetCampaignRequest>,
    ) -> Result<Response<pb::GetCampaignResponse>, Status> {
        let id = parse::id(&request.get_ref().campaign_id)?;
        let campaign = self.find(vec![id.clone()]).await?.remove(&id).ok_or(Error::NotFound(id))?;
        Ok(Response::new(pb::GetCampaignResponse { campaign: Some((&campaign).into()) }))
    }

    async fn batch_get_campaigns(
        &self,
        request: Request<pb::BatchGetCampaignsRequest>,
    ) -> Result<Response<pb::BatchGetCampaignsResponse>, Status> {
        let ids = parse::ids(&request.get_ref().campaign_ids)?;
        let campaigns = self.find(ids.clone()).await?;
        let results = ids.into_iter().map(|id| match campaigns.get(&id) {
            Some(campaign) => pb::CampaignResult {
                campaign_id: id.to_string(),
                campaign: Some(campaign.into()),
                ..Default::default()
            },
            None => pb::CampaignResult {
                campaign_id: id.to_string(),
                campaign: None,
                code: Code::NotFound.into(),
                message: Error::NotFound(id).to_string(),
            },
        });
        Ok(Response::new(pb::BatchGetCampaignsResponse { results: results.collect() }))
    }

    async fn list_campaigns(
        &self,
        request: Request<pb::ListCampaignsRequest>,
    ) -> Result<Response<pb::ListCampaignsResponse>, Status> {
        let request = request.into_inner();
        let size = parse::page_size(request.page_size)?;
        let filter = [u8::from(request.active_only)];
        let scope = PageScope { method: LIST_CAMPAIGNS, user: None, filter: &filter };
        let after: Option<String> = scope
            .open(&self.context.seal, &request.page_token)
            .map_err(Violations::of("page_token"))
            .map_err(Error::Invalid)?;
        let at_ms = request.active_only.then(|| self.context.now_ms());
        let read = self.campaigns.read(move |tx| {
            Box::pin(
                async move { store::list(tx.conn(), after.as_deref().unwrap_or_default(), at_ms, size.limit()).await },
            )
        });
        let (campaigns, next) = size.cut(read.await?, |campaign: &Campaign| campaign.terms.id.to_string());
        Ok(Response::new(pb::ListCampaignsResponse {
            campaigns: campaigns.iter().map(Into::into).collect(),
            next_page_token: next.map(|id| scope.seal(&self.context.seal, &id)).unwrap_or_default(),
        }))
    }

    async fn list_campaigns_for_product(
        &self,
        request: Request<pb::ListCampaignsForProductRequest>,
    ) -> Result<Response<pb::ListCampaignsForProductResponse>, Status> {
        let sku = parse::sku(&request.get_ref().sku)?;
        let now_ms = self.context.now_ms();
        let read = self
            .campaigns
            .read(move |tx| Box::pin(async move { store::of_product(tx.conn(), &sku, now_ms, MAX_OF_PRODUCT).await }));
        let campaigns = read.await?;
        Ok(Response::new(pb::ListCampaignsForProductResponse { campaigns: campaigns.iter().map(Into::into).collect() }))
    }
}
