//! A way to a server on this host that can be cut in the middle.
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    thread,
};

pub struct Proxy {
    pub port: u16,
    inner: Arc<Inner>,
}

struct Inner {
    /// Bytes that it still lets through, both ways together.
    left: AtomicI64,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let inner = Arc::new(Inner { left: AtomicI64::new(i64::MAX), open: Mutex::default() });
        let shared = inner.clone();
        // It ends with the process: nobody connects any more once the test is over.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    shared.open.lock().unwrap().push(from.try_clone().unwrap());
                    let inner = shared.clone();
                    thread::spawn(move || inner.carry(from, to));
                }
            }
        });
        Self { port, inner }
    }

    /// All connections, and those that come, when so many more bytes have gone through.
    pub fn cut_after(&self, bytes: i64) {
        self.inner.left.store(bytes, Ordering::SeqCst);
    }

    /// Lets through what comes from now on, and nothing of what was under way.
    pub fn mend(&self) {
        let mut open = self.inner.open.lock().unwrap();
        open.drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        self.inner.left.store(i64::MAX, Ordering::SeqCst);
    }
}

impl Inner {
    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            if self.left.fetch_sub(n as i64, Ordering::SeqCst) < n as i64 {
                let mut open = self.open.lock().unwrap();
                // At once, for everybody, and without a word; unless it was mended meanwhile.
                if self.left.load(Ordering::SeqCst) < 0 {
                    open.drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
                }
                break;
            }
            if to.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}
