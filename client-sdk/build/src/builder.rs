//! What a build script says.

use crate::{
    Error,
    output::{self, Output},
    sources,
};
use proc_macro2::TokenStream;
use prost_build::Config;
use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// What to generate.
#[derive(Default)]
pub struct Builder {
    includes: Vec<PathBuf>,
    out_dir: Option<PathBuf>,
    options: Options,
}

/// What matters to the generated code.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) extern_paths: Vec<(String, String)>,
    pub(crate) tonic_server: bool,
    pub(crate) tonic_client: bool,
    pub(crate) configure: Vec<Configure>,
}

type Configure = Box<dyn FnOnce(&mut Config)>;

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("includes", &self.includes)
            .field("out_dir", &self.out_dir)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// Messages and typed clients, into `OUT_DIR`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A directory that names of files and imports start from; the first one that has a file counts. Without any it is the
    /// package's own. `cellmesh/policy/v1/policy.proto` and `google/protobuf/*.proto` are found in any case.
    #[must_use]
    pub fn include(mut self, directory: impl Into<PathBuf>) -> Self {
        self.includes.push(directory.into());
        self
    }

    /// The Rust types of a protobuf package, or of one message, exist already: `messages_at(".shop.member.v1",
    /// "::shop_proto::member_v1")`. prost's `extern_path`.
    #[must_use]
    pub fn messages_at(mut self, proto_path: impl Into<String>, rust_path: impl Into<String>) -> Self {
        self.options.extern_paths.push((proto_path.into(), rust_path.into()));
        self
    }

    /// Whether to generate tonic's server traits too. They need `tonic` and `tonic-prost` as dependencies.
    #[must_use]
    pub fn tonic_server(mut self, enable: bool) -> Self {
        self.options.tonic_server = enable;
        self
    }

    /// Whether to generate tonic's clients too, in modules of their own. They need `tonic` and `tonic-prost` as
    /// dependencies.
    #[must_use]
    pub fn tonic_client(mut self, enable: bool) -> Self {
        self.options.tonic_client = enable;
        self
    }

    /// Changes how prost generates messages: attributes, `bytes`, `btree_map`.
    #[must_use]
    pub fn configure_messages(mut self, configure: impl FnOnce(&mut Config) + 'static) -> Self {
        self.options.configure.push(Box::new(configure));
        self
    }

    /// Where the generated files go, instead of `OUT_DIR`.
    #[must_use]
    pub fn out_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.out_dir = Some(directory.into());
        self
    }

    /// Compiles .proto files and generates code: messages of them and of all that they import, clients of their own
    /// services.
    ///
    /// # Errors
    /// All faults of the policies, each naming file, method and option; or what else stood in the way.
    pub fn compile(mut self, files: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<(), Error> {
        if self.includes.is_empty() {
            self.includes.push(PathBuf::from("."));
        }
        let files: Vec<_> = files.into_iter().map(|file| file.as_ref().to_owned()).collect();
        let sources = sources::compile(&self.includes, &files)?;
        for path in &sources.paths {
            println!("cargo::rerun-if-changed={}", path.display());
        }
        self.generate(&sources.set, Some(&sources.roots))
    }

    /// The same from an encoded `google.protobuf.FileDescriptorSet` that was made elsewhere, with imports (`buf build -o`,
    /// `protoc --include_imports --include_source_info -o`): clients of all services in it.
    ///
    /// # Errors
    /// As [`Self::compile`], and if it is no descriptor set.
    pub fn compile_descriptor_set(self, set: &[u8]) -> Result<(), Error> {
        self.generate(set, None)
    }

    fn generate(self, set: &[u8], roots: Option<&[String]>) -> Result<(), Error> {
        check_paths(&self.options.extern_paths)?;
        let out_dir = self.out_dir.or_else(|| env::var_os("OUT_DIR").map(PathBuf::from)).ok_or_else(|| {
            Error::Option("OUT_DIR is not set: this is for build scripts, or for callers of out_dir".to_owned())
        })?;
        let Output { files, warnings } = output::generate(set, roots, self.options)?;
        for warning in warnings {
            println!("cargo::warning={warning}");
        }
        for (name, content) in files {
            write(&out_dir.join(name), &content)?;
        }
        Ok(())
    }
}

fn check_paths(paths: &[(String, String)]) -> Result<(), Error> {
    for (proto, rust) in paths {
        if !proto.starts_with('.') {
            return Err(Error::Option(format!("messages_at: {proto:?} has no dot in front, like \".acme.notes.v1\"")));
        }
        let absolute = rust.starts_with("::") || rust.starts_with("crate::");
        if !absolute || rust.parse::<TokenStream>().is_err() {
            return Err(Error::Option(format!(
                "messages_at: {rust:?} is no path that starts with \"::\" or \"crate::\""
            )));
        }
    }
    Ok(())
}

/// Leaves a file alone that says the same already: cargo builds again what is younger.
fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    fs::write(path, content).map_err(|source| Error::Io { path: path.to_owned(), source })
}
