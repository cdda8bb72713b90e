//! The split services as processes of a cluster: in the first cell one process for each, in the second one for all.

use super::FILE_DESCRIPTOR_SET;
use crate::processes::http_get;
use anyhow::Context as _;
use cellctl::cluster::{Cell, Cluster};
use prost::Message as _;
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};
use toml::{Table, Value};

/// The services by their names in configuration and protos.
const SERVICES: [(&str, &str); 3] = [
    ("order", "lab.split.v1.OrderService"),
    ("payment", "lab.split.v1.PaymentService"),
    ("middle", "lab.split.v1.MiddleService"),
];
/// How long processes may take to be ready, and to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// Which services run together, in which cell.
const PROCESSES: [(usize, &[&str]); 4] =
    [(0, &["order"]), (0, &["payment"]), (0, &["middle"]), (1, &["order", "payment", "middle"])];

/// What configuration of the cell's services is theirs too.
const KEPT: [&str; 10] =
    ["cell", "map", "peer", "listen", "telemetry", "limits", "drain", "services", "database", "seal"];

/// The processes.
pub(crate) struct Split(Vec<Process>);

struct Process {
    program: PathBuf,
    config: PathBuf,
    admin: SocketAddr,
    running: Option<Child>,
}

impl Split {
    /// Writes configurations, and makes the routers of a cluster that does not run yet know the processes.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub fn prepare(cluster: &Cluster, program: &Path) -> anyhow::Result<Self> {
        anyhow::ensure!(program.is_file(), "there is no {}", program.display());
        let descriptor_set = cluster.data().join("split.binpb");
        fs::write(&descriptor_set, FILE_DESCRIPTOR_SET)?;
        let mut processes = Vec::new();
        for cell in &cluster.cells {
            edit(cell.router_config_path(), |router| {
                list(router, "router", "descriptor_sets")?.push(text(&descriptor_set));
                // An instance that names no services hosts all.
                for instance in list(router, "router", "instances")? {
                    let instance = instance.as_table_mut().context("an instance that is no table")?;
                    instance.insert("services".to_owned(), texts(shop_services()?));
                }
                Ok(())
            })?;
        }
        for (cell, services) in PROCESSES {
            processes.push(Process::prepare(&cluster.cells[cell], program, services)?);
        }
        Ok(Self(processes))
    }

    /// Starts the processes. Routers are ready only when all their instances are.
    ///
    /// # Errors
    /// If one ends or does not get ready.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        for process in &mut self.0 {
            process.start()?;
        }
        for process in &mut self.0 {
            process.ready().await?;
        }
        Ok(())
    }

    /// Their admin listeners.
    pub fn admins(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().map(|process| process.admin)
    }

    /// Their process ids.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.0.iter().filter_map(|process| process.running.as_ref()?.id())
    }

    /// Ends them.
    ///
    /// # Errors
    /// If one had to be killed, or ended with an error; all are gone even so.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let mut result = Ok(());
        for process in &mut self.0 {
            result = result.and(process.stop().await);
        }
        result
    }
}

impl Process {
    /// Like the cell's own services, but for ports, database and what it runs.
    fn prepare(cell: &Cell, program: &Path, services: &[&str]) -> anyhow::Result<Self> {
        let [front, peer, admin] = [testkit::ports::free()?, testkit::ports::free()?, testkit::ports::free()?];
        let name = services.join("-");
        let config = cell.services_config_path().with_file_name(format!("{name}.toml"));
        fs::copy(cell.services_config_path(), &config)?;
        edit(&config, |own| {
            // Sections of the shop's services are none of theirs.
            own.retain(|section, _| KEPT.contains(&section));
            for (listener, address) in [("front", front), ("peer", peer), ("admin", admin)] {
                table(own, "listen")?.insert(listener.to_owned(), Value::String(address.to_string()));
            }
            let database = cell.db_path.with_file_name(format!("{name}.db"));
            table(own, "database")?.insert("path".to_owned(), text(&database));
            table(own, "services")?.insert("run".to_owned(), texts(services.iter().map(|name| (*name).to_owned())));
            Ok(())
        })?;
        edit(cell.router_config_path(), |router| {
            let address = |at: SocketAddr| Value::String(at.to_string());
            let hosted =
                SERVICES.iter().filter(|(name, _)| services.contains(name)).map(|(_, full)| (*full).to_owned());
            let mut instance = Table::new();
            instance.insert("address".to_owned(), address(peer));
            instance.insert("front".to_owned(), address(front));
            instance.insert("services".to_owned(), texts(hosted));
            list(router, "router", "instances")?.push(Value::Table(instance));
            Ok(())
        })?;
        Ok(Self { program: program.to_owned(), config, admin, running: None })
    }

    fn start(&mut self) -> anyhow::Result<()> {
        let log = fs::File::create(self.config.with_extension("log"))?;
        let mut command = Command::new(&self.program);
        // Its file configures it, not what happens to be set where it is started.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"CELLMESH_")) {
            command.env_remove(name);
        }
        command.arg("--exit-with-stdin").arg("--config").arg(&self.config).stdin(Stdio::piped());
        let child = command.stdout(log.try_clone()?).stderr(log).kill_on_drop(true).spawn()?;
        self.running = Some(child);
        Ok(())
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        while !http_get(self.admin, "/readyz").await.is_ok_and(|(status, _)| status == 200) {
            let ended = self.running.as_mut().and_then(|child| child.try_wait().transpose());
            if ended.is_some() || began.elapsed() > PATIENCE {
                let log = fs::read_to_string(self.config.with_extension("log")).unwrap_or_default();
                anyhow::bail!("{} does not get ready: {log}", self.config.display());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.running.take() else { return Ok(()) };
        drop(child.stdin.take());
        match timeout(PATIENCE, child.wait()).await {
            Ok(status) => {
                let status = status?;
                anyhow::ensure!(status.success(), "{} ended with {status}", self.config.display());
                Ok(())
            }
            Err(_) => Ok(child.kill().await?),
        }
    }
}

/// Full names of the shop's services.
fn shop_services() -> anyhow::Result<Vec<String>> {
    let set = prost_types::FileDescriptorSet::decode(shop_proto::FILE_DESCRIPTOR_SET)?;
    let names = set
        .file
        .iter()
        .flat_map(|file| file.service.iter().map(|service| format!("{}.{}", file.package(), service.name())));
    Ok(names.collect())
}

fn texts(texts: impl IntoIterator<Item = String>) -> Value {
    Value::Array(texts.into_iter().map(Value::String).collect())
}

fn text(path: &Path) -> Value {
    Value::String(path.display().to_string())
}

/// Changes a TOML file.
fn edit(path: &Path, change: impl FnOnce(&mut Table) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut file: Table = fs::read_to_string(path)?.parse()?;
    change(&mut file).with_context(|| format!("changing {}", path.display()))?;
    Ok(fs::write(path, toml::to_string(&file)?)?)
}

fn table<'t>(file: &'t mut Table, name: &str) -> anyhow::Result<&'t mut Table> {
    file.get_mut(name).and_then(Value::as_table_mut).with_context(|| format!("no section \"{name}\""))
}

fn list<'t>(file: &'t mut Table, section: &str, name: &str) -> anyhow::Result<&'t mut Vec<Value>> {
    let list = table(file, section)?.get_mut(name).and_then(Value::as_array_mut);
    list.with_context(|| format!("no list \"{section}.{name}\""))
}
