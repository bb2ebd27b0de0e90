//! Random trees through GNU tar: what the mounted image shows must be what `tar -x` makes.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test that cannot go on shall stop"
)]

mod common;

use std::{
    ffi::OsStr,
    fs::{File, FileTimes, Permissions},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, MetadataExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use common::archive::Archive;
use common::tree;
use proptest::{collection, prelude::*};
use rustix::fs::{CWD, FileType, Mode, Timestamps, XattrFlags};

/// A node to be made somewhere below the root.
#[derive(Debug, Clone)]
struct Spec {
    path: Vec<Vec<u8>>,
    kind: Kind,
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, u32),
    xattrs: Vec<(&'static str, Vec<u8>)>,
}

#[derive(Debug, Clone)]
enum Kind {
    Folder,
    /// Length, and a hole of that length before it.
    File(usize, u64),
    Symlink(Vec<u8>),
    /// To one of the nodes made before.
    HardLink(usize),
    Device(FileType, u32, u32),
    Fifo,
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        b'a'..=b'c',
        Just(b'.'),
        Just(b'-'),
        Just(b' '),
        Just(b'\n'),
        0x80..=0xff_u8,
        Just(b'~')
    ];
    let short = collection::vec(byte, 1..4).prop_filter("a name", |name| !matches!(name.as_slice(), b"." | b".."));
    // A whiteout is no name of a file.
    let short = short.prop_filter("no whiteout", |name| !name.starts_with(b".wh."));
    prop_oneof![8 => short, 1 => (90_usize..256).prop_map(|len| vec![b'L'; len])]
}

fn kind() -> impl Strategy<Value = Kind> {
    let len = prop_oneof![
        Just(0),
        1_usize..200,
        2000_usize..2100,
        4000_usize..4200,
        Just(8192),
        9000_usize..20_000
    ];
    let hole = prop_oneof![6 => Just(0_u64), 1 => 1_u64..100_000];
    let device = (
        prop_oneof![Just(FileType::CharacterDevice), Just(FileType::BlockDevice)],
        0_u32..4096,
        0_u32..1 << 20,
    );
    prop_oneof![
        4 => Just(Kind::Folder),
        6 => (len, hole).prop_map(|(len, hole)| Kind::File(len, hole)),
        2 => collection::vec(prop_oneof![Just(b'/'), Just(b'.'), b'a'..=b'c', Just(0xfe)], 1..300).prop_map(Kind::Symlink),
        2 => (0_usize..20).prop_map(Kind::HardLink),
        1 => device.prop_map(|(kind, major, minor)| Kind::Device(kind, major, minor)),
        1 => Just(Kind::Fifo),
    ]
}

fn spec() -> impl Strategy<Value = Spec> {
    let owner = || prop_oneof![Just(0_u32), 1_u32..70_000, Just(u32::MAX - 1)];
    let seconds = prop_oneof![2 => Just(1_700_000_000_i64), 1 => 0_i64..8_000_000_000, 1 => -1_000_000_000_i64..0];
    let nanos = prop_oneof![Just(0_u32), 0_u32..1_000_000_000];
    let xattr = (
        prop_oneof![
            Just("user.a"),
            Just("user.colour"),
            Just("trusted.t"),
            Just("security.test")
        ],
        collection::vec(any::<u8>(), 0..60),
    );
    (
        collection::vec(name(), 1..5),
        kind(),
        0_u32..0o10_000,
        (owner(), owner()),
        (seconds, nanos),
        collection::vec(xattr, 0..3),
    )
        .prop_map(|(path, kind, mode, owner, mtime, xattrs)| Spec {
            path,
            kind,
            mode,
            owner,
            mtime,
            xattrs,
        })
}

/// Makes what can be made; a name that is taken, or below a file, is left out.
fn make_tree(root: &Path, specs: &[Spec]) {
    let mut made: Vec<PathBuf> = Vec::new();
    for spec in specs {
        let mut path = root.to_owned();
        for part in &spec.path {
            path.push(OsStr::from_bytes(part));
        }
        let parent = path.parent().unwrap();
        let taken = path.symlink_metadata().is_ok();
        if taken || !inside(root, parent) || std::fs::create_dir_all(parent).is_err() || !make(&path, spec, &made) {
            continue;
        }
        made.push(path);
    }
    // Whose attributes go where does not matter: the tar is what counts.
    for (path, spec) in made.iter().rev().zip(specs.iter().rev().cycle()) {
        decorate(path, spec);
    }
}

