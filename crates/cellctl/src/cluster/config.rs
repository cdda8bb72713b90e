//! The processes' configuration files, as types that cannot misspell a key.

use super::file::Files;
use super::{ClusterConfig, Guest, Place, guest};
use serde::Serialize;
use std::collections::BTreeMap;
use std::iter;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// How long a process finishes its calls once it was asked to end, in milliseconds.
const GRACE_MS: u64 = 3000;

#[derive(Serialize)]
struct Common {
    cell: String,
    listen: Listen,
    peer: Peer,
    map: Map,
    telemetry: Telemetry,
    drain: Drain,
}

#[derive(Serialize)]
struct Listen {
    front: SocketAddr,
    peer: SocketAddr,
    admin: SocketAddr,
}

#[derive(Serialize)]
struct Peer {
    token_file: PathBuf,
}

#[derive(Serialize)]
struct Map {
    file: PathBuf,
    watch: bool,
}

#[derive(Serialize)]
struct Telemetry {
    otlp: String,
    log: &'static str,
    log_format: &'static str,
}

#[derive(Serialize)]
struct Drain {
    grace_ms: u64,
}

#[derive(Serialize)]
struct RouterFile {
    #[serde(flatten)]
    common: Common,
    router: Router,
    peers: Peers,
}

#[derive(Serialize)]
struct Router {
    descriptor_sets: Vec<PathBuf>,
    instances: Vec<Instance>,
}

#[derive(Serialize)]
struct Instance {
    address: SocketAddr,
    front: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    services: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Peers {
    overrides: BTreeMap<String, SocketAddr>,
    fronts: BTreeMap<String, SocketAddr>,
}

#[derive(Serialize)]
struct ServicesFile {
    #[serde(flatten)]
    common: Common,
    services: Services,
    database: Database,
    seal: Seal,
    operator: Operator,
    catalog: Seeded,
    campaign: Seeded,
}

#[derive(Serialize)]
struct Services {
    run: [&'static str; 4],
    router: String,
    router_peer: SocketAddr,
}

#[derive(Serialize)]
struct Database {
    path: PathBuf,
}

#[derive(Serialize)]
struct Seal {
    keys: [SealKey; 1],
}

#[derive(Serialize)]
struct Operator {
    token_file: PathBuf,
}

#[derive(Serialize)]
struct SealKey {
    id: u32,
    secret: String,
}

#[derive(Serialize)]
struct Seeded {
    seed: bool,
}

fn common(config: &ClusterConfig, place: &Place, files: &Files, listen: Listen) -> Common {
    Common {
        cell: place.id.clone(),
        listen,
        peer: Peer { token_file: files.peer_token_file.clone() },
        map: Map { file: files.map.clone(), watch: true },
        telemetry: Telemetry { otlp: config.otlp.clone().unwrap_or_default(), log: "info", log_format: "json" },
        drain: Drain { grace_ms: GRACE_MS },
    }
}

/// Who hosts which services, where there is more than the shop.
pub(super) struct Hosted {
    shop: Option<Vec<String>>,
    guests: Vec<(PathBuf, Vec<String>)>,
}

impl Hosted {
    /// Reads it from the descriptor sets.
    pub fn of(config: &ClusterConfig, places: &[Place]) -> anyhow::Result<Self> {
        let cells: Vec<&str> = places.iter().map(|place| place.id.as_str()).collect();
        let hosted = |guest: &Guest| Ok((std::path::absolute(&guest.descriptor_set)?, guest.services(&cells)?));
        let guests = config.guests.iter().map(hosted).collect::<anyhow::Result<Vec<_>>>()?;
        let shop = match guests.is_empty() {
            true => None,
            false => Some(guest::services(&[shop_proto::FILE_DESCRIPTOR_SET, mesh_proto::MAP_ADMIN_DESCRIPTOR_SET])?),
        };
        Ok(Self { shop, guests })
    }
}

/// The file of a cell's router. The routers and services of the other region are reached through the link.
pub(super) fn router(
    config: &ClusterConfig,
    place: &Place,
    places: &[Place],
    files: &Files,
    hosted: &Hosted,
) -> String {
    let listen = Listen { front: place.front, peer: place.peer, admin: place.admin };
    let far = || places.iter().filter(|other| other.region != place.region);
    let shop = Instance { address: place.services_peer, front: place.services_front, services: hosted.shop.clone() };
    let guests = config.guests.iter().zip(&hosted.guests).filter_map(|(guest, (_, services))| {
        let address = *guest.instances.get(&place.id)?;
        Some(Instance { address, front: address, services: Some(services.clone()) })
    });
    let sets = hosted.guests.iter().map(|(set, _)| set.clone());
    let file = RouterFile {
        common: common(config, place, files, listen),
        router: Router {
            descriptor_sets: iter::once(files.descriptor_set.clone()).chain(sets).collect(),
            instances: iter::once(shop).chain(guests).collect(),
        },
        peers: Peers {
            overrides: far().filter_map(|other| Some((other.id.clone(), other.link?))).collect(),
            // One address of another cell leads to all of its services or to none: with guests clients do without the link.
            fronts: match hosted.guests.is_empty() {
                true => far().filter_map(|other| Some((other.id.clone(), other.services_link?))).collect(),
                false => BTreeMap::new(),
            },
        },
    };
    to_toml(&file)
}

/// The file of a cell's services. Only the `global` cell may begin with products and campaigns.
pub(super) fn services(config: &ClusterConfig, place: &Place, folder: &Path, files: &Files, global: bool) -> String {
    let listen = Listen { front: place.services_front, peer: place.services_peer, admin: place.services_admin };
    let file = ServicesFile {
        common: common(config, place, files, listen),
        services: Services {
            run: ["member", "catalog", "campaign", "trade"],
            router: format!("http://{}", place.front),
            router_peer: place.peer,
        },
        database: Database { path: folder.join("cell.db") },
        seal: Seal { keys: [SealKey { id: 1, secret: files.seal_secret.clone() }] },
        operator: Operator { token_file: files.operator_token_file.clone() },
        catalog: Seeded { seed: global && config.seed },
        campaign: Seeded { seed: global && config.seed },
    };
    to_toml(&file)
}

fn to_toml(file: &impl Serialize) -> String {
    toml::to_string(file).expect("tables of texts, numbers and UTF-8 paths can be written as TOML")
}
