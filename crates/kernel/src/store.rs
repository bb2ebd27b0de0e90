//! The bundles of a node, under one folder.
//!
//! ```text
//! bundles/<id>/…   default (an ID)   tmp/ (what is being made)   lock
//! ```
//! Several processes may open one store: each holds `lock` shared, and only who gets it alone cleans `tmp/`.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::bundle::{self, Bundle, BundleModule, BundleSource, SourceKind};
use crate::compression::Compression;
use crate::error::KernelError;
use crate::files::FileInputs;
use crate::initramfs::{self, build_initramfs};
use crate::kconfig::KernelConfig;
use crate::parts::KernelParts;
use crate::progress::KernelProgress;
use crate::resolve::{self, Plan};
use crate::{bzimage, deb, files};

/// The kernel bundles under one folder.
#[derive(Debug)]
pub struct KernelStore {
    root: PathBuf,
    /// Held shared for as long as the store is open.
    _lock: File,
}

impl KernelStore {
    /// Opens the store under `root`, makes its folders, and removes what an interrupted import left.
    pub fn open(root: &Path) -> Result<Self, KernelError> {
        for folder in ["bundles", "tmp"] {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(KernelError::io("create", path))?;
        }
        let path = root.join("lock");
        let lock = File::create(&path).map_err(KernelError::io("create", &path))?;
        // The store's folder is open to VMMs; who can open the lock could hold it.
        lock.set_permissions(fs::Permissions::from_mode(0o600))
            .map_err(KernelError::io("protect", &path))?;
        if lock.try_lock().is_ok() {
            clean(&root.join("tmp"))?;
        }
        lock.lock_shared().map_err(KernelError::io("lock", &path))?;
        Ok(Self {
            root: root.to_owned(),
            _lock: lock,
        })
    }

    /// Imports a Debian package of a kernel. The first bundle of a store becomes its default.
    pub fn import_deb(&self, deb: &Path, progress: &mut dyn FnMut(KernelProgress)) -> Result<Bundle, KernelError> {
        let parts = deb::read(deb, &self.tmp(), progress)?;
        self.import(&parts, &source(SourceKind::Deb, deb), progress)
    }

    /// Imports a kernel from plain files.
    pub fn import_files(
        &self,
        inputs: &FileInputs,
        progress: &mut dyn FnMut(KernelProgress),
    ) -> Result<Bundle, KernelError> {
        self.import(
            &files::read(inputs)?,
            &source(SourceKind::Files, &inputs.vmlinuz),
            progress,
        )
    }

    /// Imports a kernel that was built here.
    pub(crate) fn import_built(
        &self,
        inputs: &FileInputs,
        name: &str,
        progress: &mut dyn FnMut(KernelProgress),
    ) -> Result<Bundle, KernelError> {
        let source = BundleSource {
            kind: SourceKind::Build,
            name: name.to_owned(),
        };
        self.import(&files::read(inputs)?, &source, progress)
    }

    /// All bundles, newest first. Damaged ones are left out; [`KernelStore::get`] says what is wrong with them.
    pub fn list(&self) -> Vec<Bundle> {
        let mut bundles: Vec<_> = self
            .ids()
            .iter()
            .filter_map(|id| Bundle::load(&self.folder(id)).ok())
            .collect();
        bundles.sort_by(|left, right| right.made_at.cmp(&left.made_at).then_with(|| left.id.cmp(&right.id)));
        bundles
    }

    /// The bundle of this ID, unique start of an ID (four digits or more), or version.
    pub fn get(&self, wanted: &str) -> Result<Bundle, KernelError> {
        let ids = self.ids();
        if ids.iter().any(|id| id == wanted) {
            return Bundle::load(&self.folder(wanted));
        }
        let by_prefix = |id: &&String| wanted.len() >= 4 && id.starts_with(wanted);
        let mut fitting: Vec<_> = ids.iter().filter(by_prefix).cloned().collect();
        if fitting.is_empty() {
            let of_version = self.list().into_iter().filter(|bundle| bundle.version == wanted);
            fitting.extend(of_version.map(|bundle| bundle.id));
        }
        match fitting.as_slice() {
            [id] => Bundle::load(&self.folder(id)),
            [] => Err(KernelError::NotFound {
                wanted: wanted.to_owned(),
            }),
            several => Err(KernelError::Ambiguous {
                wanted: wanted.to_owned(),
                candidates: several.iter().map(|id| bundle::short(id).to_owned()).collect(),
            }),
        }
    }

    /// The bundle that machines get unless they ask for another.
    pub fn default_bundle(&self) -> Option<Bundle> {
        let id = fs::read_to_string(self.root.join("default")).ok()?;
        self.ids()
            .contains(&id.trim().to_owned())
            .then(|| Bundle::load(&self.folder(id.trim())).ok())
            .flatten()
    }

