//! Whom a command talks to: a server, or the data folder itself when no server runs on it.

use eyot_api::ApiClient;
use eyot_core::config::Config;
use eyot_core::{Error, ErrorKind, Result};
use eyot_http::ServerTrust;
use eyot_oci::Transport;

use crate::cli::GlobalOptions;
use crate::credentials;
use crate::folder;
use crate::platform::ServerPlatform;

/// An open connection. Every command goes through the same API, over a socket or in this process.
pub(crate) struct ApiSession {
    client: ApiClient,
    gateway: Option<String>,
    config: Config,
    /// The token that is shown.
    secret: Option<String>,
    /// Keeps the data folder locked while it is used without a server.
    _local: Option<ServerPlatform>,
}

impl ApiSession {
    /// With the server that `--server` names or that runs on the data folder, if there is one.
    pub(crate) async fn running(global: &GlobalOptions) -> Result<Option<Self>> {
        let config = global.config()?;
        let running = match global.server() {
            Some(url) => Some((url.to_owned(), trust(&config), None)),
            None => folder::server(&config.data.dir).await?.map(|found| {
                let trust = found.running.trust();
                // Whoever can read the folder owns what is in it.
                (found.running.api, trust, Some(found.secret).filter(|secret| !secret.is_empty()))
            }),
        };
        let Some((url, trust, local)) = running else { return Ok(None) };
        let mut transport = Transport::connect(&url, &trust)?;
        let secret = match (std::env::var("EYOT_TOKEN").ok(), local) {
            (Some(secret), _) | (None, Some(secret)) => Some(secret),
            (None, None) => credentials::token_for(&url)?,
        };
        if let Some(secret) = &secret {
            transport = transport.with_token(secret)?;
        }
        let client = ApiClient::new(transport).in_project(global.project().cloned());
        let info = client.server().await.map_err(|error| {
            let error = error.context(format!("no answer from {url}"));
            match error.hint_text() {
                Some(_) => error,
                None => error.hint("is the server up? eyot up starts one"),
            }
        })?;
        Ok(Some(Self { client, gateway: info.gateway, config, secret, _local: None }))
    }

    /// Takes `--server` if given; else the server that runs on the data folder; else the folder.
    pub(crate) async fn open(global: &GlobalOptions) -> Result<Self> {
        let config = global.config()?;
        let platform = loop {
            if let Some(session) = Self::running(global).await? {
                return Ok(session);
            }
            match ServerPlatform::open(&config).await {
                Ok(platform) => break platform,
                // A server was faster: it is waited for, and asked.
                Err(error)
                    if error.kind() == ErrorKind::Conflict && folder::has_server(&config.data.dir)? => {}
                Err(error) => return Err(error),
            }
        };
        global.note_work_on(&config.data.dir);
        platform.refresh_layout().await?;
        let client =
            ApiClient::new(Transport::local(platform.router())).in_project(global.project().cloned());
        Ok(Self { client, gateway: None, config, secret: None, _local: Some(platform) })
    }

    pub(crate) fn client(&self) -> &ApiClient {
        &self.client
    }

    /// The token that is shown to either plane.
    pub(crate) fn secret(&self) -> Option<&str> {
        self.secret.as_deref()
    }

    /// The configuration of this side.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The data plane's URL; none without a server.
    pub(crate) fn gateway(&self) -> Option<&str> {
        self.gateway.as_deref()
    }

    /// The data plane's URL, or what to do to have one.
    pub(crate) fn need_gateway(&self) -> Result<&str> {
        self.gateway().ok_or_else(no_server)
    }
}

/// Why what only a server does is not done.
pub(crate) fn no_server() -> Error {
    Error::unavailable("no server is running on this data folder")
        .hint("start one in another terminal: eyot up")
}

/// Whom commands with this configuration trust over TLS.
pub(crate) fn trust(config: &Config) -> ServerTrust {
    ServerTrust::with_authority(&config.api.ca)
}
