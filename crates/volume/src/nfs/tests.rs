//! The server, spoken to as a kernel speaks to it, and as no kernel would.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::PathBuf,
    sync::Arc,
};

use hearth_ids::VolumeId;
use proptest::prelude::*;

use super::{
    Export,
    mark::handle_of,
    rpc, serve,
    xdr::{Reader, Writer},
};
use crate::{
    Volumes,
    turns::tests::{DEADLINE, Held},
};

const LIMIT: u64 = 1 << 20;
const NFS: u32 = 100_003;
const MOUNT: u32 = 100_005;
const STALE: u32 = 70;
const BADHANDLE: u32 = 10_001;

struct World {
    folder: tempfile::TempDir,
    volumes: Volumes,
    id: VolumeId,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let volumes = Volumes::open(&folder.path().join("v"), b"secret", LIMIT).unwrap();
        let id = VolumeId::new();
        volumes.create(id).unwrap();
        Self { folder, volumes, id }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("v").join(self.id.to_string())
    }

    fn export(&self) -> Export {
        self.volumes.get(self.id).unwrap().unwrap()
    }

    /// Calls a procedure as user 1000, and gives its status and what follows.
    fn call(&self, program: u32, procedure: u32, arguments: &Writer) -> (u32, Vec<u8>) {
        call(&[self.export()], program, procedure, arguments)
    }

    fn mounted(&self) -> Vec<u8> {
        let mut arguments = Writer::default();
        arguments.opaque(format!("/{}", self.id).as_bytes());
        let (status, rest) = self.call(MOUNT, 1, &arguments);
        assert_eq!(status, 0);
        Reader::new(&rest).opaque(64).unwrap().to_vec()
    }

    fn named(&self, procedure: u32, folder: &[u8], name: &[u8]) -> (u32, Vec<u8>) {
        let mut arguments = Writer::default();
        arguments.opaque(folder).opaque(name);
        self.call(NFS, procedure, &arguments)
    }

    fn lookup(&self, folder: &[u8], name: &str) -> Result<Vec<u8>, u32> {
        match self.named(3, folder, name.as_bytes()) {
            (0, rest) => Ok(Reader::new(&rest).opaque(64).unwrap().to_vec()),
            (status, _) => Err(status),
        }
    }

    fn create(&self, folder: &[u8], name: &str) -> Vec<u8> {
        let mut arguments = Writer::default();
        // Unchecked, with mode 0640.
        arguments
            .opaque(folder)
            .opaque(name.as_bytes())
            .u32(0)
            .u32(1)
            .u32(0o640)
            .absent(5);
        let (status, rest) = self.call(NFS, 8, &arguments);
        assert_eq!(status, 0);
        let mut reader = Reader::new(&rest);
        assert!(reader.bool().unwrap());
        reader.opaque(64).unwrap().to_vec()
    }

    fn write(&self, file: &[u8], offset: u64, data: &[u8]) -> u32 {
        let mut arguments = Writer::default();
        let count = u32::try_from(data.len()).unwrap();
        arguments.opaque(file).u64(offset).u32(count).u32(0).opaque(data);
        self.call(NFS, 7, &arguments).0
    }

    fn read(&self, file: &[u8]) -> Vec<u8> {
        let mut arguments = Writer::default();
        arguments.opaque(file).u64(0).u32(1 << 16);
        let (status, rest) = self.call(NFS, 6, &arguments);
        assert_eq!(status, 0);
        // Attributes, count, end.
        Reader::new(&rest[4 + 84 + 8..]).opaque(1 << 16).unwrap().to_vec()
    }
}

fn message(program: u32, procedure: u32, arguments: &Writer) -> Vec<u8> {
    let mut credentials = Writer::default();
    credentials.u32(0).opaque(b"guest").u32(1000).u32(1001).u32(0);
    let mut out = Writer::default();
    out.u32(7).u32(0).u32(2).u32(program).u32(3).u32(procedure);
    out.u32(1).opaque(&credentials.0).u32(0).u32(0);
    out.fixed(&arguments.0);
    out.0
}

fn call(exports: &[Export], program: u32, procedure: u32, arguments: &Writer) -> (u32, Vec<u8>) {
    let answer = rpc::answer(&message(program, procedure, arguments), exports).unwrap();
    let mut reader = Reader::new(&answer);
    for expected in [7, 1, 0, 0, 0] {
        assert_eq!(reader.u32(), Ok(expected));
    }
    if reader.u32() != Ok(0) {
        return (u32::MAX, Vec::new());
    }
    (reader.u32().unwrap(), answer[28..].to_vec())
}

