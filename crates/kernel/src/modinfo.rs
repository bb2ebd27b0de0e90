//! What a module says of itself: the `.modinfo` section, NUL-separated `key=value` strings.

use object::{Object as _, ObjectSection as _};

use crate::error::KernelError;
use crate::limits;

/// The parts of `.modinfo` that matter for loading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModInfo {
    /// Modules whose symbols it uses.
    pub(crate) depends: Vec<String>,
    /// Modules or aliases that it would like loaded before it.
    pub(crate) soft_before: Vec<String>,
    /// Aliases that it answers to.
    pub(crate) aliases: Vec<String>,
    /// The kernel release that it was built for.
    pub(crate) release: Option<String>,
}

impl ModInfo {
    /// Reads an unpacked module.
    pub(crate) fn read(module: &str, elf: &[u8]) -> Result<Self, KernelError> {
        let bad = |reason: &str| KernelError::BadModule {
            module: module.to_owned(),
            reason: reason.to_owned(),
        };
        let file = object::read::elf::ElfFile64::<object::LittleEndian>::parse(elf)
            .map_err(|error| bad(&format!("not a 64-bit ELF object: {error}")))?;
        if file.architecture() != object::Architecture::X86_64 {
            return Err(bad("not built for x86-64"));
        }
        let section = file
            .section_by_name(".modinfo")
            .ok_or_else(|| bad("has no .modinfo section"))?;
        let data = section
            .data()
            .map_err(|error| bad(&format!("its .modinfo cannot be read: {error}")))?;
        if data.len() > limits::MODINFO_BYTES {
            return Err(bad("says more of itself than any real module"));
        }
        Ok(Self::parse(data))
    }

    fn parse(section: &[u8]) -> Self {
        let mut info = Self::default();
        for entry in section.split(|byte| *byte == 0) {
            let Some((key, value)) = str::from_utf8(entry).ok().and_then(|entry| entry.split_once('=')) else {
                continue;
            };
            match key {
                "depends" => {
                    info.depends
                        .extend(value.split(',').filter(|name| !name.is_empty()).map(normal_name));
                }
                "softdep" => info.soft_before.extend(soft_before(value)),
                "alias" => info.aliases.push(value.to_owned()),
                "vermagic" => info.release = value.split_whitespace().next().map(str::to_owned),
                _ => {}
            }
        }
        info
    }
}

/// The `pre:` part of a soft dependency (`pre: a b post: c`).
pub(crate) fn soft_before(value: &str) -> Vec<String> {
    let words = value.split_whitespace().skip_while(|word| *word != "pre:").skip(1);
    words
        .take_while(|word| !word.ends_with(':'))
        .map(str::to_owned)
        .collect()
}

/// Modules are named with `_` where their file may have `-`.
pub(crate) fn normal_name(name: &str) -> String {
    name.replace('-', "_")
}

/// The module's name if `file_name` is a module's (`virtio-rng.ko.xz` → `virtio_rng`) and is plain enough to be true.
pub(crate) fn module_name(file_name: &str) -> Option<String> {
    let stem = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"]
        .iter()
        .find_map(|suffix| file_name.strip_suffix(suffix))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (!stem.is_empty() && stem.len() <= 64 && stem.bytes().all(plain)).then(|| normal_name(stem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modinfo_is_parsed() {
        let info = ModInfo::parse(
            b"license=GPL\0depends=virtio,virtio-ring\0softdep=pre: crc32c sha1 post: x\0alias=fs-erofs\0vermagic=6.1.0-1-a SMP\0",
        );
        assert_eq!(info.depends, ["virtio", "virtio_ring"]);
        assert_eq!(info.soft_before, ["crc32c", "sha1"]);
        assert_eq!(info.aliases, ["fs-erofs"]);
        assert_eq!(info.release.as_deref(), Some("6.1.0-1-a"));
    }

    #[test]
    fn only_plain_module_names_are_taken() {
        assert_eq!(module_name("virtio-rng.ko.xz").as_deref(), Some("virtio_rng"));
        assert_eq!(module_name("erofs.ko").as_deref(), Some("erofs"));
        for name in ["..ko", ".ko", "a/b.ko", "a b.ko", "modules.dep", "erofs.ko.bz2"] {
            assert_eq!(module_name(name), None, "{name}");
        }
    }
}
