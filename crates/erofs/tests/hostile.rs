//! Layers that want what they must not have: each is refused whole, with the reason.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test that cannot go on shall stop"
)]

mod common;

use std::io::Read;

use common::{
    archive::{Archive, Entry, header, record},
    build, build_within,
};
use hearth_erofs::{BuildError, Limits, Refusal, TarError};

fn refusal(layers: &[Vec<u8>]) -> Refusal {
    match build(layers).map(|image| image.stats) {
        Err(BuildError::Refused { layer, entry, reason }) => {
            assert_eq!(layer, format!("layer-{}", layers.len() - 1));
            assert!(!entry.is_empty());
            reason
        }
        other => panic!("not refused: {other:?}"),
    }
}

fn tar_error(layer: Vec<u8>) -> TarError {
    match build(&[layer]).map(|image| image.stats) {
        Err(BuildError::Tar { source, .. }) => source,
        other => panic!("no tar error: {other:?}"),
    }
}

fn excess(layer: Vec<u8>, limits: Limits) -> &'static str {
    match build_within(&[layer], limits).map(|image| image.stats) {
        Err(BuildError::Limit { excess, .. }) => excess.what,
        other => panic!("no limit: {other:?}"),
    }
}

#[test]
fn dot_dot_is_refused_wherever_it_stands() {
    for name in ["../evil", "a/../../evil", "a/..", "..", "/../etc/passwd", "./.././x"] {
        assert_eq!(
            refusal(&[Archive::new().file(name, b"x").finish()]),
            Refusal::DotDot,
            "{name}"
        );
    }
}

#[test]
fn the_error_names_layer_entry_and_reason() {
    let error = build(&[
        Archive::new().finish(),
        Archive::new().file("../\x1b[31mevil", b"").finish(),
    ])
    .map(|_| ());
    let text = error.unwrap_err().to_string();
    assert_eq!(
        text,
        r#"layer layer-1 is refused: entry "../\x1b[31mevil": its name contains '..'"#
    );
}

#[test]
fn parents_that_are_links_of_the_same_layer_are_refused() {
    for target in ["/etc", "../../../etc", "usr/bin", "."] {
        let layer = Archive::new()
            .folder("usr/bin")
            .symlink("evil", target)
            .file("evil/passwd", b"x")
            .finish();
        assert!(matches!(refusal(&[layer]), Refusal::SymlinkParent { .. }), "{target}");
    }
}

#[test]
fn parents_that_climb_above_the_root_are_refused() {
    for target in ["..", "../etc", "a/../../x", "/..", "/../../etc"] {
        let lower = Archive::new().folder("a").symlink("evil", target).finish();
        for upper in [
            Archive::new().file("evil/passwd", b"x").finish(),
            Archive::new().file("evil/.wh.passwd", b"").finish(),
            Archive::new().file("evil/.wh..wh..opq", b"").finish(),
        ] {
            let reason = refusal(&[lower.clone(), upper]);
            assert!(matches!(reason, Refusal::ParentLeavesRoot { .. }), "{target}: {reason}");
        }
    }
}

#[test]
fn loops_of_links_are_refused() {
    let lower = Archive::new()
        .symlink("a", "b")
        .symlink("b", "a")
        .symlink("c", "c/c")
        .finish();
    for name in ["a/x", "c/x"] {
        let upper = Archive::new().file(name, b"").finish();
        assert_eq!(refusal(&[lower.clone(), upper]), Refusal::ParentLoop);
    }
}

#[test]
fn hard_links_stay_inside() {
    let make = |target: &str| {
        Archive::new()
            .folder("d")
            .file("d/f", b"x")
            .hard_link("evil", target)
            .finish()
    };
    assert!(matches!(
        refusal(&[make("../../etc/shadow")]),
        Refusal::HardLinkOutside { .. }
    ));
    assert!(matches!(
        refusal(&[make("/etc/shadow")]),
        Refusal::HardLinkMissing { .. }
    ));
    assert!(matches!(refusal(&[make("d")]), Refusal::HardLinkToFolder { .. }));
    assert!(matches!(refusal(&[make("/")]), Refusal::HardLinkToFolder { .. }));
    assert!(matches!(refusal(&[make("")]), Refusal::HardLinkToFolder { .. }));
    assert!(matches!(refusal(&[make("evil")]), Refusal::HardLinkMissing { .. }));
    let through_link = Archive::new()
        .folder("d")
        .file("d/f", b"")
        .symlink("l", "d")
        .hard_link("evil", "l/f")
        .finish();
    assert!(matches!(refusal(&[through_link]), Refusal::HardLinkTarget { .. }));
}

