//! Numbers of `linux/netfilter/nf_tables.h` and `nfnetlink.h`.

/// Kinds of messages.
pub(super) mod message {
    pub(in super::super) const BATCH_BEGIN: u16 = 16;
    pub(in super::super) const BATCH_END: u16 = 17;

    pub(in super::super) const NEW_TABLE: u16 = 0;
    pub(in super::super) const GET_TABLE: u16 = 1;
    pub(in super::super) const DELETE_TABLE: u16 = 2;
    pub(in super::super) const NEW_CHAIN: u16 = 3;
    pub(in super::super) const GET_CHAIN: u16 = 4;
    pub(in super::super) const DELETE_CHAIN: u16 = 5;
    pub(in super::super) const NEW_RULE: u16 = 6;
    pub(in super::super) const GET_RULE: u16 = 7;
    pub(in super::super) const DELETE_RULE: u16 = 8;
    pub(in super::super) const NEW_SET: u16 = 9;
    pub(in super::super) const GET_SET: u16 = 10;
    pub(in super::super) const DELETE_SET: u16 = 11;
    pub(in super::super) const NEW_ELEMENTS: u16 = 12;
    pub(in super::super) const GET_ELEMENTS: u16 = 13;
    pub(in super::super) const DELETE_ELEMENTS: u16 = 14;
    pub(in super::super) const NEW_GENERATION: u16 = 15;
    pub(in super::super) const GET_GENERATION: u16 = 16;
    pub(in super::super) const NEW_OBJECT: u16 = 18;
    pub(in super::super) const GET_OBJECT: u16 = 19;
    pub(in super::super) const DELETE_OBJECT: u16 = 20;
    pub(in super::super) const RESET_OBJECT: u16 = 21;
}

/// `NFNL_BATCH_GENID`.
pub(super) const BATCH_GENERATION: u16 = 1;
/// `NFNLGRP_NFTABLES`.
pub(super) const GROUP: u32 = 7;

pub(super) const LIST_ITEM: u16 = 1;

/// The table's name, in a message about anything but elements of a set.
pub(super) const TABLE: u16 = 1;
pub(super) const TABLE_FLAGS: u16 = 2;

pub(super) const CHAIN_NAME: u16 = 3;
pub(super) const CHAIN_HOOK: u16 = 4;
pub(super) const CHAIN_POLICY: u16 = 5;
pub(super) const CHAIN_TYPE: u16 = 7;
pub(super) const HOOK_NUMBER: u16 = 1;
pub(super) const HOOK_PRIORITY: u16 = 2;

pub(super) const RULE_CHAIN: u16 = 2;
pub(super) const RULE_EXPRESSIONS: u16 = 4;
pub(super) const RULE_USERDATA: u16 = 7;
/// A comment, in a rule's user data.
pub(super) const USERDATA_COMMENT: u8 = 0;

pub(super) const SET_NAME: u16 = 2;
pub(super) const SET_FLAGS: u16 = 3;
pub(super) const SET_KEY_TYPE: u16 = 4;
pub(super) const SET_KEY_LENGTH: u16 = 5;
pub(super) const SET_DESCRIPTION: u16 = 9;
pub(super) const SET_ID: u16 = 10;
pub(super) const SET_USERDATA: u16 = 13;
pub(super) const SET_OBJECT_TYPE: u16 = 15;
pub(super) const DESCRIPTION_CONCATENATION: u16 = 2;
pub(super) const FIELD_LENGTH: u16 = 1;
pub(super) const SET_IS_RANGES: u32 = 4;
pub(super) const SET_IS_OBJECTS: u32 = 0x40;
pub(super) const SET_IS_CONCATENATION: u32 = 0x80;

pub(super) const ELEMENTS_SET: u16 = 2;
pub(super) const ELEMENTS_LIST: u16 = 3;
pub(super) const ELEMENT_KEY: u16 = 1;
pub(super) const ELEMENT_FLAGS: u16 = 3;
pub(super) const ELEMENT_OBJECT: u16 = 9;
pub(super) const ELEMENT_KEY_END: u16 = 10;
pub(super) const ELEMENT_IS_END: u32 = 1;

pub(super) const DATA_VALUE: u16 = 1;
pub(super) const DATA_VERDICT: u16 = 2;
pub(super) const VERDICT_CODE: u16 = 1;
pub(super) const VERDICT_CHAIN: u16 = 2;

pub(super) const OBJECT_NAME: u16 = 2;
pub(super) const OBJECT_TYPE: u16 = 3;
pub(super) const OBJECT_DATA: u16 = 4;
pub(super) const TYPE_COUNTER: u32 = 1;
pub(super) const TYPE_QUOTA: u32 = 2;
pub(super) const COUNTER_BYTES: u16 = 1;
pub(super) const COUNTER_PACKETS: u16 = 2;
pub(super) const QUOTA_BYTES: u16 = 1;
pub(super) const QUOTA_FLAGS: u16 = 2;
pub(super) const QUOTA_USED: u16 = 4;
/// Matches what is above the quota.
pub(super) const QUOTA_ABOVE: u32 = 1;

pub(super) const GENERATION_ID: u16 = 1;
pub(super) const GENERATION_PROGRAM: u16 = 3;

pub(super) const EXPRESSION_NAME: u16 = 1;
pub(super) const EXPRESSION_DATA: u16 = 2;
