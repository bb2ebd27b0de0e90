//! Which modules a guest needs, and in which order. Synchronous; reads modules, writes nothing.
//!
//! Packages carry no `modules.dep` (depmod makes it at installation), so dependencies come from the modules themselves: their
//! `depends=` is complete, since the kernel's build derives it from the symbols that a module uses.

use std::collections::{HashMap, HashSet};

use crate::error::KernelError;
use crate::features::{FEATURES, Feature, Need, REQUIRED_OPTIONS};
use crate::kconfig::KernelConfig;
use crate::limits;
use crate::modinfo::ModInfo;
use crate::parts::KernelParts;

/// Memory of one alias beside its text, rounded up.
const ALIAS_COST_BYTES: usize = 160;

/// What a bundle takes from a kernel.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// In load order.
    pub(crate) modules: Vec<PlannedModule>,
    /// Features that are built in.
    pub(crate) builtins: Vec<String>,
    /// Optional features that the kernel has not.
    pub(crate) absent: Vec<String>,
}

/// A module to be loaded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PlannedModule {
    pub(crate) name: String,
    /// Whether the guest can do without it.
    pub(crate) optional: bool,
    pub(crate) elf: Vec<u8>,
}

/// Plans for kernel `release`, whose config may be known.
pub(crate) fn plan(parts: &KernelParts, config: Option<&KernelConfig>, release: &str) -> Result<Plan, KernelError> {
    if config.is_none() && parts.builtins.is_empty() {
        return Err(KernelError::UnknownDrivers {
            version: release.to_owned(),
        });
    }
    let mut planner = Planner::new(parts, config, release);
    let mut missing = planner.missing_options();
    for feature in &FEATURES {
        if parts.pool.contains(feature.module) {
            planner.add_feature(feature)?;
        } else if planner.is_builtin(feature) {
            planner.plan.builtins.push(feature.module.to_owned());
        } else if feature.need == Need::Required {
            missing.push((feature.module.to_owned(), feature.option));
        } else {
            planner.plan.absent.push(feature.module.to_owned());
        }
    }
    if missing.is_empty() {
        return Ok(planner.plan);
    }
    let (missing, options) = missing
        .into_iter()
        .map(|(name, option)| (name, format!("CONFIG_{option}")))
        .unzip();
    Err(KernelError::MissingDriver {
        version: release.to_owned(),
        missing,
        options,
    })
}

struct Planner<'a> {
    parts: &'a KernelParts,
    config: Option<&'a KernelConfig>,
    release: &'a str,
    /// Modules that are planned, or are being looked at.
    done: HashSet<String>,
    /// Modules that did not resolve, with the module and reason at the bottom of it. They are not tried again: where many
    /// name each other, the tries would double with each step.
    failed: HashMap<String, (String, String)>,
    /// Of the modules that are planned or being looked at.
    held_bytes: u64,
    /// Of all modules that were unpacked so far.
    unpacked_bytes: u64,
    /// Alias → modules, made at the first soft dependency that needs it.
    soft_aliases: Option<HashMap<String, Vec<String>>>,
    plan: Plan,
}

impl<'a> Planner<'a> {
    fn new(parts: &'a KernelParts, config: Option<&'a KernelConfig>, release: &'a str) -> Self {
        Self {
            parts,
            config,
            release,
            done: HashSet::new(),
            failed: HashMap::new(),
            held_bytes: 0,
            unpacked_bytes: 0,
            soft_aliases: None,
            plan: Plan::default(),
        }
    }

    fn is_builtin(&self, feature: &Feature) -> bool {
        self.parts.builtins.has(feature.module) || self.config.is_some_and(|config| config.is_builtin(feature.option))
    }

    /// Facilities that cannot be modules, as far as the config tells.
    fn missing_options(&self) -> Vec<(String, &'static str)> {
        let Some(config) = self.config else { return Vec::new() };
        let absent = REQUIRED_OPTIONS
            .iter()
            .filter(|any| !any.iter().any(|option| config.is_builtin(option)));
        absent.map(|any| (any[0].to_lowercase(), any[0])).collect()
    }

    /// Adds a feature's module. An optional one that does not resolve is left out as a whole.
    fn add_feature(&mut self, feature: &Feature) -> Result<(), KernelError> {
        let optional = feature.need == Need::Optional;
        match self.add_all_or_none(feature.module, optional, 0) {
            Err(_) if optional => self.plan.absent.push(feature.module.to_owned()),
            other => other?,
        }
        Ok(())
    }

    /// Adds `name` with all that it depends on, or nothing.
    fn add_all_or_none(&mut self, name: &str, optional: bool, depth: usize) -> Result<(), KernelError> {
        let (before, done, held_bytes) = (self.plan.modules.len(), self.done.clone(), self.held_bytes);
        let added = self.add(name, optional, depth);
        if added.is_err() {
            self.plan.modules.truncate(before);
            self.done = done;
            self.held_bytes = held_bytes;
        }
        added
    }

