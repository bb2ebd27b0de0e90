//! Functions of every kind: images, and zips for each runtime.

use std::{fs, os::unix::fs::PermissionsExt as _};

use hearth_e2e::{ric_archive, skip, wait_for};

use crate::cloud::{Cloud, on_each_driver};

const APP: &str = "
import os
from snapshot_restore_py import register_after_restore, register_before_snapshot

seen = []
register_before_snapshot(lambda: seen.append('before'))
register_after_restore(lambda: seen.append('after'))

def hooked(event, context):
    return seen

def handler(event, context):
    return {'given': event, 'by': 'handler', 'color': os.environ.get('COLOR'), 'arn': context.invoked_function_arn}

def other(event, context):
    if event.get('boom'):
        raise ValueError('boom')
    return {'given': event, 'by': 'other'}
";

/// A runtime of one's own in Bash, which needs no other program to speak HTTP.
const BOOTSTRAP: &str = include_str!("bootstrap.sh");

#[test]
fn boto3_makes_functions_of_images_and_of_zips_for_each_runtime() {
    on_each_driver(|cloud| {
        let host = &cloud.host;
        let image = match ric_archive(host.folder(), APP) {
            Ok(image) => image,
            Err(missing) => return skip(&format!("awslambdaric: {missing}")),
        };
        host.hearth(&["image", "import", image.to_str().unwrap(), "--name", "test/ric:1"])
            .ok();
        for runtime in ["node", "provided"] {
            cloud.import_runtime(runtime);
        }
        let said = cloud.ran(cloud.python(&Cloud::script("kinds.py")).env("BOOTSTRAP", BOOTSTRAP));
        assert_eq!(said.trim(), "all is well");
        a_folder_with_a_program_is_deployed(cloud);
        wait_for("functions to leave nothing", || {
            host.leftovers().is_empty().then_some(())
        });
    });
}

/// The same runtime from a folder, by the command line.
fn a_folder_with_a_program_is_deployed(cloud: &Cloud) {
    let host = &cloud.host;
    let folder = host.folder().join("own");
    fs::create_dir(&folder).unwrap();
    let bootstrap = folder.join("bootstrap");
    fs::write(&bootstrap, BOOTSTRAP).unwrap();
    let source = folder.to_str().unwrap();
    let deploy = ["fn", "deploy", "own", "--runtime", "provided", "--source", source];
    // It says what is wrong with a program that may not be run.
    fs::set_permissions(&bootstrap, fs::Permissions::from_mode(0o644)).unwrap();
    host.hearth(&deploy).ok();
    host.hearth(&["fn", "invoke", "own", "-d", "{}"])
        .failed(1, &["bootstrap", "not executable"]);
    fs::set_permissions(&bootstrap, fs::Permissions::from_mode(0o755)).unwrap();
    host.hearth(&[&deploy[..], &["--handler", "my.handler"]].concat()).ok();
    for number in 0..2 {
        let answer = host.hearth(&["fn", "invoke", "own", "-d", &format!(r#"{{"n":{number}}}"#)]);
        let wanted = serde_json::json!({"handler": "my.handler", "given": {"n": number}, "calls": number + 1});
        assert_eq!(answer.json(), wanted);
    }
    assert!(host.hearth(&["fn", "logs", "own"]).ok().contains("by bash"));
    host.hearth(&["fn", "rm", "own"]).ok();
}
