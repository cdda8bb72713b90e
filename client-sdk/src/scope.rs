//! What one request of a service asks of others: asked once, and together.

use crate::{
    Call, Error, Fresh, Method, Reply, Slot, Source, UserKey,
    ladder::{self, Answer},
    shared::{Shared, WeakShared},
    stats::Counts,
};
use bytes::Bytes;
use futures_util::future::join_all;
use hashbrown::HashMap;
use std::{
    any::{Any, TypeId},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::time::timeout_at;

/// Most answers that a scope keeps.
const MOST_ANSWERS: usize = 10_000;

/// The calls made for one request. A read that was made already is not made again, and look-ups made at once, or in a
/// row by [`load_all`](Self::load_all), travel together if their method has a batch form.
///
/// Make one for each request that is served, and drop it at its end: what it keeps is as old as the request. A call that
/// may change something goes through as it is and makes the scope forget what it read, before and after. Errors are not
/// kept. Calls that want to be fresh in their own way, and such with metadata, go through too. Cheap to clone; clones
/// share what was read.
///
/// ```ignore
/// let scope = RequestScope::default();
/// let authors = scope.load_all(posts.iter().map(|post| members.get_member(post.author()))).await; // one call
/// let first = scope.load(members.get_member(posts[0].author())).await?; // none
/// ```
#[derive(Clone, Default)]
pub struct RequestScope(Arc<Mutex<Memory>>);

#[derive(Default)]
struct Memory {
    /// By the method's type: its [`Answers`].
    methods: HashMap<TypeId, Box<dyn Any + Send>>,
    len: usize,
    /// Raised by all that may change something.
    generation: u64,
}

type Answers<M> = HashMap<Question, Known<M>>;

/// What makes calls of a method equal.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Question {
    request: Bytes,
    principal: Option<Arc<str>>,
    /// The user, where the message does not name him.
    user_key: Option<UserKey>,
}

enum Known<M: Method> {
    Asked(WeakShared<Answer<M>>),
    Answered(Reply<M::Response>),
}

enum Found<'a, M: Method> {
    New(Shared<Answer<M>>),
    Asked(Shared<Answer<M>>, Call<'a, M>),
    Answered(Reply<M::Response>),
}

impl std::fmt::Debug for RequestScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestScope").field("answers", &self.memory().len).finish_non_exhaustive()
    }
}

impl RequestScope {
    /// Makes a call, or gives the answer of an equal one made before.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn load<M: Method>(&self, call: Call<'_, M>) -> Result<Reply<M::Response>, Error> {
        if !M::POLICY.reads() {
            self.clear();
            let answer = call.await;
            self.clear();
            return answer;
        }
        let options = &call.options;
        if options.metadata.is_some() || !matches!(options.fresh, Fresh::Any | Fresh::StaleIfError(_)) {
            return call.await;
        }
        if let Some(reply) = ladder::local(&call) {
            return Ok(reply);
        }
        let request = prost::Message::encode_to_vec(&call.request).into();
        let question = Question { request, principal: options.principal.clone(), user_key: options.user_key.clone() };
        let slot = Slot::clone(call.slot);
        let (answer, call) = match self.find(call, question) {
            Found::New(asked) => return asked.await.unwrap_or_else(ladder::broken::<M>),
            Found::Answered(reply) => (Ok(reply), None),
            Found::Asked(asked, mut call) => {
                let ends = call.mesh.deadline(ladder::now(), slot.0.policy, &call.options)?;
                let answer = match timeout_at(ends.into(), asked).await {
                    Ok(answer) => answer.unwrap_or_else(ladder::broken::<M>),
                    Err(_) => {
                        let key = M::key(&call.request).ok().flatten().map(|key| key.to_user_key());
                        let key = call.options.user_key.as_ref().or(key.as_ref());
                        return Err(ladder::late(call.mesh, slot.0.policy, key).in_method(slot.0.policy.path));
                    }
                };
                call.options.deadline = Some(ends.saturating_duration_since(ladder::now()));
                (answer, Some(call))
            }
        };
        match (answer, call) {
            // The one who asked may have had another deadline.
            (Err(_), Some(call)) => ladder::remote(call).await,
            // Nor need he have wanted it fresh.
            (Ok(reply), Some(call)) if reply.source.is_stale() => ladder::remote(call).await,
            (answer, _) => answer.map(|mut reply| {
                Counts::add(&slot.0.counts.remembered);
                reply.source = Source::Remembered { cell: reply.source.cell().cloned() };
                reply
            }),
        }
    }

    /// Makes calls at once; their answers in the same order. Those of one method with a batch form travel together.
    pub async fn load_all<'a, M: Method>(
        &self,
        calls: impl IntoIterator<Item = Call<'a, M>>,
    ) -> Vec<Result<Reply<M::Response>, Error>> {
        join_all(calls.into_iter().map(|call| self.load(call))).await
    }

    /// Forgets what was read.
    pub fn clear(&self) {
        let mut memory = self.memory();
        memory.generation += 1;
        memory.len = 0;
        let old = std::mem::take(&mut memory.methods);
        drop(memory);
        drop(old);
    }

    fn find<'a, M: Method>(&self, call: Call<'a, M>, question: Question) -> Found<'a, M> {
        let mut memory = self.memory();
        let full = memory.len >= MOST_ANSWERS;
        match memory.answers::<M>().get(&question) {
            Some(Known::Answered(reply)) => return Found::Answered(reply.clone()),
            Some(Known::Asked(asked)) => {
                if let Some(asked) = asked.upgrade() {
                    return Found::Asked(asked, call);
                }
            }
            None if full => return Found::New(self.ask(call, None)),
            None => memory.len += 1,
        }
        let asked = self.ask(call, Some((memory.generation, question.clone())));
        memory.answers().insert(question, Known::<M>::Asked(asked.downgrade()));
        Found::New(asked)
    }

    /// A call whose answer is kept in its place.
    fn ask<M: Method>(&self, call: Call<'_, M>, place: Option<(u64, Question)>) -> Shared<Answer<M>> {
        let (mesh, slot, request, mut options) = (call.mesh.clone(), call.slot.clone(), call.request, call.options);
        options.gather = true;
        let scope = self.clone();
        Shared::new(Box::pin(async move {
            let answer = ladder::remote(Call { mesh: &mesh, slot: &slot, request, options }).await;
            if let Some((generation, question)) = place {
                scope.keep::<M>(generation, question, &answer);
            }
            answer
        }))
    }

    fn keep<M: Method>(&self, generation: u64, question: Question, answer: &Answer<M>) {
        let mut memory = self.memory();
        if memory.generation != generation || !memory.answers::<M>().contains_key(&question) {
            return;
        }
        match answer {
            // What is past its lease is for whoever asked for such.
            Ok(reply) if !reply.source.is_stale() => {
                memory.answers::<M>().insert(question, Known::Answered(reply.clone()));
            }
            _ => {
                memory.answers::<M>().remove(&question);
                memory.len -= 1;
            }
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn answers<M: Method>(&mut self) -> &mut Answers<M> {
        let answers = self.methods.entry(TypeId::of::<M>()).or_insert_with(|| Box::new(Answers::<M>::new()));
        answers.downcast_mut().expect("they stand under their method's type")
    }
}

#[cfg(test)]
mod tests;
