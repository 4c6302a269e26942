//! What can be typed. Each command's own arguments are beside it in `command`.

use clap::{Args, Parser, Subcommand};

use crate::command::{
    backup, client, completion, context, dns, egress, export, gateway, host, journal, key, network, node,
    policy, server, session, setup, token, user,
};

const SURROUNDINGS: &str = "\
Environment (wins over the contexts file):
  NETLOOM_CONTEXT  the context to use
  NETLOOM_SERVER   the server's address, https://host:port
  NETLOOM_TOKEN    an API token, for programs
  NETLOOM_PIN      the pin of the server's certificate
  NETLOOM_CA       a PEM file of certificate authorities
  NETLOOM_CONTEXTS the contexts file instead of ~/.config/netloom/contexts.toml

Exit codes: 0 done, 1 refused or failed, 2 used wrongly, 3 asked and answered with no
(`policy explain`: not allowed; `policy test run`: a test is wrong).";

/// Administers a Netloom server: networks, hosts, and the keys that let machines join.
#[derive(Debug, Parser)]
#[command(name = "netloom", version, after_help = SURROUNDINGS, subcommand_required = true, arg_required_else_help = true)]
pub struct Arguments {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// Print the API's JSON instead of tables
    #[arg(long, global = true)]
    pub json: bool,
    /// Do not ask before something is deleted
    #[arg(long, short = 'y', global = true)]
    pub yes: bool,
    /// The context to use instead of the current one
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The server to talk to instead of the context's
    #[arg(long, global = true, value_name = "URL")]
    pub server: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the first administrator of a new server, and log in
    Setup(setup::Setup),
    /// Log in
    Login(session::Login),
    /// Log out
    Logout,
    /// Show who is logged in, and where
    Whoami,
    /// Servers this command line knows
    #[command(subcommand, visible_alias = "contexts")]
    Context(context::Context),
    /// Networks
    #[command(subcommand, visible_alias = "networks")]
    Network(network::Network),
    /// Machines
    #[command(subcommand, visible_alias = "hosts")]
    Host(host::Host),
    /// Machines in a network
    #[command(subcommand, visible_alias = "nodes")]
    Node(node::Node),
    /// Nodes with duties: who lets clients in, who leads where, through whom others are reached
    #[command(subcommand, visible_alias = "gateways")]
    Gateway(gateway::Gateway),
    /// Remote access clients: plain WireGuard apps that come in through gateways
    #[command(subcommand, visible_alias = "clients")]
    Client(client::Client),
    /// Ways to ranges outside of a network
    #[command(subcommand)]
    Egress(egress::Egress),
    /// Who may open connections to whom
    #[command(subcommand, visible_alias = "policies")]
    Policy(policy::Policy),
    /// Names: records of a network, and name servers for single domains
    #[command(subcommand)]
    Dns(dns::Dns),
    /// Enrollment keys: what lets machines join
    #[command(subcommand, visible_alias = "keys")]
    Key(key::Key),
    /// Accounts
    #[command(subcommand, visible_alias = "users")]
    User(user::User),
    /// API tokens, for programs
    #[command(subcommand, visible_alias = "tokens")]
    Token(token::Token),
    /// The server itself
    #[command(subcommand)]
    Server(server::Server),
    /// Who changed what and when
    Journal(journal::Journal),
    /// Save the server's database into a file
    Backup(backup::Backup),
    /// Write all that is set up as JSON, without secrets
    Export(export::Export),
    /// Bring everything to what a document of `export` says
    Import(export::Import),
    /// Print a completion script for a shell
    Completion(completion::Completion),
    /// Print this program's version
    Version,
}

/// How much of a list.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct AtMost {
    /// List at most this many
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
}

