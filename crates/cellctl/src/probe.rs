//! `probe`: one routed write and read, seen from outside.

use crate::operator::{connect, request};
use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde_json::json;
use shop_proto::member_v1::{GetMemberRequest, RegisterRequest, member_service_client::MemberServiceClient};
use tonic::{Status, metadata::MetadataMap};

/// Options of `cellctl probe`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ProbeArgs {
    /// Fail unless this cell served both calls
    #[arg(long, value_name = "ID")]
    cell: Option<String>,
}

/// Who served a call, as the answer's metadata say.
#[derive(Debug)]
struct Served {
    cell: String,
    hops: String,
}

impl Served {
    fn of(metadata: &MetadataMap) -> anyhow::Result<Self> {
        let read = |name: &str| metadata.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let cell = read("cellmesh-cell").context("the answer does not say which cell served it")?;
        Ok(Self { cell, hops: read("cellmesh-hops").unwrap_or_else(|| "0".to_owned()) })
    }
}

pub(crate) async fn run(address: &str, as_json: bool, args: &ProbeArgs) -> anyhow::Result<String> {
    let mut members = MemberServiceClient::new(connect(address).await?);
    let request_id = format!("probe-{:032x}", rand::random::<u128>());
    let register = RegisterRequest { request_id, display_name: "cellctl probe".to_owned() };
    let registered = members.register(request(register)).await.map_err(|status| refused("Register", &status))?;
    let written = Served::of(registered.metadata())?;
    let user_id = registered.into_inner().user_id;
    let get = GetMemberRequest { user_id: user_id.clone() };
    let got = members.get_member(request(get)).await.map_err(|status| refused("GetMember", &status))?;
    let read = Served::of(got.metadata())?;
    let back = got.into_inner().member.unwrap_or_default().user_id;
    ensure!(back == user_id, "'{user_id}' was registered, but '{back}' is read back");
    if let Some(cell) = &args.cell
        && (written.cell != *cell || read.cell != *cell)
    {
        bail!("written in {} and read in {}, not in {cell}", written.cell, read.cell);
    }
    Ok(if as_json {
        let value = |served: &Served| json!({"cell": served.cell, "hops": served.hops});
        json!({"user_id": user_id, "written": value(&written), "read": value(&read)}).to_string()
    } else {
        let (Served { cell, hops }, Served { cell: other, hops: more }) = (written, read);
        format!("{user_id} registered in {cell} with {hops} hops, read back in {other} with {more} hops")
    })
}

fn refused(method: &str, status: &Status) -> anyhow::Error {
    anyhow::anyhow!("{method} answers {:?}: {}", status.code(), status.message())
}
