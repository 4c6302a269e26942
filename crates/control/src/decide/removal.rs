//! Removing what others name. What happens to those that name it:
//!
//! | Removed | By whom it is named | What becomes of that |
//! |---|---|---|
//! | node | client (gateway) | goes on with its other gateways; without any it stays, and cannot be reached until it gets one |
//! | node | egress range (router) | goes on with its other routers; without any it stays, and cannot be reached until it gets one |
//! | node | node (relay), network (hub) | goes on without |
//! | node | node (internet gateway) | nothing of it goes out any more, until it gets another gateway or is to use none |
//! | node, client, egress range, user | policy | goes on with its other subjects; where none is left on a side it is removed |
//! | node, client, egress range, user | test of policies | is removed |
//! | user | client (owner) | is nobody's, and switched off until somebody lets it in again |
//!
//! All of it is in the change that removes, so the journal shows it. A node is not taken out of a network by hand
//! (`refuse_needed`) where somebody would be left without what it does; what cannot be refused (a host that is removed, or
//! leaves, or whose time has come) does all of the above. A machine that is set up anew costs no client its key and address, and no
//! range the policies that speak of it: nobody is told of them while nobody leads there. A policy is never left with an empty side: to say nothing about
//! nobody is not what was meant, and to say it about everybody would let in more than before.

use model::{
    Client, ClientId, EgressId, InternetUse, Network, NetworkId, Node, NodeId, Policy, Subject, UserId,
};

use super::{draft::Draft, names};
use crate::{Intent, Names, Rejection};

/// Refuses to take out a node that others could not do without.
pub(super) fn refuse_needed(intent: &Intent, node: &Node) -> Result<(), Rejection> {
    let at = || names::at(intent, node);
    let clients = intent.clients_of_gateway(node.id).filter(|client| client.gateways.len() == 1);
    let clients = Names::quoted(clients.map(|client| &client.name));
    if !clients.0.is_empty() {
        return Err(Rejection::LastGateway { node: at(), clients });
    }
    let egresses = intent.egresses_of_router(node.id).filter(|egress| egress.routers.len() == 1);
    let egresses = Names::quoted(egresses.map(|egress| &egress.name));
    if !egresses.0.is_empty() {
        return Err(Rejection::LastRouter { node: at(), egresses });
    }
    if intent.network(node.network).is_some_and(|network| network.hub == Some(node.id)) {
        return Err(Rejection::HubInUse { node: at() });
    }
    let users = Names::quoted(intent.nodes_of_relay(node.id).map(|other| names::of_host(intent, other)));
    if !users.0.is_empty() {
        return Err(Rejection::RelayInUse { node: at(), users });
    }
    let users = Names::quoted(intent.nodes_of_internet(node.id).map(|other| names::of_host(intent, other)));
    if !users.0.is_empty() {
        return Err(Rejection::InternetGatewayInUse { node: at(), users });
    }
    Ok(())
}

/// Takes out a node.
pub(super) fn node(draft: &mut Draft, id: NodeId) {
    let Some(node) = draft.now().node(id).cloned() else {
        return;
    };
    draft.remove(id);
    let clients: Vec<Client> = draft.now().clients_of_gateway(id).cloned().collect();
    for mut client in clients {
        client.gateways.retain(|gateway| *gateway != id);
        draft.put(client);
    }
    let egresses: Vec<_> = draft.now().egresses_of_router(id).cloned().collect();
    for mut egress in egresses {
        egress.routers.retain(|router| router.node != id);
        draft.put(egress);
    }
    ways(draft, &node);
    subject(draft, node.network, &Subject::Node(id));
}

/// Takes a node out of others' ways.
fn ways(draft: &mut Draft, gone: &Node) {
    let relayed: Vec<Node> = draft.now().nodes_of_relay(gone.id).cloned().collect();
    for node in relayed {
        draft.put(Node { relay: None, ..node });
    }
    let outward: Vec<Node> = draft.now().nodes_of_internet(gone.id).cloned().collect();
    for node in outward {
        // Whoever chose to send all through one gateway did not choose to send it past all of them.
        let internet = node.internet.map(|used| InternetUse { gateway: None, ..used });
        draft.put(Node { internet, ..node });
    }
    let network = draft.now().network(gone.network).filter(|network| network.hub == Some(gone.id));
    if let Some(network) = network.cloned() {
        draft.put(Network { hub: None, ..network });
    }
}

/// Takes out a client.
pub(super) fn client(draft: &mut Draft, id: ClientId) {
    if let Some(network) = draft.now().client(id).map(|client| client.network) {
        draft.remove(id);
        subject(draft, network, &Subject::Client(id));
    }
}

/// Takes out an egress range.
pub(super) fn egress(draft: &mut Draft, id: EgressId) {
    if let Some(network) = draft.now().egress(id).map(|egress| egress.network) {
        draft.remove(id);
        subject(draft, network, &Subject::Egress(id));
    }
}

/// Takes out an account: not its tokens.
pub(super) fn user(draft: &mut Draft, id: UserId) {
    let clients: Vec<Client> = draft.now().clients_of_user(id).cloned().collect();
    for client in clients {
        draft.put(Client { owner: None, enabled: false, ..client });
    }
    draft.remove(id);
    let networks: Vec<NetworkId> = draft.now().networks(None).map(|network| network.id).collect();
    for network in networks {
        subject(draft, network, &Subject::User(id));
    }
}

/// Takes a subject out of what is said about it.
fn subject(draft: &mut Draft, network: NetworkId, gone: &Subject) {
    let named = |policy: &&Policy| policy.from.contains(gone) || policy.to.contains(gone);
    let policies: Vec<Policy> = draft.now().policies_in_network(network).filter(named).cloned().collect();
    for mut policy in policies {
        policy.from.remove(gone);
        policy.to.remove(gone);
        match policy.from.is_empty() || policy.to.is_empty() {
            true => draft.remove(policy.id),
            false => draft.put(policy),
        }
    }
    let tests = draft.now().policy_tests_in_network(network);
    let tests: Vec<_> =
        tests.filter(|test| test.from == *gone || test.to == *gone).map(|test| test.id).collect();
    tests.into_iter().for_each(|test| draft.remove(test));
}
