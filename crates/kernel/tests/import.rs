//! Importing the real Debian cloud kernel, and things that pretend to be one.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use hearth_kernel::{Bundle, Compression, ErrorKind, FileInputs, KernelError, KernelProgress, KernelStore};
use hearth_testkit::kernel::debian_kernel_deb;

fn store() -> (tempfile::TempDir, KernelStore) {
    let root = tempfile::tempdir().unwrap();
    let store = KernelStore::open(root.path()).unwrap();
    (root, store)
}

fn import(store: &KernelStore, deb: &Path) -> Result<Bundle, KernelError> {
    store.import_deb(deb, &mut |_| {})
}

fn position(bundle: &Bundle, name: &str) -> usize {
    bundle
        .modules
        .iter()
        .position(|module| module.name == name)
        .unwrap_or_else(|| panic!("{name} is not a module"))
}

#[test]
fn debians_kernel_becomes_a_bundle() {
    let (root, store) = store();
    let mut reports = Vec::new();
    let bundle = store
        .import_deb(&debian_kernel_deb(), &mut |report| reports.push(report))
        .unwrap();

    assert!(bundle.version.ends_with("-cloud-amd64"), "{}", bundle.version);
    assert!(bundle.pvh);
    assert!((32..128).contains(&bundle.memory_min_mib().unwrap()));
    assert!(bundle.builtins.iter().any(|name| name == "ext4"));
    for (before, after) in [
        ("virtio_ring", "virtio_mmio"),
        ("virtio", "virtio_blk"),
        ("libcrc32c", "erofs"),
        ("net_failover", "virtio_net"),
        ("failover", "net_failover"),
    ] {
        assert!(
            position(&bundle, before) < position(&bundle, after),
            "{before} before {after}"
        );
    }
    assert!(!bundle.modules[position(&bundle, "overlay")].optional);
    assert!(bundle.modules[position(&bundle, "virtio_balloon")].optional);
    assert!(matches!(reports.first(), Some(KernelProgress::Reading { .. })));
    assert_eq!(reports.last(), Some(&KernelProgress::Storing));

    // The first is the default; the same again is the same bundle; nothing is left in tmp.
    assert_eq!(store.default_bundle().unwrap().id, bundle.id);
    assert_eq!(import(&store, &debian_kernel_deb()).unwrap().made_at, bundle.made_at);
    assert_eq!(fs::read_dir(root.path().join("tmp")).unwrap().count(), 0);

    let folder = bundle.folder();
    for module in &bundle.modules {
        assert_eq!(
            fs::metadata(folder.join("modules").join(&module.file)).unwrap().len(),
            module.bytes
        );
    }
    assert_eq!(&fs::read(&bundle.vmlinux).unwrap()[..4], b"\x7FELF");
}

#[test]
fn the_load_order_is_the_one_that_depmod_gives() {
    let (_root, store) = store();
    let bundle = import(&store, &debian_kernel_deb()).unwrap();
    let unpacked = unpack(&debian_kernel_deb());
    let depmod = Command::new("depmod")
        .arg("-b")
        .arg(unpacked.path())
        .arg(&bundle.version)
        .status();
    if !depmod.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: depmod");
        return;
    }
    let path = unpacked
        .path()
        .join("lib/modules")
        .join(&bundle.version)
        .join("modules.dep");
    let name = |path: &str| {
        path.rsplit('/')
            .next()
            .unwrap()
            .trim_end_matches(".ko")
            .replace('-', "_")
    };
    for line in fs::read_to_string(path).unwrap().lines() {
        let (module, dependencies) = line.split_once(':').unwrap();
        let Some(at) = bundle.modules.iter().position(|found| found.name == name(module)) else {
            continue;
        };
        for dependency in dependencies.split_whitespace() {
            assert!(
                position(&bundle, &name(dependency)) < at,
                "{dependency} before {module}"
            );
        }
    }
}

