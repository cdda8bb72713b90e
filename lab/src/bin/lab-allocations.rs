//! (part of `cargo lab sdk`) Counts allocations. A program of its own, since whoever counts them is the allocator.

use lab::sdk::{
    Allocations,
    local::Known,
    server::{Client, Served, Transport, members},
};
use std::sync::Arc;

/// Calls that are counted.
const CALLS: usize = 1000;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let counted = allocation_counter::measure(|| drop(std::hint::black_box("counted".to_owned())));
    anyhow::ensure!(counted.count_total == 1, "the allocator is not being watched");

    let known = runtime.block_on(Known::new(1))?;
    let _entered = runtime.enter();
    let mut local_answer = 0;
    for _ in 0..CALLS {
        let request = known.request();
        let mut answered = None;
        local_answer += allocation_counter::measure(|| answered = known.answer(request)).count_total;
        anyhow::ensure!(answered == Some(true), "not answered inside");
    }

    let served = runtime.block_on(Served::start(Transport::InMemory))?;
    let members = members(CALLS);
    let each = |client: Client| {
        let mut result = runtime.block_on(client.clone().call(Arc::clone(&members), 0..10));
        let counted =
            allocation_counter::measure(|| result = runtime.block_on(client.call(Arc::clone(&members), 0..CALLS)));
        result.map(|()| counted.count_total as f64 / CALLS as f64)
    };
    let raw_call = each(runtime.block_on(served.raw())?)?;
    let sdk_call = each(runtime.block_on(served.sdk(true))?)?;
    let allocations = Allocations { local_answer: local_answer as f64 / CALLS as f64, raw_call, sdk_call };
    println!("{}", serde_json::to_string(&allocations)?);
    Ok(())
}
