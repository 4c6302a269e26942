//! The paths of the API. `{…}` stands for an id, or for a name or title.

/// Everything below lies under this.
pub const ROOT: &str = "/api/v1";

/// `GET`: whether the first administrator exists (open to all). `POST`: make it (needs the set-up code).
pub const SETUP: &str = "/api/v1/setup";
/// `POST`: name and password for a token (open to all).
pub const LOGIN: &str = "/api/v1/login";
/// `POST`: the token of this request ends.
pub const LOGOUT: &str = "/api/v1/logout";
/// `GET`: who this token is.
pub const ME: &str = "/api/v1/me";
/// `PUT`: the own password.
pub const MY_PASSWORD: &str = "/api/v1/me/password";

/// `GET`, `POST`.
pub const USERS: &str = "/api/v1/users";
/// `GET`, `PATCH`, `DELETE`.
pub const USER: &str = "/api/v1/users/{user}";
/// `PUT`: which groups the user is in.
pub const USER_GROUPS: &str = "/api/v1/users/{user}/groups";
/// `PUT`: by an administrator.
pub const USER_PASSWORD: &str = "/api/v1/users/{user}/password";

/// `GET`, `POST`: the own API tokens.
pub const TOKENS: &str = "/api/v1/tokens";
/// `DELETE`.
pub const TOKEN: &str = "/api/v1/tokens/{token}";

/// `GET`, `POST`.
pub const NETWORKS: &str = "/api/v1/networks";
/// `GET`, `PATCH`, `DELETE`.
pub const NETWORK: &str = "/api/v1/networks/{network}";
/// `GET`, `POST`.
pub const NODES: &str = "/api/v1/networks/{network}/nodes";
/// `GET`, `PATCH`, `DELETE`. A node is named by its id, or by its host's id or name.
pub const NODE: &str = "/api/v1/networks/{network}/nodes/{node}";

/// `POST`: the node, which waited, is let in.
pub const NODE_APPROVE: &str = "/api/v1/networks/{network}/nodes/{node}/approve";
/// `GET`, `POST`: remote access clients.
pub const CLIENTS: &str = "/api/v1/networks/{network}/clients";
/// `GET`, `PATCH`, `DELETE`.
pub const CLIENT: &str = "/api/v1/networks/{network}/clients/{client}";
/// `GET`: the client's configuration as text or QR code.
pub const CLIENT_CONFIG: &str = "/api/v1/networks/{network}/clients/{client}/config";
/// `POST`: a new pair of keys, whose private one is shown this once.
pub const CLIENT_NEW_KEY: &str = "/api/v1/networks/{network}/clients/{client}/new-key";
/// `GET`, `POST`: ranges outside of the network.
pub const EGRESSES: &str = "/api/v1/networks/{network}/egress";
/// `GET`, `PATCH`, `DELETE`.
pub const EGRESS: &str = "/api/v1/networks/{network}/egress/{egress}";
/// `GET`, `POST`.
pub const POLICIES: &str = "/api/v1/networks/{network}/policies";
/// `GET`, `PATCH`, `DELETE`. A policy named `explain` is reached by its id.
pub const POLICY: &str = "/api/v1/networks/{network}/policies/{policy}";
/// `GET`: whether one member may open connections to another, and what decides it.
pub const POLICY_EXPLAIN: &str = "/api/v1/networks/{network}/policies/explain";
/// `GET`, `POST`.
pub const POLICY_TESTS: &str = "/api/v1/networks/{network}/policy-tests";
/// `DELETE`.
pub const POLICY_TEST: &str = "/api/v1/networks/{network}/policy-tests/{test}";
/// `POST`: all of them, against the policies as they are.
pub const POLICY_TESTS_RUN: &str = "/api/v1/networks/{network}/policy-tests/run";
/// `GET`, `POST`: records beside those that members have by themselves.
pub const DNS_RECORDS: &str = "/api/v1/networks/{network}/dns/records";
/// `GET`, `PATCH`, `DELETE`.
pub const DNS_RECORD: &str = "/api/v1/networks/{network}/dns/records/{record}";
/// `GET`, `POST`: name servers for single domains.
pub const DNS_UPSTREAMS: &str = "/api/v1/networks/{network}/dns/upstreams";
/// `GET`, `PATCH`, `DELETE`.
pub const DNS_UPSTREAM: &str = "/api/v1/networks/{network}/dns/upstreams/{upstream}";
/// `GET`: the network's names as text, for other name servers.
pub const DNS_ZONE: &str = "/api/v1/networks/{network}/dns/zone";

/// `GET`. Hosts come by registering, not by `POST`.
pub const HOSTS: &str = "/api/v1/hosts";
/// `GET`, `PATCH`, `DELETE`.
pub const HOST: &str = "/api/v1/hosts/{host}";
/// `POST`: the host is asked for a new WireGuard key; the answer says who is cut off by it.
pub const HOST_ROTATE_KEY: &str = "/api/v1/hosts/{host}/rotate-key";
/// `POST`: every host is asked for a new WireGuard key.
pub const ROTATE_KEYS: &str = "/api/v1/hosts/rotate-keys";

/// `GET`, `POST`.
pub const KEYS: &str = "/api/v1/keys";
/// `GET`, `PATCH`, `DELETE`.
pub const KEY: &str = "/api/v1/keys/{key}";

/// `GET`.
pub const SERVER: &str = "/api/v1/server";
/// `GET`: the servers that share the database and run now.
pub const SERVERS: &str = "/api/v1/servers";
/// `GET`, newest first.
pub const JOURNAL: &str = "/api/v1/journal";
/// `GET`: the database as a file (`application/vnd.sqlite3`).
pub const BACKUP: &str = "/api/v1/backup";
/// Export: all that people want, as a document.
pub const EXPORT: &str = "/api/v1/export";
/// Import of such a document.
pub const IMPORT: &str = "/api/v1/import";
/// `GET`: the OpenAPI document (open to all).
pub const DOCUMENT: &str = "/api/openapi.json";

/// A path with its `{…}` filled in, in order; each value percent-encoded as one segment (RFC 3986).
pub fn fill(template: &str, values: &[&str]) -> String {
    let mut values = values.iter();
    let segments = template.split('/').map(|segment| {
        if !segment.starts_with('{') {
            return segment.to_owned();
        }
        values.next().map(|value| encode(value)).unwrap_or_default()
    });
    segments.collect::<Vec<_>>().join("/")
}

/// Percent-encodes all but the unreserved characters; also right for the values of a query.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'~')
            || (byte == b'.' && text.len() > 2)
        {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_one_segment_whatever_they_hold() {
        assert_eq!(fill(NODE, &["home", "web-01"]), "/api/v1/networks/home/nodes/web-01");
        assert_eq!(fill(KEY, &["a/b ä?"]), "/api/v1/keys/a%2Fb%20%C3%A4%3F");
        assert_eq!(fill(KEY, &[".."]), "/api/v1/keys/%2E%2E");
        assert_eq!(fill(USERS, &["x"]), USERS);
    }
}
