//! The demo, as the one who starts it sees it. It needs the release binaries (`cargo xtask test` builds them).

use cellctl::cluster::bin_dir;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest wait for anything but readiness.
const LIMIT: Duration = Duration::from_secs(20);
/// What the demo prints last.
const READY: &str = "Ctrl-C ends it.";

/// A demo that runs, with a folder for temporary files of its own.
struct Demo {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    /// What it printed until it was ready.
    said: String,
    temporary: TempDir,
    port_base: u16,
}

/// The demo's program; `None`, and a line that says so, without release binaries.
fn program() -> Option<PathBuf> {
    match bin_dir() {
        Ok(dir) => Some(dir.join("cellctl")),
        Err(error) => {
            println!("skipped: the demo, because {error:#}");
            None
        }
    }
}

/// The first of twenty free ports in a row, and what keeps other tests from choosing them too.
fn free_ports() -> (u16, TcpListener) {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    for base in (8000..11_900).step_by(30).cycle().skip(std::process::id() as usize % 130) {
        let Ok(claim) = bind(base + 29) else { continue };
        if (base..base + 20).all(|port| bind(port).is_ok()) {
            return (base, claim);
        }
    }
    unreachable!("the ports are tried for ever")
}

impl Demo {
    fn start(program: &Path, port_base: u16, args: &[&str]) -> Self {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let mut child = Command::new(program)
            .args(["demo", "--port-base", &port_base.to_string()])
            .args(args)
            .env("TMPDIR", temporary.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("the demo's program runs");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, output, said: String::new(), temporary, port_base }
    }

    fn ready(program: &Path, port_base: u16, args: &[&str]) -> Self {
        let mut demo = Self::start(program, port_base, args);
        while !demo.said.ends_with(&format!("{READY}\n")) {
            let read = demo.output.read_line(&mut demo.said).expect("text");
            if read == 0 {
                panic!("the demo ended before it was ready: {}\n{}", demo.complaint(), demo.said);
            }
        }
        demo
    }

    /// Standard error, to its end.
    fn complaint(&mut self) -> String {
        let mut text = String::new();
        let mut stderr = self.child.stderr.take().expect("read once");
        stderr.read_to_string(&mut text).expect("text");
        text
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// As Ctrl-C in a terminal: to the whole process group.
    fn interrupt(&self) {
        signal("INT", &format!("-{}", self.pid()));
    }

    fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(started.elapsed() < LIMIT, "the demo does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn assert_nothing_left(&self, pids: &[u32]) {
        let started = Instant::now();
        while let Some(pid) = pids.iter().find(|pid| Path::new(&format!("/proc/{pid}")).exists()) {
            assert!(started.elapsed() < LIMIT, "process {pid} is left: {}", command_line(*pid));
            std::thread::sleep(Duration::from_millis(20));
        }
        for port in self.port_base..self.port_base + 20 {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
            assert!(listener.is_ok(), "port {port} is left open");
        }
    }

    fn assert_no_file_left(&self) {
        let left: Vec<_> = fs::read_dir(self.temporary.path()).expect("a folder").flatten().map(|e| e.path()).collect();
        assert!(left.is_empty(), "files are left: {left:?}");
    }
}

impl Drop for Demo {
    /// After a failed assertion: its children end with it.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(name: &str, target: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), "--", target]).status().expect("kill runs");
    assert!(status.success(), "kill -{name} {target}");
}

/// Children of a process.
fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task");
    let tasks = fs::read_dir(path).expect("a running process").flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

fn command_line(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ")
}

/// The child whose command line contains all of `words`.
fn child(of: u32, words: &[&str]) -> u32 {
    let found = children(of).into_iter().find(|pid| words.iter().all(|word| command_line(*pid).contains(word)));
    found.unwrap_or_else(|| panic!("no child with {words:?}"))
}

#[test]
fn it_is_ready_within_ten_seconds_and_ctrl_c_leaves_nothing() {
    let Some(program) = program() else { return };
    let (port_base, _claim) = free_ports();
    let started = Instant::now();
    let mut demo = Demo::ready(&program, port_base, &[]);
    let took = started.elapsed();
    println!("figure: demo ready after {:.1} s, N=1", took.as_secs_f64());
    assert!(took < Duration::from_secs(10), "ready after {took:?}");
    for door in [port_base, port_base + 10] {
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, door)).is_ok(), "no door at {door}");
    }
    let pids = children(demo.pid());
    assert_eq!(pids.len(), 5, "two processes for each of two cells, and the link");
    demo.interrupt();
    let status = demo.wait();
    assert!(status.success(), "{status}: {}", demo.complaint());
    demo.assert_nothing_left(&pids);
    demo.assert_no_file_left();
}

#[test]
fn each_line_to_paste_works_as_it_stands() {
    let Some(program) = program() else { return };
    if Command::new("grpcurl").arg("-version").stderr(Stdio::null()).status().is_err() {
        println!("skipped: the lines that the demo prints, because there is no grpcurl in $PATH");
        return;
    }
    let (port_base, _claim) = free_ports();
    let mut demo = Demo::ready(&program, port_base, &["--no-load"]);
    let (_, lines) = demo.said.split_once("Paste:\n").expect("lines to paste");
    let lines: Vec<&str> = lines.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    assert!(lines.len() >= 6, "{lines:?}");
    let mut outputs = String::new();
    for line in &lines {
        let output = Command::new("sh").args(["-c", line]).output().expect("sh runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{line}\n{said}{}", String::from_utf8_lossy(&output.stderr));
        outputs.push_str(&said);
    }
    for expected in [
        "shop.trade.v1.TradeService",
        "cellmesh-cell: sh-1",
        "cellmesh-hops: 1",
        "cellmesh-hops: 0",
        "is at home in sh-1",
    ] {
        assert!(outputs.contains(expected), "'{expected}' is missing in:\n{outputs}");
    }
    println!("figure: lines to paste N={}", lines.len());
    let pids = children(demo.pid());
    signal("TERM", &demo.pid().to_string());
    assert!(demo.wait().success());
    demo.assert_nothing_left(&pids);
}

