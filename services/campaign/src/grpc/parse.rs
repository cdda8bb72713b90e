//! From messages to campaign's types: every fault of a request is told at once.

use crate::{DEFAULT_PAGE, Error, MAX_BATCH, MAX_PAGE, store::Change};
use shop_logic::{Campaign, CampaignId, InvalidError, RequestId, Sku, Title, Violations, campaign::Window};
use shop_proto::campaign_v1::{self as pb, campaign_from, paused};
use storage::PageSize;

/// A write, once for each request id.
pub(super) struct Once<T> {
    pub(super) request_id: RequestId,
    pub(super) write: T,
}

pub(super) fn create(request: &pb::CreateCampaignRequest) -> Result<Once<Campaign>, Error> {
    let mut violations = Violations::new();
    let request_id = violations.take("request_id", RequestId::new(&request.request_id));
    let campaign = violations.take("campaign", request.campaign.as_ref().ok_or(InvalidError::Missing));
    let campaign = campaign.and_then(|campaign| campaign_from(campaign, &mut violations));
    let parts = request_id.zip(campaign).map(|(request_id, write)| Once { request_id, write });
    violations.finish(parts).map_err(Error::Invalid)
}

pub(super) fn update(request: &pb::UpdateCampaignRequest) -> Result<Once<Change>, Error> {
    let mut violations = Violations::new();
    let request_id = violations.take("request_id", RequestId::new(&request.request_id));
    let id = violations.take("campaign_id", CampaignId::new(&request.campaign_id));
    let title = violations.take("title", Title::new(&request.title));
    let window = violations.take("end_time_ms", Window::new(request.start_time_ms, request.end_time_ms));
    let paused = violations.take("state", paused(request.state));
    let change = || Some(Change { id: id?, title: title?, window: window?, paused: paused? });
    let parts = request_id.zip(change()).map(|(request_id, write)| Once { request_id, write });
    violations.finish(parts).map_err(Error::Invalid)
}

pub(super) fn id(text: &str) -> Result<CampaignId, Error> {
    CampaignId::new(text).map_err(Violations::of("campaign_id")).map_err(Error::Invalid)
}

pub(super) fn ids(texts: &[String]) -> Result<Vec<CampaignId>, Error> {
    let mut violations = Violations::new();
    let ids = violations.each("campaign_ids", texts, MAX_BATCH, CampaignId::new);
    violations.finish(ids).map_err(Error::Invalid)
}

pub(super) fn sku(text: &str) -> Result<Sku, Error> {
    Sku::new(text).map_err(Violations::of("sku")).map_err(Error::Invalid)
}

pub(super) fn page_size(asked: i32) -> Result<PageSize, Error> {
    let size = PageSize::from_request(asked, DEFAULT_PAGE, MAX_PAGE);
    size.map_err(Violations::of("page_size")).map_err(Error::Invalid)
}
