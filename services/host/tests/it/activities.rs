use crate::cell::{Cell, eventually, order};
use shop_proto::member_v1::{Activity, DeliverEventRequest, ListActivitiesRequest, ListActivitiesResponse};

fn event(user_id: &str, event_id: &str, user_epoch: u64, sequence: u64) -> DeliverEventRequest {
    DeliverEventRequest {
        user_id: user_id.into(),
        event_id: event_id.into(),
        kind: "order.placed".into(),
        subject: format!("subject of {event_id}"),
        event_time_ms: 1,
        user_epoch,
        sequence,
    }
}

async fn list(cell: &Cell, user_id: &str, page_size: i32, page_token: &str) -> ListActivitiesResponse {
    let asked = ListActivitiesRequest { user_id: user_id.into(), page_size, page_token: page_token.into() };
    cell.activity().list_activities(asked).await.expect("at home").into_inner()
}

fn ids(activities: &[Activity]) -> Vec<&str> {
    activities.iter().map(|activity| &*activity.event_id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_takes_effect_once() {
    let cell = Cell::start().await;
    let ann = cell.register().await;
    for expected in [true, false, false] {
        let delivered = cell.activity().deliver_event(event(&ann, "e-1", 0, 1)).await.expect("taken");
        assert_eq!(delivered.into_inner().applied, expected);
    }
    assert_eq!(ids(&list(&cell, &ann, 0, "").await.activities), ["e-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn activities_are_listed_newest_first_and_pages_are_stable() {
    let cell = Cell::start().await;
    let ann = cell.register().await;
    // Delivered out of order, and of two owners' epochs.
    for (id, epoch, sequence) in [("c", 0, 3), ("a", 0, 1), ("e", 1, 2), ("b", 0, 2), ("d", 1, 1)] {
        cell.activity().deliver_event(event(&ann, id, epoch, sequence)).await.expect("taken");
    }
    let first = list(&cell, &ann, 2, "").await;
    assert_eq!(ids(&first.activities), ["e", "d"]);
    cell.activity().deliver_event(event(&ann, "f", 1, 3)).await.expect("taken");
    let second = list(&cell, &ann, 2, &first.next_page_token).await;
    assert_eq!(ids(&second.activities), ["c", "b"], "a newer entry neither repeats nor hides others");
    let third = list(&cell, &ann, 2, &second.next_page_token).await;
    assert_eq!(ids(&third.activities), ["a"]);
    assert_eq!(third.next_page_token, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_placed_order_becomes_an_activity() {
    let cell = Cell::start().await;
    cell.sell("tea", 100, 10).await;
    let ann = cell.rich(1_000).await;
    let mut placed = Vec::new();
    for n in 0..3 {
        let order = cell.place(order(&ann, &format!("r-{n}"), &[("tea", 1)])).await.expect("placed").order;
        placed.insert(0, order.expect("there").order_id);
    }
    eventually("all orders are activities", async || list(&cell, &ann, 0, "").await.activities.len() == 3).await;
    let activities = list(&cell, &ann, 0, "").await.activities;
    assert!(activities.iter().all(|activity| activity.kind == "order.placed"));
    assert_eq!(activities.iter().map(|activity| activity.subject.clone()).collect::<Vec<_>>(), placed);
}
