//! Layers over layers: whiteouts, opaque folders, replacements; `umoci` is the oracle.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test that cannot go on shall stop"
)]

mod common;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::Write,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    process::Command,
};

use common::{
    archive::{Archive, Entry},
    tree::{self, Tree},
};
use hearth_erofs::{BuildError, LayerCompression, Limits, Refusal};
use proptest::{collection, prelude::*};

#[derive(Debug, Clone)]
enum Operation {
    Folder(String, u32),
    File(String, Vec<u8>),
    Symlink(String, String),
    HardLink(String, String),
    Whiteout(String, String),
    Opaque(String),
}

fn path() -> impl Strategy<Value = String> {
    collection::vec(prop_oneof![Just("a"), Just("b"), Just("c")], 1..4).prop_map(|parts| parts.join("/"))
}

fn parent() -> impl Strategy<Value = String> {
    prop_oneof![1 => Just(String::new()), 3 => path().prop_map(|path| path + "/")]
}

fn operation() -> impl Strategy<Value = Operation> {
    let name = prop_oneof![Just("a"), Just("b"), Just("c")].prop_map(str::to_owned);
    let target = prop_oneof![
        path(),
        path().prop_map(|path| format!("/{path}")),
        Just("nowhere".to_owned())
    ];
    prop_oneof![
        6 => (path(), 0_u32..0o1000).prop_map(|(path, mode)| Operation::Folder(path, mode)),
        6 => (path(), collection::vec(any::<u8>(), 0..20)).prop_map(|(path, data)| Operation::File(path, data)),
        1 => (path(), target).prop_map(|(path, target)| Operation::Symlink(path, target)),
        2 => (path(), path()).prop_map(|(path, target)| Operation::HardLink(path, target)),
        3 => (parent(), name).prop_map(|(parent, name)| Operation::Whiteout(parent, name)),
        1 => parent().prop_map(Operation::Opaque),
    ]
}

fn layer(operations: &[Operation]) -> Vec<u8> {
    let add = |archive: Archive, operation: &Operation| match operation {
        Operation::Folder(path, mode) => archive.entry(Entry {
            mode: *mode,
            ..Entry::new(path.as_bytes(), b'5')
        }),
        Operation::File(path, data) => archive.file(path, data),
        Operation::Symlink(path, target) => archive.symlink(path, target),
        Operation::HardLink(path, target) => archive.hard_link(path, target),
        Operation::Whiteout(parent, name) => archive.file(&format!("{parent}.wh.{name}"), b""),
        Operation::Opaque(parent) => archive.file(&format!("{parent}.wh..wh..opq"), b""),
    };
    operations.iter().fold(Archive::new(), add).finish()
}

/// The layers without the entries that this crate refuses, about some of which umoci is less strict.
fn acceptable(layers: &[Vec<Operation>]) -> Vec<Vec<u8>> {
    let mut accepted = Vec::new();
    for operations in layers {
        let mut kept: Vec<Operation> = Vec::new();
        accepted.push(layer(&kept));
        for operation in operations {
            if matches!(operation, Operation::HardLink(path, target) if target.starts_with(path.as_str())) {
                continue;
            }
            kept.push(operation.clone());
            let before = std::mem::replace(accepted.last_mut().unwrap(), layer(&kept));
            if common::build(&accepted).is_err() {
                kept.pop();
                *accepted.last_mut().unwrap() = before;
            }
        }
    }
    accepted
}

/// Unpacks by umoci; none when it refuses.
fn umoci(folder: &Path, layers: &[Vec<u8>]) -> Option<Tree> {
    let layout = folder.join("oci");
    let image = format!("{}:t", layout.display());
    let quiet = |arguments: &[&str]| Command::new("umoci").args(arguments).output().unwrap().status.success();
    assert!(quiet(&["init", "--layout", layout.to_str().unwrap()]));
    assert!(quiet(&["new", "--image", &image]));
    for layer in layers {
        let tar = folder.join("layer.tar");
        std::fs::write(&tar, layer).unwrap();
        assert!(quiet(&["raw", "add-layer", "--image", &image, tar.to_str().unwrap()]));
    }
    let root = folder.join("root");
    quiet(&["raw", "unpack", "--image", &image, root.to_str().unwrap()]).then(|| tree::read(&root))
}

