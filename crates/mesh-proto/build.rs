//! Compiles `proto/cellmesh` with protox, so that building needs no protoc.

use prost::Message as _;
use std::{env, error::Error, fs, path::PathBuf};

const FILES: [&str; 4] =
    ["cellmesh/control/v1/control.proto", MAP_ADMIN, "cellmesh/map/v1/map.proto", "cellmesh/policy/v1/policy.proto"];

/// What routers route, as they do the services of others.
const MAP_ADMIN: &str = "cellmesh/control/v1/map_admin.proto";

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.join("cellmesh").display());

    let out = PathBuf::from(env::var("OUT_DIR")?);
    let compile = |files: &[&str]| -> Result<Vec<u8>, Box<dyn Error>> {
        let mut compiler = protox::Compiler::new([&root])?;
        compiler.include_imports(true).include_source_info(true).open_files(files)?;
        // Encoded by protox itself: a set that passed through prost's own descriptor types has lost every custom option.
        Ok(compiler.encode_file_descriptor_set())
    };
    let bytes = compile(&FILES)?;
    fs::write(out.join("cellmesh.binpb"), &bytes)?;
    fs::write(out.join("map_admin.binpb"), compile(&[MAP_ADMIN])?)?;

    let mut set = prost_types::FileDescriptorSet::decode(&*bytes)?;
    set.file.retain(|file| file.name().starts_with("cellmesh/"));
    tonic_prost_build::configure().include_file("cellmesh.rs").compile_fds(set)?;
    Ok(())
}
