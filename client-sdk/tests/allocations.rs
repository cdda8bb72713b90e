//! How often the ladder allocates. A process with one test, because the allocator counts for all.

#[path = "../benches/ladder/users.rs"]
mod users;

use client_sdk::{Call, Settings, Slot, bench};
use futures_util::FutureExt as _;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::{alloc::System, future::IntoFuture as _};
use users::{Get, GetUser, User};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn a_local_answer_allocates_nothing_and_a_batchable_read_little() {
    let mesh = bench::mesh(Settings::default(), |path, message| async move { users::serve(path, &message) });
    let knowing = bench::knowing::<Get>(|request| Some(User { user_id: request.user_id, points: 7 }));
    let call = |user_id| {
        let answer = Call::new(&mesh, &knowing, GetUser { user_id }).into_future().now_or_never();
        answer.expect("at once").expect("it is known")
    };
    assert_eq!(call(1).value, User { user_id: 1, points: 7 });
    // The test harness has a thread of its own, which may allocate in one round or another.
    let (rounds, n) = (10, 10_000);
    let counted = (0..rounds).map(|_| {
        let region = Region::new(COUNTED);
        let sum: u64 = (0..n).map(|user_id| call(user_id).value.points).sum();
        let change = region.change();
        assert_eq!(sum, 7 * n);
        change.allocations + change.reallocations
    });
    assert_eq!(counted.min(), Some(0));
    println!("figure: allocations_of_a_local_answer N={rounds}x{n} each=0");

    let slot = Slot::<Get>::of(&mesh);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let count = |with_ladder: bool, n: u64| {
        let region = Region::new(COUNTED);
        runtime.block_on(async {
            for user_id in 1..=n {
                let reply = match with_ladder {
                    true => Call::new(&mesh, &slot, GetUser { user_id }).await,
                    false => bench::bare::<Get>(&mesh, &GetUser { user_id }).await,
                };
                assert_eq!(reply.expect("it is answered").value.user_id, user_id);
            }
        });
        region.change().allocations as f64 / n as f64
    };
    // What is made once stays.
    count(true, 10);
    let added = count(true, 1000) - count(false, 1000);
    println!("figure: allocations_added_to_a_batchable_read N=1000 each={added:.2}");
    assert!(added < 7.0, "{added}");
}
