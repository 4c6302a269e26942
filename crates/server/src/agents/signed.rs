//! The extractor that proves which host speaks: nothing behind it sees a request that is not signed by a known host.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, OriginalUri, Request};
use axum::http::header::AUTHORIZATION;
use axum::http::{Extensions, Uri};
use model::{Host, HostId};
use wire::{CredentialError, RefusalCode, RequestSignature, SignedRequest};

use super::{Agents, Refused};
use crate::brain::now;

/// A request that its host signed.
pub(crate) struct Signed {
    /// The host, as intent knows it now.
    pub(crate) host: Host,
    /// The body.
    pub(crate) body: Bytes,
}

impl Signed {
    /// The body as a message.
    pub(crate) fn message<T: for<'b> wire::Decode<'b>>(&self) -> Result<T, Refused> {
        wire::decode(&self.body).map_err(|error| Refused::new(RefusalCode::Invalid, error.to_string()))
    }
}

impl Agents {
    /// The host as it is now. That it is unknown makes an agent take everything down: that is said only by a server which knows
    /// all that any other has committed.
    async fn known(&self, id: HostId) -> Result<Host, Refused> {
        if let Some(host) = self.brain.intent().host(id) {
            return Ok(host.clone());
        }
        self.brain.caught_up().await.map_err(|_| Refused::no_leader())?;
        self.brain.intent().host(id).cloned().ok_or_else(|| {
            self.replays.forget(id);
            Refused::unknown_host()
        })
    }
}

/// What a request asks for, in the words that its agent signed.
pub(super) fn target(extensions: &Extensions, uri: &Uri) -> String {
    let uri = extensions.get::<OriginalUri>().map_or(uri, |uri| &uri.0);
    uri.path_and_query().map_or(uri.path(), |target| target.as_str()).to_owned()
}

impl FromRequest<Arc<Agents>> for Signed {
    type Rejection = Refused;

    async fn from_request(request: Request, agents: &Arc<Agents>) -> Result<Self, Refused> {
        let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let signature = RequestSignature::parse(header.ok_or(CredentialError::Form)?)?;
        let method = request.method().clone();
        let target = target(request.extensions(), request.uri());
        // Before the body is read: nothing is kept in memory for hosts that are not there.
        let host = agents.known(signature.host).await?;
        let body = Bytes::from_request(request, agents).await;
        let body = body.map_err(|error| Refused::new(RefusalCode::Invalid, error.body_text()))?;
        let signed = SignedRequest { method: method.as_str(), target: &target, body: &body };
        signature.verify(&host.signing_key, now(), &signed)?;
        if !agents.replays.take(host.id, signature.time) {
            return Err(Refused::new(RefusalCode::NotProved, "this request was made before; make a new one"));
        }
        agents.brain.heard(host.id);
        Ok(Self { host, body })
    }
}
