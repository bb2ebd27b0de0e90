use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A tar as the machine of a stage sends it: of each entry its name, its mode, and what it is.
enum Is<'a> {
    File(&'a str),
    Folder,
    Link(&'a str),
    Kind(EntryType),
}

fn tar_of(entries: &[(&str, u32, Is<'_>)]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (name, mode, is) in entries {
        let mut header = Header::new_gnu();
        header.set_size(0);
        header.set_mode(*mode);
        header.set_uid(1000);
        header.set_gid(1000);
        header.set_mtime(77);
        match is {
            Is::File(text) => {
                header.set_size(text.len() as u64);
                tar.append_data(&mut header, name, text.as_bytes()).unwrap();
            }
            Is::Folder => {
                header.set_entry_type(EntryType::Directory);
                tar.append_data(&mut header, name, io::empty()).unwrap();
            }
            Is::Link(target) => {
                header.set_entry_type(EntryType::Symlink);
                tar.append_link(&mut header, name, target).unwrap();
            }
            Is::Kind(kind) => {
                header.set_entry_type(*kind);
                // As they are: what the library would not write, a guest may.
                header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
                header.set_cksum();
                tar.append(&header, io::empty()).unwrap();
            }
        }
    }
    tar.into_inner().unwrap()
}

fn all(name: &str) -> Pick {
    Pick::All(name.to_owned())
}

fn matching(pattern: &str) -> Pick {
    let glob = globset::GlobBuilder::new(pattern).literal_separator(true).build();
    Pick::Matching(glob.unwrap().compile_matcher())
}

/// Names with modes, owners, and contents or targets.
fn told(tar: &[u8]) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let header = entry.header();
        let (mode, owner) = (header.mode().unwrap(), header.uid().unwrap() + header.gid().unwrap());
        assert_eq!(owner, 0, "it is root's");
        let name = entry.path().unwrap().display().to_string();
        let link = entry.link_name().unwrap().map(|link| link.display().to_string());
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (
            name.trim_end_matches('/').to_owned(),
            format!("{mode:o} {}", link.unwrap_or(text)),
        )
    });
    entries.collect()
}

fn names(tar: &[u8], pick: &Pick) -> Vec<String> {
    told(&repack(tar, pick, Vec::new()).unwrap().out).into_keys().collect()
}

fn refused(tar: &[u8]) -> String {
    repack(tar, &all("x"), Vec::new()).err().unwrap_or_default()
}

fn tree() -> Vec<u8> {
    tar_of(&[
        ("out", 0o700, Is::Folder),
        ("out/app", 0o4755, Is::File("run")),
        ("out/lib", 0o755, Is::Folder),
        ("out/lib/a.so.1", 0o644, Is::File("one")),
        ("out/lib/a.so", 0o777, Is::Link("a.so.1")),
        ("out/lib/.b.so", 0o600, Is::File("")),
    ])
}

#[test]
fn what_is_copied_keeps_modes_and_links_and_becomes_roots() {
    let repacked = repack(&tree()[..], &all("dist"), Vec::new()).unwrap();
    let told = told(&repacked.out);
    assert_eq!(told["dist"], "700 ");
    assert_eq!(told["dist/app"], "4755 run");
    assert!(told["dist/lib/a.so"].ends_with(" a.so.1"), "{told:?}");
    assert_eq!(told.len(), 6);
}

#[test]
fn a_pattern_takes_what_matches_with_all_below_it() {
    assert_eq!(
        names(&tree(), &matching("lib")),
        ["lib", "lib/.b.so", "lib/a.so", "lib/a.so.1"]
    );
    assert_eq!(names(&tree(), &matching("lib/a*")), ["a.so", "a.so.1"]);
    assert_eq!(names(&tree(), &matching("*/*.so")), [".b.so", "a.so"]);
    let none = repack(&tree()[..], &matching("*.rs"), Vec::new()).err().unwrap();
    assert!(none.contains("nothing in the stage"), "{none}");
}