/// No link on the way, which would lead the test itself out of its folder.
fn inside(root: &Path, parent: &Path) -> bool {
    let links = |path: &Path| path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
    parent
        .ancestors()
        .take_while(|path| *path != root)
        .all(|path| !links(path))
}

fn make(path: &Path, spec: &Spec, made: &[PathBuf]) -> bool {
    match &spec.kind {
        Kind::Folder => std::fs::create_dir(path).is_ok(),
        Kind::File(len, hole) => {
            let file = File::create(path).unwrap();
            let bytes: Vec<u8> = (0..*len).map(|at| (at % 251) as u8).collect();
            file.set_len(hole + *len as u64 + hole / 2).unwrap();
            file.write_all_at(&bytes, *hole).is_ok()
        }
        Kind::Symlink(target) => symlink(OsStr::from_bytes(target), path).is_ok(),
        Kind::HardLink(target) => {
            let target = made.get(*target);
            target.is_some_and(|target| !target.is_dir() && std::fs::hard_link(target, path).is_ok())
        }
        Kind::Device(kind, major, minor) => {
            rustix::fs::mknodat(CWD, path, *kind, Mode::empty(), rustix::fs::makedev(*major, *minor)).is_ok()
        }
        Kind::Fifo => rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::empty(), 0).is_ok(),
    }
}