    /// Makes a bundle the default.
    pub fn set_default(&self, wanted: &str) -> Result<Bundle, KernelError> {
        let bundle = self.get(wanted)?;
        self.write_atomically(&self.root.join("default"), format!("{}\n", bundle.id).as_bytes())?;
        Ok(bundle)
    }

    /// Removes a bundle, unless `holders` names anything that uses it. Another one becomes the default if it was that.
    pub fn remove(&self, wanted: &str, holders: impl FnOnce(&Bundle) -> Vec<String>) -> Result<Bundle, KernelError> {
        let found = match self.get(wanted) {
            // Even a damaged bundle can be removed by its ID.
            Err(KernelError::Damaged { .. }) if self.ids().iter().any(|id| id == wanted) => {
                let folder = self.folder(wanted);
                self.discard(&folder)?;
                return Err(KernelError::NotFound {
                    wanted: wanted.to_owned(),
                });
            }
            other => other?,
        };
        let holders = holders(&found);
        if !holders.is_empty() {
            return Err(KernelError::InUse {
                id: found.short_id().to_owned(),
                version: found.version,
                holders,
            });
        }
        let was_default = self.default_bundle().is_some_and(|default| default.id == found.id);
        self.discard(&self.folder(&found.id))?;
        if was_default {
            match self.list().first() {
                Some(next) => drop(self.set_default(&next.id)?),
                None => remove_if_there(&self.root.join("default"))?,
            }
        }
        Ok(found)
    }

    /// The initramfs of `bundle` that carries `agent`; made if there is none yet, and those with other agents removed.
    pub fn ensure_initramfs(&self, bundle: &Bundle, agent: &[u8]) -> Result<PathBuf, KernelError> {
        let folder = self.folder(&bundle.id);
        let path = folder.join(bundle::initramfs_name(&bundle::sha256(agent)));
        if path.exists() {
            return Ok(path);
        }
        let image = self.render_initramfs(bundle, agent, initramfs::COMPRESSION)?;
        self.write_atomically(&path, &image)?;
        for entry in fs::read_dir(&folder)
            .map_err(KernelError::io("list", &folder))?
            .flatten()
        {
            let name = entry.file_name();
            if entry.path() != path && name.to_str().is_some_and(|name| name.starts_with("initramfs-")) {
                remove_if_there(&entry.path())?;
            }
        }
        Ok(path)
    }

    /// The bytes of an initramfs in the compression asked for.
    pub fn render_initramfs(&self, bundle: &Bundle, agent: &[u8], format: Compression) -> Result<Vec<u8>, KernelError> {
        let folder = self.folder(&bundle.id).join(bundle::MODULES);
        let modules = bundle.modules.iter().map(|module| {
            let path = folder.join(&module.file);
            let body = fs::read(&path).map_err(KernelError::io("read module", &path))?;
            if bundle::sha256(&body) != module.sha256 {
                let reason = format!("modules/{} has changed", module.file);
                return Err(KernelError::Damaged {
                    id: bundle.short_id().to_owned(),
                    reason,
                });
            }
            Ok((module.file.clone(), module.optional, body))
        });
        build_initramfs(agent, &modules.collect::<Result<Vec<_>, _>>()?, format)
    }

    /// The folder for whatever is being made.
    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    fn folder(&self, id: &str) -> PathBuf {
        self.root.join("bundles").join(id)
    }

