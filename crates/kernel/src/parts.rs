//! A kernel as it was given, before anything is chosen from it.

use std::collections::HashSet;

use crate::kconfig::KernelConfig;
use crate::modinfo::normal_name;
use crate::pool::ModulePool;

/// The inputs of a bundle.
#[derive(Debug, Default)]
pub(crate) struct KernelParts {
    pub(crate) vmlinuz: Vec<u8>,
    pub(crate) config: Option<KernelConfig>,
    pub(crate) builtins: Builtins,
    pub(crate) pool: ModulePool,
}

/// What would be modules, were it not built in: `modules.builtin` and the aliases in `modules.builtin.modinfo`.
#[derive(Debug, Default)]
pub(crate) struct Builtins {
    names: HashSet<String>,
    aliases: HashSet<String>,
}

impl Builtins {
    /// Takes up `modules.builtin`: a path a line.
    pub(crate) fn add_list(&mut self, text: &str) {
        let files = text
            .lines()
            .filter_map(|line| line.rsplit('/').next()?.strip_suffix(".ko"));
        self.names.extend(files.map(normal_name));
    }

    /// Takes up `modules.builtin.modinfo`: NUL-separated `module.key=value`.
    pub(crate) fn add_modinfo(&mut self, bytes: &[u8]) {
        for entry in bytes.split(|byte| *byte == 0) {
            let Some((key, value)) = str::from_utf8(entry).ok().and_then(|entry| entry.split_once('=')) else {
                continue;
            };
            if key.split_once('.').is_some_and(|(_, key)| key == "alias") {
                self.aliases.insert(value.to_owned());
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether a module of this name is built in.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Whether something built in answers to `name`, be it a module or an alias.
    pub(crate) fn answers_to(&self, name: &str) -> bool {
        self.has(&normal_name(name)) || self.aliases.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builtins_answer_to_names_and_aliases() {
        let mut builtins = Builtins::default();
        builtins.add_list("kernel/fs/ext4/ext4.ko\nkernel/drivers/char/hw_random/virtio-rng.ko\n");
        builtins.add_modinfo(b"crc32c_generic.alias=crc32c\0crc32c_generic.license=GPL\0");
        assert!(builtins.has("ext4") && builtins.has("virtio_rng") && !builtins.has("erofs"));
        assert!(builtins.answers_to("crc32c") && builtins.answers_to("virtio-rng") && !builtins.answers_to("GPL"));
    }
}
