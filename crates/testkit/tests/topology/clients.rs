//! How a client's time ends: by the clock, with its owner, and not before.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use testkit::house::{Foreign, Host, House, patience};
use testkit::lab::eventually;

use crate::{SOON, ip, join_all};

/// Cut off within seconds of its end.
const CUT_OFF: Duration = Duration::from_secs(5);

struct Scene {
    house: House,
    gate: Host,
    inner: Host,
    phone: Foreign,
    key: String,
}

/// A gateway, a host behind it, and a client that came in. More about the client is said by the caller.
fn scene(name: &str, prepare: impl FnOnce(&House), more: &Value) -> Scene {
    let (house, token) = House::with_network(name).unwrap();
    let (gate, inner) = (house.public("gate").unwrap(), house.public("inner").unwrap());
    join_all(&[&gate, &inner], &token);
    prepare(&house);
    let desk = house.desk().unwrap();
    desk.node("gate", &json!({"remote_access": true})).unwrap();
    let mut body = json!({"name": "phone"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = desk.post("clients", &body).unwrap();
    let phone = house.foreign("phone").unwrap();
    phone.up(made["config"].as_str().unwrap()).unwrap();
    let key = made["client"]["public_key"].as_str().unwrap().to_owned();
    let scene = Scene { house, gate, inner, phone, key };
    scene.answers();
    scene.inner.ping_within(ip(made["client"]["v4"].as_str().unwrap()), patience(SOON)).unwrap();
    scene
}

impl Scene {
    fn answers(&self) {
        for address in self.inner.addresses().unwrap() {
            eventually(patience(SOON), || self.phone.machine().ping(*address)).unwrap();
        }
    }

    /// The gateway knows it no more, nothing passes, and coming in again by the same file changes nothing.
    fn is_cut_off(&self, enabled: bool) {
        eventually(patience(CUT_OFF), || {
            ensure!(self.gate.wg()?.iter().all(|peer| peer.key != self.key), "the gateway still lets it in");
            Ok(())
        })
        .unwrap();
        self.phone.renew().unwrap();
        for host in [&self.gate, &self.inner] {
            self.phone.machine().cannot_ping(host.v4().unwrap()).unwrap();
            self.phone.machine().cannot_ping(host.v6().unwrap()).unwrap();
        }
        let client = self.house.desk().unwrap().get("clients/phone").unwrap();
        assert_eq!(client["enabled"], enabled, "it is there, and as people wish: {client}");
        self.inner.machine().cannot_ping(ip(client["v4"].as_str().unwrap())).unwrap();
    }

    fn comes_back(&self, change: &Value) {
        self.house.desk().unwrap().patch("clients/phone", change).unwrap();
        self.phone.renew().unwrap();
        self.answers();
    }
}

#[test]
fn a_client_that_expires_is_cut_off_and_its_file_is_dead_until_it_may_come_back() {
    let scene = scene("ending", |_| {}, &json!({"expires_in": 86_400}));
    let desk = scene.house.desk().unwrap();
    desk.patch("clients/phone", &json!({"expires_in": 2})).unwrap();
    scene.is_cut_off(true);
    let refused = desk.refused("PATCH", "clients/phone", &json!({"enabled": true})).unwrap();
    assert!(refused.contains("expire"), "{refused}");
    scene.comes_back(&json!({"expires": null}));
}

#[test]
fn a_client_goes_with_its_owner() {
    let hire = |house: &House| {
        let body = json!({"name": "bob", "password": "correct horse battery staple", "role": "auditor"});
        house.desk().unwrap().request("POST", "/api/v1/users", &body).unwrap();
    };
    let scene = scene("owner", hire, &json!({"owner": "bob"}));
    let desk = scene.house.desk().unwrap();
    desk.request("DELETE", "/api/v1/users/bob", &Value::Null).unwrap();
    scene.is_cut_off(false);
    assert!(desk.get("clients/phone").unwrap()["owner"].is_null());
    scene.comes_back(&json!({"enabled": true}));
}
