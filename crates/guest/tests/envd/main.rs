//! The envd wire contract as its SDKs speak it: plain HTTP/1.1 and Connect JSON, by a client that is not ours.

#[path = "../common/mod.rs"]
mod common;
mod connections;
mod files;
mod processes;
mod rig;
mod watches;
