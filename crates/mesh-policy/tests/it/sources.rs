//! Compiling .proto text while a test runs.

use mesh_policy::{PolicyErrors, PolicyTable};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver};
use std::path::{Path, PathBuf};

struct Sources(Vec<(String, String)>);

impl FileResolver for Sources {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.0.iter().find(|(known, _)| known == name) {
            Some((_, text)) => File::from_source(name, text),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

/// The descriptor set of files given as (name, text); they may import the mesh's own.
pub fn compile(files: &[(&str, &str)]) -> Vec<u8> {
    let mut resolver = ChainFileResolver::new();
    resolver.add(Sources(files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()));
    resolver.add(IncludeFileResolver::new(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto")));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_files(files.iter().map(|(name, _)| name)).expect("the test's proto is valid");
    compiler.encode_file_descriptor_set()
}

/// The descriptor set of files in `proto/`.
pub fn compile_own(files: &[impl AsRef<Path>]) -> Vec<u8> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let mut compiler = protox::Compiler::new([root]).unwrap();
    compiler.include_imports(true).include_source_info(true).open_files(files).expect("our protos are valid");
    compiler.encode_file_descriptor_set()
}

/// A file `t.proto` of package `t` with this body.
pub fn set(body: &str) -> Vec<u8> {
    let head = "syntax = \"proto3\"; package t; import \"cellmesh/policy/v1/policy.proto\";";
    compile(&[("t.proto", &format!("{head}\n{body}"))])
}

/// The table of [`set`].
pub fn table(body: &str) -> Result<PolicyTable, PolicyErrors> {
    PolicyTable::from_descriptor_sets([&*set(body)])
}
