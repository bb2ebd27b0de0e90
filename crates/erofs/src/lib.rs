//! Turns OCI layers into one read-only EROFS image without unpacking them onto the host.
//!
//! Layers are read once, from the bottom up. Names become a merged tree in memory; contents go straight into the image
//! file; [`Builder::finish`] writes the tree behind them and the superblock last. No path of a layer is ever used on the
//! host's file system, so the worst that a hostile layer can do is to be refused (see [`Refusal`] and [`Limits`]).
//!
//! The same layers make the same bytes. The caller owns the file: its name, `fsync`, and the rename that makes it visible.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut builder = hearth_erofs::Builder::create(std::fs::File::create_new("root.erofs")?, Default::default())?;
//! let layer = builder.apply_layer("1", std::fs::File::open("layer.tar.gz")?, &mut |_read| {})?;
//! let image = builder.finish()?;
//! println!("{} of {} bytes", layer.diff_id, image.bytes);
//! # Ok(())
//! # }
//! ```

mod apply;
mod builder;
mod data;
mod error;
mod format;
mod layout;
mod limits;
mod path;
mod pump;
mod resolve;
mod tar;
mod tree;
mod write;
mod xattr;

pub use builder::{AppliedLayer, Builder, ImageStats};
pub use error::{BuildError, Excess, Refusal};
pub use limits::Limits;
pub use pump::LayerCompression;
pub use tar::TarError;
