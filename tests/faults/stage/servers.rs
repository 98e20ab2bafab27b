//! The servers.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use lockstead_tests::{PATIENCE, Port, Proxy};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout};

use super::{Breakable, Redis, pause, program};
use crate::fault::ServerFault;
use crate::plan::Site;

/// How long a server may take to let its sessions move.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// All servers.
#[derive(Debug)]
pub(crate) struct Servers {
    servers: Vec<Server>,
}

#[derive(Debug)]
struct Server {
    program: PathBuf,
    flags: Vec<String>,
    port: Port,
    log: PathBuf,
    /// Its way to Redis, where there is only one.
    wire: Option<Proxy>,
    /// The output is kept open, so that it can be written to.
    running: Option<(Child, BufReader<ChildStdout>)>,
}

impl Servers {
    /// Starts them all. Their logs go to the folder.
    pub(crate) async fn start(site: &Site, program: &Path, redis: &Redis, folder: &Path) -> Self {
        let mut servers = Vec::new();
        for number in 0..site.servers {
            let wire = match redis.address() {
                Some(address) => Some(Proxy::before(address).await),
                None => None,
            };
            let mut flags = vec![
                format!("--drain-timeout={}s", DRAIN_TIMEOUT.as_secs()),
                format!("--lock-dir={}", folder.join("locks").display()),
            ];
            let url = wire.as_ref().map(|wire| format!("redis://{}", wire.address())).or_else(|| redis.urls());
            if let Some(url) = url {
                flags.push(format!("--redis={url}"));
                flags.push(format!("--redis-min-acks={}", site.min_acks));
                flags.push(format!("--server-lease={}ms", site.server_lease_ms));
            }
            let log = folder.join(format!("server-{number}.log"));
            let port = Port::free();
            servers.push(Server { program: program.to_owned(), flags, port, log, wire, running: None });
        }
        for server in &mut servers {
            server.start().await;
        }
        Self { servers }
    }

    /// Where they listen.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.servers.iter().map(|server| format!("127.0.0.1:{}", server.port.number)).collect()
    }
}

impl Breakable for Servers {
    type Fault = ServerFault;

    async fn suffer(&mut self, fault: &ServerFault) {
        match *fault {
            ServerFault::Killed { server, down_ms } => {
                self.servers[server].kill().await;
                pause(down_ms).await;
                self.servers[server].start().await;
            }
            ServerFault::AllKilled { down_ms } => {
                for server in &mut self.servers {
                    server.kill().await;
                }
                pause(down_ms).await;
                for server in &mut self.servers {
                    server.start().await;
                }
            }
            ServerFault::Stopped { server, for_ms } => {
                self.servers[server].signal(Signal::STOP);
                pause(for_ms).await;
                self.servers[server].signal(Signal::CONT);
            }
            ServerFault::Drained { server } => {
                self.servers[server].drain().await;
                self.servers[server].start().await;
            }
            ServerFault::Cut { server, for_ms } => {
                if let Some(wire) = &self.servers[server].wire {
                    wire.cut();
                    pause(for_ms).await;
                    wire.restore();
                }
            }
        }
    }
}

impl Server {
    /// Starts it, and returns once it listens.
    async fn start(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).expect("a log can be written");
        let mut command = program(&self.program);
        command.args(["serve", "--listen", &format!("127.0.0.1:{}", self.port.number)]).args(&self.flags);
        command.env("RUST_LOG", "info,lockstead=debug,lockstead_engine=debug");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().expect("setpriv is there; tests/setup installs it");
        let mut output = BufReader::new(child.stdout.take().expect("its output is piped"));
        let mut line = String::new();
        let listens = tokio::time::timeout(PATIENCE, output.read_line(&mut line)).await;
        let listens = listens.is_ok_and(|read| read.is_ok_and(|bytes| bytes > 0));
        assert!(listens, "a server does not start; {} says why", self.log.display());
        self.running = Some((child, output));
    }

    fn signal(&self, signal: Signal) {
        let child = self.running.as_ref().map(|(child, _)| child);
        let pid = child.and_then(Child::id).and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        kill_process(pid.expect("it runs"), signal).expect("the process is there");
    }

    async fn kill(&mut self) {
        if let Some((mut child, _)) = self.running.take() {
            child.kill().await.expect("it can be killed");
        }
    }

    /// Tells it to end, and returns when it has.
    async fn drain(&mut self) {
        self.signal(Signal::TERM);
        if let Some((child, _)) = &mut self.running {
            let ended = tokio::time::timeout(DRAIN_TIMEOUT + PATIENCE, child.wait()).await;
            assert!(ended.is_ok(), "a server that was told to end does not; {} says more", self.log.display());
        }
        self.running = None;
    }
}
