//! Protos that tests write.

use client_sdk_build::{Builder, Error};
use std::fs;
use tempfile::TempDir;

/// A directory of protos, and one for what is generated.
pub struct Protos {
    protos: TempDir,
    pub out: TempDir,
}

impl Protos {
    pub fn new(files: &[(&str, &str)]) -> Self {
        let protos = Self { protos: TempDir::new().unwrap(), out: TempDir::new().unwrap() };
        for (name, text) in files {
            let path = protos.protos.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        protos
    }

    pub fn builder(&self) -> Builder {
        Builder::new().include(self.protos.path()).out_dir(self.out.path())
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.out.path().join(name)).unwrap()
    }
}

/// Generates from a file `t.proto` of package `t` with this body.
pub fn compile(body: &str) -> Result<(), Error> {
    let head = "syntax = \"proto3\"; package t; import \"cellmesh/policy/v1/policy.proto\";";
    Protos::new(&[("t.proto", &format!("{head}\n{body}"))]).builder().compile(["t.proto"])
}
