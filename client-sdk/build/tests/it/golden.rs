//! What generated code looks like. `UPDATE_GOLDEN=1 cargo test -p client-sdk-build` writes it anew.

use crate::{NOTES, protos::Protos};
use std::{env, fs, path::PathBuf};

#[test]
fn generated_code_is_as_reviewed() {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let protos = Protos::new(&[("acme/notes/v1/notes.proto", NOTES)]);
    protos.builder().compile(["acme/notes/v1/notes.proto"]).unwrap();
    for file in ["acme.notes.v1.rs", "acme.notes.v1.NoteService.service_config.json"] {
        let generated = protos.read(file);
        // The messages before it are prost's.
        let generated = generated.split_at(generated.find("/// Client of").unwrap_or_default()).1.to_owned();
        let path = golden.join(file);
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &generated).unwrap();
        }
        let reviewed = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(generated, reviewed, "{}", path.display());
    }
}

#[test]
fn a_method_without_a_policy_is_left_out_and_its_service_too_if_none_has_one() {
    let text = "syntax = \"proto3\"; package a; import \"cellmesh/policy/v1/policy.proto\"; message A {}
         service Some {
           rpc Bare(A) returns (A);
           rpc Routed(A) returns (A) { option (cellmesh.policy.v1.policy) = {scope: SCOPE_LOCAL}; }
         }
         service None { rpc Bare(A) returns (A); }";
    let protos = Protos::new(&[("a.proto", text)]);
    protos.builder().compile(["a.proto"]).unwrap();
    let source = protos.read("a.rs");
    assert!(source.contains("/// Without `Bare`: it has no policy."), "{source}");
    assert!(source.contains("pub fn routed(") && !source.contains("pub fn bare(") && !source.contains("NoneClient"));
}

#[test]
fn what_says_the_same_is_not_written_again() {
    let protos = Protos::new(&[("a.proto", "syntax = \"proto3\"; package a; message A { string a = 1; }")]);
    protos.builder().compile(["a.proto"]).unwrap();
    let path = protos.out.path().join("a.rs");
    let written = fs::metadata(&path).unwrap().modified().unwrap();
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(written - std::time::Duration::from_secs(9))
        .unwrap();
    let old = fs::metadata(&path).unwrap().modified().unwrap();
    protos.builder().compile(["a.proto"]).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), old);
}

#[test]
fn packages_are_modules_within_modules() {
    let file =
        |package: &str, message: &str| format!("syntax = \"proto3\"; {package} message {message} {{ string a = 1; }}");
    let protos = Protos::new(&[
        ("a.proto", &file("package acme.type.v1;", "A")),
        ("b.proto", &file("package acme.type;", "B")),
        ("c.proto", &file("", "C")),
    ]);
    protos.builder().compile(["a.proto", "b.proto", "c.proto"]).unwrap();
    let want = "include!(\"_.rs\");\n#[allow(missing_docs, clippy::pedantic)]\npub mod acme {\n    #[allow(missing_docs, clippy::pedantic)]\n    pub mod r#type {\n        \
                include!(\"acme.type.rs\");\n        #[allow(missing_docs, clippy::pedantic)]\n        pub mod v1 {\n            \
                include!(\"acme.type.v1.rs\");\n        }\n    }\n}\n";
    assert_eq!(protos.read("protos.rs"), want);
}