/// What the specification leaves open: times of folders that were changed, and the root nobody declared.
fn settle(mut tree: Tree) -> Tree {
    tree.remove(Path::new(""));
    for node in tree.values_mut().filter(|node| node.kind == "folder") {
        node.mtime = (0, 0);
    }
    tree
}

proptest! {
    #![proptest_config(ProptestConfig { cases: common::cases(40), max_shrink_iters: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merged_layers_are_what_umoci_unpacks(layers in collection::vec(collection::vec(operation(), 1..12), 1..4)) {
        if !common::can_mount() || !common::have(&["umoci"]) {
            return Ok(());
        }
        let layers = acceptable(&layers);
        let folder = tempfile::tempdir().unwrap();
        // A hard link in place of itself, by whatever way round, is nothing to this crate and an error to umoci.
        let Some(theirs) = umoci(folder.path(), &layers) else { return Ok(()) };
        let image = common::build(&layers).unwrap();
        image.fsck();
        let mount = image.mount();
        tree::assert_same(&settle(tree::read(&mount.at)), &settle(theirs));
    }
}

/// The kinds and contents of a merged tree, by path.
fn merged(layers: &[Archive]) -> BTreeMap<String, String> {
    let layers: Vec<_> = layers.iter().map(Archive::clone_bytes).collect();
    let image = common::build(&layers).unwrap();
    let mount = image.mount();
    let show = |(path, node): (std::path::PathBuf, tree::Node)| {
        let contents = String::from_utf8(node.contents).unwrap();
        (
            path.to_str().unwrap().to_owned(),
            format!("{} {contents}", node.kind).trim().to_owned(),
        )
    };
    tree::read(&mount.at)
        .into_iter()
        .filter(|(path, _)| path != Path::new(""))
        .map(show)
        .collect()
}

fn expect(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(path, node)| ((*path).to_owned(), (*node).to_owned()))
        .collect()
}

fn base() -> Archive {
    Archive::new()
        .folder("d")
        .file("d/x", b"low")
        .file("d/y", b"low")
        .folder("d/e")
        .file("d/e/z", b"low")
}

#[test]
fn whiteouts_hide_only_what_is_below() {
    if !common::can_mount() {
        return;
    }
    let removed = merged(&[
        base(),
        Archive::new()
            .file("d/.wh.x", b"")
            .file("d/.wh.e", b"")
            .file("d/.wh.none", b""),
    ]);
    assert_eq!(removed, expect(&[("d", "folder"), ("d/y", "file low")]));

    // The whiteout may stand before or after what the same layer puts there.
    let file = |archive: Archive| archive.file("d/x", b"new");
    let hide = |archive: Archive| archive.file("d/.wh.x", b"");
    let kept = expect(&[
        ("d", "folder"),
        ("d/e", "folder"),
        ("d/e/z", "file low"),
        ("d/x", "file new"),
        ("d/y", "file low"),
    ]);
    assert_eq!(merged(&[base(), hide(file(Archive::new()))]), kept);
    assert_eq!(merged(&[base(), file(hide(Archive::new()))]), kept);

    let opaque = expect(&[("d", "folder"), ("d/e", "folder"), ("d/e/new", "file new")]);
    let file = |archive: Archive| archive.file("d/e/new", b"new");
    let hide = |archive: Archive| archive.file("d/.wh..wh..opq", b"");
    assert_eq!(merged(&[base(), hide(file(Archive::new()))]), opaque);
    assert_eq!(merged(&[base(), file(hide(Archive::new()))]), opaque);
}

#[test]
fn upper_entries_replace_or_merge() {
    if !common::can_mount() {
        return;
    }
    let file_over_folder = merged(&[base(), Archive::new().file("d", b"new")]);
    assert_eq!(file_over_folder, expect(&[("d", "file new")]));
    let folder_over_file = merged(&[base(), Archive::new().folder("d/x").file("d/x/in", b"")]);
    assert_eq!(folder_over_file["d/x/in"], "file");
    let folder_over_link = merged(&[base().symlink("l", "d"), Archive::new().folder("l").file("l/in", b"")]);
    assert_eq!(
        (folder_over_link["l"].as_str(), folder_over_link.get("d/in")),
        ("folder", None)
    );
    let aufs = merged(&[Archive::new()
        .folder(".wh..wh.plnk")
        .file(".wh..wh.plnk/1.2", b"")
        .file(".wh..wh.aufs", b"")]);
    assert_eq!(aufs, expect(&[]));
}

