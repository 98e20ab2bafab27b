//! Servers of a test, each in a runtime of its own, so that one can die without a word.

use std::sync::Arc;
use std::time::Duration;

use lockstead::config::{ServeArgs, Settings};
use lockstead::engine::Started;
use lockstead::server::{Misconfigured, Server};
use lockstead_tests::PATIENCE;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::engine::Store;

/// Longer than any test.
const LONG: Duration = Duration::from_secs(60);

/// A server, which dies when dropped.
pub(crate) struct One {
    pub(crate) url: String,
    runtime: Option<Runtime>,
    running: Option<JoinHandle<Result<(), Misconfigured>>>,
    stop: Option<oneshot::Sender<()>>,
    misconfigure: Option<oneshot::Sender<String>>,
    store: Arc<Store>,
    number: usize,
}

impl One {
    /// A server over the store, which drains as long as it takes.
    pub(crate) async fn start(store: &Arc<Store>) -> Self {
        Self::start_with(store, LONG).await
    }

    pub(crate) async fn start_with(store: &Arc<Store>, drain_timeout: Duration) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let args = ServeArgs {
            listen: Some("127.0.0.1:0".to_owned()),
            drain_timeout: Some(drain_timeout),
            ..ServeArgs::default()
        };
        let settings = Settings::load(args).unwrap();
        let (stop, stopped) = oneshot::channel();
        let (misconfigure, misconfigured) = oneshot::channel();
        let shared = store.clone();
        let bound = runtime.spawn(async move {
            let mut number = 0;
            let server = Server::bind_over(&settings, |router| {
                let engine = shared.engine(router);
                number = engine.number();
                let misconfigured = async { misconfigured.await.unwrap_or_default() };
                Ok(Started { engine: Arc::new(engine), node: None, misconfigured: Box::pin(misconfigured) })
            });
            let server = server.await.unwrap();
            (server, number)
        });
        let (server, number) = bound.await.unwrap();
        let url = format!("http://{}", server.address());
        let running = runtime.spawn(server.run(async { stopped.await.unwrap() }));
        let (running, stop, misconfigure) = (Some(running), Some(stop), Some(misconfigure));
        Self { url, runtime: Some(runtime), running, stop, misconfigure, store: store.clone(), number }
    }

    /// Tells it to end, as SIGTERM does.
    pub(crate) fn drain(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Its engine finds that it can't work.
    pub(crate) fn misconfigure(&mut self, why: &str) {
        self.misconfigure.take().unwrap().send(why.to_owned()).unwrap();
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&self) -> bool {
        self.running.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Returns when it has ended by itself.
    pub(crate) async fn ended(&mut self) -> Result<(), Misconfigured> {
        let running = self.running.take().unwrap();
        tokio::time::timeout(PATIENCE, running).await.expect("it ends in time").unwrap()
    }

    /// It dies. Its connections break, and nothing it does reaches the store any more.
    pub(crate) fn kill(&mut self) -> usize {
        self.store.cut_off(self.number);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        self.number
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.kill();
    }
}
