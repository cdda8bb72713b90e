//! Compiles `proto/shop` with protox, so that building needs no protoc.

use prost::Message as _;
use std::{env, error::Error, fs, path::PathBuf};

const FILES: [&str; 6] = [
    "shop/campaign/v1/campaign.proto",
    "shop/catalog/v1/catalog.proto",
    "shop/follow/v1/follow.proto",
    "shop/member/v1/member.proto",
    "shop/trade/v1/pricing.proto",
    "shop/trade/v1/trade.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    for used in ["shop", "cellmesh/policy"] {
        println!("cargo::rerun-if-changed={}", root.join(used).display());
    }

    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;

    // Encoded by protox itself: a set that passed through prost's own descriptor types has lost every custom option.
    let bytes = compiler.encode_file_descriptor_set();
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("shop.binpb"), &bytes)?;

    let mut set = prost_types::FileDescriptorSet::decode(&*bytes)?;
    set.file.retain(|file| file.name().starts_with("shop/"));
    tonic_prost_build::configure().include_file("shop.rs").compile_fds(set)?;
    Ok(())
}
