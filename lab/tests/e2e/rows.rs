//! The guide's rows run, and each spares what it says it spares. How much faster that is, is for `cargo lab ROW` to say.

use lab::rows::{CaseResult, Plan, ROWS, World, measure};
use std::{path::Path, time::Duration};

/// Calls of a unit, before and after, of the cases whose calls are to become fewer; the figures are those of the rows' notes.
const CALLS: [(&str, &str, f64, f64); 11] = [
    ("2.3", "placing an order", 2.0, 1.0),
    ("2.3", "an order with its payment", 2.0, 1.0),
    ("2.4", "a service in the middle", 2.0, 1.0),
    ("2.5", "the check alone", 1.0, 0.0),
    ("2.6", "40 members at home here", 40.0, 1.0),
    ("2.6", "40 members of both cells", 40.0, 2.0),
    ("2.6", "following 100", 100.0, 1.0),
    ("4.6", "a list of orders", 21.0, 2.0),
    ("7.1", "an order", 2.0, 1.0),
    ("7.4", "a page of 20 products", 40.0, 2.0),
    ("7.7", "a member at home here", 8.0, 2.0),
];

#[tokio::test]
async fn every_row_of_the_guide_runs_and_spares_the_calls_it_says() -> anyhow::Result<()> {
    let (mut world, shop) = World::start_with(Path::new(env!("CARGO_BIN_EXE_lab-split")).to_owned()).await?;
    let plan = Plan { rounds: 1, time: Duration::ZERO };
    let mut known = CALLS.to_vec();
    for row in &ROWS {
        for CaseResult { case, ways, .. } in measure(row, plan, &world, shop.clone()).await? {
            let (before, after) = (&ways[0], &ways[ways.len() - 1]);
            known.retain(|(id, name, fewest, most)| {
                let it = *id == row.id && *name == case;
                if it {
                    assert!((before.calls - fewest).abs() < 0.5, "{id} {name}: {} calls before", before.calls);
                    assert!((after.calls - most).abs() < 0.5, "{id} {name}: {} calls after", after.calls);
                }
                !it
            });
            println!("figure: row {} {case} N={} ways", row.id, ways.len());
        }
    }
    assert!(known.is_empty(), "no such cases: {known:?}");
    world.stop().await
}
