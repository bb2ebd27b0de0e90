//! A store that cannot be written.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use hearth_e2e::HostOptions;

use crate::shop::{answer, host, nothing_left, python};

const PROGRAM: &str = "
def handler(event, context):
    return {'mark': event.get('mark')}
";

/// A small file system of its own, gone with the value.
struct Mount(PathBuf);

impl Mount {
    fn at(folder: &Path) -> Self {
        fs::create_dir(folder).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m,mode=700", "hearth-e2e"])
            .arg(folder)
            .status();
        assert!(mount.unwrap().success());
        Self(folder.to_owned())
    }

    fn again(&self, options: &str) {
        let options = format!("remount,{options}");
        let mount = Command::new("mount").args(["-o", &options]).arg(&self.0).status();
        assert!(mount.unwrap().success());
    }

    /// Takes all the room that there is.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = fs::File::create(&path).unwrap();
        let mut block = 65_536;
        while block > 0 {
            if file.write(&vec![0; block]).is_err() {
                block /= 2;
            }
        }
        path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Who still has files there can write them, and end in order.
        let _ = fs::remove_file(self.0.join("filler"));
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_store_that_cannot_be_written_is_told_and_survived() {
    let options = HostOptions::default();
    let mut host = host(&options);
    python(&host, "steady", PROGRAM, &[]);
    answer(&host, "steady", r#"{"mark":1}"#);
    host.down();
    let mount = Mount::at(&host.folder().join("small"));
    let store = host.state_dir().join("hearth.db");
    let moved = mount.0.join("hearth.db");
    fs::copy(&store, &moved).unwrap();
    fs::remove_file(&store).unwrap();
    symlink(&moved, &store).unwrap();
    host.up(&options);
    assert_eq!(answer(&host, "steady", r#"{"mark":2}"#)["mark"], 2);

    let filler = mount.fill();
    // Each is told why, and none of it is half done.
    let later = host.hearth(&["fn", "invoke", "steady", "--async", "-d", "{}"]);
    later.failed(1, &["cannot be kept now", "full"]);
    host.hearth(&["fn", "config", "steady", "--max", "3"])
        .failed(1, &["full"]);
    assert!(!host.is_dead(), "{}", host.log());
    // What runs needs no store.
    assert_eq!(answer(&host, "steady", r#"{"mark":3}"#)["mark"], 3);
    fs::remove_file(filler).unwrap();
    host.hearth(&["fn", "config", "steady", "--max", "3"]).ok();
    assert_eq!(host.hearth(&["fn", "inspect", "steady"]).json()[0]["scale"]["max"], 3);
    host.hearth(&["fn", "invoke", "steady", "--async", "-d", "{}"]).ok();

    // A file system that can only be read is refused at the start, before anything is touched.
    host.down();
    mount.again("ro");
    let refused = host.hearth(&[
        "up",
        "--state-dir",
        host.state_dir().to_str().unwrap(),
        "--socket",
        host.folder().join("other").to_str().unwrap(),
        "--gateway",
        "127.0.0.1:0",
    ]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("Read-only file system"), "{refused:?}");
    mount.again("rw");
    host.up(&options);
    assert_eq!(answer(&host, "steady", r#"{"mark":4}"#)["mark"], 4);
    nothing_left(&host, &["steady"]);
    host.down();
    drop(mount);
}
