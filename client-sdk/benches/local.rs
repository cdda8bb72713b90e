//! What a local answer costs, through the typed client: medians of short runs, so that what else the machine does counts
//! for little.

#[path = "../tests/support/following.rs"]
mod following;

use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};
use following::AskRequest;
use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// Calls of one run.
const RUN: u32 = 100;

/// An id of the length that minting gives.
fn id(number: u64) -> String {
    format!("{:026}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn median<R>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, mut call: impl FnMut() -> R) {
    let mut run = |_| {
        let begun = Instant::now();
        for _ in 0..RUN {
            black_box(call());
        }
        begun.elapsed() / RUN
    };
    group.bench_function(name, |b| {
        b.iter_custom(|calls| {
            let runs = u32::try_from(calls).unwrap_or(u32::MAX).div_ceil(RUN).max(99);
            let mut times: Vec<Duration> = (0..runs).map(&mut run).collect();
            times.sort_unstable();
            times[times.len() / 2].saturating_mul(u32::try_from(calls).unwrap_or(u32::MAX))
        });
    });
}

fn local(criterion: &mut Criterion) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let mut group = criterion.benchmark_group("local");
    median(&mut group, "clock alone", Instant::now);
    for users in [1, 1000] {
        let ids: Vec<_> = (0..users).map(id).collect();
        let (mesh, slot) = runtime.block_on(following::mesh(&ids));
        let _entered = runtime.enter();
        let mut next = 0;
        let mut request = || {
            next = (next + 7) % ids.len();
            AskRequest { user_id: ids[next].clone(), target: 50 }
        };
        median(&mut group, &format!("request alone, {users} users in turn"), &mut request);
        median(&mut group, &format!("request and answer, {users} users in turn"), || {
            following::ask(&mesh, &slot, request()).expect("answered here")
        });
    }
    group.finish();
}

criterion_group!(benches, local);
criterion_main!(benches);
