//! What histories are made of. The pools are small on purpose: collisions, refusals and reuse are what laws break on.

use model::{Endpoint, HostName, Ranges};

pub(crate) fn host_name(number: u8) -> HostName {
    ["web", "db", "db-2", "laptop"][usize::from(number % 4)].parse().unwrap()
}

pub(crate) fn endpoint(number: u8) -> Endpoint {
    let text = [
        "203.0.113.7:1024",
        "203.0.113.7:1025",
        "198.51.100.9:5",
        "[2001:db8::7]:51820",
        "[2001:db8::8]:51820",
    ];
    text[usize::from(number) % text.len()].parse().unwrap()
}

pub(crate) fn ranges(number: u8) -> Option<Ranges> {
    let (v4, v6) = match number % 7 {
        0 => (Some("10.0.0.0/29"), None),
        1 => (Some("10.0.0.0/16"), Some("fd00:1::/64")),
        2 => (Some("10.9.0.0/24"), None),
        3 => (None, Some("fd00:1::/126")),
        4 => (Some("192.168.7.0/30"), Some("fd00:2::/64")),
        5 => (Some("172.16.0.0/20"), None),
        _ => return None,
    };
    let v4 = v4.map(|text| text.parse().unwrap());
    Some(Ranges::new(v4, v6.map(|text| text.parse().unwrap())).unwrap())
}
