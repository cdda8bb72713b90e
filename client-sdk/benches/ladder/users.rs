//! A method written by hand, for benchmarks and tests outside of the crate.

use bytes::Bytes;
use client_sdk::{BatchGlue, Idempotency, ItemError, Method, MethodPolicy, Scope, generated::CanonicalKey};
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub struct GetUser {
    #[prost(uint64, tag = 1)]
    pub user_id: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct User {
    #[prost(uint64, tag = 1)]
    pub user_id: u64,
    #[prost(uint64, tag = 2)]
    pub points: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetUsers {
    #[prost(uint64, repeated, tag = 1)]
    pub user_ids: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Users {
    #[prost(message, repeated, tag = 1)]
    pub users: Vec<User>,
}

/// A read with a batch form of at most 128 items.
#[derive(Debug)]
pub struct Get;

const BATCH: MethodPolicy =
    MethodPolicy::new("/bench.Users/BatchGet", Scope::User).side_effects(Idempotency::NoSideEffects);

impl Method for Get {
    type Request = GetUser;
    type Response = User;
    const POLICY: MethodPolicy = MethodPolicy::new("/bench.Users/Get", Scope::User)
        .side_effects(Idempotency::NoSideEffects)
        .batch("/bench.Users/BatchGet", 128);
    const BATCH: Option<BatchGlue<Self>> = Some(BatchGlue { policy: &BATCH, joins: |_, _| true, request, responses });

    fn key(request: &GetUser) -> Result<client_sdk::Key<'_>, cell_map::KeyError> {
        Ok(CanonicalKey::unsigned(request.user_id))
    }
}

fn request(items: &[&[u8]]) -> Vec<u8> {
    let user = |item: &&[u8]| GetUser::decode(*item).expect("as it was encoded").user_id;
    GetUsers { user_ids: items.iter().map(user).collect() }.encode_to_vec()
}

fn responses(message: &[u8]) -> Result<Vec<Result<User, ItemError>>, prost::DecodeError> {
    Ok(Users::decode(message)?.users.into_iter().map(Ok).collect())
}

/// What a server would answer.
pub fn serve(path: &'static str, message: &Bytes) -> Bytes {
    let user = |user_id: u64| User { user_id, points: user_id % 100 };
    let answer = match path.ends_with("BatchGet") {
        true => {
            let ids = GetUsers::decode(&**message).expect("a request").user_ids;
            Users { users: ids.into_iter().map(user).collect() }.encode_to_vec()
        }
        false => user(GetUser::decode(&**message).expect("a request").user_id).encode_to_vec(),
    };
    answer.into()
}
