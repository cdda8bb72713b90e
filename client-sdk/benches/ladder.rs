//! What the rungs above the wire cost: a call alone, beside the wire's own cost; many calls at once, with and without
//! batches. What local answers and whole calls cost, `cargo lab sdk` says.

#[path = "ladder/users.rs"]
mod users;

use bytes::Bytes;
use client_sdk::{Call, Mesh, Settings, Slot, bench};
use criterion::{BenchmarkId, Criterion, Throughput};
use futures_util::future::join_all;
use std::{
    future::IntoFuture as _,
    hint::black_box,
    time::{Duration, Instant},
};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, oneshot},
};
use users::{Get, GetUser};

/// What a call costs a client and a server on one machine, in processor time: about that of tonic over loopback.
const CALL: Duration = Duration::from_micros(20);

fn settings(coalescing: bool, batching: bool) -> Settings {
    let mut settings = Settings::default();
    (settings.coalescing, settings.batching) = (coalescing, batching);
    settings
}

fn at_once(settings: Settings) -> Mesh {
    bench::mesh(settings, |path, message| async move { users::serve(path, &message) })
}

fn quartiles(mut all: Vec<f64>) -> [f64; 3] {
    all.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| all[all.len() * quarter / 4])
}

/// Pairs by turns, so that neither has the quieter half of the machine: the median of what the ladder adds.
fn alone(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let mut group = criterion.benchmark_group("alone");
    let wire = at_once(Settings::default());
    group.bench_function("wire", |b| {
        b.iter(|| runtime.block_on(bench::bare::<Get>(&wire, &GetUser { user_id: black_box(7) })));
    });
    for (name, coalescing, batching) in
        [("no rung", false, false), ("single-flight", true, false), ("batcher", false, true), ("both", true, true)]
    {
        let mesh = at_once(settings(coalescing, batching));
        let slot = Slot::<Get>::of(&mesh);
        group.bench_function(name, |b| {
            b.iter(|| runtime.block_on(Call::new(&mesh, &slot, GetUser { user_id: black_box(7) }).into_future()));
        });
        let mut added = Vec::new();
        for _ in 0..400 {
            let turn = |ladder: bool| {
                let began = Instant::now();
                runtime.block_on(async {
                    for user_id in 1..=256 {
                        let request = GetUser { user_id };
                        let reply = match ladder {
                            true => Call::new(&mesh, &slot, request).await,
                            false => bench::bare::<Get>(&mesh, &request).await,
                        };
                        black_box(reply.expect("it is answered"));
                    }
                });
                began.elapsed().as_secs_f64() * 1e9 / 256.0
            };
            added.push(-turn(false) + turn(true));
        }
        let [low, median, high] = quartiles(added);
        println!(
            "figure: added_to_the_wire rungs=\"{name}\" median={median:.0}ns quartiles={low:.0}..{high:.0} N=400x256"
        );
    }
    group.finish();
}

/// A server behind a channel, one thread of work for all: each call costs it [`CALL`].
fn served(runtime: &Runtime, settings: Settings) -> Mesh {
    let (send, mut calls) = mpsc::unbounded_channel::<(&'static str, Bytes, oneshot::Sender<Bytes>)>();
    runtime.spawn(async move {
        while let Some((path, message, answer)) = calls.recv().await {
            let began = Instant::now();
            while began.elapsed() < CALL {
                std::hint::spin_loop();
            }
            let _ = answer.send(users::serve(path, &message));
            tokio::task::yield_now().await;
        }
    });
    bench::mesh(settings, move |path, message| {
        let (answer, answered) = oneshot::channel();
        let sent = send.send((path, message, answer)).is_ok();
        async move { if sent { answered.await.expect("it is answered") } else { Bytes::new() } }
    })
}

fn at_work(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("callers at once");
    group.sample_size(20).measurement_time(Duration::from_secs(4));
    for callers in [1_u64, 8, 64, 512] {
        for (name, batching) in [("single", false), ("batched", true)] {
            let mesh = served(&runtime, settings(false, batching));
            let slot = Slot::<Get>::of(&mesh);
            group.throughput(Throughput::Elements(callers * 20));
            group.bench_function(BenchmarkId::new(name, callers), |b| {
                b.iter(|| {
                    runtime.block_on(join_all((0..callers).map(|caller| {
                        let (mesh, slot) = (mesh.clone(), slot.clone());
                        let calls = async move {
                            for call in 0..20 {
                                let request = GetUser { user_id: caller * 20 + call + 1 };
                                Call::new(&mesh, &slot, request).await.expect("it is answered");
                            }
                        };
                        runtime.spawn(calls)
                    })))
                });
            });
            let stats = mesh.stats().methods.swap_remove(0);
            let mean = stats.logical as f64 / stats.wire as f64;
            println!("figure: items_of_a_call callers={callers} {name} mean={mean:.1} N={}", stats.logical);
        }
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    alone(&mut criterion);
    at_work(&mut criterion);
    criterion.final_summary();
}
