//! A second front door, with TLS: for callers from outside. The plain one is for the cell's own network.
//!
//! HTTP/2 alone is agreed on (ALPN `h2`: RFC 7301, RFC 9113 §3.2). Others renew certificate and key, as cert-manager does: the
//! files are read anew when they change, and connections that are open stay.

use arc_swap::ArcSwap;
use serde::Deserialize;
use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpStream, task::spawn_blocking, time::sleep};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
    server::TlsStream,
};

const H2: &[u8] = b"h2";
/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// `[tls]`: a front door for callers from outside. All keys or none.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// Where it listens.
    pub listen: Option<SocketAddr>,
    /// PEM file of the certificate, then those between it and its authority's.
    pub cert_file: Option<PathBuf>,
    /// PEM file of its private key.
    pub key_file: Option<PathBuf>,
}

/// What the files hold.
#[derive(PartialEq, Eq)]
struct Pems {
    certs: Vec<u8>,
    key: Vec<u8>,
}

/// The door's certificate as it is now.
pub(crate) struct Tls {
    cert_file: PathBuf,
    key_file: PathBuf,
    current: ArcSwap<ServerConfig>,
}

impl Tls {
    /// The door that is configured, and where it is; none if none is. Blocks on the disk.
    ///
    /// # Errors
    /// If a key is missing, or a file cannot be read or does not hold what it should; names the key.
    pub fn open(config: &TlsConfig) -> Result<Option<(SocketAddr, Arc<Self>)>, String> {
        let TlsConfig { listen, cert_file, key_file } = config.clone();
        let (listen, cert_file, key_file) = match (listen, cert_file, key_file) {
            (None, None, None) => return Ok(None),
            (Some(listen), Some(cert_file), Some(key_file)) => (listen, cert_file, key_file),
            (listen, cert_file, _) => {
                let missing = match (listen, cert_file) {
                    (None, _) => "listen",
                    (_, None) => "cert_file",
                    _ => "key_file",
                };
                return Err(format!("key \"tls.{missing}\" is missing: the keys of \"tls\" belong together"));
            }
        };
        let current = server(&read(&cert_file, &key_file)?, &cert_file, &key_file)?;
        let current = ArcSwap::from_pointee(current);
        Ok(Some((listen, Arc::new(Self { cert_file, key_file, current }))))
    }

    /// Takes new certificates into use as they come, for ever. What is wrong with new ones is said once, and the old one stays.
    pub async fn follow(self: Arc<Self>) {
        let mut last = None;
        loop {
            let this = Arc::clone(&self);
            let look = move || {
                let read = read(&this.cert_file, &this.key_file);
                if last.as_ref() != Some(&read) {
                    match read.as_ref().map_err(Clone::clone).and_then(|pems| this.renew(pems)) {
                        Ok(()) => tracing::info!(file = %this.cert_file.display(), "certificate in use"),
                        Err(error) => tracing::warn!(error, "the certificate stays as it was"),
                    }
                }
                Some(read)
            };
            match spawn_blocking(look).await {
                Ok(read) => last = read,
                // The runtime ends.
                Err(_) => return,
            }
            sleep(LOOK).await;
        }
    }

    fn renew(&self, pems: &Pems) -> Result<(), String> {
        self.current.store(Arc::new(server(pems, &self.cert_file, &self.key_file)?));
        Ok(())
    }

    /// The handshake; the caller limits its time.
    ///
    /// # Errors
    /// If it fails, or the caller does not agree on HTTP/2.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let stream = TlsAcceptor::from(self.current.load_full()).accept(stream).await?;
        if stream.get_ref().1.alpn_protocol() != Some(H2) {
            return Err(io::Error::other("the caller does not ask for HTTP/2 (ALPN \"h2\")"));
        }
        Ok(stream)
    }
}

fn read(cert_file: &Path, key_file: &Path) -> Result<Pems, String> {
    let read = |key: &str, file: &Path| {
        fs::read(file).map_err(|error| format!("key \"tls.{key}\": cannot read \"{}\": {error}", file.display()))
    };
    Ok(Pems { certs: read("cert_file", cert_file)?, key: read("key_file", key_file)? })
}

fn server(pems: &Pems, cert_file: &Path, key_file: &Path) -> Result<ServerConfig, String> {
    let fault = |key: &str, file: &Path, why: &dyn std::fmt::Display| {
        format!("key \"tls.{key}\": \"{}\": {why}", file.display())
    };
    let certs: Vec<_> = CertificateDer::pem_slice_iter(&pems.certs)
        .collect::<Result<_, _>>()
        .map_err(|error| fault("cert_file", cert_file, &error))?;
    if certs.is_empty() {
        return Err(fault("cert_file", cert_file, &"it holds no certificate in PEM"));
    }
    let key = PrivateKeyDer::from_pem_slice(&pems.key).map_err(|error| fault("key_file", key_file, &error))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?;
    // Also if the key is another certificate's.
    let config = builder.with_no_client_auth().with_single_cert(certs, key);
    let mut config = config.map_err(|error| fault("key_file", key_file, &error))?;
    config.alpn_protocols = vec![H2.to_vec()];
    Ok(config)
}
