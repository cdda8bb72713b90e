//! Compiles the protos of the lab's own services.

use prost::Message as _;
use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let (own, mesh) = (root.join("proto"), root.join("../proto"));
    println!("cargo::rerun-if-changed={}", own.display());
    println!("cargo::rerun-if-changed={}", mesh.display());

    let mut compiler = protox::Compiler::new([own, mesh])?;
    compiler.include_imports(true).include_source_info(true).open_file("lab/split/v1/split.proto")?;
    // Encoded by protox itself: prost's own descriptor types drop the custom options.
    let bytes = compiler.encode_file_descriptor_set();
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("split.binpb"), &bytes)?;

    let mut set = prost_types::FileDescriptorSet::decode(&*bytes)?;
    set.file.retain(|file| ["lab/", "shop/"].iter().any(|ours| file.name().starts_with(ours)));
    // The shop's messages must be known, and are in `shop-proto`.
    set.file.iter_mut().filter(|file| file.name().starts_with("shop/")).for_each(|file| file.service.clear());
    let mut builder = tonic_prost_build::configure();
    for service in ["member", "trade"] {
        builder = builder.extern_path(format!(".shop.{service}.v1"), format!("::shop_proto::{service}_v1"));
    }
    builder.include_file("lab.rs").compile_fds(set)?;
    Ok(())
}
