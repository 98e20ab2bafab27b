//! The image: built from the Dockerfile, and run with no rights at all.
//!
//! What can't be had here is stood in for. Images can't be pulled everywhere, so what the Dockerfile begins with are folders of
//! Debian packages under the names that it gives them; and compiling anew in the image would take minutes, so the `cargo` in there
//! gives out the program under test. Everything else is the Dockerfile's own.

mod workshop;

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use lockstead_tests::{Daemon, Process, eventually, lockstead};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::chart::{items, render_one};
use workshop::{Container, IMAGE, Workshop};

/// Serves everybody: nobody but the test reaches it.
const INSECURE: &str = "--env=LOCKSTEAD_INSECURE=true";

#[tokio::test]
async fn it_runs_without_any_rights() {
    let workshop = Workshop::build();
    it_says_what_it_is(&workshop);
    it_serves_nobody_before_it_is_told_whom(&workshop);
    it_has_no_rights_and_gives_locks(&workshop).await;
    it_is_healthy_while_it_can_serve_and_drains_in_time(&workshop).await;
    it_locks_files_of_a_folder_that_the_chart_prepares(&workshop).await;
    it_runs_as_a_pod_of_the_chart(&workshop).await;
}

fn it_says_what_it_is(workshop: &Workshop) {
    let config = &workshop.inspect()["Config"];
    assert_eq!(config["User"], "10001:10001");
    assert_eq!(config["StopSignal"], "SIGTERM");
    assert_eq!(config["Entrypoint"], json!(["lockstead"]));
    assert_eq!(config["ExposedPorts"], json!({"7420/tcp": {}, "7421/tcp": {}}));
    let labels = &config["Labels"];
    assert_eq!(labels["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(labels["org.opencontainers.image.licenses"], "Apache-2.0");
}

fn it_serves_nobody_before_it_is_told_whom(workshop: &Workshop) {
    let container = workshop.run(&[]);
    assert_eq!(container.exit_code(), 64);
    let said = container.logs();
    assert!(said.contains("--access") && said.contains("--insecure"), "{said}");
}

async fn it_has_no_rights_and_gives_locks(workshop: &Workshop) {
    let container = workshop.run(&[INSECURE]);
    assert_eq!(container.status("Uid:"), "10001\t10001\t10001\t10001");
    for rights in ["CapEff:", "CapPrm:", "CapBnd:"] {
        assert_eq!(u64::from_str_radix(&container.status(rights), 16), Ok(0), "{rights}");
    }
    assert_eq!(container.status("NoNewPrivs:"), "1");
    let wrote = container.exec(&["sh", "-c", "echo x > /x || echo x > /tmp/x || echo x > /run/x"]);
    assert!(!wrote.status.success(), "its root can be written to: {wrote:?}");

    let url = "http://127.0.0.1:7420/v1/locks/deploy";
    eventually("it serves", async || container.curl(&["-sf", "http://127.0.0.1:7420/readyz"]).status.success()).await;
    let lease = container.curl(&["-sf", &format!("{url}/acquire"), "-d", "{\"ttl\": \"1m\"}"]);
    let lease: Value = serde_json::from_slice(&lease.stdout).unwrap();
    let again = container.curl(&["-s", "-w", " %{http_code}", &format!("{url}/acquire"), "-d", "{}"]);
    assert!(again.stdout.ends_with(b" 423"), "{again:?}");
    let hold = json!({"hold_id": lease["hold_id"]}).to_string();
    assert!(container.curl(&["-sf", &format!("{url}/release"), "-d", &hold]).status.success());
    let run = container.exec(&["lockstead", "run", "deploy", "--", "lockstead", "get", "deploy"]);
    assert!(run.status.success() && run.stdout.starts_with(b"deploy, lock"), "{run:?}");

    let mut curl = Command::from(container.inside("curl"));
    curl.args(["-sN", "-X", "POST", &format!("{url}/hold")]);
    let mut holder = Process::start(curl);
    holder.line_with("event: acquired").await;
    container.signal("TERM");
    holder.line_with("event: lost").await;
    assert_eq!(container.exit_code(), 0, "{}", container.logs());
}

async fn it_is_healthy_while_it_can_serve_and_drains_in_time(workshop: &Workshop) {
    let redis = "--env=LOCKSTEAD_REDIS=redis://127.0.0.1:6379";
    let container = workshop.run(&[INSECURE, redis, "--env=LOCKSTEAD_DRAIN_TIMEOUT=1s"]);
    eventually("it lives", async || container.curl(&["-sf", "http://127.0.0.1:7421/healthz"]).status.success()).await;
    assert!(!container.is_healthy(), "it has no Redis yet");
    let network = container.network();
    let redis = [&network, "redis-server", "--bind", "127.0.0.1", "--save", "", "--port", "6379", "--dir", "/"];
    let redis = Daemon::start("nsenter", &redis, "Ready to accept connections").await;
    eventually("it is healthy", async || container.is_healthy()).await;

    let mut run = Command::from(container.inside(lockstead().to_str().unwrap()));
    run.args(["run", "deploy", "--", "sh", "-c", "echo holding; exec sleep 1000"]);
    let mut holder = Process::start(run);
    holder.line_with("holding").await;
    // It does not hear that it is to move, so the time for that passes.
    holder.signal(Signal::STOP);
    container.signal("TERM");
    assert_eq!(container.exit_code(), 0, "{}", container.logs());
    let said = container.logs();
    assert!(said.contains("some sessions were still here at the end of the drain"), "{said}");
    drop(redis);
}

/// What the `DaemonSet`'s first container does to a fresh folder, and what the server can do then.
async fn it_locks_files_of_a_folder_that_the_chart_prepares(workshop: &Workshop) {
    let rendered = render_one(Some("node"), json!({}));
    let pod = &rendered.one("DaemonSet", "demo-lockstead-node")["spec"]["template"]["spec"];
    let prepare = &pod["initContainers"][0];
    let (user, group) = (&prepare["securityContext"]["runAsUser"], &prepare["securityContext"]["runAsGroup"]);
    let mut command = items(&prepare["command"]).map(|word| word.as_str().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let volume = format!("--volume={}:/run/lockstead", folder.path().display());
    let mut arguments = vec![volume.clone(), format!("--user={user}:{group}")];
    arguments.push(format!("--entrypoint={}", command.next().unwrap()));
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let prepared = workshop.run_with(&arguments, &command.collect::<Vec<_>>());
    assert_eq!(prepared.exit_code(), 0, "{}", prepared.logs());
    let made = std::fs::metadata(folder.path()).unwrap();
    assert_eq!((made.uid(), made.gid(), made.mode() & 0o7777), (0, 10001, 0o2770));

    let container = workshop.run(&[INSECURE, &volume, "--env=LOCKSTEAD_LOCK_DIR=/run/lockstead"]);
    eventually("it serves", async || container.curl(&["-sf", "http://127.0.0.1:7420/readyz"]).status.success()).await;
    let acquire = "http://127.0.0.1:7420/v1/locks/nightly/acquire";
    let lease = container.curl(&["-sf", acquire, "-d", "{\"scope\": \"node\", \"ttl\": \"1m\"}"]);
    assert!(lease.status.success(), "{lease:?} {}", container.logs());
    let file = folder.path().join("nightly.lock");
    assert!(!can_lock(&file), "the server has it");
    container.signal("TERM");
    assert_eq!(container.exit_code(), 0);
    assert!(can_lock(&file), "the kernel has let go");
}

/// The Deployment and its settings as they are, but for probes and ports: the one are Kubernetes' to ask, the other need a
/// network of many machines.
async fn it_runs_as_a_pod_of_the_chart(workshop: &Workshop) {
    let (repository, tag) = IMAGE.rsplit_once(':').unwrap();
    let image = json!({"repository": repository, "tag": tag, "pullPolicy": "Never"});
    let rendered = render_one(None, json!({"insecure": true, "image": image}));
    let mut deployment = rendered.one("Deployment", "demo-lockstead").clone();
    let server = deployment.pointer_mut("/spec/template/spec/containers/0").unwrap().as_object_mut().unwrap();
    for part in ["ports", "startupProbe", "livenessProbe", "readinessProbe"] {
        server.remove(part).unwrap();
    }
    let settings = rendered.one("ConfigMap", "demo-lockstead-cluster").clone();
    let container = workshop.play(&[settings, deployment], "demo-lockstead-pod-0-lockstead");
    eventually("it is ready", async || container.curl(&["-sf", "http://127.0.0.1:7421/readyz"]).status.success()).await;
    let acquire = "http://127.0.0.1:7420/v1/locks/deploy/acquire";
    assert!(container.curl(&["-sf", acquire, "-d", "{}"]).status.success(), "{}", container.logs());
    assert_eq!(container.status("Uid:"), "10001\t10001\t10001\t10001");
    let said = container.logs();
    assert!(said.contains(r#""level":"INFO""#), "the settings want JSON: {said}");
    container.signal("TERM");
    // As in a cluster, it would be started again then.
    eventually("it drains", async || container.logs().contains(r#""message":"stopped""#)).await;
}

/// Whether a program of the machine gets the lock of a file.
fn can_lock(file: &Path) -> bool {
    let flock = std::process::Command::new("flock").arg("--nonblock").arg(file).arg("true").status();
    flock.expect("flock(1) is there; tests/setup installs it").success()
}

impl Container<'_> {
    /// What the kernel says of its first process, by the name of the line.
    fn status(&self, name: &str) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process())).unwrap();
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
    }

    /// Asks by HTTP, from within its network.
    fn curl(&self, arguments: &[&str]) -> std::process::Output {
        self.inside("curl").args(arguments).output().expect("curl is there; tests/setup installs it")
    }
}
