//! How a connection to the bus is made, the first one and those that follow it.

use std::{
    future::ready,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use async_nats::{Auth, Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr};

use super::{ConnectError, trust::Trust};
use crate::{
    error::{Code, Error},
    identity::Credential,
    subject,
    sync::lock,
};

/// How often an idle connection is tried. After two misses it is given up at the third: 12 s at most, and 15 s are promised.
const PING: Duration = Duration::from_secs(4);
/// How long a connection attempt may take.
pub(super) const CONNECT: Duration = Duration::from_secs(4);
/// How long it may take where there are other servers to try.
const CONNECT_ONE: Duration = Duration::from_secs(2);

/// In which order the servers of a bus are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// In none, so that many who connect are spread over them.
    Any,
    /// As their addresses are given.
    Given,
}

/// Where the bus is, and as whom to log in there.
pub(super) struct Dial {
    url: String,
    order: Order,
    servers: Vec<ServerAddr>,
    label: String,
    credential: Arc<Credential>,
    trust: Trust,
}

impl Dial {
    /// Reads the addresses in `url`.
    ///
    /// # Errors
    ///
    /// One of them is none.
    pub(super) fn new(
        url: String,
        order: Order,
        label: String,
        credential: Arc<Credential>,
        trust: Trust,
    ) -> Result<Self, ConnectError> {
        match addresses(&url) {
            Ok(servers) => Ok(Self { url, order, servers, label, credential, trust }),
            Err(source) => Err(ConnectError::Unreachable { url, source }),
        }
    }

    /// Whether there are several addresses.
    pub(super) fn has_several(&self) -> bool {
        self.servers.len() > 1
    }

    /// The address, or the addresses.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Connects, and makes the connection again whenever it breaks, after the `wait` that goes with so many attempts.
    /// `heard` is told of each event, and of what it means where that is that this user is done with for good.
    ///
    /// # Errors
    ///
    /// What the first attempt meets.
    pub(super) async fn connect(
        self: &Arc<Self>,
        heard: impl Fn(Event, Option<Error>) + Send + Sync + 'static,
        wait: impl Fn(usize) -> Duration + Send + Sync + 'static,
    ) -> Result<Client, ConnectError> {
        let shown: Arc<Mutex<String>> = Arc::default();
        let (dial, showing) = (self.clone(), shown.clone());
        // Asked at each login: the token may have been renewed since the one before.
        let login = ConnectOptions::with_auth_callback(move |nonce| {
            let (mut auth, jwt) = (Auth::new(), dial.credential.jwt());
            auth.signature = Some(dial.credential.sign(&nonce));
            lock(&showing).clone_from(&jwt);
            auth.jwt = Some(jwt);
            ready(Ok(auth))
        });
        let (dial, servers) = (self.clone(), self.servers.len().max(1));
        let options = self
            .trust
            .secure(login)
            .name(&self.label)
            .custom_inbox_prefix(subject::inbox(self.credential.name()))
            .ping_interval(PING)
            .connection_timeout(if self.has_several() { CONNECT_ONE } else { CONNECT })
            // Each server is tried once before the wait grows.
            .reconnect_delay_callback(move |attempts| wait(attempts / servers))
            .event_callback(move |event| {
                let over = last_words(&event).and_then(|words| dial.over(&words, &lock(&shown)));
                heard(event, over);
                ready(())
            });
        let options = if self.order == Order::Given { options.retain_servers_order() } else { options };
        options.connect(self.servers.as_slice()).await.map_err(|source| self.refusal(source))
    }

    /// What the words mean by which the server ended a connection, or refused to make one again, if it is that this user is
    /// done with for good; that connection showed the token `shown`.
    fn over(&self, words: &str, shown: &str) -> Option<Error> {
        let (user, words) = (self.credential.name(), words.to_ascii_lowercase());
        let ended = || self.credential.expires().is_some_and(|end| end <= SystemTime::now());
        let why = if words.contains("user authentication revoked") {
            format!("the credential of {user} was revoked")
        } else if words.contains("user authentication expired") && shown == self.credential.jwt()
            || words.contains("authorization violation") && ended()
        {
            format!("the credential of {user} has ended, and was not renewed")
        } else {
            return None;
        };
        let hint = "ask an admin of this mesh for a new credential";
        Some(
            Error::new(Code::PermissionDenied, format!("{why}: the bus has ended the connection"))
                .hint(hint)
                .sent(true),
        )
    }

    fn refusal(&self, source: async_nats::ConnectError) -> ConnectError {
        if let Some(untrusted) = self.trust.refusal(&source) {
            return untrusted.into();
        }
        match source.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => self.refused(),
            // What the server says of a token that ends at that very moment.
            _ if source.to_string().to_ascii_lowercase().contains("authentication expired") => self.refused(),
            _ => ConnectError::Unreachable { url: self.url.clone(), source },
        }
    }

    /// That the server refuses the credential.
    pub(super) fn refused(&self) -> ConnectError {
        let (user, term) = (self.credential.name().clone(), self.credential.term());
        ConnectError::Refused { url: self.url.clone(), user, term }
    }
}

fn last_words(event: &Event) -> Option<String> {
    match event {
        Event::ServerError(error) => Some(error.to_string()),
        Event::ClientError(error) => Some(error.to_string()),
        _ => None,
    }
}

/// The addresses of the servers of a bus.
///
/// # Errors
///
/// One of them is none.
pub(crate) fn addresses(url: &str) -> Result<Vec<ServerAddr>, async_nats::ConnectError> {
    let parsed: Result<Vec<ServerAddr>, _> = url.split(',').map(str::parse).collect();
    parsed.map_err(|error| async_nats::ConnectError::with_source(async_nats::ConnectErrorKind::ServerParse, error))
}
