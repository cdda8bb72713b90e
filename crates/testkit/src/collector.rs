//! An OTLP/gRPC collector that keeps every span it is sent.

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value},
    trace::v1::Span,
};
use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// A running collector; stops when dropped.
pub struct Collector {
    addr: SocketAddr,
    spans: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

/// A span and the service that sent it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `service.name` of the sender's resource.
    pub service: String,
    /// The span.
    pub span: Span,
}

impl Collector {
    /// Listens on a free port.
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let spans = Arc::new(Mutex::new(Vec::new()));
        let service = TraceServiceServer::new(Sink { spans: spans.clone() }).max_decoding_message_size(64 << 20);
        let server = tonic::transport::Server::builder().add_service(service);
        let task = tokio::spawn(async move {
            if let Err(error) = server.serve_with_incoming(TcpListenerStream::new(listener)).await {
                eprintln!("collector stopped: {error}");
            }
        });
        Ok(Self { addr, spans, task })
    }

    /// What to give to `--otlp`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Every span so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Seen> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many spans so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether no span has come yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Sink {
    spans: Arc<Mutex<Vec<Seen>>>,
}

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.map(|r| r.attributes).unwrap_or_default();
            let service = text(&attributes, "service.name").unwrap_or_default();
            let sent = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.extend(sent.map(|span| Seen { service: service.clone(), span }));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// The attribute's value as text, whatever scalar it is.
#[must_use]
pub fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|a| a.key == key)?.value.as_ref()?.value.as_ref()?;
    Some(match value {
        any_value::Value::StringValue(v) => v.clone(),
        any_value::Value::IntValue(v) => v.to_string(),
        any_value::Value::BoolValue(v) => v.to_string(),
        any_value::Value::DoubleValue(v) => v.to_string(),
        _ => return None,
    })
}

/// Spans grouped by trace, with what is wrong with each.
#[derive(Debug, Default)]
pub struct Trees {
    /// Spans of each trace.
    pub traces: HashMap<Vec<u8>, Vec<Seen>>,
    /// Spans whose parent is in no exported span and not among the callers' own span ids.
    pub orphans: Vec<Seen>,
}

impl Trees {
    /// Groups spans; `callers` are span ids that the test itself made up as roots.
    #[must_use]
    pub fn of(spans: Vec<Seen>, callers: &HashSet<Vec<u8>>) -> Self {
        let ids: HashSet<Vec<u8>> = spans.iter().map(|s| s.span.span_id.clone()).collect();
        let mut trees = Self::default();
        for seen in spans {
            let parent = &seen.span.parent_span_id;
            if !parent.is_empty() && !ids.contains(parent) && !callers.contains(parent) {
                trees.orphans.push(seen.clone());
            }
            trees.traces.entry(seen.span.trace_id.clone()).or_default().push(seen);
        }
        trees
    }

    /// Traces with more than one root.
    #[must_use]
    pub fn forests(&self, callers: &HashSet<Vec<u8>>) -> usize {
        let root = |s: &&Seen| s.span.parent_span_id.is_empty() || callers.contains(&s.span.parent_span_id);
        self.traces.values().filter(|spans| spans.iter().filter(root).count() > 1).count()
    }
}
