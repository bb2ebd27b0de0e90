//! Names for machines whose makers gave none.

use hearth_domain::MachineName;
use rand::{Rng as _, seq::IndexedRandom as _};

const FIRST: &[&str] = &[
    "amber", "bold", "brisk", "calm", "clear", "copper", "cosy", "dusky", "eager", "early", "fair", "fond", "gentle",
    "glad", "golden", "hardy", "hazel", "keen", "kind", "lively", "lucid", "mellow", "merry", "misty", "nimble",
    "noble", "plain", "proud", "quick", "quiet", "ready", "rosy", "rustic", "sandy", "sharp", "silent", "silver",
    "snowy", "spry", "steady", "sunny", "swift", "tidy", "true", "vivid", "warm", "wise", "witty",
];
const SECOND: &[&str] = &[
    "alder", "anvil", "ash", "beacon", "bellows", "birch", "bramble", "candle", "cedar", "cinder", "clover", "coal",
    "copse", "ember", "fern", "flint", "forge", "furnace", "grate", "hazelnut", "hearth", "heather", "hickory",
    "holly", "kettle", "kiln", "kindling", "lantern", "larch", "mantel", "maple", "oak", "oven", "pine", "poker",
    "rowan", "smithy", "spark", "spruce", "stove", "tallow", "thistle", "tinder", "torch", "walnut", "wick", "willow",
    "yew",
];

/// A name that is most likely free. Later tries are longer.
pub(crate) fn make_up(attempt: u32) -> Option<MachineName> {
    let mut random = rand::rng();
    let first = FIRST.choose(&mut random)?;
    let second = SECOND.choose(&mut random)?;
    let number = random.random_range(0..10_u32.pow(2 + attempt.min(5)));
    format!("{first}-{second}-{number}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_makes_a_name() {
        for word in FIRST.iter().chain(SECOND) {
            assert!(word.parse::<MachineName>().is_ok(), "{word}");
        }
        assert!((0..20).all(|attempt| make_up(attempt).is_some()));
    }
}