    /// Adds `name` behind all that it depends on.
    fn add(&mut self, name: &str, optional: bool, depth: usize) -> Result<(), KernelError> {
        if let Some((module, reason)) = self.failed.get(name).cloned() {
            return Err(KernelError::BadModule { module, reason });
        }
        if !self.done.insert(name.to_owned()) {
            return Ok(());
        }
        let added = self.add_new(name, optional, depth);
        if let Err(error) = &added {
            let cause = match error {
                KernelError::BadModule { module, reason } => (module.clone(), reason.clone()),
                other => (name.to_owned(), other.to_string()),
            };
            self.failed.insert(name.to_owned(), cause);
        }
        added
    }

    fn add_new(&mut self, name: &str, optional: bool, depth: usize) -> Result<(), KernelError> {
        let bad = |reason: String| KernelError::BadModule {
            module: name.to_owned(),
            reason,
        };
        if depth > limits::DEPTH || self.plan.modules.len() >= limits::PLANNED_MODULES {
            return Err(bad("has more dependencies than any real module".to_owned()));
        }
        let elf = self
            .load(name)?
            .ok_or_else(|| bad("is not among the modules".to_owned()))?;
        self.held_bytes += elf.len() as u64;
        if self.held_bytes > limits::PLANNED_BYTES {
            return Err(KernelError::TooLarge {
                what: "what a guest needs of the modules".to_owned(),
                limit_bytes: limits::PLANNED_BYTES,
            });
        }
        let info = ModInfo::read(name, &elf)?;
        if let Some(release) = info.release.as_deref().filter(|release| *release != self.release) {
            return Err(bad(format!("was built for kernel {release}, not for {}", self.release)));
        }
        for wanted in &info.soft_before {
            self.add_soft(wanted, depth)?;
        }
        for dependency in &info.depends {
            if self.parts.pool.contains(dependency) {
                self.add(dependency, optional, depth + 1)?;
            } else if !self.parts.builtins.answers_to(dependency) {
                return Err(KernelError::MissingDependency {
                    module: name.to_owned(),
                    dependency: dependency.clone(),
                });
            }
        }
        self.plan.modules.push(PlannedModule {
            name: name.to_owned(),
            optional,
            elf,
        });
        Ok(())
    }

    /// Unpacks a module, as long as planning has not cost more than it ever should.
    fn load(&mut self, name: &str) -> Result<Option<Vec<u8>>, KernelError> {
        if self.unpacked_bytes > limits::PLANNING_BYTES {
            return Err(KernelError::TooLarge {
                what: "all that was unpacked to find what a guest needs".to_owned(),
                limit_bytes: limits::PLANNING_BYTES,
            });
        }
        let elf = self.parts.pool.load(name)?;
        let bytes = elf.as_ref().map_or(0, |elf| elf.len() as u64);
        self.unpacked_bytes += bytes.max(limits::LOAD_BYTES);
        Ok(elf)
    }

    /// Adds what a soft dependency names, unless something built in answers to it: then more modules would only cost time.
    fn add_soft(&mut self, wanted: &str, depth: usize) -> Result<(), KernelError> {
        if self.parts.builtins.answers_to(wanted) || depth >= limits::DEPTH {
            return Ok(());
        }
        for name in self.soft_providers(wanted)? {
            // Soft: what does not resolve is left out.
            let _ = self.add_all_or_none(&name, true, depth + 1);
        }
        Ok(())
    }

    fn soft_providers(&mut self, wanted: &str) -> Result<Vec<String>, KernelError> {
        let name = crate::modinfo::normal_name(wanted);
        if self.parts.pool.contains(&name) {
            return Ok(vec![name]);
        }
        if self.soft_aliases.is_none() {
            self.soft_aliases = Some(self.read_soft_aliases()?);
        }
        Ok(self
            .soft_aliases
            .as_ref()
            .and_then(|aliases| aliases.get(wanted))
            .cloned()
            .unwrap_or_default())
    }

