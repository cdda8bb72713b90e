//! A member service that has everything in its head, a router that tells where it is, and clients of both kinds.

mod answers;

use answers::{Members, Tells};
use anyhow::Context as _;
use client_sdk::{Connector as _, InMemory, Mesh, Settings, Source};
use hyper_util::rt::TokioIo;
use mesh_proto::control_v1::control_service_server::ControlServiceServer;
use shop_client::member::MemberServiceClient as SdkClient;
use shop_proto::member_v1::{
    GetMemberRequest, member_service_client::MemberServiceClient, member_service_server::MemberServiceServer,
};
use std::{io, net::SocketAddr, ops::Range, sync::Arc, time::Duration};
use tokio::{net::TcpListener, task::AbortHandle, time::timeout};
use tonic::transport::{Channel, Endpoint, Server, server::TcpIncoming};

/// What lies between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A pipe in this process.
    InMemory,
    /// A socket.
    Loopback,
}

impl Transport {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InMemory => "in memory",
            Self::Loopback => "loopback",
        }
    }
}

/// So many members to call for, with ids as long as minted ones. Made beforehand: that is no part of a call.
#[must_use]
pub fn members(count: usize) -> Arc<[String]> {
    (0..count).map(|n| format!("{n:026}")).collect()
}

/// A running server.
pub struct Served {
    address: String,
    memory: Option<InMemory>,
    task: AbortHandle,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A client of either kind; each call is for another member.
#[derive(Clone)]
pub enum Client {
    /// tonic's own channel, the generated client.
    Raw(MemberServiceClient<Channel>),
    /// The SDK's typed client.
    Sdk(Arc<SdkClient>),
}

impl Served {
    /// Starts a server.
    ///
    /// # Errors
    /// If no address can be bound.
    pub async fn start(transport: Transport) -> anyhow::Result<Self> {
        let listener = match transport {
            Transport::InMemory => None,
            Transport::Loopback => Some(TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?),
        };
        let address = match &listener {
            Some(listener) => listener.local_addr()?.to_string(),
            None => "members:1".to_owned(),
        };
        let server = Server::builder()
            .add_service(MemberServiceServer::new(Members))
            .add_service(ControlServiceServer::new(Tells::new(&address)?));
        let (memory, task) = match listener {
            Some(listener) => {
                let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
                (None, tokio::spawn(server.serve_with_incoming(incoming)))
            }
            None => {
                let memory = InMemory::default();
                let incoming = memory.listen(&address);
                (Some(memory), tokio::spawn(server.serve_with_incoming(incoming)))
            }
        };
        Ok(Self { address, memory, task: task.abort_handle() })
    }

    /// A client by tonic alone.
    ///
    /// # Errors
    /// If it cannot connect.
    pub async fn raw(&self) -> anyhow::Result<Client> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address))?.tcp_nodelay(true);
        let channel = match &self.memory {
            None => endpoint.connect().await?,
            Some(memory) => {
                let (memory, address) = (memory.clone(), self.address.clone());
                let connect = tower::service_fn(move |_| {
                    let (memory, address) = (memory.clone(), address.clone());
                    async move { Ok::<_, io::Error>(TokioIo::new(memory.connect(&address).await?)) }
                });
                endpoint.connect_with_connector(connect).await?
            }
        };
        Ok(Client::Raw(MemberServiceClient::new(channel)))
    }

    /// A client by the SDK that knows the way; with all rungs or without single-flight and batcher.
    ///
    /// # Errors
    /// If it does not get to know it.
    pub async fn sdk(&self, rungs: bool) -> anyhow::Result<Client> {
        let mut settings = Settings::default();
        (settings.coalescing, settings.batching) = (rungs, rungs);
        let mut builder = Mesh::builder().seeds([self.address.clone()]).settings(settings);
        if let Some(memory) = &self.memory {
            builder = builder.connector(memory.clone());
        }
        let mesh = builder.build()?;
        timeout(Duration::from_secs(10), mesh.ready()).await.context("the mesh is not known")??;
        let client = SdkClient::new(&mesh);
        let reply = client.get_member(GetMemberRequest { user_id: "first".to_owned() }).await?;
        let direct = matches!(&reply.source, Source::Remote { cell: Some(_), attempts: 1, hops: 0, .. });
        anyhow::ensure!(direct, "not called straight: {:?}", reply.source);
        Ok(Client::Sdk(Arc::new(client)))
    }
}

impl Client {
    /// A call for each member of a range, one after the other.
    ///
    /// # Errors
    /// If one fails, or tells of another member.
    pub async fn call(self, members: Arc<[String]>, range: Range<usize>) -> anyhow::Result<()> {
        let mut client = self;
        for user_id in &members[range] {
            let request = GetMemberRequest { user_id: user_id.clone() };
            let response = match &mut client {
                Self::Raw(client) => client.get_member(request).await?.into_inner(),
                Self::Sdk(client) => client.get_member(request).await?.value,
            };
            anyhow::ensure!(response.member.is_some_and(|member| member.user_id == *user_id), "another member");
        }
        Ok(())
    }
}