    /// IDs of all bundles, sorted.
    fn ids(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.join("bundles")).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut ids: Vec<_> = names.filter(|name| name.len() == 64).collect();
        ids.sort();
        ids
    }

    fn import(
        &self,
        parts: &KernelParts,
        source: &BundleSource,
        progress: &mut dyn FnMut(KernelProgress),
    ) -> Result<Bundle, KernelError> {
        progress(KernelProgress::Extracting);
        let kernel = bzimage::extract(&parts.vmlinuz)?;
        progress(KernelProgress::Resolving);
        let inner = if parts.config.is_none() {
            KernelConfig::from_vmlinux(&kernel.vmlinux)
        } else {
            None
        };
        let plan = resolve::plan(parts, parts.config.as_ref().or(inner.as_ref()), &kernel.release)?;
        progress(KernelProgress::Storing);
        let bundle = describe(parts, &kernel, &plan, source);
        if let Ok(known) = self.get(&bundle.id) {
            return Ok(known);
        }
        self.write_bundle(&bundle, parts, &kernel.vmlinux, &plan)?;
        if self.default_bundle().is_none() {
            self.set_default(&bundle.id)?;
        }
        self.get(&bundle.id)
    }

    /// Writes a bundle to `tmp/` and renames it into place.
    fn write_bundle(
        &self,
        bundle: &Bundle,
        parts: &KernelParts,
        vmlinux: &[u8],
        plan: &Plan,
    ) -> Result<(), KernelError> {
        let tmp = self.tmp();
        let folder = tempfile::Builder::new()
            .prefix("import-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir_in(&tmp)
            .map_err(KernelError::io("create in", tmp))?;
        let modules = folder.path().join(bundle::MODULES);
        fs::create_dir(&modules).map_err(KernelError::io("create", &modules))?;
        write(&folder.path().join(bundle::BZIMAGE), &parts.vmlinuz)?;
        write(&folder.path().join(bundle::VMLINUX), vmlinux)?;
        for (module, planned) in bundle.modules.iter().zip(&plan.modules) {
            write(&modules.join(&module.file), &planned.elf)?;
        }
        let manifest = serde_json::to_vec_pretty(bundle)
            .map_err(|error| KernelError::io("describe", folder.path())(io::Error::other(error)))?;
        write(&folder.path().join(bundle::MANIFEST), &manifest)?;
        let place = self.folder(&bundle.id);
        if place.exists() && Bundle::load(&place).is_err() {
            self.discard(&place)?;
        }
        let from = folder.keep();
        match fs::rename(&from, &place) {
            Ok(()) => sync_folder(&self.root.join("bundles")),
            // Somebody imported the same at the same time.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) =>
            {
                fs::remove_dir_all(&from).map_err(KernelError::io("remove", from))
            }
            Err(error) => Err(KernelError::io("move into place", place)(error)),
        }
    }

    /// Takes a folder out of sight at once, then removes it.
    fn discard(&self, folder: &Path) -> Result<(), KernelError> {
        let tmp = self.tmp();
        let grave = tempfile::Builder::new()
            .prefix("gone-")
            .tempdir_in(&tmp)
            .map_err(KernelError::io("create in", tmp))?;
        fs::rename(folder, grave.path().join("bundle")).map_err(KernelError::io("remove", folder))
    }

    fn write_atomically(&self, path: &Path, bytes: &[u8]) -> Result<(), KernelError> {
        let tmp = self.tmp();
        // VMMs run as users of their own, and read what lies here.
        let readable = fs::Permissions::from_mode(0o644);
        let made = tempfile::Builder::new().permissions(readable).tempfile_in(&tmp);
        let mut file = made.map_err(KernelError::io("create in", &tmp))?;
        file.write_all(bytes)
            .and_then(|()| file.as_file().sync_data())
            .map_err(KernelError::io("write", path))?;
        file.persist(path)
            .map_err(|error| KernelError::io("move into place", path)(error.error))?;
        Ok(())
    }
}

fn clean(tmp: &Path) -> Result<(), KernelError> {
    for entry in fs::read_dir(tmp).map_err(KernelError::io("list", tmp))?.flatten() {
        let path = entry.path();
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.map_err(KernelError::io("remove", path))?;
    }
    Ok(())
}

fn describe(parts: &KernelParts, kernel: &bzimage::Extracted, plan: &Plan, source: &BundleSource) -> Bundle {
    let modules = plan.modules.iter().enumerate().map(|(index, module)| BundleModule {
        name: module.name.clone(),
        file: format!("{index:03}-{}.ko", module.name),
        optional: module.optional,
        bytes: module.elf.len() as u64,
        sha256: bundle::sha256(&module.elf),
    });
    let modules = modules.collect::<Vec<_>>();
    Bundle {
        id: bundle::bundle_id(&parts.vmlinuz, &modules),
        version: kernel.release.clone(),
        source: source.clone(),
        modules,
        builtins: plan.builtins.clone(),
        absent: plan.absent.clone(),
        pvh: kernel.pvh,
        bzimage_bytes: parts.vmlinuz.len() as u64,
        vmlinux_bytes: kernel.vmlinux.len() as u64,
        made_at: jiff::Timestamp::now(),
        agent_digest: None,
        bzimage: PathBuf::new(),
        vmlinux: PathBuf::new(),
    }
}

/// Names the file that a bundle came from, for people.
fn source(kind: SourceKind, path: &Path) -> BundleSource {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    BundleSource { kind, name }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), KernelError> {
    let mut file = File::create_new(path).map_err(KernelError::io("create", path))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_data())
        .map_err(KernelError::io("write", path))
}

fn sync_folder(path: &Path) -> Result<(), KernelError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(KernelError::io("sync", path))
}

fn remove_if_there(path: &Path) -> Result<(), KernelError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(KernelError::io("remove", path)(error)),
        _ => Ok(()),
    }
}
