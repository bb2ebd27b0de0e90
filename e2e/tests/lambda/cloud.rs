//! A host that AWS's own clients can ask.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use hearth_e2e::{Host, HostOptions, drivers, runtime_archive, skip};
use hearth_testkit::aws::{AwsClients, aws_clients};

/// A host that AWS's clients can ask, and what they need for it.
pub(crate) struct Cloud {
    pub(crate) host: Host,
    pub(crate) clients: AwsClients,
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

    /// Imports a runtime's image.
    pub(crate) fn import_runtime(&self, runtime: &str) {
        self.host
            .hearth(&["image", "import", runtime_archive(runtime).to_str().unwrap()])
            .ok();
    }

    /// The path of a program of these tests.
    pub(crate) fn script(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lambda").join(name)
    }

    /// A Python program that finds AWS's packages, this host and its key as AWS's clients look for them.
    pub(crate) fn python(&self, program: &Path) -> Command {
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
    pub(crate) fn ran(&self, command: &mut Command) -> String {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert!(
            status.success(),
            "{command:?}:\n{stdout}\n{stderr}\n{}",
            self.host.log()
        );
        stdout.into_owned()
    }

    pub(crate) fn aws(&self, args: &[&str]) -> String {
        self.ran(self.python(&self.clients.aws).arg("lambda").args(args))
    }
}

/// Runs a test for each driver, if AWS's clients can be had.
pub(crate) fn on_each_driver(test: impl Fn(&Cloud)) {
    match aws_clients() {
        Ok(clients) => {
            for driver in drivers() {
                test(&Cloud::start(&driver, clients.clone()));
            }
        }
        Err(missing) => skip(&missing),
    }
}
