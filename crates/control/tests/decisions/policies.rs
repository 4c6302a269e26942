//! Policies and their tests.

use control::{Change, Command, NetworkEdit, NewPolicy, NodeEdit, PolicyEdit, Rejection};
use model::{Access, ClientId, EgressId, NodeId, PolicyId, PolicyTestId, Subject, UserId};

use crate::office::{Office, refused};

fn everything() -> [Subject; 1] {
    [Subject::Everything]
}

fn tag(name: &str) -> Subject {
    Subject::Tag(name.parse().unwrap())
}

fn test(
    office: &mut Office,
    from: Subject,
    to: Subject,
    service: &str,
    expect: Access,
) -> Result<Change, Rejection> {
    let (network, service) = (office.network, service.parse().unwrap());
    office.give(Command::CreatePolicyTest { network, from, to, service, expect })
}

fn access(office: &mut Office, access: Access) -> Result<Change, Rejection> {
    let (network, access) = (office.network, Some(access));
    office.give(Command::UpdateNetwork { network, edit: NetworkEdit { access, ..NetworkEdit::default() } })
}

#[test]
fn subjects_are_there_and_on_both_sides() {
    let mut office = Office::new();
    let refuses = |office: &mut Office, from: &[Subject], parts: &[&str]| {
        let new = office.new_policy("web", from, &everything());
        refused(office.give(Command::CreatePolicy(new)), parts)
    };
    assert_eq!(refuses(&mut office, &[], &["subject that connections come from"]), "none-given");
    assert_eq!(refuses(&mut office, &[Subject::Node(NodeId::from_bytes([9; 16]))], &[]), "no-such-node");
    assert_eq!(
        refuses(&mut office, &[Subject::Client(ClientId::from_bytes([9; 16]))], &[]),
        "no-such-client"
    );
    assert_eq!(
        refuses(&mut office, &[Subject::Egress(EgressId::from_bytes([9; 16]))], &[]),
        "no-such-egress"
    );
    assert_eq!(refuses(&mut office, &[Subject::User(UserId::from_bytes([9; 16]))], &[]), "no-such-user");
    let many: Vec<Subject> = (0..65).map(|number| tag(&format!("t{number}"))).collect();
    assert_eq!(refuses(&mut office, &many, &["64 subjects"]), "too-many");
    let one_sided = office.new_policy("web", &everything(), &[]);
    let result = office.give(Command::CreatePolicy(one_sided));
    assert_eq!(refused(result, &["subject that connections go to"]), "none-given");
    let services = (1..=33).map(|port| format!("tcp/{port}").parse().unwrap()).collect();
    let wordy = NewPolicy { services, ..office.new_policy("web", &everything(), &everything()) };
    assert_eq!(refused(office.give(Command::CreatePolicy(wordy)), &["32"]), "too-many");
    office.policy("web", &[tag("nobody-yet"), Subject::Group("staff".parse().unwrap())], &everything());
}

#[test]
fn subjects_are_of_the_policys_own_network() {
    let mut office = Office::new();
    let pad = office.client("pad", &["ada"]);
    let lab = office.server.network("lab", "10.8.0.0/24");
    let ada = Subject::Node(office.id("ada"));
    let elsewhere = NewPolicy { network: lab, ..office.new_policy("web", &[ada], &everything()) };
    let result = office.give(Command::CreatePolicy(elsewhere));
    assert_eq!(refused(result, &["host `ada` in network `office`", "`lab`"]), "node-elsewhere");
    let elsewhere =
        NewPolicy { network: lab, ..office.new_policy("web", &[Subject::Client(pad)], &everything()) };
    assert_eq!(refused(office.give(Command::CreatePolicy(elsewhere)), &[]), "no-such-client");
}

#[test]
fn names_are_one_policys_in_a_network() {
    let mut office = Office::new();
    office.policy("web", &everything(), &everything());
    let mail = office.policy("mail", &everything(), &everything());
    let edit = PolicyEdit { name: Some("web".parse().unwrap()), ..PolicyEdit::default() };
    let result = office.give(Command::UpdatePolicy { policy: mail, edit });
    assert_eq!(refused(result, &["`web`", "`office`"]), "policy-name-taken");
    let policy = PolicyId::from_bytes([9; 16]);
    assert_eq!(office.give(Command::DeletePolicy { policy }), Err(Rejection::NoSuchPolicy { policy }));
    let test = PolicyTestId::from_bytes([9; 16]);
    assert_eq!(office.give(Command::DeletePolicyTest { test }), Err(Rejection::NoSuchPolicyTest { test }));
}

