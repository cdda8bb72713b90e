//! The routes of a process under their layers.

use crate::{config::LimitsConfig, mesh::Local, metrics::Metrics};
use cell_map::CellId;
use mesh_layers::{
    Listener,
    budget::ByteBudget,
    layer::{
        AroundLayer, MethodRules, Methods,
        calls::{Admission, Calls},
        limit::Limit,
        message::Messages,
        observe::{Observe, Recorder},
    },
    trust::PeerToken,
};
use mesh_policy::{MethodPolicy, PolicyTable, Scope};
use std::{sync::Arc, time::Duration};
use tonic::service::Routes;
use tower::{ServiceBuilder, util::BoxCloneSyncService};

/// Methods that every process serves beside its own, and whether their request is one message.
const COMMON: [(&str, bool); 4] = [
    ("/grpc.health.v1.Health/Check", true),
    ("/grpc.health.v1.Health/Watch", true),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", false),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", false),
];

/// What the layers know of each method.
pub(crate) fn methods(policies: &PolicyTable, limits: &LimitsConfig) -> Methods {
    let mut methods = Methods::default();
    for (path, unary_request) in policies.unannotated().map(|path| (path, false)).chain(COMMON) {
        let default_deadline = Some(limits.max_deadline());
        let rules = MethodRules {
            default_deadline,
            max_deadline: None,
            max_request_bytes: None,
            route_key: None,
            unary_request,
            server_streaming: false,
            global: false,
        };
        methods.add(path, rules);
    }
    for policy in policies.methods() {
        methods.add(&policy.path, rules(policy, limits.max_deadline()));
    }
    methods
}

fn rules(policy: &MethodPolicy, max: Duration) -> MethodRules {
    // A stream is meant to last; its caller comes again at its end.
    let of_streams = (policy.server_streaming || policy.client_streaming).then_some(policy.max_deadline.unwrap_or(max));
    MethodRules {
        default_deadline: policy.default_deadline.or(of_streams),
        max_deadline: policy.max_deadline,
        max_request_bytes: policy.max_request_bytes.map(|bytes| bytes as usize),
        route_key: policy.route_key.clone().filter(|_| policy.scope == Scope::User),
        unary_request: !policy.client_streaming,
        server_streaming: policy.server_streaming,
        global: policy.scope == Scope::Global,
    }
}

/// Everything that the layers of all listeners share.
pub(crate) struct Stack {
    pub cell: CellId,
    pub routes: Routes,
    pub methods: Arc<Methods>,
    pub limits: LimitsConfig,
    pub calls: Limit,
    pub budget: ByteBudget,
    pub metrics: Metrics,
}

impl Stack {
    /// The routes as one listener serves them.
    pub fn on(&self, listener: Listener, token: Option<PeerToken>) -> Local {
        self.build(listener, token, self.calls.clone())
    }

    /// The routes for calls from within this process: the call that makes them is counted against the limit already.
    pub fn inside(&self, token: PeerToken) -> Local {
        self.build(Listener::Peer, Some(token), Limit::new(usize::MAX))
    }

    fn build(&self, listener: Listener, token: Option<PeerToken>, limit: Limit) -> Local {
        let methods = || Arc::clone(&self.methods);
        let recorder: Arc<dyn Recorder> = Arc::new(self.metrics.clone());
        let admission = Admission {
            cell: self.cell.clone(),
            listener,
            token,
            default_deadline: self.limits.default_deadline(),
            max_deadline: self.limits.max_deadline(),
        };
        let layers = ServiceBuilder::new()
            .layer(AroundLayer(Observe::new(self.cell.clone(), listener, methods(), recorder)))
            .layer(AroundLayer(Calls::new(admission, methods())))
            .layer(AroundLayer(limit))
            .layer(AroundLayer(Messages::new(methods(), self.limits.message_bytes, self.budget.clone())));
        BoxCloneSyncService::new(layers.service(self.routes.clone()))
    }
}
