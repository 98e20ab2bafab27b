//! The clients.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use lockstead_tests::Proxy;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::{Breakable, pause, program};
use crate::fault::ClientFault;
use crate::history::{Event, Process};
use crate::journal::Journal;
use crate::plan::{ClientSite, Site};

/// How long a client may take to end when it is told to: it gives back and closes, which may take some calls.
const END_WITHIN: Duration = Duration::from_secs(15);

/// All clients.
#[derive(Debug)]
pub(crate) struct Clients {
    clients: Vec<Client>,
}

#[derive(Debug)]
struct Client {
    site: ClientSite,
    server_lease_ms: u64,
    process: Process,
    /// To each server one.
    wires: Vec<Proxy>,
    journal: Journal,
    running: Option<(Child, ChildStdin)>,
}

impl Clients {
    /// Starts them all, each with wires of its own to the servers.
    pub(crate) async fn start(site: &Site, servers: &[String], journal: &Journal) -> Self {
        let mut clients = Vec::new();
        for (number, client) in site.clients.iter().enumerate() {
            let mut wires = Vec::new();
            for server in servers {
                wires.push(Proxy::before(server.clone()).await);
            }
            let process = Process { client: number, life: 1 };
            let (server_lease_ms, journal) = (site.server_lease_ms, journal.clone());
            let mut client = Client { site: *client, server_lease_ms, process, wires, journal, running: None };
            client.start();
            clients.push(client);
        }
        Self { clients }
    }

    /// Tells them to end, and returns when they have.
    pub(crate) async fn end(self) {
        futures::future::join_all(self.clients.into_iter().map(Client::end)).await;
    }
}

impl Breakable for Clients {
    type Fault = ClientFault;

    async fn suffer(&mut self, fault: &ClientFault) {
        let client = &mut self.clients[fault.client()];
        match *fault {
            ClientFault::Killed { .. } => {
                client.kill().await;
                client.process.life += 1;
                client.start();
            }
            ClientFault::Stopped { for_ms, .. } => {
                let process = client.process;
                client.journal.note(Event::Stopped { process });
                client.signal(Signal::STOP);
                pause(for_ms).await;
                client.journal.note(Event::Continued { process });
                client.signal(Signal::CONT);
            }
            ClientFault::Cut { for_ms, .. } => {
                client.wires.iter().for_each(Proxy::cut);
                pause(for_ms).await;
                client.wires.iter().for_each(Proxy::restore);
            }
            ClientFault::Reset { .. } => client.wires.iter().for_each(Proxy::reset),
        }
    }
}

impl Client {
    fn start(&mut self) {
        let servers: Vec<_> = self.wires.iter().map(|wire| format!("http://{}", wire.address())).collect();
        let site = serde_json::to_string(&self.site).expect("a plan is JSON");
        // This very program, also if its file has been replaced by a build since.
        let mut command = program(Path::new(&format!("/proc/{}/exe", std::process::id())));
        command.args(["client", &self.process.to_string(), &servers.join(","), &site]);
        command.arg(self.server_lease_ms.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("setpriv is there; tests/setup installs it");
        let (input, output) = child.stdin.take().zip(child.stdout.take()).expect("both are piped");
        tokio::spawn(listen(output, self.journal.clone()));
        self.journal.note(Event::Started { process: self.process });
        self.running = Some((child, input));
    }

    fn signal(&self, signal: Signal) {
        let child = self.running.as_ref().map(|(child, _)| child);
        let pid = child.and_then(Child::id).and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        kill_process(pid.expect("it runs"), signal).expect("the process is there");
    }

    async fn kill(&mut self) {
        self.journal.note(Event::Killed { process: self.process });
        if let Some((mut child, _)) = self.running.take() {
            child.kill().await.expect("it can be killed");
        }
    }

    async fn end(mut self) {
        let Some((mut child, input)) = self.running.take() else { return };
        drop(input);
        let ended = tokio::time::timeout(END_WITHIN, child.wait()).await;
        let in_time = ended.is_ok_and(|status| status.is_ok_and(|status| status.success()));
        self.journal.note(Event::Ended { process: self.process, in_time });
    }
}

/// Notes what a client says, as long as it does. What it was killed in the middle of saying is lost.
async fn listen(output: ChildStdout, journal: Journal) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(line) = serde_json::from_str(&line) {
            journal.take(line);
        }
    }
}
