//! Images: from registries, layouts, archives and root tars.

use std::{fs, process::Command};

use hearth_e2e::{BUSYBOX, Host, HostOptions, PYTHON, skip};
use hearth_testkit::{
    images::{Image, Layout},
    registry::{Registry, RegistryOptions},
};

use crate::{on_each_driver, sleeper};

fn layout(host: &Host, marker: &str) -> Layout {
    let image = Image::busybox(marker).unwrap();
    Layout::with_image(&host.folder().join(marker), &image, "latest").unwrap()
}

#[test]
fn a_private_registry_is_pulled_from_and_run() {
    let login = Some(("me".to_owned(), "secret".to_owned()));
    let Some(registry) = Registry::start(RegistryOptions {
        tls: true,
        login,
        ..RegistryOptions::default()
    })
    .unwrap() else {
        return;
    };
    let host = Host::with(
        &HostOptions::default()
            .arg("--registry-ca")
            .arg(registry.ca_file().to_str().unwrap()),
    );
    registry
        .push(layout(&host, "pulled").folder(), "latest", "team/app:1")
        .unwrap();
    let reference = format!("{}/team/app:1", registry.host());
    host.hearth(&["image", "pull", &reference])
        .failed(1, &[&registry.host(), "refused"]);
    let config = host.folder().join("docker");
    fs::create_dir(&config).unwrap();
    // "me:secret"
    let auths = serde_json::json!({"auths": {registry.host(): {"auth": "bWU6c2VjcmV0"}}});
    fs::write(config.join("config.json"), auths.to_string()).unwrap();
    let args = ["run", "--rm", &reference, "cat", "/marker"];
    let ran = host.command(&args).env("DOCKER_CONFIG", &config).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "pulled", "{ran:?}");
    let absent = format!("{}/team/app:absent", registry.host());
    let ran = host
        .command(&["image", "pull", &absent])
        .env("DOCKER_CONFIG", &config)
        .output()
        .unwrap();
    assert!(
        ran.status.code() == Some(1) && String::from_utf8_lossy(&ran.stderr).contains("absent"),
        "{ran:?}"
    );
    host.hearth(&["image", "pull", "nowhere.invalid/a:1"])
        .failed(1, &["nowhere.invalid", "dns"]);
}

#[test]
fn layouts_and_archives_are_imported() {
    let host = Host::start();
    let layout = layout(&host, "imported");
    let import =
        |path: &str, kind: &str, name: &str| host.hearth(&["image", "import", path, "--kind", kind, "--name", name]);
    import(layout.folder().to_str().unwrap(), "oci", "folder:1").ok();
    let tar = host.folder().join("layout.tar");
    fs::write(&tar, layout.to_tar().unwrap()).unwrap();
    import(tar.to_str().unwrap(), "oci", "tar:1").ok();
    let shown = host.hearth(&["image", "inspect", "folder:1", "tar:1"]).json();
    assert_eq!(shown[0]["id"], shown[1]["id"], "what is the same is kept once");
    assert_eq!(
        host.hearth(&["run", "--rm", "tar:1", "cat", "/marker"]).ok(),
        "imported"
    );
    let archive = host.folder().join("docker.tar");
    let source = format!("oci:{}:latest", layout.folder().display());
    match Command::new("skopeo")
        .args([
            "copy",
            "--quiet",
            &source,
            &format!("docker-archive:{}:x:1", archive.display()),
        ])
        .status()
    {
        Ok(status) if status.success() => drop(import(archive.to_str().unwrap(), "docker", "docker:1").ok().to_owned()),
        _ => skip("docker archives: skopeo is not installed"),
    }
    let mut foreign = Image::busybox("foreign").unwrap();
    foreign.architecture = "riscv64".to_owned();
    let foreign = Layout::with_image(&host.folder().join("foreign"), &foreign, "latest").unwrap();
    import(foreign.folder().to_str().unwrap(), "oci", "foreign:1").failed(1, &["riscv64", "amd64"]);
    fs::write(&tar, hearth_testkit::images::busybox_root().unwrap()).unwrap();
    import(tar.to_str().unwrap(), "root", "no-command:1").ok();
    host.hearth(&["run", "--rm", "no-command:1"])
        .failed(125, &["no-command:1", "command"]);
    fs::write(&tar, "no tar at all").unwrap();
    import(tar.to_str().unwrap(), "root", "nonsense:1").failed(1, &["tar"]);
}

#[test]
fn images_go_when_nothing_uses_them() {
    on_each_driver(|host| {
        let table = host.hearth(&["image", "ls"]).stdout;
        assert!(
            table.contains("test/busybox:latest") && table.contains("test/python:latest"),
            "{table}"
        );
        assert_eq!(host.hearth(&["image", "ls", "-q"]).ok().lines().count(), 2);
        sleeper(host, "user", &[]);
        host.hearth(&["image", "rm", BUSYBOX]).failed(1, &["used by user;"]);
        let kernel = host.hearth(&["kernel", "ls", "--json"]).json()[0]["id"].clone();
        host.hearth(&["kernel", "rm", kernel.as_str().unwrap()])
            .failed(1, &["in use by user;"]);
        host.hearth(&["image", "prune", "--all"]).ok();
        assert_eq!(
            host.hearth(&["image", "ls", "--json"]).json().as_array().unwrap().len(),
            1
        );
        host.hearth(&["image", "rm", PYTHON]).failed(1, &["python"]);
        host.hearth(&["rm", "-f", "user"]).ok();
        host.hearth(&["image", "rm", BUSYBOX]).ok();
        host.hearth(&["run", "--rm", "nowhere.invalid/no/such:image"])
            .failed(125, &["nowhere.invalid"]);
    });
}

#[test]
fn an_import_takes_changes_as_in_a_dockerfile() {
    let host = Host::start();
    let root = host.folder().join("root.tar");
    fs::write(&root, hearth_testkit::images::busybox_root().unwrap()).unwrap();
    let import = |changes: &[&str]| {
        let mut args = vec!["image", "import", root.to_str().unwrap(), "--name", "changed:1"];
        args.extend(changes.iter().flat_map(|change| ["--change", *change]));
        host.hearth(&args)
    };
    import(&[
        r#"ENTRYPOINT ["sh", "-c"]"#,
        r#"CMD ["echo $(id -un) $PWD $A"]"#,
        r#"ENV A="two words""#,
        "USER nobody",
        "WORKDIR /tmp",
    ])
    .ok();
    assert_eq!(host.hearth(&["run", "--rm", "changed:1"]).ok(), "nobody /tmp two words");
    import(&["RUN true"]).failed(1, &["RUN", "ENTRYPOINT"]);
}
