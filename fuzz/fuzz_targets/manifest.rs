//! What registries and archives say: manifests, indexes, configurations, references. Nothing may panic, and what was accepted must be within its bounds
//! and written as it is read.
#![no_main]

use hearth_image::{Digest, Document, ImageConfig, LAYERS_MAX, Platform, Reference};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match Document::parse(bytes, None) {
        Ok(Document::Manifest(manifest)) => assert!(manifest.layers.len() <= LAYERS_MAX),
        Ok(Document::Index(index)) => {
            if let Err(error) = index.select(&Platform::linux("amd64")) {
                let _ = error.to_string();
            }
        }
        Err(error) => drop(error.to_string()),
    }
    if let Ok(config) = ImageConfig::parse(bytes)
        && let Ok(again) = ImageConfig::parse(&config.to_document())
    {
        assert_eq!(config, again);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.to_string().parse(), Ok(reference.clone()));
        assert_eq!(reference.canonical().parse(), Ok(reference));
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
    }
});
