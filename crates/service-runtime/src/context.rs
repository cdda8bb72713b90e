//! What a service is given.

use crate::{
    config::{Config, ConfigError, section},
    mesh::MeshChannel,
    metrics::Metrics,
    readiness::Readiness,
    user_stream::Pulse,
};
use cell_map::{CellId, OwnerEpochs, UserKey};
use figment::Figment;
use map_store::MapWatch;
use mesh_layers::CallContext;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use storage::{Db, FenceRequest, SealKey, SealKeys};
use tokio_util::sync::CancellationToken;

/// Milliseconds since the Unix epoch.
pub type Clock = storage::Clock;

/// What a service is given. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// This cell.
    pub cell: CellId,
    /// This cell's database. Transactions are counted, traced and noted in the running call.
    pub db: Db,
    /// The cell map.
    pub map: MapWatch,
    /// Keys that seal page tokens.
    pub seal: SealKeys,
    /// Calls to other services: `MemberServiceClient::new(context.mesh.clone())`.
    pub mesh: MeshChannel,
    /// What the process waits for before it is ready.
    pub readiness: Readiness,
    /// Where a service registers metrics of its own.
    pub metrics: Metrics,
    /// Cancelled when the drain begins: ends tasks and long streams.
    pub shutdown: CancellationToken,
    pub(crate) clock: Clock,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) secrets: Arc<[SealKey]>,
    pub(crate) sections: Figment,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("cell", &self.cell).finish_non_exhaustive()
    }
}

impl Context {
    /// The time in milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    /// 64 random bits.
    #[must_use]
    pub fn random(&self) -> u64 {
        rand::random()
    }

    /// Refuses where global data is written elsewhere.
    ///
    /// # Errors
    /// The name of the global cell, if it is another one.
    pub fn require_global(&self) -> Result<(), CellId> {
        let map = self.map.load();
        let global = &map.global_cell().id;
        if *global == self.cell { Ok(()) } else { Err(global.clone()) }
    }

    /// The call that the current task serves.
    #[must_use]
    pub fn call(&self) -> Option<CallContext> {
        CallContext::current()
    }

    /// A fence for a user, with the epochs that the current call asks with (none outside of a call).
    #[must_use]
    pub fn fence<'a>(&self, key: &'a UserKey) -> FenceRequest<'a> {
        FenceRequest { key, asked: CallContext::with_current(CallContext::asked).unwrap_or(OwnerEpochs::ZERO) }
    }

    /// Keys for one purpose, derived from the mesh-wide ones: with their ids, the sealing one first.
    #[must_use]
    pub fn derive_keys(&self, purpose: &str) -> Vec<(u32, [u8; 32])> {
        let context = format!("cellmesh derived key v1: {purpose}");
        self.secrets.iter().map(|key| (key.id, blake3::derive_key(&context, &key.secret))).collect()
    }

    /// A service's own section of the configuration; its defaults when there is none. Put `deny_unknown_fields` on
    /// `T`, so that a misspelt key is an error.
    ///
    /// # Errors
    /// If a key is unknown or a value bad.
    pub fn section<T: DeserializeOwned + Default>(&self, name: &str) -> Result<T, ConfigError> {
        section(&self.sections, name)
    }
}

/// The mesh-wide keys of the configuration.
pub(crate) fn secrets(config: &Config) -> Result<Vec<SealKey>, String> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let key = |(at, key): (usize, &crate::config::SealKeyConfig)| {
        let bytes = STANDARD.decode(&key.secret).unwrap_or_default();
        let secret = <[u8; 32]>::try_from(bytes)
            .map_err(|_| format!("key \"seal.keys.{at}.secret\" is not 32 bytes in base64"))?;
        Ok(SealKey { id: key.id, secret })
    };
    if config.seal.keys.is_empty() {
        // Tokens of such a process open in no other one: good enough for a lone process, not for a mesh.
        tracing::warn!("key \"seal.keys\" is empty: tokens are sealed with a key that dies with this process");
        return Ok(vec![SealKey { id: 0, secret: std::array::from_fn(|_| rand::random()) }]);
    }
    config.seal.keys.iter().enumerate().map(key).collect()
}
