//! stub
pub mod settings;