/// Calls of whoever is at this port of the client's, until one is answered or the connection ends.
fn answered_from(ports: &[u16]) -> bool {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    use std::io::{Read as _, Write as _};
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let _serving = super::serve(runtime.handle(), listener, Vec::new(), 700..1024).unwrap();
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let bound = ports
        .iter()
        .any(|port| bind(&socket, &std::net::SocketAddr::from(([127, 0, 0, 1], *port))).is_ok());
    assert!(bound, "no port is free");
    connect(&socket, &address).unwrap();
    let mut stream = std::net::TcpStream::from(socket);
    let nothing = message(NFS, 0, &Writer::default());
    let head = 0x8000_0000 | u32::try_from(nothing.len()).unwrap();
    let sent = stream.write_all(&[head.to_be_bytes().as_slice(), &nothing].concat());
    sent.is_ok() && stream.read_exact(&mut [0; 4]).is_ok()
}

#[test]
fn the_guests_kernel_is_served_and_no_program_that_anybody_runs() {
    assert!(!answered_from(&[0]));
    if rustix::process::geteuid().is_root() {
        assert!(answered_from(&(700..1024).collect::<Vec<_>>()));
    } else {
        eprintln!("SKIPPED: ports of kernels are root's");
    }
}

#[test]
fn nobody_owns_nothing() {
    let world = World::new();
    let root = world.mounted();
    let file = world.create(&root, "a");
    let mut arguments = Writer::default();
    // The owner alone is to be set, and no guard is.
    arguments.opaque(&file).u32(0).u32(1).u32(u32::MAX).absent(5);
    assert_eq!(world.call(NFS, 2, &arguments).0, 22);
    let owner = fs::metadata(world.root().join("a")).unwrap().uid();
    assert_eq!(owner, 1000);
}

#[test]
fn files_are_made_written_read_renamed_removed() {
    let world = World::new();
    let root = world.mounted();
    let file = world.create(&root, "a");
    assert_eq!(world.write(&file, 0, b"hello world"), 0);
    assert_eq!(world.write(&file, 6, b"guest"), 0);
    assert_eq!(world.read(&file), b"hello guest");
    let made = fs::metadata(world.root().join("a")).unwrap();
    assert_eq!((made.uid(), made.gid(), made.mode() & 0o7777), (1000, 1001, 0o640));

    let mut arguments = Writer::default();
    arguments.opaque(&root).opaque(b"a").opaque(&root).opaque(b"b");
    assert_eq!(world.call(NFS, 14, &arguments).0, 0);
    assert_eq!(world.lookup(&root, "a"), Err(2));
    // The handle is the file's, whatever it is called.
    assert_eq!(world.lookup(&root, "b").as_ref(), Ok(&file));
    assert_eq!(world.read(&file), b"hello guest");
    assert_eq!(world.named(12, &root, b"b").0, 0);
    assert_eq!(world.write(&file, 0, b"x"), STALE);
    assert_eq!(world.export().usage().unwrap().0, 0);
}

#[test]
fn handles_outlive_the_daemon() {
    let world = World::new();
    let file = world.create(&world.mounted(), "a");
    assert_eq!(world.write(&file, 0, b"kept"), 0);
    let next = World {
        volumes: Volumes::open(&world.folder.path().join("v"), b"secret", LIMIT).unwrap(),
        ..world
    };
    assert_eq!(next.read(&file), b"kept");
}

#[test]
fn handles_of_others_and_made_up_ones_are_refused() {
    let world = World::new();
    let root = world.mounted();
    let file = world.create(&root, "a");
    let attributes = |exports: &[Export], handle: &[u8]| {
        let mut arguments = Writer::default();
        arguments.opaque(handle);
        call(exports, NFS, 1, &arguments).0
    };
    for byte in 0..file.len() {
        let mut changed = file.clone();
        changed[byte] ^= 1;
        assert_eq!(attributes(&[world.export()], &changed), BADHANDLE, "byte {byte}");
    }
    assert_eq!(attributes(&[world.export()], b""), BADHANDLE);
    // Another guest, who has heard of this volume, has another one.
    let other = VolumeId::new();
    world.volumes.create(other).unwrap();
    let others: [Export; 1] = [world.volumes.get(other).unwrap().unwrap()];
    assert_eq!(attributes(&others, &file), BADHANDLE);
    let mut arguments = Writer::default();
    arguments.opaque(format!("/{}", world.id).as_bytes());
    assert_eq!(call(&others, MOUNT, 1, &arguments).0, 13);
    // Nor does one of the host's own files come of a key that leaked to nobody.
    let elsewhere = Arc::new(Volumes::open(&world.folder.path().join("v"), b"other", LIMIT).unwrap());
    let same_volume = elsewhere.get(world.id).unwrap().unwrap();
    assert_eq!(attributes(&[same_volume], &file), BADHANDLE);
}

