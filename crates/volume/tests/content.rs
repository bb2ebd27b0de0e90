//! Volumes as clients of the API use them, hostile guests included.
#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

use std::{
    collections::HashSet,
    fs,
    io::{ErrorKind, Read as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::PathBuf,
    sync::Arc,
};

use hearth_ids::VolumeId;
use hearth_volume::{Changes, EntryKind, Folder, LIST_BYTES_MAX, VolumePath, Volumes};

const LIMIT: u64 = 1 << 20;
const LIMIT_BYTES: usize = 1 << 20;

struct World {
    folder: tempfile::TempDir,
    volumes: Volumes,
    id: VolumeId,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let volumes = Volumes::open(&folder.path().join("volumes"), b"secret", LIMIT).unwrap();
        let id = VolumeId::new();
        volumes.create(id).unwrap();
        Self { folder, volumes, id }
    }

    fn volume(&self) -> Arc<Folder> {
        self.volumes.get(self.id).unwrap().unwrap()
    }

    /// Where it lies on the host.
    fn root(&self) -> PathBuf {
        self.folder.path().join("volumes").join(self.id.to_string())
    }

    fn write(&self, path: &str, text: &[u8]) -> std::io::Result<hearth_volume::Entry> {
        let mut upload = self.volume().upload(at(path), Changes::default(), false)?;
        upload.write(text)?;
        upload.finish()
    }

    fn read(&self, path: &str) -> std::io::Result<String> {
        let mut text = String::new();
        self.volume().read(&at(path))?.0.read_to_string(&mut text)?;
        Ok(text)
    }
}

fn at(path: &str) -> VolumePath {
    VolumePath::parse(path).unwrap()
}

