//! A binary of its own, since it counts what the allocator does.

#[path = "support/following.rs"]
mod following;

use following::AskRequest;

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
