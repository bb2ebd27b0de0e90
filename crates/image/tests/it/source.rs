//! Sources of functions: what becomes an image, and what is refused.

use std::io::Write as _;

use flate2::{Compression, Crc, write::DeflateEncoder};
use hearth_image::{ErrorKind, ImageError, ImageRecord, ImportSource, ProgressSink, SourceOptions};
use hearth_testkit::images::gzip;
use tar::{EntryType, Header};

use crate::support::{Bench, assert_kind, chain, read_from_root};

async fn import(bench: &Bench, bytes: Vec<u8>, options: SourceOptions) -> Result<ImageRecord, ImageError> {
    let source = ImportSource::Stream(Box::pin(std::io::Cursor::new(bytes)));
    bench.store.import_source(source, options, ProgressSink::none()).await
}

async fn refused(bench: &Bench, bytes: Vec<u8>, says: &[&str]) {
    let refused = import(bench, bytes, SourceOptions::default()).await;
    let error = chain(&assert_kind(refused, ErrorKind::InvalidInput));
    for part in says {
        assert!(error.contains(part), "{part:?} in {error}");
    }
    bench.assert_empty();
}

/// One entry of a tar, as whoever made it may have it.
struct Packed<'a> {
    name: &'a str,
    kind: EntryType,
    target: &'a str,
    bytes: &'a [u8],
    mode: u32,
}

fn file<'a>(name: &'a str, bytes: &'a [u8]) -> Packed<'a> {
    Packed {
        name,
        kind: EntryType::Regular,
        target: "",
        bytes,
        mode: 0o600,
    }
}

fn link<'a>(name: &'a str, target: &'a str) -> Packed<'a> {
    Packed {
        kind: EntryType::Symlink,
        target,
        ..file(name, b"")
    }
}

