//! A way to a server that somebody else controls: it may hang up, or let nothing through.
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

pub struct Gateway {
    pub address: SocketAddr,
    task: JoinHandle<()>,
    tries: Arc<AtomicUsize>,
}

impl Gateway {
    /// Hangs up on so many, and lets the others through.
    pub async fn hanging_up(times: usize, server: SocketAddr) -> Self {
        Self::open(times, Some(server)).await
    }

    /// Takes every connection, and says nothing.
    pub async fn silent() -> Self {
        Self::open(0, None).await
    }

    async fn open(times: usize, server: Option<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tries = Arc::new(AtomicUsize::new(0));
        let counted = tries.clone();
        let task = tokio::spawn(async move {
            let mut held = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let number = counted.fetch_add(1, Ordering::Relaxed);
                match server {
                    None => held.push(stream),
                    Some(_) if number < times => drop(stream),
                    Some(server) => drop(tokio::spawn(async move {
                        let mut server = TcpStream::connect(server).await.unwrap();
                        let _ = copy_bidirectional(&mut stream, &mut server).await;
                    })),
                }
            }
        });
        Self { address, task, tries }
    }

    /// How many have come.
    pub fn tries(&self) -> usize {
        self.tries.load(Ordering::Relaxed)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}
