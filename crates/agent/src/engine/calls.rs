//! What other commands of `netclient` ask the daemon, and the answers.
//!
//! Not for the socket by which they come (`control`). It keeps true that a pull is answered when the server has been asked and
//! what it said is done.

use reconcile::AgentEvent;

use super::{End, Engine};
use crate::control::{Call, Reply, Request};

impl Engine {
    pub(super) async fn called(&mut self, call: Call) -> Option<End> {
        let (reply, end) = match call.request {
            Request::Status => (Reply::Status(Box::new(self.view().await)), None),
            Request::Pull => {
                self.agent.handle(AgentEvent::AskNow, self.now());
                // It is answered when that is done.
                self.asking = true;
                self.pulls.push(call.reply);
                return None;
            }
            Request::Reload => (Reply::Done, Some(End::Reload)),
            Request::Stop => (Reply::Done, Some(End::Told)),
        };
        // Whoever asked may be gone.
        let _ = call.reply.send(reply);
        end
    }

    pub(super) fn answer_pulls(&mut self) {
        for reply in self.pulls.drain(..) {
            let said = match &self.asked {
                Some(Err(error)) => Reply::Failed(error.clone()),
                Some(Ok(())) | None => Reply::Done,
            };
            let _ = reply.send(said);
        }
    }
}
