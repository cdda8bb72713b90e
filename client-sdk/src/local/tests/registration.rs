use super::names::*;
use crate::{
    Code, Data, Feed, FeedMessage, Global, GlobalFeed, Idempotency, Key, LocalLogic, Method, MethodPolicy, PerUser,
    Position, Scope, Verdict, local::Logics,
};
use std::marker::PhantomData;

/// A method that names logic "follow/1", in different ways of being wrong.
macro_rules! method {
    ($name:ident, $policy:expr) => {
        struct $name;
        impl Method for $name {
            type Request = AskRequest;
            type Response = AskResponse;
            const POLICY: MethodPolicy = $policy;
            fn key(_: &AskRequest) -> Result<Key<'_>, cell_map::KeyError> {
                Ok(None)
            }
        }
    };
}

const fn of(scope: Scope) -> MethodPolicy {
    MethodPolicy::new("/t.T/Wrong", scope).side_effects(Idempotency::NoSideEffects)
}

method!(NamesNone, of(Scope::User));
method!(NamesAnother, of(Scope::User).local_logic("follows", 1));
method!(NamesAnotherMajor, of(Scope::User).local_logic("follow", 2));
method!(Writes, MethodPolicy::new("/t.T/Wrong", Scope::User).local_logic("follow", 1));
method!(OfNobody, of(Scope::Local).local_logic("follow", 1));
method!(Right, of(Scope::User).local_logic("follow", 1));

struct Logic<M, D>(PhantomData<fn() -> (M, D)>);

impl<M, D> LocalLogic for Logic<M, D>
where
    M: Method<Request = AskRequest, Response = AskResponse>,
    D: Data,
{
    type Method = M;
    type Data = D;
    const NAME: &'static str = "follow";
    const MAJOR: u32 = 1;
    const MINOR: u32 = 0;

    fn eval(&self, _: D::View<'_>, _: i64, _: &AskRequest) -> Verdict<AskResponse> {
        Verdict::Unsure
    }
}

/// A feed of a user's stream that says that it is everybody's.
struct Mistaken;

impl Feed for Mistaken {
    type Stream = WatchFollows;
    type Item = ();
    type Snapshot = ();
    fn read(_: SubscribeResponse) -> Result<FeedMessage<()>, String> {
        Err("never read".to_owned())
    }
    fn apply((): &mut (), (): ()) {}
    fn bytes((): &()) -> usize {
        0
    }
}

impl GlobalFeed for Mistaken {
    fn subscribe(_: Option<Position>) -> SubscribeRequest {
        SubscribeRequest::default()
    }
}

fn refused<M, D>(logics: &mut Logics) -> String
where
    M: Method<Request = AskRequest, Response = AskResponse>,
    D: Data,
{
    let error = logics.register(Logic::<M, D>(PhantomData)).unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    error.message().to_owned()
}

#[test]
fn a_logic_that_its_method_does_not_name_is_refused() {
    let mut logics = Logics::default();
    let it = &mut logics;
    assert_eq!(
        refused::<NamesNone, Global<Banned>>(it),
        "local logic follow/1: the policy of /t.T/Wrong names no local logic"
    );
    assert_eq!(
        refused::<NamesAnother, Global<Banned>>(it),
        "local logic follow/1: the policy of /t.T/Wrong names follows/1"
    );
    assert_eq!(
        refused::<NamesAnotherMajor, Global<Banned>>(it),
        "local logic follow/1: the policy of /t.T/Wrong names follow/2"
    );
    assert!(refused::<Writes, Global<Banned>>(it).ends_with("/t.T/Wrong has side effects"));
    assert!(refused::<OfNobody, PerUser<Follows>>(it).contains("/t.T/Wrong has no user"));
    assert!(refused::<Right, Global<Mistaken>>(it).contains("/t.T/WatchFollows has the scope of a user"));
    logics.register(Logic::<Right, (Global<Banned>, PerUser<Follows>)>(PhantomData)).unwrap();
    assert!(refused::<Right, Global<Banned>>(&mut logics).ends_with("its method has a logic already, follow"));
}
