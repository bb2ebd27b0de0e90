//! A kernel's `.config`.

use std::collections::HashMap;
use std::io::Read as _;

use crate::limits;

/// Options that are set, by name without `CONFIG_`. Options that are not set are absent.
#[derive(Debug, Default)]
pub(crate) struct KernelConfig(HashMap<String, String>);

impl KernelConfig {
    pub(crate) fn parse(text: &str) -> Self {
        let assignments = text
            .lines()
            .filter_map(|line| line.strip_prefix("CONFIG_")?.split_once('='));
        Self(
            assignments
                .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                .collect(),
        )
    }

    /// Takes the config that a kernel built with `CONFIG_IKCONFIG` carries inside.
    pub(crate) fn from_vmlinux(vmlinux: &[u8]) -> Option<Self> {
        const START: &[u8] = b"IKCFG_ST";
        // The words also occur as a symbol or a string; only the real one is followed by a gzip header.
        let packed = memchr::memmem::find_iter(vmlinux, START)
            .map(|at| &vmlinux[at + START.len()..])
            .find(|rest| rest.starts_with(&[0x1F, 0x8B]))?;
        let mut text = String::new();
        flate2::bufread::GzDecoder::new(packed)
            .take(limits::TEXT_BYTES)
            .read_to_string(&mut text)
            .ok()?;
        Some(Self::parse(&text))
    }

    /// Whether `option` is built in.
    pub(crate) fn is_builtin(&self, option: &str) -> bool {
        self.0.get(option).is_some_and(|value| value == "y")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_set_options_are_known() {
        let config = KernelConfig::parse("# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_C=m\nCONFIG_D=\"y\"\n");
        let builtin: Vec<_> = ["A", "B", "C", "D"]
            .into_iter()
            .filter(|option| config.is_builtin(option))
            .collect();
        assert_eq!(builtin, ["B"]);
    }

    #[test]
    fn a_kernel_may_carry_its_config() {
        let packed = crate::compression::pack(crate::Compression::Gzip, b"CONFIG_X=y\n").unwrap();
        let vmlinux = [b"..IKCFG_ST..IKCFG_ST".as_slice(), &packed, b"IKCFG_ED"].concat();
        assert!(KernelConfig::from_vmlinux(&vmlinux).unwrap().is_builtin("X"));
        assert!(KernelConfig::from_vmlinux(b"IKCFG_ST").is_none());
    }
}
