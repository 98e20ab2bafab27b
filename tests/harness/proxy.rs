//! A network that fails when a test wants it to.

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Passes on TCP connections, until it is told not to. Gone when dropped, with its connections.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    weather: watch::Sender<Weather>,
    task: JoinHandle<()>,
}

/// How the network is.
#[derive(Clone, Copy, Debug)]
struct Weather {
    is_cut: bool,
    /// What is said arrives; what is answered does not.
    is_deaf: bool,
    delay: Duration,
    resets: u64,
}

impl Weather {
    fn stops_questions(&self) -> bool {
        self.is_cut
    }

    fn stops_answers(&self) -> bool {
        self.is_cut || self.is_deaf
    }
}

impl Proxy {
    /// Stands before an address, such as `127.0.0.1:6379`.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn before(address: impl Into<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (weather, receiver) =
            watch::channel(Weather { is_cut: false, is_deaf: false, delay: Duration::ZERO, resets: 0 });
        let task = tokio::spawn(serve(listener, address.into(), receiver));
        Self { port, weather, task }
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// From now on nothing passes, in neither direction, and nobody is told: connections stay open, new ones are taken and
    /// lead nowhere. What is said meanwhile arrives when the network is [restored](Self::restore).
    pub fn cut(&self) {
        self.weather.send_modify(|weather| weather.is_cut = true);
    }

    /// From now on nothing comes back, and nobody is told: what is said arrives, and its answers wait until the network is
    /// [restored](Self::restore).
    pub fn cut_answers(&self) {
        self.weather.send_modify(|weather| weather.is_deaf = true);
    }

    /// From now on whatever passes takes so much longer, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.weather.send_modify(|weather| weather.delay = delay);
    }

    /// Ends a cut and a delay.
    pub fn restore(&self) {
        self.weather.send_modify(|weather| {
            *weather = Weather { is_cut: false, is_deaf: false, delay: Duration::ZERO, ..*weather };
        });
    }

    /// Breaks all connections there are; new ones are taken.
    pub fn reset(&self) {
        self.weather.send_modify(|weather| weather.resets += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, address: String, weather: watch::Receiver<Weather>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { return };
                connections.spawn(pass(client, address.clone(), weather.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection; its end, whatever it is, is the end of both halves.
async fn pass(mut client: TcpStream, address: String, mut weather: watch::Receiver<Weather>) -> io::Result<()> {
    let resets = weather.borrow().resets;
    is_fair(&mut weather, Weather::stops_questions).await;
    let mut server = TcpStream::connect(address).await?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
    let both = async {
        let questions = pump(from_client, to_server, weather.clone(), Weather::stops_questions);
        tokio::try_join!(questions, pump(from_server, to_client, weather.clone(), Weather::stops_answers))
    };
    let mut watched = weather.clone();
    tokio::select! {
        done = both => return done.map(|_| ()),
        _ = watched.wait_for(|weather| weather.resets > resets) => {}
    }
    for stream in [&client, &server] {
        // What is closed without lingering is reset.
        SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
    }
    Ok(())
}

async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut weather: watch::Receiver<Weather>,
    stops: fn(&Weather) -> bool,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        let delay = weather.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        is_fair(&mut weather, stops).await;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
    }
}

/// Returns when the weather does not stop what wants to pass.
async fn is_fair(weather: &mut watch::Receiver<Weather>, stops: fn(&Weather) -> bool) {
    // When the proxy is gone so is whoever waits here.
    _ = weather.wait_for(|weather| !stops(weather)).await;
}
