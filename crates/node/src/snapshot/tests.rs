use std::{fs::File, os::unix::fs::FileExt as _};

use super::*;

#[test]
fn a_hash_is_of_what_a_file_holds_and_not_of_its_holes() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, zeros_at: Option<u64>, data: &[(u64, &[u8])]| {
        let path = folder.path().join(name);
        let file = File::create_new(&path).unwrap();
        file.set_len(4 << 20).unwrap();
        if let Some(at) = zeros_at {
            file.write_all_at(&vec![0; 200_000], at).unwrap();
        }
        for (at, data) in data {
            file.write_all_at(data, *at).unwrap();
        }
        hash::of_file(&File::open(path).unwrap()).unwrap().0
    };
    let data: &[(u64, &[u8])] = &[(70_000, b"one"), (3 << 20, b"two")];
    let plain = file("plain", None, data);
    assert_eq!(plain, file("filled", Some(1 << 20), data));
    assert_eq!(plain, file("around", Some(65_000), data));
    assert_ne!(plain, file("moved", None, &[(70_001, b"one"), (3 << 20, b"two")]));
    assert_ne!(
        plain,
        file("block", None, &[(70_000, b"one"), ((3 << 20) + 65_536, b"two")])
    );
    assert_ne!(plain, file("less", None, &data[..1]));
    assert_eq!(file("empty", None, &[]), file("zeros", Some(0), &[]));
}

#[test]
fn a_mark_of_another_node_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let (key, stranger) = (
        NodeKey::open(folder.path()).unwrap(),
        NodeKey::open(other.path()).unwrap(),
    );
    let text = br#"{"anything": 1}"#;
    fs::write(folder.path().join("manifest.json"), text).unwrap();
    for (mark, told) in [
        (stranger.mark(text).to_hex().to_string(), "was not written by this node"),
        ("zz".repeat(32), "was not written by this node"),
        (String::new(), "was not written by this node"),
        (key.mark(text).to_hex().to_string(), "cannot read"),
    ] {
        fs::write(folder.path().join("manifest.mac"), mark).unwrap();
        let error = Folder::open(folder.path(), &key).unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
    }
}
