//! Pure decisions of RFC 9111 and RFC 9110: no I/O, no clock, no async. Time is an argument.

pub mod reason;
pub mod rules;
pub mod time;