fn unpack(deb: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    assert!(
        Command::new("dpkg-deb")
            .arg("-x")
            .arg(deb)
            .arg(folder.path())
            .status()
            .unwrap()
            .success()
    );
    folder
}

#[test]
fn plain_files_give_the_same_bundle_even_with_compressed_modules() {
    let (_root, store) = store();
    let from_deb = import(&store, &debian_kernel_deb()).unwrap();
    let unpacked = unpack(&debian_kernel_deb());
    let inputs = FileInputs {
        vmlinuz: unpacked
            .path()
            .join("boot")
            .join(format!("vmlinuz-{}", from_deb.version)),
        modules: Some(unpacked.path().join("lib/modules").join(&from_deb.version)),
        config: None,
    };
    let kernel = inputs.modules.as_ref().unwrap().join("kernel");
    for (program, suffix, module) in [
        ("xz", "xz", "fs/erofs/erofs.ko"),
        ("zstd", "zst", "fs/overlayfs/overlay.ko"),
        ("gzip", "gz", "drivers/virtio/virtio.ko"),
    ] {
        let path = kernel.join(module);
        // The way that kernels are built: xz with a CRC32.
        let options: &[&str] = if program == "xz" {
            &["--check=crc32", "-q"]
        } else {
            &["-q"]
        };
        assert!(
            Command::new(program)
                .args(options)
                .arg(&path)
                .status()
                .unwrap()
                .success(),
            "{program}"
        );
        if program == "zstd" {
            fs::remove_file(&path).unwrap();
        }
        assert!(path.with_extension(format!("ko.{suffix}")).exists());
    }
    let from_files = store.import_files(&inputs, &mut |_| {}).unwrap();
    assert_eq!(from_files.id, from_deb.id);

    // A needed driver is gone: said by name and option.
    fs::remove_file(kernel.join("fs/erofs/erofs.ko.xz")).unwrap();
    let error = store.import_files(&inputs, &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let message = error.to_string();
    assert!(
        message.contains("lacks erofs") && message.contains("CONFIG_EROFS_FS"),
        "{message}"
    );

    // A dependency is gone.
    fs::rename(
        kernel.join("fs/overlayfs/overlay.ko.zst"),
        kernel.join("fs/erofs.ko.zst"),
    )
    .unwrap();
    fs::remove_file(kernel.join("drivers/virtio/virtio_ring.ko")).unwrap();
    let error = store.import_files(&inputs, &mut |_| {}).unwrap_err();
    assert!(
        matches!(&error, KernelError::MissingDependency { dependency, .. } if dependency == "virtio_ring"),
        "{error}"
    );

    // Without its modules folder the kernel lacks most of what is needed; with nothing at all, nobody knows.
    let config = unpacked
        .path()
        .join("boot")
        .join(format!("config-{}", from_deb.version));
    let bare = FileInputs {
        modules: None,
        config: Some(config),
        ..inputs.clone()
    };
    assert!(
        store
            .import_files(&bare, &mut |_| {})
            .unwrap_err()
            .to_string()
            .contains("virtio_mmio")
    );
    let unknown = FileInputs { config: None, ..bare };
    assert!(matches!(
        store.import_files(&unknown, &mut |_| {}),
        Err(KernelError::UnknownDrivers { .. })
    ));
}

#[test]
fn the_initramfs_follows_the_agent() {
    let (root, store) = store();
    let bundle = import(&store, &debian_kernel_deb()).unwrap();
    let busybox = fs::read("/bin/busybox").unwrap();
    let first = store.ensure_initramfs(&bundle, &busybox).unwrap();
    let made = fs::metadata(&first).unwrap().modified().unwrap();
    assert_eq!(store.ensure_initramfs(&bundle, &busybox).unwrap(), first);
    for path in [bundle.folder(), &first] {
        let granted = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(granted & 0o044, 0o044, "a VMM of another user reads {}", path.display());
    }
    assert_eq!(fs::metadata(&first).unwrap().modified().unwrap(), made);
    let agent = fs::read("/bin/true").unwrap();
    let second = store.ensure_initramfs(&bundle, &agent).unwrap();
    assert!(second.exists() && !first.exists());
    let digest = store.get(&bundle.id).unwrap().agent_digest.unwrap();
    assert!(second.to_str().unwrap().ends_with(&digest));
    assert_eq!(
        store.ensure_initramfs(&bundle, b"").unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    for format in [Compression::Gzip, Compression::Zstd, Compression::Lz4] {
        assert!(store.render_initramfs(&bundle, &agent, format).unwrap().len() > 100_000);
    }

    // Changed modules are noticed before they are booted.
    let module = bundle.folder().join("modules").join(&bundle.modules[0].file);
    fs::write(module, b"other").unwrap();
    assert_eq!(
        store.ensure_initramfs(&bundle, &busybox).unwrap_err().kind(),
        ErrorKind::Internal
    );
    drop(root);
}

#[test]
fn bundles_are_found_kept_and_removed() {
    let (root, store) = store();
    assert!(store.default_bundle().is_none() && store.list().is_empty());
    assert_eq!(store.get("6.1").unwrap_err().kind(), ErrorKind::NotFound);
    let bundle = import(&store, &debian_kernel_deb()).unwrap();
    for wanted in [bundle.id.as_str(), &bundle.id[..6], &bundle.version] {
        assert_eq!(store.get(wanted).unwrap().id, bundle.id);
    }
    assert_eq!(store.set_default(bundle.short_id()).unwrap().id, bundle.id);
    assert!(store.get("../tmp").is_err() && store.get("").is_err());

    let error = store.remove(&bundle.id, |_| vec!["mch01".to_owned()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert!(error.to_string().contains("mch01"));

    // A bundle that lost a file is not offered, says so, and can be removed.
    fs::write(&bundle.vmlinux, b"cut").unwrap();
    assert!(store.list().is_empty() && store.default_bundle().is_none());
    assert!(store.get(&bundle.id).unwrap_err().to_string().contains("damaged"));
    let again = import(&store, &debian_kernel_deb()).unwrap();
    assert_eq!(again.id, bundle.id);

    store.remove(&bundle.version, |_| Vec::new()).unwrap();
    assert!(store.list().is_empty() && !bundle.folder().exists());
    assert_eq!(fs::read_dir(root.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn leftovers_of_a_killed_import_are_removed_when_nobody_else_imports() {
    let root = tempfile::tempdir().unwrap();
    let first = KernelStore::open(root.path()).unwrap();
    let leftover = root.path().join("tmp/import-x");
    fs::create_dir(&leftover).unwrap();
    let second = KernelStore::open(root.path()).unwrap();
    assert!(leftover.exists(), "another process may be writing it");
    drop((first, second));
    let _third = KernelStore::open(root.path()).unwrap();
    assert!(!leftover.exists());
}

#[test]
fn damaged_packages_are_refused() {
    let (root, store) = store();
    let whole = fs::read(debian_kernel_deb()).unwrap();
    let path = root.path().join("bad.deb");
    let refuse = |bytes: &[u8], expected: &str| {
        fs::write(&path, bytes).unwrap();
        let error = import(&store, &path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    };
    refuse(b"", "not a Debian package");
    refuse(b"!<arch>\n", "no data.tar");
    refuse(&whole[..100], "no data.tar");
    refuse(&whole[..whole.len() / 50], "damaged or cut short");
    refuse(&whole[..whole.len() / 2], "damaged or cut short");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 0xFF;
    refuse(&flipped, "damaged or cut short");
    assert_eq!(
        import(&store, Path::new("/nonexistent.deb")).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(fs::read_dir(root.path().join("tmp")).unwrap().count(), 0);
}
