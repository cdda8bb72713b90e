//! What runs beside the calls, and the order in which everything ends.

use crate::{admin, config::DrainConfig, context::Context, error::RuntimeError, server::Server};
use axum::Router;
use std::time::Duration;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// Everything of a process that must be ended.
pub(super) struct Supervised {
    context: Context,
    servers: [Server; 2],
    drain: DrainConfig,
    tasks: JoinSet<()>,
    admin: CancellationToken,
    admin_task: JoinSet<()>,
}

impl Supervised {
    pub fn new(context: Context, servers: [Server; 2], drain: DrainConfig) -> Self {
        Self {
            context,
            servers,
            drain,
            tasks: JoinSet::new(),
            admin: CancellationToken::new(),
            admin_task: JoinSet::new(),
        }
    }

    /// Runs a task until the drain's end at the latest. It may end early, but not panic.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async move {
            task.await;
            tracing::debug!(task = name, "task ended");
        });
    }

    /// Serves the admin routes, until after everything else has ended.
    pub fn serve_admin(&mut self, listener: TcpListener, routes: Router) {
        let stop = self.admin.clone();
        self.admin_task.spawn(async move {
            if let Err(error) = admin::serve(listener, routes, stop).await {
                tracing::error!(%error, "admin listener failed");
            }
        });
    }

    /// Waits for the shutdown, or for a task's panic, and then drains.
    pub async fn until(mut self, shutdown: CancellationToken) -> Result<(), RuntimeError> {
        let result = tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            () = self.panicked() => Err(RuntimeError::Ended("a task")),
        };
        // Whoever still waits for readiness need not wait any more.
        shutdown.cancel();
        self.end().await;
        result
    }

    /// Returns when a task has panicked. A process that lost one must not go on looking healthy.
    async fn panicked(&mut self) {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(())) => {}
                Some(Err(error)) => return tracing::error!(%error, "a task ended"),
                None => std::future::pending().await,
            }
        }
    }

    async fn end(mut self) {
        let began = std::time::Instant::now();
        tracing::info!("draining");
        self.context.readiness.drain();
        tokio::time::sleep(Duration::from_millis(self.drain.notice_ms)).await;
        self.context.shutdown.cancel();
        let grace = self.drain.grace();
        let [front, peer] = &self.servers;
        let (front, peer) = tokio::join!(front.drain(grace), peer.drain(grace));
        let left = grace.saturating_sub(began.elapsed()).max(Duration::from_secs(1));
        let tasks = tokio::time::timeout(left, async { while self.tasks.join_next().await.is_some() {} });
        let tasks = tasks.await.is_ok();
        self.tasks.shutdown().await;
        self.context.mesh.close();
        self.context.db.close().await;
        self.admin.cancel();
        // Idle keep-alive connections of probes would hold it open for ever.
        let _ = tokio::time::timeout(Duration::from_millis(500), self.admin_task.join_next()).await;
        self.admin_task.shutdown().await;
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if front && peer && tasks {
            tracing::info!(took_ms, "drained");
        } else {
            tracing::warn!(took_ms, calls_cut = !(front && peer), tasks_cut = !tasks, "drained by force");
        }
    }
}
