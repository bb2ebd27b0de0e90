//! DNS for a guest whose names are judged: questions, whom we ask, and the door.

mod door;
mod question;
mod upstream;

pub use self::question::fuzz_question;
pub(crate) use self::{
    door::{serve_tcp, serve_udp},
    upstream::Upstream,
};
