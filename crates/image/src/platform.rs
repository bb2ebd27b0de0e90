//! What an image was built for, in the words of the image specification.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::clip;

/// Operating system, architecture and variant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `linux` for everything that runs here.
    pub os: String,
    /// Go's name of the architecture: `amd64`, `arm64`.
    pub architecture: String,
    /// Such as `v8`; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl Platform {
    /// Linux on the host's processor.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self::linux(architecture)
    }

    /// Linux on some architecture.
    pub fn linux(architecture: &str) -> Self {
        Self {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: String::new(),
        }
    }

    /// Whether an image for `image` runs on this platform. An image that says nothing about a field is not refused for it.
    pub fn runs(&self, image: &Platform) -> bool {
        let fits = |mine: &str, theirs: &str| theirs.is_empty() || mine == theirs;
        fits(&self.os, &image.os) && fits(&self.architecture, &image.architecture) && self.runs_variant(&image.variant)
    }

    fn runs_variant(&self, variant: &str) -> bool {
        match self.architecture.as_str() {
            // Higher amd64 levels cannot be promised without asking the processor.
            "amd64" => matches!(variant, "" | "v1"),
            "arm64" => matches!(variant, "" | "v8" | "8"),
            _ => self.variant.is_empty() || variant.is_empty() || self.variant == variant,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", clip(&self.os), clip(&self.architecture))?;
        if self.variant.is_empty() {
            Ok(())
        } else {
            write!(formatter, "/{}", clip(&self.variant))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_runs_its_own_images_and_those_that_do_not_say() {
        let host = Platform::linux("arm64");
        assert!(host.runs(&Platform {
            variant: "v8".into(),
            ..host.clone()
        }));
        assert!(host.runs(&Platform {
            os: String::new(),
            architecture: String::new(),
            variant: String::new()
        }));
        assert!(!host.runs(&Platform::linux("amd64")));
        assert!(!Platform::linux("amd64").runs(&Platform {
            variant: "v3".into(),
            ..Platform::linux("amd64")
        }));
        assert!(!host.runs(&Platform {
            os: "windows".into(),
            ..host.clone()
        }));
    }
}
