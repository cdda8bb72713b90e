//! By a call through any router.

use super::{
    super::{connect, refused, request},
    Outcome, Wanted,
};
use anyhow::{Context as _, anyhow};
use mesh_layers::{metadata::OPERATOR_TOKEN, trust::OperatorToken};
use mesh_proto::control_v1::{ApplyCellsRequest, map_admin_service_client::MapAdminServiceClient};
use std::{fs, path::Path};
use tonic::{Code, Request, Status, metadata::MetadataMap};

pub(super) async fn apply(address: &str, token: &Path, wanted: &Wanted, dry_run: bool) -> anyhow::Result<Outcome> {
    let shown = token.display();
    let text = fs::read_to_string(token).with_context(|| format!("reading the operator token {shown}"))?;
    let token = OperatorToken::new(text.trim()).with_context(|| format!("in {shown}"))?;
    let mut request: Request<_> =
        request(ApplyCellsRequest { wanted: Some(wanted.into()), dry_run, expected_epoch: 0 });
    let mut headers = std::mem::take(request.metadata_mut()).into_headers();
    headers.insert(OPERATOR_TOKEN, token.header());
    *request.metadata_mut() = MetadataMap::from_headers(headers);
    let mut client = MapAdminServiceClient::new(connect(address).await?);
    let applied = client.apply_cells(request).await.map_err(|status| told(&status))?.into_inner();
    let after = applied.after.context("the answer names no version")?;
    Ok(Outcome { after, changes: applied.changes, known: false })
}

fn told(status: &Status) -> anyhow::Error {
    match status.code() {
        Code::Unavailable => anyhow!(
            "{}: the map is changed in the global cell, and the router does not reach it now; everything else goes on",
            status.message()
        ),
        Code::InvalidArgument | Code::PermissionDenied | Code::FailedPrecondition => anyhow!("{}", status.message()),
        _ => refused(status),
    }
}