    fn read_soft_aliases(&mut self) -> Result<HashMap<String, Vec<String>>, KernelError> {
        let mut aliases: HashMap<String, Vec<String>> = HashMap::new();
        let mut left_bytes = limits::ALIASES_BYTES;
        for name in self.parts.pool.soft_candidates() {
            let Some(elf) = self.load(&name)? else {
                continue;
            };
            for alias in ModInfo::read(&name, &elf).map(|info| info.aliases).unwrap_or_default() {
                left_bytes = left_bytes.saturating_sub(alias.len() + name.len() + ALIAS_COST_BYTES);
                if left_bytes == 0 {
                    return Err(KernelError::TooLarge {
                        what: "the list of what modules answer to".to_owned(),
                        limit_bytes: limits::ALIASES_BYTES as u64,
                    });
                }
                aliases.entry(alias).or_default().push(name.clone());
            }
        }
        Ok(aliases)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    const RELEASE: &str = "6.1.0-test";

    /// The least that is a module: an ELF header, `.modinfo` with `size` bytes of padding, and the sections' names.
    fn module(modinfo: &str, size: usize) -> Vec<u8> {
        const NAMES: &[u8] = b"\0.modinfo\0.shstrtab\0";
        let mut body = format!("vermagic={RELEASE} SMP\0{modinfo}\0").into_bytes();
        let modinfo_bytes = body.len() as u64;
        body.resize(body.len() + size, 0);
        let names_offset = 64 + body.len() as u64;
        body.extend_from_slice(NAMES);
        body.resize(body.len().next_multiple_of(8), 0);
        let sections_offset = 64 + body.len() as u64;

        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        elf.extend([1_u16, 62].iter().flat_map(|field| field.to_le_bytes()));
        elf.extend(1_u32.to_le_bytes());
        elf.extend(
            [0, 0, sections_offset]
                .iter()
                .flat_map(|field: &u64| field.to_le_bytes()),
        );
        elf.extend(0_u32.to_le_bytes());
        elf.extend([64_u16, 0, 0, 64, 3, 2].iter().flat_map(|field| field.to_le_bytes()));
        elf.extend(body);
        let mut section = |name: u32, kind: u32, offset: u64, bytes: u64| {
            elf.extend([name, kind].iter().flat_map(|field| field.to_le_bytes()));
            let fields = [0, 0, offset, bytes, 0, 1, 0];
            elf.extend(fields.iter().flat_map(|field: &u64| field.to_le_bytes()));
        };
        section(0, 0, 0, 0);
        section(1, 1, 64, modinfo_bytes);
        section(10, 3, names_offset, NAMES.len() as u64);
        elf
    }

    /// A kernel with these modules: name, `.modinfo`, padding.
    fn kernel(folder: &Path, modules: &[(String, String, usize)]) -> KernelParts {
        let mut parts = KernelParts::default();
        for (name, modinfo, size) in modules {
            let path: PathBuf = folder.join(format!("{name}.ko"));
            std::fs::write(&path, module(modinfo, *size)).unwrap();
            parts.pool.add_file(name.clone(), path, Path::new("kernel/crypto/x.ko"));
        }
        parts
    }

    fn names(planner: &Planner<'_>) -> Vec<String> {
        planner.plan.modules.iter().map(|module| module.name.clone()).collect()
    }

    #[test]
    fn dependencies_come_first_and_soft_ones_that_fail_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let modules = [
            ("top", "depends=hard\0softdep=pre: broken fine"),
            ("hard", ""),
            ("fine", "depends=hard"),
            ("broken", "depends=fine,absent"),
        ];
        let modules = modules.map(|(name, modinfo)| (name.to_owned(), modinfo.to_owned(), 0));
        let parts = kernel(folder.path(), &modules);
        let mut planner = Planner::new(&parts, None, RELEASE);
        planner.add_all_or_none("top", false, 0).unwrap();
        assert_eq!(names(&planner), ["hard", "fine", "top"]);
        let error = planner.add_all_or_none("broken", false, 0).unwrap_err();
        assert!(error.to_string().contains("absent"), "{error}");
    }

    #[test]
    fn what_failed_is_not_tried_again_however_many_want_it() {
        const STEPS: usize = 12;
        let folder = tempfile::tempdir().unwrap();
        // Both of a step want both of the next one, and none resolves.
        let modules: Vec<_> = (0..STEPS)
            .flat_map(|step| ["a", "b"].map(|side| (step, side)))
            .map(|(step, side)| {
                let next = step + 1;
                let modinfo = format!("depends=absent\0softdep=pre: a{next} b{next}");
                (format!("{side}{step}"), modinfo, 0)
            })
            .collect();
        let parts = kernel(folder.path(), &modules);
        let mut planner = Planner::new(&parts, None, RELEASE);
        planner.add_all_or_none("a0", false, 0).unwrap_err();
        // Each once, and once more for its aliases.
        let loads = planner.unpacked_bytes / limits::LOAD_BYTES;
        assert!(loads <= 2 * modules.len() as u64, "{loads} loads");
    }

    #[test]
    fn modules_are_bounded_in_sum() {
        const MIB: usize = 1 << 20;
        let folder = tempfile::tempdir().unwrap();
        let modules: Vec<_> = (0..9)
            .map(|index| (format!("m{index}"), format!("softdep=pre: m{}", index + 1), MIB))
            .collect();
        let parts = kernel(folder.path(), &modules);
        let mut planner = Planner::new(&parts, None, RELEASE);
        planner.held_bytes = limits::PLANNED_BYTES - 6 * MIB as u64;
        planner.add_all_or_none("m0", false, 0).unwrap();
        assert_eq!(names(&planner), ["m4", "m3", "m2", "m1", "m0"]);
        assert!(planner.held_bytes <= limits::PLANNED_BYTES);

        let mut planner = Planner::new(&parts, None, RELEASE);
        planner.unpacked_bytes = limits::PLANNING_BYTES + 1;
        let error = planner.add_all_or_none("m8", false, 0).unwrap_err();
        assert!(matches!(error, KernelError::TooLarge { .. }), "{error}");
    }
}
