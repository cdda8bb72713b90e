//! How often calls allocate. A binary of its own, since it counts what the allocator does.

#[path = "support/following.rs"]
mod following;
#[path = "../benches/ladder/users.rs"]
mod users;

use client_sdk::{Call, Settings, Slot, bench};
use following::AskRequest;
use users::{Get, GetUser};

#[tokio::test]
async fn a_local_answer_allocates_nothing() {
    let (mesh, slot) = following::mesh(&["ann".to_owned()]).await;
    let counted = allocation_counter::measure(|| drop(std::hint::black_box("counted".to_owned())));
    assert_eq!(counted.count_total, 1, "the allocator is being watched");
    let mut answered = 0;
    for target in [1, 100, 101] {
        for _ in 0..1000 {
            let request = AskRequest { user_id: "ann".to_owned(), target };
            let mut reply = None;
            let counts = allocation_counter::measure(|| reply = following::ask(&mesh, &slot, request));
            assert_eq!(reply, Some(target <= 100));
            assert_eq!(counts.count_total, 0, "{counts:?}");
            answered += 1;
        }
    }
    println!("figure: local answers without an allocation N={answered}");
}

#[test]
fn the_ladder_adds_few_allocations_to_a_batchable_read() {
    let mesh = bench::mesh(Settings::default(), |path, message| async move { users::serve(path, &message) });
    let slot = Slot::<Get>::of(&mesh);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let count = |with_ladder: bool, n: u64| {
        let counts = allocation_counter::measure(|| {
            runtime.block_on(async {
                for user_id in 1..=n {
                    let reply = match with_ladder {
                        true => Call::new(&mesh, &slot, GetUser { user_id }).await,
                        false => bench::bare::<Get>(&mesh, &GetUser { user_id }).await,
                    };
                    assert_eq!(reply.expect("it is answered").value.user_id, user_id);
                }
            });
        });
        counts.count_total as f64 / n as f64
    };
    // What is made once stays.
    count(true, 10);
    let added = count(true, 1000) - count(false, 1000);
    println!("figure: allocations_added_to_a_batchable_read N=1000 each={added:.2}");
    assert!(added < 7.0, "{added}");
}
