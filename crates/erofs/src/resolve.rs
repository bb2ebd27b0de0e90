//! From a name to a place in the merged tree.
//!
//! Nothing here touches the host: a name is walked through the tree in memory, so no link can lead out of it. What is
//! refused is refused because an honest layer does not contain it:
//! - a parent that is a symbolic link **of the same layer**. A layer is a picture of a tree, and nothing in a tree lies
//!   below a link; this is the classic attack on unpackers.
//! - a parent that is a link of a lower layer and climbs above the root by `..`.
//!
//! A parent that is a link of a *lower* layer is followed, absolute targets from the image's root: layers built apart
//! from their base do have `bin/tool` over a base with `bin -> usr/bin`, or `var/run/x` over `var/run -> /run`.

use crate::{
    error::{Refusal, shown},
    path,
    tree::{Folder, InodeId, Kind, LayerNumber, Meta, ROOT, Tree},
};

/// Links followed on the way to one name, as in Linux.
const MAX_LINKS: usize = 40;

/// Components walked on the way to one name, those of links included.
const MAX_STEPS: usize = 1024;

/// Walks to the folder that holds the last component of a name; none if it is missing.
pub(crate) fn find(tree: &mut Tree, parents: &[&[u8]], layer: LayerNumber) -> Result<Option<InodeId>, Refusal> {
    walk(tree, parents, layer, |_, _, child| Ok(child))
}

/// The same, where what is missing is made. `charge` is told the name of each folder beforehand: no entry declares it,
/// but it costs as much as one that is declared. What was there is marked as touched by the layer.
pub(crate) fn make<E: From<Refusal>>(
    tree: &mut Tree,
    parents: &[&[u8]],
    layer: LayerNumber,
    depth_limit: usize,
    mut charge: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Option<InodeId>, E> {
    walk(tree, parents, layer, |tree, place, child| {
        let Place { folder, name, depth } = place;
        if let Some(child) = child {
            tree.touch(folder, name, layer);
            return Ok(Some(child));
        }
        if depth > depth_limit {
            return Err(Refusal::TooDeep { limit: depth_limit }.into());
        }
        charge(name)?;
        let made = tree.add(Meta::implied_folder(), Kind::Folder(Folder::default()));
        tree.link(folder, name, made, layer);
        Ok(Some(made))
    })
}

/// A name in a folder, on the way.
struct Place<'a> {
    folder: InodeId,
    name: &'a [u8],
    /// Folders from the root to this one, the root among them.
    depth: usize,
}

/// Walks; `enter` is told of each folder that is come to, or of its absence, and gives the folder to go on from. Where
/// it gives none, the walk ends without one.
fn walk<E: From<Refusal>>(
    tree: &mut Tree,
    parents: &[&[u8]],
    layer: LayerNumber,
    mut enter: impl FnMut(&mut Tree, Place<'_>, Option<InodeId>) -> Result<Option<InodeId>, E>,
) -> Result<Option<InodeId>, E> {
    // What is still to walk, next component last; owned where it came from a link.
    let mut pending: Vec<Box<[u8]>> = parents.iter().rev().map(|&part| part.into()).collect();
    let mut trail = vec![ROOT];
    let (mut links, mut steps) = (0, 0);
    let (mut last_link, mut last_target): (Box<[u8]>, Box<[u8]>) = (Box::default(), Box::default());
    while let Some(part) = pending.pop() {
        steps += 1;
        if steps > MAX_STEPS {
            return Err(Refusal::ParentLoop.into());
        }
        let here = trail.last().copied().unwrap_or(ROOT);
        if &*part == b".." {
            // Names themselves have no `..`; this comes from a link.
            if trail.len() == 1 {
                return Err(Refusal::ParentLeavesRoot {
                    link: shown(&last_link),
                    target: shown(&last_target),
                }
                .into());
            }
            trail.pop();
            continue;
        }
        let place = Place {
            folder: here,
            name: &part,
            depth: trail.len(),
        };
        let Some(slot) = tree.child(here, &part) else {
            let Some(made) = enter(tree, place, None)? else {
                return Ok(None);
            };
            trail.push(made);
            continue;
        };
        match &tree.inode(slot.inode).kind {
            Kind::Folder(_) => {
                let Some(next) = enter(tree, place, Some(slot.inode))? else {
                    return Ok(None);
                };
                trail.push(next);
            }
            Kind::Symlink { target, .. } => {
                if slot.touched == layer {
                    return Err(Refusal::SymlinkParent {
                        link: shown(&part),
                        target: shown(target),
                    }
                    .into());
                }
                links += 1;
                if links > MAX_LINKS {
                    return Err(Refusal::ParentLoop.into());
                }
                if target.starts_with(b"/") {
                    trail.truncate(1);
                }
                pending.extend(path::split(target).rev().map(Box::from));
                last_target.clone_from(target);
                last_link = part;
            }
            _ => return Err(Refusal::ParentNotFolder { parent: shown(&part) }.into()),
        }
    }
    Ok(trail.last().copied())
}

/// Follows a path inside the root as a process in the guest would: links too, `..` above the root is the root.
pub(crate) fn follow(tree: &Tree, path: &[u8]) -> Option<InodeId> {
    let mut pending: Vec<&[u8]> = path::split(path).rev().collect();
    let mut trail = vec![ROOT];
    let mut links = 0;
    while let Some(part) = pending.pop() {
        let here = trail.last().copied().unwrap_or(ROOT);
        if part == b".." {
            trail.truncate(trail.len().saturating_sub(1).max(1));
            continue;
        }
        let slot = tree.child(here, part)?;
        if let Kind::Symlink { target, .. } = &tree.inode(slot.inode).kind {
            links += 1;
            if links > MAX_LINKS {
                return None;
            }
            if target.starts_with(b"/") {
                trail.truncate(1);
            }
            pending.extend(path::split(target).rev());
        } else {
            trail.push(slot.inode);
        }
    }
    trail.last().copied()
}
