//! Batches that callers make themselves.

use super::{failures::mesh_error, *};
use crate::probe::{BatchPut, Users};

fn many(users: &[&str]) -> BatchGetUsers {
    BatchGetUsers { user_ids: users.iter().map(|&user| user.to_owned()).collect(), mask: "m".into() }
}

/// Each item's user or code and message.
async fn ask<M>(batch: &Client<M>, users: &[&str]) -> Result<Vec<Result<String, (i32, String)>>, Error>
where
    M: Method<Request = BatchGetUsers, Response = Users>,
{
    let reply = batch.call(many(users)).await?;
    let results = reply.value.results.into_iter();
    Ok(results.map(|result| result.user.map(|user| user.user_id).ok_or((result.code, result.message))).collect())
}

fn own(users: &[&str]) -> Vec<Result<String, (i32, String)>> {
    users.iter().map(|&user| Ok(user.to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_batch_with_one_destination_passes_unchanged() {
    let probe = Probe::slow(ms(5));
    let batch = Client::<BatchGet>::new(&probe.mesh());
    let users = ["ann", "bob", "bob"];
    assert_eq!(ask(&batch, &users).await.expect("ok"), own(&users));
    probe.router.store(true, Ordering::SeqCst);
    let both = ["ann", "sh-1/bob"];
    assert_eq!(ask(&batch, &both).await.expect("ok"), own(&both), "a router splits itself");
    assert_eq!(ask(&batch, &["ann", "ann"]).await.expect("ok"), own(&["ann", "ann"]));
    assert_eq!(ask(&batch, &[]).await.expect("ok"), []);
    let sent = probe.sent();
    assert_eq!(sizes(&probe), [3, 2, 2, 0]);
    assert_eq!(sent.iter().map(|sent| sent.call.wants.among_others).collect::<Vec<_>>(), [true, true, false, false]);
    assert_eq!(sent[0].call.frame, crate::ladder::frame(&many(&users)).expect("short"));
}

#[tokio::test(start_paused = true)]
async fn a_batch_over_two_cells_comes_back_whole_and_in_order() {
    let probe = Probe::slow(ms(5));
    let batch = Client::<BatchGet>::new(&probe.mesh());
    let users = ["ann", "sh-1/bob", "none", "sh-1/dora", "ann"];
    let began = Clock::now();
    let results = ask(&batch, &users).await.expect("ok");
    assert_eq!(began.elapsed(), ms(5), "all at once");
    let mut expected = own(&users);
    expected[2] = Err((Code::NotFound.number(), "no user none".into()));
    assert_eq!(results, expected);
    let mut sent = probe.sent().into_iter().map(|sent| sent.users).collect::<Vec<_>>();
    sent.sort();
    assert_eq!(sent, [vec!["ann", "none", "ann"], vec!["sh-1/bob", "sh-1/dora"]]);
    let reply = batch.call(many(&["ann", "sh-1/bob"])).await.expect("ok");
    assert_eq!((reply.source, reply.token), (Source::Remote { cell: None, attempts: 2, hops: 0 }, None));
}

#[tokio::test(start_paused = true)]
async fn items_of_a_part_that_failed_say_so_and_if_all_failed_the_call_does() {
    let down = |cells: &'static [&'static str]| {
        Probe::new(move |sent| {
            let cell = sent.users[0].split_once('/').map_or("bj-1", |(cell, _)| cell);
            let error = || Err(Error::new(Code::Unavailable, "no connection"));
            (ms(5), cells.contains(&cell).then(error))
        })
    };
    let users = ["ann", "sh-1/bob", "carl"];
    let probe = down(&["sh-1"]);
    let batch = Client::<BatchGet>::new(&probe.mesh());
    let mut expected = own(&users);
    expected[1] = Err((Code::Unavailable.number(), "no connection (cell sh-1)".into()));
    assert_eq!(ask(&batch, &users).await.expect("a part was answered"), expected);

    let probe = down(&["sh-1", "bj-1"]);
    let batch = Client::<BatchGet>::new(&probe.mesh());
    let error = ask(&batch, &users).await.expect_err("no part was answered");
    assert_eq!((error.code(), error.cell().map(|cell| cell.as_str())), (Code::Unavailable, Some("bj-1")));
    assert_eq!(batch.slot.0.counts.stats("").failed, 1);
}

#[tokio::test(start_paused = true)]
async fn more_items_than_one_call_may_have_are_several_calls() {
    let probe = Probe::slow(ms(5));
    let batch = Client::<BatchGet>::new(&probe.mesh());
    let users = (0..45).map(id).collect::<Vec<_>>();
    let users = users.iter().map(|user| &**user).collect::<Vec<_>>();
    assert_eq!(ask(&batch, &users).await.expect("ok"), own(&users));
    assert_eq!(sizes(&probe), [20, 20, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_cell_that_speaks_of_homes_is_asked_for_each_user_alone() {
    let probe = Probe::new(|sent| {
        let elsewhere = sent.call.wants.among_others && !sent.users[0].starts_with("sh-1/");
        (ms(5), elsewhere.then(|| Err(mesh_error(Code::FailedPrecondition, "WRONG_CELL"))))
    });
    let batch = Client::<BatchGet>::new(&probe.mesh());
    for users in [&["ann", "bob", "ann"][..], &["ann", "sh-1/x", "bob", "sh-1/y", "ann"]] {
        let before = probe.count();
        assert_eq!(ask(&batch, users).await.expect("each alone"), own(users));
        let alone = probe.sent()[before..].iter().filter(|sent| !sent.call.wants.among_others).count();
        assert_eq!(alone, 2, "ann's and bob's");
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_of_writes_that_may_have_been_done_is_not_sent_again() {
    let users = ["ann", "sh-1/bob", "sh-1/dora", "carl"];
    for (reason, again) in [("MOVED", false), ("WRONG_CELL", true)] {
        let probe = Probe::new(move |sent| {
            let elsewhere = sent.call.wants.among_others && sent.users[0].starts_with("sh-1/");
            (ms(5), elsewhere.then(|| Err(mesh_error(Code::Unavailable, reason))))
        });
        let batch = Client::<BatchPut>::new(&probe.mesh());
        let results = ask(&batch, &users).await.expect("a part was answered");
        let (done, failed): (Vec<_>, Vec<_>) = results.iter().partition(|result| result.is_ok());
        let mut sent: Vec<_> = probe.sent().into_iter().map(|sent| sent.users).collect();
        sent.sort();
        if again {
            assert_eq!(results, own(&users));
            assert_eq!(sent, [vec!["ann", "carl"], vec!["sh-1/bob"], vec!["sh-1/bob", "sh-1/dora"], vec!["sh-1/dora"]]);
        } else {
            assert_eq!((done.len(), failed.len()), (2, 2));
            let named = |result: &&Result<String, (i32, String)>| {
                result.as_ref().is_err_and(|(code, why)| *code == Code::Unavailable.number() && why.contains("sh-1"))
            };
            assert!(failed.iter().all(named) && results[1].is_err() && results[2].is_err(), "{results:?}");
            assert_eq!(sent, [vec!["ann", "carl"], vec!["sh-1/bob", "sh-1/dora"]], "none of them twice");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_too_long_fails_the_batch_before_it_is_sent() {
    let probe = Probe::slow(ms(5));
    let batch = Client::<BatchGet>::new(&probe.mesh());
    let long = "x".repeat(300);
    let error = ask(&batch, &["ann", &long]).await.expect_err("too long");
    assert_eq!((error.code(), probe.count()), (Code::InvalidArgument, 0));
}

#[tokio::test(start_paused = true)]
async fn dropping_a_split_batch_cancels_all_its_parts() {
    let probe = Probe::slow(ms(5));
    let batch = Client::<BatchGet>::new(&probe.mesh());
    let call = start(batch.call(many(&["ann", "sh-1/bob"])));
    assert_eq!(probe.flying(), 2);
    drop(call);
    assert_eq!(probe.flying(), 0);
    assert!(probe.sent().iter().all(|sent| sent.cancelled));
}

#[tokio::test(start_paused = true)]
async fn equal_batches_are_coalesced_as_wholes() {
    let probe = Probe::slow(ms(5));
    let batch = Client::<BatchGet>::new(&probe.mesh());
    let users = ["ann", "sh-1/bob"];
    let answers = join_all((0..10).map(|_| ask(&batch, &users))).await;
    assert!(answers.into_iter().all(|answer| answer.expect("ok") == own(&users)));
    assert_eq!(probe.count(), 2);
}
