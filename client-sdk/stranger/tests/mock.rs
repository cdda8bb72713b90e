//! A caller's own test, without a mesh.

use acme_notes::{GetNoteRequest, GetNoteResponse, NoteServiceClient, NoteServiceMock, Owner, WatchNotesRequest};
use client_sdk::{Code, mock::messages};

#[tokio::test]
async fn a_note_is_got() {
    let mock = NoteServiceMock::new();
    mock.on_get_note(|request| Ok(GetNoteResponse { text: format!("note {}", request.note_id) }));
    mock.on_watch_notes(|_| Ok(messages([])));
    let notes = NoteServiceClient::new(&mock.mesh());
    let owner = Some(Owner { number: 7 });
    let reply = notes.get_note(GetNoteRequest { owner, note_id: "first".to_owned() }).await.unwrap();
    assert_eq!(reply.value.text, "note first");
    assert!(notes.watch_notes(WatchNotesRequest { owner }).await.unwrap().message().await.unwrap().is_none());
    let error = notes.batch_get_notes(Default::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    assert_eq!(mock.requests_of_get_note().len(), 1);
}