impl AtMost {
    /// As a number of items in memory.
    pub(crate) fn count(self) -> usize {
        self.limit.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace()).map(|arguments| arguments.command)
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_of_the_guide_is_understood() {
        for line in [
            "netloom setup --server https://a.example:8443 --code 1234 --name alice --accept-pin",
            "netloom login alice --password-file -",
            "netloom --context home whoami --json",
            "netloom context add home --server https://a.example --pin QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI=",
            "netloom network create home --v4 10.1.0.0/16 --v6 fd00:1::/64 --keepalive 25",
            "netloom network delete home --force -y",
            "netloom host list --network home --online --limit 5",
            "netloom host update web --mtu default --static-endpoint none --name web-2",
            "netloom node add home web --v4 10.1.0.9",
            "netloom node disconnect home web",
            "netloom key create office -n home -n lab --uses 3 --expires-in 7d",
            "netloom key create forever --expires 2027-01-01T00:00:00Z",
            "netloom user create bob --role auditor",
            "netloom token create ci --expires-in 90d",
            "netloom server status",
            "netloom journal --limit 10",
            "netloom backup /tmp/x.db",
            "netloom export",
            "netloom export net.json",
            "netloom import net.json --prune --dry-run",
            "netloom import net.json --yes",
            "netloom network create lab --access deny --approval on --domain lab.example.org",
            "netloom network update lab --hub gw --approval off --dry-run",
            "netloom network update lab --hub none --domain none",
            "netloom host update web --default on --ephemeral off",
            "netloom host rotate-key web",
            "netloom host rotate-key --all --yes",
            "netloom node add home web --tag web --tag db",
            "netloom node list home --pending",
            "netloom node approve home web",
            "netloom node update home web --tags a,b --v4 10.1.0.7 --relay gw --internet out --lan off --expires 7d",
            "netloom node update home web --tag a --untag b --relay none --internet none --expires never",
            "netloom node update home web --remote-access on --internet-gateway off --expires-in 2w",
            "netloom gateway list",
            "netloom gateway list home --json",
            "netloom gateway enable remote-access home gw",
            "netloom gateway disable internet home gw",
            "netloom client create home phone --gateway gw,gw-2 --owner alice --tag mobile --output phone.conf --qr",
            "netloom client create home phone --server-key --dns none --full-tunnel --png x.png --svg x.svg",
            "netloom client update home phone --range none --mtu default --keepalive 25 --dns gateway --owner none",
            "netloom client config home phone --gateway gw --private-key-file key -o phone.conf",
            "netloom client qr home phone --private-key-file -",
            "netloom client new-key home phone --yes",
            "netloom client disable home phone",
            "netloom egress create home office 192.168.7.0/24 --router gw:10 --router gw-2 --nat off --mapped 10.77.0.0/24",
            "netloom egress update home office --mapped none --router gw",
            "netloom policy create home web --from tag:web --from user:anna@example.org --to node:db --service tcp/443 --both",
            "netloom policy create home dns --from everything --to tag:dns --service udp/53,1000-2000 --dry-run",
            "netloom policy update home web --service everything --both off",
            "netloom policy disable home web --dry-run",
            "netloom policy delete home web --dry-run",
            "netloom policy explain web client:phone tcp/443 --network home",
            "netloom policy test add home tag:web node:db tcp/5432 deny",
            "netloom policy test run home",
            "netloom user groups bob staff,night",
            "netloom user groups bob none",
            "netloom key create ci --tag web,ci --ephemeral",
            "netloom dns record add home www A 10.0.0.7 --ttl 300",
            "netloom dns record add home @ txt hello",
            "netloom dns record update home www 10.0.0.8",
            "netloom dns record delete home www --type aaaa",
            "netloom dns upstream add home corp.example 10.0.0.1 [fd00::1]:5353",
            "netloom dns zone home --format hosts",
            "netloom completion fish",
            "netloom version",
        ] {
            parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn mistakes_are_found_before_anything_is_sent() {
        for (line, expected) in [
            ("netloom network create my_net", "a-z, 0-9 and -"),
            ("netloom network create home --v4 10.0.0.0/33", "10.0.0.0/33"),
            ("netloom host update web --mtu 5", "1280 to 9000"),
            ("netloom host update web", "--name"),
            ("netloom host update web --static-endpoint web:1", "is not an endpoint"),
            ("netloom key create x --uses 0", "--uses"),
            ("netloom key create x --expires-in soon", "7d"),
            ("netloom key create x --expires-in 1d --expires 2027-01-01T00:00:00Z", "cannot be used with"),
            ("netloom context add home --server https://x --pin abc", "not a key"),
            ("netloom network update home --access perhaps", "[possible values: allow, deny]"),
            ("netloom host rotate-key", "<HOST>"),
            ("netloom node update home web", "--tags"),
            ("netloom node update home web --tags a --untag b", "cannot be used with"),
            ("netloom node update home web --expires soon", "is no moment"),
            ("netloom client create home phone --public-key abc", "not a key"),
            (
                "netloom client create home phone --server-key --public-key QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI=",
                "cannot be used with",
            ),
            ("netloom client qr home phone", "--private-key-file"),
            ("netloom egress create home office 192.168.7.0/24", "--router"),
            ("netloom egress create home office 192.168.7.0/24 --router gw:best", "is no priority"),
            ("netloom policy create home web --from web --to everything", "is no subject"),
            ("netloom policy create home web --from everything", "--to"),
            ("netloom policy explain tag:web db tcp/443", "is no member"),
            ("netloom policy explain web db http", "is no service"),
            (
                "netloom policy test add home everything everything tcp maybe",
                "[possible values: allow, deny]",
            ),
            ("netloom dns record add home www MX mail", "[possible values: a, aaaa, cname, txt, srv]"),
            ("netloom dns record update home www", "VALUE"),
            ("netloom dns upstream add home corp.example ns", "is no name server"),
            ("netloom token delete ci", "is not an id"),
            ("netloom completion tcsh2", "tcsh2"),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(expected), "{line}: {error}");
        }
    }
}
