//! From .proto files to a descriptor set.

use crate::Error;
use protox::{
    Compiler,
    file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver},
};
use std::path::{Path, PathBuf};

const POLICY: &str = "cellmesh/policy/v1/policy.proto";
const POLICY_SOURCE: &str = include_str!("../../../proto/cellmesh/policy/v1/policy.proto");

/// Compiled files.
pub(crate) struct Sources {
    /// The encoded descriptor set of all files, imports and comments included.
    pub(crate) set: Vec<u8>,
    /// Names of the files that were asked for, without their imports.
    pub(crate) roots: Vec<String>,
    /// Where all of them were read.
    pub(crate) paths: Vec<PathBuf>,
}

/// Compiles files, which are named as seen from an include directory or from here.
pub(crate) fn compile(includes: &[PathBuf], files: &[PathBuf]) -> Result<Sources, Error> {
    let mut resolver = ChainFileResolver::new();
    for include in includes {
        resolver.add(IncludeFileResolver::new(include.clone()));
    }
    resolver.add(GoogleFileResolver::new());
    resolver.add(Embedded);
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).include_source_info(true);
    for file in files {
        compiler.open_file(file).map_err(Error::Proto)?;
    }
    Ok(Sources {
        // Encoded by protox itself: a set that passed through prost's own descriptor types has lost every custom option.
        set: compiler.encode_file_descriptor_set(),
        roots: compiler.files().filter(|file| !file.is_import()).map(|file| file.name().to_owned()).collect(),
        paths: compiler.files().filter_map(|file| file.path().map(Path::to_owned)).collect(),
    })
}

/// The mesh's own options: nobody needs a copy of the file, but who has one uses his.
struct Embedded;

impl FileResolver for Embedded {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match name {
            POLICY => File::from_source(name, POLICY_SOURCE),
            _ => Err(protox::Error::file_not_found(name)),
        }
    }
}
