//! Serves notes that say where they are: `serve ADDRESS NAME`. A router of the cell sends calls here; see the README.

use acme_notes::{note_service_server::*, *};
use std::{env, pin::Pin};
use tonic::{Request, Response, Status, codegen::tokio_stream::Stream};

/// The place's name.
struct Notes(String);

impl Notes {
    fn text(&self, owner: Option<&Owner>, note: &str) -> String {
        format!("note {note} of {} in {}", owner.map_or(0, |owner| owner.number), self.0)
    }
}

#[tonic::async_trait]
impl NoteService for Notes {
    async fn get_note(&self, request: Request<GetNoteRequest>) -> Result<Response<GetNoteResponse>, Status> {
        let GetNoteRequest { owner, note_id } = request.into_inner();
        Ok(Response::new(GetNoteResponse { text: self.text(owner.as_ref(), &note_id) }))
    }

    async fn batch_get_notes(
        &self,
        request: Request<BatchGetNotesRequest>,
    ) -> Result<Response<BatchGetNotesResponse>, Status> {
        let BatchGetNotesRequest { owner, note_ids } = request.into_inner();
        let result = |note_id: String| {
            let text = self.text(owner.as_ref(), &note_id);
            NoteResult { note_id, text, ..NoteResult::default() }
        };
        Ok(Response::new(BatchGetNotesResponse { results: note_ids.into_iter().map(result).collect() }))
    }

    type WatchNotesStream = Pin<Box<dyn Stream<Item = Result<WatchNotesResponse, Status>> + Send>>;

    async fn watch_notes(
        &self,
        request: Request<WatchNotesRequest>,
    ) -> Result<Response<Self::WatchNotesStream>, Status> {
        let owner = request.into_inner().owner;
        let notes = ["first", "second"]
            .map(|note| Ok(WatchNotesResponse { note_id: note.to_owned(), text: self.text(owner.as_ref(), note) }));
        Ok(Response::new(Box::pin(tonic::codegen::tokio_stream::iter(notes))))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(address), Some(name)) = (arguments.next(), arguments.next()) else {
        return Err("serve ADDRESS NAME".into());
    };
    let service = NoteServiceServer::new(Notes(name));
    Ok(tonic::transport::Server::builder().add_service(service).serve(address.parse()?).await?)
}
