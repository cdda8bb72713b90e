//! Taking in what `client-sdk-build` generated.

/// The generated code of one protobuf package, into the module where this stands.
///
/// ```ignore
/// mod notes {
///     client_sdk::include_proto!("acme.notes.v1");
/// }
/// ```
/// Packages whose messages use each other's need [`include_protos!`](crate::include_protos).
#[macro_export]
macro_rules! include_proto {
    ($package:literal) => {
        include!(concat!(env!("OUT_DIR"), "/", $package, ".rs"));
    };
}

/// The generated code of all packages, in modules named and nested like them: `acme::notes::v1`.
#[macro_export]
macro_rules! include_protos {
    () => {
        include!(concat!(env!("OUT_DIR"), "/protos.rs"));
    };
}
