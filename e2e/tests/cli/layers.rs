//! Images over a machine's root.

use hearth_e2e::{BUSYBOX, Host, HostOptions, drivers, wait_for};
use hearth_testkit::images::{File, tar_of};

use crate::{detached, exec};

/// An image of nothing but these files, and of a whiteout for each of these names. Its ID.
fn layer(host: &Host, name: &str, files: &[File<'_>], gone: &[&str]) -> String {
    let mut tar = tar_of(files).unwrap();
    tar.truncate(tar.len() - 1024);
    let mut builder = tar::Builder::new(tar);
    for path in gone {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Char);
        header.set_size(0);
        header.set_mode(0);
        header.set_device_major(0).unwrap();
        header.set_device_minor(0).unwrap();
        builder.append_data(&mut header, path, std::io::empty()).unwrap();
    }
    let path = host.folder().join(name);
    std::fs::write(&path, builder.into_inner().unwrap()).unwrap();
    let path = path.to_str().unwrap().to_owned();
    let ran = host.hearth(&["image", "import", &path, "--name", &format!("test/{name}")]);
    ran.ok().trim().to_owned()
}

/// No request asks for layers by themselves, so a machine is given them in its folder while no daemon looks.
fn put_over(host: &Host, id: &str, layers: &[String]) {
    let path = host.state_dir().join("machines").join(id).join("spec.json");
    let mut spec: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    spec["layers"] = layers.into();
    std::fs::write(&path, serde_json::to_vec(&spec).unwrap()).unwrap();
}

#[test]
fn files_of_an_upper_image_hide_those_below() {
    for driver in drivers() {
        let options = HostOptions::default().arg("--driver").arg(&driver);
        let mut host = Host::with(&options);
        let lower = layer(
            &host,
            "lower",
            &[
                File::plain("var/task/app", b"old"),
                File::plain("var/task/lib/one", b"1"),
                File::plain("etc/group", b"changed\n"),
            ],
            &["bin/env"],
        );
        let upper = layer(&host, "upper", &[File::plain("var/task/app", b"new")], &[]);
        // With a disk of its own and without, since the guest must tell it from the images.
        detached(&host, "disk", &["--disk", "300m"], "exec sleep 1000");
        detached(&host, "none", &[], "exec sleep 1000");
        host.hearth(&["stop", "-t", "1", "disk", "none"]).ok();
        let ids = ["disk", "none"].map(|name| host.inspect(name)["id"].as_str().unwrap().to_owned());
        host.down();
        for id in &ids {
            // As many as there may be: the others change nothing.
            let rest = [upper.clone()].into_iter().cycle().take(6);
            let layers: Vec<String> = [lower.clone()].into_iter().chain(rest).chain([upper.clone()]).collect();
            put_over(&host, id, &layers);
        }
        host.up(&options);
        for machine in ["disk", "none"] {
            host.hearth(&["start", machine]).ok();
            host.wait_for_state(machine, "running");
            let script = "cat /var/task/app /var/task/lib/one /etc/group; cat /etc/passwd | head -n 1; \
                ls /bin/env 2>&1; echo mine > /var/task/app; cat /var/task/app";
            let seen = exec(&host, machine, script);
            let lines: Vec<_> = seen.lines().collect();
            assert_eq!(
                lines[..2],
                ["new1changed", "root:x:0:0:root:/root:/bin/sh"],
                "{machine}: {seen}"
            );
            assert!(lines[2].contains("No such file"), "{machine}: {seen}");
            assert_eq!(lines[3], "mine");
        }
        // Held for as long as there is a machine.
        host.hearth(&["image", "rm", "test/lower"]).failed(1, &["is used by"]);
        host.hearth(&["rm", "-f", "disk", "none"]).ok();
        wait_for("nothing to be left", || host.leftovers().is_empty().then_some(()));
        host.hearth(&["image", "rm", "test/lower", "test/upper"]).ok();
        assert!(host.hearth(&["image", "ls"]).ok().contains(BUSYBOX));
    }
}
