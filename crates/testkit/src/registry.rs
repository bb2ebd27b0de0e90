//! A real `docker-registry` on a free port of 127.0.0.1, filled by `skopeo`. It ends, and its folder goes, when dropped.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::images::Error;

const START_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// Somebody else may take the port between our look and the registry's.
const PORT_TRIES: usize = 3;

/// How the registry is to be.
#[derive(Clone, Debug, Default)]
pub struct RegistryOptions {
    /// Speak TLS with a certificate of a private authority ([`Registry::ca_file`]).
    pub tls: bool,
    /// With TLS, show the authority's own certificate: what `openssl req -x509` makes.
    pub self_signed: bool,
    /// Ask for this user name and password.
    pub login: Option<(String, String)>,
}

/// A running registry.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
    options: RegistryOptions,
}

impl Registry {
    /// Starts one. `None`, with a line that says what is missing, where the programs are not installed.
    pub fn start(options: RegistryOptions) -> Result<Option<Self>, Error> {
        let mut needed = vec!["docker-registry", "skopeo"];
        needed.extend(options.tls.then_some("openssl"));
        needed.extend(options.login.is_some().then_some("htpasswd"));
        for program in needed {
            if !is_installed(program) {
                eprintln!("SKIPPED: {program} is not installed");
                return Ok(None);
            }
        }
        let folder = tempfile::Builder::new().prefix("hearth-registry-").tempdir()?;
        if options.tls {
            make_certificates(folder.path(), options.self_signed)?;
        }
        if let Some((user, password)) = &options.login {
            let line = run(Command::new("htpasswd").args(["-nbB", user, password]))?;
            fs::write(folder.path().join("htpasswd"), line)?;
        }
        for _ in 0..PORT_TRIES {
            let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            fs::write(
                folder.path().join("config.yml"),
                configuration(folder.path(), port, &options),
            )?;
            let mut child = spawn(folder.path())?;
            if wait_until_open(&mut child, port)? {
                return Ok(Some(Self {
                    child,
                    port,
                    folder,
                    options,
                }));
            }
        }
        let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        Err(format!("docker-registry does not start: {log}").into())
    }

    /// `127.0.0.1:<port>`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The private authority's certificate, where the registry speaks TLS.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("certs/ca.crt")
    }

    /// Copies `name` of an OCI layout to `target` (`repository:tag`), all platforms of it.
    pub fn push(&self, layout: &Path, name: &str, target: &str) -> Result<(), Error> {
        let mut command = Command::new("skopeo");
        command.args(["copy", "--quiet", "--all"]);
        if self.options.tls {
            command.arg("--dest-cert-dir").arg(self.folder.path().join("certs"));
        } else {
            command.arg("--dest-tls-verify=false");
        }
        if let Some((user, password)) = &self.options.login {
            command.args(["--dest-creds", &format!("{user}:{password}")]);
        }
        command
            .arg(format!("oci:{}:{name}", layout.display()))
            .arg(format!("docker://{}/{target}", self.host()));
        run(&mut command).map(drop)
    }

    /// Where a blob lies on the registry's disk, for tests that damage it.
    pub fn blob(&self, hex: &str) -> PathBuf {
        let blobs = self.folder.path().join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

fn stop(child: &mut Child) {
    // It may have ended by itself; either way it is gone afterwards.
    let _ = child.kill();
    let _ = child.wait();
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn run(command: &mut Command) -> Result<Vec<u8>, Error> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
}

fn spawn(folder: &Path) -> Result<Child, Error> {
    let log = fs::File::create(folder.join("log"))?;
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(folder.join("config.yml"));
    Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?)
}

/// Whether it listens; if it ended, another port is worth a try.
fn wait_until_open(child: &mut Child, port: u16) -> Result<bool, Error> {
    let deadline = Instant::now() + START_TIMEOUT;
    while Instant::now() < deadline {
        if child.try_wait()?.is_some() {
            return Ok(false);
        }
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(true);
        }
        std::thread::sleep(POLL);
    }
    stop(child);
    Ok(false)
}

fn configuration(folder: &Path, port: u16, options: &RegistryOptions) -> String {
    let folder = folder.display();
    let tls = format!("  tls:\n    certificate: {folder}/certs/server.pem\n    key: {folder}/server.key\n");
    let auth = format!("auth:\n  htpasswd:\n    realm: test\n    path: {folder}/htpasswd\n");
    format!(
        "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {folder}/data\n\
         http:\n  addr: 127.0.0.1:{port}\n{}{}",
        if options.tls { &tls } else { "" },
        if options.login.is_some() { &auth } else { "" },
    )
}

/// A private authority and a certificate for this machine by it, or one that is both.
fn make_certificates(folder: &Path, self_signed: bool) -> Result<(), Error> {
    let certs = folder.join("certs");
    fs::create_dir(&certs)?;
    fs::write(
        folder.join("extensions"),
        "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n",
    )?;
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let openssl = |arguments: &[&str]| run(Command::new("openssl").current_dir(folder).args(arguments)).map(drop);
    if self_signed {
        let names = "subjectAltName=IP:127.0.0.1,DNS:localhost";
        let server = [
            "-keyout",
            "server.key",
            "-out",
            "certs/server.pem",
            "-subj",
            "/CN=localhost",
        ];
        openssl(&[&["req", "-x509", "-days", "2", "-addext", names][..], &key, &server].concat())?;
        fs::copy(certs.join("server.pem"), certs.join("ca.crt"))?;
        return Ok(());
    }
    let authority = [
        "-keyout",
        "ca.key",
        "-out",
        "certs/ca.crt",
        "-subj",
        "/CN=test authority",
        "-days",
        "2",
    ];
    openssl(&[&["req", "-x509"][..], &key, &authority].concat())?;
    let request = ["-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost"];
    openssl(&[&["req"][..], &key, &request].concat())?;
    openssl(&[
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "certs/ca.crt",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "extensions",
        "-out",
        "certs/server.pem",
    ])
}
