//! Policy rules: which packets look in which routing table.
//!
//! Not for choosing them. It keeps true that a rule counts as ours by its priority and by who made it, that adding is
//! exclusive, and that removing names all of a rule.

use std::collections::BTreeSet;
use std::io;

use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use reconcile::{Family, ROUTE_PROTOCOL, RULE_PRIORITIES, Rule, RuleMatch};
use rtnetlink::IpVersion;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::IpProtocol;
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage, RulePortRange};
use rustix::io::Errno;

use super::netlink::{Netlink, refusal};
use crate::words;

/// What a rule without a limit says.
const NO_LIMIT: u32 = u32::MAX;

impl Netlink {
    /// The rules that are ours.
    pub(super) async fn rules(&self) -> io::Result<BTreeSet<Rule>> {
        let mut rules = BTreeSet::new();
        for (family, version) in [(Family::V4, IpVersion::V4), (Family::V6, IpVersion::V6)] {
            let listed: Result<Vec<RuleMessage>, _> =
                self.handle.rule().get(version).execute().try_collect().await;
            let listed = match listed.map_err(refusal) {
                // A kernel without IPv6, or without policy rules.
                Err(error) if words::is(&error, &[Errno::OPNOTSUPP, Errno::AFNOSUPPORT]) => continue,
                listed => listed?,
            };
            rules.extend(listed.iter().filter_map(|message| parse(message, family)));
        }
        Ok(rules)
    }

    /// Adds a rule.
    pub(super) async fn add_rule(&self, rule: &Rule) -> io::Result<()> {
        let mut request = self.handle.rule().add();
        *request.message_mut() = message(rule);
        match request.execute().await.map_err(refusal) {
            Err(error) if words::is(&error, &[Errno::EXIST]) && self.rules().await?.contains(rule) => Ok(()),
            added => added,
        }
    }

    /// Removes exactly this rule.
    pub(super) async fn remove_rule(&self, rule: &Rule) -> io::Result<()> {
        let removed = self.handle.rule().del(message(rule)).execute().await.map_err(refusal);
        words::unless(removed, &[Errno::NOENT, Errno::OPNOTSUPP, Errno::AFNOSUPPORT])
    }
}

fn message(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = match rule.family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    message.header.action = RuleAction::ToTable;
    // A table whose number does not fit is in the attribute alone.
    message.header.table = u8::try_from(rule.table).unwrap_or(0);
    message.attributes = vec![
        RuleAttribute::Priority(rule.priority),
        RuleAttribute::Table(rule.table),
        RuleAttribute::Protocol(ROUTE_PROTOCOL.into()),
    ];
    if rule.no_default {
        message.attributes.push(RuleAttribute::SuppressPrefixLen(0));
    }
    match rule.which {
        RuleMatch::All => {}
        RuleMatch::Mark(mark) => message.attributes.push(RuleAttribute::FwMark(mark)),
        RuleMatch::To(net) => {
            message.header.dst_len = net.prefix_len();
            message.attributes.push(RuleAttribute::Destination(net.network()));
        }
        RuleMatch::Udp { from, to } => message.attributes.extend([
            RuleAttribute::IpProtocol(IpProtocol::Udp),
            RuleAttribute::SourcePortRange(RulePortRange { start: from, end: from }),
            RuleAttribute::DestinationPortRange(RulePortRange { start: to, end: to }),
        ]),
    }
    message
}

/// What a listed rule says, as far as ours say it.
#[derive(Default)]
struct Parts {
    mark: Option<u32>,
    to: Option<IpNet>,
    udp: bool,
    from_port: Option<u16>,
    to_port: Option<u16>,
}

/// The rule, if it is ours.
fn parse(message: &RuleMessage, family: Family) -> Option<Rule> {
    if message.header.action != RuleAction::ToTable {
        return None;
    }
    let mut rule = Rule {
        priority: 0,
        family,
        which: RuleMatch::All,
        table: message.header.table.into(),
        no_default: false,
    };
    let mut parts = Parts::default();
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Table(table) => rule.table = *table,
            RuleAttribute::Protocol(protocol) if u8::from(*protocol) != ROUTE_PROTOCOL => return None,
            RuleAttribute::SuppressPrefixLen(0) => rule.no_default = true,
            RuleAttribute::SuppressPrefixLen(NO_LIMIT) => {}
            RuleAttribute::FwMark(mark) => parts.mark = Some(*mark),
            RuleAttribute::Destination(ip) => {
                parts.to = IpNet::new(*ip, message.header.dst_len).ok();
            }
            RuleAttribute::IpProtocol(protocol) => parts.udp = *protocol == IpProtocol::Udp,
            RuleAttribute::SourcePortRange(range) => parts.from_port = Some(range.start),
            RuleAttribute::DestinationPortRange(range) => parts.to_port = Some(range.start),
            _ => {}
        }
    }
    rule.which = match parts {
        Parts { mark: Some(mark), .. } => RuleMatch::Mark(mark),
        Parts { to: Some(net), .. } => RuleMatch::To(net),
        Parts { udp: true, from_port: Some(from), to_port: Some(to), .. } => RuleMatch::Udp { from, to },
        Parts { .. } => RuleMatch::All,
    };
    RULE_PRIORITIES.contains(&rule.priority).then_some(rule)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use reconcile::Tunnel;

    use super::*;

    fn tunnel(lan: bool) -> Tunnel {
        let leads_to = ["192.168.7.0/24", "fd07::/64"].map(|range| range.parse().unwrap()).into();
        Tunnel { lan, leads_to, sources: BTreeMap::new() }
    }

    #[test]
    fn a_rule_reads_back_from_its_message_unless_somebody_else_made_it() {
        for rule in [true, false].into_iter().flat_map(|lan| Rule::of_tunnel(&tunnel(lan))) {
            let mut message = message(&rule);
            assert_eq!(parse(&message, rule.family), Some(rule));
            let made_by = RuleAttribute::Protocol(ROUTE_PROTOCOL.into());
            message.attributes.retain(|attribute| *attribute != made_by);
            assert_eq!(parse(&message, rule.family), Some(rule), "a kernel that does not know who");
            message.attributes.push(RuleAttribute::Protocol(3.into()));
            assert_eq!(parse(&message, rule.family), None);
        }
    }

    #[test]
    fn rules_of_other_priorities_are_not_ours_to_see() {
        let rule = Rule { priority: 32_766, ..Rule::of_tunnel(&tunnel(true))[0] };
        assert_eq!(parse(&message(&rule), rule.family), None);
    }
}
