//! Generates messages, client, mock and tonic's server.

fn main() -> Result<(), client_sdk_build::Error> {
    client_sdk_build::Builder::new().include("proto").tonic_server(true).compile(["acme/notes/v1/notes.proto"])
}