#[test]
fn impossible_entries_are_refused() {
    let long = "n".repeat(256);
    assert_eq!(
        refusal(&[Archive::new().file(&long, b"").finish()]),
        Refusal::ComponentTooLong { len: 256 }
    );
    let deep = "d/".repeat(300);
    assert_eq!(
        refusal(&[Archive::new().folder(&deep).finish()]),
        Refusal::TooDeep { limit: 256 }
    );
    let path = "d/".repeat(2100);
    assert_eq!(
        refusal(&[Archive::new().folder(&path).finish()]),
        Refusal::PathTooLong { len: 4200, limit: 4096 }
    );
    assert_eq!(
        refusal(&[Archive::new().file(".", b"").finish()]),
        Refusal::RootNotFolder
    );
    assert_eq!(
        refusal(&[Archive::new().symlink("/", "/etc").finish()]),
        Refusal::RootNotFolder
    );
    assert!(matches!(
        refusal(&[Archive::new().file("f", b"").file("f/x", b"").finish()]),
        Refusal::ParentNotFolder { .. }
    ));
    assert_eq!(
        refusal(&[Archive::new().symlink("l", "").finish()]),
        Refusal::BadSymlink { len: 0 }
    );
    assert_eq!(
        refusal(&[Archive::new().symlink("l", &"t".repeat(4096)).finish()]),
        Refusal::BadSymlink { len: 4096 }
    );
    let nul = Archive::new()
        .entry(Entry::new(b"x", b'0').pax("path", b"a\0b"))
        .finish();
    assert_eq!(refusal(&[nul]), Refusal::NulInName);
    let device = Archive::new()
        .entry(Entry {
            device: (4096, 0),
            ..Entry::new(b"dev", b'3')
        })
        .finish();
    assert_eq!(refusal(&[device]), Refusal::DeviceNumber { major: 4096, minor: 0 });
}

#[test]
fn whiteouts_that_name_nothing_are_refused() {
    for name in [".wh.", "a/.wh..", ".wh..."] {
        assert_eq!(
            refusal(&[Archive::new().file(name, b"").finish()]),
            Refusal::BadWhiteout,
            "{name}"
        );
    }
    assert_eq!(
        refusal(&[Archive::new().file(".wh.a/b", b"").finish()]),
        Refusal::ReservedName
    );
}

#[test]
fn a_depth_reached_through_links_counts_too() {
    let deep = "d/".repeat(200);
    let lower = Archive::new().folder(&deep).symlink("l", &deep).finish();
    let upper = Archive::new().folder(&format!("l/{}", "e/".repeat(100))).finish();
    assert_eq!(refusal(&[lower, upper]), Refusal::TooDeep { limit: 256 });
}

#[test]
fn what_is_too_much_is_refused() {
    let small = Limits {
        image_bytes: 64 << 10,
        ..Limits::default()
    };
    let bytes = vec![1; 100 << 10];
    assert_eq!(
        excess(Archive::new().file("f", &bytes).finish(), small.clone()),
        "bytes of file contents"
    );

    // A bomb: next to nothing compressed, a hole of 60 TiB, and one of 100 GiB.
    let zeros = zstd::encode_all(std::io::repeat(0).take(1 << 30), 1).unwrap();
    assert!(zeros.len() < 200_000);
    let mut layer = Archive::new();
    layer.raw(&header(b"zeros", b'0', 1 << 30, |_| {}), b"");
    let layer = [zstd::encode_all(layer.unfinished().as_slice(), 1).unwrap(), zeros].concat();
    assert_eq!(
        excess(
            layer,
            Limits {
                image_bytes: 512 << 20,
                ..Limits::default()
            }
        ),
        "bytes of file contents"
    );
    for size in ["60000000000000", "100000000000"] {
        let sparse = Entry::new(b"s", b'0')
            .pax("GNU.sparse.size", size.as_bytes())
            .pax("GNU.sparse.map", b"0,0");
        let layer = Archive::new().entry(sparse).finish();
        assert_eq!(excess(layer, Limits::default()), "bytes of file contents");
    }

    // Padding behind the end of the archive counts as well.
    let padded = [Archive::new().finish(), vec![0; 128 << 10]].concat();
    assert_eq!(excess(padded, small), "bytes of uncompressed layers");

    let few = Limits {
        entries: 3,
        ..Limits::default()
    };
    let many = (0..4)
        .fold(Archive::new(), |archive, i| archive.file(&format!("f{i}"), b""))
        .finish();
    assert_eq!(excess(many, few), "entries");

    let value = vec![b'v'; 2 << 20];
    let pax = Archive::new()
        .entry(Entry::new(b"x", b'0').pax("comment", &value))
        .finish();
    assert_eq!(excess(pax, Limits::default()), "bytes in a header before an entry");

    let tight = Limits {
        metadata_bytes: 100_000,
        ..Limits::default()
    };
    let layer = (0..50)
        .fold(Archive::new(), |archive, i| {
            archive.entry(Entry::new(format!("f{i}").as_bytes(), b'0').pax("SCHILY.xattr.user.a", &[0; 4000]))
        })
        .finish();
    assert_eq!(excess(layer, tight), "bytes of metadata in memory");

    let xattrs = (0..3).fold(Entry::new(b"x", b'0'), |entry, i| {
        entry.pax(&format!("SCHILY.xattr.user.{i}"), &vec![b'x'; 30_000])
    });
    assert!(matches!(
        refusal(&[Archive::new().entry(xattrs).finish()]),
        Refusal::XattrsTooLarge { .. }
    ));
}

