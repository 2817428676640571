//! The daemon's API, over its socket on this machine.
use crate::resource::{
    Failure, FailureKind,
    process::{Redaction, bounded},
};
use bollard::{
    API_DEFAULT_VERSION, BollardRequest, Docker,
    errors::Error,
    models::{ContainerInspectResponse, ImageInspect},
};
use hyper::{Uri, client::conn::http1::handshake, header};
use hyper_util::rt::TokioIo;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{net::UnixStream, sync::OnceCell, time::timeout};

/// For an answer that needs no work.
const ANSWER: Duration = Duration::from_secs(30);

pub struct Daemon {
    socket: PathBuf,
    /// Knows which version of the API both speak.
    client: OnceCell<Docker>,
}

impl Daemon {
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), client: OnceCell::new() }
    }

    pub async fn client(&self) -> Result<&Docker, Failure> {
        let connect = async || {
            let socket = self.socket.clone();
            let send = move |request: BollardRequest| request_over(socket.clone(), request);
            // Each call has a time of its own.
            let client = Docker::connect_with_custom_transport(send, Some("http://docker"), 3600, API_DEFAULT_VERSION)
                .map_err(failed)?;
            within(ANSWER, client.negotiate_version()).await
        };
        self.client.get_or_try_init(connect).await
    }

    pub async fn inspect(&self, container: &str) -> Result<Box<ContainerInspectResponse>, Failure> {
        let client = self.client().await?;
        Box::pin(within(ANSWER, client.inspect_container(container, None))).await.map(Box::new)
    }

    pub async fn inspect_image(&self, image: &str) -> Result<Box<ImageInspect>, Failure> {
        let client = self.client().await?;
        Box::pin(within(ANSWER, client.inspect_image(image))).await.map(Box::new)
    }
}

pub async fn within<T>(time: Duration, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
    match timeout(time, answer).await {
        Ok(answer) => answer.map_err(failed),
        Err(_) => Err(Failure::timed_out(format!("the Docker daemon did not answer within {time:?}"))),
    }
}

/// What the daemon says, or that it says nothing.
pub fn failed(error: Error) -> Failure {
    match error {
        Error::DockerResponseServerError { status_code: 404, message } => {
            Failure::new(FailureKind::NotFound, format!("the Docker daemon says: {}", said(&message)))
        }
        Error::DockerResponseServerError { status_code: 409, message } => {
            Failure::conflict(format!("the Docker daemon refuses: {}", said(&message)))
        }
        Error::DockerResponseServerError { status_code, message } => {
            Failure::failed(format!("the Docker daemon says {status_code}: {}", said(&message)))
        }
        Error::IOError { err } => Failure::unavailable(format!("the Docker daemon cannot be reached: {}", err)),
        other => Failure::unavailable(format!("the Docker daemon cannot be spoken to: {other}")),
    }
}

/// One line of it, without the paths that it names: they are of this machine, and may reach a script.
fn said(message: &str) -> String {
    let named = |word: &str| match (word.find('/'), word.rfind('/')) {
        (Some(begin), Some(end)) => format!("{}…{}", &word[..begin], &word[end..]),
        _ => word.to_owned(),
    };
    let words: Vec<String> = message.split_whitespace().map(named).collect();
    bounded(&Redaction::default().line(words.join(" ").as_bytes()), 500)
}

async fn request_over(
    socket: PathBuf,
    request: BollardRequest,
) -> Result<hyper::Response<hyper::body::Incoming>, Error> {
    let stream = UnixStream::connect(&socket).await?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    // Ends with the answer.
    tokio::spawn(connection);
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    parts.uri = path.parse::<Uri>().map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
    parts.headers.insert(header::HOST, header::HeaderValue::from_static("docker"));
    Ok(sender.send_request(BollardRequest::from_parts(parts, body)).await?)
}
