//! What templates and their tags may be called, and how large their machines are of which nobody says so.

use hearth_store::DEFAULT_TAG;

use crate::{
    caller::Tenant,
    error::{ApiError, ApiResult},
};

/// CPUs of sandboxes whose template says nothing of them.
pub(crate) const DEFAULT_CPUS: u32 = 2;
/// Their memory, in MiB.
pub(crate) const DEFAULT_MEMORY_MIB: u32 = 512;
/// Their disk, in MiB: what is not written takes no room.
pub(crate) const DEFAULT_DISK_MIB: u32 = 4096;
/// Tags in one request.
pub(crate) const TAGS_MAX: usize = 50;

/// A size of a template's machines, with its field's name.
pub(crate) fn number<T>(
    field: &'static str,
    value: impl Into<u64>,
    parse: impl Fn(u64) -> Result<T, hearth_domain::InvalidSize>,
) -> ApiResult<T> {
    parse(value.into()).map_err(|error| ApiError::field(field, error.to_string()))
}

/// Reads `NAME`, `NAME:TAG` or `PROJECT/NAME:TAG`, where the project is the caller's.
pub(crate) fn name_and_tag(tenant: &Tenant, given: &str) -> ApiResult<(String, Option<String>)> {
    let (path, tag) = match given.split_once(':') {
        Some((path, tag)) => (path, Some(tag.to_owned())),
        None => (given, None),
    };
    let name = match path.split_once('/') {
        Some((project, name)) if project == tenant.name.as_str() => name,
        Some((project, _)) => {
            return Err(ApiError::field(
                "name",
                format!(
                    "name {given:?} is of project {project:?}, and the key is of {:?}",
                    tenant.name.as_str()
                ),
            ));
        }
        None => path,
    };
    check_label("name", name)?;
    Ok((name.to_owned(), tag))
}

/// Whether a text may be the name of a template, or a tag.
pub(crate) fn check_label(field: &'static str, text: &str) -> ApiResult<()> {
    let valid = (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.'));
    // An ID as a name would stand for something else.
    let is_id = text.parse::<hearth_ids::TemplateId>().is_ok() || text.parse::<hearth_ids::SnapshotId>().is_ok();
    if valid && !is_id {
        return Ok(());
    }
    let text: String = text.chars().take(80).collect();
    Err(ApiError::field(
        field,
        format!("{field} {text:?} is not valid: use 1 to 128 of a-z, 0-9, '-', '_' and '.'"),
    ))
}

/// What will mean a build: the tags that are asked for and that in its template's name, or `default` where there are none.
pub(crate) fn tags(mut tags: Vec<String>, in_name: Option<String>) -> ApiResult<Vec<String>> {
    tags.extend(in_name);
    if tags.is_empty() {
        tags.push(DEFAULT_TAG.to_owned());
    }
    check_tags("tags", &tags)?;
    Ok(tags)
}

/// Whether these may be tags, and so many.
pub(crate) fn check_tags(field: &'static str, tags: &[String]) -> ApiResult<()> {
    if tags.len() > TAGS_MAX {
        return Err(ApiError::field(
            field,
            format!("{} tags are too many: at most {TAGS_MAX}", tags.len()),
        ));
    }
    tags.iter().try_for_each(|tag| check_label(field, tag))
}
