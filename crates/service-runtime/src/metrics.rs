//! Prometheus metrics, by the RPC conventions; base units. The label `cell` stands on every line.

use mesh_layers::layer::observe::{Finished, Recorder};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text::encode},
    metrics::{
        counter::{ConstCounter, Counter},
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::Histogram,
    },
    registry::{Registry, Unit},
};
use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};
use tonic::Code;
use tracing_appender::non_blocking::ErrorCounter;

/// Bounds of duration histograms, in seconds: from what a fenced read takes to the longest default deadline.
const SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// A family of duration histograms.
pub type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

/// An empty family of duration histograms with the usual bounds.
#[must_use]
pub fn durations<L: Clone + std::hash::Hash + Eq>() -> Durations<L>
where
    fn() -> Histogram: MetricConstructor<Histogram>,
{
    Family::new_with_constructor(|| Histogram::new(SECONDS))
}

/// The metrics of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Mutex<Registry>,
    server_calls: Family<CallLabels, Counter>,
    server_durations: Durations<CallLabels>,
    in_flight: Gauge,
    transactions: Family<TransactionLabels, Counter>,
    commits: Counter,
    published: Family<PublishLabels, Counter>,
    connections: Family<ListenerLabels, Gauge>,
    refused_connections: Family<RefusedLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    rpc_service: String,
    rpc_method: String,
    rpc_grpc_status_code: Cow<'static, str>,
    listener: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransactionLabels {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PublishLabels {
    kind: String,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabels {
    listener: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    listener: &'static str,
    why: &'static str,
}

impl Metrics {
    /// The metrics of a process of this cell.
    #[must_use]
    pub fn new(cell: &cell_map::CellId) -> Self {
        let mut registry = Registry::with_labels([(Cow::Borrowed("cell"), Cow::Owned(cell.to_string()))].into_iter());
        let inner = Inner {
            server_calls: Family::default(),
            server_durations: durations(),
            in_flight: Gauge::default(),
            transactions: Family::default(),
            commits: Counter::default(),
            published: Family::default(),
            connections: Family::default(),
            refused_connections: Family::default(),
            registry: Mutex::default(),
        };
        registry.register("cellmesh_server_calls", "Calls served, one per server span", inner.server_calls.clone());
        registry.register_with_unit(
            "rpc_server_call_duration",
            "Time from a call's head to its last byte",
            Unit::Seconds,
            inner.server_durations.clone(),
        );
        registry.register("cellmesh_server_calls_in_flight", "Calls being served", inner.in_flight.clone());
        registry.register(
            "cellmesh_db_transactions",
            "Transactions, one per db.transaction span",
            inner.transactions.clone(),
        );
        registry.register(
            "cellmesh_db_commits",
            "COMMITs of writes; transactions at work at once share one",
            inner.commits.clone(),
        );
        registry.register(
            "cellmesh_outbox_published",
            "Deliveries of outbox events tried, one per producer span",
            inner.published.clone(),
        );
        registry.register("cellmesh_connections", "Open connections", inner.connections.clone());
        registry.register(
            "cellmesh_refused_connections",
            "Connections closed before they could call",
            inner.refused_connections.clone(),
        );
        Self(Arc::new(Inner { registry: Mutex::new(registry), ..inner }))
    }

    /// Adds metrics of a process's own.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.0.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// All metrics in OpenMetrics text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let registry = self.0.registry.lock().unwrap_or_else(PoisonError::into_inner);
        encode(&mut text, &registry).expect("writing to a string does not fail");
        text
    }

    /// Shows how many log lines were lost to a full queue.
    pub fn watch_log(&self, dropped: ErrorCounter) {
        self.register(|registry| registry.register_collector(Box::new(DroppedLines(dropped))));
    }

    pub(crate) fn transaction(&self, kind: &'static str, outcome: &'static str) {
        self.0.transactions.get_or_create(&TransactionLabels { kind, outcome }).inc();
    }

    pub(crate) fn commit(&self) {
        self.0.commits.inc();
    }

    pub(crate) fn published(&self, kind: &str, status: &'static str) {
        self.0.published.get_or_create(&PublishLabels { kind: kind.to_owned(), status }).inc();
    }

    /// Counts an open connection until the guard drops.
    #[must_use]
    pub fn connection(&self, listener: &'static str) -> ConnectionGuard {
        let gauge = self.0.connections.get_or_create_owned(&ListenerLabels { listener });
        gauge.inc();
        ConnectionGuard(gauge)
    }

    /// Counts a connection closed before it could call.
    pub fn refused_connection(&self, listener: &'static str, why: &'static str) {
        self.0.refused_connections.get_or_create(&RefusedLabels { listener, why }).inc();
    }
}

struct DroppedLines(ErrorCounter);

impl fmt::Debug for DroppedLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DroppedLines({})", self.0.dropped_lines())
    }
}

impl Collector for DroppedLines {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counter = ConstCounter::new(self.0.dropped_lines() as u64);
        let help = "Log lines lost to a full queue";
        counter.encode(encoder.encode_descriptor("cellmesh_log_lines_dropped", help, None, counter.metric_type())?)
    }
}

/// One open connection.
#[derive(Debug)]
pub struct ConnectionGuard(Gauge);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Recorder for Metrics {
    fn started(&self, _: &str, _: &str) {
        self.0.in_flight.inc();
    }

    fn finished(&self, finished: &Finished<'_>) {
        let labels = CallLabels {
            rpc_service: finished.service.to_owned(),
            rpc_method: finished.method.to_owned(),
            rpc_grpc_status_code: code_name(finished.code).into(),
            listener: finished.listener.as_str(),
        };
        self.0.in_flight.dec();
        self.0.server_calls.get_or_create(&labels).inc();
        self.0.server_durations.get_or_create(&labels).observe(finished.took.as_secs_f64());
    }
}

/// A code's name as gRPC spells it.
#[must_use]
pub const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
