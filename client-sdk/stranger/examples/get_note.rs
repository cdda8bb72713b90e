//! Asks the home of user 7 for a note: `get_note ROUTER`; the demo's is 127.0.0.1:7000.
use acme_notes::{GetNoteRequest, NoteServiceClient, Owner};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let router = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7000".to_owned());
    let mesh = client_sdk::Mesh::builder().seeds([router]).build()?;
    mesh.ready().await?;
    let notes = NoteServiceClient::new(&mesh);
    let request = GetNoteRequest { owner: Some(Owner { number: 7 }), note_id: "first".to_owned() };
    let reply = notes.get_note(request).await?;
    println!("{} ({:?})", reply.value.text, reply.source);
    Ok(())
}
