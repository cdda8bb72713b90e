//! Line 6: a proto that nothing here knows, given as a descriptor set, routes by a nested key; `int64 7` and `string "7"`
//! are one user.

use cell_map::{CellId, RegionId};
use prost::Message;
use std::{fs, net::SocketAddr, path::Path, time::Duration};
use testkit::call::Caller;
use tokio::process::Child;

const PROTO: &str = r#"
syntax = "proto3";
package garage.v1;
import "cellmesh/policy/v1/policy.proto";

service BookingService {
  rpc ByNumber(ByNumberRequest) returns (Booking) { option (cellmesh.policy.v1.policy) = {scope: SCOPE_USER}; }
  rpc ByName(ByNameRequest) returns (Booking) { option (cellmesh.policy.v1.policy) = {scope: SCOPE_USER}; }
}
message Car { string plate = 1; Owner owner = 9 [(cellmesh.policy.v1.route_key) = true]; }
message Owner { bytes photo = 1; int64 number = 5 [(cellmesh.policy.v1.route_key) = true]; }
message ByNumberRequest { Car car = 3 [(cellmesh.policy.v1.route_key) = true]; string note = 4; }
message ByNameRequest { string name = 2 [(cellmesh.policy.v1.route_key) = true]; }
message Booking { string cell = 1; }
"#;

#[derive(Clone, PartialEq, Message)]
struct Owner {
    #[prost(bytes = "vec", tag = "1")]
    photo: Vec<u8>,
    #[prost(int64, tag = "5")]
    number: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Car {
    #[prost(string, tag = "1")]
    plate: String,
    #[prost(message, optional, tag = "9")]
    owner: Option<Owner>,
}

#[derive(Clone, PartialEq, Message)]
struct ByNumber {
    #[prost(message, optional, tag = "3")]
    car: Option<Car>,
    #[prost(string, tag = "4")]
    note: String,
}

#[derive(Clone, PartialEq, Message)]
struct ByName {
    #[prost(string, tag = "2")]
    name: String,
}

/// The lab's own echo stands for the stranger's service: what matters is which router's instance was asked.
async fn backend() -> anyhow::Result<SocketAddr> {
    let addr = testkit::ports::free()?;
    tokio::spawn(lab::peers::backend::run(addr));
    Ok(addr)
}

fn write_map(path: &Path, peers: &[(&str, SocketAddr)]) -> anyhow::Result<()> {
    lab::peers::map::write(
        path,
        &peers
            .iter()
            .map(|(id, peer)| anyhow::Ok((CellId::new(id)?, RegionId::new(&format!("region-{id}"))?, *peer)))
            .collect::<anyhow::Result<Vec<_>>>()?,
    )
}

fn router(dir: &Path, cell: &str, front: SocketAddr, peer: SocketAddr, instance: SocketAddr) -> anyhow::Result<Child> {
    let config = format!(
        "cell = \"{cell}\"\n[listen]\nfront = \"{front}\"\npeer = \"{peer}\"\nadmin = \"127.0.0.1:0\"\n[peer]\ntoken = \"one-mesh-one-token-for-this-test\"\n\
         [map]\nfile = \"{map}\"\n[router]\ndescriptor_sets = [\"{proto}\"]\ninstances = [\"{instance}\"]\n",
        map = dir.join("map.pb").display(),
        proto = dir.join("garage.binpb").display(),
    );
    let path = dir.join(format!("{cell}.toml"));
    fs::write(&path, config)?;
    let program = cellctl::cluster::bin_dir()?.join("cell-router");
    let ready = dir.join(format!("{cell}.ready"));
    let log = fs::File::create(dir.join(format!("{cell}.log")))?;
    let child = crate::mesh::product(&program)
        .arg("--config")
        .arg(path)
        .arg("--ready-file")
        .arg(ready)
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()?;
    Ok(child)
}

#[tokio::test]
async fn a_strangers_proto_routes_by_its_nested_key() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    fs::create_dir_all(dir.path().join("garage"))?;
    fs::write(dir.path().join("garage/garage.proto"), PROTO)?;
    let mesh_protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    let mut compiler = protox::Compiler::new([dir.path().join("garage"), mesh_protos])?;
    compiler.include_imports(true).open_file("garage.proto")?;
    fs::write(dir.path().join("garage.binpb"), compiler.encode_file_descriptor_set())?;

    let free = testkit::ports::free;
    let (left, right) = ((free()?, free()?), (free()?, free()?));
    write_map(&dir.path().join("map.pb"), &[("left-1", left.1), ("right-1", right.1)])?;
    let mut routers = [
        router(dir.path(), "left-1", left.0, left.1, backend().await?)?,
        router(dir.path(), "right-1", right.0, right.1, backend().await?)?,
    ];
    for cell in ["left-1", "right-1"] {
        let ready = dir.path().join(format!("{cell}.ready"));
        for _ in 0..200 {
            if ready.exists() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let log = fs::read_to_string(dir.path().join(format!("{cell}.log")))?;
        assert!(ready.exists(), "the router of {cell} got ready: {log}");
    }

    let mut at = [Caller::connect(left.0).await?, Caller::connect(right.0).await?];
    let mut homes = std::collections::HashMap::<String, u32>::new();
    for number in (1..=60).chain([-7, i64::MAX, i64::MIN]) {
        let owner = Owner { photo: vec![0; 40], number };
        let car = Car { plate: "京A·12345".to_owned(), owner: Some(owner) };
        let by_number = ByNumber { car: Some(car), note: "wash it".to_owned() };
        let by_name = ByName { name: number.to_string() };
        let mut seen = Vec::new();
        for caller in &mut at {
            for answer in [
                caller.message("/garage.v1.BookingService/ByNumber", &by_number, &[]).await?,
                caller.message("/garage.v1.BookingService/ByName", &by_name, &[]).await?,
            ] {
                assert_eq!(answer.code(), Some(tonic::Code::Ok), "{answer:?}");
                seen.push(answer.header("cellmesh-cell").expect("who served").to_owned());
            }
        }
        seen.dedup();
        assert_eq!(seen.len(), 1, "the integer {number} and its text have one home, from either door: {seen:?}");
        *homes.entry(seen.remove(0)).or_default() += 1;
    }
    assert_eq!(homes.len(), 2, "both cells have users: {homes:?}");
    println!("figure: private proto N=63 keys, homes {homes:?}");
    for router in &mut routers {
        router.kill().await?;
    }
    Ok(())
}
