//! A process on free ports, in a map of two cells.

use crate::notes::Notes;
use cell_map::{Cell, CellId, CellMap, Incarnation, MapDraft, RegionId};
use map_store::MapWatch;
use mesh_layers::trust::PeerToken;
use service_runtime::{CancellationToken, Config, Overrides, Running, Service, run_with};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use testkit::call::{Answer, Caller};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub const TOKEN: &str = "a token of the peers";

pub fn cell(name: &str) -> CellId {
    CellId::new(name).unwrap()
}

pub fn map() -> CellMap {
    let mut draft = MapDraft::new(Incarnation::new(1));
    for (name, region) in [("bj-1", "beijing"), ("sh-1", "shanghai")] {
        draft.add_cell(Cell::new(cell(name), RegionId::new(region).unwrap())).unwrap();
    }
    draft.set_global_cell(&cell("bj-1"));
    draft.spread_buckets().unwrap();
    draft.build().unwrap()
}

fn user_of(name: &str) -> String {
    let map = map();
    (1_u32..)
        .map(|n| format!("user-{n}"))
        .find(|user| map.home(user.as_bytes()).cell.id == cell(name))
        .expect("both cells have buckets")
}

/// A user at home in this process's cell.
pub fn here() -> String {
    user_of("bj-1")
}

/// A user at home in the other.
pub fn elsewhere() -> String {
    user_of("sh-1")
}

/// A database with its ownership rows, made once: 65,536 rows take their time in a debug build.
pub async fn template() -> &'static std::path::Path {
    static MADE: tokio::sync::OnceCell<tempfile::TempPath> = tokio::sync::OnceCell::const_new();
    let make = async || {
        let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let db = storage::Db::open(storage::DbConfig::new(file.to_path_buf(), cell("bj-1")), &[]).await.unwrap();
        db.bootstrap_ownership(&map(), &cell("bj-1")).await.unwrap();
        db.close().await;
        file
    };
    MADE.get_or_init(make).await
}

/// A running process.
pub struct World {
    pub running: Running,
    pub data: tempfile::TempDir,
}

impl World {
    pub async fn start() -> Self {
        Self::with(Notes::default(), |_| {}).await
    }

    pub async fn with(notes: Notes, edit: impl FnOnce(&mut Config)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut config = Config::new(cell("bj-1"));
        config.database.path = data.path().join("cell.db");
        std::fs::copy(template().await, &config.database.path).unwrap();
        config.peer.token = Some(PeerToken::new(&TOKEN.replace(' ', "-")).unwrap());
        edit(&mut config);
        let services: Vec<Box<dyn Service>> = vec![Box::new(notes)];
        let fixed = config.map.file.as_os_str().is_empty();
        let overrides = Overrides { map: fixed.then(|| MapWatch::fixed(map())), ..Overrides::default() };
        let running = run_with(services, config, CancellationToken::new(), overrides).await.unwrap();
        Self { running, data }
    }

    pub async fn front(&self) -> Caller {
        Caller::connect(self.running.bound().front).await.unwrap()
    }

    pub async fn peer(&self) -> Caller {
        Caller::connect(self.running.bound().peer).await.unwrap()
    }

    /// The body of an admin page, with its status.
    pub async fn admin(&self, request: &str) -> (u16, String) {
        http1(self.running.bound().admin, request, "").await.expect("the admin listener answers")
    }

    /// Sum of all lines of a counter whose labels contain all of `labels`.
    pub async fn count(&self, counter: &str, labels: &[&str]) -> u64 {
        let (_, text) = self.admin("GET /metrics").await;
        let matching = text.lines().filter(|line| line.split('{').next() == Some(counter));
        let matching = matching.filter(|line| labels.iter().all(|label| line.contains(label)));
        matching.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// Waits until this many calls are being served.
    pub async fn in_flight(&self, calls: u64) {
        eventually(async || self.count("cellmesh_server_calls_in_flight", &[]).await == calls).await;
    }

    pub async fn end(self) {
        self.running.shutdown();
        self.running.wait().await.unwrap();
    }
}

/// Asks until the answer is yes, for ten seconds.
pub async fn eventually(mut asked: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !asked().await {
        assert!(began.elapsed() < Duration::from_secs(10), "it does not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn reason(answer: &Answer) -> String {
    let info = answer.error_info().unwrap_or_else(|| panic!("an error without ErrorInfo: {answer:?}"));
    assert_eq!(info.domain, "cellmesh");
    info.reason
}

/// One HTTP/1 request like `GET /x`; status and body.
pub async fn http1(address: SocketAddr, request: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
    let head = format!("{request} HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all((head + body).as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
