//! What an answer over HTTP means for a message.
use super::Refused;
use crate::resource::{Failure, http};
use reqwest::{
    RequestBuilder, Response,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use std::time::Duration;

/// No answer of a receiver is longer.
const MAX_BODY: usize = 16 << 10;

/// Any 2xx is a yes. What was said beside it is not passed on: it may repeat what was sent with it.
pub async fn post(request: RequestBuilder, body: Vec<u8>, timeout: Duration) -> Result<(), Refused> {
    let unavailable = |failure| Refused::Now(failure, None);
    let request = request.header(CONTENT_TYPE, "application/json").body(body).timeout(timeout);
    let answer = request.send().await.map_err(|e| unavailable(http::why(&e, timeout)))?;
    let (status, wanted) = (answer.status().as_u16(), wanted(&answer));
    let _ = http::body(answer, 0, MAX_BODY, timeout).await;
    match status {
        200..=299 => Ok(()),
        300..=399 => Err(Refused::ForGood(Failure::failed(format!(
            "its address only leads elsewhere (status {status}), and is not followed"
        )))),
        408 | 425 | 429 | 500..=599 => {
            Err(Refused::Now(Failure::unavailable(format!("it answers with status {status}")), wanted))
        }
        _ => Err(Refused::ForGood(Failure::failed(format!("it was refused with status {status}")))),
    }
}

/// How long the receiver wants to be left alone, in seconds.
fn wanted(answer: &Response) -> Option<Duration> {
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
