//! The image's configuration: what to run, as whom, where. Lenient where tools differ (nulls, missing fields), strict where it decides what runs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::digest::{Digest, clip};
use crate::manifest::{CONFIG_MAX_BYTES, LAYERS_MAX, null_as_default};
use crate::platform::Platform;

/// Most entries of any list in a configuration.
const LIST_MAX: usize = 16 * 1024;

/// What an image says about how it is to be run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// First words of the command line.
    pub entrypoint: Vec<String>,
    /// Default arguments, or the command line where there is no entrypoint.
    pub cmd: Vec<String>,
    /// `NAME=value`, in order.
    pub env: Vec<String>,
    /// Empty for `/`.
    pub working_dir: String,
    /// `user`, `uid`, `user:group`, …; empty for root.
    pub user: String,
    /// Signal that asks the program to stop; empty for SIGTERM.
    pub stop_signal: String,
    /// Such as `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// Folders meant to outlive the machine.
    pub volumes: Vec<String>,
    /// Free text by key.
    pub labels: BTreeMap<String, String>,
    /// Go's name of the architecture; empty where the image does not say.
    pub architecture: String,
    /// `linux`, or empty where the image does not say.
    pub os: String,
    /// Architecture variant; mostly empty.
    pub variant: String,
    /// When the image was built, if it says so.
    pub created: Option<Timestamp>,
    /// Digest of each layer's uncompressed tar, lowest first.
    pub diff_ids: Vec<Digest>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Beyond [`CONFIG_MAX_BYTES`].
    #[error("the image's configuration has {0} bytes, more than the {CONFIG_MAX_BYTES} allowed")]
    TooLarge(usize),
    /// Not JSON of the expected shape.
    #[error("the image's configuration is malformed")]
    Malformed(#[source] serde_json::Error),
    /// A list beyond its bound.
    #[error("the image's configuration lists {count} entries in {field}, more than the {limit} allowed")]
    TooMany {
        /// Which list.
        field: &'static str,
        /// How many.
        count: usize,
        /// How many may be.
        limit: usize,
    },
    /// JSON is UTF-8.
    #[error("the image's configuration is not UTF-8")]
    NotText,
    /// An entry that no program could be given.
    #[error("the image's configuration has a NUL byte in {0}")]
    Nul(&'static str),
    /// Made for another machine.
    #[error("the image is made for {image}, this host runs {host}")]
    WrongPlatform {
        /// The image's.
        image: Box<Platform>,
        /// The host's.
        host: Box<Platform>,
    },
    /// The manifest and the configuration disagree.
    #[error("the image has {layers} layers, but its configuration describes {diff_ids}")]
    LayerCount {
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
}

#[derive(Deserialize)]
struct RawImage {
    #[serde(default, deserialize_with = "null_as_default")]
    architecture: String,
    #[serde(default, deserialize_with = "null_as_default")]
    os: String,
    #[serde(default, deserialize_with = "null_as_default")]
    variant: String,
    #[serde(default)]
    created: Value,
    #[serde(default, deserialize_with = "null_as_default")]
    config: RawConfig,
    #[serde(default, deserialize_with = "null_as_default")]
    rootfs: RawRoot,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawConfig {
    #[serde(deserialize_with = "words")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "words")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    env: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    working_dir: String,
    #[serde(deserialize_with = "null_as_default")]
    user: String,
    #[serde(deserialize_with = "null_as_default")]
    stop_signal: String,
    #[serde(deserialize_with = "null_as_default")]
    exposed_ports: BTreeMap<String, Value>,
    #[serde(deserialize_with = "null_as_default")]
    volumes: BTreeMap<String, Value>,
    #[serde(deserialize_with = "null_as_default")]
    labels: BTreeMap<String, Option<String>>,
}

#[derive(Default, Deserialize)]
struct RawRoot {
    #[serde(default, deserialize_with = "null_as_default")]
    diff_ids: Vec<Digest>,
}

/// Very old images hold one string where a list belongs; it meant a shell command's words.
fn words<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        List(Vec<String>),
        One(String),
    }
    Ok(match Option::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Words::List(list)) => list,
        Some(Words::One(one)) if one.is_empty() => Vec::new(),
        Some(Words::One(one)) => vec![one],
    })
}