#[test]
fn files_and_folders_come_and_go() {
    let world = World::new();
    let volume = world.volume();
    let made = volume.make_dir(&at("/a/b"), Changes::default(), true).unwrap();
    assert_eq!(
        (made.kind, made.path.as_str(), made.mode),
        (EntryKind::Directory, "/a/b", 0o755)
    );
    assert_eq!(
        volume
            .make_dir(&at("/a"), Changes::default(), false)
            .unwrap_err()
            .kind(),
        ErrorKind::AlreadyExists
    );
    assert_eq!(
        volume
            .make_dir(&at("/x/y"), Changes::default(), false)
            .unwrap_err()
            .kind(),
        ErrorKind::NotFound
    );
    let written = world.write("/a/b/c", b"text").unwrap();
    assert_eq!((written.name.as_str(), written.size, written.uid), ("c", 4, 1000));
    assert_eq!(world.read("a/b/c").unwrap(), "text");
    let changes = Changes {
        uid: Some(7),
        gid: Some(8),
        mode: Some(0o600),
    };
    let now = volume.change(&at("/a/b/c"), changes).unwrap();
    assert_eq!((now.uid, now.gid, now.mode), (7, 8, 0o600));
    // What is written over stays whose it was.
    let again = world.write("/a/b/c", b"other").unwrap();
    assert_eq!((again.uid, again.mode, again.size), (7, 0o600, 5));
    let paths = |depth| {
        let listed = volume.list(&at("/"), depth).unwrap();
        listed.into_iter().map(|entry| entry.path).collect::<Vec<_>>()
    };
    assert_eq!(paths(1), ["/a"]);
    assert_eq!(paths(3), ["/a", "/a/b", "/a/b/c"]);
    volume.remove(&at("/a")).unwrap();
    assert_eq!(volume.stat(&at("/a/b/c")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(volume.remove(&at("/a")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(volume.remove(&at("/")).unwrap_err().kind(), ErrorKind::ResourceBusy);
    assert_eq!(volume.usage().unwrap().0, 0);
}

#[test]
fn no_link_leads_out() {
    let world = World::new();
    let volume = world.volume();
    let outside = world.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "theirs").unwrap();
    // As a guest would plant them.
    symlink(&outside, world.root().join("folder")).unwrap();
    symlink(outside.join("secret"), world.root().join("file")).unwrap();
    symlink("../../../../../../../../../../etc/passwd", world.root().join("up")).unwrap();
    symlink("/proc/self/root/etc/passwd", world.root().join("magic")).unwrap();
    symlink("loop", world.root().join("loop")).unwrap();
    for path in [
        "/folder/secret",
        "/file",
        "/up",
        "/magic",
        "/folder/../outside/secret",
        "/loop",
    ] {
        world.read(path).unwrap_err();
    }
    assert!(world.write("/folder/new", b"x").is_err());
    assert!(volume.list(&at("/folder"), 1).is_err());
    assert!(volume.make_dir(&at("/folder/new"), Changes::default(), true).is_err());
    assert!(volume.remove(&at("/folder/secret")).is_err());
    // A file takes the place of a link, and does not go where it leads.
    world.write("/file", b"ours").unwrap();
    volume
        .change(
            &at("/up"),
            Changes {
                uid: Some(5),
                ..Changes::default()
            },
        )
        .unwrap();
    volume.remove(&at("/folder")).unwrap();
    assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "theirs");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_ne!(fs::metadata("/etc/passwd").unwrap().uid(), 5);
    let link = volume.stat(&at("/magic")).unwrap();
    assert_eq!(
        (link.kind, link.target.as_deref()),
        (EntryKind::Symlink, Some("/proc/self/root/etc/passwd"))
    );
}

#[test]
fn a_listing_is_bounded_in_bytes_as_well() {
    let world = World::new();
    let long = "\u{1}".repeat(4000);
    let most = LIST_BYTES_MAX / (6 * 4000);
    for number in 0..most {
        symlink(&long, world.root().join(number.to_string())).unwrap();
    }
    let listed = || world.volume().list(&at("/"), 1).map(|entries| entries.len());
    assert_eq!(listed().unwrap(), most);
    symlink(&long, world.root().join("more")).unwrap();
    assert_eq!(listed().unwrap_err().kind(), ErrorKind::ArgumentListTooLong);
}

#[test]
fn links_within_lead_within() {
    let world = World::new();
    world.volume().make_dir(&at("/a"), Changes::default(), false).unwrap();
    world.write("/a/file", b"text").unwrap();
    symlink("/a", world.root().join("absolute")).unwrap();
    assert_eq!(world.read("/absolute/file").unwrap(), "text");
}

#[test]
fn a_pipe_is_not_waited_for() {
    let world = World::new();
    let path = world.root().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    assert_eq!(world.read("/pipe").unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_volume_holds_so_much_and_no_more() {
    let world = World::new();
    let half = vec![1; LIMIT_BYTES / 2];
    world.write("/a", &half).unwrap();
    let error = world.write("/b", &vec![1; LIMIT_BYTES]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    assert_eq!(world.volume().stat(&at("/b")).unwrap_err().kind(), ErrorKind::NotFound);
    let (used, limit) = world.volume().usage().unwrap();
    assert!((LIMIT / 2..LIMIT / 2 + 65536).contains(&used), "{used}");
    assert_eq!(limit, LIMIT);
    // What a cut off upload held is free again, and what was counted is what a new count finds.
    let reopened = Volumes::open(&world.folder.path().join("volumes"), b"secret", LIMIT).unwrap();
    let counted = reopened.get(world.id).unwrap().unwrap().usage().unwrap().0;
    assert_eq!(counted, used);
    world.volume().remove(&at("/a")).unwrap();
    assert_eq!(world.volume().usage().unwrap().0, 0);
    // Empty files have an end, too.
    let made = (0..10_000).take_while(|number| world.write(&format!("/{number}"), b"").is_ok());
    let made = made.count();
    assert!((100..=256).contains(&made), "{made}");
}

#[test]
fn what_is_removed_is_gone_for_those_who_have_it_open() {
    let world = World::new();
    world.write("/a", b"text").unwrap();
    let volume = world.volume();
    world.volumes.remove(world.id).unwrap();
    assert!(volume.stat(&at("/a")).is_err());
    assert!(world.volumes.get(world.id).unwrap().is_none());
    assert!(!world.root().exists());
    world.volumes.remove(world.id).unwrap();
}

#[test]
fn a_start_sweeps_what_nobody_knows() {
    let world = World::new();
    world.write("/a", b"text").unwrap();
    let other = VolumeId::new();
    world.volumes.create(other).unwrap();
    let path = world.folder.path().join("volumes");
    fs::create_dir(path.join("tmp/half-made")).unwrap();
    fs::write(path.join("tmp/half-made/file"), "x").unwrap();
    let volumes = Volumes::open(&path, b"secret", LIMIT).unwrap();
    assert_eq!(fs::read_dir(path.join("tmp")).unwrap().count(), 0);
    volumes.keep_only(&HashSet::from([world.id])).unwrap();
    assert!(volumes.get(other).unwrap().is_none());
    assert_eq!(world.read("/a").unwrap(), "text");
    // Nobody on the host has a way in.
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
}
