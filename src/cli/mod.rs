//! stub
pub mod demo_app;
