//! Archives of every kind, and hostile ones.

use std::path::{Path, PathBuf};
use std::process::Command;

use hearth_image::{
    ConfigOverrides, ErrorKind, ImageError, ImageRecord, ImportKind, ImportOptions, ImportSource, ProgressSink,
};
use hearth_testkit::images::{File, Image, Layout, busybox_root, gzip, sha256_hex, tar_of};
use serde_json::json;

use crate::support::{Bench, assert_kind, read_from_root, reference};

async fn import(bench: &Bench, path: &Path, options: ImportOptions) -> Result<ImageRecord, ImageError> {
    bench
        .store
        .import(ImportSource::Path(path.to_owned()), options, ProgressSink::none())
        .await
}

fn write(bench: &Bench, name: &str, bytes: &[u8]) -> PathBuf {
    let path = bench.folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_image_has_one_id_however_it_is_packed() {
    let bench = Bench::new().await;
    let layout = bench.layout(&Image::busybox("packed").unwrap(), "packed:1");
    let record = import(&bench, layout.folder(), ImportOptions::default()).await.unwrap();
    assert_eq!(record.names, [reference("packed:1")]);
    let root = bench.store.hold(&record.id, "mch1").unwrap().root_path;
    if let Some(marker) = read_from_root(&root, "marker") {
        assert_eq!(marker, b"packed");
    }
    let tar = layout.to_tar().unwrap();
    let zstd = zstd::encode_all(tar.as_slice(), 1).unwrap();
    for (name, bytes) in [
        ("l.tar", tar.clone()),
        ("l.tar.gz", gzip(&tar).unwrap()),
        ("l.tar.zst", zstd),
    ] {
        let other = Bench::new().await;
        let path = write(&other, name, &bytes);
        let again = import(&other, &path, ImportOptions::default()).await.unwrap();
        assert_eq!((again.id, again.names), (record.id, record.names.clone()), "{name}");
        other.assert_nothing_in_the_making();
    }
    let stream = ImportSource::Stream(Box::pin(std::io::Cursor::new(tar)));
    let other = Bench::new().await;
    let again = other
        .store
        .import(stream, ImportOptions::default(), ProgressSink::none())
        .await
        .unwrap();
    assert_eq!(again.id, record.id);
    other.assert_nothing_in_the_making();
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_archives_are_read_new_and_old() {
    let bench = Bench::new().await;
    let image = Image::busybox("saved").unwrap();
    let layout = bench.layout(&image, "x");
    let archive = bench.folder.path().join("saved.tar");
    let copied = Command::new("skopeo")
        .args(["copy", "--quiet", &format!("oci:{}:x", layout.folder().display())])
        .arg(format!("docker-archive:{}:team/saved:2", archive.display()))
        .status();
    if copied.is_ok_and(|status| status.success()) {
        let record = import(&bench, &archive, ImportOptions::default()).await.unwrap();
        assert_eq!(record.names, [reference("team/saved:2")]);
        assert_eq!(record.config.cmd, ["/bin/sh"]);
    } else {
        eprintln!("SKIPPED: skopeo is not installed");
    }
    let old = write(&bench, "old.tar", &old_docker_archive(&image, "old:1"));
    let record = import(&bench, &old, ImportOptions::default()).await.unwrap();
    assert_eq!(record.names, [reference("old:1")]);
    let root = bench.store.hold(&record.id, "mch1").unwrap().root_path;
    if let Some(marker) = read_from_root(&root, "marker") {
        assert_eq!(marker, b"saved");
    }
}

/// As docker wrote them for years: a folder a layer, and links where a layer comes twice.
fn old_docker_archive(image: &Image, name: &str) -> Vec<u8> {
    let layers = [&image.layers[0], &image.layers[1], &image.layers[1]];
    let diff_ids = layers.map(|layer| format!("sha256:{}", sha256_hex(layer)));
    let config = json!({"architecture": image.architecture, "os": "linux", "config": image.config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = config.to_string();
    let config_name = format!("{}.json", sha256_hex(config.as_bytes()));
    let folders = ["a", "b", "c"].map(|letter| letter.repeat(64));
    let names = folders.each_ref().map(|folder| format!("{folder}/layer.tar"));
    let manifest = json!([{"Config": config_name, "RepoTags": [name], "Layers": names}]).to_string();
    let first = tar_of(&[
        File::plain(&names[0], layers[0]),
        File::plain(&names[1], layers[1]),
        File::plain(&config_name, config.as_bytes()),
        File::plain("manifest.json", manifest.as_bytes()),
    ])
    .unwrap();
    let mut builder = tar::Builder::new(first[..first.len() - 1024].to_vec());
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    builder
        .append_link(&mut link, &names[2], format!("../{}", names[1]))
        .unwrap();
    builder.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_file_system_becomes_an_image_with_the_settings_given() {
    let bench = Bench::new().await;
    let tar = busybox_root().unwrap();
    let overrides = ConfigOverrides {
        cmd: Some(vec!["/bin/sh".into(), "-c".into(), "echo hi".into()]),
        env: vec!["A=1".into()],
        user: Some("nobody".into()),
        ..ConfigOverrides::default()
    };
    let options = ImportOptions {
        name: Some(reference("root:1")),
        overrides,
        ..ImportOptions::default()
    };
    let mut ids = Vec::new();
    let zstd = zstd::encode_all(tar.as_slice(), 1).unwrap();
    for (name, bytes) in [
        ("r.tar", tar.clone()),
        ("r.tar.gz", gzip(&tar).unwrap()),
        ("r.tar.zst", zstd),
        ("r.tar.xz", xz(&tar)),
    ] {
        let path = write(&bench, name, &bytes);
        let record = import(&bench, &path, options.clone()).await.unwrap();
        assert_eq!(record.names, [reference("root:1")]);
        assert_eq!(record.config.user, "nobody");
        assert!(record.config.env.contains(&"A=1".to_owned()) && record.config.env.len() == 2);
        ids.push(record.id);
    }
    assert!(ids.iter().all(|id| *id == ids[0]));
    let wrong = ImportOptions {
        overrides: ConfigOverrides {
            env: vec!["A".into()],
            ..Default::default()
        },
        ..options
    };
    assert_kind(
        import(&bench, &bench.folder.path().join("r.tar"), wrong).await,
        ErrorKind::InvalidInput,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_several_images_is_refused_with_their_names() {
    let bench = Bench::new().await;
    let mut layout = bench.layout(&Image::busybox("one").unwrap(), "one:1");
    let two = layout.add_image(&Image::busybox("two").unwrap()).unwrap();
    layout.tag(two, "two:1").unwrap();
    let error = assert_kind(
        import(&bench, layout.folder(), ImportOptions::default()).await,
        ErrorKind::InvalidInput,
    );
    assert!(error.to_string().contains("one:1, two:1"), "{error}");
    bench.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_image_is_refused() {
    let bench = Bench::new().await;
    let text = write(&bench, "text", b"not an archive");
    let empty = write(&bench, "empty", b"");
    let packed = write(&bench, "packed.gz", &gzip(b"not an archive either").unwrap());
    let folder = bench.folder.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    for path in [&text, &empty, &packed, &folder, Path::new("/dev/zero")] {
        assert_kind(
            import(&bench, path, ImportOptions::default()).await,
            ErrorKind::InvalidInput,
        );
    }
    assert_kind(
        import(&bench, &bench.folder.path().join("absent"), ImportOptions::default()).await,
        ErrorKind::NotFound,
    );
    let root = write(&bench, "root.tar", &busybox_root().unwrap());
    let docker = ImportOptions {
        kind: Some(ImportKind::DockerArchive),
        ..ImportOptions::default()
    };
    assert_kind(import(&bench, &root, docker).await, ErrorKind::InvalidInput);
    bench.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_archives_are_refused_whole() {
    let bench = Bench::new().await;
    let secret = json!([{"Config": "/etc/passwd", "RepoTags": null, "Layers": ["../../../../etc/shadow"]}]).to_string();
    let outside = write(
        &bench,
        "outside.tar",
        &tar_of(&[File::plain("manifest.json", secret.as_bytes())]).unwrap(),
    );
    let error = assert_kind(
        import(&bench, &outside, ImportOptions::default()).await,
        ErrorKind::InvalidInput,
    );
    assert!(error.to_string().contains("has no /etc/passwd"), "{error}");

    let layout = bench.layout(&Image::busybox("hostile").unwrap(), "x:1");
    let link = layout.blob(&sha256_hex(
        &gzip(&Image::busybox("hostile").unwrap().layers[1]).unwrap(),
    ));
    let layer = std::fs::read(&link).unwrap();
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
    import(&bench, layout.folder(), ImportOptions::default())
        .await
        .expect_err("a link");
    std::fs::remove_file(&link).unwrap();
    let mut damaged = layer;
    let last = damaged.len() - 5;
    damaged[last] ^= 1;
    std::fs::write(&link, damaged).unwrap();
    assert_kind(
        import(&bench, layout.folder(), ImportOptions::default()).await,
        ErrorKind::Corrupt,
    );

    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..10].copy_from_slice(b"../escaped");
    header.set_size(0);
    header.set_cksum();
    builder.append(&header, std::io::empty()).unwrap();
    let escaping = write(&bench, "escape.tar", &builder.into_inner().unwrap());
    assert_kind(
        import(&bench, &escaping, ImportOptions::default()).await,
        ErrorKind::InvalidInput,
    );
    bench.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_for_another_architecture_is_refused() {
    let bench = Bench::new().await;
    let image = Image {
        architecture: "s390x".into(),
        ..Image::busybox("foreign").unwrap()
    };
    let layout = Layout::with_image(&bench.folder.path().join("foreign"), &image, "x").unwrap();
    assert_kind(
        import(&bench, layout.folder(), ImportOptions::default()).await,
        ErrorKind::InvalidInput,
    );
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut child = Command::new("xz")
        .arg("-1")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("xz (xz-utils) is installed");
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(bytes).unwrap());
        child.wait_with_output().unwrap().stdout
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_archive_is_refused_by_the_name_that_the_user_knows() {
    let bench = Bench::new().await;
    let bytes = b"this is no tar".repeat(100);
    let path = write(&bench, "notes.txt", &bytes);
    let error = assert_kind(
        import(&bench, &path, ImportOptions::default()).await,
        ErrorKind::InvalidInput,
    );
    assert!(error.to_string().contains("notes.txt is neither"), "{error}");
    for bytes in [bytes.clone(), gzip(&bytes).unwrap(), b"BZh91AY".repeat(100)] {
        let stream = ImportSource::Stream(Box::pin(std::io::Cursor::new(bytes)));
        let imported = bench
            .store
            .import(stream, ImportOptions::default(), ProgressSink::none());
        let error = assert_kind(imported.await, ErrorKind::InvalidInput).to_string();
        assert!(error.starts_with("the uploaded archive is "), "{error}");
    }
    bench.assert_empty();
}
