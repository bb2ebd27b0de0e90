//! The checked-in code must be what the schemas give. `HEARTH_BLESS=1` writes it instead of comparing.

use std::path::Path;

use prost::Message as _;

#[test]
fn generated_code_matches_the_schemas() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let checked_in = root.join("src/generated");
    let fresh = tempfile::tempdir().unwrap();
    generate(&root.join("proto"), fresh.path());
    for entry in std::fs::read_dir(fresh.path()).unwrap() {
        let path = entry.unwrap().path();
        let target = checked_in.join(path.file_name().unwrap());
        if std::env::var_os("HEARTH_BLESS").is_some() {
            std::fs::copy(&path, &target).unwrap();
        }
        let same = std::fs::read(&path).unwrap() == std::fs::read(&target).unwrap_or_default();
        assert!(same, "{} is stale: run this test with HEARTH_BLESS=1", target.display());
    }
}

#[expect(clippy::unwrap_used, reason = "a test's helper")]
fn generate(schemas: &Path, out: &Path) {
    let files = ["process.proto", "filesystem.proto", "hearth/guest/v1/guest.proto"];
    let set = protox::compile(files, [schemas]).unwrap();
    let descriptors = set.encode_to_vec();
    prost_build::Config::new()
        .out_dir(out)
        .btree_map(["."])
        .bytes(["."])
        .extern_path(".google.protobuf.Timestamp", "crate::timestamp::Timestamp")
        .compile_fds(set)
        .unwrap();
    pbjson_build::Builder::new()
        .register_descriptors(&descriptors)
        .unwrap()
        .out_dir(out)
        .btree_map(["."])
        .ignore_unknown_fields()
        .extern_path(".google.protobuf", "crate::timestamp")
        .build(&[".process", ".filesystem", ".hearth"])
        .unwrap();
}
