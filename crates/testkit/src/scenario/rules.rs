//! The verbs about policies and names.
//!
//! ```text
//! policy create NAME NETWORK from=SUBJECT,… to=SUBJECT,… [by=SERVICE+…] [both=yes] [enabled=no]
//! policy update NAME NETWORK [name=] [from=] [to=] [by=] [both=yes|no]      policy enable|disable|delete NAME NETWORK
//! test create NETWORK SUBJECT SUBJECT SERVICE allow|deny                    test delete NETWORK SUBJECT SUBJECT SERVICE
//! record create NETWORK NAME|@ [ttl=S] a=|aaaa=|cname=|txt=|srv=PRIORITY:WEIGHT:PORT:TARGET
//! record update|delete NETWORK NAME|@ …                                     (of its first record)
//! upstream create|update NETWORK DOMAIN servers=A,B                         upstream delete NETWORK DOMAIN
//! ```
//!
//! A subject is `everything`, `node:MACHINE`, `client:NAME`, `egress:NAME`, `tag:NAME`, `user:NAME` or `group:NAME`.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use control::{Actor, Command, NewPolicy, PolicyEdit};
use model::{
    DnsName, DnsRecordId, NetworkId, NetworkName, PolicyId, PolicyTest, PolicyTestId, RecordData, Service,
    Subject, Title, Upstream, UpstreamId,
};

use super::act::{access_of, network_id, user_id};
use super::line::Line;
use super::members::{client_id, egress_id, node_id};
use super::stage::Stage;

fn subject(stage: &mut Stage, network: NetworkId, text: &str) -> Result<Subject> {
    if text == "everything" {
        return Ok(Subject::Everything);
    }
    let Some((kind, name)) = text.split_once(':') else { bail!("`{text}` is no subject") };
    Ok(match kind {
        "node" => Subject::Node(node_id(stage, name, network)),
        "client" => Subject::Client(client_id(stage, &name.parse()?, network)),
        "egress" => Subject::Egress(egress_id(stage, &name.parse()?, network)),
        "tag" => Subject::Tag(name.parse()?),
        "user" => Subject::User(user_id(stage, &name.parse()?)),
        "group" => Subject::Group(name.parse()?),
        _ => bail!("`{text}` is no subject"),
    })
}

fn side(
    stage: &mut Stage,
    line: &mut Line,
    name: &str,
    network: NetworkId,
) -> Result<Option<BTreeSet<Subject>>> {
    let texts: Option<Vec<String>> = line.whole_list(name)?;
    texts.map(|texts| texts.iter().map(|text| subject(stage, network, text)).collect()).transpose()
}

fn policy_edit(stage: &mut Stage, line: &mut Line, network: NetworkId) -> Result<PolicyEdit> {
    let by: Option<String> = line.option("by")?;
    let services = |text: String| -> Result<BTreeSet<Service>> {
        let texts = text.split('+').filter(|text| *text != "everything");
        texts.map(|text| text.parse().map_err(anyhow::Error::from)).collect()
    };
    Ok(PolicyEdit {
        name: line.option("name")?,
        enabled: line.yes("enabled")?,
        from: side(stage, line, "from", network)?.into(),
        to: side(stage, line, "to", network)?.into(),
        services: by.map(services).transpose()?,
        both: line.yes("both")?,
    })
}

/// A policy's verbs.
pub(super) fn policy(stage: &mut Stage, line: &mut Line) -> Result<(Actor, Command)> {
    let verb = line.word()?;
    let name: Title = line.value()?;
    let network: NetworkName = line.value()?;
    let network = network_id(stage, &network);
    let policy = match stage.intent.policy_by_name(network, &name) {
        Some(policy) => policy.id,
        None => stage.absent(name.as_str(), PolicyId::from_bytes),
    };
    let switched = |on| PolicyEdit { enabled: Some(on), ..PolicyEdit::default() };
    let command = match verb.as_str() {
        "create" => {
            let edit = policy_edit(stage, line, network)?;
            Command::CreatePolicy(NewPolicy {
                network,
                name,
                enabled: edit.enabled.unwrap_or(true),
                from: edit.from.all.unwrap_or_default(),
                to: edit.to.all.unwrap_or_default(),
                services: edit.services.unwrap_or_default(),
                both: edit.both.unwrap_or(false),
            })
        }
        "update" => Command::UpdatePolicy { policy, edit: policy_edit(stage, line, network)? },
        "enable" => Command::UpdatePolicy { policy, edit: switched(true) },
        "disable" => Command::UpdatePolicy { policy, edit: switched(false) },
        "delete" => Command::DeletePolicy { policy },
        _ => bail!("nobody knows how to `policy {verb}`"),
    };
    Ok((Actor::System, command))
}

