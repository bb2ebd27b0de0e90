//! Volumes, with real machines: two that share one, over a pause, a death of the daemon, and the end of both.

use std::{fs, net::TcpListener};

use hearth_e2e::{
    Host, HostOptions, PATIENCE, PYTHON, drivers,
    http::{Answer, Url, send},
    wait_for,
};
use serde_json::{Value, json};

/// A client of E2B's API.
struct Client<'a> {
    address: &'a str,
    key: String,
}

impl Client<'_> {
    fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let headers = [("x-api-key", self.key.as_str()), ("content-type", "application/json")];
        self.send(method, path, &headers, body.to_string().as_bytes())
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let url = Url::of(&format!("http://{}{path}", self.address));
        send(&url, method, headers, body, PATIENCE).unwrap()
    }

    fn made(&self, path: &str, body: &Value) -> Value {
        let answer = self.ask("POST", path, body);
        assert_eq!(answer.status, 201, "{answer:?}");
        serde_json::from_str(&answer.body).unwrap()
    }

    /// Speaks to a volume's files.
    fn content(&self, volume: &Value, method: &str, rest: &str, body: &str) -> Answer {
        let id = volume["volumeID"].as_str().unwrap();
        let token = format!("Bearer {}", volume["token"].as_str().unwrap());
        let headers = [("authorization", token.as_str())];
        self.send(
            method,
            &format!("/volumecontent/{id}/{rest}"),
            &headers,
            body.as_bytes(),
        )
    }

    fn sandbox(&self, volume: &str, path: &str) -> String {
        // Without a way to the world, as nothing of this needs one.
        let body = json!({
            "templateID": "base", "timeout": 900, "allow_internet_access": false,
            "volumeMounts": [{ "name": volume, "path": path }],
        });
        self.made("/v2/sandboxes", &body)["sandboxID"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn template(host: &Host) {
    let folder = host.folder().join("base");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("Dockerfile"), format!("FROM {PYTHON}\n")).unwrap();
    let args = ["template", "build", "base", folder.to_str().unwrap()];
    host.hearth(&[&args[..], &["--memory", "256m", "--cpus", "1"]].concat())
        .ok();
}

fn key(host: &Host, project: &str) -> String {
    let made = host.hearth(&["--project", project, "key", "create", "--role", "admin"]);
    made.ok().lines().next().unwrap().to_owned()
}

#[test]
fn sandboxes_share_what_outlives_them() {
    for driver in drivers() {
        let address = free_address();
        let options = HostOptions::default()
            .arg("--driver")
            .arg(&driver)
            .arg("--listen")
            .arg(&address);
        let mut host = Host::with(&options);
        template(&host);
        host.hearth(&["project", "create", "other"]).ok();
        let own = Client {
            address: &address,
            key: key(&host, "default"),
        };
        let other = Client {
            address: &address,
            key: key(&host, "other"),
        };

        let volume = own.made("/volumes", &json!({ "name": "data" }));
        assert_eq!(own.content(&volume, "PUT", "file?path=/seed", "before").status, 201);
        let one = own.sandbox("data", "/mnt/data");
        let two = own.sandbox("data", "/data");
        let sh = |host: &Host, sandbox: &str, script: &str| {
            host.hearth(&["sandbox", "exec", sandbox, "sh", "-c", script])
                .ok()
                .to_owned()
        };
        let sees = |host: &Host, sandbox: &str, path: &str, text: &str| {
            let script = format!("cat {path} 2>/dev/null || true");
            wait_for("the file", || (sh(host, sandbox, &script) == text).then_some(()));
        };
        assert_eq!(sh(&host, &one, "cat /mnt/data/seed"), "before");
        sh(
            &host,
            &one,
            "printf one > /mnt/data/shared; ln -s /etc/hostname /mnt/data/link",
        );
        sees(&host, &two, "/data/shared", "one");
        // The link is the guest's: nothing of the host is read by it.
        assert_eq!(own.content(&volume, "GET", "file?path=/link", "").status, 404);

        host.hearth(&["sandbox", "pause", &one]).ok();
        sh(&host, &two, "printf two > /data/shared");
        host.hearth(&["sandbox", "resume", &one]).ok();
        sees(&host, &one, "/mnt/data/shared", "two");

        host.kill_daemon();
        host.up(&options);
        sh(&host, &two, "printf three > /data/shared");
        sees(&host, &one, "/mnt/data/shared", "three");

        let path = format!("/volumes/{}", volume["volumeID"].as_str().unwrap());
        for method in ["GET", "DELETE"] {
            assert_eq!(other.ask(method, &path, &Value::Null).status, 404);
        }
        for sandbox in [&one, &two] {
            own.ask("DELETE", &format!("/sandboxes/{sandbox}"), &Value::Null);
        }
        assert_eq!(own.content(&volume, "GET", "file?path=/shared", "").body, "three");
        assert_eq!(own.ask("DELETE", &path, &Value::Null).status, 204);
        let left = fs::read_dir(host.state_dir().join("volumes")).unwrap();
        assert_eq!(left.count(), 1, "the folder for what is to go alone");
    }
}