/// Few entries whose many parents no entry declares.
fn undeclared_parents(entries: usize) -> Vec<u8> {
    let parents = "a/".repeat(250);
    (0..entries)
        .fold(Archive::new(), |archive, i| {
            archive.file(&format!("n{i}/{parents}f"), b"")
        })
        .finish()
}

#[test]
fn folders_made_on_the_way_count_as_those_that_are_declared() {
    let few = Limits {
        entries: 1000,
        ..Limits::default()
    };
    assert!(build_within(&[undeclared_parents(3)], few.clone()).is_ok());
    assert_eq!(excess(undeclared_parents(4), few), "entries");
    let tight = Limits {
        metadata_bytes: 500_000,
        ..Limits::default()
    };
    assert!(build_within(&[undeclared_parents(3)], tight.clone()).is_ok());
    assert_eq!(excess(undeclared_parents(5), tight), "bytes of metadata in memory");
}

#[test]
fn global_headers_keep_little_however_many_there_are() {
    let global = |records: &[(String, String)]| {
        let records = records.iter();
        let bytes: Vec<u8> = records
            .flat_map(|(key, value)| record(key.as_bytes(), value.as_bytes()))
            .collect();
        let mut archive = Archive::new();
        archive.raw(&header(b"global", b'g', bytes.len(), |_| {}), &bytes);
        archive.unfinished()
    };
    let xattr = |i: usize, value: &str| (format!("SCHILY.xattr.user.{i}"), value.to_owned());
    let then_file = |mut globals: Vec<u8>| {
        globals.extend(Archive::new().file("f", b"x").finish());
        globals
    };

    // What replaces what was there, and what means nothing, takes no room.
    let same: Vec<u8> = (0..1000).flat_map(|i| global(&[xattr(0, &i.to_string())])).collect();
    assert!(build(&[then_file(same)]).is_ok());
    let comments: Vec<_> = (0..20_000).map(|i| (format!("comment{i}"), "c".to_owned())).collect();
    assert!(build(&[then_file(global(&comments))]).is_ok());

    let kept = "records kept from global PAX headers";
    let many: Vec<_> = (0..200).map(|i| xattr(i, "v")).collect();
    assert_eq!(excess(then_file(global(&many)), Limits::default()), kept);
    let one_each: Vec<u8> = many
        .iter()
        .flat_map(|record| global(std::slice::from_ref(record)))
        .collect();
    assert_eq!(excess(then_file(one_each), Limits::default()), kept);
    let pairs: Vec<_> = (0..200)
        .map(|i| ("GNU.sparse.offset".to_owned(), i.to_string()))
        .collect();
    assert_eq!(excess(then_file(global(&pairs)), Limits::default()), kept);
    let large: Vec<_> = (0..10).map(|i| xattr(i, &"v".repeat(10_000))).collect();
    assert_eq!(
        excess(then_file(global(&large)), Limits::default()),
        "bytes kept from global PAX headers"
    );
}

