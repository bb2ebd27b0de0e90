//! Images made of `busybox-static`: small enough to make anew for each test.
//!
//! A [`Layout`] is an OCI layout in a folder, written by hand so that tests can also make it wrong.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Commands that [`busybox_root`] has links for.
const APPLETS: [&str; 24] = [
    "cat", "chmod", "cp", "echo", "env", "false", "grep", "head", "hostname", "id", "ip", "kill", "ls", "mkdir",
    "mount", "nc", "ping", "ps", "rm", "sh", "sleep", "true", "uname", "wget",
];

/// Why a fixture could not be made.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// An image to be written into a layout.
#[derive(Clone, Debug)]
pub struct Image {
    /// Go's name of the architecture.
    pub architecture: String,
    /// Uncompressed tars, lowest first.
    pub layers: Vec<Vec<u8>>,
    /// The `config` object of the image's configuration.
    pub config: Value,
}

impl Image {
    /// For the host's architecture, with a root from [`busybox_root`] and a second layer with `marker` in `/marker`.
    pub fn busybox(marker: &str) -> Result<Self, Error> {
        let layers = vec![busybox_root()?, tar_of(&[File::plain("marker", marker.as_bytes())])?];
        let config = json!({"Cmd": ["/bin/sh"], "Env": ["PATH=/bin", format!("MARKER={marker}")], "WorkingDir": "/"});
        Ok(Self {
            architecture: host_architecture().into(),
            layers,
            config,
        })
    }
}

/// Go's name of the host's architecture.
pub fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A file of a layer.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// Relative to the root.
    pub path: &'a str,
    /// Permission bits.
    pub mode: u32,
    /// What is in it.
    pub bytes: &'a [u8],
}

impl<'a> File<'a> {
    /// Readable by all.
    pub fn plain(path: &'a str, bytes: &'a [u8]) -> Self {
        Self {
            path,
            mode: 0o644,
            bytes,
        }
    }
}

/// A tar of some files, owned by root.
pub fn tar_of(files: &[File<'_>]) -> Result<Vec<u8>, Error> {
    let mut builder = tar::Builder::new(Vec::new());
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(file.bytes.len() as u64);
        header.set_mode(file.mode);
        builder.append_data(&mut header, file.path, file.bytes)?;
    }
    Ok(builder.into_inner()?)
}

/// A root file system as a tar: busybox, a link for each common command, users `root` and `nobody`, `/tmp`.
pub fn busybox_root() -> Result<Vec<u8>, Error> {
    let busybox = fs::read("/bin/busybox").map_err(|error| format!("/bin/busybox (busybox-static): {error}"))?;
    let mut builder = tar::Builder::new(tar_prefix(&busybox)?);
    for name in APPLETS {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        builder.append_link(&mut header, format!("bin/{name}"), "busybox")?;
    }
    for (name, mode) in [
        ("tmp", 0o1777),
        ("root", 0o700),
        ("proc", 0o555),
        ("sys", 0o555),
        ("dev", 0o755),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(mode);
        builder.append_data(&mut header, format!("{name}/"), std::io::empty())?;
    }
    Ok(builder.into_inner()?)
}

/// The plain files, without the tar's end, so that more can follow.
fn tar_prefix(busybox: &[u8]) -> Result<Vec<u8>, Error> {
    let passwd = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
    let mut tar = tar_of(&[
        File {
            path: "bin/busybox",
            mode: 0o755,
            bytes: busybox,
        },
        File::plain("etc/passwd", passwd),
        File::plain("etc/group", b"root:x:0:\nnogroup:x:65534:\n"),
    ])?;
    tar.truncate(tar.len() - 1024);
    Ok(tar)
}

/// Compressed by gzip.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// The SHA-256 of some bytes in hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// An OCI layout being written.
#[derive(Debug)]
pub struct Layout {
    folder: PathBuf,
    manifests: Vec<Value>,
}

impl Layout {
    /// An empty layout in `folder`, which is made if need be.
    pub fn create(folder: &Path) -> Result<Self, Error> {
        fs::create_dir_all(folder.join("blobs/sha256"))?;
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let layout = Self {
            folder: folder.to_owned(),
            manifests: Vec::new(),
        };
        layout.write_index()?;
        Ok(layout)
    }

    /// A layout with one image called `name`.
    pub fn with_image(folder: &Path, image: &Image, name: &str) -> Result<Self, Error> {
        let mut layout = Self::create(folder)?;
        let manifest = layout.add_image(image)?;
        layout.tag(manifest, name)?;
        Ok(layout)
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a blob lies.
    pub fn blob(&self, hex: &str) -> PathBuf {
        self.folder.join("blobs/sha256").join(hex)
    }

    /// Writes a blob; gives its descriptor.
    pub fn add_blob(&self, media_type: &str, bytes: &[u8]) -> Result<Value, Error> {
        let hex = sha256_hex(bytes);
        fs::write(self.blob(&hex), bytes)?;
        Ok(json!({"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len()}))
    }

    /// Writes layers (by gzip), configuration and manifest; gives the manifest's descriptor with its platform.
    pub fn add_image(&self, image: &Image) -> Result<Value, Error> {
        let mut layers = Vec::new();
        let mut diff_ids = Vec::new();
        for layer in &image.layers {
            layers.push(self.add_blob("application/vnd.oci.image.layer.v1.tar+gzip", &gzip(layer)?)?);
            diff_ids.push(format!("sha256:{}", sha256_hex(layer)));
        }
        let config = json!({
            "architecture": image.architecture,
            "os": "linux",
            "created": "2024-05-06T07:08:09Z",
            "config": image.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = self.add_blob(
            "application/vnd.oci.image.config.v1+json",
            config.to_string().as_bytes(),
        )?;
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        let mut descriptor = self.add_blob(MANIFEST, manifest.to_string().as_bytes())?;
        descriptor["platform"] = json!({"os": "linux", "architecture": image.architecture});
        Ok(descriptor)
    }

    /// Writes an index of several manifests; gives its descriptor.
    pub fn add_index(&self, manifests: &[Value]) -> Result<Value, Error> {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        self.add_blob(INDEX, index.to_string().as_bytes())
    }

    /// Names a manifest or index.
    pub fn tag(&mut self, mut descriptor: Value, name: &str) -> Result<(), Error> {
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        self.manifests.push(descriptor);
        self.write_index()
    }

    fn write_index(&self) -> Result<(), Error> {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": self.manifests});
        Ok(fs::write(self.folder.join("index.json"), index.to_string())?)
    }

    /// The layout as a tar.
    pub fn to_tar(&self) -> Result<Vec<u8>, Error> {
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_dir_all(".", &self.folder)?;
        Ok(builder.into_inner()?)
    }
}
