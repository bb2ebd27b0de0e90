//! `cp`: files and folders, both ways.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::{exec, on_each_driver, sleeper};

#[test]
fn files_and_folders_go_both_ways_with_their_modes() {
    on_each_driver(|host| {
        sleeper(host, "m", &[]);
        let here = host.folder().join("tree");
        fs::create_dir_all(here.join("sub")).unwrap();
        fs::write(here.join("sub/program"), "#!/bin/sh\necho ran\n").unwrap();
        fs::set_permissions(here.join("sub/program"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(here.join("big"), vec![7; 3 << 20]).unwrap();
        std::os::unix::fs::symlink("big", here.join("link")).unwrap();
        let path = |name: &str| host.folder().join(name).to_str().unwrap().to_owned();

        host.hearth(&["cp", &path("tree"), "m:/tmp/there"]).ok();
        host.hearth(&["cp", &path("tree/big"), "m:/tmp/"]).ok();
        assert_eq!(
            exec(
                host,
                "m",
                "/tmp/there/sub/program; busybox readlink /tmp/there/link; busybox stat -c %s /tmp/big"
            ),
            "ran\nbig\n3145728"
        );

        host.hearth(&["cp", "m:/tmp/there", &path("back")]).ok();
        let mode = fs::metadata(host.folder().join("back/sub/program"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o755);
        assert_eq!(fs::read(host.folder().join("back/big")).unwrap(), vec![7; 3 << 20]);
        assert_eq!(
            fs::read_link(host.folder().join("back/link")).unwrap().to_str(),
            Some("big")
        );
        host.hearth(&["cp", "m:/etc/passwd", &path("passwd")]).ok();
        assert!(
            fs::read_to_string(host.folder().join("passwd"))
                .unwrap()
                .starts_with("root:")
        );

        host.hearth(&["cp", "m:/absent", &path("x")]).failed(1, &["/absent"]);
        host.hearth(&["cp", &path("absent"), "m:/tmp"])
            .failed(1, &["absent", "does not exist"]);
        host.hearth(&["cp", "m:/tmp/a", "m:/tmp/b"])
            .failed(1, &["one side must be here"]);
    });
}

#[test]
fn a_dash_is_a_tar() {
    on_each_driver(|host| {
        sleeper(host, "m", &[]);
        exec(
            host,
            "m",
            "mkdir -p /tmp/there/sub; echo content > /tmp/there/sub/file; busybox ln -s there /tmp/link",
        );
        let output = host.command(&["cp", "m:/tmp/there", "-"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let mut archive = tar::Archive::new(&output.stdout[..]);
        let mut names: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        names.sort();
        let last = names.last().unwrap();
        assert!(last.ends_with("there/sub/file"), "{names:?}");
        host.hearth_with(&["cp", "-", "m:/root"], &output.stdout).ok();
        assert_eq!(exec(host, "m", "cat /root/there/sub/file"), "content");
        host.hearth_with(&["cp", "-", "m:/tmp"], b"no tar at all")
            .failed(1, &["archive"]);
        host.hearth_with(&["cp", "-", "m:/absent"], &output.stdout)
            .failed(1, &["/absent"]);
        host.hearth(&["cp", "-", "-"]).failed(1, &["MACHINE:PATH"]);

        let path = |name: &str| host.folder().join(name).to_str().unwrap().to_owned();
        fs::create_dir_all(host.folder().join("own/inner")).unwrap();
        fs::write(host.folder().join("own/inner/x"), "x").unwrap();
        host.hearth(&["cp", &format!("{}/.", path("own")), "m:/tmp/there"]).ok();
        assert_eq!(exec(host, "m", "cat /tmp/there/inner/x"), "x", "/. is what is inside");
        host.hearth(&["cp", &path("own"), "m:/tmp/link/"]).ok();
        assert_eq!(
            exec(host, "m", "cat /tmp/there/own/inner/x"),
            "x",
            "links to folders are folders"
        );
        host.hearth(&["cp", &path("own"), "m:/tmp/nowhere/"])
            .failed(1, &["/tmp/nowhere/"]);
        host.hearth(&["cp", "m:/tmp/there", &format!("{}/", path("nowhere"))])
            .failed(1, &["nowhere/ does not exist"]);
    });
}
