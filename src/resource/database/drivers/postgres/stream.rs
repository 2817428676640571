//! The way to the server: a socket in a folder, or a connection over the network, that carries no more than it may.
use crate::resource::database::{Host, Server};
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

pub struct Stream {
    way: Way,
    /// Bytes that may still come.
    left: u64,
    /// More has come.
    exceeded: Arc<AtomicBool>,
}

enum Way {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// A server sends a value whole, and the client keeps what comes until it is whole. So what is read is bounded here.
    pub async fn open(server: &Server, most: u64) -> io::Result<Self> {
        let way = match &server.host {
            Host::Name(name) => {
                let stream = TcpStream::connect((name.as_str(), server.port)).await?;
                stream.set_nodelay(true)?;
                Way::Tcp(stream)
            }
            Host::Socket(folder) => {
                Way::Unix(UnixStream::connect(folder.join(format!(".s.PGSQL.{}", server.port))).await?)
            }
        };
        Ok(Self { way, left: most, exceeded: Arc::default() })
    }

    pub fn exceeded(&self) -> Arc<AtomicBool> {
        self.exceeded.clone()
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.left == 0 {
            self.exceeded.store(true, Ordering::Relaxed);
            return Poll::Ready(Err(io::ErrorKind::FileTooLarge.into()));
        }
        let before = buf.filled().len();
        let read = match &mut self.way {
            Way::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Way::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        let came = buf.filled().len().saturating_sub(before);
        self.left = self.left.saturating_sub(u64::try_from(came).unwrap_or(u64::MAX));
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.way {
            Way::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Way::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.way {
            Way::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Way::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.way {
            Way::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Way::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
