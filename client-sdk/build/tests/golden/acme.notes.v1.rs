/// Client of `acme.notes.v1.NoteService`, through a mesh.
///
/// Notes of a user.
#[allow(rustdoc::all)]
#[derive(Clone, Debug)]
pub struct NoteServiceClient {
    mesh_: ::client_sdk::Mesh,
    get_note: ::client_sdk::Slot<note_service_methods::GetNote>,
    batch_get_notes: ::client_sdk::Slot<note_service_methods::BatchGetNotes>,
    watch_notes: ::client_sdk::Slot<note_service_methods::WatchNotes>,
}
#[allow(clippy::all, clippy::pedantic, rustdoc::all)]
impl NoteServiceClient {
    /// gRPC service config of the service, as JSON, for clients in other languages.
    pub const SERVICE_CONFIG: &'static str = include_str!(
        "acme.notes.v1.NoteService.service_config.json"
    );
    /// A client that calls through this mesh.
    #[must_use]
    pub fn new(mesh: &::client_sdk::Mesh) -> Self {
        Self {
            get_note: ::client_sdk::Slot::of(mesh),
            batch_get_notes: ::client_sdk::Slot::of(mesh),
            watch_notes: ::client_sdk::Slot::of(mesh),
            mesh_: mesh.clone(),
        }
    }
    /// One note. NOT_FOUND if there is none.
    pub fn get_note(
        &self,
        request: GetNoteRequest,
    ) -> ::client_sdk::Call<'_, note_service_methods::GetNote> {
        ::client_sdk::Call::new(&self.mesh_, &self.get_note, request)
    }
    /// Calls `acme.notes.v1.NoteService/BatchGetNotes`.
    pub fn batch_get_notes(
        &self,
        request: BatchGetNotesRequest,
    ) -> ::client_sdk::Call<'_, note_service_methods::BatchGetNotes> {
        ::client_sdk::Call::new(&self.mesh_, &self.batch_get_notes, request)
    }
    /// Each note from now on.
    pub fn watch_notes(
        &self,
        request: WatchNotesRequest,
    ) -> ::client_sdk::StreamCall<'_, note_service_methods::WatchNotes> {
        ::client_sdk::StreamCall::new(&self.mesh_, &self.watch_notes, request)
    }
}
/// The methods of `acme.notes.v1.NoteService`, as types.
#[allow(non_camel_case_types)]
pub mod note_service_methods {
    /// `/acme.notes.v1.NoteService/GetNote`.
    #[derive(Debug)]
    pub enum GetNote {}
    /// `/acme.notes.v1.NoteService/BatchGetNotes`.
    #[derive(Debug)]
    pub enum BatchGetNotes {}
    /// `/acme.notes.v1.NoteService/WatchNotes`.
    #[derive(Debug)]
    pub enum WatchNotes {}
}
#[allow(deprecated, clippy::all, clippy::pedantic)]
impl ::client_sdk::Method for note_service_methods::GetNote {
    type Request = GetNoteRequest;
    type Response = GetNoteResponse;
    const POLICY: ::client_sdk::MethodPolicy = ::client_sdk::MethodPolicy::new(
            "/acme.notes.v1.NoteService/GetNote",
            ::client_sdk::Scope::User,
        )
        .side_effects(::client_sdk::Idempotency::NoSideEffects)
        .default_deadline_ms(2000)
        .batch("/acme.notes.v1.NoteService/BatchGetNotes", 100);
    const BATCH: ::core::option::Option<::client_sdk::BatchGlue<Self>> = {
        use ::client_sdk::generated::{Answer, Gather, Item, ItemStatus};
        const GATHER: Gather = Gather {
            items: 2,
            item: Item::Field {
                number: 2,
                absent: &[18, 0],
            },
            shared: &[(1, 1)],
            results: 1,
            status: ItemStatus::Code {
                code: 3,
                message: Some(4),
            },
            answer: Answer::Fields(&[(1, 2)]),
        };
        Some(::client_sdk::BatchGlue {
            policy: &<note_service_methods::BatchGetNotes as ::client_sdk::Method>::POLICY,
            joins: |a, b| a.owner == b.owner,
            request: |requests| GATHER.request(requests),
            responses: |batch| GATHER.responses(batch),
        })
    };
    fn key(
        request: &Self::Request,
    ) -> ::core::result::Result<::client_sdk::Key<'_>, ::client_sdk::KeyError> {
        let Some(owner) = &request.owner else { return Ok(None) };
        ::client_sdk::generated::key(&owner.number)
    }
}
#[allow(deprecated, clippy::all, clippy::pedantic)]
impl ::client_sdk::Method for note_service_methods::BatchGetNotes {
    type Request = BatchGetNotesRequest;
    type Response = BatchGetNotesResponse;
    const POLICY: ::client_sdk::MethodPolicy = ::client_sdk::MethodPolicy::new(
            "/acme.notes.v1.NoteService/BatchGetNotes",
            ::client_sdk::Scope::User,
        )
        .side_effects(::client_sdk::Idempotency::NoSideEffects);
    fn key(
        request: &Self::Request,
    ) -> ::core::result::Result<::client_sdk::Key<'_>, ::client_sdk::KeyError> {
        let Some(owner) = &request.owner else { return Ok(None) };
        ::client_sdk::generated::key(&owner.number)
    }
}
#[allow(deprecated, clippy::all, clippy::pedantic)]
impl ::client_sdk::Method for note_service_methods::WatchNotes {
    type Request = WatchNotesRequest;
    type Response = WatchNotesResponse;
    const POLICY: ::client_sdk::MethodPolicy = ::client_sdk::MethodPolicy::new(
        "/acme.notes.v1.NoteService/WatchNotes",
        ::client_sdk::Scope::User,
    );
    fn key(
        request: &Self::Request,
    ) -> ::core::result::Result<::client_sdk::Key<'_>, ::client_sdk::KeyError> {
        let Some(owner) = &request.owner else { return Ok(None) };
        ::client_sdk::generated::key(&owner.number)
    }
}
/// Stands in for `acme.notes.v1.NoteService` in tests of its callers.
///
/// A method that has got no answer answers UNIMPLEMENTED. Clones are one mock.
#[derive(Clone, Debug, Default)]
pub struct NoteServiceMock(::client_sdk::mock::MockMesh);
#[allow(clippy::all, clippy::pedantic)]
impl NoteServiceMock {
    /// A mock in a mesh of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// A mock in a mesh that has others too.
    #[must_use]
    pub fn within(mesh: &::client_sdk::mock::MockMesh) -> Self {
        Self(mesh.clone())
    }
    /// The mesh, for clients.
    #[must_use]
    pub fn mesh(&self) -> ::client_sdk::Mesh {
        self.0.mesh()
    }
    /// What `GetNote` answers from now on.
    pub fn on_get_note(
        &self,
        answer: impl Fn(
            GetNoteRequest,
        ) -> ::core::result::Result<
                GetNoteResponse,
                ::client_sdk::Error,
            > + Send + Sync + 'static,
    ) {
        self.0.answer::<note_service_methods::GetNote>(answer);
    }
    /// The requests of `GetNote` so far.
    #[must_use]
    pub fn requests_of_get_note(&self) -> ::std::vec::Vec<GetNoteRequest> {
        self.0.requests::<note_service_methods::GetNote>()
    }
    /// What `BatchGetNotes` answers from now on.
    pub fn on_batch_get_notes(
        &self,
        answer: impl Fn(
            BatchGetNotesRequest,
        ) -> ::core::result::Result<
                BatchGetNotesResponse,
                ::client_sdk::Error,
            > + Send + Sync + 'static,
    ) {
        self.0.answer::<note_service_methods::BatchGetNotes>(answer);
    }
    /// The requests of `BatchGetNotes` so far.
    #[must_use]
    pub fn requests_of_batch_get_notes(&self) -> ::std::vec::Vec<BatchGetNotesRequest> {
        self.0.requests::<note_service_methods::BatchGetNotes>()
    }
    /// What `WatchNotes` answers from now on.
    pub fn on_watch_notes<S>(
        &self,
        answer: impl Fn(
            WatchNotesRequest,
        ) -> ::core::result::Result<S, ::client_sdk::Error> + Send + Sync + 'static,
    )
    where
        S: ::client_sdk::generated::Stream<
                Item = ::core::result::Result<WatchNotesResponse, ::client_sdk::Error>,
            > + Send + 'static,
    {
        self.0.answer_stream::<note_service_methods::WatchNotes, S>(answer);
    }
    /// The requests of `WatchNotes` so far.
    #[must_use]
    pub fn requests_of_watch_notes(&self) -> ::std::vec::Vec<WatchNotesRequest> {
        self.0.requests::<note_service_methods::WatchNotes>()
    }
}
/// All files that this code was generated of, as an encoded `google.protobuf.FileDescriptorSet` with every
/// custom option: what routers and reflection take.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("descriptors.binpb");
