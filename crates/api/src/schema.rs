//! How the model's types are spelt in the OpenAPI document: one named schema each, with its form and bounds.
//!
//! Not for values: nothing here is ever made. The bounds repeat those that `model` checks; the test below holds them
//! together.

use serde_json::json;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

fn text(format: Option<&str>, about: &str, example: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(format.map(|format| SchemaFormat::Custom(format.to_owned())))
        .description(Some(about))
        .examples([json!(example)])
}

fn name(about: &str, most: usize, example: &str) -> ObjectBuilder {
    text(None, about, example).min_length(Some(1)).max_length(Some(most))
}

fn number(about: &str, low: u16, high: u16, default: u16) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .description(Some(about))
        .minimum(Some(low))
        .maximum(Some(high))
        .examples([json!(default)])
}

macro_rules! spelling {
    ($($(#[$doc:meta])* $type:ident = $schema:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $type {}

        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }

        impl ToSchema for $type {}
    )*};
}

spelling! {
    /// Any id.
    Id = text(Some("uuid"), "An identifier: a UUID (RFC 9562).", "0195b7a2-7c3e-7d4f-8a51-0123456789ab");
    /// A moment.
    Timestamp = text(Some("date-time"), "A moment (RFC 3339), in UTC.", "2026-11-22T15:04:05.000Z");
    /// A host's name.
    HostName = name("A DNS label; upper case is folded.", 63, "web-01").pattern(Some(LABEL));
    /// A network's name.
    NetworkName = name("A DNS label; upper case is folded.", 32, "home").pattern(Some(LABEL));
    /// A user's name.
    UserName = name("A log-in name; upper case is folded.", 64, "alice").pattern(Some("^[A-Za-z0-9._@+-]+$"));
    /// A title.
    Title = name("Free text without control characters.", 64, "office machines");
    /// An id, a name or a title.
    Selector = name("An id, or a name or title.", 64, "home");
    /// A WireGuard key.
    WireguardKey = text(Some("byte"), "A public key (X25519), base64.", "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI=");
    /// A certificate's pin.
    Pin = text(Some("byte"), "SHA-256 of the certificate's public key (SubjectPublicKeyInfo), base64.",
        "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI=");
    /// An endpoint.
    Endpoint = name("A unicast address and a port.", 64, "203.0.113.7:51820");
    /// A host map's number.
    Generation = name("The number of a host map: epoch and counter.", 32, "5.12");
    /// An IPv4 range.
    Ipv4Range = name("An IPv4 range in CIDR form, /8 to /30.", 18, "10.20.0.0/16");
    /// An IPv6 range.
    Ipv6Range = name("An IPv6 range in CIDR form, /32 to /126.", 43, "fd00:20::/64");
    /// An IPv4 address.
    Ipv4 = text(Some("ipv4"), "An IPv4 address.", "10.20.0.7");
    /// An IPv6 address.
    Ipv6 = text(Some("ipv6"), "An IPv6 address.", "fd00:20::7");
    /// An MTU.
    Mtu = number("The MTU of the WireGuard interface, in bytes.", 1280, 9000, 1420);
    /// A keepalive.
    Keepalive = number("Seconds between WireGuard keepalives.", 1, 300, 20);
    /// A new password.
    NewPassword = text(Some("password"), "A password of 10 to 256 characters.", "correct horse battery staple")
        .min_length(Some(crate::Password::LEAST)).max_length(Some(crate::Password::MOST));
    /// A secret that is only checked.
    Secret = text(Some("password"), "A secret.", "correct horse battery staple")
        .min_length(Some(1)).max_length(Some(crate::Secret::MOST));
    /// A tag.
    Tag = name("A name for a set of nodes and clients; upper case is folded.", 63, "web").pattern(Some(LABEL));
    /// A group's name.
    GroupName = name("A name for a set of users; upper case is folded.", 63, "staff").pattern(Some(LABEL));
    /// A DNS name.
    DnsName = name("A DNS name; upper case is folded.", 253, "office.example.org");
    /// A range of either family.
    Range = name("An IPv4 or IPv6 range in CIDR form.", 43, "192.168.7.0/24");
    /// An address of either family.
    Ip = name("An IPv4 or IPv6 address.", 39, "10.20.0.1");
    /// A name server.
    NameServer = name("An address, with a port where it is not 53.", 64, "192.168.7.1");
    /// A service.
    Service = name("A protocol, and for TCP and UDP the ports; none are all.", 400, "tcp/443");
    /// A subject of policies.
    Subject = name("Whom a policy speaks of: `everything`, `node:NAME`, `client:NAME`, `egress:NAME`, `tag:NAME`, \
        `user:NAME` or `group:NAME`.", 128, "tag:web");
    /// A member of a network.
    Member = name("`node:NAME`, `client:NAME`, `egress:NAME`, or a bare name, which is tried in this order.", 128,
        "node:web-01");
    /// A cursor.
    Cursor = name("Where a page ends: the `next` of the page before.", 400, "d2ViLTAx");
    /// How many items.
    Limit = number("How many items a page may have.", 1, 1000, 100).default(Some(json!(100)));
}

const LABEL: &str = "^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$";

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds<S: PartialSchema>() -> serde_json::Value {
        serde_json::to_value(S::schema()).unwrap()
    }

    #[test]
    fn the_bounds_are_the_models() {
        let most =
            |schema: serde_json::Value| usize::try_from(schema["maxLength"].as_u64().unwrap()).unwrap();
        for (longest, accepts) in [
            (most(bounds::<HostName>()), (|s| s.parse::<model::HostName>().is_ok()) as fn(&str) -> bool),
            (most(bounds::<NetworkName>()), |s| s.parse::<model::NetworkName>().is_ok()),
            (most(bounds::<UserName>()), |s| s.parse::<model::UserName>().is_ok()),
            (most(bounds::<Title>()), |s| s.parse::<model::Title>().is_ok()),
        ] {
            assert!(accepts(&"x".repeat(longest)) && !accepts(&"x".repeat(longest + 1)));
        }
        for (schema, accepts) in [
            (bounds::<Mtu>(), (|n| model::Mtu::new(n).is_ok()) as fn(u16) -> bool),
            (bounds::<Keepalive>(), |n| model::Keepalive::new(n).is_ok()),
        ] {
            let bound = |key: &str| schema[key].to_string().trim_end_matches(".0").parse::<u16>().unwrap();
            let (low, high) = (bound("minimum"), bound("maximum"));
            assert!(accepts(low) && accepts(high) && !accepts(low - 1) && !accepts(high + 1));
        }
    }
}
