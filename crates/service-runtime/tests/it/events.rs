//! The outbox.

use crate::{
    notes::{Notes, Taken, WRITE, WriteNoteRequest},
    world::{World, here},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

async fn events(taken: &Taken, n: usize) -> Vec<String> {
    let began = Instant::now();
    loop {
        let texts: Vec<String> = {
            let events = taken.events.lock().unwrap();
            events.iter().map(|(event, _)| String::from_utf8(event.payload.clone()).unwrap()).collect()
        };
        if texts.len() >= n || began.elapsed() > Duration::from_secs(10) {
            return texts;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn events_are_delivered_in_order_though_some_attempts_fail() {
    let taken = Arc::new(Taken::default());
    *taken.failures.lock().unwrap() = 2;
    let world = World::with(Notes { taken: Arc::clone(&taken), ..Notes::default() }, |_| {}).await;
    let mut caller = world.front().await;
    for n in 0..20 {
        let message = WriteNoteRequest { user_id: here(), text: n.to_string() };
        caller.message(WRITE, &message, &[]).await.unwrap();
    }
    let expected: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    assert_eq!(events(&taken, 20).await, expected);
    let published = |labels: &'static [&'static str]| world.count("cellmesh_outbox_published_total", labels);
    assert_eq!(published(&["status=\"OK\""]).await, 20);
    assert_eq!(published(&["status=\"UNAVAILABLE\""]).await, 2);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (waiting, _) = world.running.context().db.outbox(storage::Stream::Events).backlog().await.unwrap();
    assert_eq!(waiting, 0, "what was taken is not offered again");
    world.end().await;
}
