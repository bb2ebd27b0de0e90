//! Packages made to do harm, a full disk, and imports at the same time.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hearth_kernel::{ErrorKind, KernelError, KernelStore};
use hearth_testkit::kernel::debian_kernel_deb;

/// A `.deb` whose data archive has these files; names are written as they are.
fn deb(folder: &Path, files: &[(&str, &[u8])]) -> PathBuf {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, body) in files {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(body.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, *body).unwrap();
    }
    write_deb(folder, "data.tar", &builder.into_inner().unwrap())
}

fn write_deb(folder: &Path, member: &str, data: &[u8]) -> PathBuf {
    let mut bytes = b"!<arch>\n".to_vec();
    bytes.extend_from_slice(format!("{member:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 644, data.len()).as_bytes());
    bytes.extend_from_slice(data);
    let path = folder.join("made.deb");
    fs::write(&path, bytes).unwrap();
    path
}

fn refused(store: &KernelStore, deb: &Path) -> KernelError {
    let error = store.import_deb(deb, &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    error
}

#[test]
fn no_name_of_a_package_reaches_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let store = KernelStore::open(&folder.path().join("store")).unwrap();
    let evil = deb(
        folder.path(),
        &[
            ("../../../../../../tmp/hearth-evil", b"x"),
            ("/tmp/hearth-evil", b"x"),
            ("lib/modules/../../../../../tmp/hearth-evil.ko", b"x"),
            ("lib/modules/1/kernel/../../hearth-evil.ko", b"x"),
            ("boot/vmlinuz-../../../tmp/hearth-evil", b"not a kernel"),
        ],
    );
    assert!(refused(&store, &evil).to_string().contains("no x86 boot header"));
    assert!(!Path::new("/tmp/hearth-evil").exists() && !Path::new("/tmp/hearth-evil.ko").exists());
    assert_eq!(fs::read_dir(folder.path().join("store/tmp")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(folder.path().join("store/bundles")).unwrap().count(), 0);
}

#[test]
fn packages_without_a_kernel_and_of_unknown_form_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = KernelStore::open(&folder.path().join("store")).unwrap();
    let meta = deb(folder.path(), &[("usr/share/doc/linux-image/copyright", b"x")]);
    assert!(refused(&store, &meta).to_string().contains("not the meta package"));
    let unknown = write_deb(folder.path(), "data.tar.br", b"");
    assert!(refused(&store, &unknown).to_string().contains("unknown compression"));
    for (member, data) in [
        ("data.tar.xz", "garbage"),
        ("data.tar.zst", "garbage"),
        ("data.tar.gz", ""),
        ("data.tar", "x"),
    ] {
        refused(&store, &write_deb(folder.path(), member, data.as_bytes()));
    }
}

#[test]
fn a_package_that_unpacks_without_end_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = KernelStore::open(&folder.path().join("store")).unwrap();
    let zeros = vec![0; 17 << 20];
    let large = deb(folder.path(), &[("boot/config-1", &zeros)]);
    assert!(matches!(refused(&store, &large), KernelError::TooLarge { .. }));
    let list = deb(folder.path(), &[("lib/modules/1/modules.builtin", &zeros)]);
    assert!(matches!(refused(&store, &list), KernelError::TooLarge { .. }));
    let module = vec![0; 65 << 20];
    let large = deb(folder.path(), &[("lib/modules/1/kernel/a.ko", &module)]);
    assert!(matches!(refused(&store, &large), KernelError::TooLarge { .. }));

    // A long name (GNU's `L`) of megabytes.
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(zeros.len() as u64);
    header.set_cksum();
    builder.append(&header, &zeros[..]).unwrap();
    let long = write_deb(folder.path(), "data.tar", &builder.into_inner().unwrap());
    assert!(matches!(refused(&store, &long), KernelError::TooLarge { .. }));
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
        .arg(folder.path())
        .output();
    if !mount.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: the right to mount");
        return;
    }
    let error = KernelStore::open(folder.path()).and_then(|store| store.import_deb(&debian_kernel_deb(), &mut |_| {}));
    let left = fs::read_dir(folder.path().join("tmp")).unwrap().count();
    assert!(Command::new("umount").arg(folder.path()).status().unwrap().success());
    let error = error.unwrap_err();
    assert_eq!((error.kind(), left), (ErrorKind::NoSpace, 0), "{error}");
}

#[test]
fn two_imports_of_one_kernel_give_one_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let store = KernelStore::open(folder.path()).unwrap();
    let deb = debian_kernel_deb();
    let ids: Vec<_> = std::thread::scope(|scope| {
        let imports = [(); 2].map(|()| scope.spawn(|| store.import_deb(&deb, &mut |_| {}).unwrap().id));
        imports.map(|import| import.join().unwrap()).into()
    });
    assert_eq!(ids[0], ids[1]);
    assert_eq!(store.list().len(), 1);
    assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
}
