//! A wire between two processes that can be cut: bytes of both directions pass until it is silent, or broken.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes on what connects to it. Ends when dropped.
#[derive(Debug)]
pub(super) struct Proxy {
    address: SocketAddr,
    state: Arc<watch::Sender<State>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    silent: bool,
    /// How often all connections were broken.
    breaks: usize,
    over: bool,
}

impl Proxy {
    /// Listens on a free port, in front of `target`.
    pub(super) async fn start(target: String) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(watch::Sender::new(State::default()));
        tokio::spawn(accept(listener, target, state.subscribe()));
        Ok(Self { address, state })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on nothing passes any more, and nobody is told; or everything does again, that of before included.
    pub(super) fn set_silent(&self, silent: bool) {
        self.state.send_modify(|state| state.silent = silent);
    }

    /// Breaks all connections. New ones can be made at once.
    pub(super) fn break_all(&self) {
        self.state.send_modify(|state| state.breaks += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.send_modify(|state| state.over = true);
    }
}

async fn accept(listener: TcpListener, target: String, mut state: watch::Receiver<State>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = state.wait_for(|state| state.over) => return,
        };
        if let Ok((near, _)) = accepted {
            tokio::spawn(serve(near, target.clone(), state.clone()));
        }
    }
}

async fn serve(mut near: TcpStream, target: String, mut state: watch::Receiver<State>) {
    let breaks = state.borrow().breaks;
    let broken = {
        let mut state = state.clone();
        async move { _ = state.wait_for(|state| state.breaks != breaks || state.over).await }
    };
    // A silent wire does not even connect.
    let connect = async {
        _ = state.wait_for(|state| !state.silent).await;
        TcpStream::connect(target).await
    };
    tokio::pin!(broken);
    let far = tokio::select! {
        far = connect => far,
        () = &mut broken => return,
    };
    // Whoever finds nobody there hears it as without a proxy: by a connection that ends.
    let Ok(mut far) = far else { return };
    // Nothing can be done about a connection that is gone already.
    _ = near.set_nodelay(true);
    _ = far.set_nodelay(true);
    let broke = {
        let ((near_read, near_write), (far_read, far_write)) = (near.split(), far.split());
        tokio::select! {
            () = &mut broken => true,
            _ = async { tokio::join!(pass(near_read, far_write, &state), pass(far_read, near_write, &state)) } => false,
        }
    };
    if broke {
        // Both ends hear of a reset, rather than of an orderly end.
        _ = near.set_zero_linger();
        _ = far.set_zero_linger();
    }
}

/// Passes bytes on until one side ends, and then the end.
async fn pass(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, state: &watch::Receiver<State>) {
    let mut state = state.clone();
    let mut bytes = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if state.wait_for(|state| !state.silent).await.is_err() || to.write_all(&bytes[..count]).await.is_err() {
            break;
        }
    }
    // It may be gone already.
    _ = state.wait_for(|state| !state.silent).await;
    _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Two ends of a wire.
    async fn wire() -> (Proxy, TcpListener, TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap().to_string()).await.unwrap();
        let mut near = TcpStream::connect(proxy.address()).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        far.write_u8(0).await.unwrap();
        assert_eq!(hear(&mut near).await.unwrap(), 0);
        (proxy, listener, near, far)
    }

    async fn hear(stream: &mut TcpStream) -> io::Result<u8> {
        tokio::time::timeout(Duration::from_secs(20), stream.read_u8()).await.unwrap()
    }

    #[tokio::test]
    async fn what_was_said_into_the_silence_is_heard_after_it() {
        let (proxy, _listener, mut near, mut far) = wire().await;
        near.write_u8(1).await.unwrap();
        assert_eq!(hear(&mut far).await.unwrap(), 1);
        proxy.set_silent(true);
        near.write_u8(2).await.unwrap();
        let heard = tokio::time::timeout(Duration::from_millis(50), far.read_u8()).await;
        assert!(heard.is_err(), "{heard:?}");
        proxy.set_silent(false);
        assert_eq!(hear(&mut far).await.unwrap(), 2);
        far.write_u8(3).await.unwrap();
        assert_eq!(hear(&mut near).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_break_is_heard_at_both_ends() {
        let (proxy, listener, mut near, mut far) = wire().await;
        proxy.break_all();
        for end in [&mut near, &mut far] {
            assert_eq!(hear(end).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        }
        let mut again = TcpStream::connect(proxy.address()).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        again.write_u8(4).await.unwrap();
        assert_eq!(hear(&mut far).await.unwrap(), 4);
    }
}