#[test]
fn a_layer_that_is_cut_off_is_an_error_unless_between_entries() {
    let whole = Archive::new().file("a", &[7; 3000]).file("b", b"x").unfinished();
    for len in 0..whole.len() {
        let boundary = [0, 512 + 3072, whole.len()].contains(&len);
        assert_eq!(
            build(&[whole[..len].to_vec()]).is_ok(),
            boundary,
            "{len} of {}",
            whole.len()
        );
    }
    let compressed = zstd::encode_all(whole.as_slice(), 3).unwrap();
    for cut in [5, compressed.len() / 2, compressed.len() - 1] {
        let error = build(&[compressed[..cut].to_vec()])
            .map(|image| image.stats)
            .unwrap_err();
        assert!(matches!(error, BuildError::Read { .. }), "{error}");
    }
}

#[test]
fn damaged_archives_are_errors() {
    let mut flipped = Archive::new().file("a", b"x").finish();
    flipped[0] ^= 1;
    assert!(matches!(tar_error(flipped), TarError::Checksum));
    assert!(matches!(tar_error(vec![b'<'; 2048]), TarError::Checksum));
    let lone_zero = [vec![0; 512], Archive::new().file("a", b"x").finish()].concat();
    assert!(matches!(tar_error(lone_zero), TarError::Checksum));

    let mut archive = Archive::new();
    archive.raw(
        &header(b"x", b'0', 0, |block| block[124..136].copy_from_slice(b"nonsense    ")),
        b"",
    );
    assert!(matches!(
        tar_error(archive.finish()),
        TarError::Number { field: "size", .. }
    ));
    let mut archive = Archive::new();
    archive.raw(&header(b"x", b'0', 0, |block| block[124..136].fill(0xff)), b"");
    assert!(matches!(
        tar_error(archive.finish()),
        TarError::Number { field: "size", .. }
    ));
    let mut archive = Archive::new();
    archive.raw(&header(b"pax", b'x', 6, |_| {}), b"9 a=b\n");
    assert!(matches!(tar_error(archive.finish()), TarError::PaxRecord));
    let mut archive = Archive::new();
    archive.raw(&header(b"long", b'L', 4, |_| {}), b"name");
    assert!(matches!(tar_error(archive.finish()), TarError::DanglingHeaders));
    let odd = Archive::new().entry(Entry::new(b"x", b'M')).finish();
    assert!(matches!(tar_error(odd), TarError::Unsupported { type_flag: 'M', .. }));
    let negative = Archive::new()
        .entry(Entry::new(b"x", b'0').pax("uid", b"99999999999"))
        .finish();
    assert!(matches!(tar_error(negative), TarError::Number { field: "uid", .. }));
}

#[test]
fn sparse_maps_must_make_sense() {
    let sparse = |map: &[u8]| {
        let entry = Entry {
            data: &[1; 512],
            ..Entry::new(b"s", b'0')
        };
        Archive::new()
            .entry(entry.pax("GNU.sparse.size", b"4096").pax("GNU.sparse.map", map))
            .finish()
    };
    assert!(build(&[sparse(b"1024,512")]).is_ok());
    for map in [
        &b"1024,513"[..],
        b"4000,512",
        b"1024,256,1000,256",
        b"1024",
        b"a,b",
        b"18446744073709551615,512",
        b"0,1",
    ] {
        assert!(
            matches!(tar_error(sparse(map)), TarError::SparseMap(_)),
            "{}",
            map.escape_ascii()
        );
    }
}

#[test]
fn a_failed_builder_does_not_finish() {
    let folder = tempfile::tempdir().unwrap();
    let (mut builder, _) = common::builder(folder.path(), Limits::default());
    let bad = Archive::new().file("../x", b"").finish();
    assert!(builder.apply_layer("bad", bad.as_slice(), &mut |_| {}).is_err());
    let good = Archive::new().finish();
    let again = builder.apply_layer("good", good.as_slice(), &mut |_| {});
    assert!(matches!(again, Err(BuildError::Incomplete)));
    assert!(matches!(builder.finish(), Err(BuildError::Incomplete)));
}

/// A layer of whiteouts over a layer of files must not cost the square of their number.
#[test]
fn many_whiteouts_take_little_time() {
    let started = std::time::Instant::now();
    let mut layer = (0..40_000).fold(Archive::new(), |archive, i| archive.file(&format!("d/f{i}"), b""));
    layer = (0..40_000).fold(layer, |archive, _| {
        archive.file("d/.wh..wh..opq", b"").file(".wh.d", b"")
    });
    build(&[layer.finish()]).unwrap();
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}
