//! What a script prints. The words are the script's, and count against its log.
use crate::gate::LogMeter;
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamError, StreamResult},
};

#[derive(Clone)]
pub struct Console {
    pub out: Printing,
    pub err: Printing,
}

impl Console {
    pub fn new(meter: &LogMeter) -> Self {
        let printing = || Printing { text: Arc::default(), meter: meter.clone() };
        Self { out: printing(), err: printing() }
    }

    pub fn printed(&self) -> String {
        [&self.out, &self.err].map(|printing| printing.so_far()).concat()
    }

    /// Where runtimes leave the reason for which they give up: the last line of standard error.
    pub fn last_words(&self) -> Option<String> {
        let text = self.err.so_far();
        text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(|line| line.chars().take(500).collect())
    }
}

/// One output; all of its streams write to the same place.
#[derive(Clone)]
pub struct Printing {
    text: Arc<Mutex<Vec<u8>>>,
    meter: LogMeter,
}

impl Printing {
    fn text(&self) -> MutexGuard<'_, Vec<u8>> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends with a line feed, unless it is empty.
    fn so_far(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.text()).into_owned();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text
    }
}

/// What may be written at once; more takes another call.
const ROOM: usize = 64 << 10;

#[async_trait::async_trait]
impl OutputStream for Printing {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        self.meter.count(lines, bytes.len()).map_err(|stop| StreamError::Trap(stop.into()))?;
        self.text().extend_from_slice(&bytes);
        Ok(())
    }
    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }
    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(ROOM)
    }
}

#[async_trait::async_trait]
impl Pollable for Printing {
    async fn ready(&mut self) {}
}

impl IsTerminal for Printing {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printing {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
    /// Later versions of WASI ask for it, and none of them is linked.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }
}
