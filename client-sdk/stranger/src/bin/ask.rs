//! Asks for notes and says who answered: `ask ROUTER`, then a line `OWNER NOTE` on standard input for each note.

use acme_notes::{GetNoteRequest, NoteServiceClient, Owner};
use client_sdk::Source;
use std::io::stdin;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let router = std::env::args().nth(1).ok_or("ask ROUTER")?;
    let mesh = client_sdk::Mesh::builder().seeds([router]).build()?;
    mesh.ready().await?;
    let notes = NoteServiceClient::new(&mesh);
    for line in stdin().lines() {
        let line = line?;
        let (number, note) = line.split_once(' ').ok_or("a line is OWNER NOTE")?;
        let request = GetNoteRequest { owner: Some(Owner { number: number.parse()? }), note_id: note.to_owned() };
        match notes.get_note(request).await {
            Err(error) => println!("{error}"),
            Ok(reply) => match reply.source {
                Source::Remote { cell, attempts, hops, .. } => {
                    let cell = cell.map_or_else(String::new, |cell| cell.to_string());
                    println!("{}; cell {cell}, hops {hops}, attempts {attempts}", reply.value.text);
                }
                source => println!("{}; {source:?}", reply.value.text),
            },
        }
    }
    Ok(())
}
