//! AWS Lambda's API, asked by AWS's own clients, with functions in real microVMs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    net::TcpListener,
    path::Path,
    process::{Command, Output},
};

use hearth_e2e::{Host, HostOptions, drivers, skip};
use hearth_testkit::aws::{AwsClients, aws_clients};

/// A host that AWS's clients can ask, and what they need for it.
struct Cloud {
    host: Host,
    clients: AwsClients,
    endpoint: String,
    key_id: String,
    secret: String,
}

impl Cloud {
    fn start(driver: &str, clients: AwsClients) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let options = HostOptions::default()
            .arg("--listen")
            .arg(&address)
            .arg("--driver")
            .arg(driver);
        let host = Host::with(&options);
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
        let made = Command::new(scripts.join("runtimes")).arg("python3").output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let archive = String::from_utf8(made.stdout).unwrap();
        host.hearth(&["image", "import", archive.trim()]).ok();
        let key = host.hearth(&["--json", "key", "create", "--role", "developer"]);
        let key: serde_json::Value = serde_json::from_str(key.ok()).unwrap();
        let text = |field: &str| key[field].as_str().unwrap().to_owned();
        Self {
            host,
            clients,
            endpoint: format!("http://{address}"),
            key_id: text("access_key_id"),
            secret: text("secret_access_key"),
        }
    }

    /// A Python program that finds AWS's packages, this host and its key as AWS's clients look for them.
    fn python(&self, program: &Path) -> Command {
        let mut python = Command::new("python3");
        python
            .arg(program)
            .current_dir(self.host.folder())
            .env("PYTHONPATH", &self.clients.packages)
            .env("AWS_ENDPOINT_URL_LAMBDA", &self.endpoint)
            .env("AWS_ACCESS_KEY_ID", &self.key_id)
            .env("AWS_SECRET_ACCESS_KEY", &self.secret)
            .env("AWS_DEFAULT_REGION", "eu-west-1")
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_PAGER", "");
        python
    }

    /// Runs it to its end.
    fn ran(&self, command: &mut Command) -> String {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert!(
            status.success(),
            "{command:?}:\n{stdout}\n{stderr}\n{}",
            self.host.log()
        );
        stdout.into_owned()
    }

    fn aws(&self, args: &[&str]) -> String {
        self.ran(self.python(&self.clients.aws).arg("lambda").args(args))
    }
}

fn on_each_driver(test: impl Fn(&Cloud)) {
    match aws_clients() {
        Ok(clients) => {
            for driver in drivers() {
                test(&Cloud::start(&driver, clients.clone()));
            }
        }
        Err(missing) => skip(&missing),
    }
}

#[test]
fn boto3_makes_calls_changes_and_removes_a_function() {
    on_each_driver(|cloud| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lambda/boto.py");
        let said = cloud.ran(&mut cloud.python(&script));
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
