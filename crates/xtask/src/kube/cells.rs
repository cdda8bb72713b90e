//! The cells of `k8s/example`, installed by the chart.

use super::{
    graph::{Edge, Watch},
    lab::{Lab, with_config},
};
use crate::{
    test::tool::{Tool, Toolbox},
    workspace::output,
};
use anyhow::{Context as _, bail, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;
use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs::{self, File},
    io::{Read as _, Write as _},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::NamedTempFile;

/// The cells; the first one is global. Each is a release `cellmesh` in a namespace of its own.
pub(super) const CELLS: [&str; 3] = ["bj-1", "sh-1", "sh-2"];
const RELEASE: &str = "cellmesh";
const TLS_SECRET: &str = "front-tls";
const TLS_NAME: &str = "front.cellmesh.test";
const EXAMPLE: &str = "k8s/example";
/// Longest wait for pods.
const READY: &str = "300s";
/// As the chart's images run.
const USER: u32 = 65532;

/// The running cells.
pub(super) struct Cells<'l> {
    lab: &'l Lab,
    helm: PathBuf,
    grpcurl: PathBuf,
    bin_dir: PathBuf,
    pub graph: RefCell<Graph>,
    /// Holds the operator token, for `cellctl`.
    pub operator: NamedTempFile,
    /// Holds the certificate of the global cell's front door.
    certificate: NamedTempFile,
}

/// What is known so far of who may call whom and who does.
pub(super) struct Graph {
    pub watch: Watch,
    /// By the NetworkPolicies, for the pods that there were.
    pub allowed: BTreeSet<Edge>,
    /// Between processes, by the traces.
    pub calls: BTreeSet<(String, String)>,
    /// Traces that were looked at.
    pub traces: usize,
}

/// Shoppers who call while something happens to the cells.
pub(super) struct Shoppers<'c> {
    cells: &'c Cells<'c>,
    name: String,
    log: NamedTempFile,
    follow: Child,
}

impl Shoppers<'_> {
    fn told(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(self.log.path())?)
    }

    /// All has happened: they make the calls that are still missing, and tell what came of all.
    pub fn end(mut self) -> anyhow::Result<()> {
        // Its end is waited for.
        self.cells.kubectl(&["-n", "tracing", "delete", "pod", &self.name])?;
        self.follow.wait()?;
        let told = self.told()?;
        let figures = told.lines().find(|line| line.starts_with('{')).unwrap_or_default();
        println!("figure: {} {figures}", self.name);
        let figures: Value = serde_json::from_str(figures).with_context(|| format!("shoppers failed: {told}"))?;
        ensure!(figures["failed"] == 0 && figures["wrong_wallets"] == 0, "shoppers failed: {told}");
        Ok(())
    }
}

impl Drop for Shoppers<'_> {
    fn drop(&mut self) {
        // One that ended already is reaped all the same.
        let _ = self.follow.kill();
        let _ = self.follow.wait();
    }
}

/// An answer, as grpcurl shows it.
#[derive(Debug)]
pub(super) struct Answer {
    pub body: Value,
    headers: String,
}

impl Answer {
    /// A header of the response.
    pub fn header(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}: ");
        self.headers.lines().find_map(|line| line.strip_prefix(&prefix))
    }
}

pub(super) fn namespace(cell: &str) -> String {
    format!("cellmesh-{cell}")
}

impl<'l> Cells<'l> {
    /// Installs everything that the example has, and waits until it is ready.
    pub fn install(tools: &Toolbox, lab: &'l Lab, bin_dir: PathBuf) -> anyhow::Result<Self> {
        let program = |tool| {
            let command = tools.command(tool).context("a tool is missing")?;
            anyhow::Ok(PathBuf::from(command.get_program()))
        };
        let watch = Watch::begin(lab)?;
        let graph = RefCell::new(Graph { watch, allowed: BTreeSet::new(), calls: BTreeSet::new(), traces: 0 });
        let (helm, grpcurl) = (program(Tool::Helm)?, program(Tool::Grpcurl)?);
        let cells = Self {
            lab,
            helm,
            grpcurl,
            bin_dir,
            graph,
            operator: NamedTempFile::new()?,
            certificate: NamedTempFile::new()?,
        };
        cells.kubectl(&["apply", "-f", &format!("{EXAMPLE}/namespaces.yaml")])?;
        cells.apply(&volumes()?)?;
        cells.secrets()?;
        cells.certificate()?;
        cells.kubectl(&["apply", "-f", &format!("{EXAMPLE}/jaeger.yaml")])?;
        for cell in CELLS {
            cells.helm("install", cell, "1", false)?;
        }
        for cell in CELLS {
            cells.ready(cell)?;
        }
        cells.kubectl(&["-n", "tracing", "rollout", "status", "deployment/jaeger", "--timeout", READY])?;
        Ok(cells)
    }

    /// A program of the images, for this machine.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }

    /// Each namespace gets the mesh's secrets.
    fn secrets(&self) -> anyhow::Result<()> {
        let mut random = [0; 80];
        File::open("/dev/urandom")?.read_exact(&mut random)?;
        let token = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let key = BASE64_STANDARD.encode(&random[48..]);
        let operator = token(&random[24..48]);
        self.operator.as_file().write_all(operator.as_bytes())?;
        for cell in CELLS {
            let token = format!("--from-literal=peer-token={}", token(&random[..24]));
            let keys = format!("--from-literal=seal-keys=[{{id=1,secret=\"{key}\"}}]");
            let operator = format!("--from-literal=operator-token={operator}");
            // The map is changed in the global cell.
            let all = [&token, &keys, &operator];
            let literals = if cell == CELLS[0] { &all[..] } else { &all[..2] };
            let mut create =
                self.lab.kubectl(&["-n", &namespace(cell), "create", "secret", "generic", "cellmesh-secrets"]);
            output(create.args(literals))?;
        }
        Ok(())
    }

    /// The front door of the global cell gets a certificate.
    fn certificate(&self) -> anyhow::Result<()> {
        let (cert, key) = (self.certificate.path(), NamedTempFile::new()?);
        output(Command::new(self.program("lab")).args(["certificate", TLS_NAME]).arg(cert).arg(key.path()))?;
        let mut create = self.lab.kubectl(&["-n", &namespace(CELLS[0]), "create", "secret", "tls", TLS_SECRET]);
        let file = |option: &str, path: &Path| format!("--{option}={}", path.display());
        output(create.args([file("cert", cert), file("key", key.path())])).map(drop)
    }

    /// `helm install` or `helm upgrade` of a cell.
    pub fn helm(&self, what: &str, cell: &str, tag: &str, wait: bool) -> anyhow::Result<String> {
        let values = format!("{EXAMPLE}/values-{cell}.yaml");
        let tag = format!("image.tag={tag}");
        let set = ["--values", &values, "--set-string", &tag, "--set", "persistence.storageClass=lab"];
        let mut command = self.command(cell, &[what, RELEASE, "helm/cellmesh"]);
        command.args(set);
        if cell == CELLS[0] {
            command.args(["--set", &format!("router.tls.secretName={TLS_SECRET}")]);
        }
        if wait {
            command.args(["--wait", "--timeout", READY]);
        }
        output(&mut command)
    }

    /// Another command of helm, about a cell's release.
    pub fn release(&self, cell: &str, args: &[&str]) -> anyhow::Result<String> {
        output(&mut self.command(cell, args))
    }

    fn command(&self, cell: &str, args: &[&str]) -> Command {
        let mut command = Command::new(&self.helm);
        command.args(args).args(["--namespace", &namespace(cell)]);
        with_config(command)
    }

