//! Policies and their tests.

use control::policy::{Member, Verdict, explain, pairs_of_tests};
use control::{Change, Command, NetworkEdit, NewPolicy, NodeEdit, PolicyEdit, Rejection, SetEdit};
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
    let tags = Some(["web".parse().unwrap()].into()).into();
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
        PolicyEdit { from: Some([tag("web")].into()).into(), ..PolicyEdit::default() },
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
    let web = Some(["web".parse().unwrap()].into()).into();
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

#[test]
fn two_who_change_a_set_at_once_both_have_their_way() {
    let mut office = Office::new();
    let tags = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
    let all = SetEdit { all: Some(tags(&["old", "web"])), ..SetEdit::default() };
    office.edit("ada", NodeEdit { tags: all, ..NodeEdit::default() }).unwrap();
    // Both have seen `old` and `web`.
    let one = SetEdit { add: tags(&["db"]), remove: tags(&["old"]), ..SetEdit::default() };
    let other = SetEdit { add: tags(&["edge"]), ..SetEdit::default() };
    office.edit("ada", NodeEdit { tags: one, ..NodeEdit::default() }).unwrap();
    office.edit("ada", NodeEdit { tags: other, ..NodeEdit::default() }).unwrap();
    assert_eq!(office.node("ada").tags, tags(&["db", "edge", "web"]));
    let many = SetEdit {
        add: (0..64).map(|number| format!("t{number}").parse().unwrap()).collect(),
        ..SetEdit::default()
    };
    assert_eq!(
        refused(office.edit("ada", NodeEdit { tags: many, ..NodeEdit::default() }), &["64 tags"]),
        "too-many"
    );

    let policy = office.policy("web", &[tag("a")], &everything());
    let from = SetEdit { add: [tag("b")].into(), ..SetEdit::default() };
    office
        .give(Command::UpdatePolicy { policy, edit: PolicyEdit { from, ..PolicyEdit::default() } })
        .unwrap();
    let from = SetEdit { remove: [tag("a")].into(), ..SetEdit::default() };
    office
        .give(Command::UpdatePolicy { policy, edit: PolicyEdit { from, ..PolicyEdit::default() } })
        .unwrap();
    assert_eq!(office.server.intent.policy(policy).unwrap().from, [tag("b")].into());
    let from = SetEdit { remove: [tag("b")].into(), ..SetEdit::default() };
    let nobody = Command::UpdatePolicy { policy, edit: PolicyEdit { from, ..PolicyEdit::default() } };
    assert_eq!(refused(office.give(nobody), &["subject that connections come from"]), "none-given");
}

#[test]
fn an_explanation_names_what_really_decides() {
    let mut office = Office::new();
    let (ada, bob, network) = (office.id("ada"), office.id("bob"), office.network);
    let plant = office.egress("plant", "192.168.7.0/24", &["cleo"]);
    let phone = office.client("phone", &["bob"]);
    let policy = office.policy("all", &everything(), &everything());
    let why = |office: &Office, from: Member, to: Member| {
        explain(&office.server.intent, network, from, to, &"tcp/443".parse().unwrap()).verdict
    };
    let (one, other) = (Member::Node(ada), Member::Node(bob));
    assert_eq!(why(&office, one, other), Verdict::Default(Access::Allow), "no policy is asked");
    access(&mut office, Access::Deny).unwrap();
    assert_eq!(why(&office, one, other), Verdict::Policies(vec![policy]));
    office.give(Command::DeletePolicy { policy }).unwrap();
    let (cleo, range, client) =
        (Member::Node(office.id("cleo")), Member::Egress(plant), Member::Client(phone));
    assert_eq!(why(&office, cleo, range), Verdict::Unjudged, "a router and its own range are neighbours");
    assert_eq!(why(&office, range, cleo), Verdict::Default(Access::Deny));
    assert_eq!(why(&office, one, one), Verdict::Unjudged, "what one opens to itself goes nowhere");
    office.policy("all", &everything(), &everything());
    for host in ["cleo", "bob"].map(|name| office.host(name)) {
        office.give(Command::RemoveHost { host }).unwrap();
    }
    assert_eq!(why(&office, one, range), Verdict::Unreached(range), "its last router is gone");
    assert_eq!(why(&office, client, one), Verdict::Unreached(client), "so is its last gateway");
    assert_eq!(why(&office, one, cleo), Verdict::Absent(cleo));
}

#[test]
fn a_test_says_of_how_many_pairs_it_is() {
    let mut office = Office::new();
    test(&mut office, tag("misspelt"), Subject::Everything, "tcp/443", Access::Deny).unwrap();
    test(&mut office, Subject::Everything, Subject::Everything, "tcp/443", Access::Allow).unwrap();
    let ada = Subject::Node(office.id("ada"));
    test(&mut office, ada.clone(), ada, "tcp/443", Access::Deny).unwrap();
    let pairs = pairs_of_tests(&office.server.intent, office.network);
    let mut pairs: Vec<u64> = pairs.into_values().collect();
    pairs.sort_unstable();
    assert_eq!(pairs, [0, 0, 20], "five hosts, and nobody with itself");
}
