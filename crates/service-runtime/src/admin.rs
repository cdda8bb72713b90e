//! The admin listener: plain HTTP/1 for probes, Prometheus and operators. Never exposed beyond the pod's network.
//!
//! `GET /livez`, `GET /readyz` (503 names what is waited for), `GET /metrics`, `GET /loglevel`, `PUT /loglevel`.

use crate::{metrics::Metrics, readiness::Readiness, telemetry::LogLevel};
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use std::io;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What the listener shows.
#[derive(Clone, Debug)]
pub struct Admin {
    /// For `/readyz`.
    pub readiness: Readiness,
    /// For `/metrics`.
    pub metrics: Metrics,
    /// For `/loglevel`; none where the process does not own its log.
    pub level: Option<LogLevel>,
}

impl Admin {
    /// Its routes, to which a process may add its own.
    pub fn routes(self) -> Router {
        Router::new()
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/loglevel", get(level).put(set_level))
            .layer(DefaultBodyLimit::max(1024))
            .with_state(self)
    }
}

/// Serves the routes until the token is cancelled, then lets running requests end.
///
/// # Errors
/// If the listener fails.
pub async fn serve(listener: TcpListener, routes: Router, stop: CancellationToken) -> io::Result<()> {
    axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    match admin.readiness.waits_for() {
        names if names.is_empty() => (StatusCode::OK, "ok\n".to_owned()),
        names => (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {}\n", names.join(", "))),
    }
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], admin.metrics.encode())
}

async fn level(State(admin): State<Admin>) -> impl IntoResponse {
    match admin.level {
        Some(level) => (StatusCode::OK, format!("{}\n", level.get())),
        None => no_log(),
    }
}

async fn set_level(State(admin): State<Admin>, body: Bytes) -> impl IntoResponse {
    let Some(level) = admin.level else { return no_log() };
    let wanted = String::from_utf8_lossy(&body).trim().to_owned();
    if wanted.is_empty() {
        return (StatusCode::BAD_REQUEST, "log filter is empty\n".to_owned());
    }
    let before = level.get();
    match level.set(&wanted) {
        Ok(true) => {
            tracing::info!(before, now = wanted, "log filter changed");
            (StatusCode::OK, format!("{wanted}\n"))
        }
        Ok(false) => no_log(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("\"{wanted}\" is not a log filter: {error}\n")),
    }
}

fn no_log() -> (StatusCode, String) {
    (StatusCode::NOT_FOUND, "this process does not own its log\n".to_owned())
}
