//! The crate's face: layers in, an image out.

use std::{fs::File, io::Read};

use sha2::{Digest, Sha256};

use crate::{
    BuildError, Limits,
    apply::{Applier, Counts},
    data::DataWriter,
    layout::Layout,
    limits::Usage,
    pump::{ChunkReader, LayerCompression, pump},
    resolve,
    tar::TarReader,
    tree::{Kind, LayerNumber, Tree},
    write,
};

/// Builds one image.
pub struct Builder {
    limits: Limits,
    usage: Usage,
    tree: Tree,
    data: DataWriter,
    layers: LayerNumber,
    /// Of all diff ids: what the image's UUID is taken from.
    identity: Sha256,
    failed: bool,
}

/// What a layer was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedLayer {
    /// SHA-256 of the uncompressed stream in hexadecimal, without `sha256:`; to be compared with the image's configuration.
    pub diff_id: String,
    /// How it was compressed.
    pub compression: LayerCompression,
    /// Bytes read from the caller.
    pub compressed_bytes: u64,
    /// Bytes of the tar.
    pub uncompressed_bytes: u64,
    /// Entries in the tar, whiteouts among them.
    pub entries: u64,
    /// Whiteouts, opaque ones among them.
    pub whiteouts: u64,
    /// Extended attributes left out because EROFS has no place for their namespace.
    pub dropped_xattrs: u64,
}

/// What an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageStats {
    /// Length of the image file.
    pub bytes: u64,
    /// Inodes in the image.
    pub inodes: u64,
    /// The file system's UUID, which follows from the layers.
    pub uuid: [u8; 16],
}

impl Builder {
    /// Begins an image in `output`, which is emptied. It must be readable too.
    pub fn create(output: File, limits: Limits) -> Result<Self, BuildError> {
        Ok(Self {
            limits,
            usage: Usage::default(),
            tree: Tree::new(),
            data: DataWriter::new(output)?,
            layers: 0,
            identity: Sha256::new(),
            failed: false,
        })
    }

    /// Applies the next layer, whose stream is read to its end. `label` names it in errors; `progress` is told how many
    /// bytes of `reader` have been read.
    ///
    /// After an error the builder is of no more use: the layer is refused whole, and so is the image.
    pub fn apply_layer(
        &mut self,
        label: &str,
        reader: impl Read,
        progress: &mut dyn FnMut(u64),
    ) -> Result<AppliedLayer, BuildError> {
        self.check_complete()?;
        // Until the layer is in whole, the tree is not.
        self.failed = true;
        self.layers += 1;
        let pumped = pump(reader, progress, |stream| self.apply_stream(label, stream))
            .map_err(|source| BuildError::Thread { source })?;
        let (diff_id, counts, uncompressed_bytes) = pumped.result?;
        self.identity.update(diff_id.as_bytes());
        self.failed = false;
        Ok(AppliedLayer {
            diff_id,
            compression: pumped.compression,
            compressed_bytes: pumped.compressed_bytes,
            uncompressed_bytes,
            entries: counts.entries,
            whiteouts: counts.whiteouts,
            dropped_xattrs: counts.dropped_xattrs,
        })
    }

    fn apply_stream(&mut self, label: &str, mut stream: ChunkReader) -> Result<(String, Counts, u64), BuildError> {
        let mut tar = TarReader::new(&mut stream, &self.limits, self.usage.stream_bytes);
        let mut applier = Applier {
            tree: &mut self.tree,
            data: &mut self.data,
            usage: &mut self.usage,
            limits: &self.limits,
            label,
            layer: self.layers,
            counts: Counts::default(),
        };
        applier.run(&mut tar)?;
        let counts = applier.counts;
        let bytes = tar.offset();
        self.usage.stream_bytes += bytes;
        Ok((stream.digest(), counts, bytes))
    }

    fn check_complete(&self) -> Result<(), BuildError> {
        if self.failed {
            Err(BuildError::Incomplete)
        } else {
            Ok(())
        }
    }

    /// A regular file's contents from the merged tree, links followed inside the root; none if there is no such file
    /// or it has more than `max` bytes.
    pub fn read_file(&self, path: &str, max: usize) -> Option<Vec<u8>> {
        match &self.tree.inode(resolve::follow(&self.tree, path.as_bytes())?).kind {
            Kind::File(contents) if contents.size <= max as u64 => self.data.read(contents).ok(),
            _ => None,
        }
    }

    /// Writes the metadata and the superblock. The file is not synced.
    pub fn finish(self) -> Result<ImageStats, BuildError> {
        self.check_complete()?;
        let layout = Layout::plan(&self.tree, self.data.next_block()?)?;
        let uuid = uuid(self.identity);
        let inodes = layout.inodes.len() as u64;
        let bytes = write::write(&self.tree, &layout, uuid, self.data)?;
        Ok(ImageStats { bytes, inodes, uuid })
    }
}

/// A UUID of version 8 (RFC 9562) from the layers' digests.
fn uuid(identity: Sha256) -> [u8; 16] {
    let digest = identity.finalize();
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&digest[..16]);
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}