/// Layers built apart from their base: `bin/tool` over `bin -> usr/bin`, `var/run/x` over `var/run -> /run`.
#[test]
fn links_of_lower_layers_are_followed_inside_the_root() {
    if !common::can_mount() {
        return;
    }
    let base = || {
        Archive::new()
            .folder("usr/bin")
            .folder("run")
            .symlink("bin", "usr/bin")
            .symlink("var/run", "/run")
    };
    let upper = Archive::new()
        .file("bin/tool", b"t")
        .file("/var/run/app/pid", b"1")
        .hard_link("bin/alias", "/bin/tool");
    let tree = merged(&[base(), upper]);
    assert_eq!(tree["usr/bin/tool"], "file t");
    assert_eq!(tree["usr/bin/alias"], "file t");
    assert_eq!(tree["run/app/pid"], "file 1");
    assert_eq!(tree["bin"], "symlink usr/bin");
}

#[test]
fn hard_links_reach_lower_layers_and_links() {
    if !common::can_mount() {
        return;
    }
    let lower = Archive::new().file("f", b"one").symlink("s", "f");
    let upper = Archive::new()
        .hard_link("g", "f")
        .hard_link("t", "s")
        .hard_link("f", "f")
        .file("f", b"two");
    let tree = merged(&[lower, upper]);
    assert_eq!(
        tree,
        expect(&[
            ("f", "file two"),
            ("g", "file one"),
            ("s", "symlink f"),
            ("t", "symlink f")
        ])
    );
}

#[test]
fn replaced_contents_are_given_back_to_the_disk() {
    let big = vec![7; 8 << 20];
    let layers = [
        Archive::new().file("big", &big).finish(),
        Archive::new().file(".wh.big", b"").finish(),
    ];
    let image = common::build(&layers).unwrap();
    assert!(std::fs::metadata(&image.path).unwrap().blocks() * 512 < 1 << 20);
}

#[test]
fn files_can_be_read_while_building() {
    let folder = tempfile::tempdir().unwrap();
    let (mut builder, _) = common::builder(folder.path(), Limits::default());
    let big: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let layer = Archive::new()
        .file("usr/lib/passwd", b"root:x:0:0")
        .file("big", &big)
        .file("zeros", &vec![0; 100_000])
        .symlink("etc", "usr/etc")
        .symlink("usr/etc/passwd", "../../../../usr/lib/passwd")
        .symlink("loop", "loop")
        .finish();
    builder.apply_layer("one", layer.as_slice(), &mut |_| {}).unwrap();
    assert_eq!(
        builder.read_file("/etc/passwd", 100).as_deref(),
        Some(&b"root:x:0:0"[..])
    );
    assert_eq!(builder.read_file("/etc/passwd", 9), None);
    assert_eq!(builder.read_file("big", usize::MAX), Some(big));
    assert_eq!(builder.read_file("zeros", usize::MAX), Some(vec![0; 100_000]));
    for none in ["/etc", "/none", "/loop", "/big/x", "/"] {
        assert_eq!(builder.read_file(none, 100), None, "{none}");
    }
}

#[test]
fn the_same_layers_make_the_same_bytes() {
    let layers: Vec<_> = [
        base(),
        Archive::new().file("d/.wh.x", b"").file("new", &vec![9; 70_000]),
    ]
    .map(Archive::finish)
    .into();
    let bytes = |layers: &[Vec<u8>]| std::fs::read(common::build(layers).unwrap().path).unwrap();
    let plain = bytes(&layers);
    assert_eq!(plain, bytes(&layers));
    let compressed: Vec<_> = layers
        .iter()
        .map(|layer| zstd::encode_all(layer.as_slice(), 1).unwrap())
        .collect();
    assert_eq!(plain, bytes(&compressed));
    assert_ne!(plain, bytes(&layers[..1]));
}

