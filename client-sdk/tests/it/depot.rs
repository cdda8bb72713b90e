//! The proto of the tests as generated code would have it.

use cell_map::KeyError;
use client_sdk::{
    BatchGlue, Call, Idempotency, ItemError, Key, Mesh, Method, MethodPolicy, Scope, Slot, SplitGlue, StreamCall,
    generated::CanonicalKey,
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

/// Several users, each with a text.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BatchGetRequest {
    #[prost(string, repeated, tag = "1")]
    pub users: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub texts: Vec<String>,
}

/// What comes back for each.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BatchGetResponse {
    #[prost(message, repeated, tag = "1")]
    pub results: Vec<ItemResult>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ItemResult {
    #[prost(message, optional, tag = "1")]
    pub echo: Option<Echo>,
    #[prost(int32, tag = "2")]
    pub code: i32,
    #[prost(string, tag = "3")]
    pub message: String,
}

macro_rules! methods {
    ($($name:ident($request:ty) = $policy:expr, $key:expr $(, $batch:expr)?;)*) => {$(
        pub struct $name;

        impl Method for $name {
            type Request = $request;
            type Response = Echo;
            const POLICY: MethodPolicy = $policy;
            $(const BATCH: Option<BatchGlue<Self>> = Some($batch);)?

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
    Load(Ask) = MethodPolicy::new("/depot.v1.Depot/Load", Scope::User).side_effects(READS).batch(BATCH_LOAD.path, 100),
        |ask| CanonicalKey::borrowed(ask.user.as_bytes()),
        BatchGlue { policy: &BATCH_LOAD, joins: |_, _| true, request: together, responses: apart };
    Note(Plain) = MethodPolicy::new("/depot.v1.Depot/Note", Scope::User), |_| Ok(None);
    Count(Plain) = MethodPolicy::new("/depot.v1.Depot/Count", Scope::Replicated).side_effects(READS), |_| Ok(None);
    Publish(Plain) = MethodPolicy::new("/depot.v1.Depot/Publish", Scope::Global), |_| Ok(None);
}

const BATCH_LOAD: MethodPolicy = MethodPolicy::new("/depot.v1.Depot/BatchLoad", Scope::User).side_effects(READS);

fn together(asks: &[&[u8]]) -> Vec<u8> {
    let asks = asks.iter().map(|ask| <Ask as prost::Message>::decode(*ask).expect("as it was encoded"));
    let (users, texts) = asks.map(|ask| (ask.user, ask.text)).unzip();
    prost::Message::encode_to_vec(&BatchGetRequest { users, texts })
}

fn apart(message: &[u8]) -> Result<Vec<Result<Echo, ItemError>>, prost::DecodeError> {
    let results = <BatchGetResponse as prost::Message>::decode(message)?.results.into_iter();
    Ok(results.map(|result| result.echo.ok_or((result.code, result.message))).collect())
}

pub struct BatchLoad;

impl Method for BatchLoad {
    type Request = BatchGetRequest;
    type Response = BatchGetResponse;
    const POLICY: MethodPolicy = BATCH_LOAD;
    const SPLIT: Option<SplitGlue<Self>> = Some(SplitGlue {
        max: 100,
        keys: |request, each| request.users.iter().for_each(|user| each(CanonicalKey::borrowed(user.as_bytes()))),
        select: |request, positions| BatchGetRequest {
            users: positions.iter().map(|position| request.users[*position].clone()).collect(),
            texts: positions.iter().map(|position| request.texts[*position].clone()).collect(),
        },
        merge: |whole, parts| {
            let mut results = vec![ItemResult::default(); whole.users.len()];
            for (positions, part) in parts {
                let failed =
                    |(code, message): ItemError| vec![ItemResult { echo: None, code, message }; positions.len()];
                let part = part.map_or_else(failed, |part| part.results);
                positions.iter().zip(part).for_each(|(position, result)| results[*position] = result);
            }
            Ok(BatchGetResponse { results })
        },
    });
}

/// The generated client, as it would be.
#[derive(Clone)]
pub struct Depot {
    mesh: Mesh,
    get: Slot<Get>,
    put: Slot<Put>,
    follow: Slot<Follow>,
    load: Slot<Load>,
    batch_load: Slot<BatchLoad>,
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
            load: Slot::of(mesh),
            batch_load: Slot::of(mesh),
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

    pub fn load(&self, user: &str, text: String) -> Call<'_, Load> {
        Call::new(&self.mesh, &self.load, Ask { user: user.to_owned(), text })
    }

    pub fn batch_load(&self, users: Vec<String>) -> Call<'_, BatchLoad> {
        let texts = vec![String::new(); users.len()];
        Call::new(&self.mesh, &self.batch_load, BatchGetRequest { users, texts })
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