#[test]
fn names_and_links_lead_nowhere_else() {
    let world = World::new();
    let root = world.mounted();
    symlink("/etc", world.root().join("etc")).unwrap();
    let link = world.lookup(&root, "etc").unwrap();
    assert_eq!(world.lookup(&link, "passwd"), Err(20), "a link is no folder");
    let mut arguments = Writer::default();
    arguments.opaque(&link);
    let (status, rest) = world.call(NFS, 5, &arguments);
    assert_eq!((status, &rest[4 + 84 + 4..][..4]), (0, &b"/etc"[..]));
    // READ of a link.
    arguments.u64(0).u32(10);
    assert_ne!(world.call(NFS, 6, &arguments).0, 0);
    assert_eq!(
        world.lookup(&root, ".."),
        Ok(root.clone()),
        "above the root is the root"
    );
    for name in ["../x", "a/b", "", "a\0b"] {
        assert_eq!(world.lookup(&root, name), Err(22), "{name:?}");
    }
    assert_eq!(world.lookup(&root, &"a".repeat(256)), Err(63));
    for name in [&b"."[..], b".."] {
        assert_eq!(world.named(13, &root, name).0, 22);
    }
    // MKNOD.
    assert_eq!(world.named(11, &root, b"device").0, 10_004);
}

#[test]
fn folders_are_listed_in_pieces() {
    let world = World::new();
    let root = world.mounted();
    for number in 0..40 {
        world.create(&root, &format!("file-{number}"));
    }
    for (procedure, max) in [(16, 512), (17, 2048)] {
        let (mut names, mut cookie, mut calls) = (Vec::new(), 0, 0);
        loop {
            calls += 1;
            let mut arguments = Writer::default();
            arguments.opaque(&root).u64(cookie).u64(0);
            if procedure == 17 {
                arguments.u32(max);
            }
            arguments.u32(max);
            let (status, rest) = world.call(NFS, procedure, &arguments);
            assert_eq!(status, 0);
            let mut reader = Reader::new(&rest[4 + 84 + 8..]);
            while reader.bool().unwrap() {
                let _ = reader.u64().unwrap();
                names.push(reader.opaque(255).unwrap().to_vec());
                cookie = reader.u64().unwrap();
                if procedure == 17 {
                    assert!(reader.bool().unwrap());
                    let _: [u8; 84] = reader.fixed().unwrap();
                    assert!(reader.bool().unwrap());
                    assert!(!reader.opaque(64).unwrap().is_empty());
                }
            }
            if reader.bool().unwrap() {
                break;
            }
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 42, "with . and ..");
        assert!(calls > 2);
    }
}

#[test]
fn a_guest_cannot_fill_the_host() {
    let world = World::new();
    let root = world.mounted();
    let file = world.create(&root, "a");
    let block = vec![1; 128 << 10];
    let written = (0..100)
        .take_while(|at| world.write(&file, at * (128 << 10), &block) == 0)
        .count();
    assert_eq!(written, 7);
    // What there is can be written over.
    assert_eq!(world.write(&file, 0, &block), 0);
    // A size without content takes nothing.
    let mut arguments = Writer::default();
    arguments.opaque(&file).absent(3).u32(1).u64(1 << 40).absent(3);
    assert_eq!(world.call(NFS, 2, &arguments).0, 0);
    assert!(world.export().usage().unwrap().0 <= LIMIT);
}

#[test]
fn exclusive_creation_can_be_asked_twice() {
    let world = World::new();
    let root = world.mounted();
    let exclusive = |verifier: u64| {
        let mut arguments = Writer::default();
        arguments.opaque(&root).opaque(b"a").u32(2).u64(verifier);
        world.call(NFS, 8, &arguments).0
    };
    assert_eq!(
        (exclusive(0x1234_5678_9abc), exclusive(0x1234_5678_9abc), exclusive(5)),
        (0, 0, 17)
    );
}

proptest! {
    #[test]
    fn nothing_that_is_sent_stops_the_server(
        procedure in 0_u32..23,
        program in prop_oneof![Just(NFS), Just(MOUNT), any::<u32>()],
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let world = World::new();
        let root = world.mounted();
        let exports = [world.export()];
        let _ = rpc::answer(&bytes, &exports);
        let mut arguments = Writer::default();
        arguments.opaque(&root).fixed(&bytes);
        let _ = rpc::answer(&message(program, procedure, &arguments), &exports);
    }
}

#[test]
fn guests_that_wait_for_one_volume_keep_nobody_from_another() {
    let mut held = Held::new();
    held.hold();
    let exports = Arc::from(held.volumes.clone().to_vec());
    // FSSTAT, which asks the books.
    let calls = held.volumes.each_ref().map(|volume| {
        let mut arguments = Writer::default();
        arguments.opaque(&handle_of(volume, volume.root()).unwrap());
        message(NFS, 18, &arguments)
    });
    let asked = |call: &Vec<u8>| serve::answered(call.clone(), Arc::clone(&exports));
    let tasks = held.runtime.block_on(async {
        let tasks: Vec<_> = (0..32).map(|_| tokio::spawn(asked(&calls[0]))).collect();
        tokio::task::yield_now().await;
        let answer = tokio::time::timeout(DEADLINE, asked(&calls[1])).await;
        assert!(answer.expect("the other volume answers").unwrap().is_some());
        tasks
    });
    held.let_go();
    held.runtime.block_on(async {
        for task in tasks {
            assert!(task.await.unwrap().unwrap().is_some());
        }
    });
}
