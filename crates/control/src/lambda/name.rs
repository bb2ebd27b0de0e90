//! What a request calls a function: a name, or an ARN whole or in part, and with it perhaps a version or alias.

use super::error::{LambdaError, LambdaResult};

/// What stands for an account: a host has none.
pub(crate) const ACCOUNT: &str = "000000000000";
/// Lambda's bound on what names a function.
const TEXT_MAX: usize = 170;

/// Which function, and which version or alias of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) qualifier: Option<String>,
}

impl Named {
    /// Of a path's text, and the qualifier of the query.
    pub(crate) fn parse(text: &str, qualifier: Option<&str>) -> LambdaResult<Self> {
        let (name, own) = split(text).filter(|_| text.len() <= TEXT_MAX).ok_or_else(|| {
            LambdaError::parameter(format!(
                "{:?} names no function: give its name, or its ARN as arn:aws:lambda:REGION:{ACCOUNT}:function:NAME",
                clip(text)
            ))
        })?;
        let asked = qualifier.filter(|asked| !asked.is_empty());
        if own.zip(asked).is_some_and(|(own, asked)| own != asked) {
            return Err(LambdaError::parameter(
                "The derived qualifier from the function name does not match the specified qualifier.",
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            qualifier: asked.or(own).map(str::to_owned),
        })
    }
}

/// Name and qualifier: `NAME`, `ACCOUNT:function:NAME` or `arn:aws:lambda:REGION:ACCOUNT:function:NAME`, each with `:QUALIFIER`
/// or without.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    let parts: Vec<&str> = text.split(':').collect();
    let (name, qualifier) = match parts.as_slice() {
        [name] | ["function", name] => (*name, None),
        ["function", name, qualifier] | [name, qualifier] => (*name, Some(*qualifier)),
        [account, "function", rest @ ..] if *account == ACCOUNT => name_of(rest)?,
        ["arn", _, "lambda", _, account, "function", rest @ ..] if *account == ACCOUNT => name_of(rest)?,
        _ => return None,
    };
    let there = !name.is_empty() && qualifier != Some("");
    there.then_some((name, qualifier))
}

fn name_of<'a>(rest: &[&'a str]) -> Option<(&'a str, Option<&'a str>)> {
    match rest {
        [name] => Some((*name, None)),
        [name, qualifier] => Some((*name, Some(*qualifier))),
        _ => None,
    }
}

/// A text of a request for a message.
pub(super) fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

/// The ARN of a function, or of a version or alias of it.
pub(crate) fn arn(region: &str, name: &str, qualifier: Option<&str>) -> String {
    let qualifier = qualifier.map_or_else(String::new, |qualifier| format!(":{qualifier}"));
    format!("arn:aws:lambda:{region}:{ACCOUNT}:function:{name}{qualifier}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str, qualifier: Option<&str>) -> Option<(String, Option<String>)> {
        let named = Named::parse(text, qualifier).ok()?;
        Some((named.name, named.qualifier))
    }

    #[test]
    fn all_ways_to_name_a_function_are_known() {
        let arn = arn("eu-west-1", "f", None);
        let partial = format!("{ACCOUNT}:function:f");
        for text in ["f", "function:f", &partial, &arn] {
            assert_eq!(named(text, None), Some(("f".into(), None)), "{text}");
            let qualified = format!("{text}:live");
            let live = Some(("f".into(), Some("live".into())));
            assert_eq!(named(&qualified, None), live, "{text}");
            assert_eq!(named(text, Some("live")), live, "{text}");
            assert_eq!(named(&qualified, Some("live")), live, "{text}");
            assert_eq!(named(&qualified, Some("7")), None, "{text}");
        }
        assert_eq!(named("f", Some("")), Some(("f".into(), None)));
        assert_eq!(named("f", Some("$LATEST")), Some(("f".into(), Some("$LATEST".into()))));
    }

    #[test]
    fn what_names_none_is_refused() {
        let foreign = "arn:aws:lambda:us-east-1:123456789012:function:f";
        for text in [
            "",
            ":",
            "f:",
            ":v",
            "a:b:c",
            "arn:aws:s3:::f",
            foreign,
            "arn:aws:lambda:r:000000000000:layer:f",
            "arn:aws:lambda:r:000000000000:function:f:1:2",
            &"x".repeat(171),
        ] {
            assert_eq!(named(text, None), None, "{text}");
        }
    }
}
