//! The front door with TLS.

use crate::support::*;
use cell_router::{Config, Parts, Router, tls::TlsConfig};
use std::{
    fs, io,
    net::SocketAddr,
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tempfile::TempDir;
use testkit::call::Caller;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName},
    },
};

const NAME: &str = "cellmesh.test";

/// Writes a certificate and its key; gives the certificate, which is its own authority.
fn renew(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    fs::write(folder.join("tls.crt"), made.cert.pem()).unwrap();
    fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

fn with_door(mut config: Config, folder: &Path) -> Config {
    config.tls = TlsConfig {
        listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        cert_file: Some(folder.join("tls.crt")),
        key_file: Some(folder.join("tls.key")),
    };
    config.limits.handshake_ms = 300;
    config
}

/// A router of cell `a` with such a door, its certificate and where it is kept.
async fn start(here: &Upstream) -> (Started, CertificateDer<'static>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let trusted = renew(folder.path());
    let router = start_with(with_door(config("a", &[here.address], &[]), folder.path()), map()).await;
    router.reaches(&["a"]).await;
    (router, trusted, folder)
}

async fn connect(
    router: &Started,
    trusted: &CertificateDer<'static>,
    alpn: &[&str],
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut client = builder.with_root_certificates(roots).with_no_client_auth();
    client.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let socket = TcpStream::connect(router.router.addresses().tls.unwrap()).await?;
    TlsConnector::from(Arc::new(client)).connect(ServerName::try_from(NAME).unwrap(), socket).await
}

async fn caller(router: &Started, trusted: &CertificateDer<'static>) -> Caller {
    Caller::over(connect(router, trusted, &["h2"]).await.unwrap()).await.unwrap()
}

/// Whether the other side closes, without a word in HTTP/2.
async fn is_cut_off(mut stream: impl tokio::io::AsyncRead + Unpin) -> bool {
    let mut rest = Vec::new();
    let read = timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await.expect("it stays open");
    read.is_err() || rest.len() < 9
}

#[tokio::test]
async fn calls_are_answered_as_at_the_plain_door() {
    let here = Upstream::named("a").await;
    let (router, trusted, _folder) = start(&here).await;
    let mut outside = caller(&router, &trusted).await;
    let mut inside = router.caller().await;
    for caller in [&mut outside, &mut inside] {
        let answer = call(caller, "Put", &put(account("a", 0)), &[("cellmesh-hops", "7")]).await;
        assert_eq!((echoed(&answer), answer.header("cellmesh-cell")), ("a".to_owned(), Some("a")));
        let lost = call(caller, "Put", &[0xff], &[]).await;
        assert_eq!(refused(&lost).1, "BAD_REQUEST");
    }
    let seen = here.seen();
    let forged = |seen: &Seen| seen.header("cellmesh-hops") == Some("7");
    assert!(seen.len() == 2 && !seen.iter().any(forged), "it is a front door: {seen:?}");
}

#[tokio::test]
async fn who_agrees_on_nothing_is_cut_off_and_counted() {
    let here = Upstream::named("a").await;
    let (router, trusted, _folder) = start(&here).await;
    let mut good = caller(&router, &trusted).await;
    let door = router.router.addresses().tls.unwrap();
    let stranger = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap().cert.der().clone();

    assert!(connect(&router, &stranger, &["h2"]).await.is_err(), "nobody vouches for it");
    assert!(connect(&router, &trusted, &["http/1.1"]).await.is_err(), "no protocol in common");
    if let Ok(stream) = connect(&router, &trusted, &[]).await {
        assert!(is_cut_off(stream).await, "it did not ask for HTTP/2");
    }
    let mut plain = TcpStream::connect(door).await.unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    assert!(is_cut_off(plain).await, "it speaks no TLS");
    assert!(is_cut_off(TcpStream::connect(door).await.unwrap()).await, "it says nothing");

    let failed = || router.router.brain().events.handshakes_failed.load(Relaxed);
    let deadline = Instant::now() + Duration::from_secs(10);
    while failed() < 5 && Instant::now() < deadline {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(failed(), 5);
    assert_eq!(echoed(&call(&mut good, "Put", &put(account("a", 0)), &[]).await), "a");
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_and_open_connections_stay() {
    let here = Upstream::named("a").await;
    let (router, first, folder) = start(&here).await;
    let mut old = caller(&router, &first).await;
    // Half of a pair is none: the old one stays.
    fs::write(folder.path().join("tls.key"), "no key").unwrap();
    sleep(Duration::from_secs(3)).await;
    assert!(connect(&router, &first, &["h2"]).await.is_ok());

    let second = renew(folder.path());
    let deadline = Instant::now() + Duration::from_secs(20);
    while connect(&router, &second, &["h2"]).await.is_err() {
        assert!(Instant::now() < deadline, "the new certificate is not taken");
        sleep(Duration::from_millis(100)).await;
    }
    assert!(connect(&router, &first, &["h2"]).await.is_err());
    for caller in [&mut old, &mut caller(&router, &second).await] {
        assert_eq!(echoed(&call(caller, "Put", &put(account("a", 0)), &[]).await), "a");
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_door_is_named() {
    let folder = tempfile::tempdir().unwrap();
    renew(folder.path());
    let (cert, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let other = tempfile::tempdir().unwrap();
    renew(other.path());
    let start = async |edit: &dyn Fn(&mut TlsConfig)| {
        let mut config = with_door(config("a", &[], &[]), folder.path());
        edit(&mut config.tls);
        let (_maps, maps) = watch::channel(Arc::new(map()));
        match Router::start(Parts { config, table: table(), maps, log: None }).await {
            Ok(_) => "nothing".to_owned(),
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(start(&|_| {}).await, "nothing");
    assert_eq!(start(&|tls| *tls = TlsConfig::default()).await, "nothing");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    type Edit<'a> = &'a dyn Fn(&mut TlsConfig);
    let cases: [(Edit<'_>, &str); 7] = [
        (&|tls| tls.listen = None, "\"tls.listen\" is missing"),
        (&|tls| tls.cert_file = None, "\"tls.cert_file\" is missing"),
        (&|tls| tls.key_file = None, "\"tls.key_file\" is missing"),
        (&|tls| tls.cert_file = Some("nowhere.crt".into()), "key \"tls.cert_file\": cannot read \"nowhere.crt\""),
        (&|tls| tls.cert_file = Some(key.clone()), "holds no certificate"),
        (&|tls| tls.key_file = Some(cert.clone()), "key \"tls.key_file\""),
        (&|tls| tls.key_file = Some(other.path().join("tls.key")), "key \"tls.key_file\""),
    ];
    for (edit, why) in cases {
        let error = start(edit).await;
        assert!(error.contains(why), "{why}: {error}");
    }
    let error = start(&|tls| tls.listen = Some(taken)).await;
    assert!(error.contains("\"tls.listen\""), "{error}");
}
