//! AWS Lambda's API, asked by AWS's own clients, with functions in real microVMs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cloud;
mod kinds;

use std::process::Command;

use cloud::{Cloud, on_each_driver};

#[test]
fn boto3_makes_calls_changes_and_removes_a_function() {
    on_each_driver(|cloud| {
        cloud.import_runtime("python3");
        let said = cloud.ran(&mut cloud.python(&Cloud::script("boto.py")));
        assert_eq!(said.trim(), "all is well");
        assert_eq!(
            cloud
                .host
                .hearth(&["--json", "fn", "ls"])
                .ok()
                .matches("\"id\"")
                .count(),
            0
        );
    });
}

#[test]
fn the_aws_cli_makes_calls_and_removes_a_function() {
    on_each_driver(|cloud| {
        cloud.import_runtime("python3");
        let folder = cloud.host.folder();
        let source = "def handler(event, context):\n    return {'hello': event['who']}\n";
        std::fs::write(folder.join("main.py"), source).unwrap();
        let zip = "import zipfile; zipfile.ZipFile('code.zip', 'w').write('main.py')";
        cloud.ran(Command::new("python3").args(["-c", zip]).current_dir(folder));
        let role = "arn:aws:iam::000000000000:role/any";
        let name = ["--function-name", "greeter"];
        let made = [
            "--runtime",
            "python3.12",
            "--handler",
            "main.handler",
            "--role",
            role,
            "--timeout",
            "20",
            "--zip-file",
            "fileb://code.zip",
        ];
        cloud.aws(&[&["create-function"], name.as_slice(), made.as_slice()].concat());
        cloud.aws(&[&["wait", "function-active-v2"], name.as_slice()].concat());
        let event = ["--payload", r#"{"who":"cli"}"#, "answer.json"];
        let called = cloud.aws(&[&["invoke"], name.as_slice(), event.as_slice()].concat());
        assert!(called.contains("\"StatusCode\": 200"), "{called}");
        let answer = std::fs::read_to_string(folder.join("answer.json")).unwrap();
        assert_eq!(answer, r#"{"hello": "cli"}"#);
        cloud.aws(&[&["delete-function"], name.as_slice()].concat());
        let gone = cloud
            .python(&cloud.clients.aws)
            .args(["lambda", "get-function"])
            .args(name)
            .output();
        let said = String::from_utf8_lossy(&gone.unwrap().stderr).into_owned();
        assert!(said.contains("ResourceNotFoundException"), "{said}");
    });
}
