//! ZooKeeper's lock recipe: a sequential node that goes with its session, a look at who was there before, and a watch on the
//! one just before.

use std::path::Path;
use std::sync::Arc;

use lockstead_tests::{Daemon, Port};

use super::zookeeper_wire::Connection;
use super::{installed, there};
use crate::Failure;
use crate::contender::Service;
use crate::crowd::Member;
use crate::locker::Locker;

const JAR: &str = "/usr/share/java/zookeeper.jar";
/// Says on standard output what the server is doing.
const LOGGER: &str = "/usr/share/java/slf4j-simple.jar";

/// A worker on a session that others share.
pub(crate) struct ZookeeperLocker {
    connection: Arc<Connection>,
    /// Parents that are known to be there.
    made: Vec<String>,
}

impl Locker for ZookeeperLocker {
    /// The node.
    type Held = String;

    async fn open(address: &str, workers: usize) -> Result<Vec<Self>, Failure> {
        let connection = Arc::new(Connection::open(address).await?);
        Ok((0..workers).map(|_| Self { connection: connection.clone(), made: Vec::new() }).collect())
    }

    async fn acquire(&mut self, lock: &str) -> Result<String, Failure> {
        let parent = format!("/{}", lock.replace('/', "-"));
        if !self.made.contains(&parent) {
            self.connection.create_lasting(&parent).await?;
            self.made.push(parent.clone());
        }
        let mine = self.connection.create_sequential(&format!("{parent}/n-")).await?;
        let name = mine.rsplit('/').next().unwrap_or_default().to_owned();
        loop {
            let children = self.connection.children(&parent).await?;
            let Some(before) = children.into_iter().filter(|child| *child < name).max() else { return Ok(mine) };
            self.connection.until_changed(&format!("{parent}/{before}")).await?;
        }
    }

    async fn release(&mut self, node: String) -> Result<(), Failure> {
        self.connection.delete(&node).await
    }
}

/// One server, as it is without settings.
pub(crate) async fn start() -> Result<Service<ZookeeperLocker>, Failure> {
    installed("java")?;
    there(Path::new(JAR))?;
    there(Path::new(LOGGER))?;
    let (folder, port) = (tempfile::tempdir()?, Port::free());
    let settings = folder.path().join("zoo.cfg");
    let data = folder.path().join("data");
    let text = format!(
        "tickTime=2000\ndataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\nadmin.enableServer=false\n",
        data.display(),
        port.number
    );
    std::fs::write(&settings, text)?;
    let (class_path, settings) = (format!("{JAR}:{LOGGER}"), settings.display().to_string());
    let logged = "-Dorg.slf4j.simpleLogger.logFile=System.out";
    let server = "org.apache.zookeeper.server.ZooKeeperServerMain";
    let ready = "binding to port";
    let zookeeper = Daemon::start("java", &["-cp", &class_path, logged, server, &settings], ready).await;
    let (address, process) = (format!("127.0.0.1:{}", port.number), zookeeper.id());
    Ok(Service::new("zookeeper", address, vec![process], Member::Zookeeper, (zookeeper, port, folder)))
}