#[test]
fn the_hash_tells_names_modes_and_contents_in_any_order() {
    let hash = |entries: &[(&str, u32, Is<'_>)]| repack(&tar_of(entries)[..], &all("a"), Vec::new()).unwrap().hash;
    let is = hash(&[
        ("a", 0o755, Is::Folder),
        ("a/b", 0o644, Is::File("x")),
        ("a/c", 0, Is::Link("b")),
    ]);
    assert_eq!(is.len(), 64);
    let turned = hash(&[
        ("a", 0o755, Is::Folder),
        ("a/c", 0, Is::Link("b")),
        ("a/b", 0o644, Is::File("x")),
    ]);
    assert_eq!(is, turned);
    for other in [
        hash(&[
            ("a", 0o755, Is::Folder),
            ("a/b", 0o644, Is::File("y")),
            ("a/c", 0, Is::Link("b")),
        ]),
        hash(&[
            ("a", 0o755, Is::Folder),
            ("a/b", 0o744, Is::File("x")),
            ("a/c", 0, Is::Link("b")),
        ]),
        hash(&[
            ("a", 0o755, Is::Folder),
            ("a/b", 0o644, Is::File("x")),
            ("a/c", 0, Is::Link("x")),
        ]),
        hash(&[
            ("a", 0o755, Is::Folder),
            ("a/b", 0o644, Is::File("x")),
            ("a/c", 0, Is::File("b")),
        ]),
        hash(&[("a", 0o755, Is::Folder), ("a/b", 0o644, Is::File("x"))]),
    ] {
        assert_ne!(is, other);
    }
}

#[test]
fn what_a_hostile_machine_sends_is_refused() {
    for (entries, hint) in [
        (
            &[("a", 0o755, Is::Folder), ("etc/passwd", 0o644, Is::File(""))][..],
            "not asked for",
        ),
        (
            &[
                ("a", 0o755, Is::Folder),
                ("a/../../x", 0o644, Is::Kind(EntryType::Regular)),
            ],
            "is refused",
        ),
        (&[("/etc/x", 0o644, Is::Kind(EntryType::Regular))], "is refused"),
        (&[("a", 0o644, Is::Kind(EntryType::Block))], "neither a file"),
        (&[("a", 0o644, Is::Kind(EntryType::Link))], "neither a file"),
        (&[("a", 0o644, Is::Kind(EntryType::Symlink))], "symbolic link"),
    ] {
        let why = refused(&tar_of(entries));
        assert!(why.contains(hint), "{hint}: {why:?}");
    }
    assert!(refused(b"").contains("nothing in the stage"));
}

#[test]
fn what_a_machine_claims_costs_nothing() {
    // A name of 8 GiB, of which the first bytes come.
    let mut long = Header::new_gnu();
    long.set_entry_type(EntryType::GNULongName);
    long.set_size(8 << 30);
    long.set_cksum();
    let tar = [long.as_bytes().as_slice(), &vec![b'a'; 1 << 20]].concat();
    assert!(refused(&tar).contains("headers"), "{}", refused(&tar));
    // Folders that hold something: it is no folder's, and is not read.
    let mut folder = Header::new_gnu();
    folder.set_path("a").unwrap();
    folder.set_mode(0o755);
    folder.set_entry_type(EntryType::Directory);
    folder.set_size(1 << 30);
    folder.set_cksum();
    let tar = [folder.as_bytes().as_slice(), &vec![0; 1 << 20]].concat();
    assert!(refused(&tar).contains("headers"), "{}", refused(&tar));
    // A file that is longer than a stage's may be, and one that breaks off.
    for (size, hint) in [(CONTENT_MAX + 1, "copy less"), (4096, "cut off")] {
        let mut file = Header::new_gnu();
        file.set_path("a").unwrap();
        file.set_mode(0o755);
        file.set_size(size);
        file.set_cksum();
        let tar = [file.as_bytes().as_slice(), b"short"].concat();
        assert!(refused(&tar).contains(hint), "{hint}: {}", refused(&tar));
    }
    // One that nobody wants is read as well, and so no longer either.
    let mut file = Header::new_gnu();
    file.set_path("x/a").unwrap();
    file.set_mode(0o755);
    file.set_size(CONTENT_MAX + 1);
    file.set_cksum();
    let unwanted = repack(&file.as_bytes()[..], &matching("none*"), io::sink())
        .err()
        .unwrap();
    assert!(unwanted.contains("copy less"), "{unwanted}");
}

proptest! {
    #[test]
    fn nothing_that_is_sent_breaks(at in 0_usize..4096, bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut tar = tree();
        let at = at.min(tar.len() - bytes.len());
        tar[at..at + bytes.len()].copy_from_slice(&bytes);
        let _ = repack(&tar[..], &all("x"), io::sink());
        let _ = repack(&tar[..], &matching("**/*"), io::sink());
    }
}
