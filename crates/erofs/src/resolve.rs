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

/// What to do about parents.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parents {
    /// Make those that are missing; mark all as touched by the layer.
    Make,
    /// Only look.
    Find,
}

/// Walks to the folder that holds the last component of a name; none if it is missing and was not to be made.
pub(crate) fn parent(
    tree: &mut Tree,
    parents: &[&[u8]],
    layer: LayerNumber,
    how: Parents,
    depth_limit: usize,
) -> Result<Option<InodeId>, Refusal> {
    // What is still to walk, next component last; owned where it came from a link.
    let mut pending: Vec<Box<[u8]>> = parents.iter().rev().map(|&part| part.into()).collect();
    let mut trail = vec![ROOT];
    let (mut links, mut steps) = (0, 0);
    let (mut last_link, mut last_target): (Box<[u8]>, Box<[u8]>) = (Box::default(), Box::default());
    while let Some(part) = pending.pop() {
        steps += 1;
        if steps > MAX_STEPS {
            return Err(Refusal::ParentLoop);
        }
        let here = trail.last().copied().unwrap_or(ROOT);
        if &*part == b".." {
            // Names themselves have no `..`; this comes from a link.
            if trail.len() == 1 {
                return Err(Refusal::ParentLeavesRoot {
                    link: shown(&last_link),
                    target: shown(&last_target),
                });
            }
            trail.pop();
            continue;
        }
        let Some(slot) = tree.child(here, &part) else {
            if how == Parents::Find {
                return Ok(None);
            }
            if trail.len() > depth_limit {
                return Err(Refusal::TooDeep { limit: depth_limit });
            }
            let made = tree.add(Meta::implied_folder(), Kind::Folder(Folder::default()));
            tree.link(here, &part, made, layer);
            trail.push(made);
            continue;
        };
        match &tree.inode(slot.inode).kind {
            Kind::Folder(_) => {
                trail.push(slot.inode);
                if how == Parents::Make {
                    tree.touch(here, &part, layer);
                }
            }
            Kind::Symlink { target, .. } => {
                if slot.touched == layer {
                    return Err(Refusal::SymlinkParent {
                        link: shown(&part),
                        target: shown(target),
                    });
                }
                links += 1;
                if links > MAX_LINKS {
                    return Err(Refusal::ParentLoop);
                }
                if target.starts_with(b"/") {
                    trail.truncate(1);
                }
                pending.extend(path::split(target).rev().map(Box::from));
                last_target.clone_from(target);
                last_link = part;
            }
            _ => return Err(Refusal::ParentNotFolder { parent: shown(&part) }),
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
