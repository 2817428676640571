//! Mail over SMTP. Its `Message-ID` is made of the message's key, so what comes twice has one name; each recipient is told apart,
//! so that an address which is wrong keeps the message from nobody else.
use super::{Carrier, Reached, Refused};
use crate::resource::{
    CallCtx, Failure,
    channel::{Message, Smtp, Tls},
    http,
};
use async_trait::async_trait;
use lettre::{
    Address,
    address::Envelope,
    message::{
        Mailbox,
        header::{ContentType, HeaderName, HeaderValue},
    },
    transport::smtp::{
        Error,
        authentication::{Credentials, DEFAULT_MECHANISMS},
        client::{AsyncSmtpConnection, TlsParameters},
        extension::ClientId,
    },
};
use std::{error::Error as _, io};

pub struct Mail {
    smtp: Smtp,
    from: Mailbox,
    to: Vec<Mailbox>,
}

fn mailbox(text: &str) -> Result<Mailbox, Failure> {
    let wrong = || Failure::invalid(format!("`{}` is no mail address", text.escape_debug()));
    let plain = !text.contains(crate::plain::hidden);
    text.parse().ok().filter(|_| plain).ok_or_else(wrong)
}

/// Sender and recipients.
pub fn understood(smtp: &Smtp) -> Result<(Mailbox, Vec<Mailbox>), Failure> {
    if smtp.to.is_empty() {
        return Err(Failure::invalid("nobody is to get the mail: `to` is empty"));
    }
    let local = matches!(smtp.host.as_str(), "localhost" | "127.0.0.1" | "::1");
    if smtp.tls == Tls::Never && !local {
        return Err(Failure::invalid("without TLS mail is sent to this machine only (`localhost`)"));
    }
    Ok((mailbox(&smtp.from)?, smtp.to.iter().map(|to| mailbox(to)).collect::<Result<_, _>>()?))
}

impl Mail {
    pub fn new(smtp: &Smtp) -> Result<Self, Failure> {
        let (from, to) = understood(smtp)?;
        Ok(Self { smtp: smtp.clone(), from, to })
    }

    /// As it goes over the wire, for all of them.
    fn letter(&self, message: &Message) -> Result<Vec<u8>, Failure> {
        let id = format!("<{}@{}>", message.key, self.from.email.domain());
        // Nobody's absence note answers it (RFC 3834).
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        let mut letter = lettre::Message::builder()
            .from(self.from.clone())
            .date_now()
            .subject(message.headline())
            .message_id(Some(id))
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            letter = letter.to(to.clone());
        }
        let letter = letter.body(message.body());
        Ok(letter.map_err(|e| Failure::failed(format!("the mail cannot be written: {e}")))?.formatted())
    }

    async fn connect(&self, call: &CallCtx) -> Result<AsyncSmtpConnection, Error> {
        let Smtp { host, port, tls, login, .. } = &self.smtp;
        let me = ClientId::default();
        let secured = || TlsParameters::new(host.trim_matches(['[', ']']).to_owned());
        let wrapped = if *tls == Tls::Always { Some(secured()?) } else { None };
        let server = (host.trim_matches(['[', ']']), *port);
        let connected = AsyncSmtpConnection::connect_tokio1(server, Some(call.remaining()), &me, wrapped, None);
        let mut connection = connected.await?;
        if *tls == Tls::Starttls {
            connection.starttls(secured()?, &me).await?;
        }
        if let Some((user, password)) = login {
            let credentials = Credentials::new(user.clone(), password.clone());
            connection.auth(DEFAULT_MECHANISMS, &credentials).await?;
        }
        Ok(connection)
    }
}

/// What a server says may repeat what it was sent, so nothing but its code is passed on.
fn refused(error: &Error) -> Refused {
    if let Some(code) = error.status() {
        return match (error.is_permanent(), code.to_string().as_str()) {
            (true, "535" | "534" | "530") => {
                Refused::ForGood(Failure::failed(format!("the mail server does not accept user and password ({code})")))
            }
            (true, _) => Refused::ForGood(Failure::failed(format!("the mail server refused it ({code})"))),
            (false, _) => Refused::Now(Failure::unavailable(format!("the mail server puts it off ({code})")), None),
        };
    }
    if error.is_client() {
        return Refused::ForGood(Failure::failed("the mail server offers no STARTTLS or no way to log in"));
    }
    let mut source = error.source();
    let mut words = if error.is_timeout() { "no answer in time" } else { "the connection to the mail server ended" };
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            let tls = io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
            if tls || error.is_tls() {
                words = "no secure connection: its certificate or protocol is not accepted";
            } else {
                words = http::io_words(io.kind()).unwrap_or(words);
            }
        }
        source = cause.source();
    }
    Refused::Now(Failure::unavailable(words), None)
}

#[async_trait]
impl Carrier for Mail {
    fn tells_apart(&self) -> bool {
        true
    }

    async fn carry(&self, message: &Message, reached: &mut Reached, call: &CallCtx) -> Result<(), Refused> {
        let letter = self.letter(message).map_err(Refused::ForGood)?;
        let (mut connection, mut first) = (None, None);
        for to in &self.to {
            let address: &Address = &to.email;
            if reached.contains(&address.to_string()) {
                continue;
            }
            let mut open = match connection.take() {
                Some(open) => open,
                // Where nobody answers, nobody answers for the others either.
                None => self.connect(call).await.map_err(|error| refused(&error))?,
            };
            let envelope = Envelope::new(Some(self.from.email.clone()), vec![address.clone()]);
            let envelope = envelope.map_err(|e| Refused::ForGood(Failure::invalid(e.to_string())))?;
            match open.send(&envelope, &letter).await {
                Ok(_) => {
                    reached.insert(address.to_string());
                }
                Err(error) => {
                    let refused = refused(&error);
                    if matches!(refused, Refused::Now(..)) || first.is_none() {
                        first = Some(refused);
                    }
                }
            }
            connection = Some(open).filter(|open| !open.has_broken());
        }
        if let Some(mut open) = connection {
            // It has taken the mail, whatever becomes of the farewell.
            let _ = open.quit().await;
        }
        let Some(refused) = first else { return Ok(()) };
        let some = |failure: Failure| match reached.len() {
            0 => failure,
            n => Failure::new(failure.kind, format!("{} ({n} of {} have it)", failure.message, self.to.len())),
        };
        Err(match refused {
            Refused::Now(failure, wanted) => Refused::Now(some(failure), wanted),
            Refused::ForGood(failure) => Refused::ForGood(some(failure)),
        })
    }
}
