//! `netloom policy explain`: whether one member may open connections to another, and what decides it.
//!
//! The exit code is the answer: 0 allowed, 3 not allowed.

use api::{Explanation, Member, path};
use clap::Args;
use model::Service;

use crate::client::Client;
use crate::console::{Console, meaning};
use crate::failure::Failure;
use crate::render::View;

/// Say whether one member may open connections to another, and what decides it.
///
/// Members are node:NAME, client:NAME, egress:NAME, or the bare name of one. The exit code is 0 when it is allowed and 3 when
/// it is not.
#[derive(Debug, Args)]
pub struct Explain {
    /// Who opens the connection
    from: Member,
    /// To whom
    to: Member,
    /// By what: a protocol and, for tcp and udp, one port, such as tcp/443
    service: Service,
    /// The network's name or id; where there is only one it need not be said
    #[arg(long, short)]
    network: Option<String>,
}

impl Explain {
    pub(super) async fn run(self, client: &Client, console: &mut Console) -> Result<(), Failure> {
        let Self { from, to, service, network } = self;
        let network = match network {
            Some(network) => network,
            None => the_only_network(client).await?,
        };
        let query = [("from", from.to_string()), ("to", to.to_string()), ("service", service.to_string())];
        let answer = client.get(&path::fill(path::POLICY_EXPLAIN, &[&network]), &query).await?;
        let explanation: Explanation = meaning(&answer)?;
        console.show(&answer, sentence)?;
        if explanation.allowed { Ok(()) } else { Err(Failure::No) }
    }
}

async fn the_only_network(client: &Client) -> Result<String, Failure> {
    let networks: Vec<api::Network> = meaning(&client.list(path::NETWORKS, &[], Some(2)).await?)?;
    match networks.as_slice() {
        [network] => Ok(network.id.to_string()),
        [] => Err(Failure::Usage("there are no networks yet".to_owned())),
        [_, ..] => Err(Failure::Usage("there are several networks: say which one with --network".to_owned())),
    }
}

fn sentence(explanation: &Explanation, _view: &View) -> String {
    let Explanation { from, to, service, allowed, reason, reverse_allowed, .. } = explanation;
    let reverse = match (allowed, reverse_allowed) {
        (true, true) => "is allowed too",
        (false, true) => "is allowed",
        (true, false) => "is not allowed",
        (false, false) => "is not allowed either",
    };
    let text = format!(
        "{from} to {to} by {service} is {reason}.\nThe other way round it {reverse}; replies always pass."
    );
    let lines: Vec<String> = text.lines().map(crate::render::printable).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use api::DecidedBy;
    use model::Timestamp;

    use super::*;

    #[test]
    fn the_answer_is_a_sentence() {
        let explanation = Explanation {
            from: "client:phone".parse().unwrap(),
            to: "node:web".parse().unwrap(),
            service: "tcp/443".parse().unwrap(),
            allowed: true,
            decided_by: DecidedBy::Policies,
            policies: Vec::new(),
            disabled: Vec::new(),
            reverse_allowed: false,
            reason: "allowed: the policy `web` lets it through".to_owned(),
        };
        assert_eq!(
            sentence(&explanation, &View { now: Timestamp::from_millis(0), width: None }),
            "client:phone to node:web by tcp/443 is allowed: the policy `web` lets it through.\n\
             The other way round it is not allowed; replies always pass."
        );
    }
}