#[test]
fn compressions_are_told_by_their_bytes_and_members_are_joined() {
    let tar = Archive::new().file("a", &vec![1; 300_000]).file("b", b"2").finish();
    let gzip = |part: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(part).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = |part: &[u8]| zstd::encode_all(part, 3).unwrap();
    let (head, tail) = tar.split_at(100_001);
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"xyz"].concat();
    let folder = tempfile::tempdir().unwrap();
    let (mut builder, _) = common::builder(folder.path(), Limits::default());
    let mut digests = Vec::new();
    for (compression, bytes) in [
        (LayerCompression::None, tar.clone()),
        (LayerCompression::Gzip, gzip(&tar)),
        (LayerCompression::Gzip, [gzip(head), gzip(tail)].concat()),
        (LayerCompression::Zstd, [zstd(head), zstd(tail)].concat()),
        (
            LayerCompression::Zstd,
            [skippable.clone(), zstd(&tar), skippable].concat(),
        ),
    ] {
        let mut last = 0;
        let applied = builder
            .apply_layer("x", bytes.as_slice(), &mut |read| last = read)
            .unwrap();
        assert_eq!((applied.compression, applied.entries), (compression, 2));
        assert_eq!(
            (applied.compressed_bytes, last),
            (bytes.len() as u64, bytes.len() as u64)
        );
        assert_eq!(applied.uncompressed_bytes, tar.len() as u64);
        digests.push(applied.diff_id);
    }
    let oracle = folder.path().join("tar");
    std::fs::write(&oracle, &tar).unwrap();
    let sum = common::run("sha256sum", [OsStr::new(&oracle)]).stdout;
    assert!(
        digests.iter().all(|digest| sum.starts_with(digest.as_bytes())),
        "{digests:?}"
    );
}

#[test]
fn a_reader_that_fails_is_named_with_its_layer() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("connection lost"))
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let (mut builder, _) = common::builder(folder.path(), Limits::default());
    match builder.apply_layer("sha256:abc", Broken, &mut |_| {}) {
        Err(BuildError::Read { layer, source }) => {
            assert_eq!(
                (layer.as_str(), source.to_string().as_str()),
                ("sha256:abc", "connection lost")
            );
        }
        other => panic!("{other:?}"),
    }
}

/// A folder's entries span blocks, and what the kernel looks up by halving is found.
#[test]
fn large_folders_are_searchable() {
    if !common::can_mount() {
        return;
    }
    let names: Vec<String> = (0..5000)
        .map(|i| format!("{:x}-{}", i * 7919 % 65_536, "n".repeat(i % 60)))
        .collect();
    let archive = names.iter().fold(Archive::new(), |archive, name| {
        archive.file(&format!("big/{name}"), name.as_bytes())
    });
    let image = common::build(&[archive
        .folder("big/!")
        .folder("big/.a")
        .folder("big/..b")
        .folder("big/~")
        .finish()])
    .unwrap();
    image.fsck();
    let mount = image.mount();
    for name in &names {
        assert_eq!(std::fs::read(mount.at.join("big").join(name)).unwrap(), name.as_bytes());
    }
    assert_eq!(
        std::fs::read_dir(mount.at.join("big")).unwrap().count(),
        names.len() + 4
    );
    for odd in ["!", ".a", "..b", "~", ".", ".."] {
        assert!(mount.at.join("big").join(odd).is_dir());
    }
    assert!(!mount.at.join("big/none").exists());
}

/// Past what may wait in memory for its inode, the last parts of files get blocks; and sizes beyond 32 bits are kept.
#[test]
fn many_small_files_and_huge_ones_are_kept() {
    if !common::can_mount() {
        return;
    }
    let files = 36_000_u32;
    let contents = |number: u32| vec![number as u8; 2000 + number as usize % 40];
    let archive = (0..files).fold(Archive::new(), |archive, number| {
        archive.file(&format!("d{}/f{number}", number % 100), &contents(number))
    });
    let huge = Entry {
        data: b"the end\n",
        ..Entry::new(b"huge", b'0')
    }
    .pax("GNU.sparse.size", b"5368709128")
    .pax("GNU.sparse.map", b"5368709120,8");
    let image = common::build(&[archive.entry(huge).finish()]).unwrap();
    let mount = image.mount();
    for number in 0..files {
        let path = mount.at.join(format!("d{}/f{number}", number % 100));
        assert!(std::fs::read(path).unwrap() == contents(number), "file {number}");
    }
    let huge = std::fs::File::open(mount.at.join("huge")).unwrap();
    assert_eq!(huge.metadata().unwrap().len(), 5_368_709_128);
    let mut end = [0; 10];
    huge.read_exact_at(&mut end, 5_368_709_118).unwrap();
    assert_eq!(&end, b"\0\0the end\n");
    assert!(std::fs::metadata(&image.path).unwrap().blocks() * 512 < 256 << 20);
}

