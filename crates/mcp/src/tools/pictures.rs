//! Pictures among the results of code, as clients show them.

use rmcp::model::ContentBlock;

use super::events::Event;

/// Pictures of one answer.
const PICTURES_MAX: usize = 4;
/// Characters of a picture in base64.
const PICTURE_MAX: usize = 2 << 20;

/// Those of an answer so far.
#[derive(Debug, Default)]
pub(super) struct Pictures {
    kept: Vec<(String, &'static str)>,
    left_out: u32,
}

impl Pictures {
    /// Takes a result's picture, if it has one that is base64 and not too large.
    pub(super) fn take(&mut self, result: &Event<'_>) {
        for (field, mime) in [("png", "image/png"), ("jpeg", "image/jpeg")] {
            let Some(data) = result.text(field) else {
                continue;
            };
            let data: String = data.split_ascii_whitespace().collect();
            let plain = data
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
            if plain && data.len() <= PICTURE_MAX && self.kept.len() < PICTURES_MAX {
                self.kept.push((data, mime));
            } else {
                self.left_out += 1;
            }
        }
    }

    /// How many there were no room for.
    pub(super) fn left_out(&self) -> u32 {
        self.left_out
    }

    pub(super) fn into_content(self) -> Vec<ContentBlock> {
        let blocks = self.kept.into_iter();
        blocks.map(|(data, mime)| ContentBlock::image(data, mime)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_pictures_are_kept_and_only_such() {
        let mut pictures = Pictures::default();
        let mut take = |field: &str, value: &str| {
            let line = serde_json::json!({ field: value }).to_string();
            pictures.take(&Event::parse(line.as_bytes()).unwrap());
        };
        take("text", "no picture");
        take("png", "not base64 <script>");
        take("jpeg", &"A".repeat(PICTURE_MAX + 1));
        for _ in 0..6 {
            take("png", "iVBO\nRw0=");
        }
        assert_eq!(pictures.left_out(), 4);
        let content = serde_json::to_value(pictures.into_content()).unwrap();
        assert_eq!(content.as_array().map(Vec::len), Some(PICTURES_MAX));
        assert_eq!(
            (&content[0]["data"], &content[0]["mimeType"]),
            (&"iVBORw0=".into(), &"image/png".into())
        );
    }
}
