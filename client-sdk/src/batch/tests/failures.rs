//! Batches that fail, as wholes or in items.

use super::*;

/// A plan for the batch RPC alone.
fn batches(plan: impl Fn(&Sent) -> Result<Vec<u8>, Error> + Send + Sync + 'static) -> Arc<Probe> {
    Probe::new(move |sent| -> Plan { (ms(5), sent.is_batch().then(|| plan(sent))) })
}

pub(super) fn mesh_error(code: Code, reason: &str) -> Error {
    Error::new(code, "no").with_reason("cellmesh", reason, Vec::new())
}

#[tokio::test(start_paused = true)]
async fn a_malformed_response_sends_each_by_itself_and_batches_pause() {
    use prost::Message as _;
    let short = || crate::probe::Users { results: vec![Default::default()] }.encode_to_vec();
    for broken in [short(), vec![0xff]] {
        let probe = batches(move |_| Ok(broken.clone()));
        let get = Client::<Get>::new(&probe.mesh());
        answered(all(&get, 5).await);
        assert_eq!(sizes(&probe), [1, 4, 1, 1, 1, 1]);
        answered(all(&get, 5).await);
        assert_eq!(sizes(&probe)[6..], [1; 5], "it is not tried again at once");
        sleep(Duration::from_secs(11)).await;
        all(&get, 5).await;
        assert!(sizes(&probe)[11..].contains(&4), "but later");
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_failure_is_each_items_only_if_it_speaks_of_the_server() {
    for (error, again) in [
        (Error::new(Code::Unavailable, "down"), false),
        (mesh_error(Code::Unavailable, "CELL_UNREACHABLE"), false),
        (mesh_error(Code::ResourceExhausted, "RATE_LIMITED"), false),
        (Error::new(Code::Aborted, "no"), false),
        (mesh_error(Code::ResourceExhausted, "MESSAGE_TOO_LARGE"), true),
        (mesh_error(Code::FailedPrecondition, "WRONG_CELL"), true),
        (mesh_error(Code::Unavailable, "MOVING"), true),
        (mesh_error(Code::Unavailable, "MOVED"), true),
        (Error::new(Code::InvalidArgument, "another's item"), true),
        (Error::new(Code::Internal, "another's item"), true),
        (Error::new(Code::Unimplemented, "an older server"), true),
    ] {
        let failure = error.clone();
        let probe = batches(move |_| Err(failure.clone()));
        let get = Client::<Get>::new(&probe.mesh());
        let answers = all(&get, 5).await;
        if again {
            answered(answers);
            assert_eq!(sizes(&probe), [1, 4, 1, 1, 1, 1], "{error}");
        } else {
            let failed = answers.into_iter().filter_map(Result::err).collect::<Vec<_>>();
            assert!(failed.len() == 4 && failed.iter().all(|failed| failed.code() == error.code()), "{error}");
            assert!(failed.iter().all(|failed| failed.method() == "/test.Users/Get"));
            assert_eq!(sizes(&probe), [1, 4], "{error}: no more load for a server in trouble");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_bad_item_does_not_fail_the_others() {
    let probe = Probe::slow(ms(5));
    let get = Client::<Get>::new(&probe.mesh());
    let answers = join_all(["ann", "bob", "bad", "carl"].map(|user| get.get(user).into_future())).await;
    let codes = answers.into_iter().map(|answer| answer.err().map(|error| error.code())).collect::<Vec<_>>();
    assert_eq!(codes, [None, None, Some(Code::InvalidArgument), None]);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_may_have_been_done_is_not_done_again() {
    for (error, again) in [
        (Error::new(Code::Internal, "who knows"), false),
        (Error::new(Code::InvalidArgument, "who knows"), false),
        (Error::new(Code::Cancelled, "who knows"), false),
        (mesh_error(Code::Unavailable, "MOVED"), false),
        // It was refused before anything was done.
        (mesh_error(Code::FailedPrecondition, "WRONG_CELL"), true),
    ] {
        let failure = error.clone();
        let probe = batches(move |_| Err(failure.clone()));
        let put = Client::<Put>::new(&probe.mesh());
        let answers = join_all((0..4).map(|number| put.get(id(number)).into_future())).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), if again { 4 } else { 1 }, "{error}");
        assert_eq!(sizes(&probe).len(), if again { 5 } else { 2 }, "{error}");
    }
    let probe = batches(|_| Ok(vec![0xff]));
    let put = Client::<Put>::new(&probe.mesh());
    let answers = join_all((0..4).map(|number| put.get(id(number)).into_future())).await;
    assert!(answers.into_iter().filter_map(Result::err).all(|error| error.code() == Code::Internal));
    assert_eq!(sizes(&probe), [1, 3]);
}

/// The batch answers that these users are refused, with this code.
fn refusing(code: Code) -> Arc<Probe> {
    use prost::Message as _;
    batches(move |sent| {
        let results = sent.users.iter().map(|user| match user.starts_with("moved") {
            true => crate::probe::UserResult { code: code.number(), message: "elsewhere".into(), user: None },
            false => {
                crate::probe::UserResult { user: Some(User { user_id: user.clone(), seen: 0 }), ..Default::default() }
            }
        });
        Ok(crate::probe::Users { results: results.collect() }.encode_to_vec())
    })
}

#[tokio::test(start_paused = true)]
async fn an_item_whose_user_may_have_moved_is_asked_for_alone() {
    for (code, router, again) in [
        (Code::FailedPrecondition, false, true),
        (Code::FailedPrecondition, true, true),
        (Code::Unavailable, false, true),
        (Code::Unavailable, true, false),
        (Code::PermissionDenied, false, false),
    ] {
        let probe = refusing(code);
        probe.router.store(router, Ordering::SeqCst);
        let get = Client::<Get>::new(&probe.mesh());
        let answers = join_all(["ann", "bob", "moved", "carl"].map(|user| get.get(user).into_future())).await;
        let answers = answers.into_iter().map(|answer| answer.map_err(|error| error.code())).collect::<Vec<_>>();
        assert!(answers[0].is_ok() && answers[1].is_ok() && answers[3].is_ok());
        match &answers[2] {
            Ok(reply) => assert!(again && reply.value.user_id == "moved", "{code:?}"),
            Err(failed) => assert!(!again && *failed == code, "{code:?}"),
        }
        let sent = probe.sent();
        assert!(sent[1].call.wants.among_others && !sent[0].call.wants.among_others);
    }
}
