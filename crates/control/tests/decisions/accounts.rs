//! Accounts and tokens.

use control::{Actor, Command, Rejection, authenticate};
use model::{ApiTokenId, Role, TokenPurpose, UserId};

use crate::server::{Server, digest, hash};

fn token(server: &mut Server, user: UserId, number: u8, purpose: TokenPurpose) -> ApiTokenId {
    let expires = Some(server.now + std::time::Duration::from_secs(60));
    let title = "laptop".parse().unwrap();
    let command = Command::CreateToken { user, title, purpose, digest: digest(number), expires };
    server.give(Actor::User(user), command).unwrap();
    server.intent.api_token_by_digest(&digest(number)).unwrap().id
}

#[test]
fn the_first_account_is_an_administrators_and_set_up_is_once() {
    let mut server = Server::new();
    let set_up = Command::SetUpFirstAdministrator { name: "anna".parse().unwrap(), password: hash("one") };
    server.give(Actor::Setup, set_up.clone()).unwrap();
    assert_eq!(server.intent.users(None).next().unwrap().role, Role::Administrator);
    assert_eq!(server.give(Actor::Setup, set_up), Err(Rejection::AlreadySetUp));
}

#[test]
fn the_last_administrator_can_neither_go_nor_step_down() {
    let mut server = Server::new();
    let anna = server.user("anna", Role::Administrator);
    let ben = server.user("ben", Role::Auditor);
    let refused = Err(Rejection::LastAdministrator { name: "anna".parse().unwrap() });
    assert_eq!(server.give(Actor::User(anna), Command::DeleteUser { user: anna }), refused);
    assert_eq!(server.system(Command::SetRole { user: anna, role: Role::Auditor }), refused);
    server.system(Command::SetRole { user: ben, role: Role::Administrator }).unwrap();
    server.give(Actor::User(anna), Command::DeleteUser { user: anna }).unwrap();
    assert!(server.intent.user(anna).is_none());
}

#[test]
fn an_account_that_goes_takes_its_tokens_along() {
    let mut server = Server::new();
    server.user("anna", Role::Administrator);
    let ben = server.user("ben", Role::Auditor);
    token(&mut server, ben, 1, TokenPurpose::Program);
    assert_eq!(authenticate(&server.intent, &digest(1), server.now), Ok(Actor::User(ben)));
    server.system(Command::DeleteUser { user: ben }).unwrap();
    assert_eq!(authenticate(&server.intent, &digest(1), server.now), Err(Rejection::NotLoggedIn));
}

#[test]
fn a_new_password_ends_the_other_log_ins_only() {
    let mut server = Server::new();
    let anna = server.user("anna", Role::Administrator);
    let here = token(&mut server, anna, 1, TokenPurpose::Login);
    token(&mut server, anna, 2, TokenPurpose::Login);
    token(&mut server, anna, 3, TokenPurpose::Program);
    let change = Command::ChangePassword { user: anna, password: hash("two"), keep: Some(here) };
    server.give(Actor::User(anna), change).unwrap();
    let left: Vec<_> = server.intent.api_tokens_of_user(anna).map(|token| token.digest).collect();
    assert_eq!(left, [digest(1), digest(3)]);
    assert_eq!(server.intent.user(anna).unwrap().password, hash("two"));
}

#[test]
fn an_expired_token_says_when_it_expired() {
    let mut server = Server::new();
    let anna = server.user("anna", Role::Administrator);
    token(&mut server, anna, 1, TokenPurpose::Login);
    server.wait(60);
    let refused = authenticate(&server.intent, &digest(1), server.now);
    assert_eq!(refused, Err(Rejection::TokenExpired { expired: server.now }));
}

#[test]
fn log_ins_that_ended_go_at_the_next() {
    let mut server = Server::new();
    let anna = server.user("anna", Role::Administrator);
    token(&mut server, anna, 1, TokenPurpose::Login);
    server.wait(30);
    token(&mut server, anna, 2, TokenPurpose::Login);
    server.wait(30);
    token(&mut server, anna, 3, TokenPurpose::Login);
    let left: Vec<_> = server.intent.api_tokens_of_user(anna).map(|token| token.digest).collect();
    assert_eq!(left, [digest(2), digest(3)]);
}

#[test]
fn a_rejection_shows_no_secret() {
    let mut server = Server::new();
    let anna = server.user("anna", Role::Administrator);
    token(&mut server, anna, 0x41, TokenPurpose::Login);
    let (title, purpose) = ("again".parse().unwrap(), TokenPurpose::Program);
    let again = Command::CreateToken { user: anna, title, purpose, digest: digest(0x41), expires: None };
    let refused = server.system(again).unwrap_err();
    assert_eq!(refused, Rejection::SecretTaken);
    assert!(!refused.to_string().contains(&digest(0x41).to_string()));
}
