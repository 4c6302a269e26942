//! Policy rules: which packets look in which routing table.
//!
//! Not for choosing them. It keeps true that a rule counts as ours by its priority and by who made it, that adding is
//! exclusive, and that removing names all of a rule.

use std::collections::BTreeSet;
use std::io;

use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use reconcile::{FIREWALL_MARK, Family, ROUTE_PROTOCOL, RULE_PRIORITIES, Rule, RuleMatch};
use rtnetlink::IpVersion;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::IpProtocol;
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage, RulePortRange};
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
    message.attributes.extend(rule.longer_than.map(|length| RuleAttribute::SuppressPrefixLen(length.into())));
    match rule.which {
        RuleMatch::Unmarked => {
            message.header.flags = RuleFlags::Invert;
            message.attributes.push(RuleAttribute::FwMark(FIREWALL_MARK));
        }
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

/// Whether it is among ours, whoever made it: one of ours that goes does not say by whom on every kernel.
pub(super) fn has_our_priority(message: &RuleMessage) -> bool {
    let is_ours = |attribute: &RuleAttribute| matches!(attribute, RuleAttribute::Priority(priority) if RULE_PRIORITIES.contains(priority));
    message.attributes.iter().any(is_ours)
}

/// What a listed rule says, as far as ours say it.
#[derive(Default)]
struct Parts {
    unmarked: bool,
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
        which: RuleMatch::Unmarked,
        table: message.header.table.into(),
        longer_than: None,
    };
    let mut parts = Parts::default();
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Table(table) => rule.table = *table,
            RuleAttribute::Protocol(protocol) if u8::from(*protocol) != ROUTE_PROTOCOL => return None,
            RuleAttribute::SuppressPrefixLen(NO_LIMIT) => {}
            RuleAttribute::SuppressPrefixLen(length) => rule.longer_than = u8::try_from(*length).ok(),
            RuleAttribute::FwMark(FIREWALL_MARK) => {
                parts.unmarked = message.header.flags.contains(RuleFlags::Invert);
            }
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
        Parts { unmarked: true, .. } => RuleMatch::Unmarked,
        Parts { to: Some(net), .. } => RuleMatch::To(net),
        Parts { udp: true, from_port: Some(from), to_port: Some(to), .. } => RuleMatch::Udp { from, to },
        // Nothing that we make.
        Parts { .. } => return None,
    };
    RULE_PRIORITIES.contains(&rule.priority).then_some(rule)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use reconcile::Tunnel;

    use super::*;

    fn rules() -> Vec<Rule> {
        let nets = |texts: [&str; 2]| texts.map(|range| range.parse().unwrap());
        let (lan, leads_to) =
            (nets(["192.168.0.0/16", "fc00::/7"]).into(), nets(["192.168.7.0/24", "fd07::/64"]).into());
        let tunnel = Tunnel { lan, leads_to, sources: BTreeMap::new() };
        let ranges = nets(["198.51.100.0/24", "2001:db8::/32"]).into_iter();
        Rule::of_tunnel(&tunnel).into_iter().chain(Rule::of_ranges(ranges)).collect()
    }

    #[test]
    fn a_rule_reads_back_from_its_message_unless_somebody_else_made_it() {
        for rule in rules() {
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
        let rule = Rule { priority: 32_766, ..rules()[0] };
        assert_eq!(parse(&message(&rule), rule.family), None);
    }
}
