//! Projects, keys and secrets, as people use them.

use std::net::TcpListener;

use hearth_e2e::{BUSYBOX, Host, HostOptions};

use crate::on_each_driver;

#[test]
fn a_program_finds_its_secrets_and_nobody_else_does() {
    on_each_driver(|host| {
        host.hearth_with(&["secret", "set", "db-password"], b"hunter2\n").ok();
        let script = "echo $DB; cat /run/secrets/db-password; stat -c %a /run/secrets/db-password";
        let words = host
            .hearth(&[
                "run",
                "--name",
                "m",
                "--secret",
                "db-password=DB",
                "--secret-file",
                "db-password",
                BUSYBOX,
                "sh",
                "-c",
                script,
            ])
            .ok()
            .to_owned();
        assert_eq!(words, "hunter2\nhunter2400", "{words}");
        let shown = [host.hearth(&["inspect", "m"]), host.hearth(&["--json", "secret", "ls"])];
        for shown in shown.map(|ran| ran.ok().to_owned()).into_iter().chain([host.log()]) {
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        host.hearth(&["run", "--secret", "none", BUSYBOX, "true"])
            .failed(125, &["none", "hearth secret set"]);
        host.hearth(&["rm", "m"]).ok();
        host.hearth(&["secret", "rm", "db-password"]).ok();
    });
}

#[test]
fn a_key_from_afar_sees_its_project_alone() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let host = Host::with(&HostOptions::default().arg("--listen").arg(&address).arg("--tls"));
    host.hearth(&["project", "create", "team", "--max-machines", "1"]).ok();
    let key = host
        .hearth(&["--project", "team", "key", "create", "--role", "developer"])
        .ok()
        .to_owned();
    let url = format!("https://localhost:{port}");
    let certificate = host.state_dir().join("tls/cert.pem");
    let afar = |key: &str, args: &[&str]| {
        let mut command = host.command(&[&["--host", &url], args].concat());
        command
            .env_remove("HEARTH_SOCKET")
            .env("HEARTH_KEY", key)
            .env("HEARTH_CA_FILE", &certificate);
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, words, failure) = afar(&key, &["project", "ls", "--json"]);
    assert_eq!(code, Some(0), "{failure}");
    assert!(words.contains("\"team\"") && !words.contains("\"default\""), "{words}");
    let (code, _, failure) = afar(&key, &["key", "ls"]);
    assert!(code == Some(1) && failure.contains("developer"), "{failure}");
    let (code, _, failure) = afar("", &["ps"]);
    assert!(code == Some(1) && failure.contains("HEARTH_KEY"), "{failure}");
    let noted = host.hearth(&["audit", "--all"]).ok().to_owned();
    assert!(
        noted.contains("create_project") && noted.contains("create_key"),
        "{noted}"
    );
    host.hearth(&["project", "rm", "team"]).ok();
    assert_eq!(afar(&key, &["ps"]).0, Some(1), "the key went with its project");
}
