//! A gRPC caller that may say anything on the wire: any header, any bytes, any verb.

use anyhow::Context as _;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// One HTTP/2 connection.
#[derive(Clone)]
pub struct Caller {
    sender: SendRequest<Full<Bytes>>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub http: StatusCode,
    /// Response headers.
    pub headers: HeaderMap,
    /// Trailers, or the headers of a trailers-only response.
    pub trailers: HeaderMap,
    /// Message bytes with their five-byte prefixes.
    pub body: Bytes,
}

impl Caller {
    /// Connects without TLS.
    ///
    /// # Errors
    /// If the connection or the HTTP/2 handshake fails.
    pub async fn connect(addr: SocketAddr) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(addr).await.with_context(|| format!("connecting to {addr}"))?;
        socket.set_nodelay(true)?;
        Self::over(socket).await
    }

    /// Over a connection that was made otherwise.
    ///
    /// # Errors
    /// If the HTTP/2 handshake fails.
    pub async fn over(socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> anyhow::Result<Self> {
        let (sender, connection) = Builder::new(TokioExecutor::new()).handshake(TokioIo::new(socket)).await?;
        tokio::spawn(async move {
            // The callers see the end of the connection in their own calls.
            let _ = connection.await;
        });
        Ok(Self { sender })
    }

    /// A unary call with the headers a real client sends, `extra` ones added or (by equal name) replaced.
    ///
    /// # Errors
    /// If the connection ends or the stream is reset.
    pub async fn unary(&mut self, path: &str, message: &[u8], extra: &[(&str, &str)]) -> anyhow::Result<Answer> {
        self.send(Method::POST, path, frame(message), extra).await
    }

    /// The same with a prost message.
    ///
    /// # Errors
    /// As [`Self::unary`].
    pub async fn message<M: prost::Message>(
        &mut self,
        path: &str,
        message: &M,
        extra: &[(&str, &str)],
    ) -> anyhow::Result<Answer> {
        self.unary(path, &message.encode_to_vec(), extra).await
    }

    /// Any verb and any body.
    ///
    /// # Errors
    /// If the connection ends or the stream is reset.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        extra: &[(&str, &str)],
    ) -> anyhow::Result<Answer> {
        let mut request = Request::builder().method(method).uri(format!("http://cellmesh.test{path}"));
        let headers = request.headers_mut().context("the request's path is no URI")?;
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert("te", HeaderValue::from_static("trailers"));
        let mut replaced = Vec::new();
        for (name, value) in extra {
            let name = HeaderName::from_bytes(name.as_bytes())?;
            if !replaced.contains(&name) {
                headers.remove(&name);
                replaced.push(name.clone());
            }
            headers.append(name, HeaderValue::from_bytes(value.as_bytes())?);
        }
        self.sender.ready().await?;
        let response = self.sender.send_request(request.body(Full::new(body))?).await?;
        let (head, body) = response.into_parts();
        let collected = body.collect().await?;
        let trailers = collected.trailers().cloned().unwrap_or_else(|| head.headers.clone());
        Ok(Answer { http: head.status, headers: head.headers, trailers, body: collected.to_bytes() })
    }
}

impl Answer {
    /// The gRPC status code; `None` if the response has none.
    #[must_use]
    pub fn code(&self) -> Option<tonic::Code> {
        let status = self.trailers.get("grpc-status")?.to_str().ok()?.parse::<i32>().ok()?;
        Some(tonic::Code::from_i32(status))
    }

    /// The status as tonic reads it.
    #[must_use]
    pub fn status(&self) -> Option<tonic::Status> {
        tonic::Status::from_header_map(&self.trailers)
    }

    /// `(reason, domain, metadata)` of the `google.rpc.ErrorInfo` in the status details.
    #[must_use]
    pub fn error_info(&self) -> Option<ErrorInfo> {
        let status = self.status()?;
        let details = RpcStatus::decode(status.details()).ok()?;
        let any = details.details.into_iter().find(|any| any.type_url.ends_with("/google.rpc.ErrorInfo"))?;
        ErrorInfo::decode(&*any.value).ok()
    }

    /// The first message.
    ///
    /// # Errors
    /// If there is none or it is of another type.
    pub fn message<M: prost::Message + Default>(&self) -> anyhow::Result<M> {
        let code = self.code();
        anyhow::ensure!(code == Some(tonic::Code::Ok), "answered {code:?}: {:?}", self.status());
        let bytes = self.body.get(5..).context("no message in the response")?;
        Ok(M::decode(bytes)?)
    }

    /// A response header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).or_else(|| self.trailers.get(name))?.to_str().ok()
    }
}

/// A message with its five-byte prefix.
#[must_use]
pub fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

/// `google.rpc.Status`, as much of it as a test reads. Written here so that the checks share no code with the product.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ErrorInfo {
    /// Why, in UPPER_SNAKE_CASE.
    #[prost(string, tag = "1")]
    pub reason: String,
    /// Whose reason.
    #[prost(string, tag = "2")]
    pub domain: String,
    /// More about it.
    #[prost(map = "string, string", tag = "3")]
    pub metadata: std::collections::HashMap<String, String>,
}