#[test]
fn a_probe_is_written_and_read_and_a_lost_map_goes_on_from_a_router() {
    let Some(program) = program() else { return };
    let (port_base, _claim) = free_ports();
    let mut demo = Demo::ready(&program, port_base, &["--no-load"]);
    let door = format!("127.0.0.1:{port_base}");
    let run = |args: &[&str]| {
        let output = Command::new(&program).args(["--router", &door, "--json"]).args(args).output().expect("it runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    let (well, said) = run(&["probe", "--cell", "bj-1"]);
    assert!(well && said.contains(r#""read":{"cell":"bj-1","hops":"0"}"#), "{said}");
    let (well, said) = run(&["probe", "--cell", "sh-1"]);
    assert!(!well && said.contains("not in sh-1"), "{said}");

    let folder = demo.temporary.path().join("map");
    let (cells, file) = (folder.join("cells.json"), folder.join("map.pb"));
    let cell = |id: &str, region: &str| {
        format!(
            r#"{{"id": "{id}", "region": "{region}", "peer_endpoints": ["{id}:7002"], "front_endpoints": ["{id}:7000"]}}"#
        )
    };
    fs::create_dir(&folder).expect("a folder");
    let text = format!(r#"{{"global": "bj-1", "cells": [{}, {}]}}"#, cell("bj-1", "beijing"), cell("sh-1", "shanghai"));
    fs::write(&cells, text).expect("a file");
    let (cells, file) = (cells.to_string_lossy(), file.to_string_lossy());
    // Nobody listens at the first address.
    let from = ["--restore-from", "127.0.0.1:1", "--restore-from", &door];
    let (well, said) = run(&[&["map", "apply", &cells, "--file", &file], &from[..]].concat());
    let goes_on = said.contains(r#""epoch": 2"#) && said.contains(r#""incarnation": 1,"#);
    assert!(well && goes_on, "the demo's map is the first of incarnation 1: {said}");
    fs::remove_dir_all(&folder).expect("removed");
    demo.interrupt();
    assert!(demo.wait().success());
}

#[test]
fn its_processes_do_not_outlive_it() {
    let Some(program) = program() else { return };
    let (port_base, _claim) = free_ports();
    let mut demo = Demo::ready(&program, port_base, &[]);
    let pids = children(demo.pid());
    assert_eq!(pids.len(), 5);
    signal("KILL", &demo.pid().to_string());
    assert_eq!(demo.wait().signal(), Some(9));
    demo.assert_nothing_left(&pids);
}

#[test]
fn a_process_that_dies_ends_the_demo_with_its_name() {
    let Some(program) = program() else { return };
    let (port_base, _claim) = free_ports();
    let mut demo = Demo::ready(&program, port_base, &["--no-load"]);
    let pids = children(demo.pid());
    signal("KILL", &child(demo.pid(), &["cell-services", "sh-1"]).to_string());
    assert!(!demo.wait().success());
    let complaint = demo.complaint();
    assert!(complaint.contains("cell-services of sh-1"), "{complaint}");
    assert!(complaint.contains("signal: 9") && complaint.contains("last lines"), "{complaint}");
    demo.assert_nothing_left(&pids);
    demo.assert_no_file_left();
}

#[test]
fn a_taken_port_is_named_and_nothing_is_started() {
    let Some(program) = program() else { return };
    let (port_base, _claim) = free_ports();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port_base + 10)).expect("free a moment ago");
    let mut demo = Demo::start(&program, port_base, &[]);
    assert!(!demo.wait().success());
    let complaint = demo.complaint();
    assert!(complaint.contains(&format!("port {} (front door of sh-1)", port_base + 10)), "{complaint}");
    assert!(complaint.contains("--port-base"), "{complaint}");
    drop(taken);
    demo.assert_nothing_left(&[]);
    demo.assert_no_file_left();
}

#[test]
fn a_kept_folder_brings_its_users_back() {
    let Some(program) = program() else { return };
    let (port_base, _claim) = free_ports();
    let kept = tempfile::tempdir().expect("a temporary folder");
    let data = kept.path().join("data");
    let args = ["--no-load", "--data", data.to_str().expect("UTF-8")];
    let mut demo = Demo::ready(&program, port_base, &args);
    let user = demo.said.lines().find(|line| line.contains("sh-1")).and_then(|line| line.split_whitespace().last());
    let user = user.expect("a user of sh-1").to_owned();
    demo.interrupt();
    assert!(demo.wait().success());
    let mut again = Demo::ready(&program, port_base, &args);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let member = runtime.block_on(async {
        use shop_proto::member_v1::{GetMemberRequest, member_service_client::MemberServiceClient};
        let client = MemberServiceClient::connect(format!("http://127.0.0.1:{port_base}")).await;
        client.expect("a door").get_member(GetMemberRequest { user_id: user.clone() }).await
    });
    let member = member.expect("the user of before").into_inner().member;
    assert_eq!(member.map(|member| member.user_id), Some(user));
    let mode = fs::metadata(data.join("secrets/peer-token")).map(|file| std::os::unix::fs::MetadataExt::mode(&file));
    assert_eq!(mode.expect("a secret") & 0o777, 0o600, "secrets are their owner's only");
    again.interrupt();
    assert!(again.wait().success());
}
