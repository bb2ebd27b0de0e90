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
    let mut planner = Planner {
        parts,
        config,
        release,
        done: HashSet::new(),
        soft_aliases: None,
        plan: Plan::default(),
    };
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
    done: HashSet<String>,
    /// Alias → modules, made at the first soft dependency that needs it.
    soft_aliases: Option<HashMap<String, Vec<String>>>,
    plan: Plan,
}

impl Planner<'_> {
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
        match self.add_all_or_none(feature.module, optional) {
            Err(_) if optional => self.plan.absent.push(feature.module.to_owned()),
            other => other?,
        }
        Ok(())
    }

    fn add_all_or_none(&mut self, name: &str, optional: bool) -> Result<(), KernelError> {
        let (before, done) = (self.plan.modules.len(), self.done.clone());
        let added = self.add(name, optional, 0);
        if added.is_err() {
            self.plan.modules.truncate(before);
            self.done = done;
        }
        added
    }

    /// Adds `name` behind all that it depends on.
    fn add(&mut self, name: &str, optional: bool, depth: usize) -> Result<(), KernelError> {
        if !self.done.insert(name.to_owned()) {
            return Ok(());
        }
        let bad = |reason: String| KernelError::BadModule {
            module: name.to_owned(),
            reason,
        };
        if depth > limits::DEPTH || self.plan.modules.len() >= limits::PLANNED_MODULES {
            return Err(bad("has more dependencies than any real module".to_owned()));
        }
        let elf = self
            .parts
            .pool
            .load(name)?
            .ok_or_else(|| bad("is not among the modules".to_owned()))?;
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

    /// Adds what a soft dependency names, unless something built in answers to it: then more modules would only cost time.
    fn add_soft(&mut self, wanted: &str, depth: usize) -> Result<(), KernelError> {
        if self.parts.builtins.answers_to(wanted) || depth >= limits::DEPTH {
            return Ok(());
        }
        for name in self.soft_providers(wanted)? {
            // Soft: what does not resolve is left out.
            let (before, done) = (self.plan.modules.len(), self.done.clone());
            if self.add(&name, true, depth + 1).is_err() {
                self.plan.modules.truncate(before);
                self.done = done;
            }
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

    fn read_soft_aliases(&self) -> Result<HashMap<String, Vec<String>>, KernelError> {
        let mut aliases: HashMap<String, Vec<String>> = HashMap::new();
        for name in self.parts.pool.soft_candidates() {
            let Some(elf) = self.parts.pool.load(&name)? else {
                continue;
            };
            for alias in ModInfo::read(&name, &elf).map(|info| info.aliases).unwrap_or_default() {
                aliases.entry(alias).or_default().push(name.clone());
            }
        }
        Ok(aliases)
    }
}
