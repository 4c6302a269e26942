//! The administrators' contract: what the REST API takes and gives, its paths, its problems, its paging. The server serves
//! it, the command line speaks it, and `openapi/netloom.json` is made of it.
//!
//! Not for deciding and not for carrying: no HTTP is spoken here. It keeps true that the model's types are turned into
//! what others read by hand and in one place, so that a change of the model is not a change of the contract by accident,
//! and that no password hash and no digest of a secret has a place in any answer.

mod client;
mod dns;
mod document;
mod edit;
mod egress;
mod expiry;
mod export;
mod host;
mod journal;
mod key;
mod network;
mod node;
mod page;
mod password;
mod policy;
mod problem;
mod qr;
mod removal;
mod selector;
mod server;
mod session;
mod subject;
mod token;
mod user;
mod wg_quick;

pub mod path;
pub mod schema;

pub use client::{
    Client, ClientSession, ConfigFormat, ConfigQuery, CreateClient, CreatedClient, PatchClient,
};
pub use dns::{
    CreateDnsRecord, CreateUpstream, DnsRecord, NameServer, NameServerError, PatchDnsRecord, PatchUpstream,
    RecordData, Upstream, ZoneFormat, ZoneQuery,
};
pub use document::document;
pub use edit::Edit;
pub use egress::{CreateEgress, Egress, PatchEgress, Router, SetRouter};
pub use expiry::{ExpiryError, MOST_SECONDS, expiry, expiry_edit};
pub use export::{Export, ImportChange, ImportQuery, Imported, ImportedRecord, MOST_IMPORT};
pub use host::{
    CutOff, Facts, Failure, Host, HostFilter, HostNetwork, Inventory, KeyRotation, Nat, PatchHost,
    RotateQuery,
};
pub use journal::{JournalEntry, RecordChange};
pub use key::{CreateKey, CreatedKey, Key, KeyState, PatchKey};
pub use network::{Access, CreateNetwork, Force, Network, NetworkRef, PatchNetwork};
pub use node::{AddNode, InternetUse, Node, NodeRef, NodeRelations, PatchNode, UseInternet};
pub use page::{Cursor, Limit, Page, Paging};
pub use password::{Password, PasswordError, Secret};
pub use policy::{
    AccessChange, CreatePolicy, CreatePolicyTest, DecidedBy, DryRun, ExplainQuery, Explanation, PairChange,
    PatchPolicy, Policy, PolicyRef, PolicyTest, PolicyTestResult, PolicyTestRun, Written,
};
pub use problem::{FieldError, Problem, ProblemKind, SETUP_NEEDED, WRONG_CODE, WRONG_PASSWORD, read};
pub use qr::{QrCode, QrCodeError};
pub use removal::{Affected, Fate, Removal, RemoveQuery};
pub use selector::{
    ClientSelector, EgressSelector, HostSelector, KeySelector, NetworkSelector, PolicySelector, Selector,
    SelectorError, UpstreamSelector, UserSelector,
};
pub use server::{
    BrokerState, BrokerStatus, Counts, DatabaseStatus, RekeyStatus, Rendezvous, Server, ServerStatus,
};
pub use session::{Login, Me, Session, Setup, SetupState};
pub use subject::{Member, Subject, SubjectError};
pub use token::{ApiToken, CreateToken, CreatedToken, Purpose};
pub use user::{ChangePassword, CreateUser, PatchUser, Role, SetGroups, SetPassword, User, UserRef};
pub use wg_quick::{PRIVATE_KEY_MISSING, WgQuick, notes_of};

/// The largest request body that is read, in bytes.
pub const MOST_BODY: usize = 64 * 1024;

/// What a switch is of which nothing is said.
const fn yes() -> bool {
    true
}