impl ImageConfig {
    /// Reads a configuration document.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        if bytes.len() > CONFIG_MAX_BYTES {
            return Err(ConfigError::TooLarge(bytes.len()));
        }
        let raw: RawImage = serde_json::from_slice(bytes).map_err(ConfigError::Malformed)?;
        let labels = raw
            .config
            .labels
            .into_iter()
            .map(|(key, value)| (key, value.unwrap_or_default()));
        let config = Self {
            entrypoint: raw.config.entrypoint,
            cmd: raw.config.cmd,
            env: raw.config.env,
            working_dir: raw.config.working_dir,
            user: raw.config.user,
            stop_signal: raw.config.stop_signal,
            exposed_ports: raw.config.exposed_ports.into_keys().collect(),
            volumes: raw.config.volumes.into_keys().collect(),
            labels: labels.collect(),
            architecture: raw.architecture,
            os: raw.os,
            variant: raw.variant,
            created: raw.created.as_str().and_then(|text| text.parse().ok()),
            diff_ids: raw.rootfs.diff_ids,
        };
        config.check_bounds()?;
        Ok(config)
    }

    fn check_bounds(&self) -> Result<(), ConfigError> {
        let lists = [
            ("entrypoint", &self.entrypoint),
            ("cmd", &self.cmd),
            ("env", &self.env),
            ("exposed ports", &self.exposed_ports),
            ("volumes", &self.volumes),
        ];
        for (field, list) in lists {
            if list.len() > LIST_MAX {
                return Err(ConfigError::TooMany {
                    field,
                    count: list.len(),
                    limit: LIST_MAX,
                });
            }
            if list.iter().any(|entry| entry.contains('\0')) {
                return Err(ConfigError::Nul(field));
            }
        }
        if self.diff_ids.len() > LAYERS_MAX {
            return Err(ConfigError::TooMany {
                field: "rootfs.diff_ids",
                count: self.diff_ids.len(),
                limit: LAYERS_MAX,
            });
        }
        let texts = [
            ("working_dir", &self.working_dir),
            ("user", &self.user),
            ("stop_signal", &self.stop_signal),
        ];
        match texts.into_iter().find(|(_, text)| text.contains('\0')) {
            Some((field, _)) => Err(ConfigError::Nul(field)),
            None => Ok(()),
        }
    }

    /// What the image was built for.
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
        }
    }

    /// Refuses an image that `host` cannot run, or one whose layers are not those of its manifest.
    pub fn check(&self, host: &Platform, layers: usize) -> Result<(), ConfigError> {
        if !host.runs(&self.platform()) {
            return Err(ConfigError::WrongPlatform {
                image: Box::new(self.platform()),
                host: Box::new(host.clone()),
            });
        }
        if self.diff_ids.len() != layers {
            return Err(ConfigError::LayerCount {
                layers,
                diff_ids: self.diff_ids.len(),
            });
        }
        Ok(())
    }

    /// The document that describes this configuration; the same configuration always gives the same bytes.
    pub fn to_document(&self) -> Vec<u8> {
        let keys = |list: &[String]| {
            list.iter()
                .map(|key| (key.clone(), json!({})))
                .collect::<serde_json::Map<_, _>>()
        };
        let mut document = json!({
            "architecture": self.architecture,
            "os": self.os,
            "config": {
                "Entrypoint": self.entrypoint,
                "Cmd": self.cmd,
                "Env": self.env,
                "WorkingDir": self.working_dir,
                "User": self.user,
                "StopSignal": self.stop_signal,
                "ExposedPorts": keys(&self.exposed_ports),
                "Volumes": keys(&self.volumes),
                "Labels": self.labels,
            },
            "rootfs": {"type": "layers", "diff_ids": self.diff_ids},
        });
        if !self.variant.is_empty() {
            document["variant"] = json!(self.variant);
        }
        if let Some(created) = self.created {
            document["created"] = json!(created);
        }
        document.to_string().into_bytes()
    }

    /// Applies what the user asked for at import.
    pub(crate) fn overridden(mut self, overrides: &ConfigOverrides) -> Self {
        fn set<T: Clone>(field: &mut T, value: Option<&T>) {
            if let Some(value) = value {
                field.clone_from(value);
            }
        }
        set(&mut self.entrypoint, overrides.entrypoint.as_ref());
        set(&mut self.cmd, overrides.cmd.as_ref());
        set(&mut self.working_dir, overrides.working_dir.as_ref());
        set(&mut self.user, overrides.user.as_ref());
        set(&mut self.stop_signal, overrides.stop_signal.as_ref());
        for entry in &overrides.env {
            let name = variable_name(entry);
            self.env.retain(|existing| variable_name(existing) != name);
            self.env.push(entry.clone());
        }
        self.labels.extend(overrides.labels.clone());
        self
    }
}

