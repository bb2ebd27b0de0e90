//! Maps of sparse files: GNU's old header, and the PAX versions 0.0, 0.1 and 1.0.

use super::{
    Extent, TarError,
    header::{number, unsigned},
    pax::{SparseKeys, decimal},
};
use crate::error::Excess;

/// Extents in one map; a file that needs more is a bomb or a mistake.
pub(super) const MAX_EXTENTS: usize = 1 << 18;

/// Adds the `offset, length` fields (12 bytes each) of an old GNU header or its continuation; empty ones end the map.
pub(super) fn read_old_fields(fields: &[u8], extents: &mut Vec<Extent>) -> Result<(), TarError> {
    for pair in fields.chunks_exact(24) {
        if pair[0] == 0 {
            break;
        }
        let offset = unsigned("sparse offset", number("sparse offset", &pair[..12])?)?;
        let len = unsigned("sparse length", number("sparse length", &pair[12..])?)?;
        push(extents, Extent { offset, len })?;
    }
    Ok(())
}

/// The map that 0.0 and 0.1 keep in the PAX header; none when the entry is not sparse in these ways.
pub(super) fn from_keys(keys: &SparseKeys) -> Result<Option<Vec<Extent>>, TarError> {
    let numbers = match &keys.map {
        Some(map) => {
            let parsed: Option<Vec<u64>> = map.split(|&byte| byte == b',').map(decimal).collect();
            parsed.ok_or(TarError::SparseMap("the map is not a list of numbers"))?
        }
        None if keys.pairs.is_empty() => return Ok(None),
        None => keys.pairs.clone(),
    };
    if numbers.len() % 2 != 0 {
        return Err(TarError::SparseMap("an offset has no length"));
    }
    let mut extents = Vec::new();
    for pair in numbers.chunks_exact(2) {
        push(
            &mut extents,
            Extent {
                offset: pair[0],
                len: pair[1],
            },
        )?;
    }
    Ok(Some(extents))
}

pub(super) fn push(extents: &mut Vec<Extent>, extent: Extent) -> Result<(), TarError> {
    Excess::check("extents in a sparse file", extents.len() as u64 + 1, MAX_EXTENTS as u64)?;
    extents.push(extent);
    Ok(())
}

/// A map must rise, stay inside the file, and describe exactly the bytes that the archive stores.
pub(super) fn check(extents: &[Extent], real_size: u64, stored: u64) -> Result<(), TarError> {
    let (mut end, mut sum) = (0, 0_u64);
    for extent in extents {
        if extent.offset < end {
            return Err(TarError::SparseMap("its extents overlap or go backwards"));
        }
        end = extent
            .offset
            .checked_add(extent.len)
            .ok_or(TarError::SparseMap("an extent ends beyond all files"))?;
        sum += extent.len;
    }
    if end > real_size {
        return Err(TarError::SparseMap("an extent lies beyond the end of the file"));
    }
    if sum != stored {
        return Err(TarError::SparseMap("its extents do not add up to the stored bytes"));
    }
    Ok(())
}
