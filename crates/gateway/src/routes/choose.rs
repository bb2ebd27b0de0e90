//! Which version of a function is called.

use std::{fmt, str::FromStr};

use hearth_domain::Traffic;

use super::{Route, VersionFacts};

/// Which of a function's versions is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Qualifier {
    /// What is live.
    #[default]
    Live,
    /// The newest there is: Lambda's `$LATEST`.
    Latest,
    /// This one.
    Version(u32),
    /// What the alias points to.
    Alias(String),
}

/// Longer than any alias.
const QUALIFIER_MAX: usize = 128;

impl Qualifier {
    /// Whether a public function's owner has meant it for everybody: what is live, and aliases. Other versions may be old,
    /// and each would have instances of its own.
    pub(crate) fn is_for_all(&self) -> bool {
        matches!(self, Self::Live | Self::Alias(_))
    }
}

impl FromStr for Qualifier {
    type Err = ();

    /// `$LATEST`, a number, or an alias; nothing is what is live.
    fn from_str(text: &str) -> Result<Self, ()> {
        if text.len() > QUALIFIER_MAX {
            return Err(());
        }
        if text.is_empty() {
            return Ok(Self::Live);
        }
        if text.eq_ignore_ascii_case("$latest") {
            return Ok(Self::Latest);
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self::Version).map_err(drop);
        }
        Ok(Self::Alias(text.to_owned()))
    }
}

impl fmt::Display for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live => Ok(()),
            Self::Latest => f.write_str("$LATEST"),
            Self::Version(version) => write!(f, "{version}"),
            Self::Alias(alias) => f.write_str(alias),
        }
    }
}

impl Route {
    /// The version to call. `dice` is random; it decides where calls are shared out.
    pub(crate) fn choose(&self, qualifier: &Qualifier, dice: u64) -> Option<(u32, VersionFacts)> {
        let version = match qualifier {
            Qualifier::Live => self.live.as_ref()?.pick(dice),
            Qualifier::Latest => *self.versions.keys().next_back()?,
            Qualifier::Version(version) => *version,
            Qualifier::Alias(alias) => self.alias(alias)?.pick(dice),
        };
        let facts = self.versions.get(&version)?;
        Some((version, *facts))
    }

    /// Aliases keep their case; host names have none, so a name that differs only in case is found as well.
    fn alias(&self, alias: &str) -> Option<&Traffic> {
        self.aliases.get(alias).or_else(|| {
            let mut all = self.aliases.iter();
            all.find(|(name, _)| name.eq_ignore_ascii_case(alias))
                .map(|(_, traffic)| traffic)
        })
    }

    /// The versions that calls without a qualifier reach: those for which `min` instances are kept.
    pub(crate) fn live_versions(&self) -> impl Iterator<Item = u32> {
        let shares = self.live.iter().flat_map(Traffic::shares);
        shares.filter(|share| share.percent > 0).map(|share| share.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qualifiers_are_read() {
        assert_eq!("".parse(), Ok(Qualifier::Live));
        assert_eq!("$LATEST".parse(), Ok(Qualifier::Latest));
        assert_eq!("7".parse(), Ok(Qualifier::Version(7)));
        assert_eq!("Blue".parse(), Ok(Qualifier::Alias("Blue".to_owned())));
        assert_eq!("99999999999".parse::<Qualifier>(), Err(()));
    }
}