fn variable_name(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

/// Settings given with an import. What is left out stays as the archive has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConfigOverrides {
    /// Replaces the entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the command.
    pub cmd: Option<Vec<String>>,
    /// Added; a variable of the same name is replaced.
    pub env: Vec<String>,
    /// Replaces the working folder.
    pub working_dir: Option<String>,
    /// Replaces the user.
    pub user: Option<String>,
    /// Replaces the stop signal.
    pub stop_signal: Option<String>,
    /// Added.
    pub labels: BTreeMap<String, String>,
}

impl ConfigOverrides {
    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses variables without a name or value: they would be lost silently in the guest.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self
            .env
            .iter()
            .find(|entry| entry.split_once('=').is_none_or(|(name, _)| name.is_empty()))
        {
            Some(entry) => Err(clip(entry)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_and_missing_fields_are_empty() {
        let config = ImageConfig::parse(
            br#"{"architecture":"amd64","os":"linux","created":"junk","config":{"Cmd":null,"Env":null,"Labels":{"a":null},"Entrypoint":"/bin/sh"},"rootfs":null}"#,
        )
        .unwrap();
        assert_eq!(config.entrypoint, ["/bin/sh"]);
        assert_eq!(config.labels["a"], "");
        assert!(config.cmd.is_empty() && config.env.is_empty() && config.created.is_none());
        assert!(ImageConfig::parse(b"{}").is_ok());
        assert!(ImageConfig::parse(br#"{"config":null}"#).is_ok());
    }

    #[test]
    fn a_configuration_is_written_as_it_is_read() {
        let config = ImageConfig {
            entrypoint: vec!["/init".into()],
            env: vec!["A=1".into()],
            exposed_ports: vec!["80/tcp".into()],
            architecture: "arm64".into(),
            os: "linux".into(),
            variant: "v8".into(),
            created: Some("2024-05-06T07:08:09Z".parse().unwrap()),
            diff_ids: vec![Digest::of(b"x")],
            ..ImageConfig::default()
        };
        assert_eq!(ImageConfig::parse(&config.to_document()).unwrap(), config);
    }

    #[test]
    fn what_would_not_run_is_refused() {
        let config = ImageConfig {
            architecture: "s390x".into(),
            os: "linux".into(),
            ..ImageConfig::default()
        };
        let message = config.check(&Platform::linux("amd64"), 0).unwrap_err().to_string();
        assert_eq!(message, "the image is made for linux/s390x, this host runs linux/amd64");
        assert!(matches!(
            config.check(&Platform::linux("s390x"), 1),
            Err(ConfigError::LayerCount { .. })
        ));
        assert!(matches!(
            ImageConfig::parse(br#"{"config":{"Cmd":["a\u0000b"]}}"#),
            Err(ConfigError::Nul("cmd"))
        ));
        assert!(matches!(
            ImageConfig::parse(br#"{"config":[1]}"#),
            Err(ConfigError::Malformed(_))
        ));
    }

    #[test]
    fn overrides_replace_variables_by_name() {
        let config = ImageConfig {
            env: vec!["A=1".into(), "B=2".into()],
            ..ImageConfig::default()
        };
        let overrides = ConfigOverrides {
            env: vec!["A=3".into()],
            cmd: Some(vec!["x".into()]),
            ..Default::default()
        };
        let changed = config.overridden(&overrides);
        assert_eq!(changed.env, ["B=2", "A=3"]);
        assert_eq!(changed.cmd, ["x"]);
        assert_eq!(
            ConfigOverrides {
                env: vec!["=x".into()],
                ..Default::default()
            }
            .check(),
            Err("=x".into())
        );
    }
}
