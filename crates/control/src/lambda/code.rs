//! Code: a zip in base 64 that becomes a source, or the name of an image.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hearth_api::DeployFunction;
use hearth_image::ImportSource;
use sha2::{Digest as _, Sha256};

use super::{
    error::{Kind, LambdaError, LambdaResult},
    facts::VersionFacts,
    plan,
    wire::Code,
};
use crate::{app::App, caller::Tenant, functions::source};

/// The longest zip, in bytes: Lambda's bound for one that is sent along.
pub(super) const ZIP_MAX: usize = 52_428_800;

/// Takes the code in, and puts it into a deployment and what is kept of it.
pub(super) async fn take(
    app: &App,
    tenant: &Tenant,
    code: Code,
    request: &mut DeployFunction,
    facts: &mut VersionFacts,
) -> LambdaResult<()> {
    plan::check_code(&code)?;
    if let Some(uri) = code.image_uri {
        request.image = Some(uri.clone());
        (facts.code_size, facts.code_sha256, facts.image_uri) = (0, None, Some(uri));
        return Ok(());
    }
    let text = code.zip_file.unwrap_or_default();
    let zip = app.blocking(move || decoded(&text)).await??;
    facts.code_size = zip.bytes.len() as u64;
    facts.code_sha256 = Some(zip.sha256);
    let archive = ImportSource::Stream(Box::pin(std::io::Cursor::new(zip.bytes)));
    let source = source::import(app, tenant, archive).await.map_err(|error| {
        let error = LambdaError::from(error);
        if error.is(Kind::InvalidRequestContent) {
            error.of_kind(Kind::InvalidParameterValue)
        } else {
            error
        }
    })?;
    request.source = Some(source.source);
    Ok(())
}

struct Zip {
    bytes: Vec<u8>,
    /// In base 64.
    sha256: String,
}

/// Blocks for as long as it takes to read the text.
fn decoded(text: &str) -> LambdaResult<Zip> {
    let bytes = STANDARD
        .decode(text)
        .map_err(|_| LambdaError::parameter("ZipFile is not valid base 64"))?;
    if bytes.len() > ZIP_MAX {
        return Err(LambdaError::new(
            Kind::RequestTooLarge,
            format!("ZipFile has {} bytes; at most {ZIP_MAX} are possible", bytes.len()),
        ));
    }
    if !bytes.starts_with(b"PK") {
        return Err(LambdaError::parameter(
            "Could not unzip uploaded file. Please check your file, then try to upload again.",
        ));
    }
    let sha256 = STANDARD.encode(Sha256::digest(&bytes));
    Ok(Zip { bytes, sha256 })
}
