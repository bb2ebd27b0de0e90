//! What a guest says in front of a connection: the first bytes of TLS or HTTP, and questions of DNS. Nothing may panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    hearth_egress::fuzz_name(bytes);
    hearth_egress::fuzz_question(bytes);
});