/// Written field by field: a library would not write what hostile ones do.
fn tar_of(entries: &[Packed<'_>], owner: u64, mtime: u64) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = Header::new_gnu();
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..entry.name.len()].copy_from_slice(entry.name.as_bytes());
        gnu.linkname[..entry.target.len()].copy_from_slice(entry.target.as_bytes());
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_mtime(mtime);
        header.set_size(entry.bytes.len() as u64);
        header.set_cksum();
        tar.append(&header, entry.bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

/// One entry of a zip, and what its directory says of it.
#[derive(Clone)]
struct Zipped {
    name: String,
    bytes: Vec<u8>,
    deflate: bool,
    mode: u32,
    flags: u16,
    declared_bytes: Option<u32>,
    crc: Option<u32>,
    offset: Option<u32>,
}

fn zipped(name: &str, bytes: &[u8]) -> Zipped {
    Zipped {
        name: name.to_owned(),
        bytes: bytes.to_vec(),
        deflate: true,
        mode: 0o100_644,
        flags: 0,
        declared_bytes: None,
        crc: None,
        offset: None,
    }
}

fn zip_of(entries: &[Zipped]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let mut crc = Crc::new();
        crc.update(&entry.bytes);
        let stored = if entry.deflate {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(&entry.bytes).unwrap();
            encoder.finish().unwrap()
        } else {
            entry.bytes.clone()
        };
        let size = entry
            .declared_bytes
            .unwrap_or(u32::try_from(entry.bytes.len()).unwrap());
        let mut common = Vec::new();
        common.extend(20_u16.to_le_bytes());
        common.extend(entry.flags.to_le_bytes());
        common.extend((if entry.deflate { 8_u16 } else { 0 }).to_le_bytes());
        common.extend([0; 4]);
        common.extend(entry.crc.unwrap_or(crc.sum()).to_le_bytes());
        common.extend(u32::try_from(stored.len()).unwrap().to_le_bytes());
        common.extend(size.to_le_bytes());
        common.extend(u16::try_from(entry.name.len()).unwrap().to_le_bytes());
        common.extend([0; 2]);
        let offset = entry.offset.unwrap_or(u32::try_from(out.len()).unwrap());
        if entry.offset.is_none() {
            out.extend(b"PK\x03\x04");
            out.extend(&common);
            out.extend(entry.name.as_bytes());
            out.extend(stored);
        }
        directory.extend(b"PK\x01\x02\x14\x03");
        directory.extend(&common);
        directory.extend([0; 6]);
        directory.extend((entry.mode << 16).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(entry.name.as_bytes());
    }
    let at = u32::try_from(out.len()).unwrap();
    let count = u16::try_from(entries.len()).unwrap().to_le_bytes();
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend(count);
    out.extend(count);
    out.extend(u32::try_from(directory.len()).unwrap().to_le_bytes());
    out.extend(at.to_le_bytes());
    out.extend([0; 2]);
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_source_is_the_same_image_whoever_packed_it() {
    let bench = Bench::new().await;
    let program = || Packed {
        mode: 0o4775,
        ..file("bin/go", b"#!/bin/sh")
    };
    let one = tar_of(
        &[file("app.py", b"x = 1"), program(), link("bin/a", "../app.py")],
        1000,
        1_700_000_000,
    );
    let folder = Packed {
        kind: EntryType::Directory,
        mode: 0o777,
        ..file("./bin/", b"")
    };
    let other = [
        folder,
        link("./bin/a", "../app.py"),
        program(),
        file("./app.py", b"x = 1"),
    ];
    let other = tar_of(&other, 0, 0);
    let mut zip = [
        zipped("bin/a", b"../app.py"),
        zipped("app.py", b"x = 1"),
        zipped("bin/go", b"#!/bin/sh"),
    ];
    (zip[0].mode, zip[2].mode, zip[1].deflate) = (0o120_777, 0o100_755, false);
    let owned = SourceOptions {
        owner: Some("fn.test.1".to_owned()),
        ..SourceOptions::default()
    };
    let first = import(&bench, one.clone(), owned).await.unwrap();
    for again in [gzip(&one).unwrap(), other, zip_of(&zip)] {
        let again = import(&bench, again, SourceOptions::default()).await.unwrap();
        assert_eq!(again.id, first.id);
    }
    let elsewhere = SourceOptions {
        prefix: "/opt".to_owned(),
        ..SourceOptions::default()
    };
    assert_ne!(import(&bench, one, elsewhere).await.unwrap().id, first.id);
    bench.assert_nothing_in_the_making();
    let root = bench.store.hold(&first.id, "mch1").unwrap().root_path;
    if let Some(found) = read_from_root(&root, "var/task/bin/a") {
        assert_eq!(found, b"x = 1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_keeps_it_from_the_first_moment_until_it_is_taken_away() {
    let bench = Bench::new().await;
    let source = || tar_of(&[file("a", b"1")], 0, 0);
    let owned = SourceOptions {
        owner: Some("fn.one.1".to_owned()),
        ..SourceOptions::default()
    };
    let id = import(&bench, source(), owned).await.unwrap().id;
    bench.store.pin(&id, "fn.one.2").unwrap();
    for owner in ["fn.one.1", "fn.one.2"] {
        assert_eq!(bench.store.prune(true).unwrap().deleted, []);
        assert_kind(bench.store.remove(&id.to_string(), false), ErrorKind::InUse);
        bench.store.unpin(owner).unwrap();
        bench.store.unpin(owner).unwrap();
    }
    assert_eq!(bench.store.prune(false).unwrap().deleted, [id]);
    assert_kind(bench.store.pin(&id, "fn.one.1"), ErrorKind::NotFound);
    let bad = SourceOptions {
        owner: Some("../x".to_owned()),
        ..SourceOptions::default()
    };
    assert_kind(import(&bench, source(), bad).await, ErrorKind::InvalidInput);
    bench.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leads_out_of_a_tar_is_refused() {
    let bench = Bench::new().await;
    let of_kind = |kind| Packed {
        kind,
        ..file("odd", b"")
    };
    let hard = |target| Packed {
        kind: EntryType::Link,
        ..link("hard", target)
    };
    for (entry, says) in [
        (file("../escape", b"x"), vec!["../escape", "`..`"]),
        (file("/etc/passwd", b"x"), vec!["/etc/passwd", "absolute"]),
        (link("l", "/etc/passwd"), vec!["\"l\"", "/etc/passwd", "absolute"]),
        (link("l", "../../etc/passwd"), vec!["\"l\"", "out of the source"]),
        (hard("/etc/passwd"), vec!["\"hard\"", "/etc/passwd"]),
        (of_kind(EntryType::Char), vec!["\"odd\"", "a device"]),
        (of_kind(EntryType::Block), vec!["\"odd\"", "a device"]),
        (of_kind(EntryType::Fifo), vec!["\"odd\"", "a named pipe"]),
        (file(".wh.x", b""), vec![".wh.x", "reserve"]),
    ] {
        refused(&bench, tar_of(&[file("app.py", b""), entry], 0, 0), &says).await;
    }
    refused(
        &bench,
        tar_of(&[link("l", "x"), file("l/y", b"")], 0, 0),
        &["l/y", "no folder"],
    )
    .await;
    let mut cut = tar_of(&[file("a", &[1; 5000])], 0, 0);
    cut.truncate(2000);
    let cut = import(&bench, cut, SourceOptions::default()).await.unwrap_err();
    assert!(chain(&cut).contains("source"), "{cut:?}");
    refused(
        &bench,
        b"neither the one nor the other".repeat(100),
        &["tar is malformed"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn size_and_number_have_limits_that_the_message_tells() {
    let bench = Bench::new().await;
    let small = || SourceOptions {
        max_bytes: 1 << 20,
        max_entries: 3,
        ..SourceOptions::default()
    };
    let big = vec![0; (1 << 20) + 1];
    let bomb = zip_of(&[zipped("zeros", &big)]);
    assert!(bomb.len() < 5000);
    for bytes in [
        tar_of(&[file("a", &big)], 0, 0),
        gzip(&tar_of(&[file("a", &big)], 0, 0)).unwrap(),
        bomb,
    ] {
        let error = assert_kind(import(&bench, bytes, small()).await, ErrorKind::InvalidInput);
        let error = chain(&error);
        assert!(
            error.contains("1048577 bytes") && error.contains("1048576 (1 MiB)"),
            "{error}"
        );
    }
    let entries = ["a", "b", "c", "d"];
    for bytes in [
        tar_of(&entries.map(|name| file(name, b"")), 0, 0),
        zip_of(&entries.map(|name| zipped(name, b""))),
    ] {
        let error = assert_kind(import(&bench, bytes, small()).await, ErrorKind::InvalidInput);
        assert!(chain(&error).contains("more than the 3"), "{error}");
    }
    bench.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_zips_are_refused() {
    let bench = Bench::new().await;
    let plain = || zipped("a", &[7; 1000]);
    let with = |change: fn(&mut Zipped)| {
        let mut entry = plain();
        change(&mut entry);
        zip_of(&[zipped("first", b"1"), entry])
    };
    for (bytes, says) in [
        // Says less than it unpacks to, or more.
        (with(|e| e.declared_bytes = Some(10)), "more bytes than it declares"),
        (with(|e| e.declared_bytes = Some(2000)), "fewer bytes than it declares"),
        (with(|e| e.crc = Some(1)), "checksum"),
        (with(|e| e.flags = 1), "password"),
        (with(|e| e.name = "../a".into()), "`..`"),
        (with(|e| e.name = "/a".into()), "absolute"),
        (with(|e| e.name = "x\\a".into()), "backslash"),
        (with(|e| e.name = "first".into()), "twice"),
        (with(|e| e.mode = 0o020_644), "a device"),
        (with(|e| e.mode = 0o010_644), "a named pipe"),
        (
            with(|e| (e.mode, e.bytes) = (0o120_777, b"/etc/passwd".to_vec())),
            "absolute",
        ),
        (
            with(|e| (e.mode, e.bytes) = (0o120_777, vec![b'x'; 5000])),
            "too long a path",
        ),
        (with(|e| e.declared_bytes = Some(u32::MAX)), "zip64"),
        (with(|e| e.offset = Some(1_000_000)), "cut short"),
        (with(|e| e.offset = Some(1)), "not where its directory says"),
    ] {
        refused(&bench, bytes, &[says]).await;
    }
    // Two entries of the same bytes.
    let mut twice = [plain(), plain()];
    twice[1].offset = Some(0);
    refused(&bench, zip_of(&twice), &["twice"]).await;
    let mut nested = zip_of(&[plain()]);
    nested.truncate(nested.len() - 1);
    refused(&bench, nested, &["no end"]).await;
    let mut odd = zip_of(&[plain()]);
    odd.insert(0, b'P');
    refused(&bench, odd, &["malformed"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_with_nothing_in_it_is_refused() {
    let bench = Bench::new().await;
    for empty in [zip_of(&[]), tar_of(&[], 0, 0)] {
        let refused = import(&bench, empty, SourceOptions::default()).await.unwrap_err();
        assert!(refused.to_string().contains("empty"), "{refused}");
    }
}

mod arbitrary {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever comes: no panic, nothing half-made, and a change of any byte is found or harmless.
        #[test]
        fn a_broken_zip_is_no_harm(at in 0_usize..400, byte: u8) {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let bench = Bench::new().await;
                let mut bytes = zip_of(&[zipped("a/b", &[1; 300]), zipped("c", b"some text")]);
                let length = bytes.len();
                bytes[at % length] = byte;
                let _ = import(&bench, bytes, SourceOptions::default()).await;
                bench.assert_nothing_in_the_making();
            });
        }
    }
}
