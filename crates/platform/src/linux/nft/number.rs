//! The kernel's numbers for nf_tables (`linux/netfilter/nf_tables.h`, `nfnetlink.h`), as far as they are used here.
//!
//! Not for what they mean together: `expression` and `layout` say that.

/// Messages, without the subsystem.
pub(super) mod message {
    pub(in super::super) const NEW_TABLE: u8 = 0;
    pub(in super::super) const GET_TABLE: u8 = 1;
    pub(in super::super) const DELETE_TABLE: u8 = 2;
    pub(in super::super) const NEW_CHAIN: u8 = 3;
    pub(in super::super) const GET_CHAIN: u8 = 4;
    pub(in super::super) const NEW_RULE: u8 = 6;
    pub(in super::super) const GET_RULE: u8 = 7;
    pub(in super::super) const DELETE_RULE: u8 = 8;
    pub(in super::super) const NEW_SET: u8 = 9;
    pub(in super::super) const GET_SET: u8 = 10;
    pub(in super::super) const NEW_ELEMENTS: u8 = 12;
    pub(in super::super) const GET_ELEMENTS: u8 = 13;
    pub(in super::super) const DELETE_ELEMENTS: u8 = 14;
    pub(in super::super) const GET_GENERATION: u8 = 16;
}

/// The subsystem, the upper byte of a message's type.
pub(super) const SUBSYSTEM: u8 = 10;
pub(super) const BATCH_BEGIN: u16 = 16;
pub(super) const BATCH_END: u16 = 17;
pub(super) const BATCH_GENERATION: u16 = 1;
/// The family of tables that see IPv4 and IPv6.
pub(super) const INET: u8 = 1;
/// The netlink protocol of netfilter.
pub(super) const NETLINK_NETFILTER: isize = 12;

/// A message of the kernel that carries an error or says that all went well.
pub(super) const ERROR: u16 = 2;
/// The end of a listing.
pub(super) const DONE: u16 = 3;
/// Attributes of an error.
pub(super) const ERROR_WORDS: u16 = 1;

/// Flags of messages.
pub(super) mod flag {
    pub(in super::super) const REQUEST: u16 = 1;
    pub(in super::super) const ACK: u16 = 4;
    pub(in super::super) const DUMP: u16 = 0x300;
    pub(in super::super) const EXCLUSIVE: u16 = 0x200;
    pub(in super::super) const CREATE: u16 = 0x400;
    pub(in super::super) const APPEND: u16 = 0x800;
    /// In an answer: the listing changed while it was made.
    pub(in super::super) const INTERRUPTED: u16 = 0x10;
    /// In an error: the refused message is not repeated.
    pub(in super::super) const CAPPED: u16 = 0x100;
    /// In an error: attributes follow.
    pub(in super::super) const WITH_WORDS: u16 = 0x200;
}

/// Attributes.
pub(super) mod attribute {
    pub(in super::super) const LIST_ELEMENT: u16 = 1;

    pub(in super::super) const TABLE_NAME: u16 = 1;
    pub(in super::super) const TABLE_FLAGS: u16 = 2;

    pub(in super::super) const CHAIN_TABLE: u16 = 1;
    pub(in super::super) const CHAIN_NAME: u16 = 3;
    pub(in super::super) const CHAIN_HOOK: u16 = 4;
    pub(in super::super) const CHAIN_POLICY: u16 = 5;
    pub(in super::super) const CHAIN_TYPE: u16 = 7;
    pub(in super::super) const HOOK_NUMBER: u16 = 1;
    pub(in super::super) const HOOK_PRIORITY: u16 = 2;

    pub(in super::super) const RULE_TABLE: u16 = 1;
    pub(in super::super) const RULE_CHAIN: u16 = 2;
    pub(in super::super) const RULE_EXPRESSIONS: u16 = 4;
    pub(in super::super) const RULE_USERDATA: u16 = 7;

    pub(in super::super) const SET_TABLE: u16 = 1;
    pub(in super::super) const SET_NAME: u16 = 2;
    pub(in super::super) const SET_FLAGS: u16 = 3;
    pub(in super::super) const SET_KEY_TYPE: u16 = 4;
    pub(in super::super) const SET_KEY_LENGTH: u16 = 5;
    pub(in super::super) const SET_ID: u16 = 10;

    pub(in super::super) const ELEMENTS_TABLE: u16 = 1;
    pub(in super::super) const ELEMENTS_SET: u16 = 2;
    pub(in super::super) const ELEMENTS_LIST: u16 = 3;
    pub(in super::super) const ELEMENT_KEY: u16 = 1;
    pub(in super::super) const DATA_VALUE: u16 = 1;
    pub(in super::super) const DATA_VERDICT: u16 = 2;

    pub(in super::super) const EXPRESSION_NAME: u16 = 1;
    pub(in super::super) const EXPRESSION_DATA: u16 = 2;

    pub(in super::super) const GENERATION_ID: u16 = 1;
}
