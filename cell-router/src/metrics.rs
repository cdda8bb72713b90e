//! The router's lines in `/metrics`, read from its atomics when they are asked for.

use crate::{
    method::{BUCKETS_US, Stats},
    worker::Common,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};
use service_runtime::metrics::code_name;
use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};
use tonic::Code;

/// Collects the router's metrics.
#[derive(Debug)]
pub struct RouterMetrics(pub Arc<Common>);

/// Label of calls whose method is unknown: their paths are the caller's, and unbounded.
const OTHER: &str = "_other";

impl RouterMetrics {
    /// All methods with a label that any of them had calls for.
    fn stats(&self) -> Vec<(&str, &Stats)> {
        let methods = &self.0.brain.methods;
        let known = methods.iter().map(|method| (method.policy.path.trim_start_matches('/'), &method.stats));
        known.chain([(OTHER, &methods.unknown)]).collect()
    }
}

impl Collector for RouterMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stats = self.stats();
        let mut calls = encoder.encode_descriptor(
            "cellmesh_router_calls",
            "Passes, one per server span",
            None,
            MetricType::Counter,
        )?;
        for (method, stats) in &stats {
            for (code, count) in stats.calls.iter().enumerate() {
                let count = count.load(Relaxed);
                if count > 0 {
                    let labels = [("method", *method), ("status", code_name(Code::from(code as i32)))];
                    ConstCounter::new(count).encode(calls.encode_family(&labels)?)?;
                }
            }
        }
        let help = "Attempts sent on, one per client span";
        let mut attempts = encoder.encode_descriptor("cellmesh_router_attempts", help, None, MetricType::Counter)?;
        for (method, stats) in &stats {
            let count = stats.attempts.load(Relaxed);
            if count > 0 {
                ConstCounter::new(count).encode(attempts.encode_family(&[("method", *method)])?)?;
            }
        }
        let help = "Time from a pass's head to its last byte";
        let unit = Unit::Seconds;
        let mut durations =
            encoder.encode_descriptor("cellmesh_router_call_duration", help, Some(&unit), MetricType::Histogram)?;
        for (method, stats) in &stats {
            if stats.buckets.iter().any(|bucket| bucket.load(Relaxed) > 0) {
                Durations(stats).encode(durations.encode_family(&[("method", *method)])?)?;
            }
        }
        self.events(&mut encoder)
    }
}

impl RouterMetrics {
    fn events(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let brain = &self.0.brain;
        let events = &brain.events;
        for (name, help, count) in [
            ("hops_refused", "Second cross-cell hops refused", &events.hops_refused),
            ("redirects_learnt", "Owners learnt from redirects", &events.redirects_learnt),
            ("parked", "Waits for a move to end", &events.parked),
            ("rejected", "Calls refused before any work", &events.rejected),
            ("shed", "Calls shed for load", &events.shed),
            ("connections_cut_off", "Connections cut off for abuse", &events.cut_off),
            ("connections_refused", "Connections refused for their number", &events.connections_refused),
            ("tls_handshakes_failed", "Connections at the TLS door that agreed on nothing", &events.handshakes_failed),
            ("own_calls", "Calls of health, reflection and the control API", &events.own_calls),
        ] {
            let name = format!("cellmesh_router_{name}");
            let metric = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
            ConstCounter::new(count.load(Relaxed)).encode(metric)?;
        }
        let map_epoch = brain.worlds.load().map_or(0, |world| world.map.epoch().get());
        let live = brain.worlds.instances().endpoints.iter().filter(|endpoint| endpoint.is_live()).count();
        let streams = brain.streams.load(Relaxed) + brain.global_streams.load(Relaxed);
        for (name, help, value) in [
            ("calls_in_flight", "Calls in flight, server streams apart", brain.in_flight.load(Relaxed) as u64),
            ("streams_in_flight", "Server streams in flight", streams as u64),
            (
                "connections",
                "Connections of callers",
                events.connections.iter().map(|of| of.load(Relaxed) as u64).sum(),
            ),
            ("redirects", "Redirects remembered", brain.redirects() as u64),
            ("parked_bytes", "Bytes of calls that wait for a move", brain.parked_bytes.load(Relaxed) as u64),
            ("map_epoch", "Epoch of the map in force", map_epoch),
            ("instances_connected", "Instances of this cell that are connected", live as u64),
        ] {
            let name = format!("cellmesh_router_{name}");
            let metric = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)?;
        }
        Ok(())
    }
}

struct Durations<'s>(&'s Stats);

impl EncodeMetric for Durations<'_> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let counts: Vec<u64> = self.0.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
        let bounds = BUCKETS_US.iter().map(|us| *us as f64 / 1e6).chain([f64::MAX]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
        let sum = self.0.sum_us.load(Relaxed) as f64 / 1e6;
        encoder.encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