/// The attributes that matter to a guest: capabilities, ACLs, and values as large as they come.
#[test]
fn attributes_arrive() {
    if !common::can_mount() {
        return;
    }
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // Version 2; user::rw-, user:1000:r--, group::r--, mask::r--, other::---.
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in [
        (1_u16, 6_u16, !0_u32),
        (2, 4, 1000),
        (4, 4, !0),
        (16, 4, !0),
        (32, 0, !0),
    ] {
        acl.extend([tag.to_le_bytes(), rights.to_le_bytes()].concat());
        acl.extend(id.to_le_bytes());
    }
    let value = vec![b'v'; 60_000];
    let file = Entry {
        data: &[5; 5000],
        ..Entry::new(b"f", b'0')
    }
    .pax("SCHILY.xattr.security.capability", &capability)
    .pax("SCHILY.xattr.system.posix_acl_access", &acl)
    .pax("SCHILY.xattr.user.large", &value)
    .pax("SCHILY.xattr.unknown.namespace", b"x");
    let folder = Entry::new(b"d/", b'5').pax("SCHILY.xattr.system.posix_acl_default", &acl);
    let link = Entry {
        link: &[b't'; 3000],
        ..Entry::new(b"l", b'2')
    }
    .pax("SCHILY.xattr.trusted.overlay.x", b"y");
    let image = common::build(&[Archive::new().entry(file).entry(folder).entry(link).finish()]).unwrap();
    image.fsck();
    let mount = image.mount();
    let tree = tree::read(&mount.at);
    let get = |path: &str, name: &str| tree[Path::new(path)].xattrs.get(OsStr::new(name)).cloned();
    assert_eq!(get("f", "security.capability"), Some(capability.to_vec()));
    assert_eq!(get("f", "system.posix_acl_access"), Some(acl.clone()));
    assert_eq!(get("f", "user.large"), Some(value));
    assert_eq!(get("d", "system.posix_acl_default"), Some(acl));
    assert_eq!(get("l", "trusted.overlay.x"), Some(b"y".to_vec()));
    assert_eq!(std::fs::read_link(mount.at.join("l")).unwrap().as_os_str().len(), 3000);
    assert_eq!(std::fs::read(mount.at.join("f")).unwrap(), [5; 5000]);
}

/// A real tree: this machine's own, by fsck and by comparison.
#[test]
fn a_real_tree_survives() {
    if !common::can_mount() || !common::have(&["fsck.erofs", "tar"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let tar = folder.path().join("root.tar");
    let places = ["etc", "usr/lib/python3", "usr/share/perl5"]
        .into_iter()
        .filter(|place| Path::new("/").join(place).exists());
    let create = [
        "--format=pax",
        "--xattrs",
        "--numeric-owner",
        "-cf",
        tar.to_str().unwrap(),
        "-C",
        "/",
    ];
    common::run("tar", create.into_iter().chain(places).map(OsStr::new));
    let extracted = folder.path().join("extracted");
    std::fs::create_dir(&extracted).unwrap();
    common::run(
        "tar",
        [
            "--xattrs",
            "--numeric-owner",
            "-xpf",
            tar.to_str().unwrap(),
            "-C",
            extracted.to_str().unwrap(),
        ],
    );
    let image = common::build(&[std::fs::read(&tar).unwrap()]).unwrap();
    image.fsck();
    let mount = image.mount();
    let (mut ours, mut theirs) = (tree::read(&mount.at), tree::read(&extracted));
    // Above the places that were archived tar has made folders of its own.
    for path in ["", "usr", "usr/lib", "usr/share"] {
        ours.remove(Path::new(path));
        theirs.remove(Path::new(path));
    }
    tree::assert_same(&ours, &theirs);
}

#[test]
fn a_link_that_is_refused_in_one_layer_is_refused_in_the_image() {
    let lower = Archive::new().folder("d").symlink("l", "d").finish();
    let upper = Archive::new().symlink("l", "/etc").file("l/x", b"").finish();
    let error = common::build(&[lower, upper]).map(|image| image.stats).unwrap_err();
    assert!(
        matches!(
            error,
            BuildError::Refused {
                reason: Refusal::SymlinkParent { .. },
                ..
            }
        ),
        "{error}"
    );
}
