//! Requests to the product, for the drivers that make them: no redirects, no proxies from the environment, bodies of
//! bounded size, and failures that name neither an address nor a header.
use super::{Failure, secrets::Secrets};
use reqwest::{
    Client, Response, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
    redirect::Policy,
};
use std::{collections::BTreeMap, error::Error, fmt, io, sync::Once, time::Duration};

/// What a site has sent with each request.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    pub value: String,
    /// It came from a file or a variable of its own. Others are secret by their name.
    pub secret: bool,
}

/// It may be a secret.
impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// The headers of a site as they are sent, and what of them must come back to nobody.
pub fn headers(named: &BTreeMap<String, Header>) -> Result<(HeaderMap, Secrets), Failure> {
    let (mut headers, mut secrets) = (HeaderMap::new(), Secrets::default());
    for (name, header) in named {
        let wrong = || Failure::invalid(format!("the header `{name}` cannot be sent"));
        let key = HeaderName::try_from(name).map_err(|_| wrong())?;
        let mut content = HeaderValue::try_from(&header.value).map_err(|_| wrong())?;
        if header.secret || is_secret(key.as_str()) {
            content.set_sensitive(true);
            secrets.add(&header.value);
        }
        headers.insert(key, content);
    }
    Ok((headers, secrets))
}

/// By its name, where the site has the value in plain sight: `application/json` may well be part of an answer.
fn is_secret(name: &str) -> bool {
    ["auth", "cookie", "token", "key", "secret", "pass", "session", "signature"].iter().any(|part| name.contains(part))
}

/// An address of the site: `http` or `https`, with a host, without credentials. It may hold some by mistake, so that the
/// failure does not repeat it.
pub fn address(text: &str) -> Result<Url, Failure> {
    let url = Url::parse(text).map_err(|e| Failure::invalid(format!("the address is not understood: {e}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Failure::invalid("the address must begin with `http://` or `https://`"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(Failure::invalid("the address names no host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Failure::invalid("an address holds no credentials; they belong in a header"));
    }
    Ok(url)
}

/// A client for one address. `keep` connections are used again; with 0 each request has a connection of its own, so that it
/// tells how the product is now and not how it was when the connection was made.
pub fn client(url: &Url, headers: HeaderMap, keep: usize) -> Result<Client, Failure> {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // Somebody else's choice is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let builder = Client::builder()
        .user_agent(concat!("backout/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .redirect(Policy::none())
        .referer(false)
        .no_proxy()
        .http1_only()
        .pool_max_idle_per_host(keep);
    // Without TLS no certificates are needed, and the host may have none.
    let builder = if url.scheme() == "http" { builder.tls_certs_only([]) } else { builder };
    builder.build().map_err(|e| {
        let cause = e.source().map(ToString::to_string).unwrap_or_default();
        Failure::unavailable(format!("requests cannot be made from this host: {cause}"))
    })
}

/// The beginning of a body, and whether there was more.
pub struct Body {
    pub bytes: Vec<u8>,
    pub cut: bool,
}

/// Reads a body, keeps at most `keep` bytes of it, and gives up after `most`.
pub async fn body(mut response: Response, keep: usize, most: usize, timeout: Duration) -> Result<Body, Failure> {
    let mut body = Body { bytes: Vec::new(), cut: false };
    let mut seen = 0usize;
    while let Some(chunk) = response.chunk().await.map_err(|e| why(&e, timeout))? {
        seen = seen.saturating_add(chunk.len());
        let room = keep - body.bytes.len();
        body.bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        body.cut |= chunk.len() > room;
        if seen > most {
            break;
        }
    }
    Ok(body)
}

/// Why there was no answer. Library texts name hosts and addresses, so none of them is passed on.
pub fn why(error: &reqwest::Error, timeout: Duration) -> Failure {
    if error.is_timeout() {
        return Failure::unavailable(format!("no answer within {timeout:?}"));
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            // A TLS failure travels inside an I/O error.
            if io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
                return Failure::unavailable("no secure connection: its certificate or protocol is not accepted");
            }
            if let Some(what) = io_words(io.kind()) {
                return Failure::unavailable(what);
            }
        }
        source = cause.source();
    }
    Failure::unavailable(match error {
        e if e.is_dns() => "the name of its host is not known",
        e if e.is_connect() => "no connection",
        _ => "the connection ended before the whole answer was there",
    })
}

pub fn io_words(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::ConnectionRefused => Some("connection refused"),
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            Some("connection closed")
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => {
            Some("host not reachable")
        }
        io::ErrorKind::TimedOut => Some("no connection in time"),
        _ => None,
    }
}
