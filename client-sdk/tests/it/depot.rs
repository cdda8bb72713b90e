//! The proto of the tests as generated code would have it.

use cell_map::KeyError;
use client_sdk::{
    Call, Idempotency, Key, Mesh, Method, MethodPolicy, Scope, Slot, StreamCall, generated::CanonicalKey,
};

/// Names a user.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Ask {
    #[prost(string, tag = "1")]
    pub user: String,
    #[prost(string, tag = "2")]
    pub text: String,
}

/// Names nobody.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Plain {
    #[prost(string, tag = "1")]
    pub text: String,
}

/// What comes back.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Echo {
    #[prost(string, tag = "1")]
    pub text: String,
}

macro_rules! methods {
    ($($name:ident($request:ty) = $policy:expr, $key:expr;)*) => {$(
        pub struct $name;

        impl Method for $name {
            type Request = $request;
            type Response = Echo;
            const POLICY: MethodPolicy = $policy;

            fn key(request: &$request) -> Result<Key<'_>, KeyError> {
                let key: fn(&$request) -> Result<Key<'_>, KeyError> = $key;
                key(request)
            }
        }
    )*};
}

const READS: Idempotency = Idempotency::NoSideEffects;

methods! {
    Get(Ask) = MethodPolicy::new("/depot.v1.Depot/Get", Scope::User).side_effects(READS),
        |ask| CanonicalKey::borrowed(ask.user.as_bytes());
    Put(Ask) = MethodPolicy::new("/depot.v1.Depot/Put", Scope::User).max_request_bytes(200_000),
        |ask| CanonicalKey::borrowed(ask.user.as_bytes());
    Follow(Ask) = MethodPolicy::new("/depot.v1.Depot/Follow", Scope::User).side_effects(READS),
        |ask| CanonicalKey::borrowed(ask.user.as_bytes());
    Note(Plain) = MethodPolicy::new("/depot.v1.Depot/Note", Scope::User), |_| Ok(None);
    Count(Plain) = MethodPolicy::new("/depot.v1.Depot/Count", Scope::Replicated).side_effects(READS), |_| Ok(None);
    Publish(Plain) = MethodPolicy::new("/depot.v1.Depot/Publish", Scope::Global), |_| Ok(None);
}

/// The generated client, as it would be.
#[derive(Clone)]
pub struct Depot {
    mesh: Mesh,
    get: Slot<Get>,
    put: Slot<Put>,
    follow: Slot<Follow>,
    note: Slot<Note>,
    count: Slot<Count>,
    publish: Slot<Publish>,
}

impl Depot {
    pub fn new(mesh: &Mesh) -> Self {
        Self {
            get: Slot::of(mesh),
            put: Slot::of(mesh),
            follow: Slot::of(mesh),
            note: Slot::of(mesh),
            count: Slot::of(mesh),
            publish: Slot::of(mesh),
            mesh: mesh.clone(),
        }
    }

    pub fn get(&self, user: &str) -> Call<'_, Get> {
        Call::new(&self.mesh, &self.get, Ask { user: user.to_owned(), text: String::new() })
    }

    pub fn put(&self, user: &str) -> Call<'_, Put> {
        self.put_text(user, String::new())
    }

    pub fn put_text(&self, user: &str, text: String) -> Call<'_, Put> {
        Call::new(&self.mesh, &self.put, Ask { user: user.to_owned(), text })
    }

    pub fn follow(&self, user: &str) -> StreamCall<'_, Follow> {
        StreamCall::new(&self.mesh, &self.follow, Ask { user: user.to_owned(), text: String::new() })
    }

    pub fn note(&self) -> Call<'_, Note> {
        Call::new(&self.mesh, &self.note, Plain::default())
    }

    pub fn count(&self) -> Call<'_, Count> {
        Call::new(&self.mesh, &self.count, Plain::default())
    }

    pub fn publish(&self) -> Call<'_, Publish> {
        Call::new(&self.mesh, &self.publish, Plain::default())
    }
}