    pub fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        output(&mut self.lab.kubectl(args))
    }

    /// `kubectl apply` of a text.
    pub fn apply(&self, objects: &str) -> anyhow::Result<()> {
        let mut child = self.lab.kubectl(&["apply", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        child.stdin.take().context("kubectl has no standard input")?.write_all(objects.as_bytes())?;
        ensure!(child.wait()?.success(), "kubectl apply failed");
        Ok(())
    }

    /// Waits until a cell's pods are ready.
    pub fn ready(&self, cell: &str) -> anyhow::Result<()> {
        for workload in ["statefulset/cellmesh-services", "deployment/cellmesh-router"] {
            let namespace = namespace(cell);
            let result = self.kubectl(&["-n", &namespace, "rollout", "status", workload, "--timeout", READY]);
            if let Err(error) = result {
                let pods = self.kubectl(&["-n", &namespace, "get", "pods", "-o", "wide"]).unwrap_or_default();
                let events = self.kubectl(&["-n", &namespace, "get", "events"]).unwrap_or_default();
                bail!("{workload} of {cell}: {error:#}\n{pods}\n{events}");
            }
        }
        Ok(())
    }

    /// `ClusterIP:PORT` of a cell's front door, which this machine reaches.
    pub fn front(&self, cell: &str) -> anyhow::Result<String> {
        Ok(format!("{}:7000", self.cluster_ip(cell, "cellmesh-router")?))
    }

    /// A Service's address, which this machine reaches.
    pub fn cluster_ip(&self, cell: &str, service: &str) -> anyhow::Result<String> {
        let path = "jsonpath={.spec.clusterIP}";
        self.kubectl(&["-n", &namespace(cell), "get", "service", service, "-o", path])
    }

    /// A call at a door.
    ///
    /// # Errors
    /// With the status, if it is refused.
    pub fn call(&self, door: &str, method: &str, message: &Value, headers: &[&str]) -> anyhow::Result<Answer> {
        let mut command = Command::new(&self.grpcurl);
        self.ask(command.arg("-plaintext"), door, method, message, headers)
    }

    /// A call at the global cell's door with TLS.
    ///
    /// # Errors
    /// With the status, if it is refused.
    pub fn call_by_tls(&self, method: &str, message: &Value) -> anyhow::Result<Answer> {
        let door = format!("{}:7443", self.cluster_ip(CELLS[0], "cellmesh-router")?);
        let mut command = Command::new(&self.grpcurl);
        command.arg("-cacert").arg(self.certificate.path()).args(["-authority", TLS_NAME]);
        self.ask(&mut command, &door, method, message, &[])
    }

    fn ask(
        &self,
        command: &mut Command,
        door: &str,
        method: &str,
        message: &Value,
        headers: &[&str],
    ) -> anyhow::Result<Answer> {
        command.args(["-v", "-max-time", "20"]);
        command.args(headers.iter().flat_map(|header| ["-H", header]));
        let text = output(command.args(["-d", &message.to_string(), door, method]))?;
        let (headers, rest) = text.split_once("Response contents:").context("no response")?;
        let (body, _) = rest.split_once("\nResponse trailers").context("no end of the response")?;
        Ok(Answer { body: serde_json::from_str(body.trim())?, headers: headers.to_owned() })
    }

    /// `GET` of a pod or service, by the API server.
    pub fn get(&self, namespace: &str, kind: &str, name: &str, path: &str) -> anyhow::Result<String> {
        self.kubectl(&["get", "--raw", &format!("/api/v1/namespaces/{namespace}/{kind}/{name}/proxy{path}")])
    }

    /// Names of a cell's pods of a component.
    pub fn pods(&self, cell: &str, component: &str) -> anyhow::Result<Vec<String>> {
        let selector = format!("app.kubernetes.io/component={component}");
        let names = self.kubectl(&["-n", &namespace(cell), "get", "pods", "-l", &selector, "-o", "name"])?;
        Ok(names.lines().map(|name| name.trim_start_matches("pod/").to_owned()).collect())
    }

    /// Starts shoppers in the cluster (`lab shoppers`), who call at these cells' doors until they are told to end.
    pub fn shoppers(&self, name: &str, cells: &[&str], calls: usize) -> anyhow::Result<Shoppers<'_>> {
        let doors: Vec<String> =
            cells.iter().map(|cell| format!("cellmesh-router.{}.svc:7000", namespace(cell))).collect();
        self.apply(&format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: tracing}}, spec: {{restartPolicy: Never, \
             automountServiceAccountToken: false, terminationGracePeriodSeconds: 600, \
             securityContext: {{runAsNonRoot: true, runAsUser: {USER}, seccompProfile: {{type: RuntimeDefault}}}}, \
             containers: [{{name: lab, image: 'localhost/cellmesh/lab:1', \
             args: [shoppers, '--doors={}', '--calls={calls}', --until-told, '--pace-ms=200'], \
             securityContext: {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, \
             capabilities: {{drop: [ALL]}}}}}}]}}}}",
            doors.join(",")
        ))?;
        let pod = format!("pod/{name}");
        self.kubectl(&["-n", "tracing", "wait", &pod, "--for=condition=Ready", "--timeout=120s"])?;
        let log = NamedTempFile::new()?;
        let mut follow = self.lab.kubectl(&["-n", "tracing", "logs", "-f", &pod]);
        let follow = follow.stdin(Stdio::null()).stdout(log.reopen()?).spawn()?;
        let shoppers = Shoppers { cells: self, name: name.to_owned(), log, follow };
        self.until("the shoppers begin", || Ok(shoppers.told()?.contains("shoppers begin")))?;
        Ok(shoppers)
    }

    /// Waits for something, ten minutes at most.
    pub fn until(&self, what: &str, mut there: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let limit = Instant::now() + Duration::from_secs(600);
        while !there()? {
            ensure!(Instant::now() < limit, "in vain: {what}");
            thread::sleep(Duration::from_millis(500));
        }
        Ok(())
    }
}

/// The folder of a cell's volume on this machine.
pub(super) fn volume(cell: &str) -> PathBuf {
    Path::new("/tmp/kube-lab/volumes").join(cell)
}

/// A volume for each cell: the lab provides none by itself.
fn volumes() -> anyhow::Result<String> {
    let mut text = "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: lab}, \
                    provisioner: kubernetes.io/no-provisioner, volumeBindingMode: WaitForFirstConsumer}\n"
        .to_owned();
    for cell in CELLS {
        let folder = volume(cell);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        chown(&folder, Some(USER), Some(USER))?;
        text += &format!(
            "---\n{{apiVersion: v1, kind: PersistentVolume, metadata: {{name: {cell}}}, spec: {{storageClassName: lab, \
             capacity: {{storage: 2Gi}}, accessModes: [ReadWriteOnce], persistentVolumeReclaimPolicy: Retain, \
             claimRef: {{namespace: {}, name: data-cellmesh-services-0}}, hostPath: {{path: {}}}}}}}\n",
            namespace(cell),
            folder.display()
        );
    }
    Ok(text)
}
