//! What instances that went on from one template draw: keys and numbers that no two of them may share.

use std::collections::BTreeSet;

use hearth_e2e::{Host, HostOptions};
use serde_json::Value;

use crate::shop::{answer, import, nothing_left, try_deploy, wait_for_zero};

/// Everything of OpenSSL's that is drawn in a call was drawn from before, so that its generator is part of the template. The
/// first message of a TLS client has its random number and the public part of its key, 32 bytes after the group's number and its
/// length.
const PYTHON: &str = r#"
import random, ssl, uuid
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
def hello():
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        pass
    sent = outgoing.read()
    key = sent.index(b"\x00\x1d\x00\x20") + 4
    return sent[11:43].hex(), sent[key:key + 32].hex()
started = uuid.uuid4().hex
draw = lambda: [*hello(), ssl.RAND_bytes(16).hex(), random.random(), uuid.uuid4().hex]
draw()
def handler(event, context):
    return {"started": started, "drawn": draw()}
"#;

const NODE: &str = r#"
const crypto = require("crypto");
const key = () => crypto.generateKeyPairSync("x25519").publicKey.export({ type: "spki", format: "der" }).toString("hex");
const ints = () => Array.from({ length: 8 }, () => crypto.randomInt(2 ** 40)).join();
const draw = () => [key(), crypto.randomBytes(16).toString("hex"), crypto.randomUUID(), ints()];
const started = crypto.randomUUID();
draw();
exports.handler = async () => ({ started, drawn: draw() });
"#;

#[test]
fn instances_of_one_template_draw_nothing_in_common() {
    let host = Host::with(&HostOptions::default());
    for (runtime, file, handler, program) in [
        ("python3", "main.py", "main.handler", PYTHON),
        ("node", "index.js", "index.handler", NODE),
    ] {
        import(&host, runtime);
        let flags = ["--runtime", runtime, "--handler", handler, "--idle", "1s"];
        try_deploy(&host, runtime, file, program, &flags).ok();
        let (mut drawn, mut started) = (BTreeSet::new(), BTreeSet::new());
        // The template is made of the first.
        for _ in 0..3 {
            let said = answer(&host, runtime, "{}");
            started.insert(said["started"].to_string());
            for one in said["drawn"].as_array().unwrap() {
                assert!(drawn.insert(Value::to_string(one)), "{runtime}: {one} was drawn twice");
            }
            wait_for_zero(&host, runtime);
        }
        assert_eq!(started.len(), 1, "{runtime}: they did not go on from one template");
    }
    nothing_left(&host, &["python3", "node"]);
}
