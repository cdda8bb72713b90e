//! Generates typed clients over the messages of `shop-proto`.

const SERVICES: [&str; 5] = ["campaign", "catalog", "follow", "member", "trade"];

fn main() -> Result<(), client_sdk_build::Error> {
    let mut builder = client_sdk_build::Builder::new();
    builder = builder.include("../../proto");
    for service in SERVICES {
        builder = builder.messages_at(format!(".shop.{service}.v1"), format!("::shop_proto::{service}_v1"));
    }
    let files = SERVICES.map(|service| format!("shop/{service}/v1/{service}.proto"));
    builder.compile(files.into_iter().chain(["shop/trade/v1/pricing.proto".to_owned()]))
}