#[test]
fn a_test_that_is_wrong_now_is_not_made() {
    let mut office = Office::new();
    let [ada, bob] = ["ada", "bob"].map(|name| Subject::Node(office.id(name)));
    let result = test(&mut office, ada.clone(), bob.clone(), "tcp/443", Access::Deny);
    assert_eq!(refused(result, &["host `ada` to host `bob` by tcp/443 must be denied"]), "policy-tests-fail");
    test(&mut office, ada.clone(), bob.clone(), "tcp/443", Access::Allow).unwrap();
    let result = test(&mut office, ada, bob, "tcp/80-90", Access::Allow);
    assert_eq!(refused(result, &["`tcp/80-90`", "one port"]), "test-needs-one-port");
}

#[test]
fn no_change_of_policies_makes_a_test_wrong() {
    let mut office = Office::new();
    let tags = Some(["web".parse().unwrap()].into());
    office.edit("ada", NodeEdit { tags, ..NodeEdit::default() }).unwrap();
    let bob = Subject::Node(office.id("bob"));
    test(&mut office, bob.clone(), tag("web"), "tcp/443", Access::Allow).unwrap();
    let result = access(&mut office, Access::Deny);
    let parts = ["host `bob` to tag `web` by tcp/443 must be allowed", "from host `bob` to host `ada`"];
    assert_eq!(refused(result, &parts), "policy-tests-fail");
    let policy = office.policy("web", std::slice::from_ref(&bob), &[tag("web")]);
    access(&mut office, Access::Deny).unwrap();
    for edit in [
        PolicyEdit { enabled: Some(false), ..PolicyEdit::default() },
        PolicyEdit { from: Some([tag("web")].into()), ..PolicyEdit::default() },
        PolicyEdit { services: Some(["tcp/80".parse().unwrap()].into()), ..PolicyEdit::default() },
    ] {
        assert_eq!(refused(office.give(Command::UpdatePolicy { policy, edit }), &[]), "policy-tests-fail");
    }
    assert_eq!(refused(office.give(Command::DeletePolicy { policy }), &[]), "policy-tests-fail");
    let cleo = Subject::Node(office.id("cleo"));
    test(&mut office, cleo.clone(), tag("web"), "icmp", Access::Deny).unwrap();
    let wider = office.new_policy("wider", &[cleo], &everything());
    assert_eq!(refused(office.give(Command::CreatePolicy(wider)), &["must be denied"]), "policy-tests-fail");
}

#[test]
fn a_test_that_is_wrong_already_blocks_no_change_of_policies() {
    let mut office = Office::new();
    let [ada, bob, cleo] = ["ada", "bob", "cleo"].map(|name| Subject::Node(office.id(name)));
    access(&mut office, Access::Deny).unwrap();
    office.policy("web", &[tag("web")], std::slice::from_ref(&bob));
    let web = Some(["web".parse().unwrap()].into());
    test(&mut office, cleo.clone(), bob.clone(), "icmp", Access::Deny).unwrap();
    test(&mut office, ada.clone(), bob.clone(), "icmp", Access::Deny).unwrap();
    office.edit("cleo", NodeEdit { tags: web, ..NodeEdit::default() }).unwrap();
    let mail = office.policy("mail", &[tag("mail")], &[tag("mail")]);
    office.give(Command::DeletePolicy { policy: mail }).unwrap();
    test(&mut office, bob.clone(), ada.clone(), "icmp", Access::Deny).unwrap();
    assert_eq!(refused(test(&mut office, cleo, bob, "tcp/22", Access::Deny), &[]), "policy-tests-fail");
    let wide = office.new_policy("wide", &[ada], &everything());
    let result = office.give(Command::CreatePolicy(wide));
    let sentence = result.as_ref().unwrap_err().to_string();
    assert!(!sentence.contains("`cleo`"), "only what this change makes wrong: {sentence}");
    assert_eq!(refused(result, &["host `ada` to host `bob`"]), "policy-tests-fail");
}

#[test]
fn people_are_in_the_groups_that_were_named_last() {
    let mut office = Office::new();
    let anna = office.server.user("anna", model::Role::Administrator);
    let groups = ["staff", "ops"].map(|name| name.parse().unwrap()).into();
    office.give(Command::SetGroups { user: anna, groups }).unwrap();
    let ops = [("ops").parse().unwrap()].into();
    office.give(Command::SetGroups { user: anna, groups: ops }).unwrap();
    assert_eq!(office.server.intent.user(anna).unwrap().groups.len(), 1);
    let many = (0..65).map(|number| format!("g{number}").parse().unwrap()).collect();
    assert_eq!(
        refused(office.give(Command::SetGroups { user: anna, groups: many }), &["64 groups"]),
        "too-many"
    );
}
