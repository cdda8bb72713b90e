//! A crate outside the workspace, with its own annotated proto, serves and calls in the demo's cells.

use crate::mesh::Mesh;
use anyhow::Context as _;
use cellctl::cluster::Guest;
use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{sleep, timeout},
};

/// Builds the crate as its owner would, and returns the folder of its programs. `cargo xtask test` has built its parts.
async fn build(root: &Path) -> anyhow::Result<PathBuf> {
    let folder = root.join("client-sdk/stranger");
    fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock"))?;
    let target = cellctl::cluster::target_dir()?.join("stranger");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--bins", "--examples", "--manifest-path"]).arg(folder.join("Cargo.toml"));
    anyhow::ensure!(cargo.arg("--target-dir").arg(&target).status().await?.success(), "the crate is not built");
    Ok(target.join("debug"))
}

fn descriptor_set(root: &Path, to: &Path) -> anyhow::Result<()> {
    let mut compiler = protox::Compiler::new([root.join("client-sdk/stranger/proto"), root.join("proto")])?;
    compiler.include_imports(true).open_file("acme/notes/v1/notes.proto")?;
    Ok(fs::write(to, compiler.encode_file_descriptor_set())?)
}

/// Serves the notes of a cell.
async fn serve(programs: &Path, cell: &str) -> anyhow::Result<(SocketAddr, Child)> {
    let address = testkit::ports::free()?;
    let mut serve = Command::new(programs.join("serve"));
    let child = serve.args([&address.to_string(), cell]).kill_on_drop(true).spawn()?;
    let listening = async {
        while TcpStream::connect(address).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), listening).await.context("it does not serve")?;
    Ok((address, child))
}

/// The crate's own client.
struct Asker {
    child: Child,
    ask: ChildStdin,
    told: Lines<BufReader<ChildStdout>>,
}

impl Asker {
    fn start(programs: &Path, router: SocketAddr) -> anyhow::Result<Self> {
        let mut ask = Command::new(programs.join("ask"));
        let ask = ask.arg(router.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = ask.kill_on_drop(true).spawn()?;
        let told = BufReader::new(child.stdout.take().context("its output")?).lines();
        Ok(Self { ask: child.stdin.take().context("its input")?, told, child })
    }

    async fn get(&mut self, owner: u32) -> anyhow::Result<String> {
        self.ask.write_all(format!("{owner} first\n").as_bytes()).await?;
        timeout(Duration::from_secs(10), self.told.next_line()).await.context("no answer")??.context("it ended")
    }
}

#[tokio::test]
async fn a_strangers_client_goes_straight_home_and_on_without_routers() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("a workspace")?;
    let programs = build(root).await?;
    let dir = tempfile::tempdir()?;
    let set = dir.path().join("notes.binpb");
    descriptor_set(root, &set)?;
    let (bj, mut bj_notes) = serve(&programs, "bj-1").await?;
    let (sh, mut sh_notes) = serve(&programs, "sh-1").await?;
    let guest: Guest = format!("{},bj-1={bj},sh-1={sh}", set.display()).parse()?;
    let mut mesh = Mesh::start_with(|config| config.guests.push(guest)).await?;

    // Its example, as the README shows it: fifteen lines at most.
    let example = fs::read_to_string(root.join("client-sdk/stranger/examples/get_note.rs"))?;
    let lines = example.lines().filter(|line| !line.trim().is_empty() && !line.starts_with("//")).count();
    assert!(lines <= 15, "{lines} lines");
    let shown = Command::new(programs.join("examples/get_note")).arg(mesh.bj().front.to_string()).output().await?;
    let shown = String::from_utf8(shown.stdout)?;
    assert!(shown.starts_with("note first of 7 in "), "{shown}");

    // The shop and the notes are one mesh: reflection shows both, each is sent to those who serve it.
    let listed = crate::grpcurl::run(&[], mesh.sh().front, &["list"]).await?;
    assert!(
        listed.contains("acme.notes.v1.NoteService") && listed.contains("shop.member.v1.MemberService"),
        "{listed}"
    );
    crate::mesh::register(mesh.sh().front).await?;

    let mut asker = Asker::start(&programs, mesh.bj().front)?;
    let straight = |owner: u32, line: &str| {
        ["bj-1", "sh-1"]
            .into_iter()
            .find(|cell| line == format!("note first of {owner} in {cell}; cell {cell}, hops 0, attempts 1"))
    };
    let mut homes = BTreeSet::new();
    for owner in 1..=40 {
        // At first calls go through the router.
        let began = Instant::now();
        homes.insert(loop {
            let line = asker.get(owner).await?;
            if let Some(cell) = straight(owner, &line) {
                break cell;
            }
            anyhow::ensure!(began.elapsed() < Duration::from_secs(10), "not direct: {line}");
            sleep(Duration::from_millis(20)).await;
        });
    }
    assert_eq!(homes.len(), 2, "both cells have owners");
    for cell in &mut mesh.cells {
        cell.kill9_router().await?;
    }
    for owner in (1..=40).cycle().take(200) {
        let line = asker.get(owner).await?;
        assert!(straight(owner, &line).is_some(), "{line}");
    }
    println!("figure: stranger's calls without routers N=200, an example of {lines} lines");
    drop(asker.ask);
    asker.child.wait().await?;
    bj_notes.kill().await?;
    sh_notes.kill().await?;
    mesh.shutdown().await
}
