//! How a simulated machine becomes a host: it asks the server's keys, agrees a channel, and proves what it has.

use anyhow::Context as _;
use model::{HostName, SealingPublicKey, Timestamp};
use reqwest::Method;
use wire::{
    Agreement, Facts, Hello, HostSettings, RegisterReply, RegisterRequest, Registration, Token, path,
};

use super::agent::{AgentError, expect_success};
use super::random::System;
use super::{Agent, Keys, Site, now};

/// What a machine says of itself when it registers.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// The enrollment key's secret.
    pub enrollment: Option<[u8; 32]>,
    /// What it calls itself.
    pub hostname: String,
    /// What its settings say.
    pub settings: HostSettings,
    /// How far its clock is off, in milliseconds.
    pub clock_off: i64,
}

impl Wish {
    /// To join by this token under this name.
    pub fn of_token(token: &Token, hostname: &str) -> Self {
        Self { enrollment: Some(*token.secret.expose()), hostname: hostname.to_owned(), ..Self::default() }
    }
}

/// A registration that is ready to be sent.
pub struct Application {
    /// What is sent; tests may damage it.
    pub request: RegisterRequest,
    agreement: Agreement,
    keys: Keys,
    site: Site,
}

impl Application {
    /// Asks the server who it is and makes everything ready.
    pub async fn prepare(site: &Site, keys: &Keys, wish: &Wish) -> anyhow::Result<Self> {
        let hello = site.send(Method::GET, path::HELLO, &[], Vec::new()).await?;
        let hello: Hello = wire::decode(&hello.body).context("the server's hello")?;
        let agreement = Agreement::initiate(&keys.sealing, &hello.sealing_key, &mut System)?;
        let registration = registration(keys, wish, agreement.encapsulated);
        let request =
            RegisterRequest::prove(&registration, &keys.signing, &keys.wireguard, &hello.wireguard_key);
        Ok(Self { request, agreement, keys: keys.clone(), site: site.clone() })
    }

    /// Registers.
    pub async fn send(self) -> Result<Agent, AgentError> {
        let Self { request, agreement, keys, site } = self;
        let headers = [("content-type", path::MEDIA_TYPE)];
        let reply = site.send(Method::POST, path::REGISTER, &headers, wire::encode(&request)).await?;
        let body = expect_success(reply)?;
        let reply: RegisterReply = wire::decode(&body).context("the answer to a registration")?;
        let channel = agreement.into_channel(reply.host);
        Ok(Agent::new(site, keys, channel, reply))
    }
}

/// What a machine with these keys asks to be.
pub(crate) fn registration(keys: &Keys, wish: &Wish, encapsulated: SealingPublicKey) -> Registration {
    Registration {
        enrollment: wish.enrollment,
        hostname: HostName::nearest(&wish.hostname),
        wireguard_key: keys.wireguard.public(),
        signing_key: keys.signing.public(),
        sealing_key: keys.sealing.public(),
        encapsulated,
        settings: wish.settings.clone(),
        facts: facts(),
        time: Timestamp::from_millis(now().as_millis() + wish.clock_off),
        addresses: Vec::new(),
    }
}

/// What simulated machines are.
pub(crate) fn facts() -> Facts {
    Facts {
        os: "linux".to_owned(),
        release: "Debian GNU/Linux 12 (bookworm)".to_owned(),
        arch: "x86_64".to_owned(),
        kernel: "6.1.0-28-amd64".to_owned(),
        agent: "0.1.0".to_owned(),
        wireguard: "kernel".to_owned(),
    }
}
