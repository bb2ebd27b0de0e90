//! Arbitrary bytes as layers: building must not panic, hang or take memory without bound.
//!
//! The first byte cuts the input in two layers, so that whiteouts and links meet something to work on. With the second
//! byte odd, all checksums in the headers are made right first, or little would get past the first header.

#![no_main]

use std::fs::File;

use hearth_erofs::{Builder, Limits};
use libfuzzer_sys::fuzz_target;

const BLOCK: usize = 512;

fuzz_target!(|data: &[u8]| {
    let [cut, mend, data @ ..] = data else { return };
    let mut bytes = data.to_vec();
    if mend % 2 == 1 {
        bytes.chunks_exact_mut(BLOCK).for_each(mend_checksum);
    }
    let cut = (usize::from(*cut) * BLOCK).min(bytes.len());
    build(&bytes[..cut], &bytes[cut..]);
});

fn build(lower: &[u8], upper: &[u8]) {
    let limits = Limits {
        image_bytes: 8 << 20,
        entries: 4096,
        path_depth: 16,
        path_bytes: 512,
        xattr_bytes: 4096,
        pax_bytes: 16 << 10,
        metadata_bytes: 4 << 20,
    };
    let Ok(memory) = rustix::fs::memfd_create("image", rustix::fs::MemfdFlags::CLOEXEC) else { return };
    let Ok(mut builder) = Builder::create(File::from(memory), limits) else { return };
    for layer in [lower, upper] {
        if builder.apply_layer("fuzz", layer, &mut |_| {}).is_err() {
            return;
        }
    }
    let _ = builder.read_file("a/b", 4096);
    let stats = builder.finish().expect("layers that were accepted make an image");
    assert_eq!(stats.bytes % 4096, 0);
}

fn mend_checksum(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}