/// The verbs of a test of policies.
pub(super) fn test(stage: &mut Stage, line: &mut Line) -> Result<(Actor, Command)> {
    let verb = line.word()?;
    let network: NetworkName = line.value()?;
    let network = network_id(stage, &network);
    let from = subject(stage, network, &line.word()?)?;
    let to = subject(stage, network, &line.word()?)?;
    let service: Service = line.value()?;
    let command = match verb.as_str() {
        "create" => {
            let expect = access_of(&line.word()?)?;
            Command::CreatePolicyTest { network, from, to, service, expect }
        }
        "delete" => {
            let is_it = |test: &&PolicyTest| test.from == from && test.to == to && test.service == service;
            let found = stage.intent.policy_tests_in_network(network).find(is_it).map(|test| test.id);
            let test = found.unwrap_or_else(|| stage.absent("the test", PolicyTestId::from_bytes));
            Command::DeletePolicyTest { test }
        }
        _ => bail!("nobody knows how to `test {verb}`"),
    };
    Ok((Actor::System, command))
}

fn srv(text: &str) -> Result<RecordData> {
    let parts: Vec<&str> = text.split(':').collect();
    let [priority, weight, port, target] = parts.as_slice() else {
        bail!("srv=PRIORITY:WEIGHT:PORT:TARGET, not `{text}`")
    };
    let (priority, weight, port) = (priority.parse()?, weight.parse()?, port.parse()?);
    Ok(RecordData::Srv { priority, weight, port, target: target.parse()? })
}

fn data(line: &mut Line) -> Result<Option<RecordData>> {
    let a = line.option("a")?.map(|address| RecordData::A { address });
    let aaaa = line.option("aaaa")?.map(|address| RecordData::Aaaa { address });
    let cname = line.option("cname")?.map(|target| RecordData::Cname { target });
    let txt = line.option("txt")?.map(|text| RecordData::Txt { text });
    let service: Option<String> = line.option("srv")?;
    let service = service.map(|text| srv(&text)).transpose()?;
    Ok(a.or(aaaa).or(cname).or(txt).or(service))
}

/// A DNS record's verbs.
pub(super) fn record(stage: &mut Stage, line: &mut Line) -> Result<(Actor, Command)> {
    let verb = line.word()?;
    let network: NetworkName = line.value()?;
    let network = network_id(stage, &network);
    let name: Option<DnsName> = if line.has("@") { None } else { Some(line.value()?) };
    let found = stage.intent.dns_records_at(network, name.as_ref()).next().map(|record| record.id);
    let record = found.unwrap_or_else(|| {
        let called = name.as_ref().map_or_else(|| "@".to_owned(), ToString::to_string);
        stage.absent(&called, DnsRecordId::from_bytes)
    });
    let (ttl, data) = (line.option("ttl")?, data(line)?);
    let command = match (verb.as_str(), data) {
        ("create", Some(data)) => Command::CreateDnsRecord { network, name, ttl: ttl.unwrap_or(300), data },
        ("update", data) => Command::UpdateDnsRecord { record, ttl, data },
        ("delete", None) => Command::DeleteDnsRecord { record },
        _ => bail!("nobody knows how to `record {verb}` so"),
    };
    Ok((Actor::System, command))
}

/// The verbs of name servers for a domain.
pub(super) fn upstream(stage: &mut Stage, line: &mut Line) -> Result<(Actor, Command)> {
    let verb = line.word()?;
    let network: NetworkName = line.value()?;
    let network = network_id(stage, &network);
    let domain: DnsName = line.value()?;
    let is_it = |upstream: &&Upstream| upstream.domain == domain;
    let found = stage.intent.upstreams_in_network(network).find(is_it).map(|upstream| upstream.id);
    let upstream = found.unwrap_or_else(|| stage.absent(domain.as_str(), UpstreamId::from_bytes));
    let servers = line.list("servers")?;
    let command = match verb.as_str() {
        "create" => Command::CreateUpstream { network, domain, servers },
        "update" => Command::UpdateUpstream { upstream, servers },
        "delete" => Command::DeleteUpstream { upstream },
        _ => bail!("nobody knows how to `upstream {verb}`"),
    };
    Ok((Actor::System, command))
}
