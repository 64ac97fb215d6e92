//! Pure decisions of RFC 9111 and RFC 9110: no I/O, no clock, no async. Time is an argument.
//!
//! | question | file |
//! |---|---|
//! | what do the fields say | `directives`, `dates`, `entity_tag`, `fields`, `list`, `token`, [`present`], [`trailers`] |
//! | how long is it fresh, how old is it | [`freshness`], [`facts`] |
//! | may it be stored | [`store`] |
//! | does the request select it | [`vary`] |
//! | may it be reused | [`reuse`] |
//! | how is it validated | [`validate`] |
//! | what do the client's conditions say | [`preconditions`] |
//! | what does an unsafe request invalidate | [`invalidate`] |
//! | what is purged together | [`tags`] |
//! | how is all this told | [`reason`], [`cache_status`] |

pub mod cache_status;
pub mod dates;
pub mod directives;
pub mod entity_tag;
pub mod facts;
pub mod fields;
pub mod freshness;
pub mod invalidate;
mod list;
pub mod preconditions;
pub mod present;
pub mod reason;
pub mod reuse;
pub mod rules;
#[cfg(test)]
mod sample;
pub mod search;
pub mod store;
pub mod tags;
pub mod time;
pub mod token;
pub mod trailers;
pub mod validate;
pub mod vary;
