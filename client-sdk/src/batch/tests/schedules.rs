//! Random callers over a random wire.

use super::*;

#[tokio::test(start_paused = true)]
async fn random_schedules_of_reads_lose_nothing_and_mix_nothing_up() {
    let mut rng = random("random_schedules_of_reads_lose_nothing_and_mix_nothing_up");
    for _ in 0..ROUNDS {
        schedule::<Get>(&mut rng).await;
    }
    println!("figure: batch_schedules_of_reads N={}", ROUNDS * CALLERS);
}

#[tokio::test(start_paused = true)]
async fn random_schedules_of_writes_double_nothing_either() {
    let mut rng = random("random_schedules_of_writes_double_nothing_either");
    for _ in 0..ROUNDS {
        schedule::<Put>(&mut rng).await;
    }
    println!("figure: batch_schedules_of_writes N={}", ROUNDS * CALLERS);
}

const ROUNDS: usize = 60;
const CALLERS: usize = 200;

/// Callers with deadlines and patience of their own, a wire that is slow, fails or answers nonsense at random.
async fn schedule<M: Method<Request = GetUser, Response = User>>(rng: &mut StdRng) {
    let (most, fails) = (rng.random_range(1..12), rng.random_range(0..3));
    let chances: Vec<u64> = (0..64).map(|_| rng.random()).collect();
    let probe = Probe::new(move |sent| {
        let chance = chances[sent.users.len() * 7 % 64] ^ sent.users[0].len() as u64;
        let down = (fails == 0 && chance.is_multiple_of(5)).then(|| Err(Error::new(Code::Unavailable, "down")));
        let broken = (fails == 1 && sent.is_batch() && chance.is_multiple_of(3)).then(|| Ok(vec![0xff]));
        (ms(chance % most), down.or(broken))
    });
    let client = Arc::new(Client::<M>::new(&probe.mesh()));
    let callers = (0..CALLERS).map(|number| {
        // Each his own user, so that nothing is coalesced: every item on the wire has one caller.
        let user = format!("{}u{number}", ["", "none/", "sh-1/", ""][number % 4]);
        let (start, patience) = (rng.random_range(0..12), rng.random_range(1..40));
        let deadline = [3, 20, 900, 1100, 5000][rng.random_range(0..5)];
        let principal = ["carl", "dora"][rng.random_range(0..2)];
        let client = Arc::clone(&client);
        tokio::spawn(async move {
            sleep(ms(start)).await;
            let began = Clock::now();
            let call = client.get(user.clone()).deadline(ms(deadline)).principal(principal);
            let Ok(answer) = timeout(ms(patience), call.into_future()).await else { return (user, None) };
            assert!(began.elapsed() <= ms(deadline + 3), "{:?} of {deadline} ms", began.elapsed());
            match &answer {
                Ok(reply) => assert_eq!(reply.value.user_id, user),
                Err(error) => match error.code() {
                    Code::NotFound => assert!(error.message().ends_with(&user)),
                    Code::Internal => assert!(fails == 1 && !M::POLICY.repeatable()),
                    code => assert!(matches!(code, Code::Unavailable | Code::DeadlineExceeded), "{error}"),
                },
            }
            (user, Some(answer.map_err(|error| error.code())))
        })
    });
    let ends: HashMap<_, _> = join_all(callers.collect::<Vec<_>>()).await.into_iter().flatten().collect();
    assert_eq!((ends.len(), probe.flying()), (CALLERS, 0));
    let mut times = HashMap::<String, usize>::new();
    for sent in probe.sent() {
        assert!(sent.users.len() <= MOST_ITEMS as usize);
        let homes: HashSet<bool> = sent.users.iter().map(|user| user.starts_with("sh-1/")).collect();
        assert_eq!(homes.len(), 1, "one destination");
        sent.users.into_iter().for_each(|user| *times.entry(user).or_default() += 1);
    }
    let twice = times.values().filter(|times| **times > 1).count();
    assert!(twice as u64 <= client.slot.0.counts.stats("").retried, "what is sent again is counted");
    for (user, end) in ends {
        let times = times.get(&user).copied().unwrap_or(0);
        assert!(times <= if M::POLICY.repeatable() { 2 } else { 1 }, "{user} was sent {times} times");
        assert!(times > 0 || !matches!(end, Some(Ok(_))), "{user} was answered and never sent");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_whose_callers_give_up_at_random_leave_everything_in_order() {
    let mut rng = random("threads_whose_callers_give_up_at_random_leave_everything_in_order");
    let probe = Probe::slow(ms(1));
    let get = Arc::new(Client::<Get>::new(&probe.mesh()));
    let (rounds, callers) = (30, 300);
    for _ in 0..rounds {
        let tasks = (0..callers).map(|number| {
            let get = Arc::clone(&get);
            let (patience, user) = (Duration::from_micros(rng.random_range(0..4000)), number % 70);
            tokio::spawn(async move {
                match timeout(patience, get.get(id(user)).into_future()).await {
                    Ok(answer) => assert_eq!(answer.expect("it is answered").value.user_id, id(user)),
                    Err(_) => tokio::task::yield_now().await,
                }
            })
        });
        let tasks = tasks.collect::<Vec<_>>();
        tasks.iter().filter(|_| rng.random_bool(0.1)).for_each(tokio::task::JoinHandle::abort);
        for task in join_all(tasks).await {
            assert!(task.map_or_else(|error| error.is_cancelled(), |()| true), "no panic");
        }
        let all = timeout(Duration::from_secs(30), all(&get, 50)).await.expect("nobody waits for ever");
        answered(all);
        assert_eq!(probe.flying(), 0);
    }
    println!("figure: callers_who_give_up N={}", rounds * callers);
}