fn decorate(path: &Path, spec: &Spec) {
    std::os::unix::fs::lchown(path, Some(spec.owner.0), Some(spec.owner.1)).unwrap();
    let metadata = path.symlink_metadata().unwrap();
    if !metadata.is_symlink() {
        std::fs::set_permissions(path, Permissions::from_mode(spec.mode)).unwrap();
    }
    for (name, value) in &spec.xattrs {
        // user.* is for files and folders only.
        let user = name.starts_with("user.");
        if !user || metadata.is_file() || metadata.is_dir() {
            rustix::fs::lsetxattr(path, *name, value, XattrFlags::empty()).unwrap();
        }
    }
    let time = rustix::fs::Timespec {
        tv_sec: spec.mtime.0,
        tv_nsec: spec.mtime.1.into(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn tar_options(format: &str) -> Vec<String> {
    let all = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "--sparse"];
    all.iter()
        .map(ToString::to_string)
        .chain([format!("--format={format}")])
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: common::cases(40), max_shrink_iters: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mounted_image_is_what_tar_extracts(specs in collection::vec(spec(), 1..40)) {
        if !common::can_mount() {
            return Ok(());
        }
        let folder = tempfile::tempdir().unwrap();
        let [source, extracted, tar] = ["source", "extracted", "layer.tar"].map(|name| folder.path().join(name));
        std::fs::create_dir(&source).unwrap();
        std::fs::create_dir(&extracted).unwrap();
        make_tree(&source, &specs);
        let create = tar_options("pax").into_iter().map(Into::into);
        common::run::<std::ffi::OsString>("tar", create.chain(["-cf".into(), tar.clone().into(), "-C".into(), source.into(), ".".into()]));
        let extract = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "--same-owner", "-p", "-xf"].map(Into::into);
        common::run::<std::ffi::OsString>("tar", extract.into_iter().chain([tar.clone().into(), "-C".into(), extracted.clone().into()]));

        let image = common::build(&[std::fs::read(&tar).unwrap()]).unwrap();
        image.fsck();
        let mount = image.mount();
        tree::assert_same(&tree::read(&mount.at), &tree::read(&extracted));
    }
}

/// Every flavour of tar that can hold the tree gives the same tree.
#[test]
fn all_flavours_of_tar_are_read() {
    if !common::can_mount() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    make_plain_tree(&source);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    for (format, longest) in [("v7", 90), ("ustar", 200), ("gnu", 3000), ("pax", 3000)] {
        let long = make_long_names(&source, longest);
        let first = source.join("a");
        File::open(&first)
            .unwrap()
            .set_times(FileTimes::new().set_modified(time))
            .unwrap();
        let tar = folder.path().join(format!("{format}.tar"));
        let format = format!("--format={format}");
        common::run(
            "tar",
            [
                &format,
                "-cf",
                tar.to_str().unwrap(),
                "-C",
                source.to_str().unwrap(),
                ".",
            ]
            .map(OsStr::new),
        );
        let image = common::build(&[std::fs::read(&tar).unwrap()]).unwrap();
        image.fsck();
        let mount = image.mount();
        let (mut ours, mut theirs) = (tree::read(&mount.at), tree::read(&source));
        for node in ours.values_mut().chain(theirs.values_mut()) {
            // Only PAX keeps fractions of a second.
            node.mtime.1 = 0;
        }
        tree::assert_same(&ours, &theirs);
        drop(mount);
        std::fs::remove_dir_all(long).unwrap();
    }
}

/// Readers may look for attributes behind every inode, also behind the last one, and must find the image there.
#[test]
fn inodes_that_fill_their_last_block_are_not_its_end() {
    if !common::have(&["fsck.erofs"]) {
        return;
    }
    // One free slot, the root folder, and these: 128 slots of 32 bytes are a block.
    for files in 120..132 {
        let archive = (0..files).fold(Archive::new(), |archive, number| {
            archive.file(&format!("file-{number:03}"), b"")
        });
        common::build(&[archive.finish()]).unwrap().fsck();
    }
}

fn make_plain_tree(source: &Path) {
    std::fs::create_dir_all(source.join("folder/empty")).unwrap();
    std::fs::write(source.join("a"), b"contents").unwrap();
    std::fs::write(source.join("folder/b"), vec![3; 10_000]).unwrap();
    std::fs::hard_link(source.join("a"), source.join("folder/linked")).unwrap();
    symlink("../a", source.join("folder/symlink")).unwrap();
    std::fs::set_permissions(source.join("a"), Permissions::from_mode(0o6755)).unwrap();
}

/// A path of about the given length, of long names, ending in a file and a link with a long target.
fn make_long_names(source: &Path, longest: usize) -> PathBuf {
    let top = source.join("long");
    let mut path = top.clone();
    let below = |path: &Path| path.strip_prefix(source).unwrap().as_os_str().len();
    std::fs::create_dir(&path).unwrap();
    while below(&path) + 95 < longest {
        path.push("n".repeat(90.min(longest)));
        std::fs::create_dir(&path).unwrap();
    }
    std::fs::write(path.join("f"), b"deep").unwrap();
    symlink("t".repeat(longest.min(100)), path.join("l")).unwrap();
    top
}

/// Holes in all four ways that GNU tar writes them, with more extents than one header takes.
#[test]
fn sparse_files_of_all_versions_are_read() {
    if !common::can_mount() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    std::fs::create_dir(&source).unwrap();
    let many = File::create(source.join("many")).unwrap();
    for extent in 0..60_u64 {
        many.write_all_at(&[extent as u8 + 1; 5000], extent * 65_536).unwrap();
    }
    many.set_len(60 * 65_536 + 777).unwrap();
    File::create(source.join("hole")).unwrap().set_len(3 << 20).unwrap();
    File::create(source.join("empty")).unwrap();
    let lead = File::create(source.join("lead")).unwrap();
    lead.write_all_at(b"end", 1 << 20).unwrap();
    let theirs = tree::read(&source);
    for options in [
        &["--format=gnu"][..],
        &["--sparse-version=0.0"],
        &["--sparse-version=0.1"],
        &["--sparse-version=1.0"],
    ] {
        let tar = folder.path().join("layer.tar");
        let pax = if options[0].starts_with("--sparse") {
            "--format=pax"
        } else {
            options[0]
        };
        let arguments = [
            pax,
            options[0],
            "--sparse",
            "-cf",
            tar.to_str().unwrap(),
            "-C",
            source.to_str().unwrap(),
            ".",
        ];
        common::run("tar", arguments.map(OsStr::new));
        let bytes = std::fs::read(&tar).unwrap();
        assert!(bytes.len() < 1 << 20, "{options:?} is not sparse: {}", bytes.len());
        let image = common::build(&[bytes]).unwrap();
        image.fsck();
        let mount = image.mount();
        let mut ours = tree::read(&mount.at);
        for (path, node) in &mut ours {
            node.mtime = theirs[path].mtime;
        }
        tree::assert_same(&ours, &theirs);
        let stored = std::fs::metadata(&image.path).unwrap().blocks() * 512;
        assert!(stored < 1 << 20, "holes are stored: {stored}");
    }
}
